/**
 * The tasks and timers of a timeline whose order a strategy chooses.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Fiber from "effect/Fiber"
import type { Timer } from "../../internal/timerQueue.ts"

/**
 * The state that the fibers with this reference read and write; undefined stands
 * for all state. Steps of fibers with different domains commute.
 *
 * @internal
 */
export const Domain: Context.Reference<object | undefined> = Context.Reference<object | undefined>(
  "effect-dht/testing/Domain",
  {
    defaultValue: () => undefined
  }
)

/** @internal */
export type AnyFiber = Fiber.Fiber<unknown, unknown>

/**
 * A task or a timer that can run now.
 *
 * @internal
 */
export interface Ready {
  readonly run: () => void
  /** Lower numbers run first, whatever the strategy. */
  readonly level: number
  /** Equal in all runs in which the same step created it, in whatever order other steps ran. */
  readonly name: number
  /** The fiber that it continues, if the strategy preempted it. */
  readonly continues: AnyFiber | undefined
  /** The fiber that scheduled it. */
  readonly by: AnyFiber | undefined
  /** The timer, and its place among those of its instant. */
  readonly timer: Timer | undefined
  readonly order: number
}

/**
 * Chooses what runs next.
 *
 * @internal
 */
export interface Strategy {
  /** The position of the candidate to run; -1 ends the run. */
  choose(candidates: ReadonlyArray<Ready>): number
  /** Whether a fiber yields before its next operation. `task` is what runs. Without it, none does. */
  preempts?(fiber: AnyFiber, task: Ready | undefined, candidates: ReadonlyArray<Ready>): boolean
  /** The running step accesses the state of a domain; undefined stands for all state. */
  accesses?(domain: object | undefined): void
}

/** A 32-bit hash of two numbers. */
const mix = (a: number, b: number): number => {
  let hash = Math.imul(a ^ (b + 0x9e3779b9), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/**
 * The tasks and due timers of a timeline, in the order of a strategy.
 *
 * @internal
 */
export class Control {
  private readonly strategy: Strategy
  private ready: Array<Ready> = []
  /** What runs; undefined before the first choice. */
  private task: Ready | undefined
  private created = 0
  private orders = 0
  private readonly names = new WeakMap<Timer, number>()
  /** The fiber that executed the latest operation. */
  private fiber: AnyFiber | undefined
  /** The fiber that yields because of the strategy, until it is scheduled. */
  private preempted: AnyFiber | undefined
  private isOver = false

  constructor(strategy: Strategy) {
    this.strategy = strategy
  }

  /** Number of tasks and due timers. */
  get size(): number {
    return this.live().length
  }

  /** Number of due timers. */
  get timers(): number {
    return this.live().filter(({ timer }) => timer !== undefined).length
  }

  /** Names a timer that the running step sets. Returns its place among those of its instant: the oldest is first. */
  set(timer: Timer): number {
    this.names.set(timer, this.nextName())
    return ++this.orders
  }

  /** A name for a task or timer that the running step creates. */
  private nextName(): number {
    return mix(this.task?.name ?? 0, ++this.created)
  }

  push(run: () => void, level: number): void {
    const continues = this.preempted
    this.preempted = undefined
    this.ready.push({ run, level, name: this.nextName(), continues, by: this.fiber, timer: undefined, order: 0 })
  }

  /** Adds a timer whose time has come. It can still be cancelled. */
  pushDue(timer: Timer): void {
    timer.state = "due"
    const fire = () => {
      timer.state = "idle"
      timer.fire()
    }
    const { order } = timer
    const name = this.names.get(timer) ?? 0
    this.ready.push({ run: fire, level: 0, name, continues: undefined, by: undefined, timer, order })
  }

  removeWhere(matches: (timer: Timer) => boolean): void {
    for (const { timer } of this.live()) if (timer !== undefined && matches(timer)) timer.state = "idle"
  }

  /** The rest of the run, such as finalizers, is in the order in which it became ready. */
  end(): void {
    this.isOver = true
  }

  shouldYield(fiber: AnyFiber): boolean {
    if (this.isOver) return false
    const { strategy } = this
    this.fiber = fiber
    strategy.accesses?.(fiber.getRef(Domain))
    // This runs before every operation, and listing the candidates takes time.
    if (strategy.preempts === undefined || !strategy.preempts(fiber, this.task, this.candidates())) return false
    this.preempted = fiber
    return true
  }

  accesses(domain: object): void {
    this.strategy.accesses?.(domain)
  }

  /** Takes the next task, undefined if there is none; "stop" if the strategy ends the run. */
  take(): (() => void) | "stop" | undefined {
    const candidates = this.candidates()
    if (candidates.length === 0) return undefined
    const chosen = this.isOver ? 0 : this.strategy.choose(candidates)
    if (chosen < 0) return "stop"
    const task = candidates[chosen]
    this.ready.splice(this.ready.indexOf(task), 1)
    this.task = task
    this.created = 0
    this.fiber = undefined
    return task.run
  }

  /** Tasks and due timers of all levels. Cancelled timers are forgotten. */
  private live(): ReadonlyArray<Ready> {
    if (this.ready.some(isCancelled)) this.ready = this.ready.filter((ready) => !isCancelled(ready))
    return this.ready
  }

  /** Those of the lowest level. */
  private candidates(): ReadonlyArray<Ready> {
    const ready = this.live()
    const [first] = ready
    if (first === undefined || ready.every(({ level }) => level === first.level)) return ready
    const lowest = Math.min(...ready.map(({ level }) => level))
    return ready.filter(({ level }) => level === lowest)
  }
}

/** A cancelled timer may be set again, with another place. */
const isCancelled = ({ order, timer }: Ready): boolean =>
  timer !== undefined && (timer.state !== "due" || timer.order !== order)
