/**
 * Copies of our records where the network looks for them: on the nodes closest
 * to each record's key, for as long as the record lives.
 *
 * One job per slot of a record: it places the copies, asks each replica from
 * time to time whether it still holds its copy, and replaces those that do
 * not. A newer record of the slot takes over the job. Where the node's state is
 * kept, jobs that were not withdrawn go on after a restart.
 *
 * @since 0.1.0
 */
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
import type { Address } from "./Address.ts"
import type { Contact } from "./Contact.ts"
import { slotOf } from "./internal/recordSet.ts"
import { type Action, ReplicaSet } from "./internal/replicaSet.ts"
import { NodeEvents } from "./NodeEvents.ts"
import type { NodeId } from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Persistence } from "./Persistence.ts"
import { Query } from "./Query.ts"
import { isHairpin, Reachability } from "./Reachability.ts"
import * as Record from "./Record.ts"
import * as Request from "./Request.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"

/**
 * How many nodes shall hold a copy.
 *
 * @category constants
 * @since 0.1.0
 */
export const replicas = 8

/**
 * Fewer nodes than asked for confirmed a copy in the time given.
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
 * A published record. When a newer record of its slot is published, what is
 * said here is said of that one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Publication {
  readonly key: NodeId
  readonly record: Record.SignedRecord
  /** The nodes that hold a copy, as far as we know; nearest first. */
  readonly confirmed: Effect.Effect<ReadonlyArray<Contact>>
  /** Waits until `wanted` nodes hold a copy, or nobody is left to ask, or the time is up. */
  readonly replicas: (
    wanted: number,
    options: { readonly within: Duration.Input }
  ) => Effect.Effect<ReadonlyArray<Contact>, NotEnoughReplicas>
}

/**
 * A record whose copies are looked after, as it stands.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tended {
  readonly key: NodeId
  readonly record: Record.SignedRecord
  /** Nearest first. */
  readonly replicas: ReadonlyArray<{
    readonly contact: Contact
    /** It holds the current record, as far as we know. */
    readonly isConfirmed: boolean
    /** It failed twice in a row, and did not prove better since. */
    readonly isSuspect: boolean
  }>
}

/**
 * What is looked after, in figures.
 *
 * @category models
 * @since 0.1.0
 */
export interface Summary {
  readonly records: number
  /** Records that at least {@link replicas} nodes hold. */
  readonly complete: number
  /** Records that nobody else holds, as far as we know. */
  readonly uncopied: number
  /** Nodes that hold the current record, of all records together. */
  readonly confirmed: number
  /** The same where none above {@link replicas} counts: what one record has more makes up for no other's want. */
  readonly confirmedOfWanted: number
  /** Nodes that have yet to be brought up to date, or to show their copy. */
  readonly unconfirmed: number
}

/**
 * Where a record is in the order of {@link TendedPage}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly confirmed: number
  /** Counts the records as they were published. */
  readonly job: number
}

/**
 * A part of what is looked after: records with fewer copies first, all that
 * have enough last.
 *
 * @category models
 * @since 0.1.0
 */
export interface TendedPage {
  readonly tended: ReadonlyArray<Tended>
  /** What the next part comes after, if there is more. */
  readonly next: Place | undefined
}

/**
 * Places and maintains the copies of records that this node published.
 *
 * @category services
 * @since 0.1.0
 */
export class Replication extends Context.Service<Replication, {
  /** Looks after the copies of a record until it expires, and returns at once. */
  readonly replicate: (key: NodeId, record: Record.SignedRecord) => Effect.Effect<Publication>
  /** Stops looking after a record, or after any newer one of its slot. Copies stay until they expire. */
  readonly withdraw: (publication: Publication) => Effect.Effect<void>
  /** Stops looking after all that an address published. */
  readonly forget: (publisher: Address) => Effect.Effect<void>
  /** All that is looked after now. */
  readonly tended: Effect.Effect<ReadonlyArray<Tended>>
  readonly summary: Effect.Effect<Summary>
  /** At most `limit` of what is looked after, that with the fewest copies first. */
  readonly page: (
    options: { readonly limit: number; readonly after?: Place | undefined }
  ) => Effect.Effect<TendedPage>
}>()("effect-dht/Replication") {}

/** Nodes that may be asked to hold a copy: Kademlia's K. */
const candidates = 16

/** What one node is given to take a copy, or to show it. */
const patience = { attempts: 6, deadline: 5000 }

/** The reason of a STORE_RESP that its policy does not allow the record. */
const reasonPolicy = 1

/** Jobs that are looked at without a pause. */
const jobsAtOnce = 1024

/** How long a job sleeps at most. */
const lookMillis = 60_000

/** What became of a request; `Woken`: there may be more to do. */
type Outcome =
  | { readonly _tag: "Woken" }
  | { readonly _tag: "Found"; readonly closest: ReadonlyArray<Contact> }
  | { readonly _tag: "Stored" | "Refused" | "Unwanted" | "Kept" | "Lost" | "Failed"; readonly contact: Contact }

interface Job {
  /** Counts the jobs. */
  readonly number: number
  readonly key: NodeId
  record: Record.SignedRecord
  readonly set: ReplicaSet
  readonly outcomes: Queue.Queue<Outcome>
  /** Opened whenever something changed that somebody may wait for. */
  readonly changed: Latch.Latch
}

const make = Effect.gen(function*() {
  const rpc = yield* Rpc.Rpc
  const query = yield* Query
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const settings = yield* NodeSettings
  const reachability = yield* Reachability
  const persistence = yield* Persistence
  const clock = yield* Clock.Clock
  const { core: events } = yield* NodeEvents
  const fibers = yield* FiberMap.make<string>()
  const jobs = new Map<string, Job>()
  let begun = 0

  // --- Requests ----------------------------------------------------------------

  /** Whether the peer holds the record, or a newer one of its slot. */
  const holds = Effect.fnUntraced(function*(peer: Contact, key: NodeId, record: Record.SignedRecord) {
    const { body } = yield* rpc.request(
      peer,
      { _tag: "FindValue", target: key, recordType: record.type, subscribe: false },
      { ...patience, maintenance: true }
    )
    const slot = slotOf(Record.category(record.type), record)
    return Request.recordsOf(body).some((other) =>
      slotOf(Record.category(other.type), other) === slot && !Record.isNewer(record, other)
    )
  })

  const store = Effect.fnUntraced(function*(peer: Contact, key: NodeId, record: Record.SignedRecord) {
    const { body } = yield* rpc.request(peer, { _tag: "Store", record, key }, patience)
    if (body.stored || body.alreadyHad) return "Stored"
    // A reason is a later version's: that its policy is against the record is
    // for good, that the record is invalid may be for a clock, ours or its own.
    if (body.reason === reasonPolicy) return "Unwanted"
    if (body.reason !== 0) return "Refused"
    // The first version says no more than false, also when it holds an equal or
    // newer record, so it is asked for it.
    return (yield* holds(peer, key, record)) ? "Stored" : "Refused"
  })

  const lookUp = Effect.fnUntraced(function*(key: NodeId) {
    const closest = (yield* Ref.get(settings.passive))
      ? routing.core.nearest(key, candidates)
      : yield* query.findNode(key)
    const publicHost = yield* reachability.publicHost
    const now = clock.currentTimeMillisUnsafe()
    return closest.filter((peer) => !isHairpin(peer, publicHost) && health.core.allowContact(peer.id, now))
  })

  const carryOut = (
    action: Exclude<Action, { readonly _tag: "Wait" }>,
    key: NodeId,
    record: Record.SignedRecord
  ): Effect.Effect<Outcome> => {
    switch (action._tag) {
      case "Lookup":
        return Effect.map(lookUp(key), (closest) => ({ _tag: "Found", closest }))
      case "Store":
        return store(action.contact, key, record).pipe(
          Effect.orElseSucceed(() => "Failed" as const),
          Effect.map((_tag) => ({ _tag, contact: action.contact }))
        )
      case "Probe":
        return holds(action.contact, key, record).pipe(
          Effect.match({ onFailure: () => "Failed" as const, onSuccess: (held) => held ? "Kept" : "Lost" }),
          Effect.map((_tag) => ({ _tag, contact: action.contact }))
        )
    }
  }

  const apply = (set: ReplicaSet, outcome: Outcome, now: number): void => {
    switch (outcome._tag) {
      case "Woken":
        return
      case "Found":
        return set.found(outcome.closest, now)
      case "Stored":
        return set.stored(outcome.contact.id, now)
      case "Refused":
        return set.refused(outcome.contact.id, now, { stable: false })
      case "Unwanted":
        return set.refused(outcome.contact.id, now, { stable: true })
      case "Kept":
        return set.kept(outcome.contact.id, now)
      case "Lost":
        return set.lost(outcome.contact.id, now)
      case "Failed":
        return set.failed(outcome.contact.id, now)
    }
  }

  /** Tells those who watch. */
  const report = ({ key, record }: Job, outcome: Outcome): void => {
    if (!events.hasListeners || outcome._tag === "Woken" || outcome._tag === "Found") return
    const { _tag, contact } = outcome
    events.tell({ _tag: "ReplicaReported", at: events.now(), key, record, contact, outcome: _tag })
  }

  const tell = (
    _tag: "PublicationStarted" | "PublicationRenewed" | "PublicationEnded",
    { key, record }: Job
  ): void => {
    if (events.hasListeners) events.tell({ _tag, at: events.now(), key, record })
  }

  // --- A job -------------------------------------------------------------------

  const lookAfter = Effect.fnUntraced(function*(key: NodeId, job: Job) {
    const { changed, outcomes, set } = job
    // Requests under way when the job ends are interrupted with its scope.
    const requests = yield* FiberSet.make()
    while (true) {
      const now = clock.currentTimeMillisUnsafe()
      if (job.record.expiresAt * 1000 < now) return
      const action = set.poll(now)
      if (action._tag !== "Wait") {
        yield* FiberSet.run(
          requests,
          Effect.flatMap(carryOut(action, key, job.record), (outcome) => Queue.offer(outcomes, outcome))
        )
        continue
      }
      changed.openUnsafe()
      const until = Math.min(action.until ?? Infinity, job.record.expiresAt * 1000 + 1000)
      const batch = yield* Effect.timeoutOrElse(Queue.takeAll(outcomes), {
        // A sleep does not notice when the clock is set.
        duration: Math.min(until - now, lookMillis),
        orElse: () => Effect.succeed<ReadonlyArray<Outcome>>([])
      })
      for (const outcome of batch) {
        apply(set, outcome, clock.currentTimeMillisUnsafe())
        report(job, outcome)
      }
    }
  }, Effect.scoped)

  const slotAt = (key: NodeId, record: Record.SignedRecord): string =>
    `${key} ${slotOf(Record.category(record.type), record)}`

  const replicate = Effect.fn("Replication.replicate")(function*(key: NodeId, record: Record.SignedRecord) {
    const replaced = jobs.get(slotAt(key, record))?.record
    if (replaced === undefined || Record.isNewer(record, replaced)) {
      persistence.save({ _tag: "Published", key, record, replaced })
    }
    return yield* begin(key, record)
  })

  const begin = Effect.fnUntraced(function*(key: NodeId, record: Record.SignedRecord) {
    const slot = slotAt(key, record)
    const running = jobs.get(slot)
    if (running !== undefined) {
      if (Record.isNewer(record, running.record)) {
        running.record = record
        // At once, so that nobody takes a copy of the old record for one of the new.
        running.set.renew(clock.currentTimeMillisUnsafe())
        tell("PublicationRenewed", running)
        yield* Queue.offer(running.outcomes, { _tag: "Woken" })
      }
      return publicationOf(key, running)
    }
    const job: Job = {
      number: ++begun,
      key,
      record,
      set: new ReplicaSet({ key, wanted: replicas }),
      outcomes: yield* Queue.unbounded<Outcome>(),
      changed: Latch.makeUnsafe()
    }
    jobs.set(slot, job)
    tell("PublicationStarted", job)
    yield* FiberMap.run(
      fibers,
      slot,
      lookAfter(key, job).pipe(
        Effect.catchCause((cause) => Effect.logWarning("Replication failed", cause)),
        Effect.annotateLogs({ module: "effect-dht/Replication", key }),
        Effect.ensuring(Effect.sync(() => {
          if (jobs.get(slot) === job) jobs.delete(slot)
          job.changed.openUnsafe()
          tell("PublicationEnded", job)
        }))
      )
    )
    return publicationOf(key, job)
  })

  const publicationOf = (key: NodeId, job: Job): Publication => {
    const { changed, record, set } = job
    const slot = slotAt(key, record)
    const awaitReplicas = (wanted: number): Effect.Effect<void> =>
      Effect.suspend(() => {
        const ended = jobs.get(slot) !== job || set.settled(clock.currentTimeMillisUnsafe())
        if (ended || set.confirmed.length >= wanted) return Effect.void
        changed.closeUnsafe()
        return Effect.andThen(changed.await, awaitReplicas(wanted))
      })
    return {
      key,
      record,
      confirmed: Effect.sync(() => set.confirmed),
      replicas: Effect.fnUntraced(function*(wanted, { within }) {
        yield* Effect.timeoutOption(awaitReplicas(wanted), within)
        const { confirmed } = set
        return confirmed.length >= wanted
          ? confirmed
          : yield* new NotEnoughReplicas({ key, wanted, confirmed })
      })
    }
  }

  const withdraw = (key: NodeId, record: Record.SignedRecord) =>
    Effect.suspend(() => {
      const slot = slotAt(key, record)
      // A job that failed is still to be kept from starting again.
      persistence.save({ _tag: "Withdrawn", key, record: jobs.get(slot)?.record ?? record })
      return FiberMap.remove(fibers, slot)
    })

  const tendedOf = ({ key, record, set }: Job): Tended => ({ key, record, replicas: set.replicas })

  const enough = ({ set }: Job): number => Math.min(set.confirmedCount, replicas)

  const summary = (): Summary => {
    let [complete, uncopied, confirmed, confirmedOfWanted, unconfirmed] = [0, 0, 0, 0, 0]
    for (const { set } of jobs.values()) {
      const count = set.confirmedCount
      if (count >= replicas) complete++
      if (count === 0) uncopied++
      confirmed += count
      confirmedOfWanted += Math.min(count, replicas)
      unconfirmed += set.size - count
    }
    return { records: jobs.size, complete, uncopied, confirmed, confirmedOfWanted, unconfirmed }
  }

  const page: Replication["Service"]["page"] = Effect.fnUntraced(function*({ after, limit }) {
    const byConfirmed = Array.from({ length: replicas + 1 }, (): Array<Job> => [])
    let looked = 0
    for (const job of jobs.values()) {
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
      tended: shown.map(tendedOf),
      next: last === undefined || shown.length === found.length
        ? undefined
        : { confirmed: enough(last), job: last.number }
    }
  })

  for (const { key, record } of yield* persistence.kept.publications) yield* begin(key, record)

  return Replication.of({
    replicate,
    withdraw: ({ key, record }) => withdraw(key, record),
    forget: (publisher) =>
      Effect.suspend(() =>
        Effect.forEach(
          Array.from(jobs.values()).filter(({ record }) => record.address === publisher),
          ({ key, record }) => withdraw(key, record),
          { discard: true }
        )
      ),
    tended: Effect.sync(() => Array.from(jobs.values(), tendedOf)),
    summary: Effect.sync(summary),
    page
  })
})

/**
 * Replication by the lookups of this node; jobs of an earlier run go on.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Replication,
  never,
  | NodeEvents
  | Rpc.Rpc
  | Query
  | Routing.Routing
  | PeerHealth.PeerHealth
  | NodeSettings
  | Persistence
  | Reachability
> = Layer.effect(Replication, make)
