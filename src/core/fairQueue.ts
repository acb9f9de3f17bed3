/**
 * A bounded queue that serves networks in turn, within a network its hosts,
 * and within a host its ports (fair queueing, Nagle 1985, RFC 970): a source
 * with many items delays only its own. When the queue is full, the longest line
 * loses its last item (McKenney, Stochastic fairness queueing, 1990), so a flood
 * displaces only itself. Ports cost nothing, so all those of a host share one
 * line, and addresses cost little within a network, which is a line likewise.
 *
 * Each operation takes constant time, however many sources there are.
 *
 * @since 0.1.0
 */
import * as SocketAddress from "../SocketAddress.ts"

/** A place in a {@link List}. */
class Link<A> {
  readonly value: A
  list: List<A> | undefined = undefined
  before: Link<A> | undefined = undefined
  after: Link<A> | undefined = undefined

  constructor(value: A) {
    this.value = value
  }

  leave(): void {
    const { after, before, list } = this
    if (list === undefined) return
    if (before === undefined) list.first = after
    else before.after = after
    if (after === undefined) list.last = before
    else after.before = before
    this.list = this.before = this.after = undefined
  }
}

/** A list that its elements can leave from anywhere. */
class List<A> {
  first: Link<A> | undefined = undefined
  last: Link<A> | undefined = undefined

  /** Moves an element to the end, from this list or from another. */
  append(link: Link<A>): void {
    link.leave()
    link.list = this
    link.before = this.last
    if (this.last === undefined) this.first = link
    else this.last.after = link
    this.last = link
  }
}

type Line<A> = Group<A> | Source<A>

/** The items of one host and port, oldest first. */
class Source<A> {
  readonly name: string | number
  readonly parent: Group<A>
  readonly items: Array<A> = []
  readonly turn = new Link<Line<A>>(this)
  readonly rank = new Link<Line<A>>(this)

  constructor(name: string | number, parent: Group<A>) {
    this.name = name
    this.parent = parent
  }

  get size(): number {
    return this.items.length
  }
}

/** Lines that share one line: the hosts of a network, or the ports of a host. */
class Group<A> {
  readonly name: string | number
  readonly parent: Group<A> | undefined
  readonly turn = new Link<Line<A>>(this)
  readonly rank = new Link<Line<A>>(this)
  /** Number of items in all lines. */
  size = 0
  private readonly lines = new Map<string | number, Line<A>>()
  /** All lines, the one to serve next first. */
  private readonly turns = new List<Line<A>>()
  /** The lines by their size; those of one size in the order in which they reached it. */
  private readonly bySize: Array<List<Line<A>>> = []
  private largest = 0

  constructor(name: string | number, parent?: Group<A>) {
    this.name = name
    this.parent = parent
  }

  group(name: string): Group<A> {
    const line = this.lines.get(name)
    return line instanceof Group ? line : this.open(new Group<A>(name, this))
  }

  source(name: number): Source<A> {
    const line = this.lines.get(name)
    return line instanceof Source ? line : this.open(new Source<A>(name, this))
  }

  private open<L extends Line<A>>(line: L): L {
    this.lines.set(line.name, line)
    this.turns.append(line.turn)
    return line
  }

  /** Takes account of a line that grew or shrank by one item. */
  resized(line: Line<A>): void {
    const { size } = line
    if (size === 0) {
      line.rank.leave()
      line.turn.leave()
      this.lines.delete(line.name)
    } else {
      const list = this.bySize[size] ??= new List()
      list.append(line.rank)
    }
    if (size > this.largest) this.largest = size
    else if (this.largest > 0 && this.bySize[this.largest]?.first === undefined) this.largest--
  }

  /** The line whose turn it is; its next turn comes after those of all others. */
  next(): Line<A> | undefined {
    const { first } = this.turns
    if (first !== undefined) this.turns.append(first)
    return first?.value
  }

  /** The line with the most items; among equals the one that has been so long for the longest time. */
  longest(): Line<A> | undefined {
    return this.bySize[this.largest]?.first?.value
  }
}

/**
 * @internal
 */
export interface FairQueueOptions {
  /** Most items in all. */
  readonly capacity: number
  /** Most items of one host and port. */
  readonly perSource: number
}

/**
 * @internal
 */
export class FairQueue<A> {
  /** The only item, which waits outside of the lines: making and removing them costs more than all else. */
  private only: { readonly from: SocketAddress.SocketAddress; readonly item: A } | undefined
  private all = new Group<A>("")
  private readonly capacity: number
  private readonly perSource: number

  constructor({ capacity, perSource }: FairQueueOptions) {
    this.capacity = capacity
    this.perSource = perSource
  }

  get size(): number {
    return this.only === undefined ? this.all.size : 1
  }

  /**
   * Queues an item. Returns the item that is lost for it, which may be the item
   * itself; undefined if there is room for all. The item of a source with nothing
   * waiting is never lost itself.
   */
  offer(from: SocketAddress.SocketAddress, item: A): A | undefined {
    if (this.size === 0) {
      this.only = { from, item }
      return undefined
    }
    const { only } = this
    if (only !== undefined) {
      this.only = undefined
      this.enqueue(only.from, only.item)
    }
    return this.enqueue(from, item)
  }

  private enqueue({ host, port }: SocketAddress.SocketAddress, item: A): A | undefined {
    const source = this.all.group(SocketAddress.network(host)).group(host).source(port)
    if (source.size >= this.perSource) return item
    source.items.push(item)
    resize(source, 1)
    return this.size > this.capacity ? this.displace() : undefined
  }

  /** Takes the next item in turn. */
  takeOne(): A | undefined {
    const { only } = this
    if (only !== undefined) {
      this.only = undefined
      return only.item
    }
    let line = this.all.next()
    while (line instanceof Group) line = line.next()
    const item = line?.items.shift()
    if (line !== undefined) resize(line, -1)
    return item
  }

  /** Takes at most `n` items in turn. */
  take(n: number): Array<A> {
    const taken: Array<A> = []
    while (taken.length < n && this.size > 0) {
      const item = this.takeOne()
      if (item !== undefined) taken.push(item)
    }
    return taken
  }

  clear(): void {
    this.only = undefined
    this.all = new Group<A>("")
  }

  /** Removes the last item of the longest line. */
  private displace(): A | undefined {
    let line = this.all.longest()
    while (line instanceof Group) line = line.longest()
    const item = line?.items.pop()
    if (line !== undefined) resize(line, -1)
    return item
  }
}

/** Takes account of an item that came to a source or left it, in the lines around it. */
const resize = <A>(source: Source<A>, by: 1 | -1): void => {
  let line: Line<A> = source
  while (line.parent !== undefined) {
    line.parent.resized(line)
    line.parent.size += by
    line = line.parent
  }
}
