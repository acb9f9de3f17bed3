/**
 * The last hour of a node: its traffic as rates, its response times, and the
 * number of nodes and keys it knows, at regular times. Times are Unix
 * milliseconds.
 *
 * @since 0.1.0
 */
import { type Classes, quantile } from "../internal/quantile.ts"

/**
 * Milliseconds between two readings.
 *
 * @internal
 */
export const intervalMillis = 5000

/**
 * Milliseconds for which samples are kept.
 *
 * @internal
 */
export const keptMillis = 3_600_000

/**
 * Maximum number of samples, also if readings come too often.
 *
 * @internal
 */
export const maxSamples = keptMillis / intervalMillis

/** Milliseconds of requests that the response times are of: a few seconds have too few. */
const windowMillis = 30_000

/**
 * What the node counts since its start, and what it has now.
 *
 * @internal
 */
export interface Reading {
  readonly at: number
  /** Datagrams since the start. `refused` excludes late responses. */
  readonly received: number
  readonly sent: number
  readonly refused: number
  /** Durations in seconds of the requests that were answered since the start. */
  readonly answered: Classes
  readonly contacts: number
  /** Estimated number of nodes in the network. */
  readonly size: number
  readonly keys: number
}

/**
 * A moment of the last hour.
 *
 * @internal
 */
export interface Sample {
  readonly at: number
  /** Datagrams per second since the sample before. */
  readonly received: number
  readonly sent: number
  readonly refused: number
  /** Response times in seconds over the last half minute; undefined if no request was answered. */
  readonly p50: number | undefined
  readonly p95: number | undefined
  readonly contacts: number
  readonly size: number
  readonly keys: number
}

/** The classes of the values that came in between. */
const between = (before: Classes, now: Classes): Classes => ({
  ...now,
  counts: now.counts.map((count, i) => count - before.counts[i])
})

/**
 * @internal
 */
export class History {
  private kept: Array<Sample> = []
  /** The readings that the next sample is compared with, oldest first. */
  private recent: Array<Reading> = []

  /** The samples, oldest first. */
  get samples(): ReadonlyArray<Sample> {
    return this.kept
  }

  /**
   * Takes a reading, and returns its sample. The first reading has none, nor one
   * that is not later than the one before, after the clock was set back: samples
   * of a time that is yet to come are dropped then.
   */
  take(reading: Reading): Sample | undefined {
    const { at } = reading
    const before = this.recent.at(-1)
    if (before === undefined || before.at >= at) {
      this.kept = this.kept.filter((sample) => sample.at < at)
      this.recent = [reading]
      return undefined
    }
    const seconds = (at - before.at) / 1000
    const times = between(this.recent[0].answered, reading.answered)
    const sample: Sample = {
      at,
      received: (reading.received - before.received) / seconds,
      sent: (reading.sent - before.sent) / seconds,
      refused: (reading.refused - before.refused) / seconds,
      p50: quantile(times, 0.5),
      p95: quantile(times, 0.95),
      contacts: reading.contacts,
      size: reading.size,
      keys: reading.keys
    }
    this.recent.push(reading)
    this.recent = this.recent.filter((other) => other.at > at - windowMillis).slice(-maxRecent)
    this.kept.push(sample)
    while (this.kept.length > maxSamples || this.kept[0].at <= at - keptMillis) this.kept.shift()
    return sample
  }
}

/** Maximum number of readings kept for the response times. */
const maxRecent = windowMillis / intervalMillis
