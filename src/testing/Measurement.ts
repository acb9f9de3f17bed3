/**
 * What is measured in a simulation, and what is expected of it.
 *
 * @since 0.1.0
 */
import type { Scenario } from "./Scenario.ts"

/**
 * Answers to questions of one kind. Milliseconds, requests and hops are of
 * those that were found. Null where there were none.
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
  /** The mean number of requests. */
  readonly requests: number | null
  /** The mean number of steps to the nearest node that had it: 0 for the asker itself, 1 for one of its contacts. */
  readonly hops: number | null
  readonly p99Hops: number | null
}

/**
 * Copies of announced records on nodes other than their publisher.
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
 * Routing tables, of some nodes that are drawn each time. Shares are 0 to 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tables {
  /** Mean contacts. */
  readonly contacts: number | null
  /** The share of contacts that are up, at the address the table says. */
  readonly live: number | null
  /** Contacts, as a share of those that would be there if every bucket were as full as it can be. */
  readonly filled: number | null
}

/**
 * What happened since the interval before.
 *
 * @category models
 * @since 0.1.0
 */
export interface Interval {
  /** Its end. */
  readonly atHours: number
  /** Whether nothing was split in it, nor in the hour before, and the run is older than ten minutes. */
  readonly calm: boolean
  /** Nodes that have joined and do not lie, at its end. */
  readonly nodes: number
  /** Lookups of announced endpoints. */
  readonly resolve: Answers
  /** Lookups of what was announced under topics. */
  readonly discover: Answers
  /** At its end, so many announced records were looked up, each from some node, and so many found. */
  readonly probes: { readonly asked: number; readonly found: number }
  /** At its end. */
  readonly copies: Copies
  /** At its end. */
  readonly tables: Tables
  readonly datagramsPerNodeHour: number
  readonly bytesPerNodeHour: number
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Totals {
  /** Of the whole run. */
  readonly resolve: Answers
  readonly discover: Answers
  readonly probes: { readonly asked: number; readonly found: number }
  /** Over all calm intervals: the smallest, the mean, the largest. */
  readonly copies: Copies
  readonly tables: Tables
  /**
   * Lookups of endpoints that found one, by hops: how many needed none, as the
   * asker had it, how many one, and so on; the last counts all that needed more.
   */
  readonly hops: ReadonlyArray<number>
  readonly datagrams: number
  readonly datagramsPerNodeHour: number
  readonly bytesPerNodeHour: number
  readonly lost: number
  /** Nodes that crashed, and for each of which another one started. */
  readonly replaced: number
  /** Attempts to join that reached nobody, and were made again. */
  readonly failedJoins: number
  /** Messages that nodes logged as warnings or worse. */
  readonly warnings: number
}

/**
 * Something that is to hold of every run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Expectation {
  readonly what: string
  /** Whether the numbers are shares, 0 to 1. */
  readonly unit: "Share" | "Number"
  /** One of the two is null. */
  readonly atLeast: number | null
  readonly atMost: number | null
  /** Null when the run had nothing to judge it by. */
  readonly measured: number | null
  /** How many a share is of; null for a number. */
  readonly of: number | null
  readonly holds: boolean
}

/**
 * What came out of a run, as plain data. All but `realSeconds` is the same in
 * every run of the scenario.
 *
 * @category models
 * @since 0.1.0
 */
export interface Measured {
  readonly scenario: Scenario
  /** Of all that happened, 16 hex digits. */
  readonly traceHash: string
  /** Virtual time until all nodes had joined. */
  readonly startSeconds: number
  readonly intervals: ReadonlyArray<Interval>
  readonly totals: Totals
  readonly expectations: ReadonlyArray<Expectation>
  /** The first warnings of nodes, at most 8. */
  readonly warnings: ReadonlyArray<string>
  /** Of the properties, at most 100; none where nobody watched. */
  readonly violations: ReadonlyArray<string>
  readonly realSeconds: number
}

/** Share of lookups in calm times that are to find what they look for. */
const expectedShare = 0.99

/**
 * After the beginning, and after a partition, so long nothing is expected.
 *
 * @internal
 */
export const settleHours = 1 / 6
const healHours = 1

/**
 * Whether the nodes had time to settle before this span of hours, and are not
 * split in it.
 *
 * @internal
 */
export const isCalm = ({ partition }: Scenario, fromHours: number, toHours: number): boolean => {
  if (fromHours < settleHours) return false
  return partition === null || toHours <= partition.atHours ||
    fromHours >= partition.atHours + partition.forHours + healHours
}

/**
 * Judges a run; `violations` is undefined where nobody watched.
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
    share("Announced endpoints that lookups find", ({ resolve }) => resolve),
    share("Offers under topics that lookups find", ({ discover }) => discover),
    share("Announced records that probes find", ({ probes }) => probes),
    atLeast("Copies of the record that has the fewest", 1, totals.copies.min),
    atMost(
      "Hops of 99 % of lookups, against log2 of the nodes",
      Math.max(2, Math.ceil(Math.log2(nodes))),
      totals.resolve.p99Hops
    ),
    atMost("Violations of what a node may never do", 0, violations?.length ?? null)
  ]
}
