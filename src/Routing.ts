/**
 * The routing table of Kademlia (Maymounkov and Mazières, 2002): 256 buckets of
 * contacts, by the number of leading bits that their ids share with ours.
 *
 * The node fills the table from the messages it receives. A contact that
 * answers cannot be displaced by newcomers, and reports by others never change
 * where its datagrams go.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { Contact } from "./Contact.ts"
import * as Core from "./core/routingTable.ts"
import { NodeIdentity } from "./Identity.ts"
import type { NodeId } from "./NodeId.ts"

/**
 * An entry of the table.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  /** Number of leading bits that its id shares with ours, 0 to 255. */
  readonly bucket: number
  readonly contact: Contact
  /** When it last sent a message itself, in Unix milliseconds; undefined for an unverified contact. */
  readonly verifiedAt: number | undefined
  /** When it entered the table, in Unix milliseconds. */
  readonly addedAt: number
  /** The node that reported it; undefined if it contacted us first. */
  readonly learnedFrom: NodeId | undefined
}

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

/**
 * Bounds of the table.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface Options {
  /** Contacts per bucket: Kademlia's K, by default 16. */
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
  /** Number of contacts in the table. */
  readonly size: Effect.Effect<number>
  /** Returns the contact with this id. */
  readonly get: (id: NodeId) => Effect.Effect<Option.Option<Contact>>
  /** Returns the `n` known contacts closest to `target`, nearest first, including unverified ones. */
  readonly nearest: (target: NodeId, n: number) => Effect.Effect<ReadonlyArray<Contact>>
  /**
   * Returns the `n` closest verified contacts: first those heard from within
   * `window`, nearest first, then the others likewise.
   */
  readonly nearestVerified: (
    target: NodeId,
    n: number,
    window: Duration.Input
  ) => Effect.Effect<ReadonlyArray<Contact>>
  /** The whole table by bucket, each bucket with the least recently seen contact first. */
  readonly entries: Effect.Effect<ReadonlyArray<Entry>>
  /** Number of contacts heard from directly within `window`. */
  readonly countVerified: (window: Duration.Input) => Effect.Effect<number>
  /**
   * Estimates the size of the network from the density of the deepest buckets,
   * by their contacts heard from within `window`.
   */
  readonly networkSize: (window: Duration.Input) => Effect.Effect<NetworkSize>
  /**
   * Whether this node may be among the 16 closest to a key, by the estimated
   * size of the network. There is a wide margin of error, and the result is
   * true if the estimate is poor.
   */
  readonly isNearUnsafe: (key: NodeId) => boolean
  /**
   * Estimates the size as `networkSize` does, from all contacts ever heard
   * from, or from unverified ones if there are no others.
   */
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
 * An empty table for the node `self`.
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
 * An empty table for the node's own identity.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Routing, never, NodeIdentity> =>
  Layer.effect(Routing, NodeIdentity.use((identity) => make(identity.nodeId, options)))
