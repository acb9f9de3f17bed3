/**
 * Parsers of a node's settings, as written on the command line and in the
 * environment.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type { Host } from "../../NameResolver.ts"
import * as SocketAddress from "../../SocketAddress.ts"

/**
 * A parser, which fails with the reason.
 *
 * @internal
 */
export type Parse<A> = (text: string) => Result.Result<A, string>

/**
 * The address to listen on: an IP address and a port, which may be 0.
 *
 * @internal
 */
export const listen: Parse<SocketAddress.SocketAddress> = (text) =>
  Result.mapError(SocketAddress.fromString(text), ({ reason }) =>
    Result.isSuccess(SocketAddress.splitHostPort(text))
      ? "write an IP address of this machine, or 0.0.0.0 for all of them"
      : reason)

/**
 * A name or an IP address, and a port of at least `minPort`. Port 0 is valid for
 * listening only.
 *
 * @internal
 */
export const host = (minPort: 0 | 1): Parse<Host> => (text) =>
  Result.filterOrFail(
    Result.mapError(SocketAddress.splitHostPort(text), ({ reason }) => reason),
    ({ port }) => port >= minPort,
    () => "a node cannot have port 0"
  )

/**
 * Hosts, comma-separated.
 *
 * @internal
 */
export const hosts: Parse<ReadonlyArray<Host>> = (text) =>
  Result.all(
    text.split(",").map((part) => part.trim()).filter(Boolean).map((part) =>
      Result.mapError(host(1)(part), (reason) => part === text ? reason : `"${part}": ${reason}`)
    )
  )

/**
 * An IP address in its canonical text.
 *
 * @internal
 */
export const ip: Parse<string> = (text) => {
  const address = SocketAddress.fromIp(text.trim(), 0)
  return address === undefined
    ? Result.fail(SocketAddress.zoneReason(text.trim()) ?? "write an IP address")
    : Result.succeed(address.host)
}

/**
 * An integer without a sign.
 *
 * @internal
 */
export const integer = (min: number, max: number): Parse<number> => (text) => {
  const value = /^\d{1,15}$/.test(text.trim()) ? Number(text) : -1
  return value >= min && value <= max ? Result.succeed(value) : Result.fail(`write a number from ${min} to ${max}`)
}

/**
 * Maximum number of keys of a store.
 *
 * @internal
 */
export const maxKeys: Parse<number> = integer(1, 10_000_000)

/**
 * Maximum bytes of memory of a store: 1 MiB to 1 TiB.
 *
 * @internal
 */
export const maxBytes: Parse<number> = integer(2 ** 20, 2 ** 40)

/**
 * Number of threads that verify signatures.
 *
 * @internal
 */
export const verifyThreads: Parse<number> = integer(0, 64)

/**
 * @internal
 */
export const truth: Parse<boolean> = (text) => {
  const word = text.trim().toLowerCase()
  return ["true", "yes", "on", "1"].includes(word)
    ? Result.succeed(true)
    : ["false", "no", "off", "0"].includes(word)
    ? Result.succeed(false)
    : Result.fail("write true or false")
}
