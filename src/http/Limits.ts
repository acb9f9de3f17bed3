/**
 * Limits of what HTTP clients can have the node do: so much at a time, and so
 * often.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { Allowance } from "../internal/rateLimit.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as Problem from "./Problem.ts"

/**
 * Seconds over which requests are counted, and after which a client that is
 * over its limit can try again.
 *
 * @category constants
 * @since 0.1.0
 */
export const windowSeconds = 10

/**
 * Maximum number of requests within {@link windowSeconds} from one network (/24,
 * /48), and from all together, which have one token. Lookups read from the
 * network; writes publish, announce or send.
 *
 * @category constants
 * @since 0.1.0
 */
export const rates = {
  lookups: { perNetwork: 300, inAll: 1200 },
  writes: { perNetwork: 60, inAll: 240 }
} as const

/**
 * Time limit of a lookup for a client.
 *
 * @category constants
 * @since 0.1.0
 */
export const lookupTime = "15 seconds"

/**
 * Limits concurrent requests: each holds a place for its scope, and fails if
 * none is free.
 *
 * @category constructors
 * @since 0.1.0
 */
export const places = (
  what: string,
  max: number
): Effect.Effect<void, Problem.Problem<"TooMany">, Scope.Scope> => {
  let taken = 0
  return Effect.suspend(() =>
    taken >= max
      ? Effect.fail(tooMany(what, max))
      : Effect.acquireRelease(
        Effect.sync(() => {
          taken++
        }),
        () =>
          Effect.sync(() => {
            taken--
          })
      )
  )
}

/**
 * The problem of a limit that is reached.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tooMany = (what: string, limit: number): Problem.Problem<"TooMany"> =>
  Problem.make("TooMany", `the limit of ${limit} ${what} is reached; try again later`, { limit })

/**
 * Limits how often clients send requests of a kind.
 *
 * @category constructors
 * @since 0.1.0
 */
export const rate = (
  kind: keyof typeof rates
): (request: HttpServerRequest) => Effect.Effect<void, Problem.Problem<"RateLimited">> => {
  const { inAll, perNetwork } = rates[kind]
  const allowance = new Allowance({ perSource: perNetwork, inAll, windowMillis: windowSeconds * 1000 })
  return ({ remoteAddress }) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const network = Option.match(remoteAddress, { onNone: () => "unknown", onSome: SocketAddress.network })
      return allowance.allow(network, now) ? Effect.void : Effect.fail(
        Problem.make(
          "RateLimited",
          `More than ${perNetwork} ${kind} in ${windowSeconds} seconds came from ${network}, or more than ${inAll} from ` +
            `all clients. Try again in ${windowSeconds} seconds`,
          { retry_after_seconds: windowSeconds }
        )
      )
    })
}
