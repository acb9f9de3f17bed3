/**
 * The reach of this node: how many different peers it heard from directly
 * over the last hour, day and week.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Core from "./internal/seenPeers.ts"

/**
 * How many different peers were heard from within an hour, a day, a week.
 *
 * @category models
 * @since 0.1.0
 */
export interface SeenCounts {
  readonly hour: number
  readonly day: number
  readonly week: number
}

/**
 * How much is remembered.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface Options {
  /** Node ids, by default 100 000; those not heard from for the longest leave first. */
  readonly capacity?: number | undefined
}

/**
 * Whom this node heard from over the last week.
 *
 * @category services
 * @since 0.1.0
 */
export class SeenPeers extends Context.Service<SeenPeers, {
  readonly counts: Effect.Effect<SeenCounts>
  /** How many since the node was started. One that was forgotten and came back is counted again. */
  readonly uniqueSinceStart: Effect.Effect<number>
  /** The text to keep for the next run: a node id (64 hex digits) and Unix seconds a line, the most recent first. */
  readonly format: Effect.Effect<string>
  /** Adds the text of an earlier run; comments (`#`) and damaged lines are skipped. */
  readonly parse: (text: string) => Effect.Effect<void>
  /**
   * The state itself, for code that runs once per packet.
   *
   * @internal
   */
  readonly core: Core.SeenPeers
}>()("effect-dht/SeenPeers") {}

/**
 * Has heard from nobody yet.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Options): Effect.Effect<SeenPeers["Service"]> =>
  Effect.sync(() => {
    const core = new Core.SeenPeers(options)
    return SeenPeers.of({
      counts: Effect.map(Clock.currentTimeMillis, (now) => core.counts(now)),
      uniqueSinceStart: Effect.sync(() => core.uniqueSinceStart),
      format: Effect.sync(() => core.format()),
      parse: (text) => Effect.map(Clock.currentTimeMillis, (now) => core.parse(text, now)),
      core
    })
  })

/**
 * Has heard from nobody yet.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<SeenPeers> => Layer.effect(SeenPeers, make(options))
