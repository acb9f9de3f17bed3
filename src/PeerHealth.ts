/**
 * How the peers we ask behave: whether they answer, how long they take, and
 * when one that was silent deserves another try. Round-trip times are smoothed
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
import * as Core from "./internal/peerHealth.ts"
import type { NodeId } from "./NodeId.ts"

/**
 * `good`: answered the last time. `bad`: was silent twice in a row or more.
 * `unknown`: anything else.
 *
 * @category models
 * @since 0.1.0
 */
export type Health = "good" | "unknown" | "bad"

/**
 * How much is remembered.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface Options {
  /** Peers, by default 10 000; who was asked the longest ago is forgotten first. */
  readonly capacity?: number | undefined
}

/**
 * What is known of the peers by asking them.
 *
 * @category services
 * @since 0.1.0
 */
export class PeerHealth extends Context.Service<PeerHealth, {
  /** How the peer answered lately. */
  readonly state: (id: NodeId) => Effect.Effect<Health>
  /** The smoothed round-trip time; none if the peer never answered. */
  readonly rtt: (id: NodeId) => Effect.Effect<Option.Option<Duration.Duration>>
  /** Whether its back-off is over: 30 seconds after a failure, doubled by each further one in a row, ten times at most. */
  readonly allowContact: (id: NodeId) => Effect.Effect<boolean>
  /**
   * The state itself, for code that runs once per packet.
   *
   * @internal
   */
  readonly core: Core.PeerHealth
}>()("effect-dht/PeerHealth") {}

/**
 * Knows nobody yet.
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
 * Knows nobody yet.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<PeerHealth> => Layer.effect(PeerHealth, make(options))
