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
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Core from "./internal/seenPeers.ts"
import { Persistence } from "./Persistence.ts"

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
  /** How many nodes were heard from, by how long ago. */
  readonly counts: Effect.Effect<SeenCounts>
  /** How many since the node was started. One that was forgotten and came back is counted again. */
  readonly uniqueSinceStart: Effect.Effect<number>
  /** A text for people and other programs: a node id (64 hex digits) and Unix seconds a line, the most recent first. */
  readonly format: Effect.Effect<string>
  /** Adds what such a text says; comments (`#`) and damaged lines are skipped. */
  readonly parse: (text: string) => Effect.Effect<void>
  /**
   * The state itself, for code that runs once per packet.
   *
   * @internal
   */
  readonly core: Core.SeenPeers
}>()("effect-dht/SeenPeers") {}

/** How often sightings are saved: the finest count is of an hour. */
const saveInterval = "5 minutes"

/** Sightings that are saved together. */
const savedTogether = 256

/**
 * Has heard from those of the runs before, where the node's state is kept.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options?: Options
): Effect.fn.Return<SeenPeers["Service"], never, Persistence | Scope.Scope> {
  const persistence = yield* Persistence
  const core = new Core.SeenPeers(options)
  if (persistence.isLasting) {
    core.add(yield* persistence.kept.seen, yield* Clock.currentTimeMillis, true)
    const save = Effect.sync(() => {
      const unsaved = core.takeUnsaved()
      for (let at = 0; at < unsaved.length; at += savedTogether) {
        persistence.save({ _tag: "Seen", sightings: unsaved.slice(at, at + savedTogether) })
      }
    })
    yield* Effect.addFinalizer(() => save)
    yield* save.pipe(
      Effect.catchCause((cause) => Effect.logWarning("Sightings could not be saved", cause)),
      Effect.repeat(Schedule.spaced(saveInterval)),
      Effect.annotateLogs({ module: "effect-dht/SeenPeers", fiber: "Saving" }),
      Effect.forkScoped
    )
  }
  return SeenPeers.of({
    counts: Effect.map(Clock.currentTimeMillis, (now) => core.counts(now)),
    uniqueSinceStart: Effect.sync(() => core.uniqueSinceStart),
    format: Effect.sync(() => core.format()),
    parse: (text) => Effect.map(Clock.currentTimeMillis, (now) => core.parse(text, now)),
    core
  })
})

/**
 * Beginning with those of an earlier run, where state is kept.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<SeenPeers, never, Persistence> =>
  Layer.effect(SeenPeers, make(options))
