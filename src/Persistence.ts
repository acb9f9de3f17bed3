/**
 * State that survives a restart: stored, published and hosted records, standing
 * announcements, hosted identities, peers and when they were seen, and the last
 * seq signed.
 *
 * Each owner of such state restores what an earlier run left (`kept`) and
 * reports every change (`save`). Saving is cheap: changes wait in a bounded
 * queue and a fiber writes them in batches, those that peers cause after a
 * quarter of a second. A disk that is slow, full or gone
 * delays nothing. The node then works from memory, after one warning in the
 * log, and writes the changes once the disk works again.
 *
 * {@link layerNone} keeps nothing, {@link layerMemory} keeps state in a value
 * that may outlive the node, and `SqlitePersistence` of `effect-dht/node` keeps
 * it on disk. {@link make} builds the service on any other {@link Medium}.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Address } from "./Address.ts"
import { ChangeQueue } from "./internal/changeQueue.ts"
import * as Hex from "./internal/hex.ts"
import type { NodeId } from "./NodeId.ts"
import type { SignedRecord } from "./Record.ts"
import type { SocketAddress } from "./SocketAddress.ts"

/**
 * A record and the key that it is stored under.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  readonly key: NodeId
  readonly record: SignedRecord
}

/**
 * A record in the store.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredEntry extends Entry {
  /** The network (/24, /48) of the peer that sent it; undefined for this node's own record. */
  readonly network: string | undefined
}

/**
 * A record that this node keeps alive for another identity, and where its copies
 * are.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostedEntry extends Entry {
  /** When it is to be renewed, in Unix milliseconds. */
  readonly due: number
  /** The first 32 bits of the id of each node that holds a copy. */
  readonly holders: ReadonlyArray<number>
}

/**
 * A hosted record and its slot, whose next record takes its place.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostedSlot extends HostedEntry {
  /** 32 hex digits. */
  readonly slot: string
}

/**
 * An identity that this node hosts, as its owner writes it.
 *
 * @category models
 * @since 0.1.0
 */
export interface HostedIdentity {
  readonly address: Address
  readonly text: string
}

/**
 * When a node was last heard from.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sighting {
  readonly id: NodeId
  /** Unix milliseconds. */
  readonly lastSeen: number
}

/**
 * A change of the state.
 *
 * - `Stored`: a record entered the store, in place of `replaced`.
 * - `Removed`: a record was evicted from the store.
 * - `Cleared`: all records of a key were dropped, or those of one type; 0 means
 *   all.
 * - `Published`: the copies of a record are maintained, instead of those of
 *   `replaced`.
 * - `Withdrawn`: the copies of a record are no longer maintained.
 * - `Signed`: the largest seq so far.
 * - `Peers`: all addresses to try at the next start, the best first.
 * - `Seen`: nodes were heard from.
 * - `Announced`: all standing announcements, as their owner writes them.
 * - `Hosted`: a hosted record was stored at nodes, in place of what its slot had.
 *   A slot is 32 hex digits.
 * - `Unhosted`: the record of a slot is no longer hosted.
 * - `Enrolled`: an identity is hosted, in place of what was saved of it.
 * - `Dismissed`: an identity is no longer hosted.
 *
 * Expiry needs no change.
 *
 * @category models
 * @since 0.1.0
 */
export type Change =
  | StoredEntry & { readonly _tag: "Stored"; readonly replaced: SignedRecord | undefined }
  | Entry & { readonly _tag: "Published"; readonly replaced: SignedRecord | undefined }
  | Entry & { readonly _tag: "Removed" | "Withdrawn" }
  | { readonly _tag: "Cleared"; readonly key: NodeId; readonly type: number }
  | { readonly _tag: "Signed"; readonly seq: bigint }
  | { readonly _tag: "Peers"; readonly peers: ReadonlyArray<SocketAddress> }
  | { readonly _tag: "Seen"; readonly sightings: ReadonlyArray<Sighting> }
  | { readonly _tag: "Announced"; readonly announcements: string }
  | HostedSlot & { readonly _tag: "Hosted" }
  | { readonly _tag: "Unhosted"; readonly key: NodeId; readonly slot: string }
  | HostedIdentity & { readonly _tag: "Enrolled" }
  | { readonly _tag: "Dismissed"; readonly address: Address }

/**
 * State that an earlier run left; it may include expired records. Each part is
 * read when it is used, and unreadable parts are missing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Kept {
  /** Records in the order in which they were stored. Their signatures were checked before they were saved. */
  readonly records: Stream.Stream<StoredEntry>
  readonly publications: Effect.Effect<ReadonlyArray<Entry>>
  /** 0 if nothing was signed yet. */
  readonly seq: Effect.Effect<bigint>
  readonly peers: Effect.Effect<ReadonlyArray<SocketAddress>>
  /** The nodes seen longest ago come first. */
  readonly seen: Effect.Effect<ReadonlyArray<Sighting>>
  /** The text of the last `Announced`; empty if there was none. */
  readonly announcements: Effect.Effect<string>
  readonly hosted: Stream.Stream<HostedSlot>
  /** Identities in the order in which they were last saved. */
  readonly identities: Stream.Stream<HostedIdentity>
}

/**
 * Changes could not be written.
 *
 * @category errors
 * @since 0.1.0
 */
export class WriteFailed extends Data.TaggedError("WriteFailed")<{ readonly reason: string }> {
  override get message() {
    return `State could not be saved: ${this.reason}`
  }
}

/**
 * Not every saved change is durable.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotDurable extends Data.TaggedError("NotDurable")<{ readonly reason: string }> {
  override get message() {
    return `Not everything would survive a restart: ${this.reason}`
  }
}

/**
 * The state cannot be copied.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotBackUp extends Data.TaggedError("CannotBackUp")<{ readonly reason: string }> {
  override get message() {
    return `The state cannot be backed up: ${this.reason}`
  }
}

/**
 * A copy of the whole state, in the format of its medium.
 *
 * @category models
 * @since 0.1.0
 */
export interface Backup {
  /** Bytes. */
  readonly size: number
  readonly content: Stream.Stream<Uint8Array, CannotBackUp>
}

/**
 * Storage for the state.
 *
 * @category models
 * @since 0.1.0
 */
export interface Medium extends Kept {
  /**
   * Writes all of a batch, in order, or none of it. When it succeeds, the batch
   * outlives the process. A batch may be written twice, with the same result as
   * once. `now` is Unix milliseconds.
   */
  readonly write: (batch: ReadonlyArray<Change>, now: number) => Effect.Effect<void, WriteFailed>
  /** A copy of what is written, as of one moment, until the scope closes. Writing continues meanwhile. */
  readonly backup: Effect.Effect<Backup, CannotBackUp, Scope.Scope>
}

/**
 * Progress of saving.
 *
 * @category models
 * @since 0.1.0
 */
export interface Status {
  /** Why nothing is written at the moment; undefined while writing works. */
  readonly degraded: string | undefined
  /** Number of changes that wait to be written. */
  readonly queued: number
  /** Number of changes written since the start. */
  readonly written: number
  /** Number of changes dropped since the start, because the queue was full. */
  readonly dropped: number
}

/**
 * State that survives a restart.
 *
 * @example
 * ```ts
 * import { Dht, Persistence } from "effect-dht"
 * import * as Effect from "effect/Effect"
 *
 * // Before the machine is switched off: checks that the publication is on disk.
 * const publishSafely = Effect.gen(function*() {
 *   const dht = yield* Dht.Dht
 *   yield* dht.publishProfile({ name: "Ann" })
 *   yield* Persistence.Persistence.use((persistence) => persistence.flush)
 * }).pipe(Effect.catchTag("NotDurable", ({ reason }) => Effect.logWarning(reason)))
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Persistence extends Context.Service<Persistence, {
  /** Whether anything is kept at all. If not, work that only serves saving can be skipped. */
  readonly isLasting: boolean
  /** What the last run left. */
  readonly kept: Kept
  /** Queues a change, which is written soon. */
  readonly save: (change: Change) => void
  /**
   * Succeeds when every change saved so far would survive the end of the
   * process at any moment. Once a change was dropped, it fails for the rest of
   * this run.
   */
  readonly flush: Effect.Effect<void, NotDurable>
  /** Current progress of saving. */
  readonly status: Effect.Effect<Status>
  /** A copy of the state, with every change saved so far that could be written. It lasts until the scope closes. */
  readonly backup: Effect.Effect<Backup, CannotBackUp, Scope.Scope>
}>()("effect-dht/Persistence") {}

// --- Metrics -------------------------------------------------------------------

/**
 * Changes that wait to be written.
 *
 * @category metrics
 * @since 0.1.0
 */
export const queueLength = Metric.gauge("dht.persistence.queue", { description: "Changes that wait to be written" })

/**
 * Changes that were written.
 *
 * @category metrics
 * @since 0.1.0
 */
export const changesWritten = Metric.counter("dht.persistence.written", {
  description: "Changes that were written",
  incremental: true
})

/**
 * Changes that were dropped because too many waited.
 *
 * @category metrics
 * @since 0.1.0
 */
export const changesDropped = Metric.counter("dht.persistence.dropped", {
  description: "Changes that were dropped because too many waited",
  incremental: true
})

/**
 * 1 while state is in memory only although it should be kept, otherwise 0.
 *
 * @category metrics
 * @since 0.1.0
 */
export const isDegraded = Metric.gauge("dht.persistence.degraded", {
  description: "1 while state is in memory only although it should be kept"
})

// --- Constructors --------------------------------------------------------------

/** Maximum number of queued changes: about 10 MB if all are large records. */
const capacity = 8192

/** Maximum number of changes in one batch. */
const maxBatch = 1024

/**
 * How long a change waits for others, unless a caller waits for it: of our own,
 * and of peers. A batch of hundreds costs a third as much per change as one of a
 * few, and the records of peers have other holders.
 */
const batchDelay = "10 millis"
const batchDelayOfPeers = "250 millis"

/** Pause after a failed write. */
const retryDelay = "10 seconds"

/** Deadline of the last write when the node closes. */
const lastWrite = "5 seconds"

/** Changes that peers cause: peers hold the same records and can send any number of them. */
const ofOthers: ReadonlySet<Change["_tag"]> = new Set(["Stored", "Removed", "Seen"])

const isImportant = ({ _tag }: Change): boolean => !ofOthers.has(_tag)

/** A caller that waits until everything saved before is durable. */
interface Waiter {
  readonly offered: number
  readonly resume: (effect: Effect.Effect<void, NotDurable>) => void
}

/**
 * Saves state to a medium until the scope closes, which writes the remaining
 * changes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  medium: Medium
): Effect.fn.Return<Persistence["Service"], never, Scope.Scope> {
  const queue = new ChangeQueue({ capacity, isImportant })
  const work = Latch.makeUnsafe()
  /** Opens for a change of our own, and for a full batch. */
  const urgent = Latch.makeUnsafe()
  /** Opens for a caller that waits. */
  const hurry = Latch.makeUnsafe()
  const waiters = new Set<Waiter>()
  let degraded: string | undefined

  /** Resumes callers whose changes are written, or will not be soon. */
  const tell = (those: Iterable<Waiter> = waiters) => {
    const reason = degraded ?? (queue.dropped > 0 ? `${queue.dropped} changes were dropped` : undefined)
    for (const waiter of those) {
      if (reason === undefined && queue.written < waiter.offered) continue
      waiters.delete(waiter)
      waiter.resume(reason === undefined ? Effect.void : new NotDurable({ reason }))
    }
  }

  let written = 0
  let dropped = 0
  const report = Effect.fnUntraced(function*(was: string | undefined) {
    const [more, lost, isFirstLoss] = [queue.written - written, queue.dropped - dropped, dropped === 0]
    written = queue.written
    dropped = queue.dropped
    yield* Metric.update(queueLength, queue.length)
    yield* Metric.update(changesWritten, more)
    if (lost > 0) yield* Metric.update(changesDropped, lost)
    if (degraded !== was) yield* Metric.update(isDegraded, degraded === undefined ? 0 : 1)
    if (degraded !== undefined) {
      if (was !== undefined) return
      yield* Effect.logWarning(`State cannot be saved, and is kept in memory only for now: ${degraded}`)
    } else if (was !== undefined) {
      yield* Effect.logInfo(`State is saved again; ${dropped} changes were dropped since the start`)
    } else if (lost > 0 && isFirstLoss) {
      yield* Effect.logWarning(`State is saved too slowly: the first ${lost} changes had to be dropped`)
    }
  })

  // Registered from the start, so that metric readers see a zero.
  yield* Metric.update(queueLength, 0)
  yield* Metric.update(changesWritten, 0)
  yield* Metric.update(changesDropped, 0)
  yield* Metric.update(isDegraded, 0)

  /** Writes a batch. Returns false if that failed. */
  const writeSome = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const failure = yield* medium.write(queue.take(maxBatch), now).pipe(
      Effect.match({ onFailure: ({ reason }) => reason, onSuccess: () => undefined }),
      // After an interruption or a defect the batch may or may not be written,
      // so it is written again.
      Effect.onError(() => Effect.sync(() => queue.failed()))
    )
    const was = degraded
    degraded = failure
    if (failure === undefined) queue.done()
    else queue.failed()
    yield* report(was)
    tell()
    return failure === undefined
  })

  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      while (queue.hasWaiting && (yield* writeSome));
    }).pipe(
      Effect.timeoutOrElse({
        duration: lastWrite,
        orElse: () => Effect.logWarning(`${queue.length} changes could not be saved before the node closed`)
      }),
      Effect.catchCause((cause) => Effect.logWarning("The last changes could not be saved", cause)),
      Effect.andThen(Effect.sync(() => {
        degraded ??= "the node is closed"
        tell()
      })),
      Effect.annotateLogs({ module: "effect-dht/Persistence" })
    )
  )

  yield* Effect.gen(function*() {
    while (true) {
      yield* work.await
      const isUrgent = Option.isSome(yield* Effect.timeoutOption(urgent.await, batchDelayOfPeers))
      if (isUrgent) yield* Effect.timeoutOption(hurry.await, batchDelay)
      urgent.closeUnsafe()
      hurry.closeUnsafe()
      while (queue.hasWaiting) {
        if (!(yield* writeSome)) yield* Effect.sleep(retryDelay)
      }
      work.closeUnsafe()
    }
  }).pipe(
    Effect.catchCause((cause) =>
      Effect.andThen(Effect.logWarning("Saving state failed", cause), Effect.sleep(retryDelay))
    ),
    Effect.forever,
    Effect.annotateLogs({ module: "effect-dht/Persistence", fiber: "Writer" }),
    Effect.forkScoped
  )

  const flush = Effect.callback<void, NotDurable>((resume) => {
    const waiter: Waiter = { offered: queue.offered, resume }
    waiters.add(waiter)
    // Only this one: a caller that resumed others would run them before it goes on itself.
    tell([waiter])
    urgent.openUnsafe()
    hurry.openUnsafe()
    return Effect.sync(() => waiters.delete(waiter))
  })

  return Persistence.of({
    isLasting: true,
    kept: medium,
    save: (change) => {
      queue.offer(change)
      if (queue.length === 1) work.openUnsafe()
      if (isImportant(change) || queue.length >= maxBatch) urgent.openUnsafe()
    },
    flush,
    // What cannot be written is missing in the copy as it would be after a restart.
    backup: Effect.andThen(Effect.ignore(flush), medium.backup),
    status: Effect.sync(() => ({
      degraded,
      queued: queue.length,
      written: queue.written,
      dropped: queue.dropped
    }))
  })
})

const keptNothing: Kept = {
  records: Stream.empty,
  publications: Effect.succeed([]),
  seq: Effect.succeed(0n),
  peers: Effect.succeed([]),
  seen: Effect.succeed([]),
  announcements: Effect.succeed(""),
  hosted: Stream.empty,
  identities: Stream.empty
}

const makeNothing = (reason: string, degraded: string | undefined): Persistence["Service"] => ({
  isLasting: false,
  kept: keptNothing,
  save: () => {},
  flush: Effect.suspend(() => new NotDurable({ reason })),
  status: Effect.succeed({ degraded, queued: 0, written: 0, dropped: 0 }),
  backup: Effect.suspend(() => new CannotBackUp({ reason }))
})

/**
 * Replaces a medium that cannot be used: keeps nothing, and reports why.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeUnavailable = (reason: string): Effect.Effect<Persistence["Service"]> =>
  Effect.as(Metric.update(isDegraded, 1), makeNothing(reason, reason))

/**
 * Makes a medium that lives as long as the value. Give it to one node after
 * another, and each finds what the previous one left, even if that crashed.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeMemory = (): Medium => {
  const records = new Map<string, StoredEntry>()
  const publications = new Map<string, Entry>()
  const hosted = new Map<string, HostedSlot>()
  const identities = new Map<Address, string>()
  const sightings = new Map<NodeId, number>()
  let seq = 0n
  let peers: ReadonlyArray<SocketAddress> = []
  let announcements = ""

  const put = <E extends Entry>(entries: Map<string, E>, entry: E, replaced: SignedRecord | undefined) => {
    const { key, record } = entry
    if (replaced !== undefined) entries.delete(nameOf(key, replaced))
    entries.delete(nameOf(key, record))
    entries.set(nameOf(key, record), entry)
  }

  const clear = (key: NodeId, type: number) => {
    for (const [name, entry] of records) {
      if (entry.key === key && (type === 0 || type === entry.record.type)) records.delete(name)
    }
  }

  const apply = (change: Change): void => {
    switch (change._tag) {
      case "Stored":
        return put(records, { key: change.key, record: change.record, network: change.network }, change.replaced)
      case "Published":
        return put(publications, { key: change.key, record: change.record }, change.replaced)
      case "Removed":
        return void records.delete(nameOf(change.key, change.record))
      case "Withdrawn":
        return void publications.delete(nameOf(change.key, change.record))
      case "Cleared":
        return clear(change.key, change.type)
      case "Signed":
        seq = change.seq
        return
      case "Peers":
        peers = change.peers
        return
      case "Announced":
        announcements = change.announcements
        return
      case "Hosted": {
        const { due, holders, key, record, slot } = change
        return void hosted.set(slot, { key, record, slot, due, holders })
      }
      case "Unhosted":
        return void hosted.delete(change.slot)
      case "Enrolled":
        identities.delete(change.address)
        identities.set(change.address, change.text)
        return
      case "Dismissed":
        return void identities.delete(change.address)
      case "Seen":
        for (const { id, lastSeen } of change.sightings) {
          sightings.delete(id)
          sightings.set(id, lastSeen)
        }
    }
  }

  const dropOld = (now: number): void => {
    for (const entries of [records, publications, hosted]) {
      for (const [name, { record }] of entries) if (record.expiresAt * 1000 < now) entries.delete(name)
    }
    for (const [id, lastSeen] of sightings) if (now - lastSeen >= sightingMillis) sightings.delete(id)
  }
  let cleanedAt = 0

  return {
    records: Stream.suspend(() => Stream.fromArray(Array.from(records.values()))),
    publications: Effect.sync(() => Array.from(publications.values())),
    seq: Effect.sync(() => seq),
    peers: Effect.sync(() => peers),
    seen: Effect.sync(() => Array.from(sightings, ([id, lastSeen]) => ({ id, lastSeen }))),
    announcements: Effect.sync(() => announcements),
    hosted: Stream.suspend(() => Stream.fromArray(Array.from(hosted.values()))),
    identities: Stream.suspend(() =>
      Stream.fromArray(Array.from(identities, ([address, text]) => ({ address, text })))
    ),
    backup: Effect.suspend(() => new CannotBackUp({ reason: "it is in memory" })),
    write: (batch, now) =>
      Effect.sync(() => {
        for (const change of batch) apply(change)
        if (Math.abs(now - cleanedAt) < cleanMillis) return
        cleanedAt = now
        dropOld(now)
      })
  }
}

/** The longest window in which sightings are counted: a week. */
const sightingMillis = 7 * 24 * 3_600_000

const cleanMillis = 60_000

/** Identifies a record at a key. The signature stands for the content, and one record may be stored at several keys. */
const nameOf = (key: NodeId, record: SignedRecord): string => key + Hex.encode(record.signature)

// --- Layers --------------------------------------------------------------------

/**
 * Keeps nothing across restarts.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNone: Layer.Layer<Persistence> = Layer.succeed(
  Persistence,
  makeNothing("this node keeps its state in memory only", undefined)
)

/**
 * Keeps state in a value of {@link makeMemory}, which outlives the node.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory = (memory: Medium): Layer.Layer<Persistence> => Layer.effect(Persistence, make(memory))
