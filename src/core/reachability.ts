/**
 * Whether strangers can reach this node, in the terms of RFC 4787: how a router
 * in front of it maps its port, and which datagrams the router lets in. Times
 * are Unix milliseconds.
 *
 * A datagram from a host that we have not sent to for a while proves that
 * strangers reach us, whatever host it is. The opposite needs an experiment: a
 * stranger sends to us, a peer that we contacted confirms that it did, and
 * nothing arrives. One such experiment may be a lost datagram or a lie, so
 * several networks must agree. And a stranger may be unable to send to us for
 * another reason, so one of those must be able to once we have sent to it.
 *
 * The state machine sends nothing. {@link Reachability.next} says what to do,
 * and the caller reports what it found.
 *
 * @since 0.1.0
 */
import { RecencyMap } from "../internal/recencyMap.ts"
import type { NodeId } from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { Families } from "./families.ts"

/**
 * Whether strangers can reach this node: `open` if they can, `closed` if only
 * peers can that it contacted first.
 *
 * @category models
 * @since 0.1.0
 */
export type State = "open" | "closed" | "unknown"

/**
 * What a router's decision depends on: nothing of the remote endpoint, or its
 * IP address and perhaps its port (RFC 4787, 4.1 and 5). Without a router, both
 * mapping and filtering are endpoint-independent.
 *
 * @category models
 * @since 0.1.0
 */
export type Dependence = "EndpointIndependent" | "EndpointDependent" | "Unknown"

/**
 * What is known about the reachability of this node.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  readonly state: State
  readonly mapping: Dependence
  readonly filtering: Dependence
}

/**
 * How a peer sees us.
 *
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly reporter: { readonly id: NodeId; readonly host: string }
  readonly observed: SocketAddress.SocketAddress
}

/**
 * What to do next.
 *
 * - `Ask`: ask so many peers of different networks where they see us, and report
 *   what they say.
 * - `DialBack`: have strangers send to this address, and report each experiment
 *   that failed and the end of the round.
 * - `Wait`: do nothing until this time, in Unix milliseconds; ask for the next
 *   step then at the latest.
 *
 * @category models
 * @since 0.1.0
 */
export type Step =
  | { readonly _tag: "Ask"; readonly peers: number }
  | { readonly _tag: "DialBack"; readonly claimed: SocketAddress.SocketAddress }
  | { readonly _tag: "Wait"; readonly until: number }

const minuteMillis = 60_000

/** How long a router may let in what a host sends after we sent to it; most forget it after two to five minutes. */
const contactedMillis = 10 * minuteMillis

/** Hosts remembered. */
const maxHosts = 4096

/**
 * Networks whose reports or experiments must agree.
 *
 * @internal
 */
export const quorum = 3

/** Strangers of failed experiments that are pinged as a control. */
const maxControls = 4

/** Time within which experiments must agree: over longer, lost datagrams would add up. */
const blockedMillis = 2 * minuteMillis

/**
 * Peers asked where they see us, and those asked whether anything has changed since.
 *
 * @internal
 */
export const askedPeers = 5
const glancedPeers = 1

/** Pauses between attempts, by the number of those in a row that brought nothing. */
const pauses = [10_000, 10_000, 10_000, 20_000, 30_000, minuteMillis, 4 * minuteMillis, 15 * minuteMillis]

/** Time without a response that says where a peer sees us, after which we ask. */
const glanceMillis = 4 * minuteMillis

/** Silence of an open node after which it asks early: if it is behind a router, its mapping would end. */
const keepAliveMillis = minuteMillis

/** Time after which the filtering is tested again. */
const dialMillis = 30 * minuteMillis

const never = -Infinity

/** A failed experiment: the stranger that sent, as far as known, and when it failed. */
interface Blocked {
  readonly sender: SocketAddress.SocketAddress | undefined
  readonly at: number
}

/** When we last sent to a host, and last heard from it. */
interface Meeting {
  sentAt: number
  heardAt: number
}

const makeMeeting = (): Meeting => ({ sentAt: never, heardAt: never })

/** When hosts were met last, or may have been, for as long as a router may remember it. */
class Hosts {
  private readonly hosts = new RecencyMap<string, Meeting>(Infinity)
  /** Hosts that were met at these times or before may have been forgotten. */
  private readonly forgotten = makeMeeting()

  sent(host: string, now: number): void {
    this.hosts.use(host, makeMeeting).sentAt = now
    this.forgetOld(now)
  }

  heard(host: string, now: number): void {
    this.hosts.use(host, makeMeeting).heardAt = now
    this.forgetOld(now)
  }

  lastSent(host: string): number {
    return Math.max(this.hosts.get(host)?.sentAt ?? never, this.forgotten.sentAt)
  }

  lastHeard(host: string): number {
    return Math.max(this.hosts.get(host)?.heardAt ?? never, this.forgotten.heardAt)
  }

  private forgetOld(now: number): void {
    const { forgotten, hosts } = this
    for (let oldest = hosts.oldest; oldest !== undefined; oldest = hosts.oldest) {
      const { heardAt, sentAt } = oldest.value
      if (now - Math.max(heardAt, sentAt) < contactedMillis) {
        if (hosts.size <= maxHosts) return
        forgotten.sentAt = Math.max(forgotten.sentAt, sentAt)
        forgotten.heardAt = Math.max(forgotten.heardAt, heardAt)
      }
      hosts.dropOldest()
    }
  }
}

/**
 * @internal
 */
export class Reachability {
  /** Called when the state has changed, or the next step may be due earlier than `next` said. */
  changed: () => void = ignore
  private readonly isRestart: boolean
  private readonly hosts = new Hosts()
  private readonly families = new Families()
  private agreed: SocketAddress.SocketAddress | undefined
  /** Where a peer first saw us, as the first response said. */
  private firstSeenAt: SocketAddress.SocketAddress | undefined
  private mapping: Dependence = "Unknown"
  private filtering: Dependence = "Unknown"
  /** Whether the filtering is that of an earlier address, and untested since. */
  private isPresumed = false
  /** The experiments that failed since a stranger last reached us: the last of each network that confirmed one. */
  private readonly blockedBy = new Map<string, Blocked>()
  private startedAt: number | undefined
  /** When a peer last confirmed our address. */
  private confirmedAt = never
  /** What we sent until then went through another router. */
  private movedAt = never
  private sentAt = never
  private askedAt = never
  /** When several peers last compared the ports of a mapping that depends on the peer. */
  private comparedAt = never
  private testedAt = never
  /** The address of ours at which a stranger reached us, as the last successful experiment showed. */
  private reachedAt: SocketAddress.SocketAddress | undefined
  /** When the last attempt to find out ended, and how many in a row brought nothing. */
  private triedAt = never
  private futile = 0
  /** Whether what peers report contradicts what we know, and since when it does. */
  private isDoubtful = true
  private doubtfulAt = never

  constructor(options?: {
    /** Whether an earlier run of the node may have contacted others a moment ago. Default false. */
    readonly isRestart?: boolean | undefined
  }) {
    this.isRestart = options?.isRestart ?? false
  }

  /** What is known now. */
  get status(): Status {
    const { filtering, mapping } = this
    const state = mapping === "EndpointDependent" || filtering === "EndpointDependent"
      ? "closed"
      : filtering === "EndpointIndependent"
      ? "open"
      : "unknown"
    return { state, mapping, filtering }
  }

  /** Our address, as enough peers report it; without an endpoint-independent mapping, its port means nothing. */
  get address(): SocketAddress.SocketAddress | undefined {
    return this.agreed
  }

  /** Whether other nodes reach us over IPv4 and over IPv6. */
  isDual(now: number): boolean {
    return this.status.state !== "closed" && this.families.isDual(now)
  }

  // --- Traffic ---------------------------------------------------------------

  /** Records a datagram that we sent. */
  sent(host: string, now: number): void {
    this.sentAt = now
    this.hosts.sent(host, now)
  }

  /**
   * Records a verified datagram from a host. After a restart, a router may still
   * let in what we asked for before, so at first only an echo counts, and what it
   * shows is tested again later.
   */
  heard(host: string, isEcho: boolean, now: number): void {
    if (this.startedAt === undefined) {
      this.startedAt = now
      this.changed()
    }
    this.hosts.heard(host, now)
    const isPublic = SocketAddress.isPublic(host)
    const isExpected = this.isRestart && !isEcho && now - this.startedAt < contactedMillis ||
      this.mayExpect(host, now) || host === this.address?.host
    // In a network of its own, no router is between us and others.
    this.families.heard(SocketAddress.family(host), !isPublic || !isExpected, now)
    if (isExpected || !isPublic) return
    if (this.address !== undefined && isIpv6(host) !== isIpv6(this.address.host)) return
    const isNews = this.filtering !== "EndpointIndependent" || this.futile > 0
    this.filtering = "EndpointIndependent"
    this.isPresumed = false
    this.testedAt = now
    this.futile = 0
    this.blockedBy.clear()
    if (isNews) this.changed()
  }

  /** Records where a peer sees us, as a response says. */
  observed(observed: SocketAddress.SocketAddress, now: number): void {
    const { address, mapping } = this
    this.firstSeenAt ??= observed
    if (address === undefined || isIpv6(observed.host) !== isIpv6(address.host)) return
    const isSame = observed.host === address.host &&
      (mapping !== "EndpointIndependent" || observed.port === address.port)
    if (isSame) {
      this.confirmedAt = now
    } else if (!this.isDoubtful) {
      this.isDoubtful = true
      this.doubtfulAt = now
      this.changed()
    }
  }

  /** Whether we were seen on another host than that of our address, so that those who reached us may have done so there. */
  private hasLeft({ host }: SocketAddress.SocketAddress): boolean {
    const first = this.firstSeenAt?.host
    return first !== undefined && first !== host && isIpv6(first) === isIpv6(host)
  }

  /** Whether a router may let in what this host sends, because we sent to it. */
  private mayExpect(host: string, now: number): boolean {
    const at = this.hosts.lastSent(host)
    // A time in the future is from before the clock was set back.
    return at > this.movedAt && now - at < contactedMillis
  }

  /**
   * Whether the router of a host lets nothing of ours in because of what the host
   * sent to us. A node that is not open cannot know: it may not have heard it.
   */
  isStranger(host: string, now: number): boolean {
    return this.status.state === "open" && now - this.hosts.lastHeard(host) >= contactedMillis
  }

  // --- Finding out -----------------------------------------------------------

  /** Returns what to do next. */
  next(now: number): Step {
    if (now < Math.max(this.sentAt, this.confirmedAt, this.askedAt, this.triedAt, this.testedAt)) this.setBack(now)
    const { address, futile, isDoubtful, mapping } = this
    const { state } = this.status
    const mayTry = this.triedAt + pauses[Math.min(futile, pauses.length - 1)]
    if (address === undefined || isDoubtful) {
      // What brought nothing before the doubt says nothing about it.
      const mayAsk = this.triedAt < this.doubtfulAt ? this.askedAt + pauses[0] : mayTry
      return now >= mayAsk ? { _tag: "Ask", peers: askedPeers } : { _tag: "Wait", until: mayAsk }
    }
    const dialAt = mapping !== "EndpointIndependent"
      ? Infinity
      : state === "unknown"
      ? mayTry
      : Math.max(Math.min(this.testedAt + dialMillis, this.retestAt), mayTry)
    if (now >= dialAt) return { _tag: "DialBack", claimed: address }
    // Without a peer to ask, nothing is sent.
    const keepAliveAt = state === "open" ? Math.max(this.sentAt, this.askedAt) + keepAliveMillis : Infinity
    const compareAt = mapping === "EndpointDependent" ? this.comparedAt + dialMillis : Infinity
    if (now >= compareAt) return { _tag: "Ask", peers: askedPeers }
    const askAt = Math.min(Math.max(this.askedAt, this.confirmedAt) + glanceMillis, keepAliveAt)
    if (now >= askAt) return { _tag: "Ask", peers: glancedPeers }
    return { _tag: "Wait", until: Math.min(dialAt, compareAt, askAt) }
  }

  /**
   * When the router has forgotten what an earlier run contacted, until it is tested
   * after that: a host that echoed may have been among them.
   */
  private get retestAt(): number {
    if (!this.isRestart || this.startedAt === undefined) return Infinity
    const forgottenAt = this.startedAt + contactedMillis
    return this.testedAt < forgottenAt ? forgottenAt : Infinity
  }

  /** Reports where peers see us: one report for each network, in answer to `Ask`. */
  asked(reports: ReadonlyArray<Report>, now: number): void {
    this.askedAt = now
    if (now - this.comparedAt >= dialMillis) this.comparedAt = now
    const host = majority(reports, ({ observed }) => observed.host)
    if (host === undefined || host.length < quorum || !SocketAddress.isPublic(host[0].observed.host)) {
      for (const { observed } of reports) this.observed(observed, now)
      if (this.address === undefined || this.isDoubtful) this.tried(now)
      return
    }
    this.isDoubtful = false
    const port = majority(host, ({ observed }) => observed.port)
    const address = (port ?? host)[0].observed
    const isElsewhere = this.address === undefined || this.address.host !== address.host ||
      port !== undefined && this.address.port !== address.port
    const mapping = port === undefined ? "EndpointDependent" : "EndpointIndependent"
    // What the last router did is presumed of the next one until it is tested.
    if (isElsewhere || mapping !== this.mapping) {
      if (this.mapping === "EndpointDependent") this.filtering = "EndpointDependent"
      if (this.address !== undefined && this.address.host !== address.host) this.movedAt = this.confirmedAt
      if (this.address !== undefined || this.hasLeft(address)) this.isPresumed = true
      // An experiment of before we knew our address, as while we joined, counts if it was at this one.
      const isShown = this.reachedAt !== undefined && SocketAddress.isSame(this.reachedAt, address)
      if (this.address !== undefined || !isShown) this.testedAt = never
      this.futile = 0
      this.triedAt = never
      this.blockedBy.clear()
    }
    if (isElsewhere) this.agreed = address
    this.mapping = mapping
    this.confirmedAt = now
    this.changed()
  }

  /** Reports an experiment: a stranger sent to this address of ours, and reached us. */
  reached(claimed: SocketAddress.SocketAddress): void {
    this.reachedAt = claimed
  }

  /**
   * Reports an experiment: the stranger at `sender` sent to us, as a peer of the
   * network `via` confirmed, and nothing arrived. The peer may not say which stranger.
   */
  blocked(via: string, sender: SocketAddress.SocketAddress | undefined, now: number): void {
    const isPingable = sender !== undefined && SocketAddress.isPublic(sender.host) && SocketAddress.isReachable(sender)
    this.blockedBy.set(via, { sender: isPingable ? sender : undefined, at: now })
    for (const [via, blocked] of this.blockedBy) if (!isRecent(blocked, now)) this.blockedBy.delete(via)
  }

  /**
   * Reports the end of some experiments at the same time. If enough have failed and
   * one of their strangers cannot be pinged, they alone close us: a stranger that is
   * at another port for each peer can send to us and not be pinged, as one that is
   * not named.
   */
  experimented(now: number): void {
    if (strangersOf(this.agreeing(now)) === undefined) this.close(now)
  }

  /**
   * Returns the strangers to be pinged, once enough experiments have failed and all
   * of these can be: if one responds, `controlled` closes us.
   */
  controls(now: number): ReadonlyArray<SocketAddress.SocketAddress> {
    return strangersOf(this.agreeing(now))?.slice(0, maxControls) ?? []
  }

  /** Reports that a stranger of the experiments that failed responded to a ping. */
  controlled(now: number): void {
    if (this.agreeing(now).length > 0) this.close(now)
  }

  /** The experiments that failed lately, one for each network; none if the networks are too few. */
  private agreeing(now: number): ReadonlyArray<Blocked> {
    const failed = Array.from(this.blockedBy.values()).filter((blocked) => isRecent(blocked, now))
    return failed.length < quorum ? [] : failed
  }

  private close(now: number): void {
    this.filtering = "EndpointDependent"
    this.isPresumed = false
    this.testedAt = now
    this.futile = 0
    this.blockedBy.clear()
    this.changed()
  }

  /** Whether an experiment succeeded or enough failed at this time or later. */
  isTested(since: number): boolean {
    return this.testedAt >= since
  }

  /**
   * Reports the end of the experiments that `DialBack` asked for, and whether
   * whatever reached us came from hosts that we contacted. Then no stranger may be
   * left in the network for a while, and the pauses grow faster. An address that
   * could not be tested is not presumed open any longer.
   */
  dialed(now: number, lacksStrangers: boolean): void {
    this.tried(now)
    if (lacksStrangers) this.futile += 2
    if (!this.isPresumed || this.filtering !== "EndpointIndependent") return
    this.isPresumed = false
    this.filtering = "Unknown"
    this.changed()
  }

  private tried(now: number): void {
    this.triedAt = now
    this.futile++
  }

  /** Clamps all times to `now` after the clock was set back. */
  private setBack(now: number): void {
    if (this.startedAt !== undefined) this.startedAt = Math.min(this.startedAt, now)
    this.sentAt = Math.min(this.sentAt, now)
    this.confirmedAt = Math.min(this.confirmedAt, now)
    this.askedAt = Math.min(this.askedAt, now)
    this.comparedAt = Math.min(this.comparedAt, now)
    this.triedAt = Math.min(this.triedAt, now)
    this.doubtfulAt = Math.min(this.doubtfulAt, now)
    this.testedAt = Math.min(this.testedAt, now)
  }
}

const ignore = (): void => {}

const isRecent = ({ at }: Blocked, now: number): boolean => Math.abs(now - at) <= blockedMillis

/** The strangers of experiments, one for each host; undefined if one cannot be pinged. */
const strangersOf = (failed: ReadonlyArray<Blocked>): ReadonlyArray<SocketAddress.SocketAddress> | undefined => {
  const byHost = new Map<string, SocketAddress.SocketAddress>()
  for (const { sender } of failed) {
    if (sender === undefined || (byHost.get(sender.host) ?? sender).port !== sender.port) return undefined
    byHost.set(sender.host, sender)
  }
  return Array.from(byHost.values())
}

const isIpv6 = (host: string): boolean => host.includes(":")

/** The largest group of items with the same key, if it is more than half of all. */
const majority = <A>(items: ReadonlyArray<A>, by: (item: A) => unknown): ReadonlyArray<A> | undefined =>
  Array.from(Map.groupBy(items, by).values()).find((group) => group.length * 2 > items.length)
