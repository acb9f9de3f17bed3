/**
 * A protocol of its own over the UDP port of a node: lines of text, each repeated
 * until it is acknowledged. The node finds the way, also between two routers.
 *
 * `talk.ts` runs it on real sockets, `intercom.test.ts` in a simulated network.
 *
 * A datagram of this protocol has bit 0x40 in its first byte, which tells it apart
 * from those of the DHT: `T`, the number of the line and its text, or `A` and the
 * number of a line that arrived. Anyone can send such datagrams, and on their way
 * anyone can read them: a real protocol would encrypt, as QUIC does.
 */
import { SocketAddress, Transport } from "effect-dht"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"

/** A line, and where it came from. */
export interface Line {
  readonly from: SocketAddress.SocketAddress
  readonly text: string
}

/** A line was sent several times and never acknowledged. */
export class Unheard extends Data.TaggedError("Unheard")<{ readonly to: SocketAddress.SocketAddress }> {
  override get message() {
    return `${SocketAddress.format(this.to)} acknowledges nothing`
  }
}

const [line, acknowledgement] = ["T".charCodeAt(0), "A".charCodeAt(0)]

const datagram = (kind: number, number: number, text = ""): Uint8Array =>
  Uint8Array.of(kind, number >> 8, number & 255, ...new TextEncoder().encode(text))

/** Senders whose latest line is remembered. */
const maxSenders = 64

/** How often a line is sent, and the time between. */
const attempts = 8
const pause = "250 millis"

export class Intercom extends Context.Service<Intercom, {
  /** Sends a line, and succeeds once it has been acknowledged. */
  readonly say: (to: SocketAddress.SocketAddress, text: string) => Effect.Effect<void, Unheard>
  /** The lines that arrive from now on, each once. */
  readonly lines: Stream.Stream<Line>
}>()("example/Intercom") {
  static readonly layer: Layer.Layer<Intercom, never, Transport.Transport> = Layer.effect(
    Intercom,
    Effect.gen(function*() {
      const { foreign } = yield* Transport.Transport
      const lines = yield* PubSub.sliding<Line>(64)
      const waiting = new Map<string, Deferred.Deferred<void>>()
      /** The number of the latest line of each sender. */
      const latest = new Map<string, number>()
      let next = 0

      const received = Effect.fnUntraced(function*({ from, payload }: Transport.Datagram) {
        const peer = SocketAddress.format(from)
        const number = payload[1] << 8 | payload[2]
        if (payload[0] === acknowledgement) {
          const sent = waiting.get(`${peer} ${number}`)
          if (sent !== undefined) yield* Deferred.succeed(sent, undefined)
        } else if (payload[0] === line) {
          yield* Effect.ignore(foreign.send(datagram(acknowledgement, number), from))
          if (latest.get(peer) === number) return
          // Anyone can send, so what is remembered is bounded.
          if (latest.size >= maxSenders) latest.clear()
          latest.set(peer, number)
          yield* PubSub.publish(lines, { from, text: new TextDecoder().decode(payload.subarray(3)) })
        }
      })

      yield* foreign.receive.pipe(
        Effect.flatMap((datagrams) => Effect.forEach(datagrams, received, { discard: true })),
        Effect.forever,
        Effect.forkScoped
      )

      const say = (to: SocketAddress.SocketAddress, text: string) => {
        const number = next = (next + 1) & 0xffff
        const key = `${SocketAddress.format(to)} ${number}`
        const heard = Deferred.makeUnsafe<void>()
        waiting.set(key, heard)
        const sending = foreign.send(datagram(line, number, text), to).pipe(
          Effect.ignore,
          Effect.andThen(Effect.sleep(pause)),
          Effect.repeat({ times: attempts - 1 }),
          Effect.andThen(Effect.fail(new Unheard({ to })))
        )
        return Effect.raceFirst(Deferred.await(heard), sending).pipe(
          Effect.ensuring(Effect.sync(() => waiting.delete(key)))
        )
      }

      return Intercom.of({ say, lines: Stream.fromPubSub(lines) })
    })
  )
}
