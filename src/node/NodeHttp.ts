/**
 * An HTTP server of its own for a node's documents, events, metrics, lookups
 * and dashboard, on `node:http`.
 *
 * @module
 * @since 0.1.0
 */
import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodePath from "@effect/platform-node/NodePath"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import { HttpServer } from "effect/http/HttpServer"
import type { ServeError } from "effect/http/HttpServerError"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import { createServer } from "node:http"
import { BlockList, isIP } from "node:net"
import * as Dashboard from "../http/Dashboard.ts"
import { EventStreams } from "../http/EventStreams.ts"
import * as Guard from "../http/Guard.ts"
import * as Routes from "../http/Routes.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { limitConnections } from "./internal/connections.ts"
import * as ProcessMetrics from "./ProcessMetrics.ts"

/**
 * Address, access and limits of the server. A host name stands for the first
 * address it resolves to; port 0 lets the system choose a free one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Routes.Options, Pick<Guard.Options, "readable" | "origins"> {
  /** Defaults to 127.0.0.1, reachable from this machine only. */
  readonly host?: string | undefined
  /** Defaults to 2634. */
  readonly port?: number | undefined
  /**
   * Token that requests send as `Authorization: Bearer …`; required unless the
   * address is a loopback address. With `readable` only what acts for the node
   * needs it. Without a token nothing acts for the node, unless it is `open`.
   */
  readonly token?: Redacted.Redacted<string> | undefined
  /** Time for a client to send a complete request, from its first byte or from connecting. Defaults to 10 seconds. */
  readonly requestTimeout?: Duration.Input | undefined
}

/**
 * The server cannot listen on the address.
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
 * The address is reachable from other machines and there is no token, or the
 * token is short enough to be guessed, or it cannot be sent in a header.
 *
 * @category errors
 * @since 0.1.0
 */
export class TokenNeeded extends Data.TaggedError("TokenNeeded")<{
  readonly address: SocketAddress.SocketAddress
  readonly reason: "Missing" | "Unusable"
}> {
  override get message() {
    return this.reason === "Unusable"
      ? `The token has fewer than ${minTokenLength} characters, or characters that are not visible ASCII`
      : `HTTP on ${SocketAddress.format(this.address)} can be reached from other machines and needs a token`
  }
}

/**
 * Minimum number of characters of a token.
 *
 * @category constants
 * @since 0.1.0
 */
export const minTokenLength = 16

const isUsable = (token: string): boolean => token.length >= minTokenLength && /^[\x21-\x7e]+$/.test(token)

/**
 * Maximum number of open connections, event streams included. Beyond it, a new
 * connection replaces an idle one.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxConnections = 256

/** Time for clients of event streams to receive the end of the stream. */
const goodbye = "500 millis"

/** Milliseconds that a connection may be idle between two requests. */
const keepAliveTimeout = 5000

/** Milliseconds within which a client must read some of its response; event streams send more often than that. */
const readTimeout = 30_000

/** Checks per request timeout: Node closes late connections only when it checks. */
const checksPerTimeout = 10

const loopback = new BlockList()
loopback.addSubnet("127.0.0.0", 8)
loopback.addAddress("::1", "ipv6")

const isLoopback = (host: string): boolean => loopback.check(host, isIP(host) === 6 ? "ipv6" : "ipv4")

const isEverywhere = (host: string): boolean => host === "0.0.0.0" || host === "::"

/**
 * Serves {@link Routes} and {@link Dashboard} behind a {@link Guard} until the
 * layer's scope closes, which ends open connections at once. From then on
 * {@link ProcessMetrics} are registered. See {@link localAddress} for the port in
 * use.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<HttpServer | EventStreams, CannotServe | TokenNeeded, Routes.Services> => {
  const {
    host = "127.0.0.1",
    open = false,
    origins,
    port = 2634,
    readable,
    records,
    requestTimeout = "10 seconds",
    token
  } = options
  const guarded = Layer.unwrap(Effect.gen(function*() {
    const bound = yield* localAddress
    if ((token === undefined || readable || open) && !isLoopback(bound.host)) {
      return yield* new TokenNeeded({ address: bound, reason: "Missing" })
    }
    if (token !== undefined && !isUsable(Redacted.value(token))) {
      return yield* new TokenNeeded({ address: bound, reason: "Unusable" })
    }
    return Layer.mergeAll(
      Routes.layer(options),
      ProcessMetrics.layer,
      Layer.provide(Dashboard.layer, [NodeFileSystem.layer, NodePath.layer]),
      Guard.layer({
        hosts: [host, bound.host],
        anyIp: isEverywhere(bound.host),
        port: bound.port,
        token,
        readable: readable || open,
        origins,
        records
      })
    )
  }))
  return Layer.unwrap(Effect.gen(function*() {
    if (!(Number.isInteger(port) && port >= 0 && port < 0x10000)) {
      return yield* new CannotServe({
        address: { host, port },
        cause: new RangeError("the port is not from 0 to 65535")
      })
    }
    const timeout = Duration.toMillis(requestTimeout)
    const server = createServer({
      requestTimeout: timeout,
      headersTimeout: timeout,
      connectionsCheckingInterval: timeout / checksPerTimeout,
      keepAliveTimeout,
      // An upgraded connection would escape these limits.
      shouldUpgradeCallback: () => false
    })
    server.timeout = readTimeout
    limitConnections(server, maxConnections)
    // Failing to accept a connection, for example without a free file descriptor, affects only that client.
    server.on("error", () => {})
    const close = Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
    })
    // Runs before the other finalizers, which wait for clients to disconnect.
    const hangUp = Layer.effectDiscard(Effect.gen(function*() {
      const { endAll } = yield* EventStreams
      yield* Effect.addFinalizer(() =>
        endAll.pipe(
          Effect.flatMap((streams) => Effect.timeoutOption(close, streams > 0 ? goodbye : 0)),
          Effect.andThen(Effect.sync(() => server.closeAllConnections()))
        )
      )
    }))
    return hangUp.pipe(
      Layer.provideMerge(HttpRouter.serve(guarded, {
        disableLogger: true,
        disableListenLog: true,
        routerConfig: Routes.routerConfig
      })),
      // Telemetry traces the node's work, not requests to this server.
      Layer.provide(Layer.succeed(HttpMiddleware.TracerDisabledWhen, () => true)),
      Layer.provideMerge(NodeHttpServer.layerServer(() => server, { host, port })),
      Layer.catchTag(
        "ServeError",
        (error: ServeError) => Layer.effectContext(new CannotServe({ address: { host, port }, cause: error.cause }))
      )
    )
  }))
}

/**
 * The address and port that the server listens on. Dies if the server listens
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
