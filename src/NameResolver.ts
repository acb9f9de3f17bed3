/**
 * Host names and the IP addresses behind them.
 *
 * Without a platform the library knows IP addresses and no names. `DnsResolver`
 * of `effect-dht/node` asks the system's resolver, and `DhtLive` includes it. A
 * host with several addresses is tried at all of them in the manner of Happy
 * Eyeballs (RFC 8305): see {@link race}.
 *
 * @module
 * @since 0.1.0
 */
import { isReadonlyArrayNonEmpty, type NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SocketAddress from "./SocketAddress.ts"

/**
 * A name or an IP address, and a port. Port 0 means a peer on a network without
 * IPs, whose name is its address.
 *
 * @category models
 * @since 0.1.0
 */
export interface Host {
  readonly host: string
  readonly port: number
}

/**
 * The name has no usable address.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotResolve extends Data.TaggedError("CannotResolve")<{
  readonly name: string
  readonly reason: string
}> {
  override get message() {
    return `The name "${this.name}" cannot be resolved: ${this.reason}`
  }
}

/**
 * Resolves names. By default no name is known.
 *
 * @category services
 * @since 0.1.0
 */
export const NameResolver: Context.Reference<{
  /** Returns the IP addresses of a name, the preferred first, in any text that `SocketAddress` reads. */
  readonly lookup: (name: string) => Effect.Effect<ReadonlyArray<string>, CannotResolve>
}> = Context.Reference("effect-dht/NameResolver", { defaultValue: () => ofTable({}) })

const ofTable = (table: Readonly<Record<string, ReadonlyArray<string>>>) => ({
  lookup: (name: string): Effect.Effect<ReadonlyArray<string>, CannotResolve> =>
    Object.hasOwn(table, name)
      ? Effect.succeed(table[name])
      : Effect.fail(new CannotResolve({ name, reason: "there is no such name" }))
})

/**
 * Resolves exactly the names of a table, for tests and simulations.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerTable = (table: Readonly<Record<string, ReadonlyArray<string>>>): Layer.Layer<never> =>
  Layer.succeed(NameResolver, ofTable(table))

/**
 * Maximum number of addresses used for one name.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxAddresses = 8

/** A name lookup that takes longer fails. */
const timeout = "10 seconds"

/**
 * Returns the addresses of a host in the order in which to try them: the
 * families alternate, beginning with the address that the resolver prefers.
 * There are at most `max`. An IP address stands for itself.
 *
 * @category resolution
 * @since 0.1.0
 */
export const addressesOf = Effect.fnUntraced(function*(
  { host, port }: Host,
  max: number = maxAddresses
): Effect.fn.Return<NonEmptyReadonlyArray<SocketAddress.SocketAddress>, CannotResolve> {
  if (port === 0) return [{ host, port }]
  const literal = SocketAddress.fromIp(host, port)
  if (literal !== undefined) return [literal]
  const fail = (reason: string) => new CannotResolve({ name: host, reason })
  if (host.includes(":")) {
    return yield* fail(SocketAddress.zoneReason(host) ?? "it is neither an IP address nor a name")
  }
  const { lookup } = yield* NameResolver
  const found = yield* lookup(host).pipe(
    Effect.timeoutOrElse({ duration: timeout, orElse: () => fail(`the name service did not answer in ${timeout}`) }),
    Effect.tapError(({ reason }) => told("Name not resolved", { name: host, reason })),
    Effect.tap((found) => told("Name resolved", { name: host, addresses: found.join() }))
  )
  const addresses = found.flatMap((ip) => SocketAddress.fromIp(ip, port) ?? [])
  const ordered = interleave(new Map(addresses.map((address) => [SocketAddress.key(address), address])).values())
    .slice(0, max)
  return isReadonlyArrayNonEmpty(ordered) ? ordered : yield* fail("it has no address")
})

const told = (what: string, facts: Readonly<Record<string, string>>) =>
  Effect.annotateLogs(Effect.logDebug(what), facts)

/**
 * Alternates IPv4 and IPv6, keeping the order within each family and beginning
 * with the family of the first (RFC 8305, 4).
 */
const interleave = (addresses: Iterable<SocketAddress.SocketAddress>): Array<SocketAddress.SocketAddress> => {
  const families: [Array<SocketAddress.SocketAddress>, Array<SocketAddress.SocketAddress>] = [[], []]
  let first: boolean | undefined
  for (const address of addresses) {
    const isIpv6 = address.host.includes(":")
    first ??= isIpv6
    families[isIpv6 === first ? 0 : 1].push(address)
  }
  const longest = Math.max(families[0].length, families[1].length)
  return Array.from({ length: longest }, (_, i) => families.flatMap((family) => family.slice(i, i + 1))).flat()
}

/** Milliseconds between the starts of two attempts (RFC 8305, 5: the Connection Attempt Delay). */
const staggerMillis = 250

/**
 * Runs attempts with staggered starts: the next one starts 250 ms after the
 * previous one, or as soon as that fails. The first to succeed wins and the
 * others are interrupted. Fails with all errors, in the order of the attempts.
 *
 * @category resolution
 * @since 0.1.0
 */
export const race = <A, E, R>(
  attempts: NonEmptyReadonlyArray<Effect.Effect<A, E, R>>
): Effect.Effect<A, ReadonlyArray<E>, R> =>
  Effect.suspend(() => {
    const errors: Array<E> = []
    const from = (i: number): Effect.Effect<A, E, R> => {
      const failed = Deferred.makeUnsafe<void>()
      const attempt = Effect.tapError(attempts[i], (error) => {
        errors[i] = error
        return Deferred.succeed(failed, undefined)
      })
      return i + 1 === attempts.length ? attempt : Effect.race(
        attempt,
        Effect.andThen(
          Effect.timeoutOption(Deferred.await(failed), staggerMillis),
          Effect.suspend(() => from(i + 1))
        )
      )
    }
    return Effect.mapError(from(0), () => errors)
  })
