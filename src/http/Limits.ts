/**
 * Limits of what HTTP clients can have the node do: so much at a time, and so
 * often.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { FairQueue } from "../core/fairQueue.ts"
import { Allowance, RateLimit, rememberedSources } from "../internal/rateLimit.ts"
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
 * /48), and from all together. Lookups read from the
 * network; writes publish, announce or send; records are those that guests
 * publish, who have no token. Changes of hosted identities have a limit of their
 * own: a client has thousands of them, and what they cause is paced by the
 * budget of hosting.
 *
 * @category constants
 * @since 0.1.0
 */
export const rates = {
  lookups: { perNetwork: 300, inAll: 1200 },
  writes: { perNetwork: 60, inAll: 240 },
  hosted: { perNetwork: 6000, inAll: 6000 },
  records: { perNetwork: 20, inAll: 240 }
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

/** A check of how often requests come. */
type Rate = (request: Pick<HttpServerRequest, "remoteAddress">) => Effect.Effect<void, Problem.Problem<"RateLimited">>

const hostOf = ({ remoteAddress }: Pick<HttpServerRequest, "remoteAddress">): string =>
  Option.getOrElse(remoteAddress, () => "unknown")

/**
 * The network of a client.
 *
 * @category conversions
 * @since 0.1.0
 */
export const networkOf = (request: Pick<HttpServerRequest, "remoteAddress">): string =>
  SocketAddress.network(hostOf(request))

const names = {
  lookups: "lookups",
  writes: "writes",
  hosted: "changes of hosted identities",
  records: "records"
} as const

const rateLimited = (kind: keyof typeof rates, network: string): Problem.Problem<"RateLimited"> => {
  const { inAll, perNetwork } = rates[kind]
  return Problem.make(
    "RateLimited",
    `More than ${perNetwork} ${
      names[kind]
    } in ${windowSeconds} seconds came from ${network}, or more than ${inAll} from ` +
      `all clients. Try again in ${windowSeconds} seconds`,
    { retry_after_seconds: windowSeconds }
  )
}

/**
 * Limits how often clients send requests of a kind.
 *
 * @category constructors
 * @since 0.1.0
 */
export const rate = (kind: "lookups" | "writes" | "hosted"): Rate => {
  const { inAll, perNetwork } = rates[kind]
  const allowance = new Allowance({ perSource: perNetwork, inAll, windowMillis: windowSeconds * 1000 })
  return (request) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      const network = networkOf(request)
      return allowance.allow(network, now) ? Effect.void : Effect.fail(rateLimited(kind, network))
    })
}

/**
 * Maximum number of requests that wait for their turn.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxWaiting = 64

/** Requests that are admitted at once after a pause. */
const burst = 24

interface Turn {
  readonly network: string
  readonly granted: Deferred.Deferred<void, Problem.Problem<"RateLimited">>
  isGone: boolean
}

/**
 * Limits how often clients send requests of a kind, as {@link rate} does, but
 * fairly: when there are more than the limit in all, networks are admitted in
 * turn, and the one with the most waiting loses its last. However many requests
 * others send, a network that sends few is served.
 *
 * @category constructors
 * @since 0.1.0
 */
export const turns = Effect.fnUntraced(function*(kind: "records"): Effect.fn.Return<Rate, never, Scope.Scope> {
  const { inAll, perNetwork } = rates[kind]
  const spacing = windowSeconds * 1000 / inAll
  const networks = new RateLimit({
    limit: perNetwork,
    windowMillis: windowSeconds * 1000,
    capacity: rememberedSources
  })
  const waiting = new FairQueue<Turn>({ capacity: maxWaiting, perSource: maxWaiting })
  const scope = yield* Effect.scope
  let isServing = false
  /** When all that was admitted would have come, one at a time. */
  let admittedUntil = 0

  /** Whole milliseconds until the next request is admitted. */
  const delay = (now: number): number => {
    // The clock may have been set back.
    admittedUntil = Math.min(Math.max(admittedUntil, now), now + (burst + 1) * spacing)
    return Math.floor(admittedUntil - now - (burst - 1) * spacing)
  }

  const serve = Effect.gen(function*() {
    isServing = true
    while (waiting.size > 0) {
      const millis = delay(yield* Clock.currentTimeMillis)
      if (millis > 0) {
        yield* Effect.sleep(millis)
        continue
      }
      const turn = waiting.takeOne()
      if (turn === undefined || turn.isGone) continue
      admittedUntil += spacing
      yield* Deferred.succeed(turn.granted, undefined)
    }
    isServing = false
  }).pipe(
    Effect.catchCause((cause) => {
      isServing = false
      return Effect.logWarning("Requests could not be admitted", cause)
    }),
    Effect.annotateLogs({ module: "effect-dht/http/Limits", fiber: "Turns" })
  )

  return (request) =>
    Effect.gen(function*() {
      const host = hostOf(request)
      const network = SocketAddress.network(host)
      const now = yield* Clock.currentTimeMillis
      if (!networks.allow(network, now)) return yield* Effect.fail(rateLimited(kind, network))
      if (waiting.size === 0 && delay(now) <= 0) {
        admittedUntil += spacing
        return
      }
      const turn: Turn = { network, granted: Deferred.makeUnsafe(), isGone: false }
      const lost = waiting.offer({ host, port: 0 }, turn)
      if (lost !== undefined) yield* Deferred.fail(lost.granted, rateLimited(kind, lost.network))
      if (!isServing) yield* Effect.forkIn(serve, scope, { startImmediately: true })
      yield* Effect.onInterrupt(Deferred.await(turn.granted), () =>
        Effect.sync(() => {
          turn.isGone = true
        }))
    })
})
