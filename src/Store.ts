/**
 * The records this node keeps for the network and for itself, by key.
 *
 * Every record is checked once, when it is stored: integrity, key, authority,
 * and whether it is newer than the held one. Reading checks expiry only. The
 * merge is a last-writer-wins register for each slot, so replicas that received
 * the same records in different orders agree (Shapiro et al., Conflict-free
 * Replicated Data Types, 2011).
 *
 * @module
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Address } from "./Address.ts"
import { placementFault } from "./core/placement.ts"
import {
  type Count,
  type Place,
  type Placed,
  RecordSet,
  type RecordSetOptions,
  type Row,
  type Rows,
  type Stored,
  type Verdict
} from "./core/recordSet.ts"
import * as Vetting from "./core/vetting.ts"
import { Crypto } from "./Crypto.ts"
import type { InvalidDelegation } from "./Delegation.ts"
import { NodeEvents } from "./NodeEvents.ts"
import type * as NodeId from "./NodeId.ts"
import { Persistence } from "./Persistence.ts"
import * as Record from "./Record.ts"
import * as WakeUp from "./WakeUp.ts"

export type {
  Count,
  Full,
  Place,
  Placed,
  RecordSetOptions,
  Row,
  Rows,
  Stale,
  Stored,
  Verdict
} from "./core/recordSet.ts"

/**
 * The record does not belong at this key.
 *
 * @category models
 * @since 0.1.0
 */
export interface Refused {
  readonly _tag: "Refused"
  readonly reason: Record.Fault | InvalidDelegation
}

/**
 * Outcome for an offered record.
 *
 * @category models
 * @since 0.1.0
 */
export type Admission = Verdict | Refused

/**
 * Keeps signed records until they expire or are evicted.
 *
 * A record type of 0 means all types. A key that is absent or all zeros means
 * the key of the record's own address. The members whose names end in `Unsafe`
 * read and change the store at once, for code that runs once per packet.
 *
 * @example
 * ```ts
 * import { Store } from "effect-dht"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * const log = Effect.gen(function*() {
 *   const store = yield* Store.Store
 *   yield* Effect.log(`${yield* store.size} keys are held`)
 *   yield* Stream.runForEach(store.changes, ({ key, record }) =>
 *     Effect.log(`A record of type ${record.type} came to ${key}`))
 * })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Store extends Context.Service<Store, {
  /** Stores a record after all checks. Succeeds even if the record itself is evicted at once. */
  readonly put: (
    key: NodeId.NodeId | undefined,
    record: Record.SignedRecord
  ) => Effect.Effect<void, Record.InvalidRecord | Record.RecordExpired | Record.StaleRecord | InvalidDelegation>
  /**
   * Makes all checks of a record from a peer except that it is newer, for
   * records that are only passed on: those of `put`, and that a topic or
   * mailbox record is at the key that its payload names. `now` is in Unix
   * seconds. Returns the key where the record may be stored.
   */
  readonly vet: (
    key: NodeId.NodeId | undefined,
    record: Record.SignedRecord,
    now: number
  ) => Result.Result<NodeId.NodeId, Record.InvalidRecord | Record.RecordExpired | InvalidDelegation>
  /**
   * `put` for a record received from a peer, whose signature the caller has
   * already checked. `now` is in Unix seconds. All
   * other checks are made, and a topic or mailbox record must be at the key
   * that its payload names. `network` is the peer's: records from one network,
   * and of one address, are evicted before those of others.
   */
  readonly admitUnsafe: (
    key: NodeId.NodeId | undefined,
    record: Record.SignedRecord,
    now: number,
    network: string
  ) => Admission
  /** The live records of a key, in the order of the store. Counts as a use of the key. */
  readonly getAll: (key: NodeId.NodeId, type: number) => Effect.Effect<Array<Record.SignedRecord>>
  /** The newest live endpoint record of a key. Counts as a use of the key. */
  readonly get: (key: NodeId.NodeId) => Effect.Effect<Record.SignedRecord | undefined>
  /** The live records of a key that this node put itself. Does not count as a use of the key. */
  readonly getOwn: (key: NodeId.NodeId, type: number) => Effect.Effect<Array<Record.SignedRecord>>
  /** The live records of an address at any key. Visits the whole store. */
  readonly getAllByAddress: (address: Address, type: number) => Effect.Effect<Array<Record.SignedRecord>>
  /** Drops the records at a key. */
  readonly invalidate: (key: NodeId.NodeId, type: number) => Effect.Effect<void>
  /** Number of keys with a record; expired records are not counted after two minutes at most. */
  readonly size: Effect.Effect<number>
  /** Memory that the records occupy, in bytes. */
  readonly bytes: Effect.Effect<number>
  /** The limit of `bytes`. */
  readonly maxBytes: number
  /** Number of records of each type of which there are any. Counts expired records as `size` does. */
  readonly counts: Effect.Effect<ReadonlyArray<Count>>
  /** All live records, one by one. Visits the whole store and yields to other fibers in between. */
  readonly rows: Effect.Effect<Array<Row>>
  /** At most `limit` live records, from the beginning or from a position on, of one type or of all. */
  readonly page: (
    options: { readonly limit: number; readonly from?: Place | undefined; readonly type?: number | undefined }
  ) => Effect.Effect<Rows>
  /** Changes the limit of keys; a lower limit takes effect at the next new key. */
  readonly setMaxKeys: (maxKeys: number) => Effect.Effect<void>
  /**
   * Streams the records that are new to the store, from now on. A reader that
   * falls 1024 behind misses the oldest.
   */
  readonly changes: Stream.Stream<Placed>
  /**
   * Calls an observer with each record that is new to the store, at once, until
   * the scope closes. It must not throw.
   */
  readonly observe: (observer: (placed: Placed) => void) => Effect.Effect<void, never, Scope.Scope>
  /**
   * Whether the store holds this very record under the key, so that its signature
   * need not be checked again. Does not count as a use of the key.
   */
  readonly holdsUnsafe: (key: NodeId.NodeId | undefined, record: Record.SignedRecord) => boolean
  /**
   * The live records of a key, of one type or of all (0), for a response that
   * may have no room for all of them: they begin where the last response ended
   * (`servedUnsafe`), so that each has its turn. `rank` is this node's among the
   * holders of the key, 0 for the nearest: each begins with other records. Counts
   * as a use of the key. `now` is in Unix seconds.
   */
  readonly inTurnUnsafe: (
    key: NodeId.NodeId,
    type: number,
    now: number,
    rank: number
  ) => ReadonlyArray<Record.SignedRecord>
  /** Records how many of the records in turn a response had room for. */
  readonly servedUnsafe: (key: NodeId.NodeId, count: number) => void
  /**
   * Whether a record may soon be evicted if it counts for this network: the key
   * or the whole store is half full, or the network already uses much of it.
   * Only then does the sender have to prove its address.
   */
  readonly isContendedUnsafe: (key: NodeId.NodeId, type: number, network: string) => boolean
}>()("effect-dht/Store") {}

/** Changes kept for a reader that is slow. */
const changesCapacity = 1024

/** Least time between removals of expired records, and number of keys examined without a pause. */
const sweepInterval = "60 seconds"
const sweepStep = 256

/** Rows built without a pause. */
const rowsAtOnce = 256

/** Records restored from an earlier run before the resulting changes are written. */
const restoredAtOnce = 1024

const seconds = Effect.map(Clock.currentTimeMillis, (millis) => Math.floor(millis / 1000))

/**
 * Bounds of the store, and its policy.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface Options extends RecordSetOptions {
  /** Decides which records may be stored at a key; {@link Record.authority} by default. */
  readonly policy?: Record.Policy | undefined
}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const crypto = yield* Crypto
  const { place, verify, vet } = Vetting.make({ crypto, policy: options.policy })
  const persistence = yield* Persistence
  const events = yield* NodeEvents
  const clock = yield* Clock.Clock
  const core = new RecordSet(options)
  const tell = (_tag: "RecordStored" | "RecordRemoved") => (key: NodeId.NodeId, record: Record.SignedRecord): void => {
    if (events.hasListeners) events.tellUnsafe({ _tag, at: clock.currentTimeMillisUnsafe(), key, record })
  }
  core.watch({ added: tell("RecordStored"), removed: tell("RecordRemoved") })
  const readers = new Set<Queue.Queue<Placed, Cause.Done>>()
  const observers = new Set<(placed: Placed) => void>()

  const merge = (key: NodeId.NodeId, given: Record.SignedRecord, now: number, network?: string): Verdict => {
    const record = Record.detach(given)
    const verdict = core.put(key, record, now, network)
    if (verdict._tag === "Stored") {
      for (const observer of observers) observer({ key, record })
      if (persistence.isLasting) {
        persistence.save({ _tag: "Stored", key, record, network, replaced: verdict.replaced })
        saveEvicted(verdict)
      }
    }
    return verdict
  }

  /** An evicted record must not come back after a restart. */
  const saveEvicted = ({ evicted }: Stored): void => {
    for (const { key, record } of evicted) persistence.save({ _tag: "Removed", key, record })
  }

  /** Restores what an earlier run held. A clock that is behind does not drop records. */
  const restore = Effect.gen(function*() {
    const now = yield* seconds
    yield* Stream.runForEachArray(
      Stream.rechunk(persistence.kept.records, restoredAtOnce),
      (entries) =>
        Effect.sync(() => {
          for (const { key, network, record } of entries) {
            if (record.expiresAt < now) continue
            const verdict = core.put(key, record, now, network)
            if (verdict._tag !== "Stored") {
              persistence.save({ _tag: "Removed", key, record })
              continue
            }
            if (verdict.replaced !== undefined) persistence.save({ _tag: "Removed", key, record: verdict.replaced })
            saveEvicted(verdict)
          }
          // More changes at once than the queue holds would be lost.
        }).pipe(Effect.andThen(Effect.ignore(persistence.flush)))
    )
  })

  const admitUnsafe: Store["Service"]["admitUnsafe"] = (given, record, now, network) => {
    const fault = Record.fault(record, now)
    if (fault !== undefined) return { _tag: "Refused", reason: fault }
    const key = place(given, record, now)
    if (Result.isFailure(key)) return { _tag: "Refused", reason: key.failure }
    const ended = Vetting.endOf(record, now)
    if (ended !== undefined) return { _tag: "Refused", reason: ended }
    const misplaced = placementFault(key.success, record)
    if (misplaced !== undefined) return { _tag: "Refused", reason: { _tag: "InvalidRecord", reason: misplaced } }
    return merge(key.success, record, now, network)
  }

  const put: Store["Service"]["put"] = Effect.fnUntraced(function*(given, record) {
    const now = yield* seconds
    const key = yield* Effect.fromResult(verify(given, record, now))
    const verdict = merge(key, record, now)
    if (verdict._tag === "Stale") return yield* Record.stale(record, verdict.held)
  })

  const observe: Store["Service"]["observe"] = (observer) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        observers.add(observer)
      }),
      () => Effect.sync(() => observers.delete(observer))
    )

  const changes = Stream.callback<Placed>(
    (reader) =>
      Effect.andThen(
        observe((placed) => Queue.offerUnsafe(reader, placed)),
        Effect.acquireRelease(
          Effect.sync(() => readers.add(reader)),
          () => Effect.sync(() => readers.delete(reader))
        )
      ),
    { bufferSize: changesCapacity, strategy: "sliding" }
  )
  yield* Effect.addFinalizer(() => Effect.sync(() => readers.forEach((reader) => Queue.endUnsafe(reader))))

  if (persistence.isLasting) yield* restore

  const awake = yield* WakeUp.make
  /** The Unix second of the first expiry, as of the last removal. */
  let sweepAt = Infinity
  core.watch({
    added: (_, { expiresAt }) => {
      if (expiresAt < sweepAt) awake.wakeUnsafe()
    },
    removed: () => {}
  })

  const sweep = Effect.gen(function*() {
    const now = yield* seconds
    // After a failure the next one is not put off.
    sweepAt = now
    while (core.sweep(now, sweepStep)) yield* Effect.yieldNow
    sweepAt = core.sweepAt
  })
  yield* sweep.pipe(
    Effect.catchCause((cause) => Effect.logWarning("Expired records could not be removed", cause)),
    Effect.andThen(Effect.flatMap(seconds, (now) => awake.sleep((sweepAt - now) * 1000))),
    Effect.repeat(Schedule.windowed(sweepInterval)),
    Effect.annotateLogs({ module: "effect-dht/Store", fiber: "Sweep" }),
    Effect.forkScoped
  )

  return Store.of({
    put,
    vet,
    admitUnsafe,
    getAll: (key, type) => Effect.map(seconds, (now) => core.getAll(key, type, now)),
    get: (key) => Effect.map(seconds, (now) => core.get(key, now)),
    getOwn: (key, type) => Effect.map(seconds, (now) => core.getOwn(key, type, now)),
    getAllByAddress: (address, type) => Effect.map(seconds, (now) => core.getAllByAddress(address, type, now)),
    invalidate: (key, type) =>
      Effect.sync(() => {
        core.invalidate(key, type)
        persistence.save({ _tag: "Cleared", key, type })
      }),
    size: Effect.sync(() => core.size),
    bytes: Effect.sync(() => core.bytes),
    maxBytes: core.maxBytes,
    counts: Effect.sync(() => core.countsByType),
    rows: Effect.gen(function*() {
      const all: Array<Row> = []
      for (const row of core.rows(yield* seconds)) {
        if (all.push(row) % rowsAtOnce === 0) yield* Effect.yieldNow
      }
      return all
    }),
    page: ({ from, limit, type }) => Effect.map(seconds, (now) => core.page(now, limit, from, type)),
    setMaxKeys: (maxKeys) => Effect.sync(() => core.setMaxKeys(maxKeys)),
    changes,
    observe,
    holdsUnsafe: (key, record) => core.holds(Vetting.isGiven(key) ? key : Record.ownKey(record), record),
    inTurnUnsafe: (key, type, now, rank) => core.inTurn(key, type, now, rank),
    servedUnsafe: (key, count) => core.served(key, count),
    isContendedUnsafe: (key, type, network) => core.isContended(key, type, network)
  })
})

/**
 * A store in memory that starts with the records of an earlier run and saves
 * changes, if the node's state is kept.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Store, never, Crypto | NodeEvents | Persistence> =>
  Layer.effect(Store, make(options))
