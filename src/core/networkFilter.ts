/**
 * The networks that a node exchanges datagrams with.
 *
 * A network is a prefix of addresses (CIDR, RFC 4632). Denied networks are
 * excluded, also as parts of an allowed one. If any network is allowed, the
 * others are excluded.
 *
 * @since 0.1.0
 */
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Hex from "../internal/hex.ts"
import * as SocketAddress from "../SocketAddress.ts"

/**
 * Networks of the nodes that datagrams are exchanged with. By default none is
 * denied; without allowed ones every other is.
 *
 * @category models
 * @since 0.1.0
 */
export interface NetworkRules {
  /** Networks outside of which every host is excluded; empty allows all. */
  readonly allowFrom?: ReadonlyArray<IpNetwork.IpNetwork> | undefined
  /** Networks whose hosts are excluded, also within allowed ones. */
  readonly denyFrom?: ReadonlyArray<IpNetwork.IpNetwork> | undefined
}

/** The first and the last address of a range, in hex digits: texts of one length, which compare like the addresses. */
interface Range {
  readonly first: string
  readonly last: string
}

const digitsOf = (address: NetAddress.IpAddress): string =>
  Hex.encode(Uint8Array.from(
    NetAddress.isIpv4Address(address) ? NetAddress.ipv4ToOctets(address) : NetAddress.ipv6ToOctets(address)
  ))

/** The ranges in order, those that overlap as one. */
const merged = (ranges: ReadonlyArray<Range>): ReadonlyArray<Range> => {
  const result: Array<Range> = []
  for (const range of ranges.toSorted((a, b) => a.first < b.first ? -1 : a.first > b.first ? 1 : 0)) {
    const before = result.at(-1)
    if (before === undefined || before.last < range.first) result.push(range)
    else if (before.last < range.last) result[result.length - 1] = { first: before.first, last: range.last }
  }
  return result
}

/** A set of addresses of both families: a test takes a binary search, however many networks there are. */
class AddressSet {
  private readonly ranges: Readonly<Record<4 | 16, ReadonlyArray<Range>>>

  constructor(networks: ReadonlyArray<IpNetwork.IpNetwork>) {
    const rangesOf = (isWanted: (network: IpNetwork.IpNetwork) => boolean) =>
      merged(
        networks.filter(isWanted).map((network) => ({
          first: digitsOf(IpNetwork.firstAddress(network)),
          last: digitsOf(IpNetwork.lastAddress(network))
        }))
      )
    this.ranges = { 4: rangesOf(IpNetwork.isIpv4Network), 16: rangesOf(IpNetwork.isIpv6Network) }
  }

  has(ip: Uint8Array): boolean {
    const ranges = this.ranges[ip.length === 4 ? 4 : 16]
    if (ranges.length === 0) return false
    const digits = Hex.encode(ip)
    let [low, high] = [0, ranges.length]
    // The last range that begins at or before the address is the one before `low`.
    while (low < high) {
      const middle = (low + high) >> 1
      if (ranges[middle].first <= digits) low = middle + 1
      else high = middle
    }
    return low > 0 && digits <= ranges[low - 1].last
  }
}

/**
 * Decides which hosts datagrams are exchanged with.
 *
 * @category models
 * @since 0.1.0
 */
export class NetworkFilter {
  private readonly allowed: AddressSet | undefined
  private readonly denied: AddressSet | undefined

  constructor({ allowFrom = [], denyFrom = [] }: NetworkRules) {
    this.allowed = allowFrom.length === 0 ? undefined : new AddressSet(allowFrom)
    this.denied = denyFrom.length === 0 ? undefined : new AddressSet(denyFrom)
  }

  /** Whether a host is not excluded. A name, on a network without IPs, is in no network. */
  admits(host: string): boolean {
    if (this.allowed === undefined && this.denied === undefined) return true
    const ip = SocketAddress.ipBytes(SocketAddress.withoutZone(host))
    if (ip === undefined) return this.allowed === undefined
    return this.denied?.has(ip) !== true && this.allowed?.has(ip) !== false
  }
}
