/**
 * A node's documents, events, metrics and lookups on a port of their own, with
 * a page that shows them, on `node:http`.
 *
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

/**
 * Where to serve, and to whom. A name stands for the first address it resolves
 * to; port 0 lets the system choose a free one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options extends Routes.Options {
  /** Defaults to 127.0.0.1, which only this machine reaches. */
  readonly host?: string | undefined
  /** Defaults to 2634. */
  readonly port?: number | undefined
  /** What requests have to send as `Authorization: Bearer …`; needed where others than this machine can ask. */
  readonly token?: Redacted.Redacted<string> | undefined
  /** What a client is given to send its request, from its first byte or from connecting. Defaults to 10 seconds. */
  readonly requestTimeout?: Duration.Input | undefined
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
 * There is no token although others than this machine can reach the address,
 * or it is so short that it can be guessed, or a header cannot carry it.
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
      ? `The token has fewer than ${minTokenLength} characters, or others than visible ASCII`
      : `HTTP on ${SocketAddress.format(this.address)} can be reached from elsewhere, and needs a token`
  }
}

/**
 * Characters that a token has at least.
 *
 * @category constants
 * @since 0.1.0
 */
export const minTokenLength = 16

const isUsable = (token: string): boolean => token.length >= minTokenLength && /^[\x21-\x7e]+$/.test(token)

/**
 * Connections that are open at the same time; streams of events are among
 * them. One more takes the place of an idle one.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxConnections = 256

/** How long clients of streams are given to take their end. */
const goodbye = "500 millis"

/** Milliseconds that a connection may be idle between two requests. */
const keepAliveTimeout = 5000

/** Milliseconds in which a client has to read some of its answer; streams of events are never silent for as long. */
const readTimeout = 30_000

/** Node closes what is late when it looks, so it looks this many times within the timeout. */
const looks = 10

const loopback = new BlockList()
loopback.addSubnet("127.0.0.0", 8)
loopback.addAddress("::1", "ipv6")

const isLoopback = (host: string): boolean => loopback.check(host, isIP(host) === 6 ? "ipv6" : "ipv4")

const isEverywhere = (host: string): boolean => host === "0.0.0.0" || host === "::"

/**
 * Serves {@link Routes} and {@link Dashboard} behind a {@link Guard} until the
 * layer's scope closes, which ends open connections at once. See
 * {@link localAddress} for the port it has.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<HttpServer | EventStreams, CannotServe | TokenNeeded, Routes.Services> => {
  const { host = "127.0.0.1", port = 2634, requestTimeout = "10 seconds", token } = options
  const guarded = Layer.unwrap(Effect.gen(function*() {
    const bound = yield* localAddress
    if (token === undefined && !isLoopback(bound.host)) {
      return yield* new TokenNeeded({ address: bound, reason: "Missing" })
    }
    if (token !== undefined && !isUsable(Redacted.value(token))) {
      return yield* new TokenNeeded({ address: bound, reason: "Unusable" })
    }
    return Layer.mergeAll(
      Routes.layer(options),
      Layer.provide(Dashboard.layer, [NodeFileSystem.layer, NodePath.layer]),
      Guard.layer({ hosts: [host, bound.host], anyIp: isEverywhere(bound.host), port: bound.port, token })
    )
  }))
  return Layer.unwrap(Effect.gen(function*() {
    if (!(Number.isInteger(port) && port >= 0 && port < 0x10000)) {
      return yield* new CannotServe({ address: { host, port }, cause: new RangeError("no such port") })
    }
    const timeout = Duration.toMillis(requestTimeout)
    const server = createServer({
      requestTimeout: timeout,
      headersTimeout: timeout,
      connectionsCheckingInterval: timeout / looks,
      keepAliveTimeout,
      // A connection that speaks another protocol would escape these limits.
      shouldUpgradeCallback: () => false
    })
    server.timeout = readTimeout
    limitConnections(server, maxConnections)
    // A connection that cannot be accepted, for one because no file descriptor is left, is its client's loss only.
    server.on("error", () => {})
    const close = Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
    })
    // Runs first of all finalizers: the others wait for clients to hang up.
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
      Layer.provideMerge(HttpRouter.serve(guarded, { disableLogger: true, disableListenLog: true })),
      // What is exported as telemetry is the node's work, not that somebody looked at it.
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
