/**
 * Where a datagram goes: an IP address and a UDP port.
 *
 * @since 0.1.0
 */

/**
 * `host` is an IP address in its canonical text, an IPv4-mapped IPv6 address
 * as plain IPv4. On a network without IPs (in memory) it is the peer's name
 * and `port` is 0.
 *
 * @category models
 * @since 0.1.0
 */
export interface SocketAddress {
  readonly host: string
  readonly port: number
}
