/**
 * Virtual time for Effect programs: simulated hours pass as fast as the machine
 * computes, and every run is the same.
 *
 * A {@link Timeline} is the `Clock` and the `Scheduler` of every fiber that runs
 * on it. It runs all runnable fibers, then jumps to the next timer.
 *
 * {@link runSync} does so in a synchronous loop until the program ends. The event
 * loop of the host does not run meanwhile, so promises never settle: a program
 * that awaits one fails with a {@link Deadlock}. {@link run} and {@link layer} let
 * the event loop run in between, but a promise that resumes a fiber then ends the
 * program with {@link ResumedFromOutside}: the result would depend on real time.
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
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import { Timer, TimerQueue } from "../internal/timerQueue.ts"
import { Control, type Strategy } from "./internal/control.ts"
import { Prng } from "./internal/prng.ts"
import { RunQueue } from "./internal/runQueue.ts"
import * as Strategies from "./internal/strategies.ts"
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
    return `Deadlock after ${
      elapsed(this.elapsedMillis)
    }: the program has not ended, every fiber is suspended and no ` +
      "timer is set (a promise does not settle under virtual time: provide services in memory)"
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
    return `Not finished after ${
      elapsed(this.elapsedMillis)
    } of virtual time. Allow more with \`within\`, unless the ` +
      "program awaits a promise, which does not settle under virtual time"
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
 * Something outside the simulation resumed a fiber, such as a promise, a file or
 * a socket. Virtual time does not wait for it, so no run would be like another.
 *
 * @category errors
 * @since 0.1.0
 */
export class ResumedFromOutside extends Data.TaggedError("ResumedFromOutside")<{ readonly elapsedMillis: number }> {
  override get message() {
    return `A fiber was resumed from outside after ${elapsed(this.elapsedMillis)} of virtual time: it awaited a ` +
      "promise, such as that of a file or of fetch. Provide that service with an implementation in memory"
  }
}

/**
 * The reason why a program under virtual time did not end.
 *
 * @category errors
 * @since 0.1.0
 */
export type Stuck = Deadlock | NotFinished | Livelock | ResumedFromOutside

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
   * The schedule. Without it, fibers run in the order in which they became
   * runnable. With a number, a seed, the next fiber is drawn at random, fibers
   * yield more often, and timers of the same instant fire in random order. This
   * exposes races, which the same seed reproduces. A text is a schedule of
   * `Interleavings`. Throws a `RangeError` for any other text.
   */
  readonly scheduleSeed?: number | string | undefined
}

const defaultStartMillis = 1_700_000_000_000

/** Steps at one instant that count as a livelock: ten thousand nodes that start at once take 30 000. */
const maxSteps = 1_000_000

/** Mean number of operations between two yields of a fiber with a schedule seed. */
const yieldsOnceIn = 16

/** Steps of a timeline that the host drives, until its event loop runs. */
const sliceSteps = 5000

/**
 * The reason why a part of a run ended. "paused" stands for its number of steps,
 * and "stopped" for a strategy that ended the run.
 */
type Ending = "done" | "idle" | "late" | "livelock" | "paused" | "stopped"

/** A timer that calls a function. */
class Callback extends Timer {
  readonly fire: () => void

  constructor(fire: () => void) {
    super()
    this.fire = fire
  }
}

/** Notices when something resumes a fiber while the timeline is not driven. */
class Guard {
  isBroken = false

  /** Whether a fiber may run now. */
  admits(_fiber: Fiber.Fiber<unknown, unknown>, isDriven: boolean): boolean {
    if (!isDriven) this.isBroken = true
    return isDriven
  }

  /** Called when there is work for a timeline that is not driven. */
  wake(): void {}

  /** Called before the host interrupts what runs on the timeline. */
  end(): void {}
}

/** Lets fibers of the host enter once, as guests, and notices when one is resumed from outside afterwards. */
class Gate extends Guard {
  /** Fibers that the timeline alone may resume. */
  private readonly inside = new WeakSet<Fiber.Fiber<unknown, unknown>>()
  /** A fiber that came in since the timeline was driven, and those that it started. */
  private readonly entering = new Set<Fiber.Fiber<unknown, unknown>>()
  private readonly guests = new Set<Fiber.Fiber<unknown, unknown>>()
  private latest: Fiber.Fiber<unknown, unknown> | undefined
  private onWork: (() => void) | undefined
  private isClosing = false

  override admits(fiber: Fiber.Fiber<unknown, unknown>, isDriven: boolean): boolean {
    if (fiber === this.latest) return true
    if (isDriven) {
      this.latest = fiber
      this.inside.add(fiber)
      return true
    }
    if (this.inside.has(fiber) && !this.isClosing) return super.admits(fiber, isDriven)
    if (this.entering.size === 0) this.guests.add(fiber)
    this.entering.add(fiber)
    return true
  }

  /** From now on, fibers that have entered are resumed only by the timeline. */
  close(): void {
    this.latest = undefined
    for (const fiber of this.entering) this.inside.add(fiber)
    this.entering.clear()
  }

  override end(): void {
    this.isClosing = true
  }

  override wake(): void {
    const { onWork } = this
    this.onWork = undefined
    onWork?.()
  }

  /** Waits for work. The waiter resumes in a turn of its own, not within the step that causes the work. */
  readonly work: Effect.Effect<void> = Effect.callback((resume) => {
    this.onWork = () => resume(Effect.yieldNow)
  })

  /** Whether fibers of the host have not ended yet. */
  get hasGuests(): boolean {
    if (this.isClosing) return false
    for (const guest of this.guests) if (guest.pollUnsafe() !== undefined) this.guests.delete(guest)
    return this.guests.size > 0
  }

  interruptGuests(): void {
    for (const guest of this.guests) guest.interruptUnsafe()
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
  /** The schedule that it was created with. */
  readonly scheduleSeed: number | string | undefined
  /** Virtual milliseconds since the start. */
  elapsedMillis = 0
  private readonly queue = new TimerQueue()
  private readonly tasks: RunQueue
  private readonly schedule: Prng | undefined
  private readonly control: Control | undefined
  private order = 0
  private running = false
  private instantSteps = 0
  private guard: Guard | undefined

  constructor(
    options: Options & {
      /** @internal */
      readonly strategy?: Strategy | undefined
    } = {}
  ) {
    const { scheduleSeed, startMillis, strategy } = options
    this.startMillis = startMillis ?? defaultStartMillis
    this.scheduleSeed = scheduleSeed
    this.schedule = typeof scheduleSeed === "number" ? new Prng(scheduleSeed, "schedule") : undefined
    this.tasks = new RunQueue(this.schedule)
    const chosen = typeof scheduleSeed === "string" ? Strategies.parse(scheduleSeed) : strategy
    this.control = chosen && new Control(chosen)
  }

  /** Number of timers that are set. */
  get timers(): number {
    return this.queue.size + (this.control?.timers ?? 0)
  }

  /** Number of tasks that can run now. */
  get runnable(): number {
    return this.tasks.size + (this.control === undefined ? 0 : this.control.size - this.control.timers)
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
    if (this.guard !== undefined && this.guard.admits(fiber, this.running) === false) return true
    if (this.control !== undefined) {
      return this.control.shouldYield(fiber) || fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield
    }
    return fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield ||
      (this.schedule !== undefined && this.schedule.below(yieldsOnceIn) === 0)
  }
  /** All fibers share one dispatcher, so that all tasks are in one order. */
  makeDispatcher(): this {
    return this
  }
  scheduleTask(task: () => void, priority: number): void {
    if (this.control === undefined) this.tasks.push(task, priority)
    else this.control.push(task, priority)
    if (!this.running) this.guard?.wake()
  }
  /** Runs all tasks that can run now; no time passes. */
  flush(): void {
    for (let task = this.take(), steps = 0; typeof task === "function" && steps < maxSteps; steps++) {
      task()
      task = this.take()
    }
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
    const order = this.control !== undefined
      ? this.control.set(timer)
      : this.schedule === undefined
      ? this.order++
      : this.schedule.uint32()
    this.queue.push(timer, this.elapsedMillis + Math.max(0, millis), order)
    if (!this.running) this.guard?.wake()
  }

  /**
   * Removes the timers that match.
   *
   * @internal
   */
  removeWhere(matches: (timer: Timer) => boolean): void {
    this.queue.removeWhere(matches)
    this.control?.removeWhere(matches)
  }

  /**
   * States that the running step accesses the state of a domain.
   *
   * @internal
   */
  accesses(domain: object): void {
    this.control?.accesses(domain)
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
    this.control?.end()
    fiber.interruptUnsafe()
    this.drive(isDone, this.elapsedMillis + finalizersMillis)
    return Exit.fail(stuck)
  }

  /**
   * Runs until the fiber ends, like `await`, but lets the event loop of the host
   * run after each slice. Interruption ends the fiber.
   */
  join<A, E>(
    fiber: Fiber.Fiber<A, E>,
    options: { readonly within: Duration.Input }
  ): Effect.Effect<A, E | Stuck> {
    const isDone = () => fiber.pollUnsafe() !== undefined
    const until = this.elapsedMillis + Duration.toMillis(options.within)
    const end = () => {
      this.guard = undefined
      this.control?.end()
      fiber.interruptUnsafe()
      this.drive(isDone, this.elapsedMillis + finalizersMillis)
    }
    const guard = new Guard()
    const slice: Effect.Effect<A, E | Stuck> = Effect.suspend(() => {
      const ending = guard.isBroken ? "resumed" : this.drive(isDone, until, sliceSteps)
      if (ending === "paused") return Effect.andThen(Effect.yieldNow, slice)
      const exit = ending === "resumed" ? undefined : fiber.pollUnsafe()
      if (exit === undefined) end()
      this.guard = undefined
      return exit ?? Effect.fail(this.stuck(ending))
    })
    return Effect.suspend(() => {
      this.guard = guard
      return slice
    }).pipe(Effect.onInterrupt(() => Effect.sync(end)))
  }

  /**
   * Lets the event loop of the host drive this timeline until the scope closes.
   * Fibers of the host that use it are interrupted if they are stuck, and closing
   * the scope then dies with the reason.
   *
   * @internal
   */
  host(options: { readonly within: Duration.Input }): Effect.Effect<void, never, Scope.Scope> {
    const gate = new Gate()
    const until = this.elapsedMillis + Duration.toMillis(options.within)
    let stuck: Stuck | undefined
    let idleTurns = 0
    const turn: Effect.Effect<void> = Effect.suspend(() => {
      gate.close()
      const ending = gate.isBroken && stuck === undefined
        ? "resumed"
        : this.drive(() => false, stuck === undefined && gate.hasGuests ? until : Infinity, sliceSteps)
      gate.close()
      if (ending === "paused") return Effect.yieldNow
      if (stuck !== undefined || !gate.hasGuests) return gate.work
      // A guest that has just been resumed may still be on its way out.
      if (ending === "idle" && idleTurns++ === 0) return Effect.yieldNow
      idleTurns = 0
      stuck = this.stuck(ending)
      this.guard = undefined
      gate.interruptGuests()
      this.guard = gate
      return Effect.yieldNow
    })
    return Effect.suspend(() => {
      this.guard = gate
      return Effect.addFinalizer(() =>
        Effect.suspend(() => {
          this.guard = undefined
          return stuck === undefined ? Effect.void : Effect.die(stuck)
        })
      )
    }).pipe(
      Effect.andThen(Effect.forkScoped(Effect.forever(turn))),
      Effect.asVoid
    )
  }

  /**
   * States that the program has ended and what it started is about to be closed.
   *
   * @internal
   */
  end(): void {
    this.guard?.end()
  }

  /**
   * The services of the programs that run on this timeline.
   *
   * @internal
   */
  get context(): Context.Context<VirtualTime> {
    return Context.make(VirtualTime, this).pipe(
      Context.add(Clock.Clock, this),
      Context.add(Scheduler.Scheduler, this)
    )
  }

  /** The next task, with due timers among them if a strategy chooses. */
  private take(): (() => void) | "stop" | undefined {
    if (this.control === undefined) return this.tasks.take()
    for (let timer = this.queue.peek(); timer !== undefined && timer.at <= this.elapsedMillis;) {
      this.queue.pop()
      this.control.pushDue(timer)
      timer = this.queue.peek()
    }
    return this.control.take()
  }

  private drive(isDone: () => boolean, untilMillis: number, maxSlice = Infinity): Ending {
    if (this.running) throw new Error("This timeline runs already. Use Effect.sleep inside it")
    this.running = true
    if (maxSlice === Infinity) this.instantSteps = 0
    try {
      for (let left = maxSlice; left > 0; left--) {
        // What runs beside a program that ended has no part in its schedule.
        if (this.control !== undefined && isDone()) return "done"
        const task = this.take()
        if (task === "stop") return "stopped"
        if (task !== undefined) {
          task()
          if (++this.instantSteps >= maxSteps) return "livelock"
          continue
        }
        if (isDone()) return "done"
        const next = this.queue.peek()
        if (next === undefined) return "idle"
        if (next.at > untilMillis) {
          this.elapsedMillis = Math.max(this.elapsedMillis, untilMillis)
          return "late"
        }
        this.instantSteps = next.at > this.elapsedMillis ? 0 : this.instantSteps + 1
        this.elapsedMillis = next.at
        if (this.control === undefined) {
          this.queue.pop()
          next.fire()
        }
      }
      return "paused"
    } finally {
      this.running = false
    }
  }

  private stuck(ending: Ending | "resumed"): Stuck {
    switch (ending) {
      case "resumed":
        return new ResumedFromOutside({ elapsedMillis: this.elapsedMillis })
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
): Exit.Exit<A, E | Stuck> => runOn(new Timeline(options), effect, options)

/**
 * Runs a program on a new timeline and returns its exit.
 *
 * @internal
 */
export const runOn = <A, E>(
  timeline: Timeline,
  effect: Effect.Effect<A, E, VirtualTime>,
  options: RunOptions
): Exit.Exit<A, E | Stuck> => timeline.await(timeline.fork(prepared(effect, options)), { within: withinOf(options) })

const withinOf = ({ within = "1 day" }: RunOptions): Duration.Input => within

/** A program with its randomness. */
const prepared = <A, E>(
  effect: Effect.Effect<A, E, VirtualTime>,
  { seed = 0, tracing = false }: RunOptions
): Effect.Effect<A, E, VirtualTime> =>
  effect.pipe(
    Effect.provideService(Random.Random, SeededRandom.make(seed, "program")),
    Effect.provideService(References.TracerEnabled, tracing)
  )

/**
 * Runs a program under virtual time of its own as a part of another program, such
 * as a test. The event loop of the host runs in between, so the other program can
 * interrupt it, by a timeout for instance.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <A, E>(
  effect: Effect.Effect<A, E, VirtualTime>,
  options: RunOptions = {}
): Effect.Effect<A, E | Stuck> =>
  Effect.suspend(() => {
    const timeline = new Timeline(options)
    return timeline.join(timeline.fork(prepared(effect, options)), { within: withinOf(options) })
  })

/**
 * Provides a timeline with its clock, its scheduler and reproducible randomness,
 * for a test whose runtime has none, such as `it.effect`. A program that is stuck
 * is interrupted, and dies with the {@link Stuck}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: RunOptions = {}): Layer.Layer<VirtualTime> =>
  Layer.effectContext(Effect.suspend(() => {
    const timeline = new Timeline(options)
    const services = timeline.context.pipe(
      Context.add(Random.Random, SeededRandom.make(options.seed ?? 0, "program")),
      Context.add(References.TracerEnabled, options.tracing ?? false)
    )
    return Effect.as(timeline.host({ within: withinOf(options) }), services)
  }))

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
