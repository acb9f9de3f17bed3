/**
 * Detection of nodes that surround a key closer than chance allows. An attacker
 * can generate ids until some are close to a key. In a network of known size,
 * their density gives them away (Sridhar et al., Content Censorship in the
 * InterPlanetary File System, NDSS 2024).
 *
 * @since 0.1.0
 */
import * as NodeId from "../NodeId.ts"

/** Factor by which the network may be larger than estimated. */
const slack = 4

/** Probability below which chance is ruled out. */
const threshold = 1e-6

/** Minimum number of nodes to judge. */
const minNodes = 4

/**
 * The distance of an id from the key, as a fraction of the key space.
 *
 * @internal
 */
export const distance = (key: NodeId.NodeId, id: NodeId.NodeId): number => {
  const bits = NodeId.commonPrefixLength(key, id)
  if (bits > 20) return 2 ** -bits
  return ((NodeId.prefix(key) ^ NodeId.prefix(id)) >>> 0) / 2 ** 32
}

/**
 * Whether the nodes, nearest first, are too close to the key for chance in a
 * network of about `size` nodes.
 *
 * @internal
 */
export const isSurrounded = (key: NodeId.NodeId, ids: ReadonlyArray<NodeId.NodeId>, size: number): boolean =>
  size > 0 && ids.some((id, i) => i + 1 >= minNodes && atLeast(i + 1, slack * size * distance(key, id)) < threshold)

/** The probability of `count` or more in a Poisson distribution with this mean. */
const atLeast = (count: number, mean: number): number => {
  let below = 0
  let term = Math.exp(-mean)
  for (let i = 0; i < count; i++) {
    below += term
    term *= mean / (i + 1)
  }
  return 1 - below
}

/**
 * The fraction of the key space around a key that is expected to contain `wanted`
 * nodes of a network of `size` nodes.
 *
 * @internal
 */
export const radius = (wanted: number, size: number): number => Math.min(1, wanted / size)

/** Number of equal parts of the key space, each with one sample. */
const parts = 16

/** Lifetime of a sample. Networks grow, so old samples mislead. */
const sampleMillis = 60 * 60_000

/** Minimum number of parts with a sample for an estimate. */
const minParts = 3

/**
 * An estimate of the network size from lookups. Ids are uniform, so the density
 * around the target of each lookup is a sample of the size. The estimate is the
 * median of the latest samples of the parts of the key space, so an attacker that
 * generates ids near a few points cannot change it.
 *
 * @internal
 */
export class SizeSamples {
  private readonly samples = new Map<number, { readonly size: number; readonly at: number }>()

  /** The last estimate, and from when until when it holds unless a sample is added. */
  private last: { readonly size: number | undefined; readonly from: number; readonly until: number } | undefined

  /** Adds the result of a lookup of `wanted` nodes: the closest to a target, nearest first; `at` in milliseconds. */
  add(target: NodeId.NodeId, ids: ReadonlyArray<NodeId.NodeId>, wanted: number, at: number): void {
    const farthest = ids.at(-1)
    if (farthest === undefined) return
    const size = ids.length < wanted ? ids.length : (ids.length - 1) / distance(target, farthest)
    this.samples.set(Math.floor(NodeId.prefix(target) / 2 ** 32 * parts), { size, at })
    this.last = undefined
  }

  /** Forgets all samples. */
  clear(): void {
    this.samples.clear()
    this.last = undefined
  }

  /** The estimated size; undefined without recent samples from at least three parts. */
  size(now: number): number | undefined {
    const { last } = this
    return last !== undefined && now >= last.from && now < last.until ? last.size : this.measure(now)
  }

  private measure(now: number): number | undefined {
    const sizes: Array<number> = []
    let until = Infinity
    for (const { at, size } of this.samples.values()) {
      if (now - at >= sampleMillis) continue
      sizes.push(size)
      until = Math.min(until, at + sampleMillis)
    }
    const size = sizes.length < minParts ? undefined : sizes.sort((a, b) => a - b)[sizes.length >> 1]
    this.last = { size, from: now, until }
    return size
  }
}

/**
 * Unpredictable points in different parts of the key space, one for each array of
 * 32 random bytes.
 *
 * @internal
 */
export const samplePoints = (
  target: NodeId.NodeId,
  random: ReadonlyArray<Uint8Array>
): ReadonlyArray<NodeId.NodeId> => random.map((bytes, bucket) => NodeId.inBucket(target, bucket, bytes))

/**
 * Number of points to look up to find the nodes of a region. Under load, lookups
 * find nodes farther away, and the size is underestimated: with five points, one
 * reader in ten would then find none of the nodes closest to the key.
 */
const points = 7

/**
 * Points spread over the region around the key. Each differs from the key in one
 * of the first bits in which nodes of the region do. Ids that were generated to
 * be close to the key are close to none of them.
 *
 * @internal
 */
export const pointsAround = (key: NodeId.NodeId, radius: number): ReadonlyArray<NodeId.NodeId> => {
  const depth = Math.max(0, Math.floor(-Math.log2(radius)))
  return Array.from({ length: points }, (_, i) => NodeId.flip(key, depth + i))
}
