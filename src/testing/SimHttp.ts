/**
 * HTTP between the machines of a simulated network, through Effect's `HttpClient`
 * and `HttpServer`. Each machine of a `SimWorld` has a client; {@link layerServer}
 * gives it a server.
 *
 * A request and its response take the latency of the network each, and so does each
 * chunk of a streamed response. One that is lost or blocked fails ten seconds later,
 * one to a port without a server as soon as the refusal is back, and one to an
 * unknown name at once. TLS is not simulated: `https` only means port 443.
 *
 * Bodies of bytes, texts, JSON and streams of Effect work. Those that are promises,
 * such as a `Response` or form data, do not settle under virtual time.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { FileSystem } from "effect/FileSystem"
import * as Etag from "effect/http/Etag"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as HttpEffect from "effect/http/HttpEffect"
import * as HttpPlatform from "effect/http/HttpPlatform"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerError from "effect/http/HttpServerError"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Stream from "effect/Stream"
import type * as SimNetwork from "./SimNetwork.ts"
import type { Timeline } from "./VirtualTime.ts"

/**
 * Options of a server.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerOptions {
  /** Default 80. */
  readonly port?: number | undefined
  /** A name under which others reach the machine, besides its IP address. */
  readonly hostname?: string | undefined
}

/** Milliseconds after which a request that got lost fails. */
const timeoutMillis = 10_000

/** Calls back with the response, or with nothing if the server stops before. */
type Respond = (response: HttpServerResponse.HttpServerResponse | undefined) => void

/** Begins to handle a request; returns a function that interrupts it. */
type Handler = (request: HttpServerRequest.HttpServerRequest, respond: Respond) => () => void

interface Server {
  readonly site: Site
  readonly handler: Handler | undefined
  /** Ends when the server stops. */
  readonly stopped: Deferred.Deferred<void>
}

/**
 * The servers of a simulated network.
 *
 * @internal
 */
export class Web {
  readonly network: SimNetwork.SimNetwork
  readonly timeline: Timeline
  private readonly names = new Map<string, SimNetwork.Host>()
  private readonly servers = new Map<SimNetwork.Host, Map<number, Server>>()

  constructor(network: SimNetwork.SimNetwork, timeline: Timeline) {
    this.network = network
    this.timeline = timeline
  }

  /** The host with a name or an IP address, as seen from another. */
  host(source: SimNetwork.Host, name: string): SimNetwork.Host | undefined {
    return name === "localhost" || name === "127.0.0.1"
      ? source
      : this.names.get(name) ?? this.network.hostAt(source, name)
  }

  server(host: SimNetwork.Host, port: number): Server | undefined {
    return this.servers.get(host)?.get(port)
  }

  /** Whether a server now has the port; not if that of a machine that is up has it. */
  bind(port: number, server: Server): boolean {
    const { host } = server.site
    const ports = this.servers.get(host) ?? new Map<number, Server>()
    const other = ports.get(port)
    if (other !== undefined && other.site !== server.site && !other.site.isCut) return false
    this.servers.set(host, ports.set(port, server))
    return true
  }

  /** Frees the port. That of a machine without power stays, and does not even refuse requests. */
  unbind(port: number, { host, isCut }: Site): void {
    if (!isCut) this.servers.get(host)?.delete(port)
  }

  name(name: string, host: SimNetwork.Host): void {
    this.names.set(name, host)
  }
}

/**
 * A machine while it is up, as a participant in HTTP.
 *
 * @internal
 */
export interface Site {
  readonly web: Web
  readonly host: SimNetwork.Host
  /** Whether it is without power. */
  isCut: boolean
}

/**
 * The machine on which a fiber runs.
 *
 * @internal
 */
export const Site: Context.Reference<Site> = Context.Reference<Site>("effect-dht/testing/SimHttp/Site", {
  defaultValue: () => {
    throw new Error("This runs on no simulated machine. Provide it with the application of a node or a machine")
  }
})

// --- The client ----------------------------------------------------------------

const portOf = ({ port, protocol }: URL): number => port !== "" ? Number(port) : protocol === "https:" ? 443 : 80

/** The response with another body and its own headers. */
const withBody = (response: HttpServerResponse.HttpServerResponse, body: HttpBody.HttpBody) =>
  HttpServerResponse.setHeaders(HttpServerResponse.setBody(response, body), response.headers)

/** The response with each chunk of a stream sent separately. */
const sent = (
  response: HttpServerResponse.HttpServerResponse,
  pass: Effect.Effect<void, HttpClientError.HttpClientError>,
  reset: Effect.Effect<never, HttpClientError.HttpClientError>
): HttpServerResponse.HttpServerResponse => {
  const { body } = response
  if (body._tag !== "Stream") return response
  const chunks = body.stream.pipe(Stream.tap(() => pass), Stream.interruptWhen(reset))
  return withBody(response, HttpBody.stream(chunks, body.contentType, body.contentLength))
}

/**
 * The HTTP client of a machine.
 *
 * @internal
 */
export const client = (site: Site): HttpClient.HttpClient =>
  HttpClient.make((request, url) => exchange(site, request, url))

const exchange = (
  { host: source, web }: Site,
  request: HttpClientRequest,
  url: URL
): Effect.Effect<HttpClientResponse, HttpClientError.HttpClientError> =>
  Effect.suspend(() => {
    const { network, timeline } = web
    const failed = (description: string) =>
      Effect.fail(
        new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, description }) })
      )
    const target = web.host(source, url.hostname)
    if (target === undefined) return failed(`no host is called ${url.hostname}`)

    /** Carries what `arrive` receives, unless the network or the receiver loses it. */
    const carry = (from: SimNetwork.Host, to: SimNetwork.Host, arrive: () => void, lost: () => void): void =>
      network.carry(from, to, arrive, () => void timeline.after(timeoutMillis, lost))

    return Effect.callback<HttpClientResponse, HttpClientError.HttpClientError>((resume) => {
      const fail = (description: string) => resume(failed(description))
      const timeOut = () => fail("the request timed out")
      let abort: (() => void) | undefined
      let isAborted = false
      if (!network.accepts(target, source)) return void timeline.after(timeoutMillis, timeOut)
      carry(source, target, () => {
        const server = web.server(target, portOf(url))
        if (server?.site.isCut) return void timeline.after(timeoutMillis, timeOut)
        if (server?.handler === undefined) {
          return carry(target, source, () => fail("the connection was refused"), timeOut)
        }
        const pass = Effect.callback<void, HttpClientError.HttpClientError>((resume) =>
          server.site.isCut
            ? void timeline.after(timeoutMillis, () => resume(failed("the response timed out")))
            : carry(target, source, () => resume(Effect.void), () => resume(failed("the response timed out")))
        )
        const reset = Effect.andThen(
          Deferred.await(server.stopped),
          Effect.andThen(pass, failed("the connection was reset"))
        )
        const received = HttpServerRequest.fromClientRequest(request).modify({ remoteAddress: Option.some(source.ip) })
        abort = server.handler(received, (response) => {
          abort = undefined
          if (server.site.isCut) return void timeline.after(timeoutMillis, timeOut)
          carry(target, source, () => {
            if (response === undefined) return fail("the connection was reset")
            resume(Effect.succeed(HttpServerResponse.toClientResponse(sent(response, pass, reset), { request })))
          }, timeOut)
        })
        if (isAborted) abort()
      }, timeOut)
      return Effect.sync(() =>
        network.carry(source, target, () => {
          isAborted = true
          abort?.()
        }, () => {})
      )
    })
  })

// --- The server ----------------------------------------------------------------

const serve = (
  site: Site,
  port: number,
  stopped: Deferred.Deferred<void>
): Parameters<typeof HttpServer.make>[0]["serve"] =>
(app, middleware) =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const services = yield* Effect.context<never>()
    const handler: Handler = (request, respond) => {
      let answered = false
      const handled = HttpEffect.toHandled(
        app,
        (request, response) =>
          Effect.sync(() => {
            answered = true
            const whole = HttpEffect.scopeTransferToStream(response)
            respond(
              HttpServerResponse.omitsBody(whole, request.method === "HEAD")
                ? withBody(whole, HttpBody.empty)
                : whole
            )
          }),
        middleware
      )
      const context = Context.add(services, HttpServerRequest.HttpServerRequest, request)
      const fiber = Fiber.runIn(Effect.runForkWith(context)(handled), scope)
      fiber.addObserver(() => {
        if (!answered) respond(undefined)
      })
      return () => fiber.interruptUnsafe(undefined, HttpServerError.ClientAbort.annotation)
    }
    site.web.bind(port, { site, stopped, handler })
    yield* Effect.addFinalizer(() => Effect.sync(() => site.web.bind(port, { site, stopped, handler: undefined })))
  })

/**
 * Provides a server on a port of the machine, with the services that handlers and
 * routers need, like `NodeHttpServer.layer`. Fails with `ServeError` if another
 * machine on the same host has the port. For the application of a node or a machine.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerServer = (options: ServerOptions = {}): Layer.Layer<
  HttpServer.HttpServer | HttpPlatform.HttpPlatform | Etag.Generator | Path.Path,
  HttpServerError.ServeError,
  FileSystem
> => {
  const { hostname, port = 80 } = options
  const server = Effect.gen(function*() {
    const site = yield* Site
    const stopped = Deferred.makeUnsafe<void>()
    yield* Effect.acquireRelease(
      Effect.suspend(() =>
        site.web.bind(port, { site, stopped, handler: undefined })
          ? Effect.void
          : Effect.fail(
            new HttpServerError.ServeError({ cause: new Error(`Port ${port} of ${site.host.name} is in use`) })
          )
      ),
      () =>
        Effect.suspend(() => {
          site.web.unbind(port, site)
          return Deferred.succeed(stopped, undefined)
        })
    )
    if (hostname !== undefined) site.web.name(hostname, site.host)
    return HttpServer.make({
      serve: serve(site, port, stopped),
      address: NetAddress.inetAddressFromIpStringUnsafe(site.host.ip, port)
    })
  })
  return Layer.mergeAll(
    Layer.effect(HttpServer.HttpServer, server),
    HttpPlatform.layer,
    Etag.layerWeak,
    Path.layer
  )
}
