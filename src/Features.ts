/**
 * Feature bits: 16 bits in the header of each message, under its signature,
 * that say what its sender can do. The reference accepts any value and ignores
 * it. Nodes of this library recognise each other by the bits, and send
 * extensions to the reference's protocol only to a peer that has shown the bit.
 *
 * @module
 * @since 0.1.0
 */

/**
 * A set of bits, 0 to 65535. Unknown bits are ignored.
 *
 * @category models
 * @since 0.1.0
 */
export type Features = number

/**
 * The bits:
 *
 * - `v0.2`: understands version 0.2 of the protocol: subscriptions, pushes, and
 *   the reasons in a STORE_RESP.
 * - `client`: leaves soon, or gets no requests of strangers through its router.
 *   Peers answer it and keep it out of their tables.
 * - `paging`: reads and answers FIND_VALUE with lists and filters, so that a
 *   reader gets every record of a holder.
 * - `sessions`: accepts a MAC in place of a signature.
 * - `dual`: is reachable over IPv4 and over IPv6, as far as it can tell.
 * - `rendezvous`: helps two nodes behind routers to meet, and meets others so.
 * - `dialBack`: has another peer send the echo of a NAT probe, and sends echoes
 *   for others.
 * - `families`: says in a lookup whether it sends over both families, and reads
 *   which of the nodes in a response are reachable over both.
 *
 * @category constants
 * @since 0.1.0
 */
export const Bit = {
  "v0.2": 1 << 0,
  client: 1 << 1,
  paging: 1 << 2,
  sessions: 1 << 3,
  dual: 1 << 4,
  rendezvous: 1 << 5,
  dialBack: 1 << 6,
  families: 1 << 7
} as const

/**
 * @category models
 * @since 0.1.0
 */
export type Bit = typeof Bit[keyof typeof Bit]

/**
 * Whether a set contains a bit.
 *
 * @category predicates
 * @since 0.1.0
 */
export const has = (features: Features, bit: Bit): boolean => (features & bit) !== 0

/**
 * The features that a node of this version announces.
 *
 * @category constructors
 * @since 0.1.0
 */
export const own = (options: {
  readonly client: boolean
  readonly sessions: boolean
  /** Default false. */
  readonly dual?: boolean | undefined
}): Features =>
  Bit["v0.2"] | Bit.paging | Bit.dialBack | Bit.rendezvous | Bit.families | (options.client ? Bit.client : 0) |
  (options.sessions ? Bit.sessions : 0) | (options.dual === true ? Bit.dual : 0)
