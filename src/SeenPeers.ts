/**
 * Counts of the different peers that this node heard from directly in the last
 * hour, day and week.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Core from "./core/seenPeers.ts"
import type { NodeId } from "./NodeId.ts"
import { Persistence } from "./Persistence.ts"

export type { Options, SeenCounts } from "./core/seenPeers.ts"

/**
 * The peers heard from over the last week.
 *
 * @category services
 * @since 0.1.0
 */
export class SeenPeers extends Context.Service<SeenPeers, {
  /** Numbers of nodes heard from, by age. */
  readonly counts: Effect.Effect<Core.SeenCounts>
  /** Number of different nodes since the start. A node that was forgotten and came back counts again. */
  readonly uniqueSinceStart: Effect.Effect<number>
  /** A text with one line per node, most recent first: node id (64 hex digits) and Unix seconds. */
  readonly format: Effect.Effect<string>
  /** Adds the nodes of such a text. Comments (`#`) and damaged lines are skipped. */
  readonly parse: (text: string) => Effect.Effect<void>
  /**
   * Records a message from a node, for code that runs once per packet. `now` is
   * in Unix milliseconds. Repetitions within a minute are not recorded.
   */
  readonly seenUnsafe: (id: NodeId, now: number) => void
}>()("effect-dht/SeenPeers") {}

/** How often sightings are saved; the finest count covers an hour. */
const saveInterval = "5 minutes"

/** Maximum number of sightings saved in one change. */
const savedTogether = 256

/**
 * Starts with the peers of earlier runs, if the node's state is kept.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  options?: Core.Options
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
    seenUnsafe: (id, now) => core.seen(id, now)
  })
})

/**
 * Starts with the peers of an earlier run, if state is kept.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Core.Options): Layer.Layer<SeenPeers, never, Persistence> =>
  Layer.effect(SeenPeers, make(options))
