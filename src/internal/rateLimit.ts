/**
 * A rate limit per key, over fixed windows. Keys such as source addresses are
 * free to forge, so it remembers a bounded number and forgets the oldest.
 *
 * @since 0.1.0
 */

/**
 * @internal
 */
export class RateLimit {
  private readonly windows = new Map<string, { readonly start: number; count: number }>()
  private readonly limit: number
  private readonly windowMillis: number
  private readonly capacity: number

  constructor(options: { readonly limit: number; readonly windowMillis: number; readonly capacity: number }) {
    this.limit = options.limit
    this.windowMillis = options.windowMillis
    this.capacity = options.capacity
  }

  /** Counts one event and returns whether it is within the limit. */
  allow(key: string, now: number): boolean {
    const window = this.windows.get(key)
    if (window !== undefined && now - window.start < this.windowMillis) {
      window.count++
      return window.count <= this.limit
    }
    this.windows.delete(key)
    if (this.windows.size >= this.capacity) {
      for (const oldest of this.windows.keys()) {
        this.windows.delete(oldest)
        break
      }
    }
    this.windows.set(key, { start: now, count: 1 })
    return true
  }
}

/**
 * A rate limit per source, and one for all sources together. A source over its
 * own uses up nothing of the other.
 *
 * @internal
 */
export class Allowance {
  private readonly perSource: RateLimit
  private readonly inAll: RateLimit

  constructor(options: { readonly perSource: number; readonly inAll: number; readonly windowMillis: number }) {
    const { windowMillis } = options
    this.perSource = new RateLimit({ limit: options.perSource, windowMillis, capacity: rememberedSources })
    this.inAll = new RateLimit({ limit: options.inAll, windowMillis, capacity: 1 })
  }

  /** Counts one event of a source and returns whether it is within both limits. */
  allow(source: string, now: number): boolean {
    return this.perSource.allow(source, now) && this.inAll.allow("all", now)
  }
}

/**
 * Sources whose counts are remembered.
 *
 * @internal
 */
export const rememberedSources = 4096
