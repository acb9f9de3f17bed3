/**
 * A vote among peers on our own public address. Ids cost nothing and addresses
 * little, so each subnet has one vote, and a majority must agree. Times are Unix
 * milliseconds.
 *
 * @since 0.1.0
 */
import type { NodeId } from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"
import type { Report } from "./reachability.ts"

/**
 * How a router in front of this node maps its port, in the terms of RFC 5780:
 * `consistent` if all peers see the same external port (endpoint-independent
 * mapping, or no router that maps), `symmetric` if it depends on the peer
 * (address-dependent mapping, or address and port-dependent mapping).
 *
 * @category models
 * @since 0.1.0
 */
export type Mapping = "consistent" | "symmetric" | "unknown"

interface Vote {
  readonly reporter: Reporter
  readonly voter: string
  readonly observed: SocketAddress.SocketAddress
  /** When it got its position in the order of age. */
  readonly placedAt: number
  at: number
}

/** A peer, and the host at which we reach it. */
interface Reporter {
  readonly id: NodeId
  readonly host: string
}

/** Lifetime of a vote. */
const windowMillis = 30 * 60_000

/**
 * A repeated vote within this time keeps its position in the order of age. Most
 * responses repeat the vote before, and reordering for each would be costly.
 */
const repeatMillis = 60_000

const isIpv6 = (host: string): boolean => host.includes(":")

/**
 * @internal
 */
export class AddressVotes {
  /** The oldest first. */
  private readonly byVoter = new Map<string, Vote>()
  private readonly byReporter = new Map<NodeId, Vote>()
  /** The address in the latest vote. */
  private latest: SocketAddress.SocketAddress | undefined
  private readonly quorum: number
  private readonly capacity: number
  private readonly privateNetwork: boolean

  constructor(options?: {
    /** Least number of voters that must agree. Default 3. */
    readonly quorum?: number | undefined
    /** Most voters remembered; the one with the oldest vote is forgotten first. Default 128. */
    readonly capacity?: number | undefined
    /** Whether hosts that are not public vote as well, each on its own. Default false. */
    readonly privateNetwork?: boolean | undefined
  }) {
    this.quorum = options?.quorum ?? 3
    this.capacity = options?.capacity ?? 128
    this.privateNetwork = options?.privateNetwork ?? false
  }

  /** Number of voters remembered. */
  get size(): number {
    return this.byVoter.size
  }

  /**
   * Records the address at which a reporter observed us. It replaces earlier
   * votes of the reporter and of its subnet.
   */
  vote(reporter: Reporter, observed: SocketAddress.SocketAddress, now: number): void {
    const earlier = this.byReporter.get(reporter.id)
    if (
      earlier !== undefined && now >= earlier.at && now - earlier.placedAt < repeatMillis &&
      earlier.reporter.host === reporter.host && SocketAddress.isSame(earlier.observed, observed)
    ) {
      earlier.at = now
      return
    }
    const voter = SocketAddress.subnet(reporter.host) ?? (this.privateNetwork ? reporter.host : undefined)
    if (voter === undefined || !this.isPlausible(reporter, observed)) return
    this.forget(earlier)
    this.forget(this.byVoter.get(voter))
    if (this.byVoter.size >= this.capacity) this.forget(this.byVoter.values().next().value)
    // Most votes are the same, and then one address is kept for them.
    if (this.latest === undefined || !SocketAddress.isSame(this.latest, observed)) this.latest = observed
    const vote: Vote = { reporter, voter, observed: this.latest, placedAt: now, at: now }
    this.byVoter.set(voter, vote)
    this.byReporter.set(reporter.id, vote)
  }

  /** The votes cast at `since` or later, one for each subnet. */
  reports(since: number): ReadonlyArray<Report> {
    return Array.from(this.byVoter.values()).filter(({ at }) => at >= since)
  }

  /** Our public IP address once a quorum agrees; the IPv4 one where there are both. */
  publicHost(now: number): string | undefined {
    const host = this.supporters(now)?.[0].observed.host
    return host !== undefined && SocketAddress.isPublic(host) ? host : undefined
  }

  /** Our address including the port, if a quorum agrees on both. */
  address(now: number): SocketAddress.SocketAddress | undefined {
    const supporters = this.supporters(now)
    const samePort = supporters && majority(supporters, ({ observed }) => observed.port)
    return samePort !== undefined && samePort.length >= this.quorum ? samePort[0].observed : undefined
  }

  /** The kind of NAT mapping; "unknown" until a quorum agrees on the host and enough voters reported a port. */
  mapping(now: number): Mapping {
    const supporters = this.supporters(now)
    if (supporters === undefined) return "unknown"
    if (majority(supporters, ({ observed }) => observed.port) === undefined) return "symmetric"
    return this.address(now) === undefined ? "unknown" : "consistent"
  }

  /** Whether datagrams can come from the observed address: it is reachable and of the reporter's IP version. */
  private isPlausible(reporter: Reporter, observed: SocketAddress.SocketAddress): boolean {
    return SocketAddress.isReachable(observed) &&
      isIpv6(observed.host) === isIpv6(reporter.host) &&
      (this.privateNetwork || SocketAddress.isPublic(observed.host))
  }

  private forget(vote: Vote | undefined): void {
    if (vote === undefined) return
    this.byVoter.delete(vote.voter)
    this.byReporter.delete(vote.reporter.id)
  }

  /** The votes for the host that a quorum agrees on, IPv4 first. The two IP versions vote separately. */
  private supporters(now: number): ReadonlyArray<Vote> | undefined {
    const votes = Array.from(this.byVoter.values()).filter((vote) => now - vote.at < windowMillis)
    for (const ipv6 of [false, true]) {
      const supporters = majority(
        votes.filter(({ observed }) => isIpv6(observed.host) === ipv6),
        ({ observed }) => observed.host
      )
      if (supporters !== undefined && supporters.length >= this.quorum) return supporters
    }
    return undefined
  }
}

/** The group of items with the same key that is more than half of all; undefined without one. */
const majority = <A>(items: ReadonlyArray<A>, by: (item: A) => unknown): ReadonlyArray<A> | undefined =>
  Array.from(Map.groupBy(items, by).values()).find((group) => group.length * 2 > items.length)
