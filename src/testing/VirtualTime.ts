/**
 * Virtual time for Effect programs: simulated hours pass as fast as the machine
 * computes, and every run is the same.
 *
 * A {@link Timeline} is the `Clock` and the `Scheduler` of every fiber that runs
 * on it. It runs all runnable fibers, then jumps to the next timer, in a
 * synchronous loop until the program ends. The event loop of the host does not
 * run meanwhile, so promises never settle: a program that awaits one fails with
 * a {@link Deadlock}.
 *
 * @module
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
 * Every fiber is suspended and no timer is set, so the program cannot continue.
 * `elapsedMillis` is the virtual time that had passed.
 *
 * @category errors
 * @since 0.1.0
 */
export class Deadlock extends Data.TaggedError("Deadlock")<{ readonly elapsedMillis: number }> {
  override get message() {
    return `Deadlock after ${elapsed(this.elapsedMillis)}: every fiber is suspended and no timer is set ` +
      "(a promise does not settle under virtual time)"
  }
}

/**
 * The program did not end within its virtual time.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotFinished extends Data.TaggedError("NotFinished")<{ readonly elapsedMillis: number }> {
  override get message() {
    return `Not finished after ${elapsed(this.elapsedMillis)} of virtual time. Allow more with \`within\``
  }
}

/**
 * Fibers keep scheduling each other without any time passing.
 *
 * @category errors
 * @since 0.1.0
 */
export class Livelock extends Data.TaggedError("Livelock")<{
  readonly elapsedMillis: number
  /** Number of steps at that instant. */
  readonly steps: number
}> {
  override get message() {
    return `Livelock after ${elapsed(this.elapsedMillis)}: ${this.steps} steps without any time passing`
  }
}

/**
 * The reason why a program under virtual time did not end.
 *
 * @category errors
 * @since 0.1.0
 */
export type Stuck = Deadlock | NotFinished | Livelock

const elapsed = (millis: number): string => Duration.format(Duration.millis(Math.round(millis)))

// --- The timeline --------------------------------------------------------------

/**
 * Options of a timeline.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The clock's time at the start, in Unix milliseconds. Default 1 700 000 000 000 (November 2023). */
  readonly startMillis?: number | undefined
  /**
   * Seed of the scheduler. Without it, fibers run in the order in which they
   * became runnable. With it, the next fiber is drawn at random, fibers yield
   * more often, and timers of the same instant fire in random order. This
   * exposes races, which the same seed reproduces.
   */
  readonly scheduleSeed?: number | undefined
}

const defaultStartMillis = 1_700_000_000_000

/** Steps at one instant that count as a livelock: ten thousand nodes that start at once take 30 000. */
const maxSteps = 1_000_000

/** Mean number of operations between two yields of a fiber with a schedule seed. */
const yieldsOnceIn = 16

/** The reason why a part of a run ended. */
type Ending = "done" | "idle" | "late" | "livelock"

/** A timer that calls a function. */
class Callback extends Timer {
  readonly fire: () => void

  constructor(fire: () => void) {
    super()
    this.fire = fire
  }
}

/**
 * A timeline of virtual time. Drive it with `fork`, `advance` and `await`, or use
 * {@link runSync}, which provides it as the service {@link VirtualTime}.
 *
 * As a clock it shows `startMillis` plus the elapsed time.
 *
 * @category models
 * @since 0.1.0
 */
export class Timeline implements Clock.Clock, Scheduler.Scheduler, Scheduler.SchedulerDispatcher {
  readonly executionMode = "sync"
  /** Unix milliseconds. */
  readonly startMillis: number
  /** The schedule seed that it was created with. */
  readonly scheduleSeed: number | undefined
  /** Virtual milliseconds since the start. */
  elapsedMillis = 0
  private readonly queue = new TimerQueue()
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

  /** Number of timers that are set. */
  get timers(): number {
    return this.queue.size
  }

  /** Number of tasks that can run now. */
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
  /** All fibers share one dispatcher, so that all tasks are in one order. */
  makeDispatcher(): this {
    return this
  }
  scheduleTask(task: () => void, priority: number): void {
    this.tasks.push(task, priority)
  }
  /** Runs all tasks that can run now; no time passes. */
  flush(): void {
    this.settle()
  }

  // --- Timers without fibers

  /** Calls `fire` after `millis` milliseconds. Returns a function that cancels it. */
  after(millis: number, fire: () => void): () => void {
    const timer = new Callback(fire)
    this.add(timer, millis)
    return () => this.queue.cancel(timer)
  }

  /**
   * Sets a timer object to fire after `millis` milliseconds.
   *
   * @internal
   */
  add(timer: Timer, millis: number): void {
    const order = this.schedule === undefined ? this.order++ : this.schedule.uint32()
    this.queue.push(timer, this.elapsedMillis + Math.max(0, millis), order)
  }

  /**
   * Removes the timers that match.
   *
   * @internal
   */
  removeWhere(matches: (timer: Timer) => boolean): void {
    this.queue.removeWhere(matches)
  }

  // --- Running

  /** Starts an effect on this timeline. It runs until it suspends and continues while the timeline is driven. */
  fork<A, E>(effect: Effect.Effect<A, E, VirtualTime>): Fiber.Fiber<A, E> {
    return Effect.runForkWith(this.context)(effect)
  }

  /** Advances time by `duration` and runs everything due within it. */
  advance(duration: Duration.Input): Exit.Exit<void, Livelock> {
    const until = this.elapsedMillis + Duration.toMillis(duration)
    const ending = this.drive(() => false, until)
    if (ending === "livelock") return Exit.fail(this.livelock())
    this.elapsedMillis = until
    return Exit.void
  }

  /**
   * Runs until the fiber ends, at most for `within` of virtual time. A fiber that
   * does not end is interrupted, and its finalizers run before this returns.
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

  /** Runs tasks that can run now, at most `limit`; returns how many ran. */
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
    if (this.running) throw new Error("This timeline runs already. Use Effect.sleep inside it")
    this.running = true
    try {
      let steps = 0
      while (true) {
        steps += this.settle(maxSteps - steps)
        if (steps >= maxSteps) return "livelock"
        if (isDone()) return "done"
        const next = this.queue.peek()
        if (next === undefined) return "idle"
        if (next.at > untilMillis) {
          this.elapsedMillis = untilMillis
          return "late"
        }
        steps = next.at > this.elapsedMillis ? 0 : steps + 1
        this.queue.pop()
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

/** Virtual time for the finalizers of a program that did not end. */
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
 * Options of a run.
 *
 * @category models
 * @since 0.1.0
 */
export interface RunOptions extends Options {
  /** Seed of `Random`. Default 0. */
  readonly seed?: number | string | undefined
  /** Most virtual time that the program may take. Default one day. */
  readonly within?: Duration.Input | undefined
  /** Whether to create spans, which only a tracer needs. Default false. */
  readonly tracing?: boolean | undefined
}

/**
 * Runs a program under virtual time and returns its exit.
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
 * Runs a program under virtual time and returns its result. Throws its error, or
 * a {@link Stuck} if it did not end.
 *
 * @category running
 * @since 0.1.0
 */
export const runSync = <A, E>(effect: Effect.Effect<A, E, VirtualTime>, options?: RunOptions): A => {
  const exit = runSyncExit(effect, options)
  if (Exit.isSuccess(exit)) return exit.value
  throw Cause.squash(exit.cause)
}
