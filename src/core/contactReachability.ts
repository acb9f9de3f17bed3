/**
 * Whether strangers can reach peers that do not find that out themselves, such as
 * nodes of the reference. Times are Unix milliseconds.
 *
 * A peer that answers although it had not sent us anything for a while is open:
 * no router let our request in because of an earlier datagram. A peer that sent
 * to us first tells nothing by answering, so peers of ours that are strangers to
 * it are asked to try. Each of them may lie, or lose a datagram, so two networks
 * must have failed before a peer counts as closed.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
import * as SocketAddress from "../SocketAddress.ts"

/**
 * What is known of a peer; `undefined` until something is.
 *
 * @internal
 */
export type State = "open" | "closed" | undefined

/** How long a router may let our datagrams in after the peer's last one; most forget it after two to five minutes. */
const heardMillis = 10 * 60_000

/** Time after which a peer is tried again. */
const decidedMillis = 30 * 60_000

/**
 * Pauses before attempts, by the number of those in a row that brought nothing. A
 * node that joins contacts many others, so no peer can tell in its first seconds who
 * is a stranger to it.
 */
const pauses = [5_000, 30_000, 2 * 60_000, 10 * 60_000, decidedMillis]

/** Networks that must have failed to reach a peer. */
const quorum = 2

/** Peers remembered. */
const maxPeers = 4096

const never = -Infinity

interface Peer {
  state: State
  heardAt: number
  decidedAt: number
  triedAt: number
  futile: number
  /** The networks that failed to reach it since anything was known of it. */
  readonly blockedIn: Set<string>
}

const makePeer = (heardAt: number, now: number): Peer => ({
  state: undefined,
  heardAt,
  decidedAt: never,
  triedAt: now,
  futile: 0,
  blockedIn: new Set()
})

/**
 * @internal
 */
export class ContactReachability {
  private readonly peers: RecencyMap<string, Peer>
  private readonly capacity: number
  /** Peers that were heard from at this time or before may have been forgotten. */
  private forgottenUntil = never

  constructor(options?: {
    /** Peers remembered, 4096 by default. */
    readonly capacity?: number | undefined
  }) {
    this.capacity = options?.capacity ?? maxPeers
    this.peers = new RecencyMap(this.capacity)
  }

  /** What is known of a peer at its address. */
  state(peer: Contact): State {
    return this.peers.get(nameOf(peer))?.state
  }

  /**
   * Records a message; `isAnswer` if it answers a request of ours to that very
   * address, and we would have heard what it sent before. Returns whether it shows that the peer is open.
   */
  heard(peer: Contact, isAnswer: boolean, now: number): boolean {
    const name = nameOf(peer)
    if (this.peers.get(name) === undefined && this.peers.size >= this.capacity) {
      this.forgottenUntil = Math.max(this.forgottenUntil, this.peers.oldest?.value.heardAt ?? never)
    }
    const known = this.peers.use(name, () => makePeer(this.forgottenUntil, now))
    const shows = isAnswer && now - known.heardAt >= heardMillis
    if (shows) this.decide(known, "open", now)
    known.heardAt = now
    return shows
  }

  /** When strangers should try to reach a peer; never if we have not heard from it. */
  dueAt(peer: Contact): number {
    const known = this.peers.get(nameOf(peer))
    if (known === undefined) return Infinity
    const tryAt = known.triedAt + pauses[Math.min(known.futile, pauses.length - 1)]
    return known.state === undefined ? tryAt : Math.max(tryAt, known.decidedAt + decidedMillis)
  }

  /** Whether strangers should try to reach a peer that we heard from. */
  isDue(peer: Contact, now: number): boolean {
    const known = this.peers.get(nameOf(peer))
    // A time in the future is from before the clock was set back.
    return known !== undefined && (now < Math.max(known.triedAt, known.decidedAt) || now >= this.dueAt(peer))
  }

  /** Reports whether a stranger of this network reached a peer. Returns whether that is enough to tell. */
  tried(peer: Contact, network: string, isReached: boolean, now: number): boolean {
    const known = this.peers.get(nameOf(peer))
    if (known === undefined) return false
    if (!isReached) known.blockedIn.add(network)
    const isEnough = isReached || known.blockedIn.size >= quorum
    if (isEnough) this.decide(known, isReached ? "open" : "closed", now)
    return isEnough
  }

  /** Reports the end of an attempt. */
  ended(peer: Contact, now: number): void {
    const known = this.peers.get(nameOf(peer))
    if (known === undefined) return
    known.triedAt = now
    known.futile++
  }

  private decide(known: Peer, state: State, now: number): void {
    known.state = state
    known.decidedAt = now
    known.futile = 0
    known.blockedIn.clear()
  }
}

const nameOf = ({ host, id, port }: Contact): string => `${id} ${SocketAddress.key({ host, port })}`
