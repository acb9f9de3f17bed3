import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

/** Fibers that have begun and not ended, and sleeps on the clock. */
export interface Alive {
  readonly fibers: number
  readonly sleeps: number
}

/** Runs a test that may ask at any time what is alive of all that it started, itself included. */
export const counting = <A, E, R>(test: (alive: () => Alive) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    let fibers = 0
    let sleeps = 0
    const countingClock: Clock.Clock = {
      ...clock,
      sleep: (duration) =>
        Effect.acquireUseRelease(
          Effect.sync(() => sleeps++),
          () => clock.sleep(duration),
          () => Effect.sync(() => sleeps--)
        )
    }
    return yield* test(() => ({ fibers, sleeps })).pipe(
      Effect.provideService(Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => {
          fibers++
        },
        recordFiberEnd: () => {
          fibers--
        }
      }),
      Effect.provideService(Clock.Clock, countingClock)
    )
  })
