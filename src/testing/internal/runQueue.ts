/**
 * The queue of runnable tasks of a timeline.
 *
 * @since 0.1.0
 */
import type { Prng } from "./prng.ts"

type Task = () => void

/** Tasks of one priority. */
class PriorityQueue {
  private tasks: Array<Task> = []
  /** Index of the first task that was not taken. */
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

  /** Takes the oldest task, or a random one with a generator. The queue must not be empty. */
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
 * A queue of tasks by priority, lower numbers first. Tasks of one priority are
 * taken in order or, with a generator, at random.
 *
 * @internal
 */
export class RunQueue {
  private readonly usual = new PriorityQueue(0)
  /** By priority. Nearly all tasks have priority 0. */
  private readonly queues: Array<PriorityQueue> = [this.usual]
  private readonly random: Prng | undefined
  size = 0

  constructor(random?: Prng | undefined) {
    this.random = random
  }

  push(task: Task, priority: number): void {
    this.size++
    if (priority === 0) this.usual.push(task)
    else this.queueOf(priority).push(task)
  }

  take(): Task | undefined {
    if (this.size === 0) return undefined
    this.size--
    for (const queue of this.queues) if (queue.size > 0) return queue.take(this.random)
    return undefined
  }

  private queueOf(priority: number): PriorityQueue {
    const found = this.queues.find((queue) => queue.priority === priority)
    if (found !== undefined) return found
    const queue = new PriorityQueue(priority)
    this.queues.push(queue)
    this.queues.sort((a, b) => a.priority - b.priority)
    return queue
  }
}
