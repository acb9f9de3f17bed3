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
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Contact } from "./Contact.ts"
import * as OngoingQuery from "./core/ongoingQuery.ts"
import type { QueryEvent, QueryGoal, QueryTrace } from "./core/ongoingQuery.ts"
import type { NodeId } from "./NodeId.ts"
import type { SignedRecord } from "./Record.ts"
import type { SocketAddress } from "./SocketAddress.ts"

export type { QueryStep } from "./core/lookup.ts"
export type { QueryEvent, QueryGoal, QueryOutcome, QueryTrace } from "./core/ongoingQuery.ts"

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
 * A detailed event for the log alone: these are too frequent for listeners.
 *
 * @category models
 * @since 0.1.0
 */
export type Detail =
  | { readonly _tag: "RequestSent"; readonly peer: Peer; readonly request: string; readonly attempt: number }
  | {
    readonly _tag: "RequestAnswered"
    readonly peer: Peer
    readonly request: string
    readonly contact: Contact
    readonly rttMillis: number
    /** Whether the request had failed before. */
    readonly isLate: boolean
  }
  | { readonly _tag: "RequestFailed"; readonly peer: Peer; readonly request: string; readonly reason: string }
  | { readonly _tag: "RequestReceived"; readonly contact: Contact; readonly request: string }
  | {
    readonly _tag: "RecordRefused"
    readonly key: NodeId | undefined
    readonly record: SignedRecord
    readonly contact: Contact
    readonly reason: string
  }
  | {
    readonly _tag: "DatagramRefused"
    readonly from: SocketAddress
    readonly bytes: number
    readonly reason: string
    /** What is malformed, for a malformed datagram. */
    readonly fault: string | undefined
  }

/**
 * A queried peer; without an id where only the address is known.
 *
 * @category models
 * @since 0.1.0
 */
export type Peer = SocketAddress & { readonly id?: NodeId | undefined }

/**
 * The requests that expect a response.
 *
 * @internal
 */
export const requests = ["Ping", "FindNode", "FindValue", "Store", "Push", "Attend", "Meet"] as const

/** Values counted so far. */
interface Distribution {
  readonly read: () => Metric.HistogramState
}

/**
 * The durations of one kind of request, in seconds.
 *
 * @internal
 */
export interface RequestTimes {
  readonly answered: Distribution
  readonly failed: Distribution
}

/**
 * The durations of one kind of query, in seconds, and the number of requests it made.
 *
 * @internal
 */
export interface QueryTimes {
  readonly duration: Distribution
  readonly requests: Distribution
}

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

/** Bounds of request durations in seconds: from a round trip within one machine to the longest deadline. */
const requestBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Bounds of query durations, in seconds. */
const queryBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Bounds of the number of requests of a query. */
const requestCountBounds = [0, 1, 2, 4, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128]

/**
 * Reports what happens in the node. The other services report to it; it uses
 * none of them.
 *
 * @category services
 * @since 0.1.0
 */
export class NodeEvents extends Context.Service<NodeEvents, {
  /** Streams the events from now on. A slow reader misses the oldest. */
  readonly events: Stream.Stream<Event>
  /** Calls a function with each event, synchronously, until the scope closes. It must not throw. */
  readonly listen: (listener: (event: Event) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Calls a function with each detail, in the place of the previous one, until the scope closes. It must not throw. */
  readonly explain: (log: (detail: Detail) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Keeps the queries that end from now on: the latest 64. */
  readonly keepQueries: Effect.Effect<void>
  /** The kept queries, the latest first. */
  readonly queries: Effect.Effect<ReadonlyArray<QueryTrace>>
  /** Whether there is a listener at this moment. Without one an event is not worth constructing. */
  readonly hasListeners: boolean
  /** Passes an event to every listener. */
  readonly tellUnsafe: (event: Event) => void
  /** Passes a detail to the log; undefined while details are not logged. */
  readonly explainUnsafe: ((detail: Detail) => void) | undefined
  /** Counts a request of ours that was answered, or failed, `millis` milliseconds after its first attempt. */
  readonly requestEndedUnsafe: (request: typeof requests[number], isAnswered: boolean, millis: number) => void
  /**
   * Starts a query. Its events go to `watch` and to the listeners; `startedAt`
   * is on the clock of its steps.
   *
   * @internal
   */
  readonly queryUnsafe: (
    goal: QueryGoal,
    startedAt: number,
    watch: ((event: QueryEvent) => void) | undefined
  ) => OngoingQuery.OngoingQuery
  /**
   * Durations of our requests, from the first attempt to the response or the failure.
   *
   * @internal
   */
  readonly requestTimes: Readonly<Record<typeof requests[number], RequestTimes>>
  /**
   * Durations and sizes of our queries.
   *
   * @internal
   */
  readonly queryTimes: Readonly<Record<QueryGoal["kind"], QueryTimes>>
}>()("effect-dht/NodeEvents") {}

const ofRequest = (request: string) => ({
  answered: Metric.histogram(`${request} answered`, { boundaries: requestBounds }),
  failed: Metric.histogram(`${request} failed`, { boundaries: requestBounds })
})

const ofQuery = (kind: string) => ({
  duration: Metric.histogram(`${kind} duration`, { boundaries: queryBounds }),
  requests: Metric.histogram(`${kind} requests`, { boundaries: requestCountBounds })
})

/** All nodes share the histograms; each has values of its own. */
const requestHistograms = {
  Ping: ofRequest("Ping"),
  FindNode: ofRequest("FindNode"),
  FindValue: ofRequest("FindValue"),
  Store: ofRequest("Store"),
  Push: ofRequest("Push"),
  Attend: ofRequest("Attend"),
  Meet: ofRequest("Meet")
}
const queryHistograms = { FindNode: ofQuery("FindNode"), FindValue: ofQuery("FindValue") }

/** The values of a histogram in one node. */
class Values implements Distribution {
  private readonly metric: Metric.Histogram<number>
  private readonly series: Context.Context<never>

  constructor(metric: Metric.Histogram<number>, series: Context.Context<never>) {
    this.metric = metric
    this.series = series
  }

  add(value: number): void {
    this.metric.updateUnsafe(value, this.series)
  }

  read(): Metric.HistogramState {
    const state = this.metric.valueUnsafe(this.series)
    // Without values, Effect has the largest number as the least value.
    return state.count === 0 ? { ...state, min: 0, max: 0 } : state
  }
}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  // Apart from the context, whose registry the nodes of one process may share.
  const series = Metric.MetricRegistry.context(new Map())
  const timesOfRequest = (request: typeof requests[number]) => ({
    answered: new Values(requestHistograms[request].answered, series),
    failed: new Values(requestHistograms[request].failed, series)
  })
  const timesOfQuery = (kind: QueryGoal["kind"]) => ({
    duration: new Values(queryHistograms[kind].duration, series),
    requests: new Values(queryHistograms[kind].requests, series)
  })
  const timesOfRequests = {
    Ping: timesOfRequest("Ping"),
    FindNode: timesOfRequest("FindNode"),
    FindValue: timesOfRequest("FindValue"),
    Store: timesOfRequest("Store"),
    Push: timesOfRequest("Push"),
    Attend: timesOfRequest("Attend"),
    Meet: timesOfRequest("Meet")
  }
  const timesOfQueries = { FindNode: timesOfQuery("FindNode"), FindValue: timesOfQuery("FindValue") }
  const listeners = new Set<(event: Event) => void>()
  const kept: Array<QueryTrace> = []
  let isKeeping = false
  let started = 0
  let log: ((detail: Detail) => void) | undefined = undefined

  const tellUnsafe = (event: Event): void => {
    for (const listener of listeners) listener(event)
  }

  const listen: NodeEvents["Service"]["listen"] = (listener) =>
    Effect.acquireRelease(
      Effect.sync(() => listeners.add(listener)),
      () => Effect.sync(() => listeners.delete(listener))
    )

  const explain: NodeEvents["Service"]["explain"] = (next) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        log = next
      }),
      () =>
        Effect.sync(() => {
          if (log === next) log = undefined
        })
    )

  const sink: OngoingQuery.Sink = {
    now: () => clock.currentTimeMillisUnsafe(),
    hasListeners: () => listeners.size > 0,
    tell: tellUnsafe,
    ended: ({ kind }, durationMillis, requests, trace) => {
      const times = timesOfQueries[kind]
      times.duration.add(durationMillis / 1000)
      times.requests.add(requests)
      if (!isKeeping) return
      kept.push(trace())
      if (kept.length > keptQueries) kept.shift()
    }
  }

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
    explain,
    keepQueries: Effect.sync(() => {
      isKeeping = true
    }),
    queries: Effect.sync(() => kept.toReversed()),
    get hasListeners() {
      return listeners.size > 0
    },
    tellUnsafe,
    get explainUnsafe() {
      return log
    },
    requestEndedUnsafe: (request, isAnswered, millis) => {
      const { answered, failed } = timesOfRequests[request]
      const times = isAnswered ? answered : failed
      times.add(millis / 1000)
    },
    queryUnsafe: (goal, startedAt, watch) => new OngoingQuery.OngoingQuery(sink, goal, ++started, startedAt, watch),
    requestTimes: timesOfRequests,
    queryTimes: timesOfQueries
  })
})

/**
 * The events of one node.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<NodeEvents> = Layer.effect(NodeEvents, make)
