/**
 * How many nodes the network has, estimated from the contacts in the buckets of
 * the routing table and from the results of lookups. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import type * as NodeId from "../NodeId.ts"
import { type Buckets, freshIn, never, type TableBucket } from "./buckets.ts"
import * as Density from "./density.ts"

/**
 * An estimate of the network's size.
 *
 * @category models
 * @since 0.1.0
 */
export interface NetworkSize {
  /** Number of nodes; 0 if nothing is known. */
  readonly size: number
  /** Confidence from 0 to 1. */
  readonly confidence: number
}

/** Number of deepest buckets from which the network size is estimated. */
const estimateBuckets = 5

/** Confidence below which the estimate of the network size is not used. */
const minConfidence = 0.6

/** Contacts heard from within this time count for the estimate of the network size. */
const estimateMillis = 30 * 60_000

/** Bounds the estimate from a bucket that is deeper than any real network. */
const maxEstimateExponent = 62

/**
 * @internal
 */
export class SizeEstimates {
  private readonly buckets: Buckets
  private readonly k: number
  private readonly samples = new Density.SizeSamples()

  /** `k` contacts fill a bucket. */
  constructor(buckets: Buckets, k: number) {
    this.buckets = buckets
    this.k = k
  }

  /** Estimates the size from the contacts in the deepest buckets that were heard from after `cutoff`. */
  ofContacts(cutoff: number): NetworkSize {
    const { occupied } = this.buckets
    const sizes: Array<number> = []
    for (let i = occupied.length - 1; i >= 0 && sizes.length < estimateBuckets; i--) {
      const bucket = occupied[i]
      const count = freshIn(bucket, cutoff)
      if (count > 0) sizes.push(impliedSize(bucket, count))
    }
    sizes.sort((a, b) => a - b)
    return { size: sizes[sizes.length >> 1] ?? 0, confidence: sizes.length / estimateBuckets }
  }

  /** The estimate from all verified contacts; without any, from the deepest bucket. */
  ofAllContacts(): number {
    const deepest = this.buckets.occupied.at(-1)
    return this.ofContacts(never).size || (deepest === undefined ? 0 : impliedSize(deepest, deepest.entries.length))
  }

  /** Adds the result of a lookup of `wanted` nodes: the closest to a target, nearest first. */
  sampled(target: NodeId.NodeId, ids: ReadonlyArray<NodeId.NodeId>, wanted: number, now: number): void {
    this.samples.add(target, ids, wanted, now)
  }

  /** Replaces all samples by these results of lookups. */
  resampled(
    results: ReadonlyArray<readonly [target: NodeId.NodeId, ids: ReadonlyArray<NodeId.NodeId>]>,
    wanted: number,
    now: number
  ): void {
    this.samples.clear()
    for (const [target, ids] of results) this.samples.add(target, ids, wanted, now)
  }

  /** The estimate from lookups; undefined until there were enough. */
  ofLookups(now: number): number | undefined {
    return this.samples.size(now)
  }

  /**
   * The estimate from lookups, otherwise from the contacts of the last half hour,
   * which an attacker with ids near ours can inflate; 0 without a confident
   * estimate.
   */
  plausible(now: number): number {
    const sampled = this.samples.size(now)
    if (sampled !== undefined) return sampled
    const { confidence, size } = this.ofContacts(now - estimateMillis)
    return confidence < minConfidence ? 0 : size
  }

  /** The smallest size that a bucket with room implies. New nodes in other buckets cannot inflate it. */
  least(): number {
    const sizes = this.buckets.occupied.filter(({ entries }) => entries.length < this.k)
      .map((bucket) => impliedSize(bucket, bucket.entries.length))
    return sizes.length === 0 ? 0 : Math.min(...sizes)
  }

  /** Estimated number of nodes closer to a key than we are; 0 without a confident estimate of the size. */
  closerNodes(key: NodeId.NodeId, now: number): number {
    return this.plausible(now) * Density.distance(key, this.buckets.self)
  }
}

/** The network size that `count` contacts in a bucket imply. */
const impliedSize = (bucket: TableBucket, count: number): number =>
  count * 2 ** Math.min(bucket.index + 1, maxEstimateExponent)
