/**
 * The health of each peer as our own requests measured it: whether it answers,
 * how long that takes, when to try it next, and which features its messages
 * announce. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import * as Features from "../Features.ts"
import { RecencyList, Recent } from "../internal/recencyList.ts"
import type { NodeId } from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"

/**
 * `good`: answered the last request. `bad`: was silent at least twice in a row.
 * `unknown`: anything else.
 *
 * @category models
 * @since 0.1.0
 */
export type Health = "good" | "unknown" | "bad"

/**
 * The protocol version of a peer: v0.1, which drops fields and types that it
 * does not know, or a later one.
 *
 * @category models
 * @since 0.1.0
 */
export type Version = "v0.1" | "v0.2"

/**
 * Bounds of the memory.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface Options {
  /**
   * Maximum number of peers that requests were sent to, and of others; by default
   * 10 000. The one whose last request or message is the oldest is forgotten first.
   */
  readonly capacity?: number | undefined
}

/** How long the guess that a peer speaks only v0.1 is kept. */
const v01Millis = 10 * 60_000

/** Consecutive failures after which a peer is bad. */
const badAfter = 2

const firstBackoffMillis = 30_000
const maxBackoffDoublings = 10

// A peer on the same machine answers in far less than its event loop may pause.
const minTimeoutMillis = 50
// The first request to a peer may have farther to go than those measured so far.
const minStrangerTimeoutMillis = 75
const maxTimeoutMillis = 5_000

/** Attempts over which the loss rate is averaged. */
const lossSamples = 64

/** The loss rate before the first response, and its lower bound. */
const initialLoss = 0.2
const minLoss = 0.03

/** Accepted probability of presuming a live peer dead. */
const maxFalseDeath = 0.001
const maxAttempts = 7

/** How long a peer's own round-trip time takes precedence over the usual one. */
const measuredMillis = 30_000

/** The timeout before the first response. RFC 6298 waits one second, but for far larger packets. */
const initialTimeoutMillis = 500

// A request to another peer costs no more than a retransmission and may bring
// more, so it is sent sooner; but even so, the event loop of a peer may pause.
const minSlowMillis = 20
const initialSlowMillis = 250

/** Smoothed round-trip time (RFC 6298, section 2), undefined without a sample. */
interface RoundTrip {
  srtt: number | undefined
  variation: number
}

const makeRoundTrip = (): RoundTrip => ({ srtt: undefined, variation: 0 })

/** `startsOver`: whether it starts over when a sample is less than half of it. */
const sample = (roundTrip: RoundTrip, measuredMillis: number, startsOver: boolean): void => {
  // A clock that was set back during the round trip yields a negative time.
  const rttMillis = Math.max(measuredMillis, 0)
  const { srtt, variation } = roundTrip
  // A path is at most as long as its quickest response. Slower ones before it
  // waited in a queue, and predict little.
  if (srtt === undefined || startsOver && rttMillis < srtt / 2) {
    roundTrip.srtt = rttMillis
    roundTrip.variation = rttMillis / 2
  } else {
    roundTrip.variation = variation + (Math.abs(srtt - rttMillis) - variation) / 4
    roundTrip.srtt = srtt + (rttMillis - srtt) / 8
  }
}

/** The timeout in milliseconds; undefined without a sample. */
const timeoutOf = ({ srtt, variation }: RoundTrip, minMillis: number): number | undefined =>
  srtt === undefined ? undefined : Math.min(Math.max(srtt + 4 * variation, minMillis), maxTimeoutMillis)

class Peer extends Recent implements RoundTrip {
  readonly id: NodeId
  /** Whether a request to it had an outcome. */
  isMeasured = false
  srtt: number | undefined = undefined
  variation = 0
  answeredAt: number | undefined = undefined
  /** The addresses from which it proved to answer. */
  ipv4: SocketAddress.SocketAddress | undefined = undefined
  ipv6: SocketAddress.SocketAddress | undefined = undefined
  failures = 0
  nextTry = 0
  version: Version | undefined = undefined
  versionShownAt = 0
  /** Features that it announced. */
  features: Features.Features = 0
  /** Whether strangers cannot reach it, although it does not find that out itself. */
  isClosed = false

  constructor(id: NodeId) {
    super()
    this.id = id
  }
}

/**
 * @internal
 */
export class PeerHealth {
  private readonly peers = new Map<NodeId, Peer>()
  /**
   * Peers that we sent requests to, and the others, of which only what they
   * announce is known: any sender can do that, and must not displace the former.
   */
  private readonly measured = new RecencyList<Peer>()
  private readonly others = new RecencyList<Peer>()
  /** The ids of bad peers. They are few, and most lookups here only check membership. */
  private readonly bad = new Set<NodeId>()
  private readonly capacity: number
  /** The round-trip time over all peers lately, which shows when to ask another one. */
  private readonly usual = makeRoundTrip()
  /** The same with its whole spread, which shows when one is silent: a near peer says nothing about a far one. */
  private readonly spread = makeRoundTrip()
  /** The loss rate of attempts, over requests that were answered in the end. */
  private loss = initialLoss

  constructor(options?: Options) {
    this.capacity = options?.capacity ?? 10_000
  }

  /** Number of peers that requests were sent to. */
  get size(): number {
    return this.measured.size
  }

  /** The peer that a request was sent to. */
  private measure(id: NodeId): Peer {
    const peer = this.peers.get(id) ?? this.make(id)
    if (peer.isMeasured) this.measured.use(peer)
    else {
      this.others.delete(peer)
      peer.isMeasured = true
      this.measured.add(peer)
      this.bound(this.measured)
    }
    return peer
  }

  /** The peer that something was learned of without a request. */
  private learn(id: NodeId): Peer {
    const peer = this.peers.get(id) ?? this.make(id)
    if (!peer.isMeasured) {
      this.others.use(peer)
      this.bound(this.others)
    }
    return peer
  }

  private make(id: NodeId): Peer {
    const peer = new Peer(id)
    this.peers.set(id, peer)
    this.others.add(peer)
    return peer
  }

  private bound(list: RecencyList<Peer>): void {
    const { oldest } = list
    if (list.size <= this.capacity || oldest === undefined) return
    list.delete(oldest)
    this.peers.delete(oldest.id)
  }

  /**
   * Records a response after `lost` lost attempts; clears earlier failures and the
   * back-off. `rttMillis` is undefined if the round trip was not measured.
   */
  succeeded(id: NodeId, rttMillis: number | undefined, now: number, lost = 0): void {
    const peer = this.measure(id)
    this.bad.delete(id)
    for (let i = 0; i < lost; i++) this.loss += (1 - this.loss) / lossSamples
    this.loss -= this.loss / lossSamples
    peer.answeredAt = now
    peer.failures = 0
    peer.nextTry = 0
    if (rttMillis === undefined) return
    sample(peer, rttMillis, true)
    sample(this.usual, rttMillis, true)
    sample(this.spread, rttMillis, false)
  }

  /**
   * Records a response from the queried address, which only a peer reachable there
   * can send. It replaces the peer's earlier address of the same family.
   */
  provedAt(id: NodeId, address: SocketAddress.SocketAddress): void {
    this.measure(id)[SocketAddress.family(address.host)] = address
  }

  /** Whether the peer has proved that it is reachable at this address. */
  isProved(id: NodeId, address: SocketAddress.SocketAddress): boolean {
    const at = this.peers.get(id)?.[SocketAddress.family(address.host)]
    return at !== undefined && SocketAddress.isSame(at, address)
  }

  /** Whether the peer has proved that it is reachable at a port of this host. */
  isProvedAtHost(id: NodeId, host: string): boolean {
    return this.peers.get(id)?.[SocketAddress.family(host)]?.host === host
  }

  /** Records a request whose attempts all failed; each consecutive failure doubles the back-off. */
  failed(id: NodeId, now: number): void {
    const peer = this.measure(id)
    peer.failures++
    if (peer.failures >= badAfter) this.makeBad(id)
    peer.nextTry = now + firstBackoffMillis * 2 ** Math.min(peer.failures - 1, maxBackoffDoublings)
  }

  /** Records a failed maintenance probe: it counts as no failure, and halves the rest of the back-off. */
  maintenanceProbeFailed(id: NodeId, now: number): void {
    const peer = this.peers.get(id)
    if (peer !== undefined && peer.nextTry > now) peer.nextTry -= (peer.nextTry - now) / 2
  }

  /** The health of a peer. A single failure makes a good peer unknown again. */
  state(id: NodeId): Health {
    if (this.bad.has(id)) return "bad"
    const peer = this.peers.get(id)
    if (peer === undefined) return "unknown"
    return peer.answeredAt !== undefined && peer.failures === 0 ? "good" : "unknown"
  }

  /** Whether its state is bad. */
  isBad(id: NodeId): boolean {
    return this.bad.size > 0 && this.bad.has(id)
  }

  private makeBad(id: NodeId): void {
    this.bad.add(id)
    const [oldest] = this.bad
    if (this.bad.size > this.capacity) this.bad.delete(oldest)
  }

  /** Whether the back-off permits a request now. */
  allowContact(id: NodeId, now: number): boolean {
    return now >= (this.peers.get(id)?.nextTry ?? 0)
  }

  /** The smoothed round-trip time in milliseconds; undefined if the peer never answered. */
  rtt(id: NodeId): number | undefined {
    return this.peers.get(id)?.srtt
  }

  /**
   * Milliseconds after which a request is slow and another peer is asked as well:
   * longer than this peer usually takes, or than peers usually take.
   */
  slowAfter(id: NodeId, now: number): number {
    return this.waitFor(id, now, minSlowMillis, timeoutOf(this.usual, minSlowMillis) ?? initialSlowMillis)
  }

  /** Consecutive losses after which a peer is presumed dead. */
  attempts(): number {
    const loss = Math.max(this.loss, minLoss)
    let attempts = 1
    for (let left = loss; left > maxFalseDeath && attempts < maxAttempts; left *= loss) attempts++
    return attempts
  }

  /** The retransmission timeout of the first attempt, in milliseconds. */
  timeout(id: NodeId, now: number): number {
    return this.waitFor(id, now, minTimeoutMillis, this.defaultTimeout())
  }

  /** The timeout for a peer that never answered, or whose id is unknown. */
  defaultTimeout(): number {
    return timeoutOf(this.spread, minStrangerTimeoutMillis) ?? initialTimeoutMillis
  }

  /** An old measurement may include a queue, so it can only shorten the usual wait. */
  private waitFor(id: NodeId, now: number, min: number, usual: number): number {
    const peer = this.peers.get(id)
    const measured = peer && timeoutOf(peer, min)
    if (measured === undefined) return usual
    return now - (peer?.answeredAt ?? 0) < measuredMillis ? measured : Math.min(measured, usual)
  }

  /** Records the features in the header of a peer's latest message, which replace the earlier ones. */
  shows(id: NodeId, features: Features.Features): void {
    if (features === 0 && !this.peers.has(id)) return
    if (!Features.has(features, Features.Bit["v0.2"])) this.doubtVersion(id)
    const peer = this.learn(id)
    if (Features.has(features, Features.Bit.dialBack)) peer.isClosed = false
    peer.features = features
  }

  /** Whether the peer's latest message announced a feature. */
  has(id: NodeId, bit: Features.Bit): boolean {
    return Features.has(this.peers.get(id)?.features ?? 0, bit)
  }

  /** Records whether strangers can reach a peer; one with the feature `dialBack` announces it itself. */
  reachable(id: NodeId, isReachable: boolean): void {
    const isClosed = !isReachable && !this.has(id, Features.Bit.dialBack)
    if (isClosed || this.peers.has(id)) this.learn(id).isClosed = isClosed
  }

  /** Whether others cannot count on the peer: it announced so, or strangers cannot reach it. */
  isClient(id: NodeId): boolean {
    const peer = this.peers.get(id)
    return peer !== undefined && (peer.isClosed || Features.has(peer.features, Features.Bit.client))
  }

  /**
   * Records the version that a peer's behaviour implies. An announced version
   * takes precedence, and an implied v0.2 is not replaced by v0.1.
   */
  speaks(id: NodeId, version: Version, now: number): void {
    if (this.has(id, Features.Bit["v0.2"])) return
    const peer = this.measure(id)
    if (peer.version === "v0.2") return
    peer.version = version
    peer.versionShownAt = now
  }

  /**
   * Drops the announced version until the peer announces one again: it may have
   * restarted with another one. Until then, the version is inferred.
   */
  doubtVersion(id: NodeId): void {
    const peer = this.peers.get(id)
    if (peer === undefined || !Features.has(peer.features, Features.Bit["v0.2"])) return
    peer.features &= ~Features.Bit["v0.2"]
    peer.version = undefined
  }

  /**
   * The version that the peer announced or its behaviour implied; undefined if
   * unknown. An implied v0.1 expires, because a lost datagram implies it as well.
   */
  version(id: NodeId, now: number): Version | undefined {
    const peer = this.peers.get(id)
    if (peer !== undefined && Features.has(peer.features, Features.Bit["v0.2"])) return "v0.2"
    return peer?.version === "v0.1" && now - peer.versionShownAt >= v01Millis ? undefined : peer?.version
  }
}
