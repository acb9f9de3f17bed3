/**
 * Sleep that ends early when there may be something to do, for loops that know
 * when their next work is due.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

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
 * Creates a `WakeUp` that nothing has woken yet. Its sleep takes one fiber, where a
 * race of a sleep and a latch takes two.
 *
 * @internal
 */
export const make: Effect.Effect<WakeUp> = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const start = Effect.runForkWith(yield* Effect.context<never>())
  const asleep = (millis: number) => clock.sleep(Duration.millis(Math.max(millis, 0)))
  let isWoken = false
  /** Ends the sleep of the fiber that sleeps. */
  let end: (() => void) | undefined

  return {
    sleep: (millis) =>
      Effect.callback((resume) => {
        if (isWoken) {
          isWoken = false
          return resume(Effect.void)
        }
        const rise = () => {
          end = undefined
          // The caller of `wakeUnsafe` goes on first.
          resume(Effect.yieldNow)
        }
        const sleeper = millis === Infinity ? undefined : start(Effect.andThen(asleep(millis), Effect.sync(rise)))
        const cancel = () => sleeper?.interruptUnsafe()
        end = () => {
          cancel()
          rise()
        }
        return Effect.sync(() => {
          end = undefined
          cancel()
        })
      }),
    wakeUnsafe: () => {
      if (end === undefined) isWoken = true
      else end()
    }
  }
})
