/**
 * Checks before every route: access, allowed methods, and security headers that
 * protect the page and its data.
 *
 * Authentication is by `Authorization: Bearer …`. There are no cookies, and no
 * tokens in URLs, which end up in logs and histories. The static files of the
 * page contain no data and need no token, so that the page can prompt for it. The
 * page reads event streams with `fetch`, which can send the header.
 *
 * @module
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
  /** Accepted host names and IP addresses of the server, besides `localhost`, 127.0.0.1 and ::1. */
  readonly hosts?: ReadonlyArray<string> | undefined
  /** Whether every IP address is accepted, for a server bound to all addresses of a machine. */
  readonly anyIp?: boolean | undefined
  readonly port: number
  /** Token that requests must send; without one, every client that reaches the server is allowed. */
  readonly token?: Redacted.Redacted<string> | undefined
}

/**
 * Whether a path is served without a token: the page at `/`, its files below
 * `/assets/`, and `/health` and below.
 *
 * @category guards
 * @since 0.1.0
 */
export const isOpen = (path: string): boolean => openPaths.has(path) || path.startsWith("/assets/")

const openPaths: ReadonlySet<string> = new Set(["/", "/health", "/health/live", "/health/ready"])

/**
 * The content security policy of the server's pages: scripts, styles and data
 * from the server itself only. A response with a policy of its own keeps it.
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
  const result = response.status === 404 && response.body._tag === "Empty"
    ? refused(404, "NotFound", `Not found; see ${Api.openApiPath} for the available paths`)
    : response
  return HttpServerResponse.setHeaders(result, { ...headers, ...result.headers })
}

/** The allowed methods of each path. */
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
 * Middleware for all routes of the router. Rejects a request with 401 (missing
 * or wrong token), 403 (from a page of another origin), 421 (a host name that is
 * not the server's) or 405.
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
    return refused(405, "MethodNotAllowed", `Method not allowed; this path allows ${allow}`, { allow })
  }
  return Router.middleware(
    (handled) =>
      HttpServerRequest.use((request) => {
        const refusal = check(request)
        // Headers are added to every response, including errors.
        return HttpEffect.withPreResponseHandler(
          refusal === undefined ? handled : Effect.succeed(refusal),
          (_, response) => Effect.succeed(secured(response))
        )
      }),
    { global: true }
  )
}
