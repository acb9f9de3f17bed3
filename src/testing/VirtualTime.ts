/**
 * Programs under virtual time: hours pass as fast as the machine computes what
 * happens in them, and every run is the same.
 *
 * A {@link Timeline} is the `Clock` and the `Scheduler` of every fiber that runs
 * on it. It runs what can run, then jumps to the next timer, in a plain loop
 * that returns when the program has ended: the event loop of the host is not
 * involved, so a promise never completes here, and a program that waits for one
 * is reported as a {@link Deadlock}.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"
import { Timer, TimerQueue } from "../internal/timerQueue.ts"
import { Prng } from "./internal/prng.ts"
import { RunQueue } from "./internal/runQueue.ts"
import * as SeededRandom from "./SeededRandom.ts"

// --- Errors ------------------------------------------------------------------

/**
 * Every fiber waits and no timer is set, so nothing will ever happen again.
 * `elapsedMillis` is how much virtual time had passed.
 *
 * @category errors
 * @since 0.1.0
 */
export class Deadlock extends Data.TaggedError("Deadlock")<{ readonly elapsedMillis: number }> {
  override get message() {
    return `Deadlock after ${elapsed(this.elapsedMillis)}: every fiber waits and no timer is set ` +
      "(a promise does not complete under virtual time)"
  }
}

/**
 * The program was given so much virtual time and has not ended.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotFinished extends Data.TaggedError("NotFinished")<{ readonly elapsedMillis: number }> {
  override get message() {
    return `Not finished after ${elapsed(this.elapsedMillis)} of virtual time; give it more with \`within\``
  }
}

/**
 * Fibers keep waking each other and time stands still.
 *
 * @category errors
 * @since 0.1.0
 */
export class Livelock extends Data.TaggedError("Livelock")<{
  readonly elapsedMillis: number
  /** Steps that were taken at that instant. */
  readonly steps: number
}> {
  override get message() {
    return `Livelock after ${elapsed(this.elapsedMillis)}: ${this.steps} steps and no time has passed`
  }
}

/**
 * Why a program under virtual time did not end.
 *
 * @category errors
 * @since 0.1.0
 */
export type Stuck = Deadlock | NotFinished | Livelock

const elapsed = (millis: number): string => Duration.format(Duration.millis(Math.round(millis)))

// --- The timeline --------------------------------------------------------------

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** What the clock shows at the beginning, in Unix milliseconds; defaults to some time in November 2023. */
  readonly startMillis?: number | undefined
  /**
   * Without it, whoever could run first runs first. With it, who runs next of
   * those who can is drawn from this seed, fibers yield where they otherwise
   * would not, and timers of the same instant fire in any order: races show,
   * and show again with the same seed.
   */
  readonly scheduleSeed?: number | undefined
}

const defaultStartMillis = 1_700_000_000_000

/** Steps at one instant after which time is said to stand still: ten thousand nodes that start at once take 30 000. */
const maxSteps = 1_000_000

/** With a schedule seed, a fiber yields once in so many operations. */
const yieldsOnceIn = 16

/** What ended a part of a run. */
type Ending = "done" | "idle" | "late" | "livelock"

/** A timer outside of any fiber. */
class Callback extends Timer {
  readonly fire: () => void

  constructor(fire: () => void) {
    super()
    this.fire = fire
  }
}

/**
 * Virtual time. `run` it from outside, or let {@link runSync} do so and meet it
 * as the service {@link VirtualTime}.
 *
 * As a clock it shows `startMillis` and what has passed since.
 *
 * @category models
 * @since 0.1.0
 */
export class Timeline implements Clock.Clock, Scheduler.Scheduler, Scheduler.SchedulerDispatcher {
  readonly executionMode = "sync"
  /** Unix milliseconds. */
  readonly startMillis: number
  /** What it was made with. */
  readonly scheduleSeed: number | undefined
  /** Virtual milliseconds since the beginning. */
  elapsedMillis = 0
  private readonly events = new TimerQueue()
  private readonly tasks: RunQueue
  private readonly schedule: Prng | undefined
  private order = 0
  private running = false

  constructor(options: Options = {}) {
    this.startMillis = options.startMillis ?? defaultStartMillis
    this.scheduleSeed = options.scheduleSeed
    this.schedule = options.scheduleSeed === undefined ? undefined : new Prng(options.scheduleSeed, "schedule")
    this.tasks = new RunQueue(this.schedule)
  }

  /** Timers that are set. */
  get timers(): number {
    return this.events.size
  }

  /** Fibers that can run now. */
  get runnable(): number {
    return this.tasks.size
  }

  // --- As a clock

  currentTimeMillisUnsafe(): number {
    return this.startMillis + Math.floor(this.elapsedMillis)
  }
  currentTimeNanosUnsafe(): bigint {
    return BigInt(this.startMillis) * 1_000_000n + this.monotonicTimeNanosUnsafe()
  }
  monotonicTimeNanosUnsafe(): bigint {
    return BigInt(Math.round(this.elapsedMillis * 1_000_000))
  }
  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  readonly monotonicTimeNanos = Effect.sync(() => this.monotonicTimeNanosUnsafe())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    const millis = Duration.toMillis(duration)
    if (millis <= 0) return Effect.yieldNow
    if (!Number.isFinite(millis)) return Effect.never
    return Effect.callback((resume) => {
      const cancel = this.after(millis, () => resume(Effect.void))
      return Effect.sync(cancel)
    })
  }

  // --- As a scheduler

  shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    return fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield ||
      (this.schedule !== undefined && this.schedule.below(yieldsOnceIn) === 0)
  }
  /** All fibers share one, so that there is one order of all that happens. */
  makeDispatcher(): this {
    return this
  }
  scheduleTask(task: () => void, priority: number): void {
    this.tasks.push(task, priority)
  }
  /** Runs what can run now; time does not pass. */
  flush(): void {
    this.settle()
  }

  // --- Timers without fibers

  /** Runs `fire` after so many milliseconds, unless what is returned is called before. */
  after(millis: number, fire: () => void): () => void {
    const event = new Callback(fire)
    this.add(event, millis)
    return () => this.events.cancel(event)
  }

  /**
   * The same for events that are objects of their own.
   *
   * @internal
   */
  add(event: Timer, millis: number): void {
    const order = this.schedule === undefined ? this.order++ : this.schedule.uint32()
    this.events.push(event, this.elapsedMillis + Math.max(0, millis), order)
  }

  /** @internal */
  removeWhere(fits: (event: Timer) => boolean): void {
    this.events.removeWhere(fits)
  }

  // --- Running

  /** Starts an effect on this timeline: it runs until it has to wait, and goes on when the timeline runs. */
  fork<A, E>(effect: Effect.Effect<A, E, VirtualTime>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.context)(effect)
  }

  /** Lets so much time pass, and all that happens in it happen. */
  advance(duration: Duration.Input): Exit.Exit<void, Livelock> {
    const until = this.elapsedMillis + Duration.toMillis(duration)
    const ending = this.drive(() => false, until)
    if (ending === "livelock") return Exit.fail(this.livelock())
    this.elapsedMillis = until
    return Exit.void
  }

  /**
   * Runs until the fiber has ended, at most for so much virtual time. One that
   * does not end is interrupted, and its finalizers run, before this returns.
   */
  await<A, E>(fiber: Fiber.Fiber<A, E>, options: { readonly within: Duration.Input }): Exit.Exit<A, E | Stuck> {
    const isDone = () => fiber.pollUnsafe() !== undefined
    const ending = this.drive(isDone, this.elapsedMillis + Duration.toMillis(options.within))
    const exit = fiber.pollUnsafe()
    if (exit !== undefined) return exit
    const stuck = this.stuck(ending)
    fiber.interruptUnsafe()
    this.drive(isDone, this.elapsedMillis + finalizersMillis)
    return Exit.fail(stuck)
  }

  private get context(): Context.Context<VirtualTime> {
    return Context.make(VirtualTime, this).pipe(
      Context.add(Clock.Clock, this),
      Context.add(Scheduler.Scheduler, this)
    )
  }

  /** Runs what can run now, at most so many steps; returns how many. */
  private settle(limit = maxSteps): number {
    let steps = 0
    while (steps < limit) {
      const task = this.tasks.take()
      if (task === undefined) break
      task()
      steps++
    }
    return steps
  }

  private drive(isDone: () => boolean, untilMillis: number): Ending {
    if (this.running) throw new Error("This timeline runs already: inside of it, time passes by Effect.sleep")
    this.running = true
    try {
      let steps = 0
      while (true) {
        steps += this.settle(maxSteps - steps)
        if (steps >= maxSteps) return "livelock"
        if (isDone()) return "done"
        const next = this.events.peek()
        if (next === undefined) return "idle"
        if (next.at > untilMillis) {
          this.elapsedMillis = untilMillis
          return "late"
        }
        steps = next.at > this.elapsedMillis ? 0 : steps + 1
        this.events.pop()
        this.elapsedMillis = next.at
        next.fire()
      }
    } finally {
      this.running = false
    }
  }

  private stuck(ending: Ending): Stuck {
    switch (ending) {
      case "idle":
        return new Deadlock({ elapsedMillis: this.elapsedMillis })
      case "livelock":
        return this.livelock()
      default:
        return new NotFinished({ elapsedMillis: this.elapsedMillis })
    }
  }

  private livelock(): Livelock {
    return new Livelock({ elapsedMillis: this.elapsedMillis, steps: maxSteps })
  }
}

/** What the finalizers of a program that did not end may take. */
const finalizersMillis = 3_600_000

/**
 * The timeline that a program runs on.
 *
 * @category services
 * @since 0.1.0
 */
export class VirtualTime extends Context.Service<VirtualTime, Timeline>()("effect-dht/testing/VirtualTime") {}

// --- Programs ------------------------------------------------------------------

/**
 * @category models
 * @since 0.1.0
 */
export interface RunOptions extends Options {
  /** Of `Random`, which every run draws the same from; defaults to 0. */
  readonly seed?: number | string | undefined
  /** How much virtual time the program may take; defaults to a day. */
  readonly within?: Duration.Input | undefined
  /** Whether spans are made, which nobody sees without a tracer; defaults to false. */
  readonly tracing?: boolean | undefined
}

/**
 * Runs a program under virtual time and returns what became of it.
 *
 * @category running
 * @since 0.1.0
 */
export const runSyncExit = <A, E>(
  effect: Effect.Effect<A, E, VirtualTime>,
  options: RunOptions = {}
): Exit.Exit<A, E | Stuck> => {
  const timeline = new Timeline(options)
  const fiber = timeline.fork(
    effect.pipe(
      Effect.provideService(Random.Random, SeededRandom.make(options.seed ?? 0, "program")),
      Effect.provideService(References.TracerEnabled, options.tracing ?? false)
    )
  )
  return timeline.await(fiber, { within: options.within ?? "1 day" })
}

/**
 * Runs a program under virtual time and returns its result; throws its error,
 * or why it did not end.
 *
 * @category running
 * @since 0.1.0
 */
export const runSync = <A, E>(effect: Effect.Effect<A, E, VirtualTime>, options?: RunOptions): A => {
  const exit = runSyncExit(effect, options)
  if (Exit.isSuccess(exit)) return exit.value
  throw Cause.squash(exit.cause)
}
