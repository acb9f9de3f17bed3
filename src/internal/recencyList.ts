/**
 * A list of items in the order of their last use. The items are the links
 * themselves, so being in a list takes no memory besides two fields, and every
 * operation takes constant time.
 *
 * @since 0.1.0
 */

/**
 * An item of a list, in at most one list at a time.
 *
 * @internal
 */
export abstract class Recent {
  /** Its neighbours, which belong to the list. */
  older: Recent | undefined = undefined
  newer: Recent | undefined = undefined
}

/**
 * Iterates from the most recently used item on.
 *
 * @internal
 */
export class RecencyList<T extends Recent> implements Iterable<T> {
  private count = 0
  private first: Recent | undefined = undefined
  private last: Recent | undefined = undefined

  get size(): number {
    return this.count
  }

  get oldest(): T | undefined {
    return this.last as T | undefined
  }

  /** Adds an item that is in no list, as the most recently used. */
  add(item: T): void {
    this.count++
    this.link(item)
  }

  /** Makes an item of this list the most recently used. */
  use(item: T): void {
    if (item === this.first) return
    this.unlink(item)
    this.link(item)
  }

  /** Removes an item of this list. */
  delete(item: T): void {
    this.count--
    this.unlink(item)
  }

  clear(): void {
    while (this.last !== undefined) this.delete(this.last as T)
  }

  *[Symbol.iterator](): Iterator<T> {
    for (let item = this.first; item !== undefined; item = item.older) yield item as T
  }

  private link(item: Recent): void {
    item.older = this.first
    if (this.first === undefined) this.last = item
    else this.first.newer = item
    this.first = item
  }

  private unlink(item: Recent): void {
    if (item.older === undefined) this.last = item.newer
    else item.older.newer = item.newer
    if (item.newer === undefined) this.first = item.older
    else item.newer.older = item.older
    item.older = undefined
    item.newer = undefined
  }
}
