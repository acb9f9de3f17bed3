/**
 * What goes on in a node, for those who watch it: events as they happen, the
 * queries that ended last, and how long requests and queries took.
 *
 * Nobody has to watch. Without a listener no event is made, and no query is
 * kept before somebody asks for that; only the counting of requests goes on,
 * which takes a few additions each.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Contact } from "./Contact.ts"
import * as Core from "./internal/nodeEvents.ts"
import type { NodeId } from "./NodeId.ts"
import type { SignedRecord } from "./Record.ts"
import { Routing } from "./Routing.ts"
import type { SocketAddress } from "./SocketAddress.ts"
import { Store } from "./Store.ts"

/**
 * One request of a query, as far as it got.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueryStep {
  readonly contact: Contact
  /** Who told of the contact; undefined for one of our own. */
  readonly learnedFrom: NodeId | undefined
  /** 0 for a contact of our own, one more than its referrer's for a learned one. */
  readonly depth: number
  /** Leading bits that the contact's id shares with the target. */
  readonly commonPrefixLength: number
  /** From the start of the query, in milliseconds. */
  readonly askedAfterMillis: number
  /** Undefined while it waits for its answer. */
  readonly tookMillis: number | undefined
  readonly outcome: "Answered" | "Failed" | "Unanswered"
  readonly holdsRecord: boolean
  /** Nodes closer to the target than itself that the contact told of. */
  readonly closerNodes: number
}

/**
 * What a query looks for: nodes, or records of a type (0 for any).
 *
 * @category models
 * @since 0.1.0
 */
export interface QueryGoal {
  readonly kind: "FindNode" | "FindValue"
  readonly target: NodeId
  /** Undefined where nodes are looked for. */
  readonly type: number | undefined
}

/**
 * How a query ended. `Done`: it looked for nodes. `GivenUp`: whoever asked did
 * not wait for the end.
 *
 * @category models
 * @since 0.1.0
 */
export type QueryOutcome = "Done" | "Found" | "NotFound" | "GivenUp"

/**
 * A query that ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueryTrace extends QueryGoal {
  /** Counts the queries of this node. */
  readonly query: number
  /** Unix milliseconds. */
  readonly startedAt: number
  readonly durationMillis: number
  readonly outcome: QueryOutcome
  /** How many valid records it found, the node's own included. */
  readonly records: number
  /** The closest live nodes, nearest first; none where it was given up. */
  readonly closest: ReadonlyArray<Contact>
  /** Whom it asked, in the order of asking. */
  readonly steps: ReadonlyArray<QueryStep>
}

/**
 * What happens to one query. A step is told when its request is sent, and
 * again when it ended.
 *
 * @category models
 * @since 0.1.0
 */
export type QueryEvent =
  | QueryGoal & { readonly _tag: "QueryStarted"; readonly at: number; readonly query: number }
  | { readonly _tag: "QueryStepped"; readonly at: number; readonly query: number; readonly step: QueryStep }
  | { readonly _tag: "QueryEnded"; readonly at: number; readonly trace: QueryTrace }

/**
 * What became of a request to take a copy of a record, or to show it: `Stored`
 * and `Kept` confirm a copy, `Lost` means that the node holds it no more,
 * `Superseded` that it holds a newer record instead, `Full` that it has no room.
 *
 * @category models
 * @since 0.1.0
 */
export type ReplicaOutcome = "Stored" | "Refused" | "Unwanted" | "Full" | "Kept" | "Lost" | "Superseded" | "Failed"

/**
 * Something that happened; `at` is in Unix milliseconds.
 *
 * - `PeerAdded`, `PeerRemoved`: a contact came into the routing table or left it.
 * - `RecordStored`, `RecordRemoved`: a record came into the store, or left it
 *   because it expired or had to make room. One that was replaced by a newer
 *   one of its slot does not count as removed.
 * - `PublicationStarted`, `PublicationRenewed`, `PublicationEnded`: the node
 *   began to look after the copies of a record of its own, or of a newer one
 *   in its place, or ceased to.
 * - `KeySurrounded`: nodes surround the key of such a record so closely that it
 *   is no chance; it is copied to the whole region around the key.
 * - `ReplicaReported`: what a node said, or failed to say, about such a copy.
 * - `AnnouncementStarted`, `AnnouncementEnded`: the node began to keep a record
 *   alive by itself, or ceased to.
 * - `IdentityConflict`: another node proved that it runs under this node's
 *   identity at the address. Told once in ten minutes for each address.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  | QueryEvent
  | {
    readonly _tag: "PeerAdded" | "PeerRemoved"
    readonly at: number
    readonly contact: Contact
    /** How many leading bits its id shares with ours. */
    readonly bucket: number
  }
  | {
    readonly _tag:
      | "RecordStored"
      | "RecordRemoved"
      | "PublicationStarted"
      | "PublicationRenewed"
      | "PublicationEnded"
      | "KeySurrounded"
      | "AnnouncementStarted"
      | "AnnouncementEnded"
    readonly at: number
    readonly key: NodeId
    readonly record: SignedRecord
  }
  | {
    readonly _tag: "ReplicaReported"
    readonly at: number
    readonly key: NodeId
    readonly record: SignedRecord
    readonly contact: Contact
    readonly outcome: ReplicaOutcome
  }
  | { readonly _tag: "IdentityConflict"; readonly at: number; readonly address: SocketAddress }

/**
 * How many queries are kept once somebody wants them kept.
 *
 * @category constants
 * @since 0.1.0
 */
export const keptQueries = 64

/**
 * How many events wait for one reader of the stream; then the oldest go.
 *
 * @category constants
 * @since 0.1.0
 */
export const waitingEvents = 256

/**
 * Tells what happens in the node.
 *
 * @category services
 * @since 0.1.0
 */
export class NodeEvents extends Context.Service<NodeEvents, {
  /** What happens from now on. Who is slow misses the oldest. */
  readonly events: Stream.Stream<Event>
  /** The same for a function, which is called at once and must not throw, until the scope closes. */
  readonly listen: (listener: (event: Event) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Keeps the queries that end from now on, the last 64 of them. */
  readonly keepQueries: Effect.Effect<void>
  /** The kept queries, the last one first. */
  readonly queries: Effect.Effect<ReadonlyArray<QueryTrace>>
  /**
   * The state itself, for code that runs once per packet.
   *
   * @internal
   */
  readonly core: Core.NodeEvents
}>()("effect-dht/NodeEvents") {}

const make = Effect.gen(function*() {
  const routing = yield* Routing
  const store = yield* Store
  const clock = yield* Clock.Clock

  const core = new Core.NodeEvents({
    keptQueries,
    now: () => clock.currentTimeMillisUnsafe(),
    // The tables tell of their changes only while somebody wants to know.
    watched: (isWatched) => {
      routing.core.watcher = isWatched
        ? {
          added: (contact, bucket) => core.tell({ _tag: "PeerAdded", at: core.now(), contact, bucket }),
          removed: (contact, bucket) => core.tell({ _tag: "PeerRemoved", at: core.now(), contact, bucket })
        }
        : undefined
      store.core.watcher = isWatched
        ? {
          added: (key, record) => core.tell({ _tag: "RecordStored", at: core.now(), key, record }),
          removed: (key, record) => core.tell({ _tag: "RecordRemoved", at: core.now(), key, record })
        }
        : undefined
    }
  })

  const listen: NodeEvents["Service"]["listen"] = (listener) =>
    Effect.acquireRelease(
      Effect.sync(() => core.add(listener)),
      () => Effect.sync(() => core.remove(listener))
    )

  const readers = new Set<Queue.Enqueue<Event, Cause.Done>>()
  yield* Effect.addFinalizer(() => Effect.sync(() => readers.forEach((reader) => Queue.endUnsafe(reader))))

  return NodeEvents.of({
    events: Stream.callback<Event>(
      (reader) =>
        Effect.andThen(
          Effect.acquireRelease(
            Effect.sync(() => readers.add(reader)),
            () => Effect.sync(() => readers.delete(reader))
          ),
          listen((event) => Queue.offerUnsafe(reader, event))
        ),
      { bufferSize: waitingEvents, strategy: "sliding" }
    ),
    listen,
    keepQueries: Effect.sync(() => core.keep()),
    queries: Effect.sync(() => core.queries),
    core
  })
})

/**
 * The events of the node whose tables these are.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<NodeEvents, never, Routing | Store> = Layer.effect(NodeEvents, make)
