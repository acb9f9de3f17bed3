/**
 * What stands before every route: who may ask, which methods a path knows, and
 * the headers that keep a page and its data to themselves.
 *
 * No cookie is used, and no token in a URL, where logs and histories would keep
 * it: a request carries `Authorization: Bearer …`. The files of a page say
 * nothing of the node and are open, so that the page itself can ask for the
 * token and send it; it reads event streams with `fetch`, which can.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpEffect from "effect/http/HttpEffect"
import type { HttpRouter } from "effect/http/HttpRouter"
import * as Router from "effect/http/HttpRouter"
import { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { digest, hostHeader, judge, type Policy } from "../internal/httpGuard.ts"
import * as Api from "./Api.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Names and IP addresses by which the server may be called, besides `localhost`, 127.0.0.1 and ::1. */
  readonly hosts?: ReadonlyArray<string> | undefined
  /** Whether every IP address is one of them, as for a server that is bound to all of a machine. */
  readonly anyIp?: boolean | undefined
  readonly port: number
  /** What a request has to send; without one, everybody may ask who reaches the server. */
  readonly token?: Redacted.Redacted<string> | undefined
}

/**
 * Whether a path is served without the token: the page at `/`, its files below
 * `/assets/`, and how the node is, at `/health` and below.
 *
 * @category guards
 * @since 0.1.0
 */
export const isOpen = (path: string): boolean => openPaths.has(path) || path.startsWith("/assets/")

const openPaths: ReadonlySet<string> = new Set(["/", "/health", "/health/live", "/health/ready"])

/**
 * What a page of the server may do: run and show its own files, and talk to
 * the server. A response that has a policy of its own keeps it.
 *
 * @category constants
 * @since 0.1.0
 */
export const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; " +
  "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const headers = {
  "cache-control": "no-store",
  "content-security-policy": contentSecurityPolicy,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY"
}

const refused = (status: number, error: string, message: string, more: Record<string, string> = {}) =>
  HttpServerResponse.jsonUnsafe({ error, message }, { status, headers: more })

const secured = (response: HttpServerResponse.HttpServerResponse): HttpServerResponse.HttpServerResponse => {
  const said = response.status === 404 && response.body._tag === "Empty"
    ? refused(404, "NotFound", `Nothing is here; ${Api.openApiPath} lists what is`)
    : response
  return HttpServerResponse.setHeaders(said, { ...headers, ...said.headers })
}

/** The methods of each path. */
const methods: ReadonlyMap<string, ReadonlySet<string>> = (() => {
  const found = new Map<string, Set<string>>([[Api.openApiPath, new Set(["GET"])]])
  HttpApi.reflect(Api.Api, {
    onGroup: () => {},
    onEndpoint: ({ endpoint: { method, path } }) => {
      found.set(path, (found.get(path) ?? new Set<string>()).add(method))
    }
  })
  return found
})()

const policyOf = ({ anyIp = false, hosts = [], port, token }: Options): Policy => ({
  hosts: new Set(["localhost", "127.0.0.1", "::1", ...hosts].map((host) => hostHeader(host, port))),
  anyIpPort: anyIp ? port : undefined,
  token: token === undefined ? undefined : digest(Redacted.value(token)),
  isOpen
})

/**
 * Stands before all routes of the router: a request that may not pass is
 * answered with 401 (no or a wrong token), 403 (a page of another origin), 421
 * (called by a name that is not the server's) or 405.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<never, never, HttpRouter> => {
  const policy = policyOf(options)
  const check = ({ headers, method, url }: HttpServerRequest): HttpServerResponse.HttpServerResponse | undefined => {
    const path = url.split(/[?#]/, 1)[0]
    const refusal = judge(policy, { method, path, headers })
    if (refusal !== undefined) {
      const more: Record<string, string> = refusal.status === 401 ? { "www-authenticate": "Bearer" } : {}
      return refused(refusal.status, refusal.error, refusal.message, more)
    }
    const allowed = methods.get(path)
    if (allowed === undefined || allowed.has(method === "HEAD" ? "GET" : method)) return undefined
    const allow = Array.from(allowed).join(", ")
    return refused(405, "MethodNotAllowed", `Only ${allow} is allowed here`, { allow })
  }
  return Router.middleware(
    (handled) =>
      HttpServerRequest.use((request) => {
        const refusal = check(request)
        // Whatever becomes of it, an error as well.
        return HttpEffect.withPreResponseHandler(
          refusal === undefined ? handled : Effect.succeed(refusal),
          (_, response) => Effect.succeed(secured(response))
        )
      }),
    { global: true }
  )
}
