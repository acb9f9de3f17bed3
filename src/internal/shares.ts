/**
 * The share of each party in a bounded space, and the party with the largest.
 *
 * A binary heap of parties by weight: every operation takes a time logarithmic
 * in their number.
 *
 * @since 0.1.0
 */

/**
 * Something that takes up space. `isHeld` is set to false when it is removed.
 *
 * @internal
 */
export interface Item {
  readonly weight: number
  isHeld: boolean
}

/** One party. */
class Party<T> {
  readonly name: string
  weight = 0
  /** Where it is in the heap. */
  place: number
  /** In the order of arrival; removed ones stay until there are too many. */
  items: Array<T> = []
  held = 0

  constructor(name: string, place: number) {
    this.name = name
    this.place = place
  }
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
    } else party.items.push(item)
    party.held++
    party.weight += item.weight
    this.rise(party)
  }

  /** Takes an item away from its party. The caller has set its `isHeld` to false. */
  remove(name: string, item: T): void {
    const party = this.parties.get(name)
    if (party === undefined) return
    party.held--
    party.weight -= item.weight
    this.sink(party)
    if (party.held === 0) {
      this.parties.delete(name)
      this.leave(party)
    } else if (party.items.length > 2 * party.held + 8) party.items = party.items.filter(({ isHeld }) => isHeld)
  }

  /** The weight of the heaviest party, 0 where there is none. */
  get heaviest(): number {
    return this.heap.at(0)?.weight ?? 0
  }

  /** What came last of all that the heaviest party has, `except` left out. */
  newestOfHeaviest(except: T | undefined): T | undefined {
    const party = this.heap.at(0)
    if (party === undefined) return undefined
    while (party.items.at(-1)?.isHeld === false) party.items.pop()
    return party.items.findLast((item) => item.isHeld && item !== except)
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
