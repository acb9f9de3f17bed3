/**
 * A queue of timers, earliest first: a binary heap with cheap cancellation.
 *
 * @since 0.1.0
 */

/**
 * A timer that fires once. An object that needs many extends this class, which
 * saves a closure for each.
 *
 * @category models
 * @since 0.1.0
 */
export abstract class Timer {
  /** When it fires, in milliseconds. */
  at = 0
  /** Breaks ties between timers of the same instant, lower first. */
  order = 0
  /** A timer is due between its removal from the queue and its firing, if it does not fire at once. */
  state: "idle" | "queued" | "cancelled" | "due" = "idle"

  abstract fire(): void
}

/** Cancelled timers are not removed while there are at most this many. */
const minCancelled = 64

/**
 * A binary heap of timers. Most timeouts are cancelled long before they fire, so
 * a cancelled timer stays in the heap until it is at the top or cancelled ones
 * are the majority.
 *
 * @internal
 */
export class TimerQueue {
  private heap: Array<Timer> = []
  private cancelled = 0

  /** Number of timers that will fire. */
  get size(): number {
    return this.heap.length - this.cancelled
  }

  /** Number of timers in the heap, cancelled ones included. */
  get length(): number {
    return this.heap.length
  }

  /** Queues a timer, or moves one that is in the heap already. */
  push(timer: Timer, at: number, order: number): void {
    if (timer.state === "queued" || timer.state === "cancelled") this.removeWhere((other) => other === timer)
    timer.at = at
    timer.order = order
    timer.state = "queued"
    this.heap.push(timer)
    this.siftUp(this.heap.length - 1)
  }

  /** The next timer, which stays in the queue. */
  peek(): Timer | undefined {
    while (this.heap.length > 0 && this.heap[0].state === "cancelled") {
      this.heap[0].state = "idle"
      this.removeFirst()
      this.cancelled--
    }
    return this.heap[0]
  }

  /** Removes and returns the next timer. */
  pop(): Timer | undefined {
    const timer = this.peek()
    if (timer === undefined) return undefined
    this.removeFirst()
    timer.state = "idle"
    return timer
  }

  /** Does nothing unless the timer is queued or due. */
  cancel(timer: Timer): void {
    if (timer.state === "due") timer.state = "idle"
    if (timer.state !== "queued") return
    timer.state = "cancelled"
    this.cancelled++
    if (this.cancelled > minCancelled && this.cancelled * 2 > this.heap.length) this.removeWhere(() => false)
  }

  /** Removes the timers that match, and all cancelled ones. */
  removeWhere(matches: (timer: Timer) => boolean): void {
    this.heap = this.heap.filter((timer) => {
      if (timer.state === "queued" && !matches(timer)) return true
      timer.state = "idle"
      return false
    })
    this.cancelled = 0
    for (let i = (this.heap.length >> 1) - 1; i >= 0; i--) this.siftDown(i)
  }

  private removeFirst(): void {
    const last = this.heap.pop()
    if (last === undefined || this.heap.length === 0) return
    this.heap[0] = last
    this.siftDown(0)
  }

  private siftUp(at: number): void {
    const heap = this.heap
    const timer = heap[at]
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (isBefore(heap[parent], timer)) break
      heap[at] = heap[parent]
      at = parent
    }
    heap[at] = timer
  }

  private siftDown(at: number): void {
    const heap = this.heap
    const timer = heap[at]
    for (let child = 2 * at + 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++
      if (!isBefore(heap[child], timer)) break
      heap[at] = heap[child]
      at = child
    }
    heap[at] = timer
  }
}

const isBefore = (a: Timer, b: Timer): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
