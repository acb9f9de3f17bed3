import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"

/** Number of live fibers and of sleeps on the clock. */
export interface Alive {
  readonly fibers: number
  readonly sleeps: number
}

/** Runs a test with a function that counts its live fibers and sleeps, its own fiber included. */
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
