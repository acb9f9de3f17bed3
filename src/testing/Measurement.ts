/**
 * The measurements of a simulation and the expectations on them.
 *
 * @module
 * @since 0.1.0
 */
import type { Scenario } from "./Scenario.ts"

/**
 * Results of lookups of one kind. Durations, requests and hops are over the
 * successful ones; null without any.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answers {
  readonly asked: number
  readonly found: number
  readonly p50Millis: number | null
  readonly p95Millis: number | null
  readonly p99Millis: number | null
  /** Mean number of requests. */
  readonly requests: number | null
  /** Mean number of hops to the nearest holder: 0 for the requester itself, 1 for one of its contacts. */
  readonly hops: number | null
  readonly p99Hops: number | null
}

/**
 * Number of copies of each announced record on nodes other than its publisher.
 *
 * @category models
 * @since 0.1.0
 */
export interface Copies {
  readonly min: number | null
  readonly mean: number | null
  readonly max: number | null
}

/**
 * Statistics of the routing tables of a sample of nodes. Fractions are from 0 to 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tables {
  /** Mean number of contacts. */
  readonly contacts: number | null
  /** Fraction of contacts that are up at the address in the table. */
  readonly live: number | null
  /** Number of contacts as a fraction of the most that the buckets could hold in this network. */
  readonly filled: number | null
}

/**
 * The measurements of one interval.
 *
 * @category models
 * @since 0.1.0
 */
export interface Interval {
  /** The end of the interval. */
  readonly atHours: number
  /** Whether it starts at least ten minutes after the start and is not within a partition or the hour after it. */
  readonly calm: boolean
  /** Number of honest nodes that have joined, at its end. */
  readonly nodes: number
  /** Number of nodes that crashed during it and were replaced. */
  readonly replaced: number
  /** Lookups of announced endpoints. */
  readonly resolve: Answers
  /** Lookups of offers for topics. */
  readonly discover: Answers
  /** Probes at its end: lookups of a sample of announced records, each from a random node. */
  readonly probes: { readonly asked: number; readonly found: number }
  /** Copies at its end. */
  readonly copies: Copies
  /** Routing tables at its end. */
  readonly tables: Tables
  readonly datagramsPerNodeHour: number
  readonly bytesPerNodeHour: number
}

/**
 * The measurements of the whole run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Totals {
  readonly resolve: Answers
  readonly discover: Answers
  readonly probes: { readonly asked: number; readonly found: number }
  /** Copies over all calm intervals. */
  readonly copies: Copies
  readonly tables: Tables
  /**
   * Number of successful lookups of endpoints by hops: index 0 counts those whose
   * requester held the record; the last counts all with more hops.
   */
  readonly hops: ReadonlyArray<number>
  readonly datagrams: number
  readonly datagramsPerNodeHour: number
  readonly bytesPerNodeHour: number
  readonly lost: number
  /** Number of nodes that crashed and were replaced. */
  readonly replaced: number
  /** Number of attempts to join that reached no node and were retried. */
  readonly failedJoins: number
  /** Number of messages that nodes logged at level Warn or above. */
  readonly warnings: number
}

/**
 * An expectation on every run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Expectation {
  readonly what: string
  /** `Share`: the values are fractions from 0 to 1. */
  readonly unit: "Share" | "Number"
  /** One of `atLeast` and `atMost` is null. */
  readonly atLeast: number | null
  readonly atMost: number | null
  /** Null if the run had no sample. */
  readonly measured: number | null
  /** Size of the sample of a fraction; null for a number. */
  readonly of: number | null
  readonly holds: boolean
}

/**
 * The result of a run as plain data. All but `realSeconds` is the same in every
 * run of the scenario.
 *
 * @category models
 * @since 0.1.0
 */
export interface Measured {
  readonly scenario: Scenario
  /** Hash of the trace, 16 hex digits. */
  readonly traceHash: string
  /** Virtual time until all nodes had joined. */
  readonly startSeconds: number
  readonly intervals: ReadonlyArray<Interval>
  readonly totals: Totals
  readonly expectations: ReadonlyArray<Expectation>
  /** The first warnings that nodes logged, at most 8. */
  readonly warnings: ReadonlyArray<string>
  /** Violations of safety properties, at most 100; empty for a run that is not watched. */
  readonly violations: ReadonlyArray<string>
  readonly realSeconds: number
}

/** Least success rate of lookups in calm times. */
const expectedShare = 0.99

/**
 * Hours after the start and after a partition without expectations.
 *
 * @internal
 */
export const settleHours = 1 / 6
const healHours = 1

/**
 * Whether the network had time to settle before this span of hours and is not
 * partitioned in it.
 *
 * @internal
 */
export const isCalm = ({ partition }: Scenario, fromHours: number, toHours: number): boolean => {
  if (fromHours < settleHours) return false
  return partition === null || toHours <= partition.atHours ||
    fromHours >= partition.atHours + partition.forHours + healHours
}

/**
 * Evaluates the expectations on a run; `violations` is undefined for a run that is
 * not watched.
 *
 * @internal
 */
export const expectationsOf = (
  { nodes }: Scenario,
  intervals: ReadonlyArray<Interval>,
  totals: Totals,
  violations: ReadonlyArray<string> | undefined
): ReadonlyArray<Expectation> => {
  const calm = intervals.filter((interval) => interval.calm)
  const share = (
    what: string,
    counts: (interval: Interval) => { readonly asked: number; readonly found: number }
  ): Expectation => {
    const [asked, found] = calm.reduce(
      ([asked, found], interval) => [asked + counts(interval).asked, found + counts(interval).found],
      [0, 0]
    )
    const judged = atLeast(`${what} in calm times`, expectedShare, asked === 0 ? null : found / asked)
    return { ...judged, unit: "Share", of: asked === 0 ? null : asked }
  }
  const atLeast = (what: string, bound: number, measured: number | null): Expectation => ({
    what,
    unit: "Number",
    atLeast: bound,
    atMost: null,
    measured,
    of: null,
    holds: measured === null || measured >= bound
  })
  const atMost = (what: string, bound: number, measured: number | null): Expectation => ({
    what,
    unit: "Number",
    atLeast: null,
    atMost: bound,
    measured,
    of: null,
    holds: measured === null || measured <= bound
  })
  return [
    share("Announced endpoints found by lookups", ({ resolve }) => resolve),
    share("Offers for topics found by lookups", ({ discover }) => discover),
    share("Announced records found by probes", ({ probes }) => probes),
    atLeast("Fewest copies of any record", 1, totals.copies.min),
    atMost(
      "99th percentile of hops, against log2 of the nodes",
      Math.max(2, Math.ceil(Math.log2(nodes))),
      totals.resolve.p99Hops
    ),
    atMost("Violations of safety properties", 0, violations?.length ?? null)
  ]
}
