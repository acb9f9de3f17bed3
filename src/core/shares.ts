/**
 * The share of each party in a bounded space, and the party with the largest.
 *
 * A binary heap of parties by weight: every operation takes a time logarithmic
 * in their number.
 *
 * @since 0.1.0
 */

/**
 * Something that takes up space. What came later has the higher number.
 *
 * @internal
 */
export interface Item {
  readonly weight: number
  readonly number: number
}

/** One party. */
class Party<T> {
  readonly name: string
  weight = 0
  /** Where it is in the heap. */
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
  /** What came last of all that it has. */
  readonly newest: T
}

/**
 * @internal
 */
export class Shares<T extends Item> {
  private readonly parties = new Map<string, Party<T>>()
  /** No party is heavier than its parent, the one at half its index. */
  private readonly heap: Array<Party<T>> = []

  /** How many parties have a share. */
  get size(): number {
    return this.heap.length
  }

  /** The weight of all that a party has. */
  weight(name: string): number {
    return this.parties.get(name)?.weight ?? 0
  }

  add(name: string, item: T): void {
    let party = this.parties.get(name)
    if (party === undefined) {
      party = new Party(name, this.heap.length)
      this.parties.set(name, party)
      this.heap.push(party)
      // An array that was written down is no larger than it must be, and most parties have one item.
      party.items = [item]
    } else party.items.splice(placeOf(party.items, item), 0, item)
    party.weight += item.weight
    this.rise(party)
  }

  /** Takes an item away from its party. */
  remove(name: string, item: T): void {
    const party = this.parties.get(name)
    if (party === undefined) return
    party.items.splice(placeOf(party.items, item), 1)
    party.weight -= item.weight
    this.sink(party)
    if (party.items.length > 0) return
    this.parties.delete(name)
    this.leave(party)
  }

  /** The heaviest party and what it brought last, `except` left out; undefined where there is nothing else. */
  heaviest(except?: T): Heaviest<T> | undefined {
    const [first, left, right] = this.heap
    const found = first !== undefined && newestBut(first, except) === undefined
      // Only one party has what is left out.
      ? right !== undefined && right.weight > left.weight ? right : left
      : first
    const newest = found === undefined ? undefined : newestBut(found, except)
    return newest === undefined ? undefined : { weight: found.weight, newest }
  }

  private leave(party: Party<T>): void {
    const last = this.heap.pop()
    if (last === undefined || last === party) return
    this.heap[party.place] = last
    last.place = party.place
    this.rise(last)
    this.sink(last)
  }

  private rise(party: Party<T>): void {
    while (party.place > 0) {
      const parent = this.heap[(party.place - 1) >> 1]
      if (parent.weight >= party.weight) return
      this.swap(party, parent)
    }
  }

  private sink(party: Party<T>): void {
    while (true) {
      const left = this.heap.at(2 * party.place + 1)
      const right = this.heap.at(2 * party.place + 2)
      const child = right !== undefined && left !== undefined && right.weight > left.weight ? right : left
      if (child === undefined || child.weight <= party.weight) return
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

const newestBut = <T>({ items }: Party<T>, except: T | undefined): T | undefined =>
  items.at(-1) === except && except !== undefined ? items.at(-2) : items.at(-1)

/** Where an item is, or belongs, among others; most belong at the end. */
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
