/**
 * What peers say of our own address, made into an opinion. Ids cost nothing
 * and addresses little, so it is the networks they come from that vote: one
 * voice each, and more than half must agree. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import type { NodeId } from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"

/**
 * How a NAT maps our socket, in the terms of RFC 5780: "consistent" where all
 * peers see the same port (endpoint-independent mapping, or no NAT at all),
 * "symmetric" where it depends on the peer (address-dependent mapping, or
 * address and port-dependent mapping).
 *
 * @internal
 */
export type Mapping = "consistent" | "symmetric" | "unknown"

interface Vote {
  readonly reporter: NodeId
  readonly host: string
  readonly voter: string
  readonly observed: SocketAddress.SocketAddress
  /** When it got its place in the order of age. */
  readonly placedAt: number
  at: number
}

/** What an answer says holds for so long. */
const windowMillis = 30 * 60_000

/** Who says the same again so soon keeps its place in the order of age: most answers repeat the one before. */
const repeatMillis = 60_000

const isIpv6 = (host: string): boolean => host.includes(":")

/**
 * @internal
 */
export class AddressVotes {
  /** The oldest first. */
  private readonly byVoter = new Map<string, Vote>()
  private readonly byReporter = new Map<NodeId, Vote>()
  private readonly quorum: number
  private readonly capacity: number
  private readonly privateNetwork: boolean

  constructor(options?: {
    /** How many voters have to agree at least, 3. */
    readonly quorum?: number | undefined
    /** How many voters are remembered; who spoke the longest ago is forgotten first, 128. */
    readonly capacity?: number | undefined
    /** Whether hosts that are not public count as well, each for itself, false. */
    readonly privateNetwork?: boolean | undefined
  }) {
    this.quorum = options?.quorum ?? 3
    this.capacity = options?.capacity ?? 128
    this.privateNetwork = options?.privateNetwork ?? false
  }

  /** Voters remembered. */
  get size(): number {
    return this.byVoter.size
  }

  /**
   * A reporter, at the address where we reach it, says how it sees us. The
   * last word counts: of each reporter, and of each network.
   */
  vote(
    reporter: { readonly id: NodeId; readonly host: string },
    observed: SocketAddress.SocketAddress,
    now: number
  ): void {
    const earlier = this.byReporter.get(reporter.id)
    if (
      earlier !== undefined && now >= earlier.at && now - earlier.placedAt < repeatMillis &&
      earlier.host === reporter.host && earlier.observed.host === observed.host &&
      earlier.observed.port === observed.port
    ) {
      earlier.at = now
      return
    }
    const voter = SocketAddress.subnet(reporter.host) ?? (this.privateNetwork ? reporter.host : undefined)
    if (voter === undefined || !this.isPlausible(reporter, observed)) return
    this.forget(earlier)
    this.forget(this.byVoter.get(voter))
    if (this.byVoter.size >= this.capacity) this.forget(this.byVoter.values().next().value)
    const vote: Vote = { reporter: reporter.id, host: reporter.host, voter, observed, placedAt: now, at: now }
    this.byVoter.set(voter, vote)
    this.byReporter.set(reporter.id, vote)
  }

  /** Our own IP address as the Internet sees it, once that is agreed on. With IPv4 and IPv6, the IPv4 one. */
  publicHost(now: number): string | undefined {
    const host = this.supporters(now)?.[0].observed.host
    return host !== undefined && SocketAddress.isPublic(host) ? host : undefined
  }

  /** The address everybody sees us at, port included. */
  address(now: number): SocketAddress.SocketAddress | undefined {
    const supporters = this.supporters(now)
    const samePort = supporters && majority(supporters, ({ observed }) => observed.port)
    return samePort !== undefined && samePort.length >= this.quorum ? samePort[0].observed : undefined
  }

  /** "unknown" until a host is agreed on, and while too few have spoken to tell. */
  mapping(now: number): Mapping {
    const supporters = this.supporters(now)
    if (supporters === undefined) return "unknown"
    if (majority(supporters, ({ observed }) => observed.port) === undefined) return "symmetric"
    return this.address(now) === undefined ? "unknown" : "consistent"
  }

  /** Nobody sends from where no answer can go, and a datagram over IPv4 has no IPv6 sender. */
  private isPlausible(reporter: { readonly host: string }, observed: SocketAddress.SocketAddress): boolean {
    return SocketAddress.isReachable(observed) &&
      isIpv6(observed.host) === isIpv6(reporter.host) &&
      (this.privateNetwork || SocketAddress.isPublic(observed.host))
  }

  private forget(vote: Vote | undefined): void {
    if (vote === undefined) return
    this.byVoter.delete(vote.voter)
    this.byReporter.delete(vote.reporter)
  }

  /** The votes for the host that is agreed on; there are two such hosts on two kinds of Internet. */
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

/** The items that more than half of all agree with, if there are such. */
const majority = <A>(items: ReadonlyArray<A>, by: (item: A) => unknown): ReadonlyArray<A> | undefined =>
  Array.from(Map.groupBy(items, by).values()).find((group) => group.length * 2 > items.length)
