/**
 * What happens when, next first: a binary heap whose events may be cancelled.
 *
 * @since 0.1.0
 */

/**
 * Something that happens once. Whoever has much to put in makes it a field of
 * its own objects by extending this, and needs no closure for each.
 *
 * @internal
 */
export abstract class Event {
  /** Milliseconds since time began. */
  at = 0
  /** Decides between events of the same instant, lower first. */
  order = 0
  state: "idle" | "queued" | "cancelled" = "idle"

  abstract fire(): void
}

/** Below this size cancelled events are not worth clearing away. */
const smallest = 64

/**
 * Most timeouts are cancelled long before their time. One that is stays in the
 * heap as a husk, which costs nothing, until husks are the larger part of it.
 *
 * @internal
 */
export class EventQueue {
  private heap: Array<Event> = []
  private husks = 0

  /** Events that will happen. */
  get size(): number {
    return this.heap.length - this.husks
  }

  /** Events and husks, for those who measure. */
  get length(): number {
    return this.heap.length
  }

  push(event: Event, at: number, order: number): void {
    event.at = at
    event.order = order
    event.state = "queued"
    this.heap.push(event)
    this.rise(this.heap.length - 1)
  }

  /** The next event, which stays queued. */
  peek(): Event | undefined {
    while (this.heap.length > 0 && this.heap[0].state === "cancelled") {
      this.heap[0].state = "idle"
      this.removeFirst()
      this.husks--
    }
    return this.heap[0]
  }

  /** Takes the next event out. */
  pop(): Event | undefined {
    const event = this.peek()
    if (event === undefined) return undefined
    this.removeFirst()
    event.state = "idle"
    return event
  }

  /** Does nothing unless the event is queued. */
  cancel(event: Event): void {
    if (event.state !== "queued") return
    event.state = "cancelled"
    this.husks++
    if (this.husks > smallest && this.husks * 2 > this.heap.length) this.removeWhere(() => false)
  }

  /** Removes all events that fit, and all husks. */
  removeWhere(fits: (event: Event) => boolean): void {
    this.heap = this.heap.filter((event) => {
      if (event.state === "queued" && !fits(event)) return true
      event.state = "idle"
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
    const event = heap[at]
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (isBefore(heap[parent], event)) break
      heap[at] = heap[parent]
      at = parent
    }
    heap[at] = event
  }

  private sink(at: number): void {
    const heap = this.heap
    const event = heap[at]
    for (let child = 2 * at + 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++
      if (!isBefore(heap[child], event)) break
      heap[at] = heap[child]
      at = child
    }
    heap[at] = event
  }
}

const isBefore = (a: Event, b: Event): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
