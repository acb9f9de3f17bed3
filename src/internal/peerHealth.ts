/**
 * What our own requests taught us about each peer: whether it answers, how
 * long that takes, and when it deserves the next try; and what its messages say
 * that it can do. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import * as Features from "../Features.ts"
import type { NodeId } from "../NodeId.ts"
import type { Health, Options } from "../PeerHealth.ts"
import { RecencyMap } from "./recencyMap.ts"

/**
 * Version 0.1, which drops what it does not know, or one
 * that came after.
 *
 * @internal
 */
export type Version = "v0.1" | "v0.2"

/** How long a peer is taken to speak v0.1 only. */
const v01Millis = 10 * 60_000

/** So many failures in a row make a peer bad. */
const badAfter = 2

const firstBackoffMillis = 30_000
const maxBackoffDoublings = 10

// A peer on the same machine answers in far less than its event loop may pause.
const minTimeoutMillis = 50
// A peer never asked may be farther away than those we know.
const minStrangerTimeoutMillis = 75
const maxTimeoutMillis = 5_000

/** How many attempts the share of lost ones is judged by. */
const lossSamples = 64

/** The share that is assumed before anybody has answered, and the least that ever is. */
const initialLoss = 0.2
const minLoss = 0.03

/** The likelihood of taking a peer for dead that is there. */
const doubt = 0.001
const maxAttempts = 7

/** How long a measured round trip counts more than what peers usually take. */
const measuredMillis = 30_000

/** What is assumed before anybody has answered. RFC 6298 waits one second, for the sake of far larger packets. */
const initialTimeoutMillis = 500

// To ask somebody else besides costs no more than a request, so it is done
// sooner than asking again; but the event loop of a peer may pause even so.
const minSlowMillis = 20
const initialSlowMillis = 250

/** The smoothed round-trip time of RFC 6298, section 2, which begins anew when the time falls by half. */
class RoundTrip {
  srtt: number | undefined
  private variation = 0

  sample(measuredMillis: number): void {
    // A clock that was set back meanwhile measures less than nothing.
    const rttMillis = Math.max(measuredMillis, 0)
    // A path is no longer than its quickest answer; what was slow before was a
    // queue, and says little of the next time.
    if (this.srtt === undefined || rttMillis < this.srtt / 2) {
      this.srtt = rttMillis
      this.variation = rttMillis / 2
    } else {
      this.variation += (Math.abs(this.srtt - rttMillis) - this.variation) / 4
      this.srtt += (rttMillis - this.srtt) / 8
    }
  }

  /** Undefined without a sample. */
  timeout(minMillis: number): number | undefined {
    return this.srtt === undefined
      ? undefined
      : Math.min(Math.max(this.srtt + 4 * this.variation, minMillis), maxTimeoutMillis)
  }
}

class Peer {
  readonly roundTrip = new RoundTrip()
  answeredAt: number | undefined = undefined
  /** Where it answered. */
  host: string | undefined = undefined
  failures = 0
  nextTry = 0
  version: Version | undefined = undefined
  versionShownAt = 0
}

const makePeer = (): Peer => new Peer()

/**
 * @internal
 */
export class PeerHealth {
  private readonly peers: RecencyMap<NodeId, Peer>
  /** Those of bad state: most questions are whether somebody is one of the few. */
  private readonly bad = new Set<NodeId>()
  /**
   * What the peers said of themselves, as far as that is anything. Apart from the
   * rest, because anybody can say something, and only some are asked.
   */
  private readonly shown: RecencyMap<NodeId, { features: Features.Features }>
  private readonly capacity: number
  private readonly everyone = new RoundTrip()
  /** The share of attempts that got lost among those to peers that answered one. */
  private loss = initialLoss

  constructor(options?: Options) {
    this.capacity = options?.capacity ?? 10_000
    this.peers = new RecencyMap(this.capacity)
    this.shown = new RecencyMap(this.capacity)
  }

  get size(): number {
    return this.peers.size
  }

  /** An RPC was answered, after so many attempts that were lost: whatever went wrong before is forgiven. */
  succeeded(id: NodeId, rttMillis: number, now: number, lost = 0): void {
    const peer = this.peers.use(id, makePeer)
    this.bad.delete(id)
    for (let i = 0; i < lost; i++) this.loss += (1 - this.loss) / lossSamples
    this.loss -= this.loss / lossSamples
    peer.answeredAt = now
    peer.failures = 0
    peer.nextTry = 0
    peer.roundTrip.sample(rttMillis)
    this.everyone.sample(rttMillis)
  }

  /** An RPC was answered from the address that was asked, which only the address's owner can do. */
  provedAt(id: NodeId, host: string): void {
    this.peers.use(id, makePeer).host = host
  }

  /** Whether the peer has proved that it is at this host. */
  isProved(id: NodeId, host: string): boolean {
    return this.peers.get(id)?.host === host
  }

  /** An RPC failed, all its attempts together: each failure in a row doubles the back-off. */
  failed(id: NodeId, now: number): void {
    const peer = this.peers.use(id, makePeer)
    peer.failures++
    if (peer.failures >= badAfter) this.makeBad(id)
    peer.nextTry = now + firstBackoffMillis * 2 ** Math.min(peer.failures - 1, maxBackoffDoublings)
  }

  /** A probe of our own maintenance failed: no failure, and what is left of the back-off is halved. */
  maintenanceProbeFailed(id: NodeId, now: number): void {
    const peer = this.peers.get(id)
    if (peer !== undefined && peer.nextTry > now) peer.nextTry -= (peer.nextTry - now) / 2
  }

  /** A single failure makes a good peer unknown again. */
  state(id: NodeId): Health {
    if (this.bad.has(id)) return "bad"
    const peer = this.peers.get(id)
    if (peer === undefined) return "unknown"
    return peer.answeredAt !== undefined && peer.failures === 0 ? "good" : "unknown"
  }

  /** Whether its state is bad. */
  isBad(id: NodeId): boolean {
    return this.bad.has(id)
  }

  private makeBad(id: NodeId): void {
    this.bad.add(id)
    const [oldest] = this.bad
    if (this.bad.size > this.capacity) this.bad.delete(oldest)
  }

  allowContact(id: NodeId, now: number): boolean {
    return now >= this.nextTry(id)
  }

  /** When the back-off ends; 0 without one. */
  nextTry(id: NodeId): number {
    return this.peers.get(id)?.nextTry ?? 0
  }

  /** When it last answered an RPC; undefined if it never did. */
  answeredAt(id: NodeId): number | undefined {
    return this.peers.get(id)?.answeredAt
  }

  /** The smoothed round-trip time in milliseconds; undefined if the peer never answered. */
  rtt(id: NodeId): number | undefined {
    return this.peers.get(id)?.roundTrip.srtt
  }

  /**
   * After how many milliseconds somebody else is asked besides: longer than the peer, or else a peer, usually takes.
   */
  slowAfter(id: NodeId, now: number): number {
    return this.patience(id, now, minSlowMillis, this.everyone.timeout(minSlowMillis) ?? initialSlowMillis)
  }

  /** After how many lost attempts a peer is hardly there: so many hardly get lost in a row. */
  attempts(): number {
    const loss = Math.max(this.loss, minLoss)
    let attempts = 1
    for (let left = loss; left > doubt && attempts < maxAttempts; left *= loss) attempts++
    return attempts
  }

  /** How many milliseconds to wait for one attempt. */
  timeout(id: NodeId, now: number): number {
    return this.patience(id, now, minTimeoutMillis, this.defaultTimeout())
  }

  /** The same for a peer that never answered, or whose id is not known. */
  defaultTimeout(): number {
    return this.everyone.timeout(minStrangerTimeoutMillis) ?? initialTimeoutMillis
  }

  /** What was measured long ago may have been a queue, and says no more than what peers usually take. */
  private patience(id: NodeId, now: number, min: number, usual: number): number {
    const peer = this.peers.get(id)
    const measured = peer?.roundTrip.timeout(min)
    if (measured === undefined) return usual
    return now - (peer?.answeredAt ?? 0) < measuredMillis ? measured : Math.min(measured, usual)
  }

  /** The features in the header of a peer's latest message: those that are missing now are gone. */
  shows(id: NodeId, features: Features.Features): void {
    if (features === 0 && this.shown.get(id) === undefined) return
    if (!Features.has(features, Features.Bit["v0.2"])) this.doubtVersion(id)
    this.shown.use(id, () => ({ features })).features = features
  }

  /** Whether the peer has shown a feature. */
  has(id: NodeId, bit: Features.Bit): boolean {
    return Features.has(this.shown.get(id)?.features ?? 0, bit)
  }

  /**
   * Remembers a guess at which version of the protocol a peer speaks; one that
   * says so itself is not guessed at. Who has shown a later one does not unlearn
   * it.
   */
  speaks(id: NodeId, version: Version, now: number): void {
    if (this.has(id, Features.Bit["v0.2"])) return
    const peer = this.peers.use(id, makePeer)
    if (peer.version === "v0.2") return
    peer.version = version
    peer.versionShownAt = now
  }

  /**
   * A peer that said which version it speaks may have come back with another one:
   * until it says so again, it is guessed at.
   */
  doubtVersion(id: NodeId): void {
    const shown = this.shown.get(id)
    if (shown === undefined || !Features.has(shown.features, Features.Bit["v0.2"])) return
    shown.features &= ~Features.Bit["v0.2"]
    const peer = this.peers.get(id)
    if (peer !== undefined) peer.version = undefined
  }

  /**
   * Which version the peer speaks, as it says or has shown. That it speaks the
   * first only is forgotten after a while: a lost datagram makes it look the same.
   */
  version(id: NodeId, now: number): Version | undefined {
    if (this.has(id, Features.Bit["v0.2"])) return "v0.2"
    const peer = this.peers.get(id)
    return peer?.version === "v0.1" && now - peer.versionShownAt >= v01Millis ? undefined : peer?.version
  }
}
