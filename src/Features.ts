/**
 * What a node can do, as it says in the header of each message: 16 bits, under
 * the message's signature. The reference accepts any value and ignores it, so
 * the bits are how nodes of this library recognise each other, and nothing that
 * is not in the reference is sent to a peer that has not shown its bit.
 *
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
 * - `v0.2`: understands what version 0.2 of the protocol adds: subscriptions,
 *   pushes, and what a STORE_RESP says besides yes and no.
 * - `client`: will be gone soon. It is answered, and is no contact.
 * - `paging`: reads and answers FIND_VALUE with lists and filters, so that a
 *   reader gets all that a holder has.
 * - `sessions`: accepts a MAC in place of a signature.
 * - `dual`: can be reached over IPv4 and over IPv6.
 * - `rendezvous`: helps two nodes behind routers to meet, and meets.
 *
 * The last three are reserved.
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
  rendezvous: 1 << 5
} as const

/**
 * @category models
 * @since 0.1.0
 */
export type Bit = typeof Bit[keyof typeof Bit]

/**
 * Whether a set has a bit.
 *
 * @category predicates
 * @since 0.1.0
 */
export const has = (features: Features, bit: Bit): boolean => (features & bit) !== 0

/**
 * What a node of this version says of itself.
 *
 * @category constructors
 * @since 0.1.0
 */
export const own = (options: { readonly client: boolean }): Features =>
  Bit["v0.2"] | Bit.paging | (options.client ? Bit.client : 0)
