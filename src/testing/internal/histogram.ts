/**
 * A histogram of bounded size, after HdrHistogram (Tene): the width of a bucket is
 * at most 1/32 of its values. Buckets are computed with integers, so they are the
 * same on every machine.
 *
 * @since 0.1.0
 */

/** Number of steps per unit. */
const resolution = 10

/** Number of buckets between a power of two and the next. */
const steps = 32

const largest = 0x7fff_ffff

const bucketOf = (value: number): number => {
  const ticks = Math.min(largest, Math.max(0, Math.round(value * resolution)))
  if (ticks < 2 * steps) return ticks
  const shift = 26 - Math.clz32(ticks)
  return shift * steps + (ticks >>> shift)
}

/** The least value of a bucket. */
const valueOf = (bucket: number): number => {
  if (bucket < 2 * steps) return bucket / resolution
  const shift = Math.floor(bucket / steps) - 1
  return (bucket - shift * steps) * 2 ** shift / resolution
}

/**
 * A histogram of values of at least 0. Small values are rounded to tenths, large
 * ones down by at most 3 %.
 *
 * @internal
 */
export class Histogram {
  private readonly counts = new Uint32Array(bucketOf(Infinity) + 1)
  private sum = 0
  count = 0

  add(value: number): void {
    this.counts[bucketOf(value)]++
    this.count++
    this.sum += value
  }

  clear(): void {
    this.counts.fill(0)
    this.count = 0
    this.sum = 0
  }

  /** The mean; null without values. */
  mean(): number | null {
    return this.count === 0 ? null : this.sum / this.count
  }

  /** The quantile at `share` (0 to 1) of the values; null without values. */
  quantile(share: number): number | null {
    if (this.count === 0) return null
    const wanted = Math.max(1, Math.ceil(share * this.count))
    let seen = 0
    let bucket = 0
    while ((seen += this.counts[bucket]) < wanted) bucket++
    return valueOf(bucket)
  }
}
