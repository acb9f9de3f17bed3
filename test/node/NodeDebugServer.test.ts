import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { once } from "node:events"
import * as Net from "node:net"
import * as NodeDebugServer from "../../src/node/NodeDebugServer.ts"
import * as Transport from "../../src/Transport.ts"
import * as Network from "../utils/network.ts"

/** The debug server of a node that nobody else knows, on a port that is free. */
const serve = (port = 0) =>
  Effect.gen(function*() {
    const node = yield* Network.node("a", Network.socketOf(1))
    const context = yield* Effect.provideContext(Layer.build(NodeDebugServer.layer({ port })), node)
    const address = yield* Effect.provideContext(NodeDebugServer.localAddress, context)
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

describe("NodeDebugServer", () => {
  it.live("serves the node on this machine only, unless told otherwise", () =>
    Effect.gen(function*() {
      const { host, node, port } = yield* serve()
      assert.strictEqual(host, "127.0.0.1")
      const response = yield* Effect.promise(() => fetch(`http://127.0.0.1:${port}/debug/identity`))
      const body = yield* Effect.promise(() => response.text())
      assert.include(body, Network.dht(node).nodeId)
    }))

  it.live("says that its port is in use", () =>
    Effect.gen(function*() {
      const { port } = yield* serve()
      const error = yield* Effect.flip(serve(port))
      assert.strictEqual(error._tag, "CannotServe")
      assert.strictEqual(error.message, `Cannot serve HTTP on 127.0.0.1:${port}: the port is in use`)
    }))

  it.live("waits for no client when its scope closes, and gives the port back", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { port } = yield* Scope.provide(serve(), scope)
      yield* connect(port)
      const half = yield* connect(port)
      half.write("GET /debug/stats HTTP/1.1\r\nHost: localhost\r\n")
      const ended = new Promise((resolve) => half.on("close", resolve))
      yield* Scope.close(scope, Exit.void)
      yield* Effect.promise(() => ended)
      assert.strictEqual((yield* serve(port)).port, port)
    }))
})
