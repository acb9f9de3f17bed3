import { afterEach, assert, describe, it, vi } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import { createSocket, Socket } from "node:dgram"
import { networkInterfaces } from "node:os"
import * as UdpTransport from "../../src/node/UdpTransport.ts"
import { CannotBind, Transport } from "../../src/Transport.ts"

const open = (layer: ReturnType<typeof UdpTransport.layer>) =>
  Effect.map(Layer.build(Layer.fresh(layer)), (context) => Context.get(context, Transport))
const hasIpv6 = Object.values(networkInterfaces()).flat().some((one) => one?.address === "::1")
const bytes = (...values: Array<number>) => Uint8Array.from(values)

const families = [
  ["IPv4", UdpTransport.layer({ host: "127.0.0.1", port: 0 }), "127.0.0.1"] as const,
  ...(hasIpv6
    ? [
      ["IPv6", UdpTransport.layer({ host: "::1", port: 0 }), "::1"] as const,
      ["both families at once, to IPv4", UdpTransport.layer({ host: "::", port: 0 }), "127.0.0.1"] as const,
      ["both families at once, to IPv6", UdpTransport.layer({ host: "::", port: 0 }), "::1"] as const
    ]
    : [])
]

const own = { host: "127.0.0.1", port: 0 }

afterEach(() => {
  vi.restoreAllMocks()
})

describe("UdpTransport", () => {
  for (const [name, layer, host] of families) {
    it.live(`sends and receives over ${name}`, () =>
      Effect.gen(function*() {
        const a = yield* open(layer)
        const b = yield* open(layer)
        yield* a.send(bytes(0xa4, 7), { host, port: b.address.port })
        const [datagram] = yield* b.receive
        assert.deepStrictEqual(Uint8Array.from(datagram.payload), bytes(0xa4, 7))
        assert.deepStrictEqual(datagram.from, { host, port: a.address.port })
        yield* b.send(bytes(0xa4, 8), datagram.from)
        assert.strictEqual((yield* a.receive)[0].payload[1], 8)
      }))
  }

  it.live("returns an echo probe unchanged", () =>
    Effect.gen(function*() {
      const a = yield* open(UdpTransport.layer({ host: "127.0.0.1", port: 0 }))
      const probe = bytes(0x00, 0xec, 1, 2, 3)
      const echo = yield* Effect.callback<Uint8Array>((resume) => {
        const socket = createSocket("udp4", (payload) => {
          socket.close()
          resume(Effect.succeed(Uint8Array.from(payload)))
        })
        socket.send(probe, a.address.port, a.address.host)
      })
      assert.deepStrictEqual(echo, probe)
    }))

  it.live("reports a port in use", () =>
    Effect.gen(function*() {
      const a = yield* open(UdpTransport.layer({ host: "127.0.0.1", port: 0 }))
      const error = yield* Effect.flip(open(UdpTransport.layer(a.address)))
      assert.strictEqual(error.message, `Cannot listen on 127.0.0.1:${a.address.port}: the port is in use`)
    }))

  it.live("reports an address of another machine", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(open(UdpTransport.layer({ host: "192.0.2.1", port: 0 })))
      assert.strictEqual(error.kind, "AddressNotAvailable")
    }))

  it.live("rejects unreachable destinations, and does not throw", () =>
    Effect.gen(function*() {
      const a = yield* open(UdpTransport.layer({ host: "127.0.0.1", port: 0 }))
      for (
        const to of [
          { host: "::1", port: 1 },
          { host: "alice", port: 1 },
          { host: "", port: 1 },
          { host: "127.0.0.1", port: 0 },
          { host: "127.0.0.1", port: 65536 },
          { host: "127.0.0.1", port: NaN }
        ]
      ) {
        assert.strictEqual((yield* Effect.flip(a.send(bytes(0xa4), to)))._tag, "Unroutable", JSON.stringify(to))
      }
    }))

  it.live("frees its port with its scope, and no longer sends", () =>
    Effect.gen(function*() {
      const closed = yield* Effect.scoped(open(UdpTransport.layer({ host: "127.0.0.1", port: 0 })))
      assert.strictEqual((yield* Effect.flip(closed.send(bytes(0xa4), closed.address)))._tag, "TransportClosed")
      yield* open(UdpTransport.layer(closed.address))
    }))

  it.live("takes a smaller buffer if the kernel refuses a large one", () =>
    Effect.gen(function*() {
      const { setRecvBufferSize } = Socket.prototype
      const asked: Array<number> = []
      vi.spyOn(Socket.prototype, "setRecvBufferSize").mockImplementation(function(this: Socket, bytes) {
        asked.push(bytes)
        if (bytes > 1 << 20) throw new Error("ENOBUFS")
        setRecvBufferSize.call(this, bytes)
      })
      const a = yield* open(UdpTransport.layer(own))
      yield* a.send(bytes(0xa4), a.address)
      assert.strictEqual((yield* a.receive)[0].payload[0], 0xa4)
      assert.deepStrictEqual(asked, [1 << 21, 1 << 20])
    }))

  it.live("listens with default buffers if the kernel refuses larger ones, and logs it", () =>
    Effect.gen(function*() {
      const refuse = () => {
        throw new Error("ENOBUFS")
      }
      vi.spyOn(Socket.prototype, "setRecvBufferSize").mockImplementation(refuse)
      vi.spyOn(Socket.prototype, "setSendBufferSize").mockImplementation(refuse)
      const logged: Array<string> = []
      const logger = Logger.make(({ logLevel, message }) => void logged.push(`${logLevel}: ${String(message)}`))
      const a = yield* open(UdpTransport.layer(own)).pipe(
        Effect.provide(Logger.layer([logger])),
        Effect.provideService(References.MinimumLogLevel, "Debug")
      )
      yield* a.send(bytes(0xa4), a.address)
      assert.strictEqual((yield* a.receive)[0].payload[0], 0xa4)
      assert.deepStrictEqual(logged, [
        "Debug: The kernel refused a larger receive buffer: Error: ENOBUFS",
        "Debug: The kernel refused a larger send buffer: Error: ENOBUFS"
      ])
    }))

  it.live("fails typed and keeps no socket if listening throws", () =>
    Effect.gen(function*() {
      for (const port of [-1, 65536, 1.5, NaN]) {
        assert.instanceOf(yield* Effect.flip(open(UdpTransport.layer({ ...own, port }))), CannotBind, String(port))
      }
      const { port } = (yield* Effect.scoped(open(UdpTransport.layer(own)))).address
      const bind: (options: object, done: () => void) => Socket = Socket.prototype.bind
      const spy = vi.spyOn(Socket.prototype, "bind").mockImplementation(function(this: Socket, ...args) {
        Reflect.apply(bind, this, args)
        throw new Error("refused")
      })
      const error = yield* Effect.flip(open(UdpTransport.layer({ ...own, port })))
      assert.instanceOf(error, CannotBind)
      assert.include(error.message, "refused")
      spy.mockRestore()
      yield* open(UdpTransport.layer({ ...own, port }))
    }))
})
