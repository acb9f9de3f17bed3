/**
 * Replication of our records to the nodes closest to each record's key, for as
 * long as the record lives.
 *
 * One job per slot of a record places the copies, checks the replicas from time
 * to time, and replaces those that lost theirs. A newer record of the slot
 * takes over the job. If the node's state is kept, jobs continue after a
 * restart, unless they were withdrawn or are transient.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberMap from "effect/FiberMap"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { Address } from "./Address.ts"
import type { Contact } from "./Contact.ts"
import { caps } from "./core/recordSet.ts"
import { ReplicaSet } from "./core/replicaSet.ts"
import type { DelegationChecks } from "./DelegationChecks.ts"
import * as InFlight from "./InFlight.ts"
import { NodeEvents } from "./NodeEvents.ts"
import type { NodeId } from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import type * as PeerHealth from "./PeerHealth.ts"
import { Persistence } from "./Persistence.ts"
import type { PublishHint } from "./PublishHint.ts"
import type { Query } from "./Query.ts"
import type { Reachability } from "./Reachability.ts"
import * as Record from "./Record.ts"
import * as Copies from "./replication/copies.ts"
import type { ReplicateOptions } from "./replication/job.ts"
import * as Job from "./replication/job.ts"
import type { PageOptions, ReplicatedPage, ReplicatedRecord, Summary } from "./replication/overview.ts"
import * as Overview from "./replication/overview.ts"
import type * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import { spanned } from "./Spans.ts"
import { Store } from "./Store.ts"
import { Timers } from "./Timers.ts"

export type { Replica } from "./core/replicaSet.ts"
export { replicas, type ReplicateOptions } from "./replication/job.ts"
export type { PageOptions, Place, ReplicatedPage, ReplicatedRecord, Summary } from "./replication/overview.ts"

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
 * or try again when other records have expired. A mailbox has room only then.
 *
 * @category errors
 * @since 0.1.0
 */
export class KeyFull extends Data.TaggedError("KeyFull")<{
  readonly key: NodeId
  readonly record: Record.SignedRecord
  readonly wanted: number
  readonly confirmed: ReadonlyArray<Contact>
  /** Nodes that have no room for the record. */
  readonly full: ReadonlyArray<Contact>
}> {
  override get message() {
    const isMessage = Record.category(this.record.type) === "mailbox"
    return `${this.full.length} nodes have no room for another ${
      isMessage ? "message" : "record"
    } at ${this.key}, and ` +
      `${this.confirmed.length} of ${this.wanted} hold a copy: ` +
      (isMessage
        ? `a node holds at most ${caps.mailboxPerSigner} messages of one sender and ${caps.mailbox} in all for a ` +
          "recipient, until they expire. Try again later"
        : "publish under another key, or try again later")
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
  /** Whether its copies are maintained by this run of the node only. */
  readonly isTransient: Effect.Effect<boolean>
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
  /** Does the same for a transient record; one that was published for later runs as well stays. */
  readonly release: (publication: Publication) => Effect.Effect<void>
  /**
   * Looks for the nodes closest to each maintained record at once, and checks its
   * replicas: for a node that has reached the network again after it was cut off.
   */
  readonly reconnected: Effect.Effect<void>
  /** Stops maintaining all records that an address published. */
  readonly forget: (publisher: Address) => Effect.Effect<void>
  /** All maintained records. */
  readonly replicated: Effect.Effect<ReadonlyArray<ReplicatedRecord>>
  /** Statistics of the maintained records. */
  readonly summary: Effect.Effect<Summary>
  /** At most `limit` maintained records, those with the fewest copies first. */
  readonly page: (options: PageOptions) => Effect.Effect<ReplicatedPage>
}>()("effect-dht/Replication") {}

/** Longest sleep of a job. */
const lookMillis = 60_000

/**
 * Maximum number of times one publication is signed over the records of others,
 * so that two publishers in conflict stop.
 */
const maxSignedOver = 4

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const rpc = yield* Rpc.Rpc
  const settings = yield* NodeSettings
  const local = yield* Store
  const persistence = yield* Persistence
  const clock = yield* Clock.Clock
  const timers = yield* Timers
  const events = yield* NodeEvents
  const { carryOut, nearest, offerTo } = yield* Copies.make
  const fibers = yield* FiberMap.make<string>()
  const jobs = new Map<string, Job.Job>()
  let begun = 0

  /** Reports events to listeners. */
  const report = ({ edition: { record }, key }: Job.Job, outcome: Job.Outcome): void => {
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
    _tag: "PublicationStarted" | "PublicationRenewed" | "PublicationEnded" | "KeySurrounded",
    { edition: { record }, key }: Job.Job
  ): void => {
    if (events.hasListeners) events.tellUnsafe({ _tag, at: clock.currentTimeMillisUnsafe(), key, record })
  }

  /** Logs each obstacle between readers and the record once. */
  const warn = Effect.fnUntraced(
    function*({ edition: { isWithdrawal, record }, full, isSurrounded, key, set, warned }: Job.Job) {
      // Programs on a client wait for the outcome, which reports the same.
      if (isWithdrawal || settings.client) return
      if (isSurrounded && !warned.has("Surrounded")) {
        warned.add("Surrounded")
        yield* Effect.logWarning(
          `Nodes surround the key ${key} more closely than chance allows, as if to hide what is there. The record is ` +
            "copied to the whole region around it"
        )
      }
      if (full.size > 0 && set.confirmedCount < Job.replicas && !warned.has("Full")) {
        warned.add("Full")
        const facts = { key, record, wanted: Job.replicas, confirmed: set.confirmed, full: Array.from(full.values()) }
        yield* Effect.logWarning(new KeyFull(facts).message)
      }
    }
  )

  // --- A job -------------------------------------------------------------------

  /** Replaces the job's record by a newer one. */
  const renew = Effect.fnUntraced(function*(job: Job.Job, record: Record.SignedRecord) {
    const known = yield* nearest(job.key)
    if (!job.isTransient) {
      persistence.save({ _tag: "Published", key: job.key, record, replaced: job.edition.record })
    }
    job.edition.record = record
    job.full.clear()
    // At once, so that copies of the old record do not count as copies of the new one.
    job.set.renew(clock.currentTimeMillisUnsafe(), known)
    tell("PublicationRenewed", job)
  })

  /**
   * A node holds a newer record than the given one. While ours is being placed,
   * it is signed again over that one. A record newer than a placed one was
   * published later.
   */
  const overtaken = Effect.fnUntraced(
    function*(job: Job.Job, { by, contact, held }: Extract<Job.Outcome, { held: unknown }>) {
      const { edition, key, set } = job
      const now = clock.currentTimeMillisUnsafe()
      if (!Record.isNewer(held, edition.record)) {
        // In the meantime our record has become the newer one.
        return Job.isSame(held, edition.record) ? set.stored(contact.id, now) : set.superseded(contact.id, now)
      }
      const { signOver } = edition.options
      if (by === "Store" && signOver !== undefined && !edition.isPlaced && edition.signedOver < maxSignedOver) {
        edition.signedOver++
        const over = yield* signOver(held)
        if (over !== undefined) {
          set.superseded(contact.id, now)
          return yield* renew(job, over)
        }
      }
      set.superseded(contact.id, now)
      edition.supersededBy = held
      yield* Effect.ignore(local.put(key, held))
      // A record that was never placed must not be placed later, where it could
      // be taken for the newest.
      if (!edition.isPlaced) edition.isOver = true
    }
  )

  const lookAfter = Effect.fnUntraced(function*(job: Job.Job) {
    const { changed, inFlight, set } = job
    while (true) {
      const now = clock.currentTimeMillisUnsafe()
      const { isOver, record } = job.edition
      if (isOver) persistence.save({ _tag: "Withdrawn", key: job.key, record })
      if (isOver || set.isDone || record.expiresAt * 1000 < now) break
      yield* offerTo(job)
      const action = set.poll(now)
      if (action._tag !== "Wait") {
        yield* inFlight.start(carryOut(action, job, record))
        continue
      }
      if (set.settled(now)) {
        job.edition.isPlaced = true
        yield* warn(job)
      }
      changed.openUnsafe()
      const until = Math.min(action.until ?? Infinity, record.expiresAt * 1000 + 1000)
      // A sleep does not notice when the clock is set.
      for (const outcome of yield* inFlight.take(Math.min(until - now, lookMillis))) {
        const wasSurrounded = job.isSurrounded
        if (outcome._tag === "Superseded") yield* overtaken(job, outcome)
        else Job.apply(job, outcome, clock.currentTimeMillisUnsafe())
        if (job.isSurrounded && !wasSurrounded) tell("KeySurrounded", job)
        report(job, outcome)
      }
    }
    // Records published from now on get jobs of their own.
    ended(job)
  })

  const ended = (job: Job.Job): void => {
    const slot = Job.slotAt(job.key, job.edition.record)
    if (jobs.get(slot) === job) jobs.delete(slot)
  }

  const replicate = Effect.fnUntraced(
    function*(key: NodeId, record: Record.SignedRecord, options: ReplicateOptions = {}) {
      const running = jobs.get(Job.slotAt(key, record))
      const isTransient = options.isTransient === true && running?.isTransient !== false
      const saved = running?.isTransient === false ? running.edition.record : undefined
      if (!isTransient && (saved === undefined || Record.isNewer(record, saved))) {
        persistence.save({ _tag: "Published", key, record, replaced: saved })
      }
      const job = yield* begin(key, record, options)
      job.isTransient = isTransient
      return publicationOf(job)
    },
    spanned("Replication.replicate")
  )

  /** Moves the job to a newer record. */
  const proceed = (job: Job.Job, edition: Job.Edition): void => {
    job.edition = edition
    job.full.clear()
    tell("PublicationRenewed", job)
    job.inFlight.offerUnsafe({ _tag: "Woken" })
  }

  /** Returns the job of the record's slot, for this record unless the job has a newer one. */
  const begin = Effect.fnUntraced(function*(key: NodeId, record: Record.SignedRecord, options: ReplicateOptions = {}) {
    const edition: Job.Edition = { ...Job.editionOf(record), options }
    const slot = Job.slotAt(key, record)
    // First, as another fiber may renew the job meanwhile.
    const known = yield* nearest(key)
    const running = jobs.get(slot)
    if (running !== undefined) {
      if (Record.isNewer(record, running.edition.record)) {
        running.set.renew(clock.currentTimeMillisUnsafe(), known)
        proceed(running, edition)
      }
      return running
    }
    const scope = yield* Scope.make()
    const job: Job.Job = {
      number: ++begun,
      key,
      edition,
      set: new ReplicaSet({ key, wanted: Job.replicas }),
      full: new Map(),
      isSurrounded: false,
      isTransient: options.isTransient === true,
      warned: new Set(),
      checking: 0,
      inFlight: yield* Scope.provide(InFlight.make<Job.Outcome>(timers), scope),
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
        })),
        Effect.onExit((exit) => Scope.close(scope, exit))
      )
    )
    return job
  })

  /** Waits until the condition holds, or the job has ended. */
  const waitUntil = (job: Job.Job, isSo: (now: number) => boolean): Effect.Effect<void> =>
    Effect.suspend(() => {
      const hasEnded = jobs.get(Job.slotAt(job.key, job.edition.record)) !== job
      if (hasEnded || isSo(clock.currentTimeMillisUnsafe())) return Effect.void
      job.changed.closeUnsafe()
      return Effect.andThen(job.changed.await, waitUntil(job, isSo))
    })

  const publicationOf = (job: Job.Job): Publication => {
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
          ? yield* new KeyFull({ key, record, wanted, confirmed, full })
          : yield* new NotEnoughReplicas({ key, wanted, confirmed })
      }),
      isSurrounded: Effect.sync(() => job.isSurrounded),
      isTransient: Effect.sync(() => job.isTransient)
    }
  }

  const recall: Replication["Service"]["recall"] = Effect.fnUntraced(function*(key, withdrawal) {
    const running = jobs.get(Job.slotAt(key, withdrawal))
    if (running === undefined || !Record.isNewer(withdrawal, running.edition.record)) {
      return { answered: Effect.void }
    }
    // A later run must not resume the job: it would not know the nodes that hold a copy.
    persistence.save({ _tag: "Withdrawn", key, record: running.edition.record })
    for (const peer of running.set.withdraw(clock.currentTimeMillisUnsafe())) {
      // The withdrawal is not awaited.
      const request = rpc.request(peer, { _tag: "Store", record: withdrawal, key }, { attempts: 1 })
      yield* Fiber.interrupt(yield* Effect.forkChild(request, { startImmediately: true }))
    }
    proceed(running, { ...Job.editionOf(withdrawal), isWithdrawal: true })
    if (running.set.isDone) yield* FiberMap.remove(fibers, Job.slotAt(key, withdrawal))
    return { answered: waitUntil(running, () => running.set.isWithdrawalAttempted) }
  }, spanned("Replication.recall"))

  const withdraw = (key: NodeId, record: Record.SignedRecord) =>
    Effect.suspend(() => {
      const slot = Job.slotAt(key, record)
      // A failed job must not start again either.
      persistence.save({ _tag: "Withdrawn", key, record: jobs.get(slot)?.edition.record ?? record })
      return FiberMap.remove(fibers, slot)
    })

  for (const { key, record } of yield* persistence.kept.publications) yield* begin(key, record)

  return Replication.of({
    replicate,
    recall,
    withdraw: ({ key, record }) => withdraw(key, record),
    release: ({ key, record }) =>
      Effect.suspend(() =>
        jobs.get(Job.slotAt(key, record))?.isTransient === true ? withdraw(key, record) : Effect.void
      ),
    reconnected: Effect.sync(() => {
      const now = clock.currentTimeMillisUnsafe()
      for (const { inFlight, set } of jobs.values()) {
        set.reconnected(now)
        inFlight.offerUnsafe({ _tag: "Woken" })
      }
    }),
    forget: (publisher) =>
      Effect.suspend(() =>
        Effect.forEach(
          Array.from(jobs.values()).filter(({ edition }) => edition.record.address === publisher),
          ({ edition, key }) => withdraw(key, edition.record),
          { discard: true }
        )
      ),
    replicated: Effect.sync(() => Overview.replicated(jobs.values())),
    summary: Effect.sync(() => Overview.summary(jobs.values())),
    page: (options) => Overview.page(jobs.values(), options)
  })
})

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
  | Timers
> = Layer.effect(Replication, make)
