/**
 * Lookups through the network, from the closest known nodes to the closest live
 * ones, as in Kademlia (Maymounkov and Mazières, 2002).
 *
 * `query/lookups.ts` carries out a lookup, `query/reader.ts` reads the records of a
 * key, and `query/surroundings.ts` judges whether a key is surrounded. When a query
 * ends, in whatever way, its requests in flight end with it.
 *
 * @module
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Address } from "./Address.ts"
import type { Contact } from "./Contact.ts"
import type { Lookup } from "./core/lookup.ts"
import type { OngoingQuery } from "./core/ongoingQuery.ts"
import type { DelegationChecks } from "./DelegationChecks.ts"
import * as Endpoint from "./Endpoint.ts"
import type { NodeIdentity } from "./Identity.ts"
import { NodeEvents, type QueryEvent, type QueryStep } from "./NodeEvents.ts"
import * as NodeId from "./NodeId.ts"
import * as PeerHealth from "./PeerHealth.ts"
import * as Lookups from "./query/lookups.ts"
import type { Completeness, Find } from "./query/reader.ts"
import * as Reader from "./query/reader.ts"
import * as Surroundings from "./query/surroundings.ts"
import type { Reachability } from "./Reachability.ts"
import * as Record from "./Record.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import { spanned } from "./Spans.ts"
import { Store } from "./Store.ts"
import { Timers } from "./Timers.ts"
import * as Withdrawal from "./Withdrawal.ts"

export type { Completeness, Find } from "./query/reader.ts"

/**
 * No endpoint record of the address is known, here or in the network.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoEndpoint extends Data.TaggedError("NoEndpoint")<{
  readonly target: NodeId.NodeId
  /** Number of nodes that answered without one. */
  readonly answered: number
}> {
  override get message() {
    return `No endpoint is published at ${this.target} (${this.answered} nodes answered)`
  }
}

/**
 * No record of the wanted type (0: of any type) is at the key.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoMatchingRecords extends Data.TaggedError("NoMatchingRecords")<{
  readonly target: NodeId.NodeId
  readonly type: number
  /** Number of nodes that answered without one. */
  readonly answered: number
}> {
  override get message() {
    const what = this.type === 0 ? "record" : `record of type 0x${this.type.toString(16)}`
    return `No ${what} is at ${this.target} (${this.answered} nodes answered)`
  }
}

/**
 * The records of a key, and how complete they are.
 *
 * @category models
 * @since 0.1.0
 */
export interface Everything {
  readonly records: Arr.NonEmptyReadonlyArray<Record.SignedRecord>
  readonly completeness: Completeness
}

/**
 * Result of a lookup.
 *
 * @category models
 * @since 0.1.0
 */
export interface LookupResult {
  /** The 16 closest live nodes, nearest first; fewer when the lookup ended early. */
  readonly closest: ReadonlyArray<Contact>
  /** The 3 closest live nodes that are reachable over IPv4 and over IPv6, nearest first, as far as any are known. */
  readonly dual: ReadonlyArray<Contact>
  /** The valid records that nodes returned, merged with our own: the newest of each slot, withdrawals included. */
  readonly records: ReadonlyArray<Record.SignedRecord>
  readonly completeness: Completeness
  /** Whether nodes surround the target more closely than chance allows; see {@link Neighbourhood}. */
  readonly isSurrounded: boolean
  /** The requests it sent, in order, and their outcomes. */
  readonly trace: ReadonlyArray<QueryStep>
}

/**
 * What some nodes returned.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReadResult extends Pick<LookupResult, "records" | "completeness"> {
  /** Number of requests that were sent. */
  readonly requests: number
}

/**
 * Criteria for records, and how many nodes must return one.
 *
 * @category models
 * @since 0.1.0
 */
export interface FindOptions {
  /** Record type wanted; 0, the default, is any. */
  readonly type?: number | undefined
  /**
   * How many of the 8 nodes nearest to the key must return a record before the
   * newest counts, so that a stale or lying replica does not decide. Defaults
   * to 3. Without a value, records that this node published itself count at
   * once.
   */
  readonly quorum?: number | undefined
}

/**
 * The nodes where the records of a key belong.
 *
 * If nodes are closer to the key than chance allows in a network of this size,
 * they were made to surround it. Then the region around the key belongs to it
 * as well: all nodes found within the radius in which 24 honest ones are
 * expected (Sridhar et al., Content Censorship in the InterPlanetary File
 * System, NDSS 2024).
 *
 * @category models
 * @since 0.1.0
 */
export interface Neighbourhood {
  /** The 16 closest live nodes, nearest first. */
  readonly closest: ReadonlyArray<Contact>
  /** Other live nodes of the region, nearest first; none unless the key is surrounded. */
  readonly region: ReadonlyArray<Contact>
  /**
   * The 3 closest live nodes that are reachable over IPv4 and over IPv6, nearest
   * first, as far as any are known: nodes of either family find there what those
   * of the other one publish.
   */
  readonly dual: ReadonlyArray<Contact>
  readonly isSurrounded: boolean
}

/**
 * An endpoint record and its decoded payload.
 *
 * @category models
 * @since 0.1.0
 */
export interface Resolved extends Endpoint.EndpointPayload {
  readonly record: Record.SignedRecord
}

/**
 * Lookups through the network. None of these fails because nodes are silent;
 * the result is then smaller.
 *
 * @example
 * ```ts
 * import { NodeId, Query } from "effect-dht"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const query = yield* Query.Query
 *   const key = NodeId.fromTopic("weather")
 *   const nearest = yield* query.findNode(key)
 *   const records = yield* query.aggregateRecords(key)
 *   yield* Effect.log(`${records.length} records at the ${nearest.length} nodes around ${key}`)
 * }).pipe(
 *   Effect.catchTag("NoMatchingRecords", ({ answered }) => Effect.log(`None, say ${answered} nodes`))
 * )
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Query extends Context.Service<Query, {
  /** The 16 live nodes closest to the target, nearest first, never ourselves. */
  readonly findNode: (target: NodeId.NodeId) => Effect.Effect<ReadonlyArray<Contact>>
  /**
   * The same, for a target of our own region: of the contacts that we know there, three
   * are asked, and of the others those that we have not heard from.
   */
  readonly refresh: (target: NodeId.NodeId) => Effect.Effect<ReadonlyArray<Contact>>
  /** The nodes where the records of a key belong. */
  readonly neighbourhood: (target: NodeId.NodeId) => Effect.Effect<Neighbourhood>
  /**
   * The same, for a caller that has heard lately from some of them, nearest first: it
   * looks for newcomers. Three of those known are asked, if they are as many, and of the
   * others those that come to light.
   */
  readonly refreshNeighbourhood: (
    target: NodeId.NodeId,
    known: ReadonlyArray<Contact>
  ) => Effect.Effect<Neighbourhood>
  /**
   * The records of the key that a quorum of the nodes nearest to it return: the
   * newest of each slot, unless it withdraws.
   */
  readonly findRecords: (
    target: NodeId.NodeId,
    options?: FindOptions
  ) => Effect.Effect<Arr.NonEmptyReadonlyArray<Record.SignedRecord>, NoMatchingRecords>
  /**
   * All records of the key: every close node is asked, holders are read until
   * they have delivered all they list, and the newest of each slot counts,
   * unless it withdraws.
   */
  readonly readAll: (target: NodeId.NodeId, type?: number) => Effect.Effect<Everything, NoMatchingRecords>
  /** The records of `readAll`. */
  readonly aggregateRecords: (
    target: NodeId.NodeId,
    type?: number
  ) => Effect.Effect<Arr.NonEmptyReadonlyArray<Record.SignedRecord>, NoMatchingRecords>
  /** Finds where an address can be reached: its newest endpoint record. */
  readonly resolve: (
    target: NodeId.NodeId,
    options?: Pick<FindOptions, "quorum">
  ) => Effect.Effect<Resolved, NoEndpoint>
  /**
   * All that an address publishes about itself: the newest record of each type
   * that it published at its own key, in the order of types. Messages of others
   * at that key do not count. They can crowd types out of a response, so
   * endpoint and profile are also requested by name.
   */
  readonly resolveAll: (
    address: Address
  ) => Effect.Effect<Arr.NonEmptyReadonlyArray<Record.SignedRecord>, NoMatchingRecords>
  /**
   * Reads the records of a key from some nodes, without a lookup, until they have
   * delivered all they list.
   */
  readonly readAt: (
    target: NodeId.NodeId,
    find: Find,
    nodes: ReadonlyArray<Contact>
  ) => Effect.Effect<ReadResult>
  /**
   * The lookup itself. Without `find` it looks for nodes only. `watch` is
   * called with each event of the lookup, synchronously, and must not throw.
   *
   * @example
   * ```ts
   * import { type NodeId, Query } from "effect-dht"
   * import * as Effect from "effect/Effect"
   *
   * const traced = (target: NodeId.NodeId) =>
   *   Effect.gen(function*() {
   *     const query = yield* Query.Query
   *     const { trace } = yield* query.lookup(target, undefined, (event) => {
   *       if (event._tag === "QueryStepped") console.log(event.step.outcome, event.step.contact.host)
   *     })
   *     return trace.map(({ contact, outcome }) => `${contact.id}: ${outcome}`)
   *   })
   * ```
   */
  readonly lookup: (
    target: NodeId.NodeId,
    find?: Find,
    watch?: (event: QueryEvent) => void
  ) => Effect.Effect<LookupResult>
}>()("effect-dht/Query") {}

/** Maximum number of contacts around a target that a refresh takes for known. */
const maxKnown = 64

/** Default number of the nearest nodes that must return a record. */
const defaultQuorum = 3

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const rpc = yield* Rpc.Rpc
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const store = yield* Store
  const clock = yield* Clock.Clock
  const timers = yield* Timers
  const events = yield* NodeEvents
  const { missed, run } = yield* Lookups.make
  const reader = yield* Reader.make

  const lookUp = Effect.fnUntraced(function*(
    target: NodeId.NodeId,
    find?: Find,
    watch?: (event: QueryEvent) => void,
    known: ReadonlyArray<Contact> = []
  ): Effect.fn.Return<LookupResult> {
    const startedAt = timers.now()
    const ongoing = events.queryUnsafe(
      { kind: find === undefined ? "FindNode" : "FindValue", target, type: find?.type },
      startedAt,
      watch
    )
    const finding = find === undefined
      ? lookUpNodes(target, known, ongoing, startedAt)
      : lookUpRecords(target, find, ongoing, startedAt)
    return yield* Effect.ensuring(
      Effect.tap(finding, (result) => Effect.sync(() => ongoing.done(result))),
      Effect.sync(() => ongoing.over(timers.now()))
    )
  }, spanned("Query.lookup"))

  const findNode = (target: NodeId.NodeId) => Effect.map(lookUp(target), ({ closest }) => closest)

  const refresh = Effect.fnUntraced(function*(target: NodeId.NodeId) {
    const isHeard = ({ id }: Contact) => routing.verifiedUnsafe(id) !== undefined && !health.isBadUnsafe(id)
    const known = routing.nearestUnsafe(target, maxKnown).filter(isHeard)
    return (yield* lookUp(target, undefined, undefined, known)).closest
  }, spanned("Query.refresh"))

  const surroundings = yield* Surroundings.make(findNode)

  const lookUpNodes = Effect.fnUntraced(function*(
    target: NodeId.NodeId,
    known: ReadonlyArray<Contact>,
    ongoing: OngoingQuery,
    startedAt: number
  ) {
    const lookup = yield* run(
      {
        target,
        known,
        awaitsSlow: true,
        ask: (contact, about, onChallenge) =>
          Effect.map(
            rpc.request(contact, { _tag: "FindNode", target: about }, Lookups.requestOptions(health, onChallenge)),
            ({ body }) => body
          ),
        read: () => false
      },
      ongoing,
      startedAt
    )
    const closest = lookup.closest()
    routing.lookedUpUnsafe(target, closest, clock.currentTimeMillisUnsafe())
    const isSurrounded = surroundings.isDense(target, closest.map(({ id }) => id))
    return resultOf(lookup, closest, isSurrounded, undefined)
  })

  const lookUpRecords = Effect.fnUntraced(function*(
    target: NodeId.NodeId,
    find: Find,
    ongoing: OngoingQuery,
    startedAt: number
  ) {
    const reading = yield* reader.begin(target, find)
    const lookup = yield* run(
      {
        target,
        quorum: find.quorum,
        awaitsSlow: false,
        isSurrounded: (ids) => surroundings.isDense(target, ids),
        ask: (contact, _about, onChallenge) => reader.ask(reading, contact, onChallenge),
        read: (contact, answer) => reader.read(reading, contact, answer)
      },
      ongoing,
      startedAt
    )
    const closest = lookup.closest()
    // A lookup that a quorum ends has not found all of the closest.
    if (find.quorum === undefined) routing.lookedUpUnsafe(target, closest, clock.currentTimeMillisUnsafe())
    const isSurrounded = yield* surroundings.isSurrounded(target, closest)
    if (isSurrounded) yield* reader.readAt(reading, yield* surroundings.region(target, closest))
    if (find.quorum === undefined) {
      const others = reading.isOverfull
        ? Effect.flatMap(missed(target, lookup), (contacts) => reader.readAt(reading, contacts))
        : Effect.void
      yield* Effect.all([reader.collect(reading), others], { concurrency: "unbounded", discard: true })
      yield* reader.collect(reading)
    }
    yield* reader.heal(reading)
    return resultOf(lookup, closest, isSurrounded, reading)
  })

  const resultOf = (
    lookup: Lookup,
    closest: ReadonlyArray<Contact>,
    isSurrounded: boolean,
    reading: Reader.Reading | undefined
  ): LookupResult => ({
    closest,
    dual: lookup.closestDual(),
    records: reading?.found.live(Math.floor(clock.currentTimeMillisUnsafe() / 1000)) ?? [],
    completeness: reading?.completeness ?? { answered: 0, holders: 0, seen: 0, held: 0 },
    isSurrounded,
    // The requests are converted on access, because few callers read them.
    get trace() {
      return lookup.trace
    }
  })

  const neighbourhoodOf = Effect.fnUntraced(function*(target: NodeId.NodeId, known?: ReadonlyArray<Contact>) {
    const { closest, dual } = yield* lookUp(target, undefined, undefined, known)
    const isSurrounded = yield* surroundings.isSurrounded(target, closest)
    return { closest, dual, isSurrounded, region: isSurrounded ? yield* surroundings.region(target, closest) : [] }
  })

  const findRecords = Effect.fnUntraced(function*(target: NodeId.NodeId, options?: FindOptions) {
    const type = options?.type ?? 0
    if (options?.quorum === undefined) {
      // Records that peers left here may be outdated.
      const own = (yield* store.getOwn(target, type)).filter(Withdrawal.isStanding)
      if (Arr.isReadonlyArrayNonEmpty(own)) return own
    }
    const { trace, ...result } = yield* lookUp(target, { type, quorum: options?.quorum ?? defaultQuorum })
    const records = result.records.filter(Withdrawal.isStanding)
    return Arr.isReadonlyArrayNonEmpty(records)
      ? records
      : yield* new NoMatchingRecords({ target, type, answered: answeredOf(trace) })
  }, spanned("Query.findRecords"))

  const readAll = Effect.fnUntraced(function*(target: NodeId.NodeId, type = 0) {
    const { completeness, trace, ...result } = yield* lookUp(target, { type })
    const records = result.records.filter(Withdrawal.isStanding)
    return Arr.isReadonlyArrayNonEmpty(records)
      ? { records, completeness }
      : yield* new NoMatchingRecords({ target, type, answered: answeredOf(trace) })
  }, spanned("Query.readAll"))

  const readAt: Query["Service"]["readAt"] = Effect.fnUntraced(function*(target, find, nodes) {
    const reading = yield* reader.begin(target, find)
    yield* reader.readAt(reading, nodes)
    yield* reader.collect(reading)
    const { completeness, requests } = reading
    return { records: reading.found.live(Math.floor(clock.currentTimeMillisUnsafe() / 1000)), completeness, requests }
  }, spanned("Query.readAt"))

  const resolve = Effect.fnUntraced(function*(target: NodeId.NodeId, options?: Pick<FindOptions, "quorum">) {
    const records = yield* findRecords(target, { type: Record.RecordType.endpoint, quorum: options?.quorum }).pipe(
      Effect.catchTag("NoMatchingRecords", ({ answered }) => new NoEndpoint({ target, answered }))
    )
    const record = records.reduce((newest, other) => Record.isNewer(other, newest) ? other : newest)
    // The payload of a stored record can be decoded.
    const payload = yield* Effect.fromResult(Endpoint.decode(record.payload)).pipe(Effect.orDie)
    return { ...payload, record }
  }, spanned("Query.resolve"))

  /** Requested types: any, and by name those that messages must not crowd out of a response. */
  const named = [0, Record.RecordType.endpoint, Record.RecordType.profile]

  const resolveAll: Query["Service"]["resolveAll"] = Effect.fnUntraced(function*(address) {
    const target = NodeId.fromAddress(address)
    const lookups = yield* Effect.forEach(named, (type) => lookUp(target, { type }), { concurrency: "unbounded" })
    const newest = new Map<number, Record.SignedRecord>()
    for (const record of lookups.flatMap(({ records }) => records)) {
      if (record.address !== address || Record.category(record.type) !== "sovereign") continue
      const known = newest.get(record.type)
      if (known === undefined || Record.isNewer(record, known)) newest.set(record.type, record)
    }
    const records = Array.from(newest.values()).sort((a, b) => a.type - b.type)
    return Arr.isReadonlyArrayNonEmpty(records)
      ? records
      : yield* new NoMatchingRecords({ target, type: 0, answered: answeredOf(lookups[0].trace) })
  }, spanned("Query.resolveAll"))

  return Query.of({
    findNode,
    refresh,
    neighbourhood: (target) => spanned("Query.neighbourhood")(neighbourhoodOf(target)),
    refreshNeighbourhood: (target, known) => spanned("Query.refreshNeighbourhood")(neighbourhoodOf(target, known)),
    findRecords,
    readAll,
    aggregateRecords: (target, type) => Effect.map(readAll(target, type), ({ records }) => records),
    resolve,
    resolveAll,
    readAt,
    lookup: (target, find, watch) => lookUp(target, find, watch)
  })
})

const answeredOf = (trace: ReadonlyArray<QueryStep>): number =>
  trace.filter((step) => step.outcome === "Answered").length

/**
 * Lookups that start from the contacts of the routing table.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Query,
  never,
  | DelegationChecks
  | Timers
  | NodeEvents
  | NodeIdentity
  | Rpc.Rpc
  | Routing.Routing
  | PeerHealth.PeerHealth
  | Reachability
  | SecureRandom.SecureRandom
  | Store
> = Layer.effect(Query, make)
