/**
 * What happens when, next first: a binary heap whose timers may be cancelled.
 *
 * @since 0.1.0
 */

/**
 * Something that happens once. Whoever has much to put in makes it a field of
 * its own objects by extending this, and needs no closure for each.
 *
 * @internal
 */
export abstract class Timer {
  /** Milliseconds since time began. */
  at = 0
  /** Decides between timers of the same instant, lower first. */
  order = 0
  state: "idle" | "queued" | "cancelled" = "idle"

  abstract fire(): void
}

/** Below this size cancelled timers are not worth clearing away. */
const smallest = 64

/**
 * Most timeouts are cancelled long before their time. One that is stays in the
 * heap as a husk, which costs nothing, until husks are the larger part of it.
 *
 * @internal
 */
export class TimerQueue {
  private heap: Array<Timer> = []
  private husks = 0

  /** Events that will happen. */
  get size(): number {
    return this.heap.length - this.husks
  }

  /** Events and husks, for those who measure. */
  get length(): number {
    return this.heap.length
  }

  push(timer: Timer, at: number, order: number): void {
    timer.at = at
    timer.order = order
    timer.state = "queued"
    this.heap.push(timer)
    this.rise(this.heap.length - 1)
  }

  /** The next timer, which stays queued. */
  peek(): Timer | undefined {
    while (this.heap.length > 0 && this.heap[0].state === "cancelled") {
      this.heap[0].state = "idle"
      this.removeFirst()
      this.husks--
    }
    return this.heap[0]
  }

  /** Takes the next timer out. */
  pop(): Timer | undefined {
    const timer = this.peek()
    if (timer === undefined) return undefined
    this.removeFirst()
    timer.state = "idle"
    return timer
  }

  /** Does nothing unless the timer is queued. */
  cancel(timer: Timer): void {
    if (timer.state !== "queued") return
    timer.state = "cancelled"
    this.husks++
    if (this.husks > smallest && this.husks * 2 > this.heap.length) this.removeWhere(() => false)
  }

  /** Removes all timers that fit, and all husks. */
  removeWhere(fits: (timer: Timer) => boolean): void {
    this.heap = this.heap.filter((timer) => {
      if (timer.state === "queued" && !fits(timer)) return true
      timer.state = "idle"
      return false
    })
    this.husks = 0
    for (let i = (this.heap.length >> 1) - 1; i >= 0; i--) this.sink(i)
  }

  private removeFirst(): void {
    const last = this.heap.pop()
    if (last === undefined || this.heap.length === 0) return
    this.heap[0] = last
    this.sink(0)
  }

  private rise(at: number): void {
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

  private sink(at: number): void {
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
