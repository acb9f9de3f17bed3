/**
 * Fetches a document from a URL that others have named: within bounds, and not
 * from the networks around this machine, which such a URL must not reach.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Dns from "node:dns"
import * as Http from "node:http"
import * as Https from "node:https"
import { BlockList, isIP, type LookupFunction } from "node:net"

/**
 * Maximum bytes of a document.
 *
 * @internal
 */
export const maxSize = 1 << 18

/**
 * Maximum number of redirects.
 *
 * @internal
 */
export const maxRedirects = 5

/** Time for everything: names, connections, redirects and the document. */
const timeout = "10 seconds"

/**
 * There is no document that could be fetched.
 *
 * @internal
 */
export class CannotFetch extends Data.TaggedError("CannotFetch")<{ readonly url: string; readonly reason: string }> {}

// --- Addresses -------------------------------------------------------------------

/** Networks of IPv4 that are not of the Internet (IANA's registry of special addresses). */
const special = new BlockList()
for (
  const [network, bits] of [
    ["0.0.0.0", 8],
    ["10.0.0.0", 8],
    ["100.64.0.0", 10],
    ["127.0.0.0", 8],
    ["169.254.0.0", 16],
    ["172.16.0.0", 12],
    ["192.0.0.0", 24],
    ["192.0.2.0", 24],
    ["192.88.99.0", 24],
    ["192.168.0.0", 16],
    ["198.18.0.0", 15],
    ["198.51.100.0", 24],
    ["203.0.113.0", 24],
    ["224.0.0.0", 3]
  ] as const
) {
  special.addSubnet(network, bits)
}

/** What the Internet uses of IPv6, without the forms that hold an IPv4 address: Teredo and 6to4. */
const global = new BlockList()
global.addSubnet("2000::", 3, "ipv6")
for (const [network, bits] of [["2001::", 23], ["2001:db8::", 32], ["2002::", 16], ["3fff::", 20]] as const) {
  special.addSubnet(network, bits, "ipv6")
}

/**
 * Whether an IP address is one of the Internet.
 *
 * @internal
 */
export const isOfInternet = (ip: string): boolean =>
  isIP(ip) === 4
    ? !special.check(ip)
    : isIP(ip) === 6 && global.check(ip, "ipv6") && !special.check(ip, "ipv6")

const excluded = "its address is private or special, which is not allowed"

/** Decides whether an IP address may be connected to. */
type Allows = (ip: string) => boolean

/** Resolves a name to the allowed ones of its addresses. What is checked is what is connected to. */
const lookupOf = (allows: Allows): LookupFunction => (name, options, done) => {
  Dns.lookup(name, { ...options, all: true }, (error, found) => {
    if (error !== null) return done(error, [])
    const allowed = found.filter(({ address }) => allows(address))
    if (allowed.length === 0) return done(new Error(excluded), [])
    const [{ address, family }] = allowed
    return options.all === true ? done(null, allowed) : done(null, address, family)
  })
}

// --- Requests --------------------------------------------------------------------

type Step =
  | { readonly _tag: "Document"; readonly bytes: Uint8Array }
  | { readonly _tag: "Redirect"; readonly location: string }

const reasonOf = ({ code, message }: NodeJS.ErrnoException): string => {
  switch (code) {
    case "ENOTFOUND":
      return "the name does not exist"
    case "ECONNREFUSED":
      return "no server answers there"
    case "ECONNRESET":
      return "the server closed the connection"
    default:
      return message === "" ? code ?? "unknown error" : message
  }
}

/** Sends one request. Interrupting it closes the connection. */
const step = (url: URL, allows: Allows): Effect.Effect<Step, string> =>
  Effect.callback((resume) => {
    const fail = (reason: string) => {
      request.destroy()
      resume(Effect.fail(reason))
    }
    const { request: send } = url.protocol === "https:" ? Https : Http
    const request = send(url, {
      // A connection of its own, which is closed at the end.
      agent: false,
      headers: { accept: "application/json", "accept-encoding": "identity" },
      lookup: lookupOf(allows)
    })
    request.on("error", (error) => fail(reasonOf(error)))
    request.on("response", (response) => {
      const { headers, statusCode = 0 } = response
      if ([301, 302, 303, 307, 308].includes(statusCode) && headers.location !== undefined) {
        request.destroy()
        return resume(Effect.succeed({ _tag: "Redirect", location: headers.location }))
      }
      if (statusCode !== 200) return fail(`the server answered ${statusCode}`)
      const parts: Array<Uint8Array> = []
      let size = 0
      response.on("data", (part: Uint8Array) => {
        size += part.length
        parts.push(part)
        if (size > maxSize) fail(`the document is longer than ${maxSize} bytes`)
      })
      response.on("end", () => resume(Effect.succeed({ _tag: "Document", bytes: Buffer.concat(parts) })))
      response.on("error", (error) => fail(reasonOf(error)))
    })
    request.end()
    return Effect.sync(() => request.destroy())
  })

/** The URL, if one may be fetched from there. */
const checked = (text: string, base: URL | undefined, allows: Allows): Result.Result<URL, string> => {
  const url = URL.parse(text, base?.href)
  if (url === null) return Result.fail("it is not a URL")
  if (url.protocol !== "https:" && url.protocol !== "http:") return Result.fail("only http and https are fetched")
  if (base?.protocol === "https:" && url.protocol === "http:") {
    return Result.fail("the server redirects to a URL without TLS")
  }
  if (url.username !== "" || url.password !== "") return Result.fail("it has a user name or a password in it")
  const host = url.hostname.replace(/^\[|\]$/g, "")
  // A literal address is not looked up.
  return isIP(host) !== 0 && !allows(host) ? Result.fail(excluded) : Result.succeed(url)
}

/**
 * Fetches the bytes of a document from addresses that are allowed. Redirects are
 * followed, and each of them is checked like the first URL.
 *
 * @internal
 */
export const boundedFetch = (url: string, allows: Allows): Effect.Effect<Uint8Array, CannotFetch> =>
  Effect.gen(function*() {
    let at = yield* Effect.fromResult(checked(url, undefined, allows))
    for (let redirects = 0; redirects <= maxRedirects; redirects++) {
      const answer = yield* step(at, allows)
      if (answer._tag === "Document") return answer.bytes
      const next = checked(answer.location, at, allows)
      at = yield* Effect.mapError(
        Effect.fromResult(next),
        (reason) => `the server redirects to ${answer.location.slice(0, 200)}: ${reason}`
      )
    }
    return yield* Effect.fail(`there are more than ${maxRedirects} redirects`)
  }).pipe(
    Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.fail(`it took longer than ${timeout}`) }),
    Effect.mapError((reason) => new CannotFetch({ url, reason }))
  )
