/**
 * Shares one heap, and usually one sleeping fiber, among all timers: most
 * timeouts are cancelled early, so a fiber for each would cost more than the
 * wait.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { type Timer, TimerQueue } from "./internal/timerQueue.ts"

export type { Timer }

/** Milliseconds by which a sleep may end early because of rounding. */
const tolerance = 0.001

/** Where what is logged comes from. */
const logged = { module: "effect-dht/Timers", fiber: "Timer" }

/** A fiber that sleeps until the given time. */
interface Sleeper {
  readonly at: number
  readonly fiber: Fiber.Fiber<void>
}

/**
 * Timers for code that runs outside of fibers.
 *
 * @category services
 * @since 0.1.0
 */
export class Timers extends Context.Service<Timers, {
  /** Monotonic milliseconds with an arbitrary origin: the time base of all timers. */
  readonly now: () => number
  /** Fires the timer at the given time, instead of the one it was set to, unless it is cancelled before. */
  readonly set: (timer: Timer, at: number) => void
  /** Cancels the timer; does nothing if it is not set. */
  readonly cancel: (timer: Timer) => void
}>()("effect-dht/Timers") {}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const start = Effect.runForkWith(yield* Effect.context<never>())
  const queue = new TimerQueue()
  /** Those of earlier times last. They may wake in another order, as their sleeps are rounded up. */
  const sleepers: Array<Sleeper> = []
  let order = 0
  let isFiring = false
  let isClosed = false

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
      wakeAll()
    })
  )

  // Nanoseconds since the clock's origin would leave no digits for fractions.
  const started = clock.monotonicTimeNanosUnsafe()
  const now = () => Number(clock.monotonicTimeNanosUnsafe() - started) / 1e6

  const fireDue = (): void => {
    const time = now() + tolerance
    for (let next = queue.peek(); next !== undefined && next.at <= time; next = queue.peek()) {
      queue.pop()
      next.fire()
    }
  }

  const ring = (sleeper: Sleeper): void => {
    sleepers.splice(sleepers.lastIndexOf(sleeper), 1)
    isFiring = true
    try {
      fireDue()
    } catch (defect) {
      start(Effect.annotateLogs(Effect.logError("A timer failed", defect), logged))
    } finally {
      isFiring = false
      arm()
    }
  }

  /** Ensures that a fiber wakes for the first timer. */
  const arm = (): void => {
    if (isFiring || isClosed) return
    const next = queue.peek()
    if (next === undefined) return wakeAll()
    if (sleepers.length > 0 && sleepers[sleepers.length - 1].at <= next.at) return
    // Clocks wake at whole milliseconds, so a shorter sleep would not be more
    // exact. No timer fires before its caller has continued.
    const millis = Math.ceil(next.at - now())
    const asleep = millis > 0 ? clock.sleep(Duration.millis(millis)) : Effect.yieldNow
    const sleeper: Sleeper = { at: next.at, fiber: start(Effect.andThen(asleep, Effect.sync(() => ring(sleeper)))) }
    sleepers.push(sleeper)
  }

  /** Wakes all sleepers, because no timer is left. */
  const wakeAll = (): void => {
    for (const { fiber } of sleepers.splice(0)) fiber.interruptUnsafe()
  }

  return Timers.of({
    now,
    set: (timer, at) => {
      queue.push(timer, at, order++)
      arm()
    },
    cancel: (timer) => {
      queue.cancel(timer)
      if (queue.size === 0) wakeAll()
    }
  })
})

/**
 * Timers that fire as long as the layer's scope is open.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Timers> = Layer.effect(Timers, make)
