/**
 * A bounded queue that serves its senders in turn (fair queueing, Nagle 1985,
 * RFC 970): a sender with many items delays only its own.
 *
 * @since 0.1.0
 */

/** The items of one sender, oldest first. */
interface SenderQueue<A> {
  readonly sender: string
  readonly items: Array<A>
}

/**
 * @internal
 */
export class FairQueue<A> {
  private readonly queues = new Map<string, SenderQueue<A>>()
  /** The senders with items, in the order of their turns. */
  private turns: Array<SenderQueue<A>> = []
  private readonly capacity: number
  private readonly perSender: number
  size = 0

  constructor(options: {
    /** Most items in all. */
    readonly capacity: number
    /** Most items of one sender. */
    readonly perSender: number
  }) {
    this.capacity = options.capacity
    this.perSender = options.perSender
  }

  /** Queues an item; returns false if there is no room for it. */
  offer(sender: string, item: A): boolean {
    if (this.size >= this.capacity) return false
    const queue = this.queues.get(sender)
    if (queue === undefined) {
      const opened = { sender, items: [item] }
      this.queues.set(sender, opened)
      this.turns.push(opened)
    } else {
      if (queue.items.length >= this.perSender) return false
      queue.items.push(item)
    }
    this.size++
    return true
  }

  /** Takes at most `n` items, one of each sender in turn. */
  take(n: number): Array<A> {
    // The usual case is one sender with one item.
    if (this.size === 1 && n > 0) {
      const [{ items }] = this.turns
      this.clear()
      return items
    }
    const taken: Array<A> = []
    while (taken.length < n && this.turns.length > 0) {
      const again: Array<SenderQueue<A>> = []
      let at = 0
      for (; at < this.turns.length && taken.length < n; at++) {
        const queue = this.turns[at]
        const item = queue.items.shift()
        if (item !== undefined) taken.push(item)
        if (queue.items.length > 0) again.push(queue)
        else this.queues.delete(queue.sender)
      }
      this.turns = this.turns.slice(at).concat(again)
    }
    this.size -= taken.length
    return taken
  }

  clear(): void {
    this.queues.clear()
    this.turns = []
    this.size = 0
  }
}
