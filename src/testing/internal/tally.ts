/**
 * Running statistics of lookups and of numbers.
 *
 * @since 0.1.0
 */
import type { Answers } from "../Measurement.ts"
import { Histogram } from "./histogram.ts"

/**
 * Statistics of lookups. `undefined` counts as a lookup that did not find its
 * record.
 *
 * @internal
 */
export class Tally {
  private readonly millis = new Histogram()
  private readonly requests = new Histogram()
  private readonly hops = new Histogram()
  asked = 0
  found = 0

  add(answer: { readonly millis: number; readonly requests: number; readonly hops: number } | undefined): void {
    this.asked++
    if (answer === undefined) return
    this.found++
    this.millis.add(answer.millis)
    this.requests.add(answer.requests)
    this.hops.add(answer.hops)
  }

  answers(): Answers {
    const { asked, found, hops, millis, requests } = this
    return {
      asked,
      found,
      p50Millis: millis.quantile(0.5),
      p95Millis: millis.quantile(0.95),
      p99Millis: millis.quantile(0.99),
      requests: requests.mean(),
      hops: hops.mean(),
      p99Hops: hops.quantile(0.99)
    }
  }

  clear(): void {
    for (const histogram of [this.millis, this.requests, this.hops]) histogram.clear()
    this.asked = 0
    this.found = 0
  }
}

/**
 * A weighted mean and the extremes; null without values.
 *
 * @internal
 */
export class Spread {
  private sum = 0
  private weight = 0
  private least = Infinity
  private most = -Infinity

  add(value: number, weight = 1): void {
    if (weight === 0) return
    this.sum += value * weight
    this.weight += weight
    this.least = Math.min(this.least, value)
    this.most = Math.max(this.most, value)
  }

  get min(): number | null {
    return this.weight === 0 ? null : this.least
  }
  get mean(): number | null {
    return this.weight === 0 ? null : this.sum / this.weight
  }
  get max(): number | null {
    return this.weight === 0 ? null : this.most
  }
}
