/**
 * A bounded queue that serves its senders in turn (fair queueing, Nagle 1985,
 * RFC 970): whoever sends too much waits behind itself, and nobody else does.
 *
 * @since 0.1.0
 */

/** The items of one sender, oldest first. */
interface Line<A> {
  readonly sender: string
  readonly items: Array<A>
}

/**
 * @internal
 */
export class FairQueue<A> {
  private readonly lines = new Map<string, Line<A>>()
  /** The senders that have something waiting, whose turn it is first. */
  private turns: Array<Line<A>> = []
  private readonly capacity: number
  private readonly perSender: number
  size = 0

  constructor(options: {
    /** Items in all. */
    readonly capacity: number
    /** Items of one sender. */
    readonly perSender: number
  }) {
    this.capacity = options.capacity
    this.perSender = options.perSender
  }

  /** Queues an item, or says that there is no room for one more of this sender. */
  offer(sender: string, item: A): boolean {
    if (this.size >= this.capacity) return false
    const line = this.lines.get(sender)
    if (line === undefined) {
      const opened = { sender, items: [item] }
      this.lines.set(sender, opened)
      this.turns.push(opened)
    } else {
      if (line.items.length >= this.perSender) return false
      line.items.push(item)
    }
    this.size++
    return true
  }

  /** The next items, at most `n`: one of each sender in turn. */
  take(n: number): Array<A> {
    // Mostly there is one sender, with one item.
    if (this.size === 1 && n > 0) {
      const [{ items }] = this.turns
      this.clear()
      return items
    }
    const taken: Array<A> = []
    while (taken.length < n && this.turns.length > 0) {
      const again: Array<Line<A>> = []
      let at = 0
      for (; at < this.turns.length && taken.length < n; at++) {
        const line = this.turns[at]
        const item = line.items.shift()
        if (item !== undefined) taken.push(item)
        if (line.items.length > 0) again.push(line)
        else this.lines.delete(line.sender)
      }
      this.turns = this.turns.slice(at).concat(again)
    }
    this.size -= taken.length
    return taken
  }

  clear(): void {
    this.lines.clear()
    this.turns = []
    this.size = 0
  }
}
