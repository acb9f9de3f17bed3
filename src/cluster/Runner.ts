/**
 * A runner of a cluster: hosts the identities of the table whose buckets it has,
 * on its own node.
 *
 * A runner takes an identity over where another one stopped: records that are
 * still good are not signed or stored again. For a moment two runners may host the
 * same identity, which is harmless: the later record counts, as its seq is larger.
 *
 * While the database is out of reach, a runner continues with what it hosts. So no
 * record expires in an outage of the database.
 *
 * @module
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import { make as makeEntityId } from "effect/cluster/EntityId"
import { Sharding } from "effect/cluster/Sharding"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { Address } from "../Address.ts"
import { type Action, bucketOf, buckets, Share } from "../core/share.ts"
import { Crypto } from "../Crypto.ts"
import * as Hosting from "../Hosting.ts"
import * as NodeId from "../NodeId.ts"
import { IdentityTable, type Row, type StoredRecord, type TableUnavailable } from "./IdentityTable.ts"
import * as Rows from "./internal/rows.ts"
import { expirationMillis, singletonOf } from "./Shards.ts"

// --- Models --------------------------------------------------------------------

/**
 * Signs with a key that it has: an external signer of the table names the service
 * and the key. Returns 64 bytes within 10 seconds.
 *
 * @category models
 * @since 0.1.0
 */
export type SigningService = (request: {
  readonly reference: string
  readonly agent: Address
  readonly bytes: Uint8Array
}) => Effect.Effect<Uint8Array, Hosting.SignerFailed>

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Services that sign, by the names that the table has for them. */
  readonly services?: { readonly [name: string]: SigningService } | undefined
  /** How often the table is read for changes; defaults to 1 second. */
  readonly pollInterval?: Duration.Input | undefined
  /**
   * How long a runner continues without the database; defaults to a day. Then it
   * stops hosting, and records are left to expire: in the meantime others may have
   * removed identities.
   */
  readonly holdover?: Duration.Input | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Status {
  /** Buckets that the runner has, of 256. */
  readonly buckets: number
  /** Identities that it hosts, also those that it continues with while the database is out of reach. */
  readonly identities: number
  /** Whether the last access to the table succeeded. */
  readonly isConnected: boolean
}

// --- Errors --------------------------------------------------------------------

/**
 * The signer of an identity names a service that this runner has not.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownService extends Data.TaggedError("UnknownService")<{ readonly service: string }> {
  override get message() {
    return `This runner has no signing service "${this.service}". Give all runners the same services`
  }
}

// --- The service ---------------------------------------------------------------

/**
 * Hosts a part of the table of identities.
 *
 * @category services
 * @since 0.1.0
 */
export class Runner extends Context.Service<Runner, {
  /** What it hosts now. */
  readonly status: Effect.Effect<Status>
  /** The status and its changes. */
  readonly changes: Stream.Stream<Status>
}>()("effect-dht/cluster/Runner") {}

/** Time to hand a bucket over before the next runner has to do without what this one knows. */
const handOverTimeout = "2 seconds"

type Left = (address: Address) => Effect.Effect<ReadonlyArray<StoredRecord>, TableUnavailable>

const nothingLeft: Left = () => Effect.succeed([])

const make = Effect.fnUntraced(function*(options: Options) {
  const { holdover = "1 day", pollInterval = "1 second", services = {} } = options
  const hosting = yield* Hosting.Hosting
  const { runners: table } = yield* IdentityTable
  const sharding = yield* Sharding
  const crypto = yield* Crypto
  const clock = yield* Clock.Clock
  const share = new Share<Row>()
  const status = yield* SubscriptionRef.make<Status>({ buckets: 0, identities: 0, isConnected: true })
  /** Identities with records that are not saved yet. */
  const unsaved = new Set<Address>()
  /** Identities that were withdrawn, whose rows are not deleted yet. */
  let withdrawn: Array<Row> = []
  /** What could not be hosted, or can be again, and is not written yet. */
  const faults = new Map<Address, { readonly version: number; readonly fault: string | undefined }>()
  /** The version up to which changes are known. */
  let seen: number | undefined
  /** Since when the table has been within reach, or out of it. */
  let connection = { isUp: true, since: clock.currentTimeMillisUnsafe() }
  let isClosing = false

  const millis = () => clock.currentTimeMillisUnsafe()

  // --- Rows ----------------------------------------------------------------------

  const signerOf = (
    { address, signer }: Row
  ): Result.Result<Hosting.Signer, { readonly message: string }> =>
    Result.flatMap(Rows.decodeSigner(signer), (column): Result.Result<Hosting.Signer, UnknownService> => {
      const { delegation, publicKey } = column
      if (column._tag === "Sealed") {
        const { seed: sealed } = column
        // The seed is opened for each signature, and not kept in memory.
        const sign = (bytes: Uint8Array) =>
          Effect.suspend(() => {
            const seed = table.seedOf(address, sealed)
            return seed?.length === 32
              ? Effect.succeed(crypto.signingKey(seed).sign(bytes))
              : new Hosting.SignerFailed({ reason: "its seed in the database cannot be decrypted" })
          })
        return Result.succeed({ agent: address, publicKey, delegation, sign })
      }
      const { reference, service } = column
      const signs = Object.hasOwn(services, service) ? services[service] : undefined
      return signs === undefined
        ? Result.fail(new UnknownService({ service }))
        : Result.succeed({
          agent: address,
          publicKey,
          delegation,
          sign: (bytes) => signs({ reference, agent: address, bytes })
        })
    })

  const hostedOf = (row: Row): Result.Result<Hosting.HostOptions, { readonly message: string }> =>
    Result.gen(function*() {
      const signer = yield* signerOf(row)
      const contents = yield* Rows.decodeContents(row.announce)
      const announce = yield* Result.all(contents.map(Hosting.decodeContent))
      return { signer, announce, replicas: row.replicas, ttl: row.ttl }
    })

  /** Hosts the identity of a row, or changes it. What is wrong with it becomes its fault. */
  const host = Effect.fnUntraced(function*(row: Row, left: Left) {
    const { address } = row
    const outcome = yield* Effect.exit(Effect.gen(function*() {
      const hosted = yield* Effect.fromResult(hostedOf(row))
      yield* hosting.update(address, hosted).pipe(
        Effect.catchTag("NotHosted", () => Effect.flatMap(left(address), (left) => hosting.host({ ...hosted, left })))
      )
    }))
    if (outcome._tag === "Success") {
      if (row.fault !== undefined) faults.set(address, { version: row.version, fault: undefined })
      return
    }
    const error = Cause.squash(outcome.cause)
    faults.set(address, { version: row.version, fault: error instanceof Error ? error.message : String(error) })
  })

  /** Withdraws the records of an identity, also those that another runner stored. */
  const withdraw = Effect.fnUntraced(function*(row: Row, left: Left) {
    const { address } = row
    const isHosted = Effect.isSuccess(hosting.get(address))
    if (!(yield* isHosted)) yield* host({ ...row, fault: undefined }, left)
    faults.delete(address)
    yield* Effect.ignore(hosting.remove(address))
    unsaved.delete(address)
    withdrawn.push(row)
  })

  const apply = Effect.fnUntraced(function*(actions: ReadonlyArray<Action<Row>>, left: Left) {
    for (const action of actions) {
      switch (action._tag) {
        case "Host":
          yield* host(action.row, left)
          break
        case "Withdraw":
          yield* withdraw(action.row, left)
          break
        case "Drop": {
          const address = action.address as Address
          unsaved.delete(address)
          faults.delete(address)
          yield* Effect.ignore(hosting.remove(address, { keepRecords: true }))
        }
      }
    }
  })

  const report = Effect.suspend(() => {
    const now = { buckets: share.owned.length, identities: share.size, isConnected: connection.isUp }
    return SubscriptionRef.update(
      status,
      (before) =>
        before.buckets === now.buckets && before.identities === now.identities && before.isConnected === now.isConnected
          ? before
          : now
    )
  })

  // --- Writing -------------------------------------------------------------------

  const recordsOf = (address: Address): Effect.Effect<ReadonlyArray<StoredRecord>> =>
    hosting.get(address).pipe(
      Effect.map(({ records }) =>
        records.flatMap(({ due, holders, key, record }) =>
          record === undefined ? [] : [{ address, due, holders, key, record }]
        )
      ),
      Effect.orElseSucceed(() => [])
    )

  const turn = Semaphore.makeUnsafe(1)

  /** Writes what is not written yet. What cannot be written is kept for the next time. */
  const flush = Effect.gen(function*() {
    const addresses = [...unsaved]
    unsaved.clear()
    const records = (yield* Effect.forEach(addresses, recordsOf)).flat()
    yield* Effect.onError(table.save(records), () =>
      Effect.sync(() => {
        for (const address of addresses) unsaved.add(address)
      }))
    const rows = withdrawn
    withdrawn = []
    yield* Effect.onError(table.forget(rows), () =>
      Effect.sync(() => {
        withdrawn = [...rows, ...withdrawn]
      }))
    for (const [address, { fault, version }] of faults) {
      yield* table.blame({ address, version }, fault)
      if (faults.get(address)?.version === version) faults.delete(address)
    }
  }).pipe(turn.withPermits(1))

  // --- Buckets -------------------------------------------------------------------

  const release = (bucket: number) => Effect.suspend(() => apply(share.release(bucket), nothingLeft))

  /**
   * Ends the hosting of a bucket. If the table is out of reach, its identities stay:
   * no runner can know whether another one has taken them.
   */
  const handOver = (bucket: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      share.lose(bucket, millis())
      if (isClosing) return Effect.void
      return flush.pipe(
        Effect.andThen(table.version),
        Effect.timeout(handOverTimeout),
        Effect.andThen(release(bucket)),
        Effect.ignore
      )
    })

  const load = Effect.fnUntraced(function*(bucket: number) {
    const { records, rows } = yield* table.load(bucket)
    const byAddress = Map.groupBy(records, ({ address }) => address)
    yield* apply(share.loaded(bucket, rows), (address) => Effect.succeed(byAddress.get(address) ?? []))
  })

  /** Follows the table once. */
  const follow = Effect.gen(function*() {
    const version = yield* table.version
    const now = millis()
    if (!connection.isUp) {
      yield* Effect.logInfo("The database of hosted identities is within reach again")
      connection = { isUp: true, since: now }
    }
    seen ??= version
    // After an outage it takes a while until it is known which buckets another runner has.
    if (now - connection.since >= expirationMillis) {
      for (const bucket of share.lostBy(now - expirationMillis)) yield* release(bucket)
    }
    for (const bucket of share.unloaded) {
      yield* load(bucket)
      yield* report
    }
    if (version > seen) {
      const records: Left = (address) => table.records(address)
      yield* Stream.runForEachArray(table.changes(seen, share.followed), (rows) => {
        const actions = share.changed(rows)
        return Effect.andThen(
          apply(actions.filter(({ _tag }) => _tag === "Host"), nothingLeft),
          apply(actions.filter(({ _tag }) => _tag !== "Host"), records)
        )
      })
      seen = version
    }
    yield* flush
  })

  const disconnected = Effect.fnUntraced(function*(error: TableUnavailable) {
    const now = millis()
    if (connection.isUp) {
      yield* Effect.logWarning(`${error.message}. Hosting continues with what is known`)
      connection = { isUp: false, since: now }
    }
    if (now - connection.since >= Duration.toMillis(Duration.fromInputUnsafe(holdover))) {
      for (const bucket of share.lostBy(now)) yield* release(bucket)
    }
  })

  // The events are there before the first identity is hosted.
  yield* hosting.events.pipe(
    Stream.runForEach((event) =>
      Effect.sync(() => {
        if (event._tag !== "Renewed" && event._tag !== "DelegationEnded") return
        const version = share.versionOf(bucketOf(NodeId.fromAddress(event.address)), event.address)
        if (version === undefined) return
        if (event._tag === "Renewed") unsaved.add(event.address)
        else faults.set(event.address, { version, fault: event.reason.message })
      })
    ),
    Effect.catchCause((cause) => Effect.logError("Records are no longer saved in the database", cause)),
    Effect.annotateLogs({ module: "effect-dht/cluster/Runner", fiber: "Events" }),
    Effect.forkScoped({ startImmediately: true })
  )

  yield* Effect.addFinalizer(() => Effect.forEach(share.lostBy(Infinity), release, { discard: true }))

  for (let bucket = 0; bucket < buckets; bucket++) {
    const name = singletonOf((name) => sharding.getShardId(makeEntityId(name), "default").id, bucket)
    yield* sharding.registerSingleton(
      name,
      Effect.andThen(
        Effect.acquireRelease(Effect.sync(() => share.gain(bucket)), () => handOver(bucket)),
        Effect.never
      )
    )
  }

  yield* follow.pipe(
    Effect.catch(disconnected),
    Effect.catchCause((cause) => Effect.logError("Following the table of identities failed", cause)),
    Effect.andThen(report),
    Effect.andThen(Effect.sleep(pollInterval)),
    Effect.forever,
    Effect.annotateLogs({ module: "effect-dht/cluster/Runner", fiber: "Table" }),
    Effect.forkScoped
  )

  // Finalizers run in reverse order: what is known is written once, before the buckets are handed over.
  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      isClosing = true
      return Effect.ignore(Effect.timeout(flush, handOverTimeout))
    })
  )

  return Runner.of({
    status: SubscriptionRef.get(status),
    changes: SubscriptionRef.changes(status)
  })
})

/**
 * Hosts the buckets that `Sharding` gives to this runner, until the layer's scope
 * closes; then it hands them over.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Runner, never, IdentityTable | Hosting.Hosting | Sharding | Crypto> =>
  Layer.effect(Runner, make(options))
