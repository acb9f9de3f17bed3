/**
 * The seqs of an agent's records. The clock makes them grow over a restart
 * without state; the last one makes them grow where the clock was set back.
 *
 * @since 0.1.0
 */

const maxSeq = 0xffff_ffff_ffff_ffffn

/** Nanoseconds by which the clock may have been ahead when the last seq was signed: a day. */
const maxAhead = 86_400_000_000_000n

/**
 * The seq after the last one that was signed, at a time in Unix nanoseconds. A
 * seq signed while the clock was far ahead is not continued.
 *
 * @internal
 */
export const after = (last: bigint, nanos: bigint): bigint =>
  nanos > last || last - nanos > maxAhead ? nanos : last + 1n

/**
 * The seq itself, or one above that of a record that is held already.
 *
 * @internal
 */
export const over = (seq: bigint, held: bigint): bigint => held < seq ? seq : held < maxSeq ? held + 1n : maxSeq

/**
 * Whether a record that was stale would be newer with a larger seq than the one
 * that is held.
 *
 * @internal
 */
export const helps = (stale: { readonly seq: bigint; readonly heldSeq: bigint }): boolean =>
  stale.heldSeq >= stale.seq && stale.seq < maxSeq
