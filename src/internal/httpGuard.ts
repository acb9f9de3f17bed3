/**
 * Access control of the HTTP API, based on the head of a request.
 *
 * Any page in a browser on the same machine can reach the node, and a page may
 * resolve a name of its own to 127.0.0.1 (DNS rebinding). So the `Host` and
 * origin that the browser sends are checked, with or without a token.
 *
 * @since 0.1.0
 */
import { timingSafeEqual } from "effect/crypto/Mac"
import { sha256 } from "./sha256.ts"

/**
 * @internal
 */
export interface Policy {
  /** The accepted hosts in lower case, with the port as browsers write it. */
  readonly hosts: ReadonlySet<string>
  /** The port at which every IP address is accepted as the host; undefined where only `hosts` are. */
  readonly anyIpPort: number | undefined
  /** SHA-256 of the token; undefined without one. */
  readonly token: Uint8Array | undefined
  /** Origins whose pages may send requests (CORS); none by default. */
  readonly origins?: ReadonlySet<string> | undefined
  /**
   * Origins whose pages may read records, and publish those that they have signed
   * without the token; `*` is every origin, and programs as well. None by default.
   */
  readonly records?: ReadonlySet<string> | undefined
  /** Whether a path is open without the token. */
  readonly isOpen: (path: string) => boolean
}

/**
 * @internal
 */
export interface Head {
  readonly method: string
  /** The path without the query. */
  readonly path: string
  readonly headers: { readonly [name: string]: string | undefined }
}

/**
 * The reason why a request is refused; `status` is the HTTP status.
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
 * Whether the text is the token with this digest; takes as long for every text.
 *
 * @internal
 */
export const isToken = (wanted: Uint8Array, text: string): boolean => timingSafeEqual(wanted, digest(text))

/**
 * The `Host` header as browsers send it: in lower case and without the default port 80.
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
  message: "The Host header is not a name of this server. Use its IP address, or send the token"
}

const unauthorized: Refusal = {
  status: 401,
  error: "Unauthorized",
  message: "The token of the node is missing or wrong. Send it as Authorization: Bearer …"
}

const crossOrigin: Refusal = {
  status: 403,
  error: "CrossOrigin",
  message: "The request comes from a page of another origin, which is not served"
}

/** Path of the records that clients have signed, and of the keys below it. */
const recordsPath = "/v1/records"

const isOfRecords = (path: string): boolean => path === recordsPath || path.startsWith(`${recordsPath}/`)

/**
 * Whether clients of an origin, undefined for programs, may publish records that
 * they have signed without the token.
 *
 * @internal
 */
export const admitsRecordsOf = (records: ReadonlySet<string> | undefined, origin: string | undefined): boolean =>
  records !== undefined && (records.has("*") || origin !== undefined && records.has(origin))

/** Whether a request publishes a record and needs no token. */
const isAdmittedRecord = ({ records }: Policy, { headers, method, path }: Head): boolean =>
  method === "POST" && path === recordsPath && admitsRecordsOf(records, headers.origin)

/** Whether a request comes from a page of the same origin, or from no page. */
const isSameOrigin = (host: string, { headers, method }: Head): boolean => {
  const { origin } = headers
  if (origin !== undefined && (!URL.canParse(origin) || new URL(origin).host !== host)) return false
  switch (headers["sec-fetch-site"]) {
    case undefined:
    case "none":
    case "same-origin":
      return true
    default:
      // A link on another page may be followed: the user sees the response, the other page does not.
      return (method === "GET" || method === "HEAD") && headers["sec-fetch-mode"] === "navigate" &&
        headers["sec-fetch-dest"] === "document"
  }
}

/**
 * Returns why a request is refused; undefined if it may pass. With the token, any
 * host is accepted, because no foreign page has the token.
 *
 * @internal
 */
export const judge = (policy: Policy, head: Head): Refusal | undefined => {
  const host = head.headers.host?.toLowerCase() ?? ""
  const bearer = /^bearer +(\S+)$/i.exec(head.headers.authorization ?? "")?.[1]
  const isTrusted = policy.token !== undefined && bearer !== undefined && isToken(policy.token, bearer)
  const isNamed = isNamedOrigin(policy, head)
  const isRecord = isAdmittedRecord(policy, head)
  if (!isTrusted) {
    // A page that has made its own name resolve here is of that name's origin, which is not a named one.
    const isKnown = isNamed || isRecord || policy.hosts.has(host) ||
      policy.anyIpPort !== undefined && isCalledByIp(host, policy.anyIpPort)
    if (!isKnown) return unknownHost
    const isOpen = policy.isOpen(head.path) || isRecord || isAllowedPreflight(policy, head)
    if (policy.token !== undefined && !isOpen) return unauthorized
  }
  return isNamed || isRecord || isSameOrigin(host, head) ? undefined : crossOrigin
}

/**
 * Whether the request comes from a page of an origin that is named for its path.
 *
 * @internal
 */
export const isNamedOrigin = ({ origins, records }: Policy, { headers: { origin }, path }: Head): boolean =>
  origin !== undefined &&
  (origins?.has(origin) === true || isOfRecords(path) && admitsRecordsOf(records, origin))

/**
 * Whether a browser asks on behalf of a page of a named origin which requests it
 * may send. Such a request carries no token.
 *
 * @internal
 */
export const isAllowedPreflight = (policy: Policy, head: Head): boolean =>
  head.method === "OPTIONS" && head.headers["access-control-request-method"] !== undefined &&
  isNamedOrigin(policy, head)
