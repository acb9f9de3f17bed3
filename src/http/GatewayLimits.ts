/**
 * The limits of the gateway's clients, which all groups of its routes share.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Limits from "./Limits.ts"
import type * as Problem from "./Problem.ts"

/**
 * Maximum number of concurrent lookups for clients of the gateway.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxLookups = 64

/**
 * Maximum number of streams of topics and messages at a time.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxStreams = 128

/**
 * Maximum number of guests that wait for copies of their records at a time.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxWaits = 64

type Rate = (request: HttpServerRequest) => Effect.Effect<void, Problem.Problem<"RateLimited">>

type Place = Effect.Effect<void, Problem.Problem<"TooMany">, Scope.Scope>

/**
 * The limits of the gateway.
 *
 * @category services
 * @since 0.1.0
 */
export class GatewayLimits extends Context.Service<GatewayLimits, {
  /** Counts a request that reads from the network. */
  readonly lookupRate: Rate
  /** Counts a request that publishes, announces or sends. */
  readonly writeRate: Rate
  /** Counts a request that changes a hosted identity. */
  readonly hostedRate: Rate
  /** Counts a request by which a guest publishes a record, and waits for its turn. */
  readonly recordTurn: Rate
  /** Takes one of {@link maxLookups} places. */
  readonly lookupPlace: Place
  /** Takes one of {@link maxStreams} places. */
  readonly streamPlace: Place
  /** Takes one of {@link maxWaits} places. */
  readonly waitPlace: Place
}>()("effect-dht/http/GatewayLimits") {}

/**
 * Limits that no request has counted against.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<GatewayLimits> = Layer.effect(
  GatewayLimits,
  Effect.map(Limits.turns("records"), (recordTurn) => ({
    lookupRate: Limits.rate("lookups"),
    writeRate: Limits.rate("writes"),
    hostedRate: Limits.rate("hosted"),
    recordTurn,
    lookupPlace: Limits.places("lookups", maxLookups),
    streamPlace: Limits.places("streams", maxStreams),
    waitPlace: Limits.places("records whose copies are awaited", maxWaits)
  }))
)
