/**
 * Effects in flight and their outcomes, for a loop that starts many and
 * continues with the first outcomes.
 *
 * Each effect has a fiber of its own, so its span is real, and the scope
 * interrupts what is still in flight. A request costs about 4 µs of CPU time more
 * than with a callback, where its signatures cost 200 µs.
 *
 * @module
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import { Timer } from "./internal/timerQueue.ts"
import type { Timers } from "./Timers.ts"

/**
 * @internal
 */
export interface InFlight<A> {
  /** Starts an effect. Its defect becomes one of `take`. */
  readonly start: (effect: Effect.Effect<A>) => Effect.Effect<void>
  /** Adds an outcome of something else. */
  readonly offerUnsafe: (outcome: A) => void
  /**
   * Returns the outcomes since the last call, or waits for the next ones; none once
   * so many milliseconds have passed. One fiber may wait at a time.
   */
  readonly take: (millis?: number) => Effect.Effect<ReadonlyArray<A>>
  /** Returns the outcomes since the last call. */
  readonly takeAll: Effect.Effect<ReadonlyArray<A>>
}

/** A wait for outcomes and, as a timer, its deadline. */
class Wait extends Timer {
  readonly resume: () => void
  readonly fire: () => void

  constructor(resume: () => void, fire: () => void) {
    super()
    this.resume = resume
    this.fire = fire
  }
}

/**
 * Creates an `InFlight`, whose effects are interrupted when the scope closes.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*<A>(
  timers: Timers["Service"]
): Effect.fn.Return<InFlight<A>, never, Scope.Scope> {
  const fibers = yield* FiberSet.make()
  let outcomes: Array<A> = []
  let defect: Cause.Cause<never> | undefined
  let wait: Wait | undefined

  const takeAll: InFlight<A>["takeAll"] = Effect.suspend(() => {
    if (outcomes.length === 0 && defect !== undefined) return Effect.failCause(defect)
    const taken = outcomes
    outcomes = []
    return Effect.succeed(taken)
  })
  // The outcomes of one instant are taken together.
  const takeSoon = Effect.andThen(Effect.yieldNow, takeAll)

  const endWait = (): void => {
    if (wait !== undefined) timers.cancel(wait)
    wait = undefined
  }

  const wake = (): void => {
    const ended = wait
    endWait()
    ended?.resume()
  }

  const offerUnsafe = (outcome: A): void => {
    outcomes.push(outcome)
    wake()
  }

  const hasOutcomes = (): boolean => outcomes.length > 0 || defect !== undefined

  const waitFor = (millis: number | undefined): InFlight<A>["takeAll"] =>
    Effect.callback((resume) => {
      // Another fiber may have run since `take` looked: this one can be made to yield between any two operations.
      if (hasOutcomes()) return resume(takeAll)
      wait = new Wait(() => resume(takeSoon), wake)
      if (millis !== undefined) timers.set(wait, timers.now() + Math.max(0, millis))
      return Effect.sync(endWait)
    })

  return {
    start: (effect) =>
      Effect.asVoid(FiberSet.run(
        fibers,
        Effect.matchCause(effect, {
          onFailure: (cause) => {
            defect ??= cause
            wake()
          },
          onSuccess: offerUnsafe
        })
      )),
    offerUnsafe,
    take: (millis) => Effect.suspend(() => hasOutcomes() ? takeAll : waitFor(millis)),
    takeAll
  }
})
