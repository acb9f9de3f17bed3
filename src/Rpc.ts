/**
 * Requests and responses over datagrams.
 *
 * This module answers nothing by itself and keeps no contacts: services above
 * it serve requests ({@link Rpc} `serve`) and learn of peers (`observe`).
 *
 * The receive loop is a fiber in the layer's scope. It never waits for a
 * response, because only the loop itself could deliver it.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import type * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Contact } from "./Contact.ts"
import { type Done, type NodesAnswer, type PendingRequest, Requests } from "./core/requests.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
import * as Hex from "./internal/hex.ts"
import { type Refusal, refusals } from "./internal/refusal.ts"
import * as Message from "./Message.ts"
import { NodeEvents } from "./NodeEvents.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Reachability } from "./Reachability.ts"
import * as Request from "./Request.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { Timers } from "./Timers.ts"
import * as TransactionId from "./TransactionId.ts"
import * as Transport from "./Transport.ts"
import { Verifier } from "./Verifier.ts"
import { unknownType } from "./wire/messageBody.ts"

/**
 * Options of a liveness check: attempts and a deadline that let a peer survive
 * a few lost packets.
 *
 * @category constructors
 * @since 0.1.0
 */
export const probeOptions = (health: PeerHealth.PeerHealth["Service"]): Request.Options => ({
  attempts: health.attemptsUnsafe(),
  deadline: 3000
})

export { type Refusal, refusals }

/**
 * Counts since the start of the node.
 *
 * @category models
 * @since 0.1.0
 */
export interface Traffic {
  /** Datagrams received with a valid signature. */
  readonly received: number
  /** Datagrams sent. */
  readonly sent: number
  /** Own requests that were answered. */
  readonly completed: number
  /** Datagrams refused for any reason. */
  readonly refused: number
  /** Datagrams refused, by reason. */
  readonly refusedBy: Readonly<Record<Refusal, number>>
}

/**
 * Our address as another node sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observation {
  readonly reporter: Contact
  readonly address: SocketAddress.SocketAddress
}

/**
 * A message to send, its destination, and its transaction (40 hex digits;
 * undefined: that of the request).
 *
 * @category models
 * @since 0.1.0
 */
export interface Reply {
  readonly body: Message.Body
  readonly to: SocketAddress.SocketAddress
  readonly transactionId: string | undefined
}

/**
 * Answers a verified request: calls `reply` once, or never if the protocol has
 * no response. `from` has the source address of the datagram, which may be
 * forged; `now` is Unix milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type Handler = (request: Message.Body, from: Contact, now: number, reply: (reply: Reply) => void) => void

/**
 * A verified message of another node.
 *
 * @category models
 * @since 0.1.0
 */
export interface Heard {
  /** Its sender, at the source address of the datagram. */
  readonly contact: Contact
  /** What its header announces. */
  readonly features: Features.Features
  /** Whether it answers a request of ours to that very address. Any other message may be a replay from anywhere. */
  readonly isAnswer: boolean
  /** Unix milliseconds. */
  readonly now: number
}

/**
 * A sign of another node with our own key at an address.
 *
 * - `Named`: a peer's response names our id there. The peer may lie.
 * - `Signed`: a message from there has our signature. It may be a replay.
 * - `Answered`: a request of ours was answered from there with our signature,
 *   and not by ourselves, which proves it.
 *
 * @category models
 * @since 0.1.0
 */
export interface OwnKey {
  readonly evidence: "Named" | "Signed" | "Answered"
  readonly address: SocketAddress.SocketAddress
  /** Unix milliseconds. */
  readonly now: number
}

/**
 * Callbacks for what messages show, called synchronously before the message
 * itself is handled. They must not throw.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observer {
  readonly heard?: ((heard: Heard) => void) | undefined
  readonly ownKey?: ((sign: OwnKey) => void) | undefined
}

/**
 * Sends requests to peers, and receives theirs.
 *
 * @category services
 * @since 0.1.0
 */
export class Rpc extends Context.Service<Rpc, {
  /** Sends a request, repeats it while no response arrives, and waits for the outcome. */
  readonly request: <R extends Request.Request>(
    peer: Request.Peer,
    body: R,
    options?: Request.Options
  ) => Effect.Effect<Request.Answered<Request.Answers[R["_tag"]]>, Request.RequestError>
  /**
   * Sends a request for a caller outside a fiber. Calls `done` with the
   * outcome, once. The returned function cancels the request, after which
   * `done` is not called.
   */
  readonly requestUnsafe: <R extends Request.Request>(
    peer: Request.Peer,
    body: R,
    options: Request.Options,
    done: (result: Result.Result<Request.Answered<Request.Answers[R["_tag"]]>, Request.RequestError>) => void
  ) => () => void
  /** Asks `via` to send an echo to `claimed`. Succeeds with whether one arrived in time. */
  readonly natProbe: (
    via: Request.Peer,
    claimed: SocketAddress.SocketAddress,
    options?: Request.Options
  ) => Effect.Effect<boolean, Transport.SendError>
  /**
   * Answers requests with a handler until the scope closes; requests without
   * one go unanswered. There is one handler at a time: a second is a defect.
   */
  readonly serve: (handler: Handler) => Effect.Effect<void, never, Scope.Scope>
  /** Reports to an observer what messages show about peers, until the scope closes. Observers are called in the order of registration. */
  readonly observe: (observer: Observer) => Effect.Effect<void, never, Scope.Scope>
  /** Our own address as responses report it, as they arrive. */
  readonly observations: Stream.Stream<Observation>
  /** Counts of datagrams and answered requests since the start. */
  readonly traffic: Effect.Effect<Traffic>
  /** Number of own requests in flight. */
  readonly pending: Effect.Effect<number>
}>()("effect-dht/Rpc") {}

/** Signatures of received datagrams that may be checked at the same time. */
const maxChecking = 64

const make = Effect.gen(function*() {
  const identity = yield* NodeIdentity
  const transport = yield* Transport.Transport
  const verifier = yield* Verifier
  const health = yield* PeerHealth.PeerHealth
  const reachability = yield* Reachability
  const settings = yield* NodeSettings
  const features = Features.own(settings)
  const { network } = settings
  const random = yield* SecureRandom.SecureRandom
  const clock = yield* Clock.Clock
  const observations = yield* PubSub.sliding<Observation>(64)
  const background = yield* FiberSet.make()
  const run = yield* FiberSet.runtime(background)<never>()

  const timers = yield* Timers
  const events = yield* NodeEvents
  const transactionId = TransactionId.generator(random)

  const echoes = new Map<string, Deferred.Deferred<void, Transport.TransportClosed>>()
  const observers: Array<Observer> = []
  let handler: Handler | undefined
  /** Opens with the first use: what arrives before waits in the transport until there is something to handle it. */
  const inUse = Latch.makeUnsafe(false)
  /** Signatures being checked, and whether there is room for more. */
  let checking = 0
  const checked = Latch.makeUnsafe(true)
  const traffic = { received: 0, sent: 0 }
  const refused: Record<Refusal, number> = {
    late: 0,
    unawaited: 0,
    malformed: 0,
    unknown_type: 0,
    too_large: 0,
    bad_signature: 0,
    unreachable: 0,
    overload: 0
  }

  /** Whether the layer's scope is closed. The transport's scope may be open for longer. */
  let closed = false

  // Pending requests cannot succeed any more.
  yield* Effect.addFinalizer(() => {
    closed = true
    requests.close()
    for (const echo of echoes.values()) Deferred.doneUnsafe(echo, Effect.fail(new Transport.TransportClosed()))
    return PubSub.shutdown(observations)
  })

  const send = (body: Message.Body, to: SocketAddress.SocketAddress, transactionId: Message.TransactionId) => {
    if (closed) return new Transport.TransportClosed()
    if (!SocketAddress.isReachable(to)) return new Transport.Unroutable({ to })
    const error = transport.sendUnsafe(Message.encode(body, { signer: identity, transactionId, features, network }), to)
    if (error === undefined) traffic.sent++
    return error
  }

  /** Takes note of our address as a response reports it. */
  const observed = (body: Message.Body, reporter: Contact): void => {
    const wire = "observed" in body ? body.observed : undefined
    const address = wire === undefined ? undefined : SocketAddress.decodeObserved(wire)
    if (address === undefined || reporter.id === identity.nodeId) return
    if (!SocketAddress.isReachableFrom(address, reporter)) return
    reachability.voteUnsafe(reporter, address, clock.currentTimeMillisUnsafe())
    PubSub.publishUnsafe(observations, { reporter, address })
  }

  const tellOwnKey = (evidence: OwnKey["evidence"], { host, port }: SocketAddress.SocketAddress, now: number): void => {
    const sign: OwnKey = { evidence, address: { host, port }, now }
    for (const { ownKey } of observers) ownKey?.(sign)
  }

  /**
   * Whether a reported node is worth adding: not one that announced that it
   * leaves soon, nor one that we cannot reach although the reporter can. A node
   * with our own id may be an identity conflict.
   */
  const isWorthKnowing = (node: Contact, from: Contact, { observed }: NodesAnswer): boolean => {
    if (!SocketAddress.isReachableFrom(node, from)) return false
    if (node.id === identity.nodeId && !isOurs(node, observed)) {
      tellOwnKey("Named", node, clock.currentTimeMillisUnsafe())
    }
    return !health.hasUnsafe(node.id, Features.Bit.client)
  }

  /** Whether an address is our own, as bound or as the reporting peer sees it. */
  const isOurs = (address: SocketAddress.SocketAddress, observed: Uint8Array | undefined): boolean => {
    const key = SocketAddress.key(address)
    const seenAt = observed === undefined ? undefined : SocketAddress.decodeObserved(observed)
    return key === SocketAddress.key(transport.address) || seenAt !== undefined && key === SocketAddress.key(seenAt)
  }

  const requests = new Requests({
    own: identity.nodeId,
    timers,
    health,
    events,
    now: () => clock.currentTimeMillisUnsafe(),
    transactionId,
    send,
    isWorthKnowing,
    heard: observed
  })

  // --- Receiving ---------------------------------------------------------------

  const receive = (datagram: Transport.Datagram, now: number): void => {
    if (datagram.payload.length > Message.maxDatagram) return refuse(datagram, "too_large")
    // A sender that we cannot answer does not become a contact.
    if (!SocketAddress.isReachable(datagram.from)) return refuse(datagram, "unreachable")
    const header = Message.header(datagram.payload)
    if (typeof header === "string") return refuse(datagram, "malformed", header)
    const isEcho = header.type === Message.Type.NatProbeEcho
    const isResponse = Message.isResponse(header.type) && !isEcho
    // An unawaited response is not worth a look at its body.
    if (isEcho && echoes.size === 0 || isResponse && !requests.isPending(header)) {
      return refuseUnawaited(datagram, header)
    }
    const frame = Message.frame(datagram.payload, header)
    if (typeof frame === "string") return refuse(datagram, "malformed", frame)
    const pending = isResponse ? requests.awaiting(frame, datagram.from) : undefined
    if (isResponse && pending === undefined) return refuseUnawaited(datagram, header)
    const body = Message.readBody(frame)
    if (typeof body === "string") return refuse(datagram, body === unknownType ? "unknown_type" : "malformed", body)
    if (body._tag === "NatProbeEcho" && !echoes.has(Hex.encode(body.token))) return refuse(datagram, "unawaited")
    const message = Message.assemble(frame, body)
    if (typeof message === "string") return refuse(datagram, "malformed", message)
    checking++
    let queued = false
    try {
      queued = verifier.check(frame.publicKey, Message.signedBytes(frame, network), frame.signature, (valid) => {
        if (--checking < maxChecking) checked.openUnsafe()
        if (!valid) return refuse(datagram, "bad_signature")
        traffic.received++
        // The verifier may call from outside any fiber, where a defect would
        // end the process.
        try {
          accept(message, datagram.from, pending, now)
        } catch (defect) {
          run(Effect.logError("A message could not be handled", defect))
        }
      })
    } finally {
      if (!queued) {
        checking--
        refuse(datagram, "overload")
      }
    }
  }

  const refuseUnawaited = (datagram: Transport.Datagram, { transactionId }: Message.Header): void =>
    refuse(datagram, requests.isOver(transactionId) ? "late" : "unawaited")

  const refuse = ({ from, payload }: Transport.Datagram, reason: Refusal, fault?: string): void => {
    refused[reason]++
    events.explainUnsafe?.({ _tag: "DatagramRefused", from, bytes: payload.length, reason, fault })
  }

  const accept = (
    message: Message.Message,
    from: SocketAddress.SocketAddress,
    pending: PendingRequest | undefined,
    now: number
  ): void => {
    const contact: Contact = {
      id: NodeId.fromAddress(message.sender),
      address: message.sender,
      host: from.host,
      port: from.port
    }
    const asked = pending?.peer
    if (contact.id === identity.nodeId) {
      recognise(message, contact, pending, now)
    } else {
      const isAnswer = asked !== undefined && from.host === asked.host && from.port === asked.port
      const told: Heard = { contact, features: message.features, isAnswer, now }
      for (const { heard } of observers) heard?.(told)
    }
    const { body } = message
    if (body._tag === "NatProbeEcho") {
      const echo = echoes.get(Hex.encode(body.token))
      if (echo !== undefined) Deferred.doneUnsafe(echo, Effect.void)
    } else if (pending === undefined) {
      events.explainUnsafe?.({ _tag: "RequestReceived", contact, request: body._tag })
      handler?.(body, contact, now, (reply) => {
        send(reply.body, reply.to, reply.transactionId ?? message.transactionId)
      })
    } else {
      requests.answered(pending, message, contact, now)
    }
  }

  /** A message is signed with our key: it is our own, or from another node that has the key. */
  const recognise = (
    { body, transactionId }: Message.Message,
    from: Contact,
    pending: PendingRequest | undefined,
    now: number
  ): void => {
    if (pending !== undefined) { if (!pending.hasReturned) tellOwnKey("Answered", from, now) }
    else if (body._tag !== "NatProbeEcho" && !requests.returned(transactionId)) tellOwnKey("Signed", from, now)
  }

  // --- Requests ----------------------------------------------------------------

  const requestUnsafe: Rpc["Service"]["requestUnsafe"] = (peer, body, options, done) => {
    inUse.openUnsafe()
    // Only a response of the request's type reaches `done`.
    return requests.ask(peer, body, options, done as Done)
  }

  const request: Rpc["Service"]["request"] = (peer, body, options) =>
    Effect.callback<Request.Answered<Request.Answers[typeof body["_tag"]]>, Request.RequestError>((resume) => {
      const forget = requestUnsafe(peer, body, options ?? {}, (result) => resume(Effect.fromResult(result)))
      return Effect.sync(forget)
    }).pipe(
      Effect.withSpan("Rpc.request", {
        attributes: { "dht.request": body._tag, "dht.peer": SocketAddress.format(peer) }
      }, { captureStackTrace: false })
    )

  const natProbe: Rpc["Service"]["natProbe"] = Effect.fn("Rpc.natProbe")(function*(via, claimed, options) {
    const token = yield* random.randomBytes(8)
    const key = Hex.encode(token)
    const echo = Deferred.makeUnsafe<void, Transport.TransportClosed>()
    const attempts = options?.attempts ?? Request.defaultAttempts
    const deadline = Duration.toMillis(options?.deadline ?? Request.defaultDeadline)
    const body: Message.Body = { _tag: "NatProbe", token, claimed: SocketAddress.encodeObserved(claimed) }
    echoes.set(key, echo)
    inUse.openUnsafe()
    return yield* Effect.gen(function*() {
      for (let attempt = 0; attempt < attempts; attempt++) {
        const error = send(body, via, transactionId())
        if (error !== undefined) return yield* error
        const came = yield* Effect.timeoutOption(Deferred.await(echo), deadline / attempts)
        if (Option.isSome(came)) return true
      }
      return false
    }).pipe(Effect.ensuring(Effect.sync(() => echoes.delete(key))))
  })

  // --- Services above ------------------------------------------------------------

  const serve: Rpc["Service"]["serve"] = (next) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        if (handler !== undefined) throw new Error("Requests have a handler already: close its scope first")
        handler = next
        inUse.openUnsafe()
      }),
      () =>
        Effect.sync(() => {
          handler = undefined
        })
    )

  const observe: Rpc["Service"]["observe"] = (observer) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        observers.push(observer)
      }),
      () =>
        Effect.sync(() => {
          observers.splice(observers.indexOf(observer), 1)
        })
    )

  // --- The loop ----------------------------------------------------------------

  const handle = (datagrams: ReadonlyArray<Transport.Datagram>): Effect.Effect<void> => {
    const now = clock.currentTimeMillisUnsafe()
    for (const datagram of datagrams) receive(datagram, now)
    // Datagrams wait in the inbox, which is fair to senders. Only this many may
    // wait behind it.
    if (checking >= maxChecking) {
      checked.closeUnsafe()
      return checked.await
    }
    // If the inbox is empty now, the next turn waits anyway.
    return datagrams.length === Transport.batch ? Effect.yieldNow : Effect.void
  }

  yield* transport.receive.pipe(
    Effect.flatMap(handle),
    Effect.catchDefect((defect) => Effect.logError("A batch of datagrams was lost", defect)),
    Effect.forever({ disableYield: true }),
    inUse.whenOpen,
    Effect.catchTag("TransportClosed", () => Effect.void),
    Effect.annotateLogs({ module: "effect-dht/Rpc", fiber: "Receive loop" }),
    Effect.forkScoped
  )

  return Rpc.of({
    request,
    requestUnsafe,
    natProbe,
    serve,
    observe,
    observations: Stream.fromPubSub(observations),
    traffic: Effect.map(transport.dropped, (dropped) => {
      // Datagrams that found the inbox full never reached this module.
      const refusedBy = { ...refused, overload: refused.overload + dropped }
      return {
        ...traffic,
        completed: requests.completed,
        refused: Object.values(refusedBy).reduce((sum, count) => sum + count),
        refusedBy
      }
    }),
    pending: Effect.sync(() => requests.size)
  })
})

/**
 * Requests and responses over the transport, from a receive loop in the layer's
 * scope.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Rpc,
  never,
  | Timers
  | NodeEvents
  | NodeIdentity
  | NodeSettings
  | Transport.Transport
  | Verifier
  | PeerHealth.PeerHealth
  | Reachability
  | SecureRandom.SecureRandom
> = Layer.effect(Rpc, make)
