/**
 * Who asked to be told when something new is stored at a key. Asking is free
 * and so are keys and ids, therefore places are limited, and when they run out
 * they are shared out among the sources of the requests: it is the source with
 * the most that gives one up (McKenney, Stochastic Fairness Queueing, 1990).
 * Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import type { NodeId } from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"

/**
 * Whom to tell, and where.
 *
 * @internal
 */
export interface Subscriber extends SocketAddress.SocketAddress {
  readonly id: NodeId
}

interface Subscription {
  readonly key: NodeId
  readonly source: string
  readonly subscriber: Subscriber
  readonly askedAt: number
}

/** The subscriptions of one source, the oldest first. */
type Line = Set<Subscription>

const lifetimeMillis = 60_000

const isLive = (subscription: Subscription, now: number): boolean => now - subscription.askedAt < lifetimeMillis

/**
 * What is taken to be one party. Whoever has one IPv6 address has as many as
 * it likes, so the network around it counts.
 */
const sourceOf = (host: string): string => host.includes(":") ? SocketAddress.subnet(host) ?? host : host

/** A `Map` or `Set` skips what was deleted before its first entry: at most microseconds at the sizes used here. */
const first = <A>(items: Set<A>): A | undefined => items.values().next().value

/** Subscriptions that compete for the same places. */
class Shares {
  size = 0
  private readonly lines = new Map<string, Line>()
  /** At `n` the lines with more than `n` subscriptions; none of these sets is empty. */
  private readonly longerThan: Array<Set<Line>> = []

  add(subscription: Subscription): void {
    const line: Line = this.lines.get(subscription.source) ?? new Set()
    if (line.size === 0) this.lines.set(subscription.source, line)
    if (line.size === this.longerThan.length) this.longerThan.push(new Set())
    this.longerThan[line.size].add(line)
    line.add(subscription)
    this.size++
  }

  delete(subscription: Subscription): void {
    const line = this.lines.get(subscription.source)
    if (line === undefined || !line.delete(subscription)) return
    if (line.size === 0) this.lines.delete(subscription.source)
    this.longerThan[line.size].delete(line)
    if (this.longerThan[line.size].size === 0) this.longerThan.pop()
    this.size--
  }

  get sourceCount(): number {
    return this.lines.size
  }

  of(source: string): Line | undefined {
    return this.lines.get(source)
  }

  /** Whose place one more of `source` may take: never that of a source that would then have less. */
  leaver(source: string): Subscription | undefined {
    const own = this.lines.get(source)
    const most = this.longerThan.length
    const line = most > (own?.size ?? 0) + 1 ? first(this.longerThan[most - 1]) : own
    return line && first(line)
  }

  *[Symbol.iterator](): Iterator<Subscription> {
    for (const line of this.lines.values()) yield* line
  }
}

/**
 * @internal
 */
export class Subscriptions {
  private readonly topics = new Map<NodeId, Shares>()
  private readonly all = new Shares()
  /** The oldest first. */
  private readonly byAge = new Set<Subscription>()
  private readonly perKey: number
  private readonly perSource: number
  private readonly capacity: number

  constructor(options?: {
    /** Subscriptions for one key, 32. */
    readonly perKey?: number | undefined
    /** Subscriptions of one source, which is an IPv4 host or an IPv6 network, 64. */
    readonly perSource?: number | undefined
    /** Subscriptions in all, 4096. */
    readonly capacity?: number | undefined
  }) {
    this.perKey = options?.perKey ?? 32
    this.perSource = options?.perSource ?? 64
    this.capacity = options?.capacity ?? 4096
  }

  /** Those whose time is over count until the next call of {@link subscribe}. */
  get size(): number {
    return this.byAge.size
  }

  /** Keys that somebody waits for. */
  get keyCount(): number {
    return this.topics.size
  }

  /** Sources that wait for something. */
  get sourceCount(): number {
    return this.all.sourceCount
  }

  /**
   * Remembers for 60 seconds that `subscriber` wants what is stored at `key`,
   * or says that there is no place. A subscription belongs to a key and a
   * socket address: asking again renews it, under the id that asked last.
   */
  subscribe(key: NodeId, subscriber: Subscriber, now: number): boolean {
    this.forgetExpired(now)
    const source = sourceOf(subscriber.host)
    const known = this.find(key, source, subscriber)
    if (known !== undefined) this.delete(known)
    else if (!this.makeRoom(key, source)) return false
    this.add({ key, source, subscriber, askedAt: now })
    return true
  }

  /** Whom to tell of something new at `key`: each once, unless it subscribes again. */
  take(key: NodeId, now: number): Array<Subscriber> {
    const subscribers: Array<Subscriber> = []
    for (const subscription of this.topics.get(key) ?? []) {
      if (isLive(subscription, now)) subscribers.push(subscription.subscriber)
      this.delete(subscription)
    }
    return subscribers
  }

  private find(key: NodeId, source: string, at: SocketAddress.SocketAddress): Subscription | undefined {
    for (const subscription of this.topics.get(key)?.of(source) ?? []) {
      const { host, port } = subscription.subscriber
      if (host === at.host && port === at.port) return subscription
    }
    return undefined
  }

  /** Makes room for one more, or changes nothing and says that there is none. */
  private makeRoom(key: NodeId, source: string): boolean {
    const topic = this.topics.get(key)
    if (topic !== undefined && topic.size >= this.perKey && !this.dismiss(topic.leaver(source))) return false
    const own = this.all.of(source)
    if (own !== undefined && own.size >= this.perSource) this.dismiss(first(own))
    return this.size < this.capacity || this.dismiss(this.all.leaver(source))
  }

  private dismiss(leaver: Subscription | undefined): boolean {
    if (leaver === undefined) return false
    this.delete(leaver)
    return true
  }

  private add(subscription: Subscription): void {
    const topic = this.topics.get(subscription.key) ?? new Shares()
    if (topic.size === 0) this.topics.set(subscription.key, topic)
    topic.add(subscription)
    this.all.add(subscription)
    this.byAge.add(subscription)
  }

  private delete(subscription: Subscription): void {
    const topic = this.topics.get(subscription.key)
    topic?.delete(subscription)
    if (topic?.size === 0) this.topics.delete(subscription.key)
    this.all.delete(subscription)
    this.byAge.delete(subscription)
  }

  private forgetExpired(now: number): void {
    for (const oldest of this.byAge) {
      if (isLive(oldest, now)) return
      this.delete(oldest)
    }
  }
}
