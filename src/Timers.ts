/**
 * Timers that ring at their times, however many, with hardly ever more than one
 * fiber asleep: most timeouts are called off long before, and a fiber for each
 * would cost more than what it waits for.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import { type Timer, TimerQueue } from "./internal/timerQueue.ts"

/** Milliseconds that a sleep may end early by rounding. */
const tolerance = 0.001

/** A fiber that sleeps until the given time. */
interface Sleeper {
  readonly at: number
  readonly wake: () => void
}

/**
 * For code that runs outside of fibers.
 *
 * @category services
 * @since 0.1.0
 */
export class Timers extends Context.Service<Timers, {
  /** Milliseconds from a beginning of no meaning, by a clock that nobody sets: the time of timers. */
  readonly now: () => number
  /** Fires the timer at the given time, unless it is cancelled before. One that was cancelled is not set again. */
  readonly set: (timer: Timer, at: number) => void
  /** Makes sure that the timer does not go off; nothing where it is not set. */
  readonly cancel: (timer: Timer) => void
}>()("effect-dht/Timers") {}

const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const run = yield* FiberSet.makeRuntime<never>()
  const queue = new TimerQueue()
  /** The one that wakes first is the last. */
  const sleepers: Array<Sleeper> = []
  let order = 0
  let isRinging = false

  // A count that began with the clock would leave no digits for fractions.
  const started = clock.monotonicTimeNanosUnsafe()
  const now = () => Number(clock.monotonicTimeNanosUnsafe() - started) / 1e6

  const ring = Effect.suspend(() => {
    sleepers.pop()
    isRinging = true
    try {
      const time = now() + tolerance
      for (let next = queue.peek(); next !== undefined && next.at <= time; next = queue.peek()) {
        queue.pop()
        next.fire()
      }
    } finally {
      isRinging = false
      arm()
    }
    return Effect.void
  }).pipe(
    Effect.catchCause((cause) => Effect.logError("An timer failed", cause)),
    Effect.annotateLogs({ module: "effect-dht/Timers", fiber: "CallbackTimer" })
  )

  /** Sees to it that somebody is awake for the first timer. */
  const arm = (): void => {
    if (isRinging) return
    const next = queue.peek()
    if (next === undefined) return wakeAll()
    if (sleepers.length > 0 && sleepers[sleepers.length - 1].at <= next.at) return
    // Clocks wake at whole milliseconds: less would not come nearer. Nothing
    // rings before whoever sets it has gone on.
    const millis = Math.ceil(next.at - now())
    const fiber = run(millis > 0 ? Effect.delay(ring, millis) : Effect.andThen(Effect.yieldNow, ring))
    sleepers.push({ at: next.at, wake: () => fiber.interruptUnsafe() })
  }

  /** Nobody sleeps for nothing. */
  const wakeAll = (): void => {
    for (const { wake } of sleepers.splice(0)) wake()
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
 * Timers that ring as long as the layer's scope is open.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Timers> = Layer.effect(Timers, make)
