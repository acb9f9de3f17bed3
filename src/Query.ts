/**
 * Lookups through the network, from the closest known nodes to the closest live
 * ones, as in Kademlia (Maymounkov and Mazières, 2002).
 *
 * A state machine decides which node to ask next and when to stop; this module
 * carries it out. When a query ends, in whatever way, its requests in flight
 * end with it.
 *
 * @module
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Result from "effect/Result"
import type { Address } from "./Address.ts"
import type { Contact } from "./Contact.ts"
import { Collection } from "./core/collection.ts"
import * as Density from "./core/density.ts"
import { Lookup } from "./core/lookup.ts"
import type { OngoingQuery } from "./core/ongoingQuery.ts"
import { RecordMerge } from "./core/recordMerge.ts"
import { caps } from "./core/recordSet.ts"
import { DelegationChecks } from "./DelegationChecks.ts"
import * as Endpoint from "./Endpoint.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
import { InFlight } from "./InFlight.ts"
import * as Message from "./Message.ts"
import { NodeEvents, type QueryEvent, type QueryStep } from "./NodeEvents.ts"
import * as NodeId from "./NodeId.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { isHairpin, Reachability } from "./Reachability.ts"
import * as Record from "./Record.ts"
import * as Request from "./Request.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { Store } from "./Store.ts"
import { Timers } from "./Timers.ts"
import * as Withdrawal from "./Withdrawal.ts"

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
 * How complete the records of a key are.
 *
 * Holders running this library list all their records, so records that they
 * hold and did not deliver are counted. The reference's holders list no more
 * than fits one response.
 *
 * @category models
 * @since 0.1.0
 */
export interface Completeness {
  /** Nodes that answered, with records or without. */
  readonly answered: number
  /** Nodes that answered that they hold records. */
  readonly holders: number
  /** Different records read, older versions included. */
  readonly seen: number
  /** Different records that holders claim to hold. */
  readonly held: number
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
  /** The valid records that nodes returned, merged with our own: the newest of each slot, withdrawals included. */
  readonly records: ReadonlyArray<Record.SignedRecord>
  readonly completeness: Completeness
  /** Whether nodes surround the target more closely than chance allows; see {@link Neighbourhood}. */
  readonly isSurrounded: boolean
  /** The requests it sent, in order, and their outcomes. */
  readonly trace: ReadonlyArray<QueryStep>
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
 * What a lookup searches for at its target.
 *
 * @category models
 * @since 0.1.0
 */
export interface Find {
  /** 0 for any. */
  readonly type: number
  /** Ends the lookup once this many nodes have returned a record; otherwise all of the closest are asked. */
  readonly quorum?: number | undefined
  /** Subscribes at the holders to new records, for a minute. */
  readonly subscribe?: boolean | undefined
  /** Valid records that need not be read again. */
  readonly known?: ReadonlyArray<Record.SignedRecord> | undefined
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
  /** The nodes where the records of a key belong. */
  readonly neighbourhood: (target: NodeId.NodeId) => Effect.Effect<Neighbourhood>
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

/** What a lookup gives one peer at most. */
const deadline = 2000

/** Milliseconds to drain queued responses before calling a peer slow. */
const turnMillis = 1

/** Maximum number of verified seeds, then of unverified ones. */
const seeds = 32
const unverifiedSeeds = 16

/** Default number of the nearest nodes that must return a record. */
const defaultQuorum = 3

/** Lookups that measure the size of the network where a key seems to be surrounded. */
const samples = 4

/** Honest nodes to be expected in the region around a surrounded key. */
const regionNodes = 24

/** Maximum number of nodes of a region to ask besides the closest. */
const maxRegion = 48

/** Maximum number of holders per lookup that are given a newer version than they returned. */
const maxHealed = 8

/** Outcome of a request to one peer; no answer if it failed. */
interface Outcome {
  readonly contact: Contact
  readonly answer: Answer | undefined
}

interface Answer {
  readonly nodes: ReadonlyArray<Contact>
  readonly records: ReadonlyArray<Record.SignedRecord>
  /** Digests of further records that it holds. */
  readonly listed: ReadonlyArray<Message.RecordDigest>
}

/** Records of a type that a holder keeps at one key. */
const roomFor = (type: number): number => type === 0 ? caps.topic : caps[Record.category(type)]

/** What a lookup for records has read so far. */
class Reading {
  readonly found = new RecordMerge()
  readonly collection = new Collection()
  /** Versions returned by each holder, some of which may be outdated. */
  readonly returned: Array<{ readonly contact: Contact; readonly record: Record.SignedRecord }> = []
  answered = 0
  holders = 0
  /** Whether a holder has reached its limit for the key, so that other holders may have records that it lacks. */
  isOverfull = false

  take(record: Record.SignedRecord): void {
    this.found.put(record)
    this.collection.has(Message.digest(record))
  }

  get completeness(): Completeness {
    const { answered, collection: { held, seen }, holders } = this
    return { answered, holders, seen, held }
  }
}

const make = Effect.gen(function*() {
  const identity = yield* NodeIdentity
  const rpc = yield* Rpc.Rpc
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const reachability = yield* Reachability
  const store = yield* Store
  const checks = yield* DelegationChecks
  const clock = yield* Clock.Clock
  const timers = yield* Timers
  const events = yield* NodeEvents
  const random = yield* SecureRandom.SecureRandom

  /** A request fails early once packet loss no longer explains the silence of the peer. */
  const requestOptions = () => ({ attempts: health.attemptsUnsafe(), deadline, failFast: true })

  const nowSeconds = () => Math.floor(clock.currentTimeMillisUnsafe() / 1000)

  /** Asks one peer; returns how to give it up. */
  const ask = (
    contact: Contact,
    about: NodeId.NodeId,
    target: NodeId.NodeId,
    find: Find | undefined,
    done: (outcome: Outcome) => void
  ): () => void =>
    find === undefined
      ? rpc.requestUnsafe(contact, { _tag: "FindNode", target: about }, requestOptions(), (result) =>
        done({
          contact,
          answer: Result.isSuccess(result)
            ? { nodes: result.success.body.nodes ?? [], records: [], listed: [] }
            : undefined
        }))
      : rpc.requestUnsafe(
        contact,
        { _tag: "FindValue", target, recordType: find.type, subscribe: find.subscribe ?? false },
        requestOptions(),
        (result) => {
          if (Result.isFailure(result)) return done({ contact, answer: undefined })
          const { listed, nodes } = result.success.body
          prepare(contact, result.success.body, (records) =>
            done({ contact, answer: { nodes: nodes ?? [], records, listed: listed ?? [] } }))
        }
      )

  /** Calls back with the records of a response that can be checked without delay. */
  const prepare = (
    { host }: Contact,
    body: Request.Answers["FindValue"],
    done: (records: ReadonlyArray<Record.SignedRecord>) => void
  ): void => {
    const origin = { network: SocketAddress.network(host), isAwaited: true }
    checks.prepareUnsafe(Request.recordsOf(body), origin, done)
  }

  /** The address where we heard from a node takes precedence over the one that others report. */
  const asWeKnowIt = (node: Contact): Contact => {
    const entry = routing.entryUnsafe(node.id)
    return entry?.verifiedAt === undefined ? node : entry.contact
  }

  const lookUp: Query["Service"]["lookup"] = Effect.fn("Query.lookup")(function*(
    target: NodeId.NodeId,
    find?: Find,
    watch?: (event: QueryEvent) => void
  ): Effect.fn.Return<LookupResult> {
    const inFlight = new InFlight<Outcome>(timers)
    const kind = find === undefined ? "FindNode" : "FindValue"
    const startedAt = timers.now()
    const ongoing = events.queryUnsafe({ kind, target, type: find?.type }, startedAt, watch)
    return yield* Effect.ensuring(
      lookUpWith(inFlight, ongoing, startedAt, target, find),
      Effect.sync(() => {
        inFlight.giveUp()
        ongoing.over(timers.now())
      })
    )
  })

  const lookUpWith = Effect.fnUntraced(function*(
    inFlight: InFlight<Outcome>,
    ongoing: OngoingQuery,
    startedAt: number,
    target: NodeId.NodeId,
    find: Find | undefined
  ) {
    const started = clock.currentTimeMillisUnsafe()
    const publicHost = yield* reachability.publicHost
    const size = networkSize()
    const lookup = new Lookup({
      self: identity.nodeId,
      target,
      startedAt,
      quorum: find?.quorum,
      isSurrounded: (ids) => Density.isSurrounded(target, ids, size),
      awaitsSlow: find === undefined,
      subnet: SocketAddress.subnet,
      // Once its back-off is over, a bad peer deserves another try.
      isBad: (id) => health.isBadUnsafe(id) && !health.allowContactUnsafe(id, started),
      slowAfter: (id) => health.slowAfterUnsafe(id, started)
    })
    ongoing.follow(lookup)
    const known = yield* routing.nearestVerified(target, seeds, Routing.freshMillis)
    // One liar can invent all unverified contacts, so they must not displace
    // verified ones.
    for (const contact of [...known, ...yield* routing.nearest(target, unverifiedSeeds)]) {
      if (!isHairpin(contact, publicHost)) lookup.seed(contact)
    }

    const reading = new Reading()
    if (find !== undefined) {
      for (const record of [...find.known ?? [], ...(yield* store.getAll(target, find.type))]) reading.take(record)
    }

    while (true) {
      const now = timers.now()
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
        // The pause may have been ours and not the peer's: read the responses
        // that have arrived first.
        yield* Effect.sleep(turnMillis)
        batch = inFlight.takeAll()
      }
      for (const { answer, contact } of batch) {
        if (answer === undefined) {
          lookup.failed(contact.id, timers.now())
          ongoing.stepped(contact.id)
          continue
        }
        const at = clock.currentTimeMillisUnsafe()
        const holdsRecord = read(reading, target, find, contact, answer)
        routing.learnedUnsafe(answer.nodes, contact.id, at)
        const nodes = answer.nodes.map(asWeKnowIt).filter((node) => !isHairpin(node, publicHost))
        lookup.answered(contact.id, timers.now(), {
          nodes,
          holdsRecord,
          isClient: health.hasUnsafe(contact.id, Features.Bit.client)
        })
        ongoing.stepped(contact.id)
      }
    }

    const closest = lookup.closest()
    const ids = closest.map(({ id }) => id)
    // A lookup that a quorum ends has not found all of the closest.
    if (find?.quorum === undefined) routing.lookedUpUnsafe(target, closest, clock.currentTimeMillisUnsafe())
    const isSurrounded = find === undefined
      ? Density.isSurrounded(target, ids, networkSize())
      : yield* confirmSurrounded(target, closest)
    if (find !== undefined) {
      if (isSurrounded) yield* readAt(reading, target, find, yield* regionOf(target, closest, networkSize()))
      if (find.quorum === undefined) {
        const others = reading.isOverfull
          ? Effect.flatMap(unasked(target, lookup), (contacts) => readAt(reading, target, find, contacts))
          : Effect.void
        yield* Effect.all([collect(reading, target, find), others], { concurrency: "unbounded", discard: true })
        yield* collect(reading, target, find)
      }
      heal(reading, target)
    }
    const result: LookupResult = {
      closest,
      records: reading.found.live(nowSeconds()),
      completeness: reading.completeness,
      isSurrounded,
      // The requests are converted on access, because few callers read them.
      get trace() {
        return lookup.trace
      }
    }
    ongoing.done(result)
    yield* Effect.annotateCurrentSpan({ "dht.target": target, "dht.asked": lookup.requests })
    yield* showRequests(result, startedAt)
    return result
  })

  /** Takes the valid records of a response. Returns whether there are any. */
  const read = (
    reading: Reading,
    target: NodeId.NodeId,
    find: Find | undefined,
    contact: Contact,
    { listed, records }: Answer
  ): boolean => {
    if (find === undefined) return false
    const now = clock.currentTimeMillisUnsafe()
    const valid = records.filter((record) => isWanted(target, find.type, record, now))
    for (const record of valid) {
      reading.take(record)
      if (Record.category(record.type) !== "mailbox") reading.returned.push({ contact, record })
    }
    reading.collection.lists(contact, listed)
    if (valid.length + listed.length >= roomFor(find.type)) reading.isOverfull = true
    reading.answered++
    if (valid.length === 0 && listed.length === 0) return false
    reading.holders++
    return true
  }

  // --- Complete reads ----------------------------------------------------------

  /** Fetches records that holders listed but could not fit into their responses. */
  const collect = Effect.fnUntraced(function*(reading: Reading, target: NodeId.NodeId, find: Find) {
    interface Fetched {
      readonly holder: Contact
      readonly digests: ReadonlyArray<Message.RecordDigest>
      readonly records: ReadonlyArray<Record.SignedRecord> | undefined
    }
    const { collection } = reading
    const inFlight = new InFlight<Fetched>(timers)
    const fetch = ({ digests, holder }: Extract<ReturnType<typeof collection.poll>, { _tag: "Fetch" }>) =>
      inFlight.start((done) =>
        rpc.requestUnsafe(
          holder,
          { _tag: "FindValue", target, recordType: find.type, subscribe: false, wanted: digests },
          requestOptions(),
          (result) => {
            if (Result.isFailure(result)) return done({ holder, digests, records: undefined })
            prepare(holder, result.success.body, (records) => done({ holder, digests, records }))
          }
        )
      )
    yield* Effect.gen(function*() {
      while (true) {
        const step = collection.poll()
        if (step._tag === "Done") return
        if (step._tag === "Fetch") {
          fetch(step)
          continue
        }
        for (const { digests, holder, records } of yield* inFlight.take(undefined)) {
          if (records === undefined) {
            collection.failed(holder.id, digests)
            continue
          }
          const now = clock.currentTimeMillisUnsafe()
          const valid = records.filter((record) => isWanted(target, find.type, record, now))
          for (const record of valid) reading.take(record)
          collection.delivered(holder.id, digests, valid.map(Message.digest))
        }
      }
    }).pipe(Effect.ensuring(Effect.sync(() => inFlight.giveUp())))
  })

  /** Stores the newest version at holders that returned an older one, which repairs a rollback. */
  const heal = ({ found, returned }: Reading, target: NodeId.NodeId): void => {
    let healed = 0
    for (const { contact, record } of returned) {
      const newest = found.newest(record)
      if (newest === undefined || !Record.isNewer(newest, record)) continue
      rpc.requestUnsafe(contact, { _tag: "Store", record: newest, key: target }, { attempts: 1, deadline }, () => {})
      if (++healed === maxHealed) return
    }
  }

  // --- The size of the network ---------------------------------------------------

  const networkSize = () => routing.plausibleSizeUnsafe(clock.currentTimeMillisUnsafe())

  /** Measures the size of the network afresh, by lookups of unpredictable points, at most twice a minute. */
  const measure = yield* Effect.cachedWithTTL(
    Effect.gen(function*() {
      const bytes = yield* Effect.all(Array.from({ length: samples + 1 }, () => random.randomBytes(NodeId.length)))
      const [anywhere, ...others] = bytes
      const points = Density.samplePoints(NodeId.fromBytesUnsafe(anywhere), others)
      const results = yield* Effect.forEach(points, (point) => lookUp(point), { concurrency: "unbounded" })
      const lookups = results.map(({ closest }, i) => [points[i], closest] as const)
      routing.measuredUnsafe(lookups, clock.currentTimeMillisUnsafe())
    }),
    "30 seconds"
  )

  /**
   * Whether nodes surround the target. If they seem to, the size is measured and
   * they are judged again: with an estimate from before the network grew, every
   * key would look surrounded.
   */
  const confirmSurrounded = Effect.fnUntraced(function*(target: NodeId.NodeId, closest: ReadonlyArray<Contact>) {
    const ids = closest.map(({ id }) => id)
    const size = routing.robustSizeUnsafe(clock.currentTimeMillisUnsafe())
    if (!Density.isSurrounded(target, ids, size)) return false
    yield* measure
    return Density.isSurrounded(target, ids, networkSize())
  })

  // --- Regions -----------------------------------------------------------------

  /** Live nodes around a surrounded key, nearest first, without those given. */
  const regionOf = Effect.fnUntraced(function*(target: NodeId.NodeId, closest: ReadonlyArray<Contact>, size: number) {
    const radius = Density.radius(regionNodes, size)
    const lookups = yield* Effect.forEach(
      Density.pointsAround(target, radius),
      (point) => lookUp(point),
      { concurrency: "unbounded" }
    )
    const known = new Set(closest.map(({ id }) => id))
    const found = new Map(lookups.flatMap((result) => result.closest).map((contact) => [contact.id, contact]))
    return Array.from(found.values())
      .filter(({ id }) => !known.has(id) && Density.distance(target, id) <= radius)
      .sort((a, b) => NodeId.compareDistance(target, a.id, b.id))
      .slice(0, maxRegion)
  })

  /**
   * The closest nodes that a lookup for records missed. The answers of holders of
   * a crowded key have room for few nodes, the same ones in each.
   */
  const unasked = Effect.fnUntraced(function*(target: NodeId.NodeId, lookup: Lookup) {
    const { closest } = yield* lookUp(target)
    return closest.filter(({ id }) => lookup.step(id) === undefined)
  })

  /** Reads the records from further nodes, which the lookup did not ask. */
  const readAt = Effect.fnUntraced(function*(
    reading: Reading,
    target: NodeId.NodeId,
    find: Find,
    contacts: ReadonlyArray<Contact>
  ) {
    yield* Effect.forEach(
      contacts,
      (contact) =>
        Effect.callback<void>((resume) =>
          Effect.sync(ask(contact, target, target, find, ({ answer }) => {
            if (answer !== undefined) read(reading, target, find, contact, answer)
            resume(Effect.void)
          }))
        ),
      { concurrency: "unbounded", discard: true }
    )
  })

  const neighbourhood = Effect.fn("Query.neighbourhood")(function*(target: NodeId.NodeId) {
    const { closest } = yield* lookUp(target)
    const isSurrounded = yield* confirmSurrounded(target, closest)
    return { closest, isSurrounded, region: isSurrounded ? yield* regionOf(target, closest, networkSize()) : [] }
  })

  /** One span per request, as if each had a fiber of its own. */
  const showRequests = Effect.fnUntraced(function*(result: LookupResult, startedAt: number) {
    if (!(yield* References.TracerEnabled)) return
    const parent = yield* Effect.option(Effect.currentSpan)
    if (Option.isNone(parent)) return
    const tracer = yield* Effect.tracer
    const [time, now] = [clock.currentTimeNanosUnsafe(), timers.now()]
    const nanosAt = (at: number) => time - BigInt(Math.round((now - at) * 1e6))
    for (const { askedAfterMillis, contact, outcome, tookMillis } of result.trace) {
      const askedAt = startedAt + askedAfterMillis
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
      span.end(nanosAt(tookMillis === undefined ? now : askedAt + tookMillis), Exit.void)
    }
  })

  /** Every record from the network passes integrity and authority before it counts. */
  const isWanted = (target: NodeId.NodeId, type: number, record: Record.SignedRecord, now: number): boolean =>
    (type === 0 || record.type === type) && Result.isSuccess(store.vet(target, record, Math.floor(now / 1000)))

  const findRecords = Effect.fn("Query.findRecords")(function*(target: NodeId.NodeId, options?: FindOptions) {
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
  })

  const readAll = Effect.fn("Query.readAll")(function*(target: NodeId.NodeId, type = 0) {
    const { completeness, trace, ...result } = yield* lookUp(target, { type })
    const records = result.records.filter(Withdrawal.isStanding)
    return Arr.isReadonlyArrayNonEmpty(records)
      ? { records, completeness }
      : yield* new NoMatchingRecords({ target, type, answered: answeredOf(trace) })
  })

  const resolve = Effect.fn("Query.resolve")(function*(target: NodeId.NodeId, options?: Pick<FindOptions, "quorum">) {
    const records = yield* findRecords(target, { type: Record.RecordType.endpoint, quorum: options?.quorum }).pipe(
      Effect.catchTag("NoMatchingRecords", ({ answered }) => new NoEndpoint({ target, answered }))
    )
    const record = records.reduce((newest, other) => Record.isNewer(other, newest) ? other : newest)
    // The payload of a stored record can be decoded.
    const payload = yield* Effect.fromResult(Endpoint.decode(record.payload)).pipe(Effect.orDie)
    return { ...payload, record }
  })

  /** Requested types: any, and by name those that messages must not crowd out of a response. */
  const named = [0, Record.RecordType.endpoint, Record.RecordType.profile]

  const resolveAll: Query["Service"]["resolveAll"] = Effect.fn("Query.resolveAll")(function*(address) {
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
  })

  return Query.of({
    findNode: (target) => Effect.map(lookUp(target), ({ closest }) => closest),
    neighbourhood,
    findRecords,
    readAll,
    aggregateRecords: (target, type) => Effect.map(readAll(target, type), ({ records }) => records),
    resolve,
    resolveAll,
    lookup: lookUp
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
