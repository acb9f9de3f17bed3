/**
 * Replication of our records to the nodes closest to each record's key, for as
 * long as the record lives.
 *
 * One job per slot of a record places the copies, checks the replicas from time
 * to time, and replaces those that lost theirs. A newer record of the slot
 * takes over the job. If the node's state is kept, jobs continue after a
 * restart, unless they were withdrawn.
 *
 * @module
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import type { Address } from "./Address.ts"
import type { Contact } from "./Contact.ts"
import { slotOf } from "./core/recordMerge.ts"
import { type Action, type Replica, ReplicaSet } from "./core/replicaSet.ts"
import { DelegationChecks } from "./DelegationChecks.ts"
import * as Features from "./Features.ts"
import * as Message from "./Message.ts"
import { NodeEvents } from "./NodeEvents.ts"
import type { NodeId } from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Persistence } from "./Persistence.ts"
import type { PublishHint } from "./PublishHint.ts"
import { type Neighbourhood, Query } from "./Query.ts"
import { isHairpin, Reachability } from "./Reachability.ts"
import * as Record from "./Record.ts"
import * as Request from "./Request.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { Store } from "./Store.ts"

export type { Replica } from "./core/replicaSet.ts"

/**
 * Number of nodes that should hold a copy.
 *
 * @category constants
 * @since 0.1.0
 */
export const replicas = 8

/**
 * Fewer nodes than requested confirmed a copy in the given time.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotEnoughReplicas extends Data.TaggedError("NotEnoughReplicas")<{
  readonly key: NodeId
  readonly wanted: number
  readonly confirmed: ReadonlyArray<Contact>
}> {
  override get message() {
    return `${this.confirmed.length} of ${this.wanted} nodes hold a copy of the record at ${this.key}`
  }
}

/**
 * Too few nodes hold a copy, because those closest to the key have no room for
 * another record there. Use a more specific topic, which has a key of its own,
 * or try again when other records have expired.
 *
 * @category errors
 * @since 0.1.0
 */
export class KeyFull extends Data.TaggedError("KeyFull")<{
  readonly key: NodeId
  readonly wanted: number
  readonly confirmed: ReadonlyArray<Contact>
  /** Nodes that have no room for the record. */
  readonly full: ReadonlyArray<Contact>
}> {
  override get message() {
    return `${this.full.length} nodes have no room for another record at ${this.key}, and ` +
      `${this.confirmed.length} of ${this.wanted} hold a copy: publish under another key, or try again later`
  }
}

/**
 * A published record. After a newer record of its slot is published, these
 * properties describe that one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Publication {
  readonly key: NodeId
  /** The record as first signed. */
  readonly record: Record.SignedRecord
  /** The record as copied: `record`, or a newer one signed because the network held a newer one. */
  readonly current: Effect.Effect<Record.SignedRecord>
  /** How nodes of other versions treat it, if that differs. */
  readonly hints: ReadonlyArray<PublishHint>
  /** The nodes that hold a copy, as far as we know; nearest first. */
  readonly confirmed: Effect.Effect<ReadonlyArray<Contact>>
  /** The nodes close to the key that have no room for it there, as far as we know; at most 32. */
  readonly full: Effect.Effect<ReadonlyArray<Contact>>
  /**
   * Waits until `wanted` nodes hold a copy, no node is left to ask, or the time
   * is up. Fails with `StaleRecord` if a node holds a newer record that ours
   * cannot supersede: readers see that one. Fails with `KeyFull` if there are
   * too few copies because nodes have no room.
   */
  readonly replicas: (
    wanted: number,
    options: { readonly within: Duration.Input }
  ) => Effect.Effect<ReadonlyArray<Contact>, NotEnoughReplicas | KeyFull | Record.StaleRecord>
  /**
   * Whether nodes surround the key more closely than chance allows, possibly to
   * hide its records. Then the record is copied to the whole
   * region around the key, see `Query.neighbourhood`.
   */
  readonly isSurrounded: Effect.Effect<boolean>
}

/**
 * Options of a replicated record.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReplicateOptions {
  /** Signs the content again, newer than a record that a node holds; undefined if that is impossible. */
  readonly signOver?: ((held: Record.SignedRecord) => Effect.Effect<Record.SignedRecord | undefined>) | undefined
  readonly hints?: ReadonlyArray<PublishHint> | undefined
}

/**
 * A withdrawal in progress.
 *
 * @category models
 * @since 0.1.0
 */
export interface Recall {
  /** Waits until all responsive replicas have answered, or failed to. */
  readonly answered: Effect.Effect<void>
}

/**
 * State of a record whose copies are maintained.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReplicatedRecord {
  readonly key: NodeId
  readonly record: Record.SignedRecord
  /** Nearest first. */
  readonly replicas: ReadonlyArray<Replica>
  /** Nodes close to the key that have no room for it there, as far as we know; at most 32. */
  readonly full: ReadonlyArray<Contact>
  /** See {@link Publication}. */
  readonly isSurrounded: boolean
}

/**
 * Statistics of the maintained records.
 *
 * @category models
 * @since 0.1.0
 */
export interface Summary {
  readonly records: number
  /** Records that at least {@link replicas} nodes hold. */
  readonly complete: number
  /** Records that no other node holds, as far as we know. */
  readonly uncopied: number
  /** Nodes that hold the current record, of all records together. */
  readonly confirmed: number
  /**
   * The same, counting at most {@link replicas} per record: surplus copies of
   * one record do not offset the lack of another.
   */
  readonly confirmedOfWanted: number
  /** Nodes that have yet to receive the current record, or to show their copy. */
  readonly unconfirmed: number
  /** Records with fewer than {@link replicas} copies, while nodes close to their keys have no room. */
  readonly full: number
  /** Records whose keys are surrounded, see {@link Publication}. */
  readonly surrounded: number
}

/**
 * Position of a record in the order of {@link ReplicatedPage}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly confirmed: number
  /** Number of the record in the order of publication. */
  readonly job: number
}

/**
 * A page of the maintained records: those with fewer copies first, those with
 * enough last.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReplicatedPage {
  readonly replicated: ReadonlyArray<ReplicatedRecord>
  /** Position after which the next page begins, if there is more. */
  readonly next: Place | undefined
}

/**
 * Places and maintains the copies of records that this node published.
 *
 * @category services
 * @since 0.1.0
 */
export class Replication extends Context.Service<Replication, {
  /** Maintains the copies of a record until it expires. Returns at once. */
  readonly replicate: (
    key: NodeId,
    record: Record.SignedRecord,
    options?: ReplicateOptions
  ) => Effect.Effect<Publication>
  /**
   * Stops maintaining a record, and sends a withdrawal to every node that may
   * hold a copy; to a replica that does not answer, until the withdrawal
   * expires. Returns at once.
   */
  readonly recall: (key: NodeId, withdrawal: Record.SignedRecord) => Effect.Effect<Recall>
  /** Stops maintaining a record, or any newer one of its slot. Copies stay until they expire. */
  readonly withdraw: (publication: Publication) => Effect.Effect<void>
  /** Stops maintaining all records that an address published. */
  readonly forget: (publisher: Address) => Effect.Effect<void>
  /** All maintained records. */
  readonly replicated: Effect.Effect<ReadonlyArray<ReplicatedRecord>>
  /** Statistics of the maintained records. */
  readonly summary: Effect.Effect<Summary>
  /** At most `limit` maintained records, those with the fewest copies first. */
  readonly page: (
    options: { readonly limit: number; readonly after?: Place | undefined }
  ) => Effect.Effect<ReplicatedPage>
}>()("effect-dht/Replication") {}

/** Nodes that may be asked to hold a copy: Kademlia's K. */
const candidates = 16

/** Maximum time for one node to take a copy, or to show it. */
const requestOptions = { attempts: 6, deadline: 5000 }

/** Jobs that are processed without a pause. */
const jobsAtOnce = 1024

/** Nodes without room that are remembered: of two lookups. */
const maxFull = 32

/** Longest sleep of a job. */
const lookMillis = 60_000

/**
 * Maximum number of times one publication is signed over the records of others,
 * so that two publishers in conflict stop.
 */
const maxSignedOver = 4

/** Outcome of a request; `Woken`: there may be more to do. */
type Outcome =
  | { readonly _tag: "Woken" }
  | { readonly _tag: "Found"; readonly neighbourhood: Neighbourhood }
  | {
    readonly _tag: "Stored" | "Refused" | "Unwanted" | "Full" | "Kept" | "Lost" | "Failed"
    readonly contact: Contact
  }
  | {
    /** The node holds a newer record. */
    readonly _tag: "Superseded"
    readonly contact: Contact
    readonly held: Record.SignedRecord
    readonly by: "Store" | "Probe"
  }

/**
 * What a node shows of a record's slot: the same record, a newer valid one,
 * `Other`, or nothing. `Unclear` is nothing when records of other slots fill
 * the response.
 */
type Shown = "Same" | "Other" | "Nothing" | "Unclear" | Record.SignedRecord

/** One publication: its record and state. */
interface Edition {
  record: Record.SignedRecord
  readonly options: ReplicateOptions
  /** Whether it was ever placed completely; a newer record found after that was published later. */
  isPlaced: boolean
  signedOver: number
  /** A newer record that readers see instead. */
  supersededBy: Record.SignedRecord | undefined
  /** Whether its maintenance has ended. */
  isOver: boolean
  readonly isWithdrawal: boolean
}

const editionOf = (record: Record.SignedRecord): Edition => ({
  record,
  options: {},
  isPlaced: false,
  signedOver: 0,
  supersededBy: undefined,
  isOver: false,
  isWithdrawal: false
})

interface Job {
  /** Number of the job, counted from the start of the node. */
  readonly number: number
  readonly key: NodeId
  edition: Edition
  readonly set: ReplicaSet
  /** Nodes without room for the record. */
  readonly full: Map<NodeId, Contact>
  isSurrounded: boolean
  /** The warnings that were logged, so that none is repeated. */
  readonly warned: Set<"Full" | "Surrounded">
  /** Answers that have to be checked before they count. */
  checking: number
  readonly outcomes: Queue.Queue<Outcome>
  /** Opened at every change that a caller may wait for. */
  readonly changed: Latch.Latch
}

const make = Effect.gen(function*() {
  const rpc = yield* Rpc.Rpc
  const query = yield* Query
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const settings = yield* NodeSettings
  const reachability = yield* Reachability
  const local = yield* Store
  const checks = yield* DelegationChecks
  const persistence = yield* Persistence
  const clock = yield* Clock.Clock
  const events = yield* NodeEvents
  const fibers = yield* FiberMap.make<string>()
  const jobs = new Map<string, Job>()
  let begun = 0

  // --- Requests ----------------------------------------------------------------

  /** Looks up the record at a peer and checks the proof it shows. */
  const look = Effect.fnUntraced(function*(peer: Contact, key: NodeId, record: Record.SignedRecord) {
    // A holder that filters shows the record, however many others it has.
    const filters = health.hasUnsafe(peer.id, Features.Bit.paging)
    const { body } = yield* rpc.request(
      peer,
      {
        _tag: "FindValue",
        target: key,
        recordType: record.type,
        subscribe: false,
        publisher: filters ? record.address : undefined
      },
      { ...requestOptions, maintenance: true }
    )
    const slot = slotAt(key, record)
    const records = Request.recordsOf(body)
    const rivals = records.filter((other) => slotAt(key, other) === slot)
    if (rivals.some((other) => isSame(other, record)) || body.listed?.includes(Message.digest(record))) return "Same"
    const now = clock.currentTimeMillisUnsafe() / 1000
    // A record from the future by our clock still supersedes ours: the clock of
    // its holder may be ahead.
    const candidates = rivals.filter((other) => Record.isNewer(other, record))
    const ready = yield* Effect.callback<ReadonlyArray<Record.SignedRecord>>((resume) =>
      checks.prepareUnsafe(
        candidates,
        { network: SocketAddress.network(peer.host), isAwaited: true },
        (ready) => resume(Effect.succeed(ready))
      )
    )
    const newer = ready.filter((other) =>
      Result.isSuccess(local.vet(key, other, Math.floor(Math.max(now, Number(other.timestamp)))))
    )
    if (newer.length > 0) return newer.reduce((newest, other) => Record.isNewer(other, newest) ? other : newest)
    if (rivals.length > 0) return "Other"
    if (filters) return "Nothing"
    const room = Record.maxResolvableSize - record.bytes.length
    return records.reduce((size, other) => size + other.bytes.length, 0) > room ? "Unclear" : "Nothing"
  }, Effect.map((shown): Shown => shown))

  const store = Effect.fnUntraced(function*(peer: Contact, job: Job, record: Record.SignedRecord) {
    const { key } = job
    const { body } = yield* rpc.request(peer, { _tag: "Store", record, key }, requestOptions)
    if (body.stored && !body.alreadyHad) return "Stored"
    // Only v0.2 gives a reason. A policy is permanent; an invalid record may be
    // due to a wrong clock, ours or the peer's.
    if (body.reason === Message.storeReason.policy) return "Unwanted"
    if (body.reason === Message.storeReason.full) return "Full"
    if (body.reason !== 0) return "Refused"
    // The peer claims to hold an equal or a newer record, and a newer one is
    // not a copy of ours. v0.1 answers false, whatever the reason.
    job.checking++
    const shown = yield* Effect.ensuring(look(peer, key, record), Effect.sync(() => job.checking--))
    if (typeof shown !== "string") return shown
    return shown === "Same" || shown !== "Other" && body.alreadyHad ? "Stored" : "Refused"
  })

  const probe = Effect.fnUntraced(function*(peer: Contact, key: NodeId, record: Record.SignedRecord) {
    const shown = yield* look(peer, key, record)
    if (typeof shown !== "string") return shown
    if (shown !== "Unclear") return shown === "Same" ? "Kept" : "Lost"
    // A record that did not fit into the response may still be held. After
    // storing it again it is held, unless it is refused for a reason.
    const { body } = yield* rpc.request(peer, { _tag: "Store", record, key }, { ...requestOptions, maintenance: true })
    return body.reason === 0 ? "Kept" : "Lost"
  })

  const lookUp = Effect.fnUntraced(function*(key: NodeId) {
    const { closest, isSurrounded, region }: Neighbourhood = (yield* Ref.get(settings.passive))
      ? { closest: yield* routing.nearest(key, candidates), region: [], isSurrounded: false }
      : yield* query.neighbourhood(key)
    const publicHost = yield* reachability.publicHost
    const now = clock.currentTimeMillisUnsafe()
    const isUsable = (peer: Contact) => !isHairpin(peer, publicHost) && health.allowContactUnsafe(peer.id, now)
    return { closest: closest.filter(isUsable), region: region.filter(isUsable), isSurrounded }
  })

  const carryOut = (
    action: Exclude<Action, { readonly _tag: "Wait" }>,
    job: Job,
    record: Record.SignedRecord
  ): Effect.Effect<Outcome> => {
    if (action._tag === "Lookup") {
      return Effect.map(lookUp(job.key), (neighbourhood) => ({ _tag: "Found", neighbourhood }))
    }
    const { _tag: by, contact } = action
    return Effect.match(by === "Store" ? store(contact, job, record) : probe(contact, job.key, record), {
      onFailure: (): Outcome => ({ _tag: "Failed", contact }),
      onSuccess: (outcome): Outcome =>
        typeof outcome === "string" ? { _tag: outcome, contact } : { _tag: "Superseded", contact, held: outcome, by }
    })
  }

  const apply = (job: Job, outcome: Outcome, now: number): void => {
    const { full, set } = job
    switch (outcome._tag) {
      case "Woken":
        return
      case "Found": {
        const { closest, isSurrounded, region } = outcome.neighbourhood
        if (isSurrounded !== job.isSurrounded) surrounded(job, isSurrounded)
        // Nodes that surround the key would take all copies and show none.
        set.want(isSurrounded ? closest.length + region.length : replicas)
        return set.found([...closest, ...region], now)
      }
      case "Full":
        if (full.size < maxFull) full.set(outcome.contact.id, outcome.contact)
        return set.refused(outcome.contact.id, now, { stable: true })
      case "Stored":
        full.delete(outcome.contact.id)
        return set.stored(outcome.contact.id, now)
      case "Refused":
        return set.refused(outcome.contact.id, now, { stable: false })
      case "Unwanted":
        return set.refused(outcome.contact.id, now, { stable: true })
      case "Kept":
        return set.kept(outcome.contact.id, now)
      case "Lost":
        return set.lost(outcome.contact.id, now)
      case "Superseded":
        return set.superseded(outcome.contact.id, now)
      case "Failed":
        return set.failed(outcome.contact.id, now)
    }
  }

  /** Reports events to listeners. */
  const report = ({ edition: { record }, key }: Job, outcome: Outcome): void => {
    if (!events.hasListeners || outcome._tag === "Woken" || outcome._tag === "Found") return
    const { _tag, contact } = outcome
    events.tellUnsafe({
      _tag: "ReplicaReported",
      at: clock.currentTimeMillisUnsafe(),
      key,
      record,
      contact,
      outcome: _tag
    })
  }

  const tell = (
    _tag: "PublicationStarted" | "PublicationRenewed" | "PublicationEnded",
    { edition: { record }, key }: Job
  ): void => {
    if (events.hasListeners) events.tellUnsafe({ _tag, at: clock.currentTimeMillisUnsafe(), key, record })
  }

  const surrounded = (job: Job, isSurrounded: boolean): void => {
    job.isSurrounded = isSurrounded
    const { edition: { record }, key } = job
    if (isSurrounded && events.hasListeners) {
      events.tellUnsafe({ _tag: "KeySurrounded", at: clock.currentTimeMillisUnsafe(), key, record })
    }
  }

  /** Logs each obstacle between readers and the record once. */
  const warn = Effect.fnUntraced(function*({ edition: { isWithdrawal }, full, isSurrounded, key, set, warned }: Job) {
    // Programs on a client wait for the outcome, which reports the same.
    if (isWithdrawal || settings.client) return
    if (isSurrounded && !warned.has("Surrounded")) {
      warned.add("Surrounded")
      yield* Effect.logWarning(
        `Nodes surround the key ${key} more closely than chance allows, as if to hide what is there. The record is ` +
          "copied to the whole region around it"
      )
    }
    if (full.size > 0 && set.confirmedCount < replicas && !warned.has("Full")) {
      warned.add("Full")
      const facts = { key, wanted: replicas, confirmed: set.confirmed, full: Array.from(full.values()) }
      yield* Effect.logWarning(new KeyFull(facts).message)
    }
  })

  // --- A job -------------------------------------------------------------------

  /** Replaces the job's record by a newer one. */
  const renew = (job: Job, record: Record.SignedRecord): void => {
    persistence.save({ _tag: "Published", key: job.key, record, replaced: job.edition.record })
    job.edition.record = record
    job.full.clear()
    // At once, so that copies of the old record do not count as copies of the new one.
    job.set.renew(clock.currentTimeMillisUnsafe())
    tell("PublicationRenewed", job)
  }

  /**
   * A node holds a newer record than the given one. While ours is being placed,
   * it is signed again over that one. A record newer than a placed one was
   * published later.
   */
  const overtaken = Effect.fnUntraced(function*(job: Job, { by, contact, held }: Extract<Outcome, { held: unknown }>) {
    const { edition, key, set } = job
    const now = clock.currentTimeMillisUnsafe()
    if (!Record.isNewer(held, edition.record)) {
      // In the meantime our record has become the newer one.
      return isSame(held, edition.record) ? set.stored(contact.id, now) : set.superseded(contact.id, now)
    }
    const { signOver } = edition.options
    if (by === "Store" && signOver !== undefined && !edition.isPlaced && edition.signedOver < maxSignedOver) {
      edition.signedOver++
      const over = yield* signOver(held)
      if (over !== undefined) {
        set.superseded(contact.id, now)
        return renew(job, over)
      }
    }
    set.superseded(contact.id, now)
    edition.supersededBy = held
    yield* Effect.ignore(local.put(key, held))
    // A record that was never placed must not be placed later, where it could
    // be taken for the newest.
    if (!edition.isPlaced) edition.isOver = true
  })

  const lookAfter = Effect.fnUntraced(function*(job: Job) {
    const { changed, outcomes, set } = job
    // The scope of the job interrupts its requests in flight when it ends.
    const requests = yield* FiberSet.make()
    while (true) {
      const now = clock.currentTimeMillisUnsafe()
      const { isOver, record } = job.edition
      if (isOver) persistence.save({ _tag: "Withdrawn", key: job.key, record })
      if (isOver || set.isDone || record.expiresAt * 1000 < now) break
      const action = set.poll(now)
      if (action._tag !== "Wait") {
        yield* FiberSet.run(
          requests,
          Effect.flatMap(carryOut(action, job, record), (outcome) => Queue.offer(outcomes, outcome))
        )
        continue
      }
      if (set.settled(now)) {
        job.edition.isPlaced = true
        yield* warn(job)
      }
      changed.openUnsafe()
      const until = Math.min(action.until ?? Infinity, record.expiresAt * 1000 + 1000)
      const batch = yield* Effect.timeoutOrElse(Queue.takeAll(outcomes), {
        // A sleep does not notice when the clock is set.
        duration: Math.min(until - now, lookMillis),
        orElse: () => Effect.succeed<ReadonlyArray<Outcome>>([])
      })
      for (const outcome of batch) {
        if (outcome._tag === "Superseded") yield* overtaken(job, outcome)
        else apply(job, outcome, clock.currentTimeMillisUnsafe())
        report(job, outcome)
      }
    }
    // Records published from now on get jobs of their own.
    ended(job)
  }, Effect.scoped)

  const ended = (job: Job): void => {
    const slot = slotAt(job.key, job.edition.record)
    if (jobs.get(slot) === job) jobs.delete(slot)
  }

  const replicate = Effect.fn("Replication.replicate")(
    function*(key: NodeId, record: Record.SignedRecord, options: ReplicateOptions = {}) {
      const replaced = jobs.get(slotAt(key, record))?.edition.record
      if (replaced === undefined || Record.isNewer(record, replaced)) {
        persistence.save({ _tag: "Published", key, record, replaced })
      }
      return publicationOf(yield* begin(key, record, options))
    }
  )

  /** Moves the job to a newer record. */
  const proceed = (job: Job, edition: Edition) => {
    job.edition = edition
    job.full.clear()
    tell("PublicationRenewed", job)
    return Queue.offer(job.outcomes, { _tag: "Woken" })
  }

  /** Returns the job of the record's slot, for this record unless the job has a newer one. */
  const begin = Effect.fnUntraced(function*(key: NodeId, record: Record.SignedRecord, options: ReplicateOptions = {}) {
    const edition: Edition = { ...editionOf(record), options }
    const slot = slotAt(key, record)
    const running = jobs.get(slot)
    if (running !== undefined) {
      if (Record.isNewer(record, running.edition.record)) {
        running.set.renew(clock.currentTimeMillisUnsafe())
        yield* proceed(running, edition)
      }
      return running
    }
    const job: Job = {
      number: ++begun,
      key,
      edition,
      set: new ReplicaSet({ key, wanted: replicas }),
      full: new Map(),
      isSurrounded: false,
      warned: new Set(),
      checking: 0,
      outcomes: yield* Queue.unbounded<Outcome>(),
      changed: Latch.makeUnsafe()
    }
    jobs.set(slot, job)
    tell("PublicationStarted", job)
    yield* FiberMap.run(
      fibers,
      slot,
      lookAfter(job).pipe(
        Effect.catchCause((cause) => Effect.logWarning("Replication failed", cause)),
        Effect.annotateLogs({ module: "effect-dht/Replication", key }),
        Effect.ensuring(Effect.sync(() => {
          ended(job)
          job.changed.openUnsafe()
          tell("PublicationEnded", job)
        }))
      )
    )
    return job
  })

  /** Waits until the condition holds, or the job has ended. */
  const waitUntil = (job: Job, isSo: (now: number) => boolean): Effect.Effect<void> =>
    Effect.suspend(() => {
      const hasEnded = jobs.get(slotAt(job.key, job.edition.record)) !== job
      if (hasEnded || isSo(clock.currentTimeMillisUnsafe())) return Effect.void
      job.changed.closeUnsafe()
      return Effect.andThen(job.changed.await, waitUntil(job, isSo))
    })

  const publicationOf = (job: Job): Publication => {
    const { edition, key, set } = job
    return {
      key,
      record: edition.record,
      current: Effect.sync(() => edition.record),
      hints: edition.options.hints ?? [],
      confirmed: Effect.sync(() => set.confirmed),
      full: Effect.sync(() => Array.from(job.full.values())),
      replicas: Effect.fnUntraced(function*(wanted, { within }) {
        // A response that is still being checked may contain a newer record.
        const isOver = (now: number) => job.checking === 0 && (set.settled(now) || set.confirmed.length >= wanted)
        yield* Effect.timeoutOption(waitUntil(job, isOver), within)
        const { record, supersededBy } = job.edition
        if (supersededBy !== undefined) return yield* Record.stale(record, supersededBy)
        const { confirmed } = set
        if (confirmed.length >= wanted) return confirmed
        const full = Array.from(job.full.values())
        return full.length > 0
          ? yield* new KeyFull({ key, wanted, confirmed, full })
          : yield* new NotEnoughReplicas({ key, wanted, confirmed })
      }),
      isSurrounded: Effect.sync(() => job.isSurrounded)
    }
  }

  const recall: Replication["Service"]["recall"] = Effect.fn("Replication.recall")(function*(key, withdrawal) {
    const running = jobs.get(slotAt(key, withdrawal))
    if (running === undefined || !Record.isNewer(withdrawal, running.edition.record)) {
      return { answered: Effect.void }
    }
    // A later run must not resume the job: it would not know the nodes that hold a copy.
    persistence.save({ _tag: "Withdrawn", key, record: running.edition.record })
    for (const peer of running.set.withdraw(clock.currentTimeMillisUnsafe())) {
      // The withdrawal is not awaited.
      rpc.requestUnsafe(peer, { _tag: "Store", record: withdrawal, key }, { attempts: 1 }, () => {})()
    }
    yield* proceed(running, { ...editionOf(withdrawal), isWithdrawal: true })
    if (running.set.isDone) yield* FiberMap.remove(fibers, slotAt(key, withdrawal))
    return { answered: waitUntil(running, () => running.set.isWithdrawalAttempted) }
  })

  const withdraw = (key: NodeId, record: Record.SignedRecord) =>
    Effect.suspend(() => {
      const slot = slotAt(key, record)
      // A failed job must not start again either.
      persistence.save({ _tag: "Withdrawn", key, record: jobs.get(slot)?.edition.record ?? record })
      return FiberMap.remove(fibers, slot)
    })

  const replicatedOf = ({ edition: { record }, full, isSurrounded, key, set }: Job): ReplicatedRecord => ({
    key,
    record,
    replicas: set.replicas,
    full: Array.from(full.values()),
    isSurrounded
  })

  /** The jobs whose records are not withdrawals. */
  const standing = (): ReadonlyArray<Job> => Array.from(jobs.values()).filter(({ edition }) => !edition.isWithdrawal)

  const enough = ({ set }: Job): number => Math.min(set.confirmedCount, replicas)

  const summary = (): Summary => {
    let [complete, uncopied, confirmed, confirmedOfWanted, unconfirmed, full, surrounded] = [0, 0, 0, 0, 0, 0, 0]
    const counted = standing()
    for (const { full: withoutRoom, isSurrounded, set } of counted) {
      const count = set.confirmedCount
      if (count >= replicas) complete++
      if (count === 0) uncopied++
      confirmed += count
      confirmedOfWanted += Math.min(count, replicas)
      unconfirmed += set.size - count
      if (count < replicas && withoutRoom.size > 0) full++
      if (isSurrounded) surrounded++
    }
    const records = counted.length
    return { records, complete, uncopied, confirmed, confirmedOfWanted, unconfirmed, full, surrounded }
  }

  const page: Replication["Service"]["page"] = Effect.fnUntraced(function*({ after, limit }) {
    const byConfirmed = Array.from({ length: replicas + 1 }, (): Array<Job> => [])
    let looked = 0
    for (const job of standing()) {
      if (++looked % jobsAtOnce === 0) yield* Effect.yieldNow
      const confirmed = enough(job)
      const isAfter = after === undefined || confirmed > after.confirmed ||
        confirmed === after.confirmed && job.number > after.job
      if (isAfter) byConfirmed[confirmed].push(job)
    }
    const found = byConfirmed.flat()
    const shown = found.slice(0, limit)
    const last = shown.at(-1)
    return {
      replicated: shown.map(replicatedOf),
      next: last === undefined || shown.length === found.length
        ? undefined
        : { confirmed: enough(last), job: last.number }
    }
  })

  for (const { key, record } of yield* persistence.kept.publications) yield* begin(key, record)

  return Replication.of({
    replicate,
    recall,
    withdraw: ({ key, record }) => withdraw(key, record),
    forget: (publisher) =>
      Effect.suspend(() =>
        Effect.forEach(
          Array.from(jobs.values()).filter(({ edition }) => edition.record.address === publisher),
          ({ edition, key }) => withdraw(key, edition.record),
          { discard: true }
        )
      ),
    replicated: Effect.sync(() => standing().map(replicatedOf)),
    summary: Effect.sync(summary),
    page
  })
})

const slotAt = (key: NodeId, record: Record.SignedRecord): string =>
  `${key} ${slotOf(Record.category(record.type), record)}`

/** Equal signatures mean equal records. */
const isSame = (a: Record.SignedRecord, b: Record.SignedRecord): boolean => Bytes.Equivalence(a.signature, b.signature)

/**
 * Replication by the lookups of this node. Jobs of an earlier run continue.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Replication,
  never,
  | DelegationChecks
  | NodeEvents
  | Rpc.Rpc
  | Query
  | Routing.Routing
  | PeerHealth.PeerHealth
  | NodeSettings
  | Persistence
  | Reachability
  | Store
> = Layer.effect(Replication, make)
