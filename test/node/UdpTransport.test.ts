import { afterEach, assert, describe, it, vi } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import { createSocket, Socket } from "node:dgram"
import { networkInterfaces } from "node:os"
import * as UdpTransport from "../../src/node/UdpTransport.ts"
import { CannotBind, type Datagram, Transport } from "../../src/Transport.ts"

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

describe("UdpTransport on several addresses", () => {
  /** Ports of a socket that answers, each of them with the next datagram that it receives. */
  const client = (host: string) =>
    Effect.map(
      Effect.acquireRelease(
        Effect.callback<Socket>((resume) => {
          const socket = createSocket(host.includes(":") ? "udp6" : "udp4")
          socket.bind(0, host, () => resume(Effect.succeed(socket)))
        }),
        (socket) => Effect.sync(() => socket.close())
      ),
      (socket) => {
        const arrived: Array<{ readonly payload: Uint8Array; readonly from: string }> = []
        const waiting: Array<() => void> = []
        socket.on("message", (payload, { address, port }) => {
          arrived.push({ payload: Uint8Array.from(payload), from: `${address}:${port}` })
          waiting.shift()?.()
        })
        return {
          address: { host, port: socket.address().port },
          send: (payload: Uint8Array, to: { readonly host: string; readonly port: number }) =>
            Effect.sync(() => socket.send(payload, to.port, to.host)),
          next: Effect.andThen(
            Effect.callback<void>((resume) => {
              if (arrived.length > 0) return resume(Effect.void)
              waiting.push(() => resume(Effect.void))
            }),
            Effect.sync(() => arrived.shift()!)
          )
        }
      }
    )

  const hosts = ["127.0.0.1", "127.0.0.2", ...(hasIpv6 ? ["::1"] : [])]

  const openOn = (hosts: ReadonlyArray<string>) => {
    const [first, ...others] = hosts.map((host) => ({ host, port: 0 }))
    return open(UdpTransport.layer([first, ...others]))
  }

  it.live("listens on each, and names them in the order given", () =>
    Effect.gen(function*() {
      const a = yield* openOn(hosts)
      assert.deepStrictEqual(a.addresses.map(({ host }) => host), hosts)
      for (const address of a.addresses) {
        const b = yield* client(address.host)
        yield* b.send(bytes(0xa4, 7), address)
        const [{ from, payload }] = yield* a.receive
        assert.deepStrictEqual([payload[1], from.host, from.port], [7, b.address.host, b.address.port])
      }
    }))

  it.live("answers each datagram by the socket that it came in on, though the peer has sent to the others since", () =>
    Effect.gen(function*() {
      const a = yield* openOn(["127.0.0.1", "127.0.0.2"])
      const b = yield* client("127.0.0.3")
      for (const to of a.addresses) yield* b.send(bytes(0xa4, 7), to)
      const received: Array<Datagram> = []
      while (received.length < a.addresses.length) received.push(...yield* a.receive)
      for (const { from } of received.reverse()) yield* a.send(bytes(0xa4, from.via ?? 9), from)
      for (let i = 0; i < a.addresses.length; i++) {
        const { from, payload } = yield* b.next
        const { host, port } = a.addresses[payload[1]]
        assert.strictEqual(from, `${host}:${port}`)
      }
    }))

  it.live("returns an echo probe by the socket that it came in on", () =>
    Effect.gen(function*() {
      const a = yield* openOn(hosts)
      for (const address of a.addresses) {
        const b = yield* client(address.host)
        yield* b.send(bytes(0x00, 0xec, 1), address)
        assert.strictEqual((yield* b.next).from, `${address.host}:${address.port}`)
      }
    }))

  it.live("sends to a peer by the socket on which it last heard from it, otherwise by one of its family and scope", () =>
    Effect.gen(function*() {
      const a = yield* openOn(["0.0.0.0", "127.0.0.2", ...hosts.slice(2)])
      const b = yield* client("127.0.0.3")
      const bound = (i: number) => `${a.addresses[i].host}:${a.addresses[i].port}`
      yield* a.send(bytes(0xa4), b.address)
      assert.strictEqual((yield* b.next).from, bound(1))
      yield* b.send(bytes(0xa4), { host: "127.0.0.1", port: a.addresses[0].port })
      yield* a.receive
      yield* a.send(bytes(0xa4), b.address)
      assert.strictEqual((yield* b.next).from, `127.0.0.1:${a.addresses[0].port}`)
      if (!hasIpv6) return
      const c = yield* client("::1")
      yield* a.send(bytes(0xa4), c.address)
      assert.strictEqual((yield* c.next).from, bound(2))
    }))

  it.live("shows as its address the one that most peers can reach", () =>
    Effect.gen(function*() {
      const a = yield* openOn(["127.0.0.1", "0.0.0.0", "127.0.0.2"])
      assert.deepStrictEqual(a.address, a.addresses[1])
    }))

  it.live("takes [::] for IPv6 only beside an address of IPv4", () =>
    Effect.gen(function*() {
      if (!hasIpv6) return
      const probe = yield* Effect.scoped(openOn(["127.0.0.1"]))
      const { port } = probe.address
      const a = yield* open(UdpTransport.layer([{ host: "0.0.0.0", port }, { host: "::", port }]))
      for (const host of ["127.0.0.1", "::1"]) {
        const b = yield* client(host)
        yield* b.send(bytes(0xa4), { host, port })
        assert.strictEqual((yield* a.receive)[0].from.host, host)
      }
    }))

  it.live("names the address that cannot be bound, and releases the others", () =>
    Effect.gen(function*() {
      const taken = yield* openOn(["127.0.0.2"])
      const { port } = (yield* Effect.scoped(openOn(["127.0.0.1"]))).address
      const free = { host: "127.0.0.1", port }
      for (
        const [listen, message] of [
          [[free, taken.address], `Cannot listen on 127.0.0.2:${taken.address.port}: the port is in use`],
          [
            [free, { host: "192.0.2.1", port }],
            `Cannot listen on 192.0.2.1:${port}: this machine does not have that address`
          ],
          [[free, free], `Cannot listen on 127.0.0.1:${port}: the port is in use`]
        ] as const
      ) {
        assert.strictEqual((yield* Effect.flip(open(UdpTransport.layer(listen)))).message, message)
        yield* Effect.scoped(open(UdpTransport.layer(free)))
      }
    }))

  it.live("frees all ports with its scope", () =>
    Effect.gen(function*() {
      const closed = yield* Effect.scoped(openOn(hosts))
      for (const address of closed.addresses) yield* open(UdpTransport.layer(address))
    }))

  it.live("rejects destinations of a family that no socket has", () =>
    Effect.gen(function*() {
      const a = yield* openOn(["127.0.0.1", "127.0.0.2"])
      assert.strictEqual((yield* Effect.flip(a.send(bytes(0xa4), { host: "::1", port: 1 })))._tag, "Unroutable")
    }))
})
