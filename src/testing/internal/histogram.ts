/**
 * How values are distributed, in little memory however many there are: counts
 * in buckets that are as wide as a 32nd of their values, after HdrHistogram
 * (Tene). Only integers decide on the bucket, so that it is the same on every
 * machine.
 *
 * @since 0.1.0
 */

/** Steps that one unit is divided into. */
const resolution = 10

/** Buckets between a power of two and the next. */
const steps = 32

const largest = 0x7fff_ffff

const bucketOf = (value: number): number => {
  const ticks = Math.min(largest, Math.max(0, Math.round(value * resolution)))
  if (ticks < 2 * steps) return ticks
  const shift = 26 - Math.clz32(ticks)
  return shift * steps + (ticks >>> shift)
}

/** The least of the values of a bucket. */
const valueOf = (bucket: number): number => {
  if (bucket < 2 * steps) return bucket / resolution
  const shift = Math.floor(bucket / steps) - 1
  return (bucket - shift * steps) * 2 ** shift / resolution
}

/**
 * Of values from 0 on. Small ones are rounded to tenths, large ones down, by
 * 3 % at most.
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

  /** Null when there is nothing. */
  mean(): number | null {
    return this.count === 0 ? null : this.sum / this.count
  }

  /** The value that so large a share (0 to 1) of all is not above; null when there is nothing. */
  quantile(share: number): number | null {
    if (this.count === 0) return null
    const wanted = Math.max(1, Math.ceil(share * this.count))
    let seen = 0
    let bucket = 0
    while ((seen += this.counts[bucket]) < wanted) bucket++
    return valueOf(bucket)
  }
}
