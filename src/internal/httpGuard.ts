/**
 * Who may ask a node over HTTP, decided from the head of a request.
 *
 * A node listens where every page in a browser of the same machine can reach
 * it, and a page may have a name of its own made to stand for 127.0.0.1 (DNS
 * rebinding). So what the browser says of where a request goes and where it
 * comes from has to be right, with a token and without one.
 *
 * @since 0.1.0
 */
import { timingSafeEqual } from "effect/crypto/Mac"
import { sha256 } from "./sha256.ts"

/**
 * @internal
 */
export interface Policy {
  /** The hosts by which the server may be called, with the port as browsers write it, in lower case. */
  readonly hosts: ReadonlySet<string>
  /** The port as part of a host, where any IP address is a host; no name, which could be anybody's. */
  readonly anyIpPort: number | undefined
  /** SHA-256 of the token; undefined without one. */
  readonly token: Uint8Array | undefined
  /** Whether a path may be read without the token. */
  readonly isOpen: (path: string) => boolean
}

/**
 * @internal
 */
export interface Head {
  readonly method: string
  /** Without the query. */
  readonly path: string
  readonly headers: { readonly [name: string]: string | undefined }
}

/**
 * Why a request is refused; `status` is that of HTTP.
 *
 * @internal
 */
export interface Refusal {
  readonly status: 401 | 403 | 421
  readonly error: "Unauthorized" | "CrossOrigin" | "UnknownHost"
  readonly message: string
}

const encoder = new TextEncoder()

/**
 * @internal
 */
export const digest = (token: string): Uint8Array => sha256(encoder.encode(token))

/**
 * A host as browsers send it: without the port that HTTP has anyway.
 *
 * @internal
 */
export const hostHeader = (host: string, port: number): string => {
  const name = host.includes(":") ? `[${host}]` : host
  return (port === 80 ? name : `${name}:${port}`).toLowerCase()
}

const isLiteral = (host: string): boolean => /^\[[0-9a-f:.]+\]$/.test(host) || /^\d+\.\d+\.\d+\.\d+$/.test(host)

const isCalledByIp = (host: string, port: number): boolean => {
  const suffix = `:${port}`
  if (host.endsWith(suffix)) return isLiteral(host.slice(0, -suffix.length))
  return port === 80 && isLiteral(host)
}

const unknownHost: Refusal = {
  status: 421,
  error: "UnknownHost",
  message: "The header Host names none of the names of this server. Call it by its IP address, or send the token"
}

const unauthorized: Refusal = {
  status: 401,
  error: "Unauthorized",
  message: "Send the token of the node: Authorization: Bearer …"
}

const crossOrigin: Refusal = {
  status: 403,
  error: "CrossOrigin",
  message: "Pages of other origins are not served"
}

/** Whether it comes from a page of the same origin, or from no page at all. */
const isSameOrigin = (host: string, { headers, method }: Head): boolean => {
  const { origin } = headers
  if (origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host)) return false
  switch (headers["sec-fetch-site"]) {
    case undefined:
    case "none":
    case "same-origin":
      return true
    default:
      // Who follows a link from elsewhere sees the page, and the page from elsewhere sees nothing.
      return (method === "GET" || method === "HEAD") && headers["sec-fetch-mode"] === "navigate" &&
        headers["sec-fetch-dest"] === "document"
  }
}

/**
 * Undefined for a request that may pass. Whoever sends the token may call the
 * server by any name: no page of somebody else has it.
 *
 * @internal
 */
export const judge = (policy: Policy, head: Head): Refusal | undefined => {
  const host = head.headers.host?.toLowerCase() ?? ""
  const bearer = /^bearer +(\S+)$/i.exec(head.headers.authorization ?? "")?.[1]
  const isTrusted = policy.token !== undefined && bearer !== undefined && timingSafeEqual(policy.token, digest(bearer))
  if (!isTrusted) {
    const isKnown = policy.hosts.has(host) ||
      policy.anyIpPort !== undefined && isCalledByIp(host, policy.anyIpPort)
    if (!isKnown) return unknownHost
    if (policy.token !== undefined && !policy.isOpen(head.path)) return unauthorized
  }
  return isSameOrigin(host, head) ? undefined : crossOrigin
}
