/**
 * The reasons for which a datagram is refused.
 *
 * @since 0.1.0
 */

/**
 * Why a datagram was refused:
 *
 * - `late`: a response to a request that has ended. Requests are often
 *   repeated, or cancelled when other peers respond first, so a healthy node
 *   sees some. Those to requests that failed up to ten seconds before count.
 * - `unawaited`: a response to no request of ours, or from another peer
 * - `malformed`: not a message of the protocol
 * - `unknown_type`: a message of an unknown type
 * - `too_large`: more than {@link Message.maxDatagram} bytes
 * - `unreachable`: from an address that cannot be answered
 * - `bad_signature`: not signed by its sender
 * - `bad_mac`: its MAC is wrong, or there is no key to check it. A peer whose
 *   session this node has forgotten, as after a restart, sends some.
 * - `denied`: from a network that the node excludes
 * - `overload`: more datagrams at a time than the node accepts or checks
 *
 * @category constants
 * @since 0.1.0
 */
export const refusals = [
  "late",
  "unawaited",
  "malformed",
  "unknown_type",
  "too_large",
  "unreachable",
  "bad_signature",
  "bad_mac",
  "denied",
  "overload"
] as const

/**
 * One of {@link refusals}.
 *
 * @category models
 * @since 0.1.0
 */
export type Refusal = typeof refusals[number]
