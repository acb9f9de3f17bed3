/**
 * Search for the interleavings of fibers under which a program fails.
 *
 * {@link search} runs a program under many schedules: random ones, or those of
 * probabilistic concurrency testing, which find a bug that needs `depth` ordering
 * constraints with a known probability. {@link explore} runs a small program under
 * all of them, and counts them. Both report failures with a text that repeats the
 * run when it is given as `scheduleSeed`:
 *
 * ```ts
 * import { Interleavings, VirtualTime } from "effect-dht/testing"
 * import * as Effect from "effect/Effect"
 *
 * declare const program: Effect.Effect<void, Error>
 *
 * const { failure } = Interleavings.search(program, { depth: 2, runs: 100 })
 * if (failure !== undefined) VirtualTime.runSync(program, { scheduleSeed: failure.schedule })
 * ```
 *
 * The texts are `pct:DEPTH:SEED:STEPS` and `choices:` with the position of the task
 * that runs next wherever there are several, oldest first.
 *
 * @module
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { Domain } from "./internal/control.ts"
import { AllOrders, Priorities, recorded } from "./internal/strategies.ts"
import * as VirtualTime from "./VirtualTime.ts"

// --- Models ------------------------------------------------------------------

/**
 * A run that failed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failure<E> {
  /** The `scheduleSeed` that repeats the run. */
  readonly schedule: number | string
  readonly cause: Cause.Cause<E | VirtualTime.Stuck>
}

// --- Random schedules ------------------------------------------------------------

/**
 * Options of a search.
 *
 * @category models
 * @since 0.1.0
 */
export interface SearchOptions extends Omit<VirtualTime.RunOptions, "scheduleSeed"> {
  /**
   * Number of ordering constraints between steps that a bug needs: the schedules
   * have `depth - 1` points at which a fiber is preempted for all others. Without
   * it, each step is drawn at random.
   */
  readonly depth?: number | undefined
  /** Most runs. */
  readonly runs: number
  /** Seed of the first schedule; the following count up. Default 0. */
  readonly from?: number | undefined
}

/**
 * The result of a search.
 *
 * @category models
 * @since 0.1.0
 */
export interface Searched<E> {
  /** Number of runs, the failing one included. */
  readonly runs: number
  /** The first failure, undefined if no run failed. */
  readonly failure: Failure<E> | undefined
}

/**
 * Runs a program under different schedules until one fails.
 *
 * With `depth`, the schedules are those of probabilistic concurrency testing
 * (Burckhardt et al., ASPLOS 2010): of n fibers that take k steps in all, a run
 * finds a bug of that depth with a probability of at least 1 / (n k^(depth-1)).
 *
 * @category search
 * @since 0.1.0
 */
export const search = <A, E>(
  program: Effect.Effect<A, E, VirtualTime.VirtualTime>,
  options: SearchOptions
): Searched<E> => {
  const { depth, from = 0, runs } = options
  const steps = depth === undefined ? 0 : stepsOf(program, options)
  for (let i = 0; i < runs; i++) {
    const schedule = depth === undefined ? from + i : `pct:${depth}:${from + i}:${steps}`
    const exit = VirtualTime.runSyncExit(program, { ...options, scheduleSeed: schedule })
    if (Exit.isFailure(exit)) return { runs: i + 1, failure: { schedule, cause: exit.cause } }
  }
  return { runs, failure: undefined }
}

/** Number of points of a program at which a fiber can be preempted. */
const stepsOf = <A, E>(
  program: Effect.Effect<A, E, VirtualTime.VirtualTime>,
  options: VirtualTime.RunOptions
): number => {
  const strategy = new Priorities({ seed: 0, depth: 1, steps: 1 })
  VirtualTime.runOn(new VirtualTime.Timeline({ ...options, strategy }), program, options)
  return Math.max(1, strategy.steps)
}

// --- All schedules -----------------------------------------------------------------

/**
 * Options of an exploration.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExploreOptions extends Omit<VirtualTime.RunOptions, "scheduleSeed"> {
  /** Most runs. Default 100 000. */
  readonly limit?: number | undefined
  /** Most failures that are kept. Default 10. */
  readonly maxFailures?: number | undefined
}

/**
 * The result of an exploration.
 *
 * @category models
 * @since 0.1.0
 */
export interface Explored<E> {
  /** Number of different interleavings that ran to their end. */
  readonly interleavings: number
  /** Number of runs that were cut short, because they only swap steps that commute. */
  readonly pruned: number
  /** Whether there are no others. */
  readonly isComplete: boolean
  /** Number of interleavings that failed. */
  readonly failed: number
  /** The first of those. */
  readonly failures: ReadonlyArray<Failure<E>>
}

/**
 * Runs a program under every order of its concurrent steps. A step is what a fiber
 * does until it suspends or yields; steps are concurrent if they can run at the
 * same instant. To let a timeout race with a response, have both at one instant.
 *
 * Orders that differ only in steps that commute count as one. Steps commute if they
 * have different domains: those of different simulated hosts, or of fibers that
 * {@link withDomain} sets apart.
 *
 * @category search
 * @since 0.1.0
 */
export const explore = <A, E>(
  program: Effect.Effect<A, E, VirtualTime.VirtualTime>,
  options: ExploreOptions = {}
): Explored<E> => {
  const { limit = 100_000, maxFailures = 10 } = options
  const strategy = new AllOrders()
  const failures: Array<Failure<E>> = []
  let [interleavings, pruned, failed] = [0, 0, 0]
  let isComplete = false
  while (!isComplete && interleavings + pruned < limit) {
    const exit = VirtualTime.runOn(new VirtualTime.Timeline({ ...options, strategy }), program, options)
    if (strategy.isPruned) pruned++
    else {
      interleavings++
      if (Exit.isFailure(exit)) {
        failed++
        if (failures.length < maxFailures) failures.push({ schedule: recorded(strategy.choices), cause: exit.cause })
      }
    }
    isComplete = !strategy.next()
  }
  return { interleavings, pruned, isComplete, failed, failures }
}

/**
 * Declares that an effect, with the fibers that it starts, shares no state with
 * fibers of other domains, so that `explore` need not try their steps in every
 * order. Fibers of a simulated host have it as their domain.
 *
 * @category search
 * @since 0.1.0
 */
export const withDomain = (domain: object) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(self, Domain, domain)
