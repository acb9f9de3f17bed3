/**
 * The debug documents of a node on a port of their own, on `node:http`.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServer } from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import { createServer } from "node:http"
import type { Dht } from "../Dht.ts"
import * as DebugServer from "../http/DebugServer.ts"
import type { Routing } from "../Routing.ts"
import type { SeenPeers } from "../SeenPeers.ts"
import * as SocketAddress from "../SocketAddress.ts"
import type { Store } from "../Store.ts"

/**
 * Where to serve. A name stands for the first address it resolves to; port 0
 * lets the system choose a free one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Defaults to 127.0.0.1, which only this machine reaches. */
  readonly host?: string | undefined
  /** Defaults to 2634. */
  readonly port?: number | undefined
}

/**
 * The server cannot have that address.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotServe extends Data.TaggedError("CannotServe")<{
  readonly address: SocketAddress.SocketAddress
  readonly cause: unknown
}> {
  override get message() {
    const { code, message } = this.cause as NodeJS.ErrnoException
    const why = code === "EADDRINUSE" ? "the port is in use" : message
    return `Cannot serve HTTP on ${SocketAddress.format(this.address)}: ${why}`
  }
}

/**
 * Serves {@link DebugServer.routes} until the layer's scope closes, which ends
 * open connections at once. See {@link localAddress} for the port it has.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<HttpServer, CannotServe, Dht | Routing | SeenPeers | Store> => {
  const { host = "127.0.0.1", port = 2634 } = options
  return Layer.unwrap(Effect.sync(() => {
    const server = createServer()
    // Runs first of all finalizers: the others wait for clients to hang up.
    const hangUp = Layer.effectDiscard(Effect.addFinalizer(() =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
    ))
    return hangUp.pipe(
      Layer.provideMerge(
        HttpRouter.serve(DebugServer.routes, { disableLogger: true, disableListenLog: true })
      ),
      Layer.provideMerge(NodeHttpServer.layerServer(() => server, { host, port })),
      Layer.catch((error: ServeError) =>
        Layer.effectContext(new CannotServe({ address: { host, port }, cause: error.cause }))
      )
    )
  }))
}

/**
 * Where the server is bound, with the port that was chosen. Dies for a server
 * on a Unix socket.
 *
 * @category accessors
 * @since 0.1.0
 */
export const localAddress: Effect.Effect<SocketAddress.SocketAddress, never, HttpServer> = HttpServer.use((server) =>
  server.address._tag === "UnixPathAddress"
    ? Effect.die(new Error("The HTTP server has no IP address"))
    : Effect.succeed({ host: NetAddress.formatIp(server.address.address), port: server.address.port })
)
