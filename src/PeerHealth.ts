/**
 * Health of the peers that we send requests to: whether they answer, how long
 * they take, and when to try a silent one again. Round-trip times are smoothed
 * as in RFC 6298.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Core from "./core/peerHealth.ts"
import type { NodeId } from "./NodeId.ts"

/**
 * `good`: answered the last request. `bad`: was silent at least twice in a row.
 * `unknown`: anything else.
 *
 * @category models
 * @since 0.1.0
 */
export type Health = "good" | "unknown" | "bad"

/**
 * Bounds of the memory.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface Options {
  /** Maximum number of peers, by default 10 000. The one whose last request is the oldest is forgotten first. */
  readonly capacity?: number | undefined
}

/**
 * What requests have shown about peers.
 *
 * @category services
 * @since 0.1.0
 */
export class PeerHealth extends Context.Service<PeerHealth, {
  /** Returns the recent behaviour of the peer. */
  readonly state: (id: NodeId) => Effect.Effect<Health>
  /** Returns the smoothed round-trip time; none if the peer never answered. */
  readonly rtt: (id: NodeId) => Effect.Effect<Option.Option<Duration.Duration>>
  /**
   * Whether the peer's back-off is over: 30 seconds after a failure, doubled
   * for each further one in a row, at most ten times.
   */
  readonly allowContact: (id: NodeId) => Effect.Effect<boolean>
  /**
   * The synchronous state, for code that runs once per packet.
   *
   * @internal
   */
  readonly core: Core.PeerHealth
}>()("effect-dht/PeerHealth") {}

/**
 * Health without any history.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Options): Effect.Effect<PeerHealth["Service"]> =>
  Effect.sync(() => {
    const core = new Core.PeerHealth(options)
    return PeerHealth.of({
      state: (id) => Effect.sync(() => core.state(id)),
      rtt: (id) => Effect.sync(() => Option.map(Option.fromUndefinedOr(core.rtt(id)), Duration.millis)),
      allowContact: (id) => Effect.map(Clock.currentTimeMillis, (now) => core.allowContact(id, now)),
      core
    })
  })

/**
 * Health without any history.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<PeerHealth> => Layer.effect(PeerHealth, make(options))
