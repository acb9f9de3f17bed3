/**
 * Surrounded keys: whether nodes were made to be close to a key, and the region
 * that belongs to it then. See `Query.Neighbourhood`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import type { Contact } from "../Contact.ts"
import * as Density from "../core/density.ts"
import * as NodeId from "../NodeId.ts"
import { Routing } from "../Routing.ts"

/** Lookups that measure the size of the network where a key seems to be surrounded. */
const samples = 4

/** Honest nodes to be expected in the region around a surrounded key. */
const regionNodes = 24

/** Maximum number of nodes of a region to ask besides the closest. */
const maxRegion = 48

/**
 * Returns functions that judge what a lookup found closest to a target. They
 * look further with `findNode`.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(
  findNode: (target: NodeId.NodeId) => Effect.Effect<ReadonlyArray<Contact>>
) {
  const routing = yield* Routing
  const clock = yield* Clock.Clock
  const random = yield* SecureRandom.SecureRandom

  const now = () => clock.currentTimeMillisUnsafe()

  /** Whether these nodes, nearest first, are closer to the target than chance allows, by the size last estimated. */
  const isDense = (
    target: NodeId.NodeId,
    ids: ReadonlyArray<NodeId.NodeId>,
    size = routing.plausibleSizeUnsafe(now())
  ) => Density.isSurrounded(target, ids, size)

  /** Measures the size of the network afresh, by lookups of unpredictable points, at most twice a minute. */
  const measure = yield* Effect.cachedWithTTL(
    Effect.gen(function*() {
      const bytes = yield* Effect.all(Array.from({ length: samples + 1 }, () => random.randomBytes(NodeId.length)))
      const [anywhere, ...others] = bytes
      const points = Density.samplePoints(NodeId.fromBytesUnsafe(anywhere), others)
      const lookups = yield* Effect.forEach(
        points,
        (point) => Effect.map(findNode(point), (closest) => [point, closest] as const),
        { concurrency: "unbounded" }
      )
      routing.measuredUnsafe(lookups, now())
    }),
    "30 seconds"
  )

  /**
   * Whether nodes surround the target. If they seem to, the size is measured and
   * they are judged again: with an estimate from before the network grew, every
   * key would look surrounded.
   */
  const isSurrounded = Effect.fnUntraced(function*(target: NodeId.NodeId, closest: ReadonlyArray<Contact>) {
    const ids = closest.map(({ id }) => id)
    if (!isDense(target, ids, routing.robustSizeUnsafe(now()))) return false
    yield* measure
    return isDense(target, ids)
  })

  /** Live nodes around a surrounded target, nearest first, without those given. */
  const region = Effect.fnUntraced(function*(target: NodeId.NodeId, closest: ReadonlyArray<Contact>) {
    const radius = Density.radius(regionNodes, routing.plausibleSizeUnsafe(now()))
    const lookups = yield* Effect.forEach(Density.pointsAround(target, radius), findNode, { concurrency: "unbounded" })
    const known = new Set(closest.map(({ id }) => id))
    const found = new Map(lookups.flat().map((contact) => [contact.id, contact]))
    return Array.from(found.values())
      .filter(({ id }) => !known.has(id) && Density.distance(target, id) <= radius)
      .sort((a, b) => NodeId.compareDistance(target, a.id, b.id))
      .slice(0, maxRegion)
  })

  return { isDense, isSurrounded, region }
})
