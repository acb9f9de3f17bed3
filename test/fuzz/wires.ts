/**
 * How datagrams reach the node that is fuzzed: by a function call, or by sockets
 * on the loopback network.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { createSocket, type Socket } from "node:dgram"
import { once } from "node:events"
import * as UdpTransport from "../../src/node/UdpTransport.ts"
import type * as SocketAddress from "../../src/SocketAddress.ts"
import type { Prng } from "../../src/testing/internal/prng.ts"
import * as Transport from "../../src/Transport.ts"

/** A datagram of the node. */
export interface Sent {
  readonly bytes: Uint8Array
  readonly to: SocketAddress.SocketAddress
}

export interface Wired {
  /** The node's transport and its address. */
  readonly layer: Layer.Layer<Transport.Transport>
  readonly here: SocketAddress.SocketAddress
  readonly deliver: (bytes: Uint8Array, from: SocketAddress.SocketAddress) => void
  /** The address of peer 0 to 15. */
  readonly peerAddress: (index: number) => SocketAddress.SocketAddress
  /** The address of an attacker. */
  readonly anyAddress: (prng: Prng) => SocketAddress.SocketAddress
}

export type Wire = (sent: (datagram: Sent) => void) => Effect.Effect<Wired, never, Scope.Scope>

/** Each datagram is received before the call returns. Attackers have any address. */
export const inProcess: Wire = (sent) =>
  Effect.sync(() => {
    const here = { host: "198.51.100.1", port: 4121 }
    let receiver: Transport.Deliver = () => true
    return {
      here,
      layer: Layer.effect(
        Transport.Transport,
        Transport.fromSocket((deliver) => {
          receiver = deliver
          return Effect.succeed({ address: here, transmit: (bytes, to) => void sent({ bytes, to }) })
        }, { capacity: 1024, perSender: 256 })
      ),
      deliver: (bytes, from) => void receiver(bytes, from),
      peerAddress: (index) => ({ host: `192.0.2.${index + 1}`, port: 4000 + index }),
      anyAddress: (prng) => ({
        host: `${1 + prng.below(100)}.${prng.below(256)}.${prng.below(256)}.${1 + prng.below(254)}`,
        port: 1024 + prng.below(60_000)
      })
    }
  })

/** Sockets of 127.1.0.1 to 127.1.0.64, of which the first 16 are the peers'. */
export const loopback: Wire = Effect.fnUntraced(function*(sent) {
  const sockets = yield* Effect.forEach(
    Array.from({ length: 64 }, (_, i) => `127.1.0.${i + 1}`),
    (host) =>
      Effect.acquireRelease(
        Effect.promise(async () => {
          const socket = createSocket({ type: "udp4", recvBufferSize: 1 << 20, sendBufferSize: 1 << 20 })
          socket.bind(0, host)
          await once(socket, "listening")
          return socket
        }),
        (socket) => Effect.sync(() => socket.close())
      )
  )
  const addressOf = (socket: Socket): SocketAddress.SocketAddress => {
    const { address: host, port } = socket.address()
    return { host, port }
  }
  const at = new Map<string, Socket>()
  for (const socket of sockets) {
    const to = addressOf(socket)
    at.set(to.host, socket)
    socket.on("message", (bytes) => sent({ bytes, to }))
  }
  const udp = yield* Effect.orDie(Layer.build(UdpTransport.layerIpv4({ host: "127.0.0.1", port: 0 })))
  const here = Context.get(udp, Transport.Transport).address
  return {
    here,
    layer: Layer.succeedContext(udp),
    deliver: (bytes, { host }) => at.get(host)?.send(bytes, here.port, here.host),
    peerAddress: (index) => addressOf(sockets[index]),
    anyAddress: (prng) => addressOf(sockets[16 + prng.below(48)])
  }
})
