/**
 * Persistence of a node's state in `state.sqlite` of its data directory, with
 * Node's built-in SQLite on a worker thread.
 *
 * A batch counts as written once it is on disk, so it survives a power loss.
 * The directory is for one node at a time, see `DataDirectory`. A damaged file
 * is moved to `state.sqlite.damaged-<time>` and replaced by a new one. If only
 * some records are damaged, the file is copied there and continues without them.
 * With eight damaged files in the directory no new file is started, and a file
 * of a later version of this library is left unchanged; the node then keeps its
 * state in memory. Each of these cases is logged.
 *
 * Each record has a checksum. Signatures are verified when a record arrives, and
 * not again when it is read from the file.
 *
 * @module
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { createReadStream } from "node:fs"
import * as Fs from "node:fs/promises"
import { join } from "node:path"
import type { Address } from "../Address.ts"
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
  /** Maximum size of the file; defaults to 1 GiB, about a million records. */
  readonly maxBytes?: number | undefined
}

/** Time limit for a write, and for opening and checking a file or copying it, after which the disk counts as failed. */
const timeout = "30 seconds"
const openTimeout = "2 minutes"
const backupTimeout = "2 minutes"

/** Time limit for closing the file. Everything written is durable without it. */
const closeTimeout = "5 seconds"

/** Bytes of the signature that distinguish the records of one key. */
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
  note: network,
  replaces: replaced && tagOf(replaced)
})

/** The tag of a hosted record names its slot, so a renewal takes the place of the row. */
const putHosted = ({ due, holders, key, record, slot }: Extract<Persistence.Change, { _tag: "Hosted" }>): Step => ({
  _tag: "Put",
  table: "hosted",
  key,
  tag: slot,
  type: record.type,
  expires: record.expiresAt,
  bytes: record.bytes,
  note: [due, ...holders].join(" "),
  replaces: undefined
})

/** An identity never expires, and has one row. */
const identityTag = { table: "identity", tag: "" } as const

const putIdentity = ({ address, text }: Persistence.HostedIdentity): Step => ({
  _tag: "Put",
  ...identityTag,
  key: address,
  type: 0,
  expires: 0,
  bytes: new TextEncoder().encode(text),
  replaces: undefined
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
    case "Announced":
      return { _tag: "Fact", name: "announcements", value: change.announcements }
    case "Hosted":
      return putHosted(change)
    case "Unhosted":
      return { _tag: "Delete", table: "hosted", key: change.key, tag: change.slot }
    case "Enrolled":
      return putIdentity(change)
    case "Dismissed":
      return { _tag: "Delete", ...identityTag, key: change.address }
  }
}

/** Gives the bytes of all steps one buffer: passing many buffers to a thread costs more than copying them. */
const together = (steps: ReadonlyArray<Step>): ReadonlyArray<Step> => {
  const buffer = new Uint8Array(steps.reduce((sum, step) => sum + (step._tag === "Put" ? step.bytes.length : 0), 0))
  let at = 0
  return steps.map((step) => {
    if (step._tag !== "Put") return step
    buffer.set(step.bytes, at)
    at += step.bytes.length
    return { ...step, bytes: buffer.subarray(at - step.bytes.length, at) }
  })
}

// --- What is read --------------------------------------------------------------

type Rows = Page["rows"]

type EntryRow = Persistence.Entry & Pick<Rows[number], "note" | "tag">

const entriesOf = (rows: Rows): ReadonlyArray<EntryRow> =>
  rows.flatMap(({ bytes, key, note, tag }) => {
    const record = Record.decode(bytes)
    return Result.isSuccess(record) ? [{ key: key as NodeId, record: record.success, note, tag }] : []
  })

const identityOf = ({ bytes, key }: Rows[number]): Persistence.HostedIdentity => ({
  address: key as Address,
  text: new TextDecoder().decode(bytes)
})

const hostedOf = ({ key, note = "", record, tag }: EntryRow): Persistence.HostedSlot => {
  const [due, ...holders] = note.split(" ").map(Number)
  return { key, record, slot: tag, due, holders }
}

const peersOf = (text: string | undefined): ReadonlyArray<SocketAddress.SocketAddress> =>
  (text ?? "").split("\n").flatMap((line) => {
    const address = SocketAddress.fromString(line)
    return Result.isSuccess(address) ? [address.success] : []
  })

const seqOf = (text: string | undefined): bigint => text !== undefined && /^\d{1,20}$/.test(text) ? BigInt(text) : 0n

const cannotBackUp = (path: string, error: unknown): Persistence.CannotBackUp =>
  new Persistence.CannotBackUp({ reason: `${path}: ${error instanceof Error ? error.message : String(error)}` })

const contentOf = (path: string): Stream.Stream<Uint8Array, Persistence.CannotBackUp> =>
  Stream.suspend(() =>
    Stream.fromAsyncIterable<Uint8Array, Persistence.CannotBackUp>(
      createReadStream(path),
      (error) => cannotBackUp(path, error)
    )
  )

const makeMedium = (call: Caller, path: string): Persistence.Medium => {
  /** Reads, or logs the failure and returns `nothing`. */
  const read = <A>(reading: Effect.Effect<A, CallFailed>, nothing: A): Effect.Effect<A> =>
    Effect.catchTag(
      inTime(timeout)(reading),
      "CallFailed",
      ({ reason }) => Effect.as(Effect.logWarning(`Reading the state from ${path} failed: ${reason}`), nothing)
    )

  /** Reads a page while the one before is converted. */
  const pages = <A>(table: Table, convert: (rows: Rows) => ReadonlyArray<A>): Stream.Stream<A> =>
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
            `${page.damaged} ${
              table === "identity" ? "hosted identities" : "records"
            } in ${path} were damaged and left out` +
              (page.copy === undefined ? "" : `; the file as it was is now ${page.copy}`)
          )
        }
        return [[page.rows], Option.fromUndefinedOr(page.next)] as const
      })).pipe(
        Stream.buffer({ capacity: 1 }),
        Stream.map(convert),
        Stream.flattenIterable
      )

  const entries = (table: Exclude<Table, "identity">) => pages(table, entriesOf)

  /** One copy at a time: each takes as much room on the disk as the state. */
  const turn = Semaphore.makeUnsafe(1)

  return {
    records: Stream.map(entries("record"), ({ key, note, record }) => ({ key, record, network: note })),
    publications: Stream.runCollect(Stream.map(entries("publication"), ({ key, record }) => ({ key, record }))),
    seq: Effect.map(read(call("fact", "seq"), undefined), seqOf),
    peers: Effect.map(read(call("fact", "peers"), undefined), peersOf),
    seen: Effect.map(
      read(call("seen"), []),
      (rows) => rows.map(({ id, lastSeen }) => ({ id: id as NodeId, lastSeen }))
    ),
    announcements: Effect.map(read(call("fact", "announcements"), undefined), (text) => text ?? ""),
    hosted: pages("hosted", (rows) => entriesOf(rows).map(hostedOf)),
    identities: pages("identity", (rows) => rows.map(identityOf)),
    write: (batch, now) =>
      call("write", together(batch.map(stepOf)), now).pipe(
        inTime(timeout),
        Effect.mapError(({ reason }) => new Persistence.WriteFailed({ reason: `${path}: ${reason}` }))
      ),
    backup: Effect.gen(function*() {
      yield* Effect.acquireRelease(turn.take(1), () => turn.release(1), { interruptible: true })
      const copy = yield* Effect.acquireRelease(
        inTime(backupTimeout)(call("backup")),
        (copy) => Effect.ignore(Effect.tryPromise(() => Fs.rm(copy, { force: true }))),
        { interruptible: true }
      )
      const { size } = yield* Effect.tryPromise(() => Fs.stat(copy))
      return { size, content: contentOf(copy) }
    }).pipe(Effect.mapError((error) => cannotBackUp(path, error)))
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
      yield* Effect.logWarning(`State is kept in memory only and is lost when the node stops: ${reason}`)
      return yield* Persistence.makeUnavailable(reason)
    }
    const setAside = opened.success
    if (setAside !== undefined) {
      yield* Effect.logWarning(
        `${path} was damaged (${setAside.reason}); the damaged file is now ${setAside.path}`
      )
    }
    yield* Effect.addFinalizer(() => Effect.ignore(Effect.timeout(call("close"), closeTimeout)))
    return yield* Persistence.make(makeMedium(call, path))
  },
  Effect.annotateLogs({ module: "effect-dht/node/SqlitePersistence" })
)

/**
 * Stores state in `state.sqlite` of a locked directory. If the file cannot be
 * used, the node runs with its state in memory and a warning with the reason is
 * logged.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerIn = (options: Options = {}): Layer.Layer<Persistence.Persistence, never, DataDirectory> =>
  Layer.effect(Persistence.Persistence, make(options))

/**
 * Locks a directory and stores state there, see {@link layerIn}.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  { directory, ...options }: Options & { readonly directory: string }
): Layer.Layer<Persistence.Persistence, DirectoryInUse> => Layer.provide(layerIn(options), layerDirectory(directory))

/**
 * The addresses of the peers that a node of this data directory remembered, best
 * first; empty while a node runs there, or if the file cannot be read.
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
