/**
 * A histogram for quantiles, of bounded size. As in HdrHistogram (Tene), the width
 * of a bucket is at most 1/32 of its values.
 *
 * @since 0.1.0
 */
import * as Metric from "effect/Metric"

/** Number of steps per unit. */
const resolution = 10

/** Number of buckets between a power of two and the next. */
const steps = 32

/** Number of powers of two above those whose steps are single. */
const powers = 25

/** The bounds of the buckets are integers before the division: the same on every machine. */
const metric = Metric.histogram("values", {
  boundaries: [
    ...Array.from({ length: 2 * steps }, (_, i) => i),
    ...Array.from({ length: powers * steps }, (_, i) => (steps + i % steps) * 2 ** (1 + Math.floor(i / steps)))
  ].map((bound) => bound / resolution)
})

/**
 * A histogram of values of at least 0. Quantiles are rounded up: small ones to
 * tenths, large ones by at most 3 %.
 *
 * @internal
 */
export class Histogram {
  private registry = Metric.MetricRegistry.context(new Map())

  add(value: number): void {
    metric.updateUnsafe(value, this.registry)
  }

  clear(): void {
    this.registry = Metric.MetricRegistry.context(new Map())
  }

  get count(): number {
    return metric.valueUnsafe(this.registry).count
  }

  /** The mean; null without values. */
  mean(): number | null {
    const { count, sum } = metric.valueUnsafe(this.registry)
    return count === 0 ? null : sum / count
  }

  /** The quantile at `share` (0 to 1) of the values; null without values. */
  quantile(share: number): number | null {
    const { buckets, count, max } = metric.valueUnsafe(this.registry)
    if (count === 0) return null
    const wanted = Math.max(1, Math.ceil(share * count))
    return buckets.find(([, upTo]) => upTo >= wanted)?.[0] ?? max
  }
}
