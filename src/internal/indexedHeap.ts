/**
 * A binary heap whose items know their place in it, so that any of them can be
 * removed in logarithmic time and without a search.
 *
 * @since 0.1.0
 */

/**
 * @internal
 */
export interface HeapItem {
  /** Index in the heap that has the item; −1 while none has. An item is in one heap at a time. */
  place: number
}

/**
 * @internal
 */
export class IndexedHeap<T extends HeapItem> {
  private readonly items: Array<T> = []
  private readonly isBefore: (a: T, b: T) => boolean

  constructor(isBefore: (a: T, b: T) => boolean) {
    this.isBefore = isBefore
  }

  get size(): number {
    return this.items.length
  }

  /** The first item, which stays in the heap. */
  peek(): T | undefined {
    return this.items[0]
  }

  /** The items in no particular order. */
  toArray(): Array<T> {
    return this.items.slice()
  }

  /** Number of items that pass a test, which no item passes that comes after one that fails. */
  countFirst(test: (item: T) => boolean): number {
    const left = [0]
    let count = 0
    for (let place = left.pop(); place !== undefined; place = left.pop()) {
      const item = this.items[place]
      if (item === undefined || !test(item)) continue
      count++
      left.push(2 * place + 1, 2 * place + 2)
    }
    return count
  }

  push(item: T): void {
    item.place = this.items.length
    this.items.push(item)
    this.rise(item)
  }

  /** Removes an item of this heap. */
  remove(item: T): void {
    const { place } = item
    item.place = -1
    const last = this.items.pop()
    if (last === undefined || last === item) return
    this.items[place] = last
    last.place = place
    this.rise(last)
    this.sink(last)
  }

  private rise(item: T): void {
    while (item.place > 0) {
      const parent = this.items[(item.place - 1) >> 1]
      if (!this.isBefore(item, parent)) return
      this.swap(item, parent)
    }
  }

  private sink(item: T): void {
    while (true) {
      const left = this.items[2 * item.place + 1]
      const right = this.items[2 * item.place + 2]
      const child = right !== undefined && this.isBefore(right, left) ? right : left
      if (child === undefined || !this.isBefore(child, item)) return
      this.swap(child, item)
    }
  }

  private swap(a: T, b: T): void {
    const { place } = a
    a.place = b.place
    b.place = place
    this.items[a.place] = a
    this.items[b.place] = b
  }
}
