/**
 * The event listeners of a node, its history of queries, and its histograms.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import type { Lookup, Step } from "../core/lookup.ts"
import type { Event, QueryEvent, QueryGoal, QueryOutcome, QueryStep, QueryTrace } from "../NodeEvents.ts"
import type { NodeId } from "../NodeId.ts"
import type { SignedRecord } from "../Record.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import { Histogram } from "./histogram.ts"

/**
 * The requests that expect a response.
 *
 * @internal
 */
export const requests = ["Ping", "FindNode", "FindValue", "Store", "Push"] as const

/** Bounds of request durations in seconds: from a round trip within one machine to the longest deadline. */
const requestBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Bounds of query durations, in seconds. */
const queryBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Bounds of the number of requests of a query. */
const requestCountBounds = [0, 1, 2, 4, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128]

/**
 * The durations of one kind of request, in seconds.
 *
 * @internal
 */
export interface RequestTimes {
  readonly answered: Histogram
  readonly failed: Histogram
}

/**
 * The durations of one kind of query, in seconds, and the number of requests it made.
 *
 * @internal
 */
export interface QueryTimes {
  readonly duration: Histogram
  readonly requests: Histogram
}

const requestTimes = (): RequestTimes => ({
  answered: new Histogram(requestBounds),
  failed: new Histogram(requestBounds)
})

const queryTimes = (): QueryTimes => ({
  duration: new Histogram(queryBounds),
  requests: new Histogram(requestCountBounds)
})

/** The queried peer; without an id where only the address is known. */
type Peer = SocketAddress & { readonly id?: NodeId | undefined }

/**
 * A detailed event for the log alone: these are too frequent for listeners.
 *
 * @internal
 */
export type Detail =
  | { readonly _tag: "RequestSent"; readonly peer: Peer; readonly request: string; readonly attempt: number }
  | {
    readonly _tag: "RequestAnswered"
    readonly peer: Peer
    readonly request: string
    readonly contact: Contact
    readonly rttMillis: number
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
 * @internal
 */
export interface Options {
  /** Number of ended queries kept. */
  readonly keptQueries: number
  /** Unix milliseconds. */
  readonly now: () => number
  /** Called when the first listener is added, and when the last one is removed. */
  readonly watched: (isWatched: boolean) => void
}

/**
 * @internal
 */
export class NodeEvents {
  readonly now: () => number
  /** Durations of our requests, from the first attempt to the response or the failure. */
  readonly requestTimes: Readonly<Record<typeof requests[number], RequestTimes>> = {
    Ping: requestTimes(),
    FindNode: requestTimes(),
    FindValue: requestTimes(),
    Store: requestTimes(),
    Push: requestTimes()
  }
  readonly queryTimes: Readonly<Record<QueryGoal["kind"], QueryTimes>> = {
    FindNode: queryTimes(),
    FindValue: queryTimes()
  }
  /** Number of proofs that another node runs under our identity. */
  identityConflicts = 0
  /** Receives the details; undefined while they are not logged. */
  explain: ((detail: Detail) => void) | undefined = undefined
  private readonly options: Options
  private readonly listeners = new Set<(event: Event) => void>()
  private readonly kept: Array<QueryTrace> = []
  private isKeeping = false
  private count = 0

  constructor(options: Options) {
    this.options = options
    this.now = options.now
  }

  /** Whether an event is worth constructing. */
  get hasListeners(): boolean {
    return this.listeners.size > 0
  }

  add(listener: (event: Event) => void): void {
    this.listeners.add(listener)
    if (this.listeners.size === 1) this.options.watched(true)
  }

  remove(listener: (event: Event) => void): void {
    if (this.listeners.delete(listener) && this.listeners.size === 0) this.options.watched(false)
  }

  /** Passes an event to every listener. */
  tell(event: Event): void {
    for (const listener of this.listeners) listener(event)
  }

  /** Keeps the queries that end from now on. */
  keep(): void {
    this.isKeeping = true
  }

  /** The queries kept, the latest first. */
  get queries(): ReadonlyArray<QueryTrace> {
    return this.kept.toReversed()
  }

  /** Starts a query. Its events go to `watch` and to the listeners. */
  query(goal: QueryGoal, startedAt: number, watch: ((event: QueryEvent) => void) | undefined): OngoingQuery {
    return new OngoingQuery(this, goal, ++this.count, startedAt, watch)
  }

  /** Records an ended query. `trace` is called only if the query is kept. */
  queryEnded(goal: QueryGoal, durationMillis: number, requests: number, trace: () => QueryTrace): void {
    const times = this.queryTimes[goal.kind]
    times.duration.add(durationMillis / 1000)
    times.requests.add(requests)
    if (!this.isKeeping) return
    this.kept.push(trace())
    if (this.kept.length > this.options.keptQueries) this.kept.shift()
  }
}

/** The result of a query. */
interface QueryResult {
  readonly closest: ReadonlyArray<Contact>
  readonly records: ReadonlyArray<unknown>
}

/**
 * A query in progress.
 *
 * @internal
 */
export class OngoingQuery {
  private readonly events: NodeEvents
  private readonly goal: QueryGoal
  private readonly query: number
  /** Milliseconds on the clock of the steps. */
  private readonly startedAt: number
  private readonly watch: ((event: QueryEvent) => void) | undefined
  /** The start in Unix milliseconds. */
  private readonly at: number
  private lookup: Lookup | undefined = undefined
  private result: QueryResult | undefined = undefined

  constructor(
    events: NodeEvents,
    goal: QueryGoal,
    query: number,
    startedAt: number,
    watch: ((event: QueryEvent) => void) | undefined
  ) {
    this.events = events
    this.goal = goal
    this.query = query
    this.startedAt = startedAt
    this.watch = watch
    this.at = events.now()
    if (this.isWatched) this.tell({ _tag: "QueryStarted", at: this.at, query, ...goal })
  }

  /** Sets the lookup whose steps are reported. */
  follow(lookup: Lookup): void {
    this.lookup = lookup
  }

  /** Reports the latest step at a node: a request was sent to it, or its outcome is known. */
  stepped(id: Contact["id"]): void {
    if (!this.isWatched) return
    const step = this.lookup?.step(id)
    if (step === undefined) return
    this.tell({ _tag: "QueryStepped", at: this.events.now(), query: this.query, step: this.stepOf(step) })
  }

  /** Sets the result of a query that completed. */
  done(result: QueryResult): void {
    this.result = result
  }

  /** Records the end of the query; without a result it counts as given up. */
  over(now: number): void {
    const { goal, lookup, result } = this
    const durationMillis = now - this.startedAt
    let cached: QueryTrace | undefined
    const trace = (): QueryTrace =>
      cached ??= {
        query: this.query,
        ...goal,
        startedAt: this.at,
        durationMillis,
        outcome: outcomeOf(goal, result),
        records: result?.records.length ?? 0,
        closest: result?.closest ?? [],
        steps: (lookup?.trace ?? []).map((step) => this.stepOf(step))
      }
    this.events.queryEnded(goal, durationMillis, lookup?.requests ?? 0, trace)
    if (this.isWatched) this.tell({ _tag: "QueryEnded", at: this.events.now(), trace: trace() })
  }

  private get isWatched(): boolean {
    return this.watch !== undefined || this.events.hasListeners
  }

  private tell(event: QueryEvent): void {
    this.watch?.(event)
    this.events.tell(event)
  }

  private stepOf({ askedAt, endedAt, ...step }: Step): QueryStep {
    return {
      ...step,
      askedAfterMillis: askedAt - this.startedAt,
      tookMillis: endedAt === undefined ? undefined : endedAt - askedAt
    }
  }
}

const outcomeOf = (goal: QueryGoal, result: QueryResult | undefined): QueryOutcome =>
  result === undefined
    ? "GivenUp"
    : goal.kind === "FindNode"
    ? "Done"
    : result.records.length > 0
    ? "Found"
    : "NotFound"
