/**
 * The share of each party in a bounded space, and the party with the largest.
 *
 * From the first question for the largest on, the parties form a heap by weight,
 * so each operation takes time logarithmic in their number. Until then, while
 * there is room for all, none is compared with another.
 *
 * @since 0.1.0
 */

/**
 * An item that takes up space. A later item has a higher number.
 *
 * @internal
 */
export interface Item {
  readonly weight: number
  readonly number: number
}

/**
 * A party has four children in the heap: a newcomer, which mostly rises to the
 * top of many equals, passes half as many as in a binary one.
 */
const arityBits = 2
const arity = 1 << arityBits

class Party<T> {
  readonly name: string
  weight = 0
  /** Index in the heap. */
  place: number
  /** By number. */
  items: Array<T> = []

  constructor(name: string, place: number) {
    this.name = name
    this.place = place
  }
}

/**
 * The party with the largest share.
 *
 * @internal
 */
export interface Heaviest<T> {
  readonly weight: number
  /** Its latest item. */
  readonly newest: T
}

/**
 * @internal
 */
export class Shares<T extends Item> {
  private readonly parties = new Map<string, Party<T>>()
  /** Once they are ordered, no party is heavier than its parent at `(index - 1) >> arityBits`. */
  private readonly heap: Array<Party<T>> = []
  private isOrdered = false

  /** Number of parties with a share. */
  get size(): number {
    return this.heap.length
  }

  /** The total weight of the items of a party. */
  weight(name: string): number {
    return this.parties.get(name)?.weight ?? 0
  }

  add(name: string, item: T): void {
    let party = this.parties.get(name)
    if (party === undefined) {
      party = new Party(name, this.heap.length)
      this.parties.set(name, party)
      this.heap.push(party)
      // A literal array has no spare room, and most parties have one item.
      party.items = [item]
    } else {
      const place = placeOf(party.items, item)
      // A splice would copy the whole list.
      if (place === party.items.length) party.items.push(item)
      else party.items.splice(place, 0, item)
    }
    party.weight += item.weight
    if (this.isOrdered) this.rise(party)
  }

  /** Removes an item from its party. */
  remove(name: string, item: T): void {
    const party = this.parties.get(name)
    if (party === undefined) return
    party.items.splice(placeOf(party.items, item), 1)
    party.weight -= item.weight
    if (this.isOrdered) this.sink(party)
    if (party.items.length > 0) return
    this.parties.delete(name)
    this.leave(party)
  }

  /** The heaviest party with an item other than `except`, and its latest such item; of equal parties the latest. Undefined if there is none. */
  heaviest(except?: T): Heaviest<T> | undefined {
    this.order()
    const [first] = this.heap
    // Only one party has the excluded item.
    const found = first !== undefined && newestBut(first, except) === undefined ? this.heaviestChild(0) : first
    const newest = found && newestBut(found, except)
    return found === undefined || newest === undefined ? undefined : { weight: found.weight, newest }
  }

  /** Makes the parties a heap (Floyd, 1964). */
  private order(): void {
    if (this.isOrdered) return
    for (let place = (this.heap.length - 2) >> arityBits; place >= 0; place--) this.sink(this.heap[place])
    this.isOrdered = true
  }

  private leave(party: Party<T>): void {
    const last = this.heap.pop()
    if (last === undefined || last === party) return
    this.heap[party.place] = last
    last.place = party.place
    if (!this.isOrdered) return
    this.rise(last)
    this.sink(last)
  }

  /** The heaviest child of the party at a place. */
  private heaviestChild(place: number): Party<T> | undefined {
    const first = (place << arityBits) + 1
    let heaviest: Party<T> | undefined
    for (let i = first; i < first + arity && i < this.heap.length; i++) {
      const child = this.heap[i]
      if (heaviest === undefined || isHeavier(child, heaviest)) heaviest = child
    }
    return heaviest
  }

  private rise(party: Party<T>): void {
    while (party.place > 0) {
      const parent = this.heap[(party.place - 1) >> arityBits]
      if (!isHeavier(party, parent)) return
      this.swap(party, parent)
    }
  }

  private sink(party: Party<T>): void {
    while (true) {
      const child = this.heaviestChild(party.place)
      if (child === undefined || !isHeavier(child, party)) return
      this.swap(party, child)
    }
  }

  private swap(a: Party<T>, b: Party<T>): void {
    const { place } = a
    a.place = b.place
    b.place = place
    this.heap[a.place] = a
    this.heap[b.place] = b
  }
}

/** Whether a party goes before another. Of equal ones that is the one with the latest item, whatever the history of the heap. */
const isHeavier = <T extends Item>(a: Party<T>, b: Party<T>): boolean =>
  a.weight > b.weight || a.weight === b.weight && latest(a) > latest(b)

const latest = <T extends Item>({ items }: Party<T>): number => items.at(-1)?.number ?? 0

const newestBut = <T>({ items }: Party<T>, except: T | undefined): T | undefined =>
  items.at(-1) === except && except !== undefined ? items.at(-2) : items.at(-1)

/** The index at which an item is or belongs; mostly the end. */
const placeOf = <T extends Item>(items: ReadonlyArray<T>, { number }: T): number => {
  let [low, high] = [0, items.length]
  if (high === 0 || items[high - 1].number < number) return high
  while (low < high) {
    const middle = (low + high) >>> 1
    if (items[middle].number < number) low = middle + 1
    else high = middle
  }
  return low
}
