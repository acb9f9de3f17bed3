/**
 * Addresses that are being proved: each peer was sent a ping where its request
 * seemed to come from, and only the owner of that address can answer. Anyone
 * can cause such pings, so their number is limited; when a limit is reached, the
 * peer that is worth the least to the routing table gives way.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import * as NodeId from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"

/** Maximum number of callers that wait for the same proof. */
const maxWaiting = 16

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
}

/**
 * A proof that has not arrived yet.
 *
 * @internal
 */
export class Proof {
  readonly contact: Contact
  /** Whether the bucket of the peer has room for it. */
  readonly hasRoom: boolean
  /** When it was last sent a ping. */
  askedAt = 0
  /** The latest one last. */
  private readonly pings = new Set<Ping>()

  constructor(contact: Contact, hasRoom: boolean) {
    this.contact = contact
    this.hasRoom = hasRoom
  }

  /** Adds a ping, which the next callers wait for. */
  pinged(ping: Ping, now: number): void {
    this.askedAt = now
    this.pings.add(ping)
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
  delayed({ waiting }: Ping): void {
    for (const done of waiting.splice(0)) done(false)
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
  private readonly capacity: number
  private readonly perNetwork: number
  private readonly proofs = new Map<string, Proof>()
  private readonly networks = new Map<string, number>()

  constructor(options: {
    readonly self: NodeId.NodeId
    /** Proofs in all, 512. */
    readonly capacity?: number | undefined
    /** Proofs of one public network, 64. */
    readonly perNetwork?: number | undefined
  }) {
    this.self = options.self
    this.capacity = options.capacity ?? 512
    this.perNetwork = options.perNetwork ?? 64
  }

  get size(): number {
    return this.proofs.size
  }

  get(contact: Contact): Proof | undefined {
    return this.proofs.get(nameOf(contact))
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
