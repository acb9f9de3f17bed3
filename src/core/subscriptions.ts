/**
 * Subscriptions to new records at a key. Subscribing costs a requester nothing,
 * and keys and ids are free to make up, so their number is limited. When the
 * limit is reached, the source with the most subscriptions loses its oldest
 * (McKenney, Stochastic Fairness Queueing, 1990). Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import { RecencyMap } from "../internal/recencyMap.ts"
import type { NodeId } from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"

/**
 * The id and socket address of a subscribed peer.
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
type Queue = Set<Subscription>

const lifetimeMillis = 60_000

const isLive = (subscription: Subscription, now: number): boolean => now - subscription.askedAt < lifetimeMillis

const nameOf = (subscriber: Subscriber): string => `${subscriber.id} ${SocketAddress.key(subscriber)}`

/** The first item. A `Set` first skips deleted items: at most microseconds at the sizes used here. */
const first = <A>(items: Set<A>): A | undefined => items.values().next().value

/** Subscriptions under one limit, by source. */
class Shares {
  size = 0
  private readonly queues = new Map<string, Queue>()
  /** At index `n`, the queues with more than `n` subscriptions; none of these sets is empty. */
  private readonly longerThan: Array<Set<Queue>> = []

  add(subscription: Subscription): void {
    const queue: Queue = this.queues.get(subscription.source) ?? new Set()
    if (queue.size === 0) this.queues.set(subscription.source, queue)
    if (queue.size === this.longerThan.length) this.longerThan.push(new Set())
    this.longerThan[queue.size].add(queue)
    queue.add(subscription)
    this.size++
  }

  delete(subscription: Subscription): void {
    const queue = this.queues.get(subscription.source)
    if (queue === undefined || !queue.delete(subscription)) return
    if (queue.size === 0) this.queues.delete(subscription.source)
    this.longerThan[queue.size].delete(queue)
    if (this.longerThan[queue.size].size === 0) this.longerThan.pop()
    this.size--
  }

  get sourceCount(): number {
    return this.queues.size
  }

  of(source: string): Queue | undefined {
    return this.queues.get(source)
  }

  /**
   * The subscription to evict for one more of `source`: the oldest of the largest
   * source, or of `source` itself if it would otherwise become the largest.
   * Undefined if there is none.
   */
  victim(source: string): Subscription | undefined {
    const own = this.queues.get(source)
    const most = this.longerThan.length
    const queue = most > (own?.size ?? 0) + 1 ? first(this.longerThan[most - 1]) : own
    return queue && first(queue)
  }

  *[Symbol.iterator](): Iterator<Subscription> {
    for (const queue of this.queues.values()) yield* queue
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
  /** Subscribers that acknowledged a push. */
  private readonly acknowledging: RecencyMap<string, true>
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
    this.acknowledging = new RecencyMap(this.capacity)
  }

  /** Number of subscriptions; expired ones count until a call of {@link subscribe} or {@link live}. */
  get size(): number {
    return this.byAge.size
  }

  /** Removes expired subscriptions and returns the number of the others. */
  live(now: number): number {
    this.forgetExpired(now)
    return this.size
  }

  /** Number of keys with a subscription. */
  get keyCount(): number {
    return this.topics.size
  }

  /** Number of sources with a subscription. */
  get sourceCount(): number {
    return this.all.sourceCount
  }

  /**
   * Subscribes to new records at `key` for 60 seconds; returns false if there is
   * no room. A subscription belongs to a key and a socket address: subscribing
   * again renews it, under the id of the latest request.
   */
  subscribe(key: NodeId, subscriber: Subscriber, now: number): boolean {
    this.forgetExpired(now)
    const source = SocketAddress.source(subscriber.host)
    const known = this.find(key, source, subscriber)
    if (known !== undefined) this.delete(known)
    else if (!this.makeRoom(key, source)) return false
    this.add({ key, source, subscriber, askedAt: now })
    return true
  }

  /** Records that a subscriber acknowledged a push. */
  acknowledged(subscriber: Subscriber): void {
    this.acknowledging.set(nameOf(subscriber), true)
  }

  /** Whether a subscriber ever acknowledged a push at its address. */
  hasAcknowledged(subscriber: Subscriber): boolean {
    return this.acknowledging.get(nameOf(subscriber)) !== undefined
  }

  /** Removes and returns the live subscribers of `key`; a subscription covers one new record. */
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

  /** Makes room for one more subscription; returns whether there is room. */
  private makeRoom(key: NodeId, source: string): boolean {
    const topic = this.topics.get(key)
    if (topic !== undefined && topic.size >= this.perKey && !this.evict(topic.victim(source))) return false
    const own = this.all.of(source)
    if (own !== undefined && own.size >= this.perSource) this.evict(first(own))
    return this.size < this.capacity || this.evict(this.all.victim(source))
  }

  private evict(victim: Subscription | undefined): boolean {
    if (victim === undefined) return false
    this.delete(victim)
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
