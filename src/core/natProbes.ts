/**
 * Our NAT probes in flight. Each is repeated until an echo ends it or its deadline
 * passes. Echoes are matched by the token of the probe, because another node
 * than the one that was asked may send them.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as Hex from "../internal/hex.ts"
import { Timer } from "../internal/timerQueue.ts"
import * as Message from "../Message.ts"
import * as Request from "../Request.ts"
import * as SocketAddress from "../SocketAddress.ts"
import type { Timers } from "../Timers.ts"
import { type SendError, TransportClosed } from "../Transport.ts"

/**
 * The outcome of a dial-back.
 *
 * - `Arrived`: the echo of the other peer arrived.
 * - `Blocked`: it did not, although the other peer sent it, from `sender` as far as
 *   is known.
 * - `NoAnswer`: nothing is known of it.
 *
 * @category models
 * @since 0.1.0
 */
export type DialBack =
  | { readonly _tag: "Arrived" }
  | { readonly _tag: "Blocked"; readonly sender: SocketAddress.SocketAddress | undefined }
  | { readonly _tag: "NoAnswer" }

/**
 * A message that asks for echoes.
 *
 * @internal
 */
export type NatProbe = Extract<Message.Body, { readonly _tag: "NatProbe" }>

/**
 * @internal
 */
export type Echo = Extract<Message.Body, { readonly _tag: "NatProbeEcho" }>

/**
 * Callback for the outcome of a probe, called at most once.
 *
 * @internal
 */
export type Done<A> = (result: Result.Result<A, SendError>) => void

/**
 * Dependencies of {@link NatProbes}.
 *
 * @internal
 */
export interface Options {
  readonly timers: Timers["Service"]
  readonly transactionId: () => Message.TransactionId
  readonly send: (
    body: NatProbe,
    to: SocketAddress.SocketAddress,
    transactionId: Message.TransactionId
  ) => SendError | undefined
}

/** Milliseconds that the echo of a stranger may take longer than its confirmation. */
const echoMillis = 1500

/** Callbacks of a probe in flight. */
interface Pending {
  readonly echoed: (from: SocketAddress.SocketAddress, echo: Echo) => void
  readonly closed: () => void
}

/** Ends a probe, at once or after so many milliseconds. */
type End<A> = (outcome: A, afterMillis?: number) => void

/** The time until a probe goes on. */
class Pause extends Timer {
  readonly fire: () => void

  constructor(fire: () => void) {
    super()
    this.fire = fire
  }
}

/**
 * Each kind of probe is sent to a peer with a token of 8 random bytes, and calls
 * `done` with its outcome. It returns a function that cancels it; `done` is not
 * called after that.
 *
 * @internal
 */
export class NatProbes {
  private readonly options: Options
  /** By the token. */
  private readonly pending = new Map<string, Pending>()

  constructor(options: Options) {
    this.options = options
  }

  /** Number of probes in flight. */
  get size(): number {
    return this.pending.size
  }

  /** Whether a probe with this token is in flight. */
  awaits(token: Uint8Array): boolean {
    return this.pending.has(Hex.encode(token))
  }

  /** Reports an echo that arrived. */
  echoed(from: SocketAddress.SocketAddress, echo: Echo): void {
    this.pending.get(Hex.encode(echo.token))?.echoed(from, echo)
  }

  /** Ends all probes with `TransportClosed`. */
  close(): void {
    for (const { closed } of this.pending.values()) closed()
  }

  /** Asks `via` to send an echo to `claimed`: whether one arrived. */
  echo(
    via: SocketAddress.SocketAddress,
    claimed: SocketAddress.SocketAddress,
    token: Uint8Array,
    options: Request.Options | undefined,
    done: Done<boolean>
  ): () => void {
    const body: NatProbe = { _tag: "NatProbe", token, claimed: SocketAddress.encodeObserved(claimed) }
    return this.probe<boolean>(via, body, (_from, _echo, end) => end(true), false, options, done)
  }

  /**
   * Asks `via` to have a peer of its own send an echo to `claimed`, and waits for
   * both. That echo may come `echoMillis` after the confirmation, 1500 by default.
   */
  dialBack(
    via: SocketAddress.SocketAddress,
    claimed: SocketAddress.SocketAddress,
    token: Uint8Array,
    options: Request.Options & { readonly echoMillis?: number | undefined } | undefined,
    done: Done<DialBack>
  ): () => void {
    const relay = Message.relay.wanted
    const body: NatProbe = { _tag: "NatProbe", token, claimed: SocketAddress.encodeObserved(claimed), relay }
    let isConfirmed = false
    const read = (from: SocketAddress.SocketAddress, { reached, sender }: Echo, end: End<DialBack>) => {
      if (from.host !== via.host) return end({ _tag: "Arrived" })
      if (reached === false) return end({ _tag: "NoAnswer" })
      if (isConfirmed) return
      isConfirmed = true
      // The other echo may have had farther to go.
      const stranger = sender && SocketAddress.decodeObserved(sender)
      end({ _tag: "Blocked", sender: stranger }, options?.echoMillis ?? echoMillis)
    }
    return this.probe<DialBack>(via, body, read, { _tag: "NoAnswer" }, options, done)
  }

  /** Passes the probe of another peer on to `to`, which sends echoes to its claimed address and to us: whether ours arrived. */
  passOn(
    to: SocketAddress.SocketAddress,
    { claimed, token }: Pick<NatProbe, "token" | "claimed">,
    options: Request.Options | undefined,
    done: Done<boolean>
  ): () => void {
    const body: NatProbe = { _tag: "NatProbe", token, claimed, relay: Message.relay.passedOn }
    const read = (from: SocketAddress.SocketAddress, { reached }: Echo, end: End<boolean>) => {
      if (from.host === to.host && from.port === to.port) end(reached !== false)
    }
    return this.probe(to, body, read, false, options, done)
  }

  /** Asks `via` whether a peer answers it at an address: its response, undefined if it gave none or cannot tell. */
  reaches(
    via: SocketAddress.SocketAddress,
    address: SocketAddress.SocketAddress,
    token: Uint8Array,
    options: Request.Options | undefined,
    done: Done<boolean | undefined>
  ): () => void {
    const relay = Message.relay.ping
    const body: NatProbe = { _tag: "NatProbe", token, claimed: SocketAddress.encodeObserved(address), relay }
    const read = (from: SocketAddress.SocketAddress, { reached }: Echo, end: End<boolean | undefined>) => {
      if (from.host === via.host) end(reached)
    }
    return this.probe<boolean | undefined>(via, body, read, undefined, options, done)
  }

  /**
   * Sends a probe until `read` ends it, which is called with each echo. It may end
   * it later, so that another echo can end it before. A probe without echoes ends as
   * `silent`.
   */
  private probe<A>(
    via: SocketAddress.SocketAddress,
    body: NatProbe,
    read: (from: SocketAddress.SocketAddress, echo: Echo, end: End<A>) => void,
    silent: A,
    options: Request.Options | undefined,
    done: Done<A>
  ): () => void {
    const { send, timers, transactionId } = this.options
    const key = Hex.encode(body.token)
    let left = options?.attempts ?? Request.defaultAttempts
    const pauseMillis = Duration.toMillis(options?.deadline ?? Request.defaultDeadline) / left
    let isHeard = false
    let pause: Pause | undefined
    const wait = (millis: number, then: () => void): void => {
      if (pause !== undefined) timers.cancel(pause)
      pause = new Pause(then)
      timers.set(pause, timers.now() + millis)
    }
    const stop = (): void => {
      if (pause !== undefined) timers.cancel(pause)
      if (this.pending.get(key) === pending) this.pending.delete(key)
    }
    const end = (result: Result.Result<A, SendError>): void => {
      stop()
      done(result)
    }
    const attempt = (): void => {
      if (left-- === 0) return end(Result.succeed(silent))
      const error = send(body, via, transactionId())
      if (error !== undefined) end(Result.fail(error))
      // Within one process the echo may have arrived during `send`.
      else if (!isHeard) wait(pauseMillis, attempt)
    }
    const pending: Pending = {
      echoed: (from, echo) =>
        read(from, echo, (outcome, afterMillis) => {
          isHeard = true
          if (afterMillis === undefined) end(Result.succeed(outcome))
          else wait(afterMillis, () => end(Result.succeed(outcome)))
        }),
      closed: () => end(Result.fail(new TransportClosed()))
    }
    this.pending.set(key, pending)
    attempt()
    return stop
  }
}
