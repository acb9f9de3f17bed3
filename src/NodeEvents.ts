/**
 * Activity of a node, for observers: events as they happen, the most recent
 * queries, and how long requests and queries took.
 *
 * Observing is optional. Without a listener no event is created, and queries
 * are kept only on request. Requests are always counted, which costs a few
 * additions each.
 *
 * @module
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
 * One request of a query and its current state.
 *
 * @category models
 * @since 0.1.0
 */
export interface QueryStep {
  readonly contact: Contact
  /** The node that reported the contact; undefined for one of our own. */
  readonly learnedFrom: NodeId | undefined
  /** 0 for a contact of our own; for a learned one, one more than its referrer's. */
  readonly depth: number
  /** Leading bits that the contact's id shares with the target. */
  readonly commonPrefixLength: number
  /** Milliseconds from the start of the query. */
  readonly askedAfterMillis: number
  /** Undefined while the request is in flight. */
  readonly tookMillis: number | undefined
  readonly outcome: "Answered" | "Failed" | "Unanswered"
  readonly holdsRecord: boolean
  /** Number of nodes closer to the target than itself that the contact reported. */
  readonly closerNodes: number
}

/**
 * Target of a query: nodes, or records of a type (0 for any).
 *
 * @category models
 * @since 0.1.0
 */
export interface QueryGoal {
  readonly kind: "FindNode" | "FindValue"
  readonly target: NodeId
  /** Undefined for a query for nodes. */
  readonly type: number | undefined
}

/**
 * How a query ended. `Done`: a lookup of nodes has finished. `GivenUp`: the
 * caller did not wait for the end.
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
  /** Number of this query, counted from the start of the node. */
  readonly query: number
  /** Unix milliseconds. */
  readonly startedAt: number
  readonly durationMillis: number
  readonly outcome: QueryOutcome
  /** Number of valid records found, including the node's own. */
  readonly records: number
  /** The closest live nodes, nearest first; empty if the query was given up. */
  readonly closest: ReadonlyArray<Contact>
  /** The contacts it sent requests to, in order. */
  readonly steps: ReadonlyArray<QueryStep>
}

/**
 * Progress of one query. A step is reported when its request is sent, and again
 * when the request ends.
 *
 * @category models
 * @since 0.1.0
 */
export type QueryEvent =
  | QueryGoal & { readonly _tag: "QueryStarted"; readonly at: number; readonly query: number }
  | { readonly _tag: "QueryStepped"; readonly at: number; readonly query: number; readonly step: QueryStep }
  | { readonly _tag: "QueryEnded"; readonly at: number; readonly trace: QueryTrace }

/**
 * Outcome of a request to store or to show a copy of a record: `Stored` and
 * `Kept` confirm a copy, `Lost` means that the node no longer holds it,
 * `Superseded` that it holds a newer record instead, `Full` that it has no
 * room.
 *
 * @category models
 * @since 0.1.0
 */
export type ReplicaOutcome = "Stored" | "Refused" | "Unwanted" | "Full" | "Kept" | "Lost" | "Superseded" | "Failed"

/**
 * Something that happened. `at` is in Unix milliseconds.
 *
 * - `PeerAdded`, `PeerRemoved`: a contact entered or left the routing table.
 * - `RecordStored`, `RecordRemoved`: a record entered the store, or left it
 *   because it expired or was evicted. A record that a newer one of its slot
 *   replaced does not count as removed.
 * - `PublicationStarted`, `PublicationRenewed`, `PublicationEnded`: the node
 *   began to maintain the copies of a record of its own, or of a newer one in
 *   its place, or ceased to.
 * - `KeySurrounded`: nodes surround the key of such a record more closely than
 *   chance allows; it is copied to the whole region around the key.
 * - `ReplicaReported`: outcome of a request to a node about such a copy.
 * - `AnnouncementStarted`, `AnnouncementEnded`: the node began or ceased to
 *   renew a record by itself.
 * - `IdentityConflict`: another node proved that it runs under this node's
 *   identity at the address. Reported once in ten minutes for each address.
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
    /** Number of leading bits that its id shares with ours. */
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
 * Maximum number of queries kept.
 *
 * @category constants
 * @since 0.1.0
 */
export const keptQueries = 64

/**
 * Maximum number of events buffered for one reader of the stream; the oldest
 * are dropped.
 *
 * @category constants
 * @since 0.1.0
 */
export const waitingEvents = 256

/**
 * Reports what happens in the node.
 *
 * @category services
 * @since 0.1.0
 */
export class NodeEvents extends Context.Service<NodeEvents, {
  /** Streams the events from now on. A slow reader misses the oldest. */
  readonly events: Stream.Stream<Event>
  /** Calls a function with each event, synchronously, until the scope closes. It must not throw. */
  readonly listen: (listener: (event: Event) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Keeps the queries that end from now on: the latest 64. */
  readonly keepQueries: Effect.Effect<void>
  /** The kept queries, the latest first. */
  readonly queries: Effect.Effect<ReadonlyArray<QueryTrace>>
  /**
   * The synchronous state, for code that runs once per packet.
   *
   * @internal
   */
  readonly core: Core.NodeEvents
}>()("effect-dht/NodeEvents") {}

const make = Effect.gen(function*() {
  const routing = yield* Routing
  const store = yield* Store
  const clock = yield* Clock.Clock

  let unwatch = () => {}
  const core = new Core.NodeEvents({
    keptQueries,
    now: () => clock.currentTimeMillisUnsafe(),
    // The tables report their changes only while there is a listener.
    watched: (isWatched) => {
      routing.core.watcher = isWatched
        ? {
          added: (contact, bucket) => core.tell({ _tag: "PeerAdded", at: core.now(), contact, bucket }),
          removed: (contact, bucket) => core.tell({ _tag: "PeerRemoved", at: core.now(), contact, bucket })
        }
        : undefined
      if (isWatched) {
        unwatch = store.watchUnsafe({
          added: (key, record) => core.tell({ _tag: "RecordStored", at: core.now(), key, record }),
          removed: (key, record) => core.tell({ _tag: "RecordRemoved", at: core.now(), key, record })
        })
      } else unwatch()
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
 * Events of the node with these tables.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<NodeEvents, never, Routing | Store> = Layer.effect(NodeEvents, make)
