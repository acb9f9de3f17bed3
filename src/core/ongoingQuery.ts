/**
 * A query in progress: it reports its steps as they happen, and all of them
 * when it ends.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import type { NodeId } from "../NodeId.ts"
import type { Lookup, QueryStep } from "./lookup.ts"

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
 * Where queries are reported.
 *
 * @internal
 */
export interface Sink {
  /** Unix milliseconds. */
  readonly now: () => number
  /** Whether an event is worth constructing. */
  readonly hasListeners: () => boolean
  readonly tell: (event: QueryEvent) => void
  /** Records an ended query. `trace` is called only if the query is kept. */
  readonly ended: (goal: QueryGoal, durationMillis: number, requests: number, trace: () => QueryTrace) => void
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
  private readonly sink: Sink
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
    sink: Sink,
    goal: QueryGoal,
    query: number,
    startedAt: number,
    watch: ((event: QueryEvent) => void) | undefined
  ) {
    this.sink = sink
    this.goal = goal
    this.query = query
    this.startedAt = startedAt
    this.watch = watch
    this.at = sink.now()
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
    this.tell({ _tag: "QueryStepped", at: this.sink.now(), query: this.query, step })
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
        steps: lookup?.trace ?? []
      }
    this.sink.ended(goal, durationMillis, lookup?.requests ?? 0, trace)
    if (this.isWatched) this.tell({ _tag: "QueryEnded", at: this.sink.now(), trace: trace() })
  }

  private get isWatched(): boolean {
    return this.watch !== undefined || this.sink.hasListeners()
  }

  private tell(event: QueryEvent): void {
    this.watch?.(event)
    this.sink.tell(event)
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
