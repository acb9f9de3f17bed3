/**
 * The listeners of a node, the queries it keeps for them, and what it counts.
 * Times come in with what happened.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import type { Event, QueryEvent, QueryGoal, QueryOutcome, QueryStep, QueryTrace } from "../NodeEvents.ts"
import type { NodeId } from "../NodeId.ts"
import type { SignedRecord } from "../Record.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import { Histogram } from "./histogram.ts"
import type { Lookup, Step } from "./lookup.ts"

/**
 * The requests that wait for an answer.
 *
 * @internal
 */
export const requests = ["Ping", "FindNode", "FindValue", "Store", "Push"] as const

/** Seconds: from within one machine to the longest that a request is given. */
const requestBounds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

/** Seconds. */
const queryBounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Requests. */
const askedBounds = [0, 1, 2, 4, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128]

/**
 * How long one kind of request took, in seconds.
 *
 * @internal
 */
export interface RequestTimes {
  readonly answered: Histogram
  readonly failed: Histogram
}

/**
 * How long one kind of query took, in seconds, and how many requests it made.
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

const queryTimes = (): QueryTimes => ({ duration: new Histogram(queryBounds), requests: new Histogram(askedBounds) })

/** Who was asked; without an id where only the address is known. */
type Peer = SocketAddress & { readonly id?: NodeId | undefined }

/**
 * What else happens, too often for those who watch: it is for the log alone.
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
    /** What is malformed. */
    readonly fault: string | undefined
  }

/**
 * @internal
 */
export interface Options {
  readonly keptQueries: number
  /** Unix milliseconds. */
  readonly now: () => number
  /** Called when the first listener comes, and when the last one has gone. */
  readonly watched: (isWatched: boolean) => void
}

/**
 * @internal
 */
export class NodeEvents {
  readonly now: () => number
  /** How long our requests took from the first attempt to the answer, or until they were given up. */
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
  /** How often another node proved that it runs under our identity. */
  identityConflicts = 0
  /** Is told the details, where somebody logs them. */
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

  /** Whether an event is worth making. */
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

  tell(event: Event): void {
    for (const listener of this.listeners) listener(event)
  }

  /** Keeps what ends from now on. */
  keep(): void {
    this.isKeeping = true
  }

  /** The last one first. */
  get queries(): ReadonlyArray<QueryTrace> {
    return this.kept.toReversed()
  }

  /** A query begins. `watch` is told of this one, as the listeners are. */
  query(goal: QueryGoal, startedAt: number, watch: ((event: QueryEvent) => void) | undefined): OngoingQuery {
    return new OngoingQuery(this, goal, ++this.count, startedAt, watch)
  }

  /** A query has ended; whoever wants to know its steps gets them by calling `trace`. */
  queryEnded(goal: QueryGoal, durationMillis: number, asked: number, trace: () => QueryTrace): void {
    const times = this.queryTimes[goal.kind]
    times.duration.add(durationMillis / 1000)
    times.requests.add(asked)
    if (!this.isKeeping) return
    this.kept.push(trace())
    if (this.kept.length > this.options.keptQueries) this.kept.shift()
  }
}

/** What a query brought. */
interface Brought {
  readonly closest: ReadonlyArray<Contact>
  readonly records: ReadonlyArray<unknown>
}

/**
 * A query under way.
 *
 * @internal
 */
export class OngoingQuery {
  private readonly events: NodeEvents
  private readonly goal: QueryGoal
  private readonly query: number
  /** On the clock of the steps, in milliseconds. */
  private readonly startedAt: number
  private readonly watch: ((event: QueryEvent) => void) | undefined
  private readonly at: number
  private lookup: Lookup | undefined = undefined
  private brought: Brought | undefined = undefined

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

  /** The lookup that it is. */
  follow(lookup: Lookup): void {
    this.lookup = lookup
  }

  /** This node was asked, or what it said is known now. */
  stepped(id: Contact["id"]): void {
    if (!this.isWatched) return
    const step = this.lookup?.step(id)
    if (step === undefined) return
    this.tell({ _tag: "QueryStepped", at: this.events.now(), query: this.query, step: this.stepOf(step) })
  }

  /** It came to its end. */
  done(brought: Brought): void {
    this.brought = brought
  }

  /** It is over, at its end or before. */
  over(now: number): void {
    const { brought, goal, lookup } = this
    const durationMillis = now - this.startedAt
    let made: QueryTrace | undefined
    const trace = (): QueryTrace =>
      made ??= {
        query: this.query,
        ...goal,
        startedAt: this.at,
        durationMillis,
        outcome: outcomeOf(goal, brought),
        records: brought?.records.length ?? 0,
        closest: brought?.closest ?? [],
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

const outcomeOf = (goal: QueryGoal, brought: Brought | undefined): QueryOutcome =>
  brought === undefined
    ? "GivenUp"
    : goal.kind === "FindNode"
    ? "Done"
    : brought.records.length > 0
    ? "Found"
    : "NotFound"
