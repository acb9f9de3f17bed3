/**
 * Checks before every route: access, allowed methods, and security headers that
 * protect the page and its data.
 *
 * Pages of other origins are served only if their origin is named.
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
import {
  digest,
  type Head,
  hostHeader,
  isAllowedPreflight,
  isNamedOrigin,
  judge,
  type Policy
} from "../internal/httpGuard.ts"
import * as Api from "./Api.ts"
import * as Limits from "./Limits.ts"
import * as Problem from "./Problem.ts"

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
  /** Whether requests pass without the token as well, to routes that do not need it. Defaults to false. */
  readonly readable?: boolean | undefined
  /** Origins whose pages may send requests (CORS), such as `https://app.example`; none by default. */
  readonly origins?: ReadonlyArray<string> | undefined
  /**
   * Origins whose pages may read records at `/v1/records` and publish those that
   * they have signed, the latter without the token; `*` is every origin, and
   * programs as well. None by default.
   */
  readonly records?: ReadonlyArray<string> | undefined
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

/** The problem behind a response without a document. */
const explained = ({ status }: HttpServerResponse.HttpServerResponse): Problem.Problem | undefined => {
  switch (status) {
    case 404:
      return Problem.make("NotFound", `Not found; see ${Api.openApiPath} for the available paths`)
    case 413:
      return Problem.make("TooLarge", "The request body is larger than the server reads")
    case 415:
      return Problem.make("UnsupportedMediaType", "Send JSON, with Content-Type: application/json")
    case 500:
      return Problem.make("Internal", "The node failed to handle the request; its log has the reason")
  }
}

const secured = (
  response: HttpServerResponse.HttpServerResponse,
  more: Record<string, string>
): HttpServerResponse.HttpServerResponse => {
  const isBare = response.body._tag === "Empty" || response.status === 415
  const problem = isBare ? explained(response) : undefined
  const result = problem === undefined ? response : Problem.toResponse(problem)
  return HttpServerResponse.setHeaders(result, { ...headers, ...advice[result.status], ...more, ...result.headers })
}

/** What a client has to know to repeat a request, by the status of its response. */
const advice: { readonly [status: number]: Record<string, string> } = {
  401: { "www-authenticate": "Bearer" },
  429: { "retry-after": String(Limits.windowSeconds) }
}

/** The allowed methods of each path, and of each pattern of paths with parameters. */
const methods: {
  readonly byPath: ReadonlyMap<string, ReadonlySet<string>>
  readonly byPattern: ReadonlyArray<readonly [pattern: RegExp, methods: ReadonlySet<string>]>
} = (() => {
  const byPath = new Map<string, Set<string>>([[Api.openApiPath, new Set(["GET"])]])
  HttpApi.reflect(Api.Api, {
    onGroup: () => {},
    onEndpoint: ({ endpoint: { method, path } }) => {
      byPath.set(path, (byPath.get(path) ?? new Set<string>()).add(method))
    }
  })
  const patterns = Array.from(byPath).filter(([path]) => path.includes(":"))
  return {
    byPath,
    byPattern: patterns.map(([path, allowed]) => [new RegExp(`^${path.replace(/:\w+/g, "[^/]+")}$`), allowed])
  }
})()

const methodsOf = (path: string): ReadonlySet<string> | undefined =>
  methods.byPath.get(path) ?? methods.byPattern.find(([pattern]) => pattern.test(path))?.[1]

/** Seconds for which a browser remembers which requests a page may send. */
const preflightSeconds = 600

const policyOf = (
  { anyIp = false, hosts = [], origins = [], port, readable = false, records = [], token }: Options
): Policy => ({
  hosts: new Set(["localhost", "127.0.0.1", "::1", ...hosts].map((host) => hostHeader(host, port))),
  anyIpPort: anyIp ? port : undefined,
  token: token === undefined ? undefined : digest(Redacted.value(token)),
  isOpen: readable ? () => true : isOpen,
  origins: new Set(origins),
  records: new Set(records)
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

  const check = (head: Head): HttpServerResponse.HttpServerResponse | undefined => {
    const { method, path } = head
    const refusal = judge(policy, head)
    if (refusal !== undefined) return Problem.toResponse(Problem.make(refusal.error, refusal.message))
    const allowed = methodsOf(path)
    if (allowed === undefined || allowed.has(method === "HEAD" ? "GET" : method)) return undefined
    const allow = Array.from(allowed).join(", ")
    return isAllowedPreflight(policy, head)
      ? HttpServerResponse.empty({
        status: 204,
        headers: {
          "access-control-allow-methods": allow,
          "access-control-allow-headers": "authorization, content-type, last-event-id",
          "access-control-max-age": String(preflightSeconds)
        }
      })
      : Problem.toResponse(
        Problem.make("MethodNotAllowed", `Method not allowed; this path allows ${allow}`),
        { allow }
      )
  }

  /** Lets a page of a named origin read the response. */
  const sharedWith = (head: Head): Record<string, string> =>
    isNamedOrigin(policy, head)
      ? {
        "access-control-allow-origin": head.headers.origin ?? "",
        "access-control-expose-headers": "link, retry-after, x-total-count",
        "cross-origin-resource-policy": "cross-origin",
        vary: "origin"
      }
      : {}

  return Router.middleware(
    (handled) =>
      HttpServerRequest.use(({ headers, method, url }) => {
        const head = { method, path: url.split(/[?#]/, 1)[0], headers }
        const refusal = check(head)
        const shared = sharedWith(head)
        // Headers are added to every response, including errors.
        return HttpEffect.withPreResponseHandler(
          refusal === undefined ? handled : Effect.succeed(refusal),
          (_, response) => Effect.succeed(secured(response, shared))
        )
      }),
    { global: true }
  )
}
