/**
 * A bounded map that evicts the least recently used entry. Every operation takes
 * constant time.
 *
 * A plain `Map` in insertion order would take less code, but finding its first
 * key is slow once many keys before it were deleted.
 *
 * @since 0.1.0
 */

/**
 * @internal
 */
export interface RecencyEntry<K, V> {
  readonly key: K
  readonly value: V
}

interface Link<K, V> extends RecencyEntry<K, V> {
  older: Link<K, V> | undefined
  newer: Link<K, V> | undefined
}

/**
 * A least-recently-used map; iterates from the most recently used entry on.
 *
 * @internal
 */
export class RecencyMap<K, V> implements Iterable<RecencyEntry<K, V>> {
  private readonly links = new Map<K, Link<K, V>>()
  private readonly capacity: number
  private newestLink: Link<K, V> | undefined
  private oldestLink: Link<K, V> | undefined

  constructor(capacity: number) {
    this.capacity = capacity
  }

  get size(): number {
    return this.links.size
  }

  get oldest(): RecencyEntry<K, V> | undefined {
    return this.oldestLink
  }

  /** The value of `key`; does not count as a use. */
  get(key: K): V | undefined {
    return this.links.get(key)?.value
  }

  /** The value of `key`, created if missing; it becomes the most recently used. */
  use(key: K, make: () => V): V {
    let link = this.links.get(key)
    if (link === undefined) {
      link = { key, value: make(), older: undefined, newer: undefined }
      this.links.set(key, link)
      if (this.links.size > this.capacity) this.dropOldest()
    } else if (link === this.newestLink) {
      return link.value
    } else {
      this.unlink(link)
    }
    link.older = this.newestLink
    link.newer = undefined
    if (this.newestLink === undefined) this.oldestLink = link
    else this.newestLink.newer = link
    this.newestLink = link
    return link.value
  }

  dropOldest(): void {
    if (this.oldestLink !== undefined) this.delete(this.oldestLink.key)
  }

  delete(key: K): void {
    const link = this.links.get(key)
    if (link === undefined) return
    this.unlink(link)
    this.links.delete(key)
  }

  clear(): void {
    this.links.clear()
    this.newestLink = undefined
    this.oldestLink = undefined
  }

  *[Symbol.iterator](): Iterator<RecencyEntry<K, V>> {
    for (let link = this.newestLink; link !== undefined; link = link.older) yield link
  }

  private unlink(link: Link<K, V>): void {
    if (link.older === undefined) this.oldestLink = link.newer
    else link.older.newer = link.newer
    if (link.newer === undefined) this.newestLink = link.older
    else link.newer.older = link.older
  }
}
