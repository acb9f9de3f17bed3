/**
 * How two nodes behind routers meet (Ford, Srisuresh and Kegel, 2005; RFC 5128):
 * a third node, which both can reach, tells each where the other is, and both
 * send to each other, so that each router lets the other's datagrams in as
 * answers. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import { RateLimit } from "../internal/rateLimit.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
import type { NodeId } from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"
import type { Dependence } from "./reachability.ts"

// --- The node in the middle --------------------------------------------------

/** How long a node can be told of others after it last attended. */
const attendedMillis = 150_000

/** Nodes that attend here, and how many new ones of a network in a minute. */
const maxAttendants = 1024
const newAttendants = { limit: 32, windowMillis: 60_000, capacity: 4096 }

/** Introductions for one source, and to one attendant, in 10 seconds: each costs a datagram to the attendant, and one from it. */
const introductions = { limit: 40, windowMillis: 10_000, capacity: 4096 }

/** Those for one source to one attendant, so that no source can take them all. */
const introductionsOfPair = { limit: 10, windowMillis: 10_000, capacity: 4096 }

/**
 * The outcome of a request to meet a node: it is told of the requester, or it does
 * not attend here, or their routers use a different port for each peer on either
 * side, so that neither can learn the other's, or there were too many requests.
 *
 * @internal
 */
export type Introduction =
  | { readonly _tag: "Introduced"; readonly callee: Contact; readonly mapping: Dependence }
  | { readonly _tag: "Unknown" | "BothSymmetric" | "Busy" }

/**
 * A node that attends, and the mapping of its router.
 *
 * @internal
 */
export interface Attendant {
  contact: Contact
  mapping: Dependence
  at: number
}

/**
 * The nodes that attend at this one, to be told of others that want to meet them.
 *
 * @internal
 */
export class Attendants {
  private readonly attendants = new RecencyMap<NodeId, Attendant>(maxAttendants)
  private readonly arrivals = new RateLimit(newAttendants)
  private readonly byRequester = new RateLimit(introductions)
  private readonly byPair = new RateLimit(introductionsOfPair)
  private readonly byAttendant = new RateLimit(introductions)

  get size(): number {
    return this.attendants.size
  }

  /** Records that a node attends, at an address that it has proved. Returns false if too many of its network do. */
  attends(contact: Contact, mapping: Dependence, now: number): boolean {
    const isKnown = this.attendants.get(contact.id) !== undefined
    if (!isKnown && !this.arrivals.allow(SocketAddress.network(contact.host), now)) return false
    Object.assign(this.attendants.use(contact.id, () => ({ contact, mapping, at: now })), { contact, mapping, at: now })
    return true
  }

  /** Where a node is that attends here. */
  get(id: NodeId, now: number): Attendant | undefined {
    const attendant = this.attendants.get(id)
    // A time in the future is from before the clock was set back.
    return attendant !== undefined && Math.abs(now - attendant.at) <= attendedMillis ? attendant : undefined
  }

  /**
   * Decides whether a node at this address, with this mapping, can meet another. That
   * uses up none of its requests, because the address may be forged.
   */
  find(from: SocketAddress.SocketAddress, mapping: Dependence, callee: NodeId, now: number): Introduction {
    const attendant = this.get(callee, now)
    if (attendant === undefined || !canShare(attendant.contact, from)) return { _tag: "Unknown" }
    if (mapping === "EndpointDependent" && attendant.mapping === "EndpointDependent") return { _tag: "BothSymmetric" }
    return { _tag: "Introduced", callee: attendant.contact, mapping: attendant.mapping }
  }

  /** The same within the limits of the requester, which has proved its address. */
  introduce(from: SocketAddress.SocketAddress, mapping: Dependence, callee: NodeId, now: number): Introduction {
    const found = this.find(from, mapping, callee, now)
    if (found._tag !== "Introduced") return found
    const source = SocketAddress.source(from.host)
    const isAllowed = this.byRequester.allow(source, now) && this.byPair.allow(`${source} ${callee}`, now)
    return isAllowed && this.byAttendant.allow(callee, now) ? found : { _tag: "Busy" }
  }
}

/** Whether two addresses are of one family, and mean the same to each other's node. */
const canShare = (a: SocketAddress.SocketAddress, b: SocketAddress.SocketAddress): boolean =>
  a.host.includes(":") === b.host.includes(":") && SocketAddress.isReachableFrom(a, b) &&
  SocketAddress.isReachableFrom(b, a)

// --- The node that wants to meet another ---------------------------------------

/** Rounds of a meeting. A lost datagram costs one of them. */
const rounds = 4

/** The shortest time in which a round may succeed. */
const minRoundMillis = 230

/** Addresses tried: the one that the node in the middle tells, and those that the other's datagrams come from. */
const maxAddresses = 4

/**
 * Why two nodes cannot meet.
 *
 * - `Unknown`: the peer is not running, or no node knows where it is.
 * - `BothSymmetric`: both routers use a different port for each peer, so neither
 *   node can learn where to send.
 * - `NothingCameThrough`: both sent, and no datagram arrived, as when one router
 *   uses a different port for each peer and the other one filters by port. Ports
 *   are not predicted (RFC 5128, 3.4): a guess may be the port of another host.
 * - `Busy`: the nodes that know the peer had too many requests.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = "Unknown" | "BothSymmetric" | "Busy" | "NothingCameThrough"

/**
 * What to do next.
 *
 * - `Round`: ask the nodes in the middle, and ping each address.
 * - `Ping`: ping an address that has just become known.
 * - `Wait`: do nothing until this time, or until something arrives.
 *
 * @internal
 */
export type Step =
  | { readonly _tag: "Round"; readonly addresses: ReadonlyArray<SocketAddress.SocketAddress> }
  | { readonly _tag: "Ping"; readonly address: SocketAddress.SocketAddress }
  | { readonly _tag: "Wait"; readonly until: number }
  | { readonly _tag: "Failed"; readonly reason: Reason }

/**
 * One attempt to meet a node through some others. The caller reports what it is
 * told and what arrives; the first response of the other node ends it.
 *
 * @internal
 */
export class Meeting {
  private readonly roundMillis: number
  private readonly refusals = new Map<NodeId, Reason>()
  private readonly addresses = new Map<string, SocketAddress.SocketAddress>()
  private readonly unpinged: Array<SocketAddress.SocketAddress> = []
  private readonly middles: number
  private roundsLeft = rounds
  private roundAt: number

  constructor(options: {
    readonly startedAt: number
    /** Number of the nodes in the middle. */
    readonly middles: number
    /** The longest round trip to one of them, if it is known. */
    readonly rttMillis: number
  }) {
    this.roundAt = options.startedAt
    this.middles = options.middles
    this.roundMillis = Math.max(minRoundMillis, options.rttMillis)
  }

  /** Whether any node in the middle knows the other node. */
  get isIntroduced(): boolean {
    return this.addresses.size > 0
  }

  next(now: number): Step {
    const address = this.unpinged.shift()
    if (address !== undefined) return { _tag: "Ping", address }
    if (!this.isIntroduced && this.refusals.size >= this.middles) return { _tag: "Failed", reason: this.refusal }
    if (now < this.roundAt) return { _tag: "Wait", until: this.roundAt }
    if (this.roundsLeft === 0) {
      return { _tag: "Failed", reason: this.isIntroduced ? "NothingCameThrough" : this.refusal }
    }
    this.roundsLeft--
    this.roundAt = now + this.roundMillis
    return { _tag: "Round", addresses: Array.from(this.addresses.values()) }
  }

  /** Reports an address of the other node: what a node in the middle tells, or where a datagram came from. */
  isAt(address: SocketAddress.SocketAddress): void {
    const key = SocketAddress.key(address)
    if (this.addresses.has(key) || this.addresses.size >= maxAddresses) return
    this.addresses.set(key, address)
    this.unpinged.push(address)
  }

  /** Reports that a node in the middle refused. */
  refused(by: NodeId, reason: Reason): void {
    this.refusals.set(by, reason)
  }

  /** The refusal that says the most. */
  private get refusal(): Reason {
    const given = new Set(this.refusals.values())
    return (["BothSymmetric", "Busy"] as const).find((reason) => given.has(reason)) ?? "Unknown"
  }
}
