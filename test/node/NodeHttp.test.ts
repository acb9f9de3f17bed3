import { assert, describe, it, vi } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Net from "node:net"
import * as NodeHttp from "../../src/node/NodeHttp.ts"
import { NodeEvents } from "../../src/NodeEvents.ts"
import * as Transport from "../../src/Transport.ts"
import { reader } from "../utils/httpNode.ts"
import * as Network from "../utils/network.ts"

/** The server of an isolated node, on a free port. */
const serve = (options: NodeHttp.Options = {}) =>
  Effect.gen(function*() {
    const node = yield* Network.node("a", Network.socketOf(1))
    const context = yield* Effect.provideContext(Layer.build(NodeHttp.layer({ port: 0, ...options })), node)
    const address = yield* Effect.provideContext(NodeHttp.localAddress, context)
    return { node, ...address }
  }).pipe(Effect.provide(Layer.fresh(Transport.layerMemoryNetwork)))

const connect = (port: number) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const socket = Net.connect(port, "127.0.0.1").on("error", () => {})
      await once(socket, "connect")
      return socket
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

const get = (port: number, path: string, headers: Record<string, string> = {}) =>
  Effect.promise(() => fetch(`http://127.0.0.1:${port}${path}`, { headers }))

const token = "0123456789abcdef"

describe("NodeHttp", () => {
  it.live("serves the node on this machine only, by default", () =>
    Effect.gen(function*() {
      const { host, node, port } = yield* serve()
      assert.strictEqual(host, "127.0.0.1")
      const body = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/debug/identity`).then((r) => r.text()))
      assert.include(body, Network.dht(node).nodeId)
    }))

  it.live("reports that its port is in use", () =>
    Effect.gen(function*() {
      const { port } = yield* serve()
      const error = yield* Effect.flip(serve({ port }))
      assert.strictEqual(error._tag, "CannotServe")
      assert.strictEqual(error.message, `Cannot serve HTTP on 127.0.0.1:${port}: the port is in use`)
    }))

  it.live("reports an invalid port", () =>
    Effect.gen(function*() {
      for (const port of [-1, 65536, 1.5, NaN]) {
        assert.strictEqual((yield* Effect.flip(serve({ port })))._tag, "CannotServe", String(port))
      }
    }))

  it.live("continues after a connection cannot be accepted", () =>
    Effect.gen(function*() {
      const listen = vi.spyOn(Net.Server.prototype, "listen")
      const { port } = yield* serve()
      const [server] = listen.mock.contexts as Array<Net.Server>
      listen.mockRestore()
      // Without a listener, Node would throw this.
      server.emit("error", new Error("accept EMFILE"))
      assert.strictEqual((yield* get(port, "/debug/identity")).status, 200)
    }))

  it.live("serves other machines only with a token", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(serve({ host: "0.0.0.0" }))
      assert.strictEqual(error._tag, "TokenNeeded")
      assert.match(error.message, /^HTTP on 0\.0\.0\.0:\d+ can be reached from other machines and needs a token$/)
      const { port } = yield* serve({ host: "0.0.0.0", token: Redacted.make(token) })
      assert.strictEqual((yield* get(port, "/debug/identity")).status, 401)
      assert.strictEqual((yield* get(port, "/debug/identity", { authorization: "Bearer x" })).status, 401)
      assert.strictEqual((yield* get(port, "/debug/identity", { authorization: `Bearer ${token}` })).status, 200)
    }))

  it.live("serves other machines with a token for every request only", () =>
    Effect.gen(function*() {
      for (const options of [{ token: Redacted.make(token), readable: true }, { open: true }]) {
        assert.strictEqual((yield* Effect.flip(serve({ host: "0.0.0.0", ...options })))._tag, "TokenNeeded")
      }
    }))

  it.live("needs the token for what acts for the node, and for all else if it is not readable", () =>
    Effect.gen(function*() {
      const { port } = yield* serve({ token: Redacted.make(token), readable: true })
      assert.strictEqual((yield* get(port, "/debug/identity")).status, 200)
      assert.strictEqual((yield* get(port, "/v1/mail")).status, 401)
      assert.strictEqual((yield* get(port, "/v1/mail", { authorization: `Bearer ${token}` })).status, 200)
      const open = yield* serve({ open: true })
      assert.strictEqual((yield* get(open.port, "/v1/mail")).status, 200)
    }))

  it.live("rejects a token that is guessable, or cannot be sent in a header", () =>
    Effect.gen(function*() {
      for (const unusable of [token.slice(1), `${token} x`, `${token}\n`, `${token}é`]) {
        const error = yield* Effect.flip(serve({ token: Redacted.make(unusable) }))
        assert.strictEqual(
          error.message,
          "The token has fewer than 16 characters, or characters that are not visible ASCII"
        )
      }
    }))

  it.live("accepts its own host names, and no others", () =>
    Effect.gen(function*() {
      const { port } = yield* serve({ host: "localhost" })
      /** The status line of the response to a request with this host. */
      const ask = Effect.fnUntraced(function*(host: string) {
        const socket = yield* connect(port)
        socket.write(`GET /debug/identity HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)
        const [bytes] = yield* Effect.promise(() => once(socket, "data"))
        return String(bytes).split("\r\n")[0]
      })
      assert.strictEqual(yield* ask(`localhost:${port}`), "HTTP/1.1 200 OK")
      assert.strictEqual(yield* ask(`127.0.0.1:${port}`), "HTTP/1.1 200 OK")
      assert.strictEqual(yield* ask(`evil.example:${port}`), "HTTP/1.1 421 Misdirected Request")
      assert.strictEqual(yield* ask("localhost"), "HTTP/1.1 421 Misdirected Request")
    }))

  it.live("rejects a long body", () =>
    Effect.gen(function*() {
      const { port } = yield* serve()
      const response = yield* Effect.promise(() =>
        fetch(`http://127.0.0.1:${port}/v1/lookup`, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ kind: "topic", value: "x".repeat(5000) })
        })
      )
      assert.strictEqual(response.status, 413)
    }))

  /** Resolves when the server has closed the connection. */
  const closed = (socket: Net.Socket) =>
    Effect.promise(() => new Promise<void>((resolve) => socket.destroyed ? resolve() : socket.once("close", resolve)))

  const head = (port: number, method: string, path: string) =>
    `${method} ${path} HTTP/1.1\r\nHost: localhost:${port}\r\nContent-Type: application/json\r\n`

  for (
    const [what, request] of [
      ["that says nothing", () => ""],
      ["that does not end the head of its request", (port: number) => head(port, "GET", "/debug/stats")],
      [
        "that does not send its announced body",
        (port: number) => `${head(port, "POST", "/v1/lookup")}Content-Length: 40\r\n\r\n{`
      ]
    ] as const
  ) {
    it.live(`closes a connection ${what}`, () =>
      Effect.gen(function*() {
        const { port } = yield* serve({ requestTimeout: "50 millis" })
        const socket = yield* connect(port)
        socket.resume().write(request(port))
        yield* closed(socket)
      }), 10_000)
  }

  it.live("serves a new client however many idle ones are connected", () =>
    Effect.gen(function*() {
      const { port } = yield* serve()
      const idle: Array<Net.Socket> = []
      const join = Effect.fnUntraced(function*(request: string) {
        const socket = (yield* connect(port)).resume()
        socket.write(request)
        idle.push(socket)
        return socket
      })
      const first = yield* join("")
      const answered = yield* join(`${head(port, "GET", "/v1/events")}\r\n`)
      yield* Effect.promise(() => once(answered, "data"))
      for (const request of ["", head(port, "GET", "/debug/stats"), `${head(port, "GET", "/debug/stats")}\r\n`]) {
        for (let i = 0; i < NodeHttp.maxConnections / 2; i++) yield* join(request)
      }
      // The longest idle connection made room, and the one being answered did not.
      yield* closed(first)
      for (let i = 0; i < 3; i++) assert.strictEqual((yield* get(port, "/debug/stats")).status, 200)
      assert.isFalse(answered.destroyed)
    }), 20_000)

  it.live("speaks HTTP only and ignores upgrade requests", () =>
    Effect.gen(function*() {
      const { port } = yield* serve()
      const socket = yield* connect(port)
      for (let i = 0; i < 2; i++) {
        socket.write(`${head(port, "GET", "/debug/stats")}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n`)
        const [bytes] = yield* Effect.promise(() => once(socket, "data"))
        assert.match(String(bytes), /^HTTP\/1\.1 200 OK/)
      }
    }))

  it.live("waits for no client when its scope closes, and frees the port", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { port } = yield* Scope.provide(serve(), scope)
      yield* connect(port)
      const half = yield* connect(port)
      half.write("GET /debug/stats HTTP/1.1\r\nHost: localhost\r\n")
      const ended = new Promise((resolve) => half.on("close", resolve))
      yield* Scope.close(scope, Exit.void)
      yield* Effect.promise(() => ended)
      assert.strictEqual((yield* serve({ port })).port, port)
    }))

  it.live("ends event streams in order when its scope closes", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { port } = yield* Scope.provide(serve(), scope)
      const { next } = reader(yield* get(port, "/v1/events"))
      yield* next
      yield* Scope.close(scope, Exit.void)
      // With a broken connection, the next read would fail.
      while ((yield* next) !== undefined);
    }))

  it.live("queues a bounded number of events for a client that does not read", () =>
    Effect.gen(function*() {
      const { node, port } = yield* serve()
      const events = Context.get(node, NodeEvents)
      const socket = yield* connect(port)
      socket.write(`GET /v1/events HTTP/1.1\r\nHost: localhost:${port}\r\n\r\n`)
      yield* Effect.promise(() => once(socket, "readable"))
      const contact = Network.contactOf(node)
      const told = 200_000
      for (let bucket = 1; bucket <= told; bucket++) {
        events.tellUnsafe({ _tag: "PeerAdded", at: 0, contact, bucket })
        if (bucket % 500 === 0) yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
      }
      // The events sent before the client stopped reading, and the newest.
      let received = ""
      socket.on("data", (bytes) => {
        received += bytes.toString("latin1")
      })
      while (!received.includes(`"bucket":${told}}`)) yield* Effect.promise(() => once(socket, "data"))
      const count = received.split("\nevent: peer-added\n").length - 1
      assert.isBelow(count, told / 2)
    }))
})
