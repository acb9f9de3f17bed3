/**
 * From the names that people type to the addresses that datagrams go to.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { lookup } from "node:dns/promises"
import * as SocketAddress from "../SocketAddress.ts"

/**
 * A name or an IP address, and a port.
 *
 * @category models
 * @since 0.1.0
 */
export interface Host {
  readonly host: string
  readonly port: number
}

/**
 * An address as it was typed or found, and why it is of no use.
 *
 * @category models
 * @since 0.1.0
 */
export type Unusable = {
  readonly address: string
  readonly reason: string
}

/**
 * What the name service knows of each host, and which hosts it does not know.
 *
 * @category models
 * @since 0.1.0
 */
export interface Resolved {
  readonly addresses: ReadonlyArray<SocketAddress.SocketAddress>
  readonly unusable: ReadonlyArray<Unusable>
}

/**
 * The kinds of addresses that a socket can send to.
 *
 * @category models
 * @since 0.1.0
 */
export type Family = "IPv4" | "IPv6" | "IPv4 or IPv6"

/**
 * What a socket bound to this IP address can send to.
 *
 * @category accessors
 * @since 0.1.0
 */
export const familyOf = (host: string): Family => host === "::" ? "IPv4 or IPv6" : host.includes(":") ? "IPv6" : "IPv4"

/**
 * All addresses of the hosts that a socket of the family can send to.
 *
 * @category resolution
 * @since 0.1.0
 */
export const resolve = (hosts: ReadonlyArray<Host>, family: Family): Effect.Effect<Resolved> =>
  Effect.map(
    Effect.forEach(hosts, (host) => addressesOf(host, family), { concurrency: "unbounded" }),
    (results) => {
      const addresses = new Map(results.flatMap(Result.match({
        onFailure: () => [],
        onSuccess: (found) => found.map((address) => [SocketAddress.key(address), address] as const)
      })))
      return {
        addresses: Array.from(addresses.values()),
        unusable: results.flatMap((result) => Result.isFailure(result) ? [result.failure] : [])
      }
    }
  )

const addressesOf = (
  { host, port }: Host,
  family: Family
): Effect.Effect<Result.Result<ReadonlyArray<SocketAddress.SocketAddress>, Unusable>> => {
  const address = SocketAddress.format({ host, port })
  const failure = (reason: string) => Result.fail({ address, reason })
  return Effect.tryPromise(() => lookup(host, { all: true })).pipe(
    Effect.map((found) => {
      const usable = found.flatMap((entry) => {
        const parsed = SocketAddress.fromString(SocketAddress.format({ host: entry.address, port }))
        return Result.isSuccess(parsed) && (family === "IPv4 or IPv6" || familyOf(parsed.success.host) === family)
          ? [parsed.success]
          : []
      })
      return usable.length > 0 ? Result.succeed(usable) : failure(`it has no ${family} address`)
    }),
    Effect.catch(({ cause }) => Effect.succeed(failure(reasonOf(cause))))
  )
}

const reasonOf = (cause: unknown): string => {
  const { code, message } = cause as NodeJS.ErrnoException
  return code === "ENOTFOUND"
    ? "there is no such name"
    : code === "EAI_AGAIN"
    ? "the name service does not answer"
    : message
}
