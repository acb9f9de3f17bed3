/**
 * Keeps the state of a node in its data directory: in `state.sqlite`, by the
 * SQLite that comes with Node, on a thread of its own.
 *
 * A batch is on the disk itself before it counts as written, so it outlives a
 * loss of power as well. The directory is for one node at a time, see
 * `DataDirectory`. A file that is damaged is moved to `state.sqlite.damaged-<time>`
 * and a new one begun; where only some records are, it is copied there, and goes
 * on without them. At eight damaged files no more is begun, nor when the file is
 * of a later version of this library: it is left as it is, and the node keeps
 * its state in memory. All of this is said in the log.
 *
 * Records carry a checksum each. Their signatures were checked when they came
 * in, and are not checked again when they are read.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { join } from "node:path"
import * as Hex from "../internal/hex.ts"
import type { NodeId } from "../NodeId.ts"
import * as Persistence from "../Persistence.ts"
import * as Record from "../Record.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { DataDirectory, type DirectoryInUse, layer as layerDirectory } from "./DataDirectory.ts"
import type { Page, Step, Table } from "./internal/stateFile.ts"
import { type Caller, type CallFailed, inTime, start } from "./internal/stateThread.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The largest size of the file; defaults to 1 GiB, about a million records. */
  readonly maxBytes?: number | undefined
}

/** What a write is given, and opening a file, which is checked; then the disk counts as broken. */
const timeout = "30 seconds"
const openTimeout = "2 minutes"

/** What closing the file is given: what was written is safe without that. */
const closeTimeout = "5 seconds"

/** Bytes of a signature that tell the records of a key apart. */
const tagLength = 16

// --- What is written -----------------------------------------------------------

const tagOf = (record: Record.SignedRecord): string => Hex.slice(record.signature, 0, tagLength)

const put = (
  table: Table,
  key: NodeId,
  record: Record.SignedRecord,
  replaced: Record.SignedRecord | undefined,
  network?: string
): Step => ({
  _tag: "Put",
  table,
  key,
  tag: tagOf(record),
  type: record.type,
  expires: record.expiresAt,
  bytes: record.bytes,
  network,
  replaces: replaced && tagOf(replaced)
})

const stepOf = (change: Persistence.Change): Step => {
  switch (change._tag) {
    case "Stored":
      return put("record", change.key, change.record, change.replaced, change.network)
    case "Published":
      return put("publication", change.key, change.record, change.replaced)
    case "Removed":
      return { _tag: "Delete", table: "record", key: change.key, tag: tagOf(change.record) }
    case "Withdrawn":
      return { _tag: "Delete", table: "publication", key: change.key, tag: tagOf(change.record) }
    case "Cleared":
      return { _tag: "Clear", key: change.key, type: change.type }
    case "Signed":
      return { _tag: "Fact", name: "seq", value: String(change.seq) }
    case "Peers":
      return { _tag: "Fact", name: "peers", value: change.peers.map(SocketAddress.format).join("\n") }
    case "Seen":
      return { _tag: "Seen", sightings: change.sightings }
  }
}

// --- What is read --------------------------------------------------------------

const entriesOf = ({ rows }: Page): ReadonlyArray<Persistence.StoredEntry> =>
  rows.flatMap(({ bytes, key, network }) => {
    const record = Record.decode(bytes)
    return Result.isSuccess(record) ? [{ key: key as NodeId, record: record.success, network }] : []
  })

const peersOf = (text: string | undefined): ReadonlyArray<SocketAddress.SocketAddress> =>
  (text ?? "").split("\n").flatMap((line) => {
    const address = SocketAddress.fromString(line)
    return Result.isSuccess(address) ? [address.success] : []
  })

const seqOf = (text: string | undefined): bigint => text !== undefined && /^\d{1,20}$/.test(text) ? BigInt(text) : 0n

const makeMedium = (call: Caller, path: string): Persistence.Medium => {
  /** What cannot be read is missed, and nothing more. */
  const read = <A>(reading: Effect.Effect<A, CallFailed>, nothing: A): Effect.Effect<A> =>
    Effect.catchTag(
      inTime(timeout)(reading),
      "CallFailed",
      ({ reason }) => Effect.as(Effect.logWarning(`State could not be read from ${path}: ${reason}`), nothing)
    )

  const entries = (table: Table): Stream.Stream<Persistence.StoredEntry> =>
    Stream.paginate(0, (from) =>
      Effect.gen(function*() {
        const page: Page = yield* read(call("page", table, from), {
          rows: [],
          damaged: 0,
          copy: undefined,
          next: undefined
        })
        if (page.damaged > 0) {
          yield* Effect.logWarning(
            `${page.damaged} records in ${path} were damaged, and are left out` +
              (page.copy === undefined ? "" : `; the file as it was is now ${page.copy}`)
          )
        }
        return [entriesOf(page), Option.fromUndefinedOr(page.next)] as const
      }))

  return {
    records: entries("record"),
    publications: Stream.runCollect(Stream.map(entries("publication"), ({ key, record }) => ({ key, record }))),
    seq: Effect.map(read(call("fact", "seq"), undefined), seqOf),
    peers: Effect.map(read(call("fact", "peers"), undefined), peersOf),
    seen: Effect.map(
      read(call("seen"), []),
      (rows) => rows.map(({ id, lastSeen }) => ({ id: id as NodeId, lastSeen }))
    ),
    write: (batch, now) =>
      call("write", batch.map(stepOf), now).pipe(
        inTime(timeout),
        Effect.mapError(({ reason }) => new Persistence.WriteFailed({ reason: `${path}: ${reason}` }))
      )
  }
}

const pathIn = (directory: string): string => join(directory, "state.sqlite")

const make = Effect.fnUntraced(
  function*(
    { maxBytes = 1 << 30 }: Options
  ): Effect.fn.Return<Persistence.Persistence["Service"], never, DataDirectory | Scope.Scope> {
    const { call, path: directory } = yield* DataDirectory
    const path = pathIn(directory)
    const time = DateTime.formatIso(yield* DateTime.now).replaceAll(":", "-")
    const opened = yield* Effect.result(inTime(openTimeout)(call("open", { path, time, maxBytes })))
    if (Result.isFailure(opened)) {
      const reason = `${path}: ${opened.failure.reason}`
      yield* Effect.logWarning(`State is kept in memory only, and will be lost when the node ends: ${reason}`)
      return yield* Persistence.makeUnavailable(reason)
    }
    const setAside = opened.success
    if (setAside !== undefined) {
      yield* Effect.logWarning(
        `${path} was damaged (${setAside.reason}); what could not be used is now ${setAside.path}`
      )
    }
    yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(call("close"), closeTimeout)))
    return yield* Persistence.make(makeMedium(call, path))
  },
  Effect.annotateLogs({ module: "effect-dht/node/SqlitePersistence" })
)

/**
 * Keeps state in `state.sqlite` of a directory that is ours. Where that cannot
 * be used, the node runs all the same with its state in memory, and a warning
 * in the log says why.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerIn = (options: Options = {}): Layer.Layer<Persistence.Persistence, never, DataDirectory> =>
  Layer.effect(Persistence.Persistence, make(options))

/**
 * Takes a directory and keeps state there, see {@link layerIn}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  { directory, ...options }: Options & { readonly directory: string }
): Layer.Layer<Persistence.Persistence, DirectoryInUse> => Layer.provide(layerIn(options), layerDirectory(directory))

/**
 * The addresses that a node of this data directory remembered, the best first;
 * none while one runs there, or where nothing can be read.
 *
 * @category constructors
 * @since 0.1.0
 */
export const peers = (directory: string): Effect.Effect<ReadonlyArray<SocketAddress.SocketAddress>> =>
  start.pipe(
    Effect.flatMap((call) => call("peek", pathIn(directory), "peers")),
    Effect.orElseSucceed(() => undefined),
    Effect.map(peersOf),
    Effect.scoped
  )
