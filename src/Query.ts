/**
 * Questions to the network: walks from the closest known nodes to the closest
 * there are, after Kademlia (Maymounkov and Mazières, 2002).
 *
 * Which node to ask next, and when to stop, is decided by a state machine;
 * this module carries it out. When a query ends, in whatever way, the requests
 * it still had under way end with it.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Result from "effect/Result"
import type { Address } from "./Address.ts"
import { Alarms } from "./Alarms.ts"
import type { Contact } from "./Contact.ts"
import * as Endpoint from "./Endpoint.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
import { InFlight } from "./InFlight.ts"
import { Lookup } from "./internal/lookup.ts"
import type { OngoingQuery } from "./internal/nodeEvents.ts"
import { RecordSet } from "./internal/recordSet.ts"
import { freshMillis } from "./internal/routingTable.ts"
import { NodeEvents, type QueryEvent } from "./NodeEvents.ts"
import { fromAddress as nodeIdOf, type NodeId } from "./NodeId.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { isHairpin, Reachability } from "./Reachability.ts"
import * as Record from "./Record.ts"
import * as Request from "./Request.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { Store } from "./Store.ts"
import * as Withdrawal from "./Withdrawal.ts"

/**
 * No endpoint record of the address is known, here or in the network.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoEndpoint extends Data.TaggedError("NoEndpoint")<{
  readonly target: NodeId
  /** How many nodes answered that they have none. */
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
  readonly target: NodeId
  readonly type: number
  /** How many nodes answered that they have none. */
  readonly answered: number
}> {
  override get message() {
    const what = this.type === 0 ? "record" : `record of type 0x${this.type.toString(16)}`
    return `No ${what} is at ${this.target} (${this.answered} nodes answered)`
  }
}

/**
 * One request of a walk. Times are milliseconds on a clock of their own, which
 * nobody sets.
 *
 * @category models
 * @since 0.1.0
 */
export interface Step {
  readonly contact: Contact
  /** Unanswered: the walk ended first. */
  readonly outcome: "Answered" | "Failed" | "Unanswered"
  readonly askedAt: number
  /** When it was answered or given up. */
  readonly endedAt: number | undefined
  readonly holdsRecord: boolean
  /** Leading bits that the contact's id shares with the target. */
  readonly commonPrefixLength: number
  /** Who told of the contact; undefined for one of our own. */
  readonly learnedFrom: NodeId | undefined
  /** 0 for a contact of our own, one more than its teacher's for a learned one. */
  readonly depth: number
  /** Nodes closer to the target than itself that it told us of. */
  readonly closerNodes: number
}

/**
 * What a walk brought.
 *
 * @category models
 * @since 0.1.0
 */
export interface Walked {
  /** The 16 closest live nodes, nearest first; fewer when the walk ended early. */
  readonly closest: ReadonlyArray<Contact>
  /** The valid records that nodes returned, merged with our own: the newest of each slot, withdrawals included. */
  readonly records: ReadonlyArray<Record.SignedRecord>
  /** Whom it asked, in order, and what came of it. */
  readonly trace: ReadonlyArray<Step>
}

/**
 * Which records a lookup wants, and how sure it is to be.
 *
 * @category models
 * @since 0.1.0
 */
export interface FindOptions {
  /** Record type wanted; 0, the default, is any. */
  readonly type?: number | undefined
  /**
   * So many different nodes must return a record before the newest counts, so
   * that one stale or lying replica does not decide. Defaults to 1, which is
   * also when a local record is good enough.
   */
  readonly quorum?: number | undefined
}

/**
 * What a walk looks for at its target.
 *
 * @category models
 * @since 0.1.0
 */
export interface Find {
  /** 0 for any. */
  readonly type: number
  /** Ends the walk once so many nodes have returned a record; otherwise all of the closest are asked. */
  readonly quorum?: number | undefined
  /** Asks the holders to tell us of what is stored there next, within a minute. */
  readonly subscribe?: boolean | undefined
}

/**
 * An endpoint record and what it says.
 *
 * @category models
 * @since 0.1.0
 */
export interface Resolved extends Endpoint.EndpointPayload {
  readonly record: Record.SignedRecord
}

/**
 * Asks the network. None of these fails because nodes do not answer: then there
 * is less to be found.
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
  readonly findNode: (target: NodeId) => Effect.Effect<ReadonlyArray<Contact>>
  /** Local records if there are any, else the first valid ones that a node returns; none that was withdrawn. */
  readonly findRecords: (
    target: NodeId,
    options?: FindOptions
  ) => Effect.Effect<Arr.NonEmptyReadonlyArray<Record.SignedRecord>, NoMatchingRecords>
  /** All records of the key: every close node is asked, and the newest of each slot counts, unless it withdraws. */
  readonly aggregateRecords: (
    target: NodeId,
    type?: number
  ) => Effect.Effect<Arr.NonEmptyReadonlyArray<Record.SignedRecord>, NoMatchingRecords>
  /** Where an address can be reached: its newest endpoint record. */
  readonly resolve: (
    target: NodeId,
    options?: Pick<FindOptions, "quorum">
  ) => Effect.Effect<Resolved, NoEndpoint>
  /**
   * All that an address says of itself: the newest record of each type that it
   * published at its own key, in the order of types. What others left there
   * (mail) does not count. An answer holds only so much, so much new mail may
   * hide types other than endpoint and profile, which are asked for by name.
   */
  readonly resolveAll: (
    address: Address
  ) => Effect.Effect<Arr.NonEmptyReadonlyArray<Record.SignedRecord>, NoMatchingRecords>
  /**
   * The walk itself: without `find` it asks for nodes only. `watch` is told what
   * happens to this walk, at once, and must not throw.
   *
   * @example
   * ```ts
   * import { type NodeId, Query } from "effect-dht"
   * import * as Effect from "effect/Effect"
   *
   * const traced = (target: NodeId.NodeId) =>
   *   Effect.gen(function*() {
   *     const query = yield* Query.Query
   *     const { trace } = yield* query.walk(target, undefined, (event) => {
   *       if (event._tag === "QueryStepped") console.log(event.step.outcome, event.step.contact.host)
   *     })
   *     return trace.map(({ contact, outcome }) => `${contact.id}: ${outcome}`)
   *   })
   * ```
   */
  readonly walk: (target: NodeId, find?: Find, watch?: (event: QueryEvent) => void) => Effect.Effect<Walked>
}>()("effect-dht/Query") {}

/** What a walk gives one peer at most. */
const deadline = 2000

/** So long, in milliseconds, that a busy process reads what it was sent. */
const turnMillis = 1

/** Contacts of our own table that a walk may begin with, and how many whoever they are. */
const seeds = 32
const hearsaySeeds = 16

/** What came of asking one peer; no answer if it failed. */
interface Outcome {
  readonly contact: Contact
  readonly answer: Answer | undefined
}

interface Answer {
  readonly nodes: ReadonlyArray<Contact>
  readonly records: ReadonlyArray<Record.SignedRecord>
}

const make = Effect.gen(function*() {
  const identity = yield* NodeIdentity
  const rpc = yield* Rpc.Rpc
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const reachability = yield* Reachability
  const store = yield* Store
  const clock = yield* Clock.Clock
  const alarms = yield* Alarms
  const events = yield* NodeEvents

  /** Whoever is silent for longer than loss explains is not waited for. */
  const patience = () => ({ attempts: health.core.attempts(), deadline, hasty: true })

  /** Asks one peer; returns how to give it up. */
  const ask = (
    contact: Contact,
    about: NodeId,
    target: NodeId,
    find: Find | undefined,
    done: (outcome: Outcome) => void
  ): () => void =>
    find === undefined
      ? rpc.requestUnsafe(contact, { _tag: "FindNode", target: about }, patience(), (result) =>
        done({
          contact,
          answer: Result.isSuccess(result) ? { nodes: result.success.body.nodes ?? [], records: [] } : undefined
        }))
      : rpc.requestUnsafe(
        contact,
        { _tag: "FindValue", target, recordType: find.type, subscribe: find.subscribe ?? false },
        patience(),
        (result) =>
          done({
            contact,
            answer: Result.isSuccess(result)
              ? { nodes: result.success.body.nodes ?? [], records: Request.recordsOf(result.success.body) }
              : undefined
          })
      )

  /** Where a node was heard from counts more than where others say it is. */
  const asWeKnowIt = (node: Contact): Contact =>
    routing.core.verifiedAt(node.id) === undefined ? node : routing.core.get(node.id) ?? node

  const walk: Query["Service"]["walk"] = Effect.fn("Query.walk")(function*(target, find, watch) {
    const inFlight = new InFlight<Outcome>(alarms)
    const kind = find === undefined ? "FindNode" : "FindValue"
    const ongoing = events.core.query({ kind, target, type: find?.type }, alarms.now(), watch)
    return yield* Effect.ensuring(
      walkWith(inFlight, ongoing, target, find),
      Effect.sync(() => {
        inFlight.giveUp()
        ongoing.over(alarms.now())
      })
    )
  })

  const walkWith = Effect.fnUntraced(function*(
    inFlight: InFlight<Outcome>,
    ongoing: OngoingQuery,
    target: NodeId,
    find: Find | undefined
  ) {
    const started = clock.currentTimeMillisUnsafe()
    const publicHost = yield* reachability.publicHost
    const lookup = new Lookup({
      self: identity.nodeId,
      target,
      quorum: find?.quorum,
      awaitsSlow: find === undefined,
      subnet: SocketAddress.subnet,
      // Once its back-off is over, a bad peer deserves another try.
      isBad: (id) => health.core.isBad(id) && !health.core.allowContact(id, started),
      slowAfter: (id) => health.core.slowAfter(id, started)
    })
    ongoing.follow(lookup)
    const known = routing.core.nearestVerified(target, seeds, started - freshMillis)
    // Hearsay could be one liar's, and must not take the places of those we met.
    for (const contact of [...known, ...routing.core.nearest(target, hearsaySeeds)]) {
      if (!isHairpin(contact, publicHost)) lookup.seed(contact)
    }

    // What is found merges by the very rules of a store.
    const found = new RecordSet({ maxKeys: 1 })
    const keep = (record: Record.SignedRecord, now: number) => found.put(target, record, Math.floor(now / 1000))
    if (find !== undefined) { for (const record of yield* store.getAll(target, find.type)) keep(record, started) }

    while (true) {
      const now = alarms.now()
      const step = lookup.poll(now)
      if (step._tag === "Done") break
      if (step._tag === "Ask") {
        const { about, contact } = step
        ongoing.stepped(contact.id)
        inFlight.start((done) => ask(contact, about, target, find, done))
        continue
      }
      let batch = yield* inFlight.take(step.until)
      if (batch.length === 0) {
        // Was it the peer that paused, or were we? What has come meanwhile is read first.
        yield* Effect.sleep(turnMillis)
        batch = inFlight.takeAll()
      }
      for (const { answer, contact } of batch) {
        if (answer === undefined) {
          lookup.failed(contact.id, alarms.now())
          ongoing.stepped(contact.id)
          continue
        }
        const at = clock.currentTimeMillisUnsafe()
        const valid = answer.records.filter((record) => isWanted(target, find?.type ?? 0, record, at))
        for (const record of valid) keep(record, at)
        for (const node of answer.nodes) routing.core.add(node, undefined, at, contact.id)
        const nodes = answer.nodes.map(asWeKnowIt).filter((node) => !isHairpin(node, publicHost))
        lookup.answered(contact.id, alarms.now(), {
          nodes,
          holdsRecord: valid.length > 0,
          isClient: health.core.has(contact.id, Features.Bit.client)
        })
        ongoing.stepped(contact.id)
      }
    }
    const ended = Math.floor(clock.currentTimeMillisUnsafe() / 1000)
    const walked: Walked = {
      closest: lookup.closest(),
      records: found.getAll(target, 0, ended),
      // Few look at it.
      get trace() {
        return lookup.trace
      }
    }
    ongoing.done(walked)
    yield* Effect.annotateCurrentSpan({ "dht.target": target, "dht.asked": lookup.requests })
    yield* showRequests(walked)
    return walked
  })

  /** A span for each request, as if each had been made by a fiber of its own. */
  const showRequests = Effect.fnUntraced(function*(walked: Walked) {
    if (!(yield* References.TracerEnabled)) return
    const parent = yield* Effect.option(Effect.currentSpan)
    if (Option.isNone(parent)) return
    const tracer = yield* Effect.tracer
    const [time, now] = [clock.currentTimeNanosUnsafe(), alarms.now()]
    const nanosAt = (at: number) => time - BigInt(Math.round((now - at) * 1e6))
    for (const { askedAt, contact, endedAt, outcome } of walked.trace) {
      const span = tracer.span({
        name: "Rpc.request",
        parent,
        annotations: Context.empty(),
        links: [],
        startTime: nanosAt(askedAt),
        kind: "client",
        root: false,
        sampled: parent.value.sampled
      })
      span.attribute("dht.peer", SocketAddress.format(contact))
      span.attribute("dht.outcome", outcome)
      span.end(nanosAt(endedAt ?? now), Exit.void)
    }
  })

  /** Every record from the network passes integrity and authority before it counts. */
  const isWanted = (target: NodeId, type: number, record: Record.SignedRecord, now: number): boolean =>
    (type === 0 || record.type === type) && Result.isSuccess(store.vet(target, record, Math.floor(now / 1000)))

  const findRecords = Effect.fn("Query.findRecords")(function*(target: NodeId, options?: FindOptions) {
    const type = options?.type ?? 0
    const quorum = options?.quorum ?? 1
    const local = (yield* store.getAll(target, type)).filter(Withdrawal.isStanding)
    if (quorum === 1 && Arr.isReadonlyArrayNonEmpty(local)) return local
    const { trace, ...walked } = yield* walk(target, { type, quorum })
    const records = walked.records.filter(Withdrawal.isStanding)
    return Arr.isReadonlyArrayNonEmpty(records)
      ? records
      : yield* new NoMatchingRecords({ target, type, answered: answeredOf(trace) })
  })

  const aggregateRecords = Effect.fn("Query.aggregateRecords")(function*(target: NodeId, type = 0) {
    const { trace, ...walked } = yield* walk(target, { type })
    const records = walked.records.filter(Withdrawal.isStanding)
    return Arr.isReadonlyArrayNonEmpty(records)
      ? records
      : yield* new NoMatchingRecords({ target, type, answered: answeredOf(trace) })
  })

  const resolve = Effect.fn("Query.resolve")(function*(target: NodeId, options?: Pick<FindOptions, "quorum">) {
    const records = yield* findRecords(target, { type: Record.RecordType.endpoint, quorum: options?.quorum }).pipe(
      Effect.catchTag("NoMatchingRecords", ({ answered }) => new NoEndpoint({ target, answered }))
    )
    const record = records.reduce((newest, other) => Record.isNewer(other, newest) ? other : newest)
    // A record that was let in has a payload that can be read.
    const payload = yield* Effect.fromResult(Endpoint.decode(record.payload)).pipe(Effect.orDie)
    return { ...payload, record }
  })

  /** Types that are asked for: any, and by name those that new mail shall not crowd out of an answer. */
  const named = [0, Record.RecordType.endpoint, Record.RecordType.profile]

  const resolveAll: Query["Service"]["resolveAll"] = Effect.fn("Query.resolveAll")(function*(address) {
    const target = nodeIdOf(address)
    const walks = yield* Effect.forEach(named, (type) => walk(target, { type }), { concurrency: "unbounded" })
    const newest = new Map<number, Record.SignedRecord>()
    for (const record of walks.flatMap(({ records }) => records)) {
      if (record.address !== address || Record.category(record.type) !== "sovereign") continue
      const known = newest.get(record.type)
      if (known === undefined || Record.isNewer(record, known)) newest.set(record.type, record)
    }
    const records = Array.from(newest.values()).sort((a, b) => a.type - b.type)
    return Arr.isReadonlyArrayNonEmpty(records)
      ? records
      : yield* new NoMatchingRecords({ target, type: 0, answered: answeredOf(walks[0].trace) })
  })

  return Query.of({
    findNode: (target) => Effect.map(walk(target), ({ closest }) => closest),
    findRecords,
    aggregateRecords,
    resolve,
    resolveAll,
    walk
  })
})

const answeredOf = (trace: ReadonlyArray<Step>): number => trace.filter((step) => step.outcome === "Answered").length

/**
 * Lookups that begin at the contacts of the routing table.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Query,
  never,
  Alarms | NodeEvents | NodeIdentity | Rpc.Rpc | Routing.Routing | PeerHealth.PeerHealth | Reachability | Store
> = Layer.effect(Query, make)
