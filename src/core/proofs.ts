/**
 * Addresses that are being proved: each peer is sent a ping where its request
 * seemed to come from, and only the owner of that address can answer. Anyone
 * can cause such pings, so their number is limited; when a limit is reached, the
 * peer that is worth the least to the routing table gives way.
 *
 * A ping is a request, so to a peer that does not know us either it is a reason
 * to ping back. If the path is slower than a proof waits, each side would go on
 * for ever, so each failure lengthens the pause until the address is pinged again.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import { RateLimit } from "../internal/rateLimit.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
import * as NodeId from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"

/** Maximum number of callers that wait for the same proof. */
const maxWaiting = 16

/** Maximum number of strangers remembered. */
const maxStrangers = 1024

/** Pause after the first failure, and the longest one; each failure doubles it. */
const firstPauseMillis = 1000
const maxPauseMillis = 10 * 60_000

/**
 * Called with the outcome of a proof.
 *
 * @internal
 */
export type Done = (isProved: boolean) => void

/**
 * A ping in flight, and the callers that wait for it.
 *
 * @internal
 */
export interface Ping {
  readonly cancel: () => void
  readonly waiting: Array<Done>
  /** Whether it has taken too long to wait for. */
  isLate: boolean
}

/** What is remembered of a peer at an address that is not proved. */
interface Stranger {
  /** Bytes that its requests still allow to be sent to it. */
  bytes: number
  /** Proofs that failed. */
  failures: number
  pausedUntil: number
}

const makeStranger = (): Stranger => ({ bytes: 0, failures: 0, pausedUntil: -Infinity })

/**
 * What to do about a peer that is to prove its address.
 *
 * @internal
 */
export interface Attempt {
  /** The proof to wait for; undefined if none is expected. */
  readonly proof: Proof | undefined
  /** Number of pings to send. */
  readonly pings: number
  /** The proof that gives way. */
  readonly displaced: Proof | undefined
}

const refused: Attempt = { proof: undefined, pings: 0, displaced: undefined }

/**
 * A proof that has not arrived yet.
 *
 * @internal
 */
export class Proof {
  readonly contact: Contact
  /** Whether the bucket of the peer has room for it. */
  readonly hasRoom: boolean
  /** When it was last sent a ping, and how many in all. */
  askedAt = 0
  sent = 0
  /** The latest one last. */
  private readonly pings = new Set<Ping>()

  constructor(contact: Contact, hasRoom: boolean) {
    this.contact = contact
    this.hasRoom = hasRoom
  }

  /** Adds a ping, sent up to `times` times, which the next callers wait for. */
  pinged(ping: Ping, times: number, now: number): void {
    this.askedAt = now
    this.sent += times
    this.pings.add(ping)
  }

  /** Whether the latest ping has not taken too long yet. */
  get isAwaited(): boolean {
    let latest: Ping | undefined
    for (const ping of this.pings) latest = ping
    return latest?.isLate === false
  }

  /** Adds a caller that waits for the latest ping; returns false if too many wait. */
  wait(done: Done): boolean {
    let latest: Ping | undefined
    let waiting = 0
    for (const ping of this.pings) {
      latest = ping
      waiting += ping.waiting.length
    }
    if (latest === undefined || waiting >= maxWaiting) return false
    latest.waiting.push(done)
    return true
  }

  /** Tells the callers that wait for a ping that it has taken too long. A later response still counts. */
  delayed(ping: Ping): void {
    ping.isLate = true
    for (const done of ping.waiting.splice(0)) done(false)
  }

  /** Removes a ping that was not answered; returns whether none is left. */
  failed(ping: Ping): boolean {
    this.pings.delete(ping)
    this.delayed(ping)
    return this.pings.size === 0
  }

  /** Ends the proof: cancels all pings, except the one that was answered, and tells all callers. */
  end(answered: Ping | undefined): void {
    const pings = Array.from(this.pings)
    this.pings.clear()
    for (const ping of pings) {
      if (ping !== answered) ping.cancel()
      for (const done of ping.waiting.splice(0)) done(answered !== undefined)
    }
  }
}

/**
 * @internal
 */
export class Proofs {
  private readonly self: NodeId.NodeId
  private readonly pingBytes: number
  private readonly capacity: number
  private readonly perNetwork: number
  private readonly proofs = new Map<string, Proof>()
  private readonly networks = new Map<string, number>()
  private readonly strangers = new RecencyMap<string, Stranger>(maxStrangers)
  private readonly rate: RateLimit

  constructor(options: {
    readonly self: NodeId.NodeId
    /** Size of a ping. */
    readonly pingBytes: number
    /** Proofs in all, 512; as many are attempted in a second. */
    readonly capacity?: number | undefined
    /** Proofs of one public network, 64. */
    readonly perNetwork?: number | undefined
  }) {
    this.self = options.self
    this.pingBytes = options.pingBytes
    this.capacity = options.capacity ?? 512
    this.perNetwork = options.perNetwork ?? 64
    this.rate = new RateLimit({ limit: this.capacity, windowMillis: 1000, capacity: 1 })
  }

  get size(): number {
    return this.proofs.size
  }

  get(contact: Contact): Proof | undefined {
    return this.proofs.get(nameOf(contact))
  }

  /** Bytes that the requests of a stranger still allow to be sent to it; undefined if it is not remembered. */
  creditOf(contact: Contact): number | undefined {
    return this.strangers.get(nameOf(contact))?.bytes
  }

  /** Changes what may be sent to a stranger, and returns it. */
  earn(contact: Contact, bytes: number): number {
    return this.strangers.use(nameOf(contact), makeStranger).bytes += bytes
  }

  /** Whether an address may be pinged again, or is being pinged. */
  mayProve(contact: Contact, now: number): boolean {
    return this.get(contact) !== undefined || now >= (this.strangers.get(nameOf(contact))?.pausedUntil ?? now)
  }

  /**
   * Decides about a peer that is to prove its address, of whose requests `room`
   * bytes are left, or all if it is undefined. A proof consists of at most `most`
   * pings, repeated after `timeout` milliseconds if another request pays for it.
   * The caller reports the pings that it sends with `pinged`.
   */
  attempt(contact: Contact, options: {
    readonly room: number | undefined
    readonly most: number
    readonly timeout: number
    readonly hasRoom: boolean
    readonly now: number
  }): Attempt {
    const { hasRoom, most, now, room, timeout } = options
    const paid = Math.floor((room ?? this.creditOf(contact) ?? 0) / this.pingBytes)
    const known = this.get(contact)
    if (known !== undefined) {
      const isDue = now - known.askedAt >= timeout
      const pings = isDue ? Math.max(0, Math.min(paid, most - known.sent)) : 0
      if (pings > 0 && this.rate.allow("all", now)) return { proof: known, pings, displaced: undefined }
      return known.isAwaited ? { proof: known, pings: 0, displaced: undefined } : refused
    }
    if (paid < 1 || !this.mayProve(contact, now) || !this.rate.allow("all", now)) return refused
    const { address, host, id, port } = contact
    const proof = new Proof({ address, host, id, port }, hasRoom)
    const displaced = this.add(proof)
    return displaced === "Refused" ? refused : { proof, pings: Math.min(paid, most), displaced }
  }

  /** Reports that pings are sent, at most `times`. */
  pinged(proof: Proof, ping: Ping, times: number, now: number): void {
    proof.pinged(ping, times, now)
    this.earn(proof.contact, -times * this.pingBytes)
  }

  /** Reports that a ping was not answered. The proof ends with the last one, and a pause begins. */
  failed(proof: Proof, ping: Ping, now: number): void {
    if (!this.abandoned(proof, ping)) return
    const stranger = this.strangers.use(nameOf(proof.contact), makeStranger)
    stranger.pausedUntil = now + Math.min(firstPauseMillis * 2 ** stranger.failures, maxPauseMillis)
    stranger.failures++
  }

  /** Reports that a ping ended early, which says nothing about the address; returns whether the proof ended with it. */
  abandoned(proof: Proof, ping: Ping): boolean {
    return proof.failed(ping) && this.delete(proof)
  }

  /** Reports that a ping was answered, which ends the proof. */
  succeeded(proof: Proof, ping: Ping): void {
    if (!this.delete(proof)) return
    this.strangers.delete(nameOf(proof.contact))
    proof.end(ping)
  }

  /**
   * Adds a proof, for which there must be none yet. Returns the one that gives
   * way to it, or undefined if there is room; `Refused` if all others are worth
   * more. Peers whose bucket has room are worth more than others, and then those
   * that are closer to us.
   */
  add(proof: Proof): Proof | "Refused" | undefined {
    const network = SocketAddress.subnet(proof.contact.host)
    const isCrowded = network !== undefined && (this.networks.get(network) ?? 0) >= this.perNetwork
    const isFull = isCrowded || this.proofs.size >= this.capacity
    const least = isFull ? this.least(isCrowded ? network : undefined) : undefined
    if (least !== undefined) {
      if (!this.isWorthMore(proof, least)) return "Refused"
      this.delete(least)
    }
    this.proofs.set(nameOf(proof.contact), proof)
    if (network !== undefined) this.networks.set(network, (this.networks.get(network) ?? 0) + 1)
    return least
  }

  /** Removes a proof; returns false if it was removed before. */
  delete(proof: Proof): boolean {
    const name = nameOf(proof.contact)
    if (this.proofs.get(name) !== proof) return false
    this.proofs.delete(name)
    const network = SocketAddress.subnet(proof.contact.host)
    if (network === undefined) return true
    const left = (this.networks.get(network) ?? 0) - 1
    if (left > 0) this.networks.set(network, left)
    else this.networks.delete(network)
    return true
  }

  [Symbol.iterator](): Iterator<Proof> {
    return this.proofs.values()
  }

  private least(network: string | undefined): Proof | undefined {
    let least: Proof | undefined
    for (const proof of this.proofs.values()) {
      if (network !== undefined && SocketAddress.subnet(proof.contact.host) !== network) continue
      if (least === undefined || this.isWorthMore(least, proof)) least = proof
    }
    return least
  }

  private isWorthMore(a: Proof, b: Proof): boolean {
    return a.hasRoom === b.hasRoom
      ? NodeId.compareDistance(this.self, a.contact.id, b.contact.id) < 0
      : a.hasRoom
  }
}

/**
 * The name of a peer at an address.
 *
 * @internal
 */
export const nameOf = ({ host, id, port }: Contact): string => `${id} ${SocketAddress.key({ host, port })}`
