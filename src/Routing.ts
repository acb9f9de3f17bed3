/**
 * Whom this node knows: the routing table of Kademlia (Maymounkov and
 * Mazières, 2002), 256 buckets of contacts by how long a prefix of their id
 * they share with ours.
 *
 * The node fills it by itself from what it hears. A peer that answers keeps its
 * place against any number of newcomers, and what others say about a known
 * peer never changes where its datagrams go.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Contact } from "./Contact.ts"
import { NodeIdentity } from "./Identity.ts"
import * as Core from "./internal/routingTable.ts"
import type { NodeId } from "./NodeId.ts"

/**
 * One line of the table.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  /** How many leading bits its id shares with ours, 0 to 255. */
  readonly bucket: number
  readonly contact: Contact
  /** When it last sent or answered something itself, in Unix milliseconds; undefined for an unverified one. */
  readonly verifiedAt: number | undefined
  /** When it came into the table, in Unix milliseconds. */
  readonly addedAt: number
  /** Who told us of it; undefined if it came by itself. */
  readonly learnedFrom: NodeId | undefined
}

/**
 * How large the network seems to be.
 *
 * @category models
 * @since 0.1.0
 */
export interface NetworkSize {
  /** Nodes, 0 if nothing is known. */
  readonly size: number
  /** 0 to 1. */
  readonly confidence: number
}

/**
 * How much the table holds.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface Options {
  /** Contacts in a bucket: Kademlia's K, by default 16. */
  readonly k?: number | undefined
  /** Contacts that wait for a place in a full bucket, by default 5. */
  readonly pendingCapacity?: number | undefined
}

/**
 * The contacts of this node.
 *
 * @example
 * ```ts
 * import { NodeId, Routing } from "effect-dht"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const routing = yield* Routing.Routing
 *   const { confidence, size } = yield* routing.networkSize("30 minutes")
 *   yield* Effect.log(`About ${size} nodes (confidence ${confidence})`)
 *   return yield* routing.nearest(NodeId.fromTopic("weather"), 16)
 * })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Routing extends Context.Service<Routing, {
  /** How many contacts the table holds. */
  readonly size: Effect.Effect<number>
  /** The contact with this id. */
  readonly get: (id: NodeId) => Effect.Effect<Option.Option<Contact>>
  /** The `n` known contacts closest to `target`, the closest first; unverified contacts included. */
  readonly nearest: (target: NodeId, n: number) => Effect.Effect<ReadonlyArray<Contact>>
  /**
   * The `n` closest contacts that were heard from directly: first those heard
   * from within `window`, the closest first, then the others in the same way.
   */
  readonly nearestVerified: (
    target: NodeId,
    n: number,
    window: Duration.Input
  ) => Effect.Effect<ReadonlyArray<Contact>>
  /** The whole table by bucket, in each the least recently seen first. */
  readonly entries: Effect.Effect<ReadonlyArray<Entry>>
  /** How many contacts were heard from directly within `window`. */
  readonly countVerified: (window: Duration.Input) => Effect.Effect<number>
  /**
   * Judges the size of the network by how densely the deepest buckets are
   * filled with contacts heard from within `window`.
   */
  readonly networkSize: (window: Duration.Input) => Effect.Effect<NetworkSize>
  /**
   * Whether this node may be among the 16 closest to a key, by the size of the
   * network; with much room for error, and where the size is not known well,
   * always.
   */
  readonly isNearUnsafe: (key: NodeId) => boolean
  /** The same as `networkSize` with all contacts that were ever heard from; unverified ones count only where there are no others. */
  readonly networkSizeUnfiltered: Effect.Effect<number>
  /**
   * The table itself, for code that runs once per packet.
   *
   * @internal
   */
  readonly core: Core.RoutingTable
}>()("effect-dht/Routing") {}

/** Three times Kademlia's K: tables differ, and the estimate is off by half at times. */
const nearRanks = 48

/**
 * An empty table as the node `self` sees the network.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (self: NodeId, options?: Options): Effect.Effect<Routing["Service"]> =>
  Clock.clockWith((clock) => {
    const core = new Core.RoutingTable({ ...options, self })
    const before = (window: Duration.Input) =>
      Effect.map(Clock.currentTimeMillis, (now) => now - Duration.toMillis(window))
    return Effect.succeed(Routing.of({
      size: Effect.sync(() => core.size),
      get: (id) => Effect.sync(() => Option.fromUndefinedOr(core.get(id))),
      nearest: (target, n) => Effect.sync(() => core.nearest(target, n)),
      nearestVerified: (target, n, window) =>
        Effect.map(before(window), (cutoff) => core.nearestVerified(target, n, cutoff)),
      entries: Effect.sync(() => core.entries()),
      countVerified: (window) => Effect.map(before(window), (cutoff) => core.countVerified(cutoff)),
      networkSize: (window) => Effect.map(before(window), (cutoff) => core.estimate(cutoff)),
      isNearUnsafe: (key) => core.closerNodes(key, clock.currentTimeMillisUnsafe()) < nearRanks,
      networkSizeUnfiltered: Effect.sync(() => core.estimateAll()),
      core
    }))
  })

/**
 * An empty table of the node whose identity this is.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Routing, never, NodeIdentity> =>
  Layer.effect(Routing, NodeIdentity.use((identity) => make(identity.nodeId, options)))
