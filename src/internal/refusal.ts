/**
 * The reasons for which a datagram is refused.
 *
 * @since 0.1.0
 */

/**
 * @internal
 */
export const refusals = [
  "late",
  "unawaited",
  "malformed",
  "unknown_type",
  "too_large",
  "unreachable",
  "bad_signature",
  "overload"
] as const

/**
 * @internal
 */
export type Refusal = typeof refusals[number]
