/**
 * Strategies that choose the order of concurrent steps: by priorities, as
 * recorded, and all orders in turn.
 *
 * @since 0.1.0
 */
import type { AnyFiber, Ready, Strategy } from "./control.ts"
import { Prng } from "./prng.ts"

/**
 * Probabilistic concurrency testing (Burckhardt et al., "A randomized scheduler
 * with probabilistic guarantees of finding bugs", ASPLOS 2010). Each fiber has a
 * random priority, and the fiber with the highest runs; at `depth - 1` random steps
 * the running fiber gets the lowest. A run of n fibers and k steps finds a bug of
 * depth d with a probability of at least 1 / (n k^(d-1)).
 *
 * @internal
 */
export class Priorities implements Strategy {
  private readonly random: Prng
  /** The priorities of change points, by step. They are below those of fibers at the start. */
  private readonly changes = new Map<number, number>()
  private readonly ofFibers = new WeakMap<AnyFiber, number>()
  /** Priorities of tasks whose fiber is not known until they run. */
  private readonly ofTasks = new WeakMap<Ready, number>()
  /** Number of operations so far before which another fiber could have run. */
  steps = 0
  private adopted: Ready | undefined

  constructor(options: { readonly seed: number; readonly depth: number; readonly steps: number }) {
    const { depth, seed, steps } = options
    this.random = new Prng(seed, `priorities ${depth}`)
    for (let i = 1; i < depth; i++) this.changes.set(1 + this.random.below(steps), i / depth)
  }

  choose(candidates: ReadonlyArray<Ready>): number {
    let chosen = 0
    for (let i = 1; i < candidates.length; i++) {
      if (this.of(candidates[i]) > this.of(candidates[chosen])) chosen = i
    }
    return chosen
  }

  preempts(fiber: AnyFiber, task: Ready | undefined, candidates: ReadonlyArray<Ready>): boolean {
    this.adopt(fiber, task)
    // A change point elsewhere has the effect of one at the next of these.
    if (candidates.length === 0) return false
    const change = this.changes.get(++this.steps)
    if (change !== undefined) this.ofFibers.set(fiber, change)
    const own = this.ofFibers.get(fiber)!
    return candidates.some((other) => this.of(other) > own)
  }

  /** The fiber takes over the priority of the task that starts it, or that it scheduled to yield. */
  private adopt(fiber: AnyFiber, task: Ready | undefined): void {
    const isFirst = task !== undefined && task !== this.adopted
    if (isFirst) this.adopted = task
    if (isFirst && task.continues === undefined && task.by === fiber || !this.ofFibers.has(fiber)) {
      this.ofFibers.set(fiber, isFirst ? this.of(task) : this.draw())
    }
  }

  private of(ready: Ready): number {
    if (ready.continues !== undefined) return this.ofFibers.get(ready.continues)!
    const known = this.ofTasks.get(ready)
    if (known !== undefined) return known
    const drawn = this.draw()
    this.ofTasks.set(ready, drawn)
    return drawn
  }

  private draw(): number {
    return 1 + this.random.double()
  }
}

/**
 * A recorded order: at each point with several candidates, the position of the one
 * that runs; 0, the oldest, after the end of the list.
 *
 * @internal
 */
export class Recorded implements Strategy {
  private readonly choices: ReadonlyArray<number>
  private at = 0

  constructor(choices: ReadonlyArray<number>) {
    this.choices = choices
  }

  choose(candidates: ReadonlyArray<Ready>): number {
    if (candidates.length === 1) return 0
    return Math.min(this.choices[this.at++] ?? 0, candidates.length - 1)
  }
}

/** The domains that a step accessed; undefined stands for all state. */
type Footprint = ReadonlySet<object> | undefined

const commute = (a: Footprint, b: Footprint): boolean =>
  a !== undefined && b !== undefined && ![...a].some((domain) => b.has(domain))

/** A point of a run at which one of several steps runs. */
interface Point {
  readonly names: ReadonlyArray<number>
  /** Steps that need not run here, because an earlier run has an equivalent order, and their footprints. */
  readonly asleep: ReadonlyMap<number, Footprint>
  /** The steps that ran here in earlier runs. */
  readonly done: Map<number, Footprint>
  chosen: number
  footprint: Footprint | "unknown"
}

/**
 * All orders, one per run, without those that differ only in the order of steps
 * that commute: a depth-first search with sleep sets (Godefroid, "Partial-Order
 * Methods for the Verification of Concurrent Systems", 1996).
 *
 * @internal
 */
export class AllOrders implements Strategy {
  private readonly points: Array<Point> = []
  private depth = 0
  private accessed: Set<object> | undefined = new Set()
  /** Whether the run ended early, because what follows equals what earlier runs did. */
  isPruned = false

  choose(candidates: ReadonlyArray<Ready>): number {
    this.finishStep()
    const names = candidates.map(({ name }) => name)
    if (this.depth === this.points.length) {
      const asleep = this.asleepNow()
      const chosen = names.find((name) => !asleep.has(name))
      if (chosen === undefined) {
        this.isPruned = true
        return -1
      }
      this.points.push({ names, asleep, done: new Map(), chosen, footprint: "unknown" })
    }
    const position = names.indexOf(this.points[this.depth++].chosen)
    if (position < 0) {
      throw new Error("The program differs from run to run: take time, randomness and state from inside it")
    }
    return position
  }

  accesses(domain: object | undefined): void {
    if (domain === undefined) this.accessed = undefined
    else this.accessed?.add(domain)
  }

  /** The positions that this run chose where it had several candidates. */
  get choices(): ReadonlyArray<number> {
    return this.points.slice(0, this.depth).filter(({ names }) => names.length > 1).map(({ chosen, names }) =>
      names.indexOf(chosen)
    )
  }

  /** Prepares the next run; false after the last. */
  next(): boolean {
    this.finishStep()
    this.depth = 0
    this.isPruned = false
    this.accessed = new Set()
    while (this.points.length > 0) {
      const point = this.points[this.points.length - 1]
      point.done.set(point.chosen, point.footprint === "unknown" ? undefined : point.footprint)
      const chosen = point.names.find((name) => !point.done.has(name) && !point.asleep.has(name))
      if (chosen !== undefined) {
        point.chosen = chosen
        point.footprint = "unknown"
        return true
      }
      this.points.pop()
    }
    return false
  }

  private finishStep(): void {
    const point = this.points[this.depth - 1]
    if (point?.footprint === "unknown") point.footprint = this.accessed
    this.accessed = new Set()
  }

  private asleepNow(): ReadonlyMap<number, Footprint> {
    const asleep = new Map<number, Footprint>()
    const point = this.points[this.depth - 1]
    if (point === undefined || point.footprint === "unknown") return asleep
    for (const [name, footprint] of [...point.asleep, ...point.done]) {
      if (commute(footprint, point.footprint)) asleep.set(name, footprint)
    }
    return asleep
  }
}

const defaultSteps = 10_000

/**
 * The strategy that a text names: `pct:DEPTH:SEED`, optionally with `:STEPS`, or
 * `choices:` with positions separated by dots.
 *
 * @internal
 */
export const parse = (text: string): Strategy => {
  const priorities = /^pct:(\d+):(\d+)(?::(\d+))?$/.exec(text)
  if (priorities !== null) {
    const [depth, seed, steps] = priorities.slice(1).map((digits) =>
      digits === undefined ? defaultSteps : Number(digits)
    )
    if (depth > 0 && steps > 0) return new Priorities({ depth, seed, steps })
  }
  const recorded = /^choices:((?:\d+(?:\.\d+)*)?)$/.exec(text)
  if (recorded !== null) return new Recorded(recorded[1] === "" ? [] : recorded[1].split(".").map(Number))
  throw new RangeError(
    `"${text}" is not a schedule. Write a number, pct:DEPTH:SEED, pct:DEPTH:SEED:STEPS or choices:0.1.2`
  )
}

/**
 * The text of a recorded order.
 *
 * @internal
 */
export const recorded = (choices: ReadonlyArray<number>): string => {
  const last = choices.findLastIndex((choice) => choice > 0)
  return `choices:${choices.slice(0, last + 1).join(".")}`
}
