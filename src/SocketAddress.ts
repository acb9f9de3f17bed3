/**
 * Socket addresses: where a datagram goes, an IP address and a UDP port.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"

/**
 * An IP address and a port. `host` is in canonical text, with an IPv4-mapped
 * IPv6 address written as plain IPv4. On a network without IPs (in memory)
 * `host` is the peer's name and `port` is 0.
 *
 * @category models
 * @since 0.1.0
 */
export interface SocketAddress {
  readonly host: string
  readonly port: number
}

/**
 * The text is not a host and port.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidSocketAddress extends Data.TaggedError("InvalidSocketAddress")<{
  readonly text: string
  readonly reason: string
}> {
  override get message() {
    return `"${this.text}" is not a socket address: ${this.reason}`
  }
}

/**
 * Reads the IP address in `bytes[start, start + length)`; undefined unless
 * `length` is 4 or 16.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromWire = (
  bytes: Uint8Array,
  start: number,
  length: number,
  port: number
): SocketAddress | undefined => {
  if (length === 4) return { host: ipv4Text(bytes, start), port }
  if (length !== 16) return undefined
  return isMapped(bytes, start)
    ? { host: ipv4Text(bytes, start + 12), port }
    : { host: ipv6Text(bytes.subarray(start, start + 16)), port }
}

/**
 * Reads an IP address with a port: `192.0.2.1:4121`, `[2001:db8::1]:4121`.
 * Names are refused; resolve them first, see {@link splitHostPort}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromString = (text: string): Result.Result<SocketAddress, InvalidSocketAddress> =>
  Result.flatMap(splitHostPort(text), ({ host, port }) => {
    const address = fromIp(host, port)
    return address
      ? Result.succeed(address)
      : invalid(text, `"${host}" is not an IP address; resolve a name to one first`)
  })

/**
 * Reads an IP address without brackets; undefined for anything else.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromIp = (ip: string, port: number): SocketAddress | undefined => {
  const bytes = ipBytes(ip)
  return bytes && fromWire(bytes, 0, bytes.length, port)
}

/**
 * Returns why an IPv6 address with a zone id (`fe80::1%eth0`, RFC 4007) is
 * refused, with or without brackets and port; undefined for any other text.
 *
 * @category conversions
 * @since 0.1.0
 */
export const zoneReason = (text: string): string | undefined => {
  const [, address, zone] = /^\[?([^%\]]*)%([^\]:]*)/.exec(text) ?? []
  return address !== undefined && ipv6Bytes(address) !== undefined
    ? `zone ids are not supported, such as "%${zone}" here; write an address that needs none`
    : undefined
}

/**
 * Splits `host:port`, where the host is an IPv4 address, an IPv6 address in
 * brackets or a name, returned as written. Ports are 0 to 65535. Surrounding
 * white space is ignored.
 *
 * @category conversions
 * @since 0.1.0
 */
export const splitHostPort = (
  text: string
): Result.Result<{ readonly host: string; readonly port: number }, InvalidSocketAddress> => {
  const trimmed = text.trim()
  const zone = zoneReason(trimmed)
  if (zone !== undefined) return invalid(text, zone)
  const colon = trimmed.lastIndexOf(":")
  if (colon < 0) return invalid(text, "the port is missing, write host:port")
  const before = trimmed.slice(0, colon)
  const bracketed = before.startsWith("[") && before.endsWith("]")
  const host = bracketed ? before.slice(1, -1) : before
  if (bracketed ? ipv6Bytes(host) === undefined : !/^[^\s:/[\]]+$/.test(host)) {
    return invalid(text, "write a name or an IPv4 address as host:port, an IPv6 address as [address]:port")
  }
  const digits = trimmed.slice(colon + 1)
  const port = /^\d{1,5}$/.test(digits) ? Number(digits) : Infinity
  return port <= 65535
    ? Result.succeed({ host, port })
    : invalid(text, `"${digits}" is not a port: write a number of at most 65535`)
}

/**
 * Returns the text for people: `192.0.2.1:4121`, `[2001:db8::1]:4121`, or the
 * bare name of a peer on a network without IPs.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (address: SocketAddress): string =>
  address.host.includes(":")
    ? `[${address.host}]:${address.port}`
    : address.port === 0 && ipBytes(address.host) === undefined
    ? address.host
    : key(address)

/**
 * Returns a `Map` key, equal for equal socket addresses.
 *
 * @category conversions
 * @since 0.1.0
 */
export const key = (address: SocketAddress): string => `${address.host}:${address.port}`

/**
 * Whether two socket addresses are the same.
 *
 * @category guards
 * @since 0.1.0
 */
export const isSame = (a: SocketAddress, b: SocketAddress): boolean => a.host === b.host && a.port === b.port

/**
 * Returns the 4 or 16 bytes of an IP address, of an IPv4-mapped one 4;
 * undefined for a name. An IPv6 address with a zone counts as a name, because
 * it is meaningful on one machine only.
 *
 * @category conversions
 * @since 0.1.0
 */
export const ipBytes = (host: string): Uint8Array | undefined => {
  if (!host.includes(":")) return ipv4Bytes(host)
  const bytes = ipv6Bytes(host)
  return bytes !== undefined && isMapped(bytes, 0) ? bytes.subarray(12) : bytes
}

/**
 * Encodes the address at which a peer was seen: IP and port, 6 or 18 bytes. A
 * host without an IP is written as 127.0.0.1:0. Throws a `RangeError` for a
 * port that does not fit 16 bits.
 *
 * @category conversions
 * @since 0.1.0
 */
export const encodeObserved = (address: SocketAddress): Uint8Array => {
  const ip = ipBytes(address.host)
  if (ip === undefined) return Uint8Array.of(127, 0, 0, 1, 0, 0)
  if (!isPort(address.port)) throw new RangeError(`${address.port} is not a port from 0 to 65535`)
  const bytes = new Uint8Array(ip.length + 2)
  bytes.set(ip)
  bytes[ip.length] = address.port >> 8
  bytes[ip.length + 1] = address.port
  return bytes
}

/**
 * Decodes the result of {@link encodeObserved}; undefined unless it is 6 or 18
 * bytes.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decodeObserved = (bytes: Uint8Array): SocketAddress | undefined => {
  const length = bytes.length - 2
  return fromWire(bytes, 0, length, bytes[length] << 8 | bytes[length + 1])
}

/**
 * Whether a host is reachable from the Internet by its address: an IP outside
 * the unspecified, loopback, private (RFC 1918, RFC 4193), shared (RFC 6598),
 * link-local and multicast ranges. A name is not.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isPublic = (host: string): boolean => {
  const ipv4 = ipv4Number(host)
  if (ipv4 >= 0) return isPublicIpv4(ipv4)
  const ip = ipBytes(host)
  return ip !== undefined && isPublicIp(ip)
}

/**
 * The scope in which an address is meaningful, from the narrowest: `host`, an
 * IPv6 address with a zone, which is meaningful on one machine only and cannot
 * be written into a message; then one machine, one link, one site, the
 * Internet.
 *
 * @category models
 * @since 0.1.0
 */
export const Scope = { host: 0, loopback: 1, linkLocal: 2, private: 3, global: 4 } as const

/**
 * @category models
 * @since 0.1.0
 */
export type Scope = typeof Scope[keyof typeof Scope]

/**
 * Returns the scope of a host. A name, on a network without IPs, counts as
 * global.
 *
 * @category accessors
 * @since 0.1.0
 */
export const scope = (host: string): Scope => {
  const ipv4 = ipv4Number(host)
  if (ipv4 >= 0) return ipv4Scope(ipv4)
  const ip = ipBytes(host)
  if (ip === undefined) return withoutZone(host) === host ? Scope.global : Scope.host
  if (ip.length === 4) return ipv4Scope(numberOf(ip))
  const [a, b] = ip
  return ip[15] === 1 && ip.every((byte, i) => i === 15 || byte === 0)
    ? Scope.loopback
    : a === 0xfe && b >> 6 === 2
    ? Scope.linkLocal
    // Site-local addresses (RFC 3879) are the predecessors of private ones.
    : isPublicIp(ip) && !(a === 0xfe && b >> 6 === 3)
    ? Scope.global
    : Scope.private
}

/**
 * The family of an IP address.
 *
 * @category models
 * @since 0.1.0
 */
export type Family = "ipv4" | "ipv6"

/**
 * Returns the family of a host. A name, on a network without IPs, counts as IPv4.
 *
 * @category accessors
 * @since 0.1.0
 */
export const family = (host: string): Family => host.includes(":") ? "ipv6" : "ipv4"

/**
 * Whether a host is an IPv4 address, not one that is mapped to IPv6.
 *
 * @category guards
 * @since 0.1.0
 */
export const isIpv4 = (host: string): boolean => ipv4Number(host) >= 0

/**
 * Whether a datagram can be sent to an address and reach one node: it has a
 * port, and an IP in canonical text that is not unspecified, multicast,
 * broadcast or reserved. A name, on a network without IPs, is reachable.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isReachable = (address: SocketAddress): boolean => {
  const { host, port } = address
  const ipv4 = ipv4Number(host)
  if (ipv4 >= 0) return port !== 0 && isPort(port) && ipv4 >= 0x0100_0000 && ipv4 < 0xe000_0000
  const ip = ipBytes(withoutZone(host))
  if (ip === undefined) return true
  // IPv4 sockets neither receive from nor send to an IPv4-mapped address.
  return port !== 0 && isPort(port) && ip.length !== 4 && ip[0] !== 0xff && ip.some((byte) => byte !== 0)
}

/**
 * Whether an address is reachable, and means the same to a node at `other`.
 * Addresses of a narrower scope than the one shared with a peer are not
 * accepted from that peer, nor sent to it.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isReachableFrom = (address: SocketAddress, other: SocketAddress): boolean =>
  isReachable(address) && scope(address.host) >= scope(other.host)

/**
 * Returns the network of a host: the /24 of an IPv4 address, the /48 of an IPv6
 * address. A host that is not an IP is a network of its own.
 *
 * @category conversions
 * @since 0.1.0
 */
export const network = (host: string): string => {
  if (ipv4Number(host) >= 0) return `${host.slice(0, host.lastIndexOf("."))}.0/24`
  const ip = ipBytes(host)
  return ip === undefined
    ? host
    : ip.length === 4
    ? `${ipv4Text(ip.fill(0, 3), 0)}/24`
    : `${ipv6Text(ip.fill(0, 6))}/48`
}

/**
 * Whether a number is a port: a 16-bit integer.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isPort = (port: number): boolean => Number.isInteger(port) && port >= 0 && port <= 0xffff

/**
 * Returns a host without its zone id: `fe80::1` for `fe80::1%eth0` (RFC 4007).
 *
 * @category conversions
 * @since 0.1.0
 */
export const withoutZone = (host: string): string => {
  const at = host.indexOf("%")
  return at < 0 || !host.includes(":") ? host : host.slice(0, at)
}

/**
 * Returns the {@link network} of a public host, usually run by one operator.
 * Undefined for all other hosts, whose networks say nothing about the operator.
 *
 * @category conversions
 * @since 0.1.0
 */
export const subnet = (host: string): string | undefined => isPublic(host) ? network(host) : undefined

/**
 * Returns what a host counts for where there is a limit per source: itself, or its
 * {@link subnet} if it is a public IPv6 address, because the owner of one has many.
 *
 * @category conversions
 * @since 0.1.0
 */
export const source = (host: string): string => family(host) === "ipv6" ? subnet(host) ?? host : host

const invalid = (text: string, reason: string): Result.Result<never, InvalidSocketAddress> =>
  Result.fail(new InvalidSocketAddress({ text, reason }))

const ipv4Text = (bytes: Uint8Array, at: number): string =>
  `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`

const ipv6Text = (bytes: Uint8Array): string => NetAddress.formatIp(NetAddress.ipv6FromBytesUnsafe(bytes))

const isMapped = (bytes: Uint8Array, at: number): boolean => {
  for (let i = 0; i < 10; i++) if (bytes[at + i] !== 0) return false
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff
}

const DOT = 46

/**
 * The number of an IPv4 address: four decimal numbers without leading zeros; −1
 * for any other text. Every host that is received or sent passes here, so nothing is
 * allocated.
 */
const ipv4Number = (host: string): number => {
  let number = 0
  let octets = 0
  let octet = -1
  for (let i = 0; i <= host.length; i++) {
    const code = i < host.length ? host.charCodeAt(i) : DOT
    if (code === DOT) {
      if (octet < 0 || octets === 4) return -1
      number = number * 256 + octet
      octets++
      octet = -1
    } else {
      const digit = code - 48
      if (digit < 0 || digit > 9 || octet === 0) return -1
      octet = octet < 0 ? digit : octet * 10 + digit
      if (octet > 255) return -1
    }
  }
  return octets === 4 ? number : -1
}

const ipv4Bytes = (host: string): Uint8Array | undefined => {
  const number = ipv4Number(host)
  return number < 0 ? undefined : Uint8Array.of(number >>> 24, number >>> 16, number >>> 8, number)
}

const numberOf = (ip: Uint8Array): number => (ip[0] << 24 | ip[1] << 16 | ip[2] << 8 | ip[3]) >>> 0

const ipv6Bytes = (host: string): Uint8Array | undefined => {
  const parsed = NetAddress.ipv6FromString(host)
  return Result.isSuccess(parsed) ? Uint8Array.from(NetAddress.ipv6ToOctets(parsed.success)) : undefined
}

const ipv4Scope = (ipv4: number): Scope => {
  const start = ipv4 >>> 16
  return start >>> 8 === 127
    ? Scope.loopback
    : start === 0xa9fe
    ? Scope.linkLocal
    : isPublicIpv4(ipv4)
    ? Scope.global
    : Scope.private
}

const isPublicIpv4 = (ipv4: number): boolean => {
  const a = ipv4 >>> 24
  const b = ipv4 >>> 16 & 0xff
  return ipv4 !== 0 &&
    a !== 127 &&
    a !== 10 &&
    !(a === 172 && b >> 4 === 1) &&
    !(a === 192 && b === 168) &&
    !(a === 169 && b === 254) &&
    !(a === 100 && b >> 6 === 1) &&
    a >> 4 !== 0xe
}

const isPublicIp = (ip: Uint8Array): boolean => {
  if (ip.length === 4) return isPublicIpv4(numberOf(ip))
  const [a, b] = ip
  // The unspecified and the loopback address differ in the last byte only.
  return ip.some((byte, i) => i < 15 ? byte !== 0 : byte > 1) &&
    a >> 1 !== 0x7e &&
    !(a === 0xfe && b >> 6 === 2) &&
    a !== 0xff
}
