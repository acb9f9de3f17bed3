/**
 * A bounded map that evicts the least recently used entry. Every operation takes
 * constant time.
 *
 * A plain `Map` in insertion order would take less code, but finding its first
 * key is slow once many keys before it were deleted.
 *
 * @since 0.1.0
 */
import { RecencyList, Recent } from "./recencyList.ts"

/**
 * @internal
 */
export interface RecencyEntry<K, V> {
  readonly key: K
  readonly value: V
}

class Link<K, V> extends Recent implements RecencyEntry<K, V> {
  readonly key: K
  value: V

  constructor(key: K, value: V) {
    super()
    this.key = key
    this.value = value
  }
}

/**
 * A least-recently-used map; iterates from the most recently used entry on.
 *
 * @internal
 */
export class RecencyMap<K, V> implements Iterable<RecencyEntry<K, V>> {
  private readonly links = new Map<K, Link<K, V>>()
  private readonly order = new RecencyList<Link<K, V>>()
  private readonly capacity: number

  constructor(capacity: number) {
    this.capacity = capacity
  }

  get size(): number {
    return this.links.size
  }

  get oldest(): RecencyEntry<K, V> | undefined {
    return this.order.oldest
  }

  /** The value of `key`; does not count as a use. */
  get(key: K): V | undefined {
    return this.links.get(key)?.value
  }

  /** The value of `key`, created if missing; it becomes the most recently used. */
  use(key: K, make: () => V): V {
    const known = this.links.get(key)
    if (known !== undefined) {
      this.order.use(known)
      return known.value
    }
    const value = make()
    this.add(key, value)
    return value
  }

  /** Sets the value of `key`, which becomes the most recently used. */
  set(key: K, value: V): void {
    const known = this.links.get(key)
    if (known === undefined) return this.add(key, value)
    known.value = value
    this.order.use(known)
  }

  private add(key: K, value: V): void {
    const link = new Link(key, value)
    this.links.set(key, link)
    this.order.add(link)
    if (this.links.size > this.capacity) this.dropOldest()
  }

  dropOldest(): void {
    const { oldest } = this.order
    if (oldest !== undefined) this.drop(oldest)
  }

  delete(key: K): void {
    const link = this.links.get(key)
    if (link !== undefined) this.drop(link)
  }

  clear(): void {
    this.links.clear()
    this.order.clear()
  }

  [Symbol.iterator](): Iterator<RecencyEntry<K, V>> {
    return this.order[Symbol.iterator]()
  }

  private drop(link: Link<K, V>): void {
    this.order.delete(link)
    this.links.delete(link.key)
  }
}
