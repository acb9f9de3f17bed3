/**
 * What can run at this instant, and what of it runs next.
 *
 * @since 0.1.0
 */
import type { Prng } from "./prng.ts"

type Task = () => void

/** Tasks of one priority. */
class Line {
  private tasks: Array<Task> = []
  /** Those before it have been taken. */
  private head = 0
  readonly priority: number

  constructor(priority: number) {
    this.priority = priority
  }

  get size(): number {
    return this.tasks.length - this.head
  }

  push(task: Task): void {
    this.tasks.push(task)
  }

  /** The oldest, or one that the generator draws. There is one. */
  take(random: Prng | undefined): Task {
    const { tasks } = this
    if (random !== undefined && this.size > 1) {
      const drawn = this.head + random.below(this.size)
      const task = tasks[drawn]
      tasks[drawn] = tasks[this.head]
      tasks[this.head] = task
    }
    const task = tasks[this.head++]
    if (this.head === tasks.length) {
      tasks.length = 0
      this.head = 0
    } else if (this.head > 4096 && this.head * 2 > tasks.length) {
      tasks.splice(0, this.head)
      this.head = 0
    }
    return task
  }
}

/**
 * First come, first served, lower priorities first; with a generator, any of
 * the lowest priority.
 *
 * @internal
 */
export class RunQueue {
  private readonly usual = new Line(0)
  /** By priority. Hardly anybody uses another than 0. */
  private readonly lines: Array<Line> = [this.usual]
  private readonly random: Prng | undefined
  size = 0

  constructor(random?: Prng | undefined) {
    this.random = random
  }

  push(task: Task, priority: number): void {
    this.size++
    if (priority === 0) this.usual.push(task)
    else this.lineOf(priority).push(task)
  }

  take(): Task | undefined {
    if (this.size === 0) return undefined
    this.size--
    for (const line of this.lines) if (line.size > 0) return line.take(this.random)
    return undefined
  }

  private lineOf(priority: number): Line {
    const found = this.lines.find((line) => line.priority === priority)
    if (found !== undefined) return found
    const line = new Line(priority)
    this.lines.push(line)
    this.lines.sort((a, b) => a.priority - b.priority)
    return line
  }
}
