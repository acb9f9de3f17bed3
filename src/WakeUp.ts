/**
 * Sleep that ends early when there may be something to do, for loops that know
 * when their next work is due.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"

/**
 * @internal
 */
export interface WakeUp {
  /**
   * Sleeps for so many milliseconds, or until it is woken. Ends at once if it was
   * woken since the last sleep. One fiber may sleep at a time.
   */
  readonly sleep: (millis: number) => Effect.Effect<void>
  /** Ends the sleep, or the next one. */
  readonly wakeUnsafe: () => void
}

/**
 * Creates a `WakeUp` that nothing has woken yet.
 *
 * @internal
 */
export const make: Effect.Effect<WakeUp> = Effect.sync(() => {
  const woken = Latch.makeUnsafe(false)
  return {
    sleep: (millis) =>
      Effect.andThen(
        millis === Infinity ? woken.await : Effect.timeoutOption(woken.await, Math.max(millis, 0)),
        Effect.sync(() => woken.closeUnsafe())
      ),
    wakeUnsafe: () => woken.openUnsafe()
  }
})
