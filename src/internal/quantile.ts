/**
 * Quantiles of values counted in classes.
 *
 * @since 0.1.0
 */

/**
 * Counts of values by class. Class `i` has the values up to `bounds[i]`, above
 * those of the class before; the last one, which has no bound, those above all.
 *
 * @internal
 */
export interface Classes {
  readonly bounds: ReadonlyArray<number>
  readonly counts: ReadonlyArray<number>
  /** The largest value. */
  readonly max: number
}

/**
 * Returns the quantile `q`, from 0 to 1, interpolated within its class;
 * undefined without values.
 *
 * @internal
 */
export const quantile = ({ bounds, counts, max }: Classes, q: number): number | undefined => {
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total === 0) return undefined
  let left = q * total
  for (const [i, count] of counts.entries()) {
    if (count > 0 && left <= count) {
      const from = i === 0 ? 0 : bounds[i - 1]
      const to = i < bounds.length ? bounds[i] : Math.max(from, max)
      return Math.min(max, from + (to - from) * left / count)
    }
    left -= count
  }
  return max
}
