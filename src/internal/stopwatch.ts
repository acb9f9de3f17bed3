/**
 * Milliseconds to measure with: what a clock says of the time of day may jump.
 *
 * @since 0.1.0
 */
import type * as Clock from "effect/Clock"

/**
 * Counts from now on. A count that began with the clock would have too many
 * digits for the fractions of a number.
 *
 * @internal
 */
export const stopwatch = (clock: Clock.Clock): () => number => {
  const started = clock.monotonicTimeNanosUnsafe()
  return () => Number(clock.monotonicTimeNanosUnsafe() - started) / 1e6
}
