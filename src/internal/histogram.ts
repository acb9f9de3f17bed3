/**
 * A histogram with fixed buckets, cheap enough to record every request.
 *
 * @since 0.1.0
 */

/**
 * The contents of a histogram, in the terms of Prometheus and OpenTelemetry.
 *
 * @internal
 */
export interface Counted {
  /** For each bound, the number of values of at most that (cumulative). */
  readonly buckets: ReadonlyArray<[bound: number, count: number]>
  /** Number of values, those above the last bound included. */
  readonly count: number
  /** 0 without values, as are `max` and `sum`. */
  readonly min: number
  readonly max: number
  readonly sum: number
}

/**
 * @internal
 */
export class Histogram {
  private readonly bounds: ReadonlyArray<number>
  private readonly counts: Array<number>
  private min = Infinity
  private max = -Infinity
  private sum = 0

  /** Creates an empty histogram. `bounds` ascend; each is the inclusive upper bound of a bucket. */
  constructor(bounds: ReadonlyArray<number>) {
    this.bounds = bounds
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  add(value: number): void {
    const { bounds } = this
    let at = 0
    while (at < bounds.length && value > bounds[at]) at++
    this.counts[at]++
    this.sum += value
    if (value < this.min) this.min = value
    if (value > this.max) this.max = value
  }

  read(): Counted {
    let below = 0
    const buckets = this.bounds.map((bound, i): [number, number] => [bound, below += this.counts[i]])
    const count = below + this.counts[this.bounds.length]
    return count === 0
      ? { buckets, count, min: 0, max: 0, sum: 0 }
      : { buckets, count, min: this.min, max: this.max, sum: this.sum }
  }
}
