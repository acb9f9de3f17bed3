/**
 * The table of hosted identities in a SQL database. It says which identities a
 * cluster hosts: programs write rows, and runners host what the rows say.
 *
 * A private key is kept encrypted, or not at all: an external signer is a
 * reference to a key in a service that the runners know by name. Besides, the
 * tables have the latest record of each slot and the nodes that hold it, so that
 * a runner continues where another one stopped.
 *
 * The SQL is that of PostgreSQL and of SQLite.
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
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Fragment } from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import type * as Address from "../Address.ts"
import { bucketOf, type Row as ShareRow } from "../core/share.ts"
import { Crypto } from "../Crypto.ts"
import type * as Delegation from "../Delegation.ts"
import * as Hosting from "../Hosting.ts"
import type * as Identity from "../Identity.ts"
import * as Hex from "../internal/hex.ts"
import * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import * as Rows from "./internal/rows.ts"
import { type LaterSchema, migrate } from "./internal/schema.ts"

export { LaterSchema } from "./internal/schema.ts"

// --- Models --------------------------------------------------------------------

/**
 * A signer whose key is elsewhere, such as in a key management service. Runners
 * know the service by its name, see `Runner.Options`.
 *
 * @category models
 * @since 0.1.0
 */
export interface ExternalSigner {
  readonly service: string
  /** Identifies the key in the service, such as its path or its ARN. */
  readonly reference: string
  /** The address that is hosted. */
  readonly agent: Address.Address
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** Authorises the key to act for `agent`; undefined if that is its own address. */
  readonly delegation?: Delegation.Delegation | undefined
}

/**
 * An identity to host. The seed of an `Identity` is kept encrypted, with its
 * delegation if it has one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hosted extends Omit<Hosting.HostOptions, "signer"> {
  readonly signer: Identity.Identity | ExternalSigner
}

/**
 * A row of the table. Its signer and contents are read when it is hosted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row extends ShareRow {
  readonly address: Address.Address
  readonly signer: string
  readonly announce: string
  readonly replicas: number
  readonly ttl: number
  /** Why a runner could not host it; undefined if it could, or has not tried yet. */
  readonly fault: string | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Counts {
  /** Identities to host. */
  readonly identities: number
  /** Those of them that could not be hosted. */
  readonly faults: number
  /** Identities that are yet to be withdrawn. */
  readonly removed: number
}

/**
 * A record of an identity that a runner stored.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredRecord extends Hosting.Stored {
  readonly address: Address.Address
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * Encrypts the seeds in the table: at least 32 characters, random, and the same
   * for all programs that use the table.
   */
  readonly key: Redacted.Redacted
}

// --- Errors --------------------------------------------------------------------

/**
 * The database did not do what it was asked to.
 *
 * @category errors
 * @since 0.1.0
 */
export class TableUnavailable extends Data.TaggedError("TableUnavailable")<{ readonly reason: string }> {
  override get message() {
    return `The database of hosted identities is out of reach: ${this.reason}`
  }
}

/**
 * The key is not the one with which the seeds in the table were encrypted.
 *
 * @category errors
 * @since 0.1.0
 */
export class WrongKey extends Data.TaggedError("WrongKey")<{}> {
  override get message() {
    return "The key does not open the seeds in the database. Give the key with which they were written"
  }
}

/**
 * The key is too short to be random.
 *
 * @category errors
 * @since 0.1.0
 */
export class WeakKey extends Data.TaggedError("WeakKey")<{ readonly length: number }> {
  override get message() {
    return `The key of the database has ${this.length} characters: give at least ${minKeyLength}, such as those of ` +
      "\"openssl rand -hex 32\""
  }
}

/**
 * Why the table cannot be used.
 *
 * @category errors
 * @since 0.1.0
 */
export type CannotOpen = TableUnavailable | LaterSchema | WrongKey | WeakKey

/**
 * What is wrong with an identity, which is named; none of the call was written.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotPut extends Data.TaggedError("CannotPut")<{
  readonly address: Address.Address
  readonly reason: Exclude<Hosting.HostError, Hosting.AlreadyHosted>
}> {
  override get message() {
    return `${this.address}: ${this.reason.message}`
  }
}

/**
 * Outcome of merging an identity into the table: its row was added or replaced,
 * has been the same before, or was left as it is although it differs.
 *
 * @category models
 * @since 0.1.0
 */
export type Merged = "Added" | "Replaced" | "Same" | "Differs" | CannotPut

// --- The service ---------------------------------------------------------------

/**
 * The table of hosted identities.
 *
 * @example
 * ```ts
 * import { IdentityTable } from "effect-dht/cluster"
 * import type { Identity } from "effect-dht"
 * import * as Effect from "effect/Effect"
 *
 * const hostAll = (identities: ReadonlyArray<Identity.Identity>) =>
 *   Effect.gen(function*() {
 *     const table = yield* IdentityTable.IdentityTable
 *     yield* table.put(identities.map((signer) => ({
 *       signer,
 *       announce: [{ _tag: "Endpoint", endpoints: ["https://agents.example"] }]
 *     })))
 *   })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class IdentityTable extends Context.Service<IdentityTable, {
  /**
   * Writes the rows of identities, in place of those that they have. Runners host
   * them within seconds. The contents are checked first; what a runner finds wrong
   * later is the `fault` of the row.
   */
  readonly put: (identities: ReadonlyArray<Hosted>) => Effect.Effect<void, CannotPut | TableUnavailable>
  /**
   * Writes the rows of those identities that are right, and returns the outcome of
   * each, in the same order. Rows that are there and differ are left as they are,
   * unless they are to be replaced; the first identity of an address counts.
   */
  readonly merge: (
    identities: ReadonlyArray<Hosted>,
    options: { readonly replace: boolean }
  ) => Effect.Effect<ReadonlyArray<Merged>, TableUnavailable>
  /** Has identities withdrawn, and their rows deleted after that. */
  readonly remove: (addresses: ReadonlyArray<Address.Address>) => Effect.Effect<void, TableUnavailable>
  /** Returns the row of an identity that is hosted. */
  readonly get: (address: Address.Address) => Effect.Effect<Option.Option<Row>, TableUnavailable>
  /** All identities that are hosted, by address. */
  readonly list: Stream.Stream<Row, TableUnavailable>
  /** Those of them that could not be hosted. */
  readonly faults: Stream.Stream<Row, TableUnavailable>
  /** How many identities there are. */
  readonly counts: Effect.Effect<Counts, TableUnavailable>
  /**
   * What runners do.
   *
   * @internal
   */
  readonly runners: ForRunners
}>()("effect-dht/cluster/IdentityTable") {}

/**
 * @internal
 */
export interface ForRunners {
  /** The version of the latest change. */
  readonly version: Effect.Effect<number, TableUnavailable>
  /** All rows of a bucket, and the records of its identities that have not expired; deletes the others. */
  readonly load: (
    bucket: number
  ) => Effect.Effect<
    { readonly rows: ReadonlyArray<Row>; readonly records: ReadonlyArray<StoredRecord> },
    TableUnavailable
  >
  /** The rows of some buckets that changed after a version. */
  readonly changes: (after: number, buckets: ReadonlyArray<number>) => Stream.Stream<Row, TableUnavailable>
  /** The records of an identity. */
  readonly records: (address: Address.Address) => Effect.Effect<ReadonlyArray<StoredRecord>, TableUnavailable>
  /** Keeps records, unless later ones are kept. */
  readonly save: (records: ReadonlyArray<StoredRecord>) => Effect.Effect<void, TableUnavailable>
  /** Deletes rows that were removed, unless they changed since. */
  readonly forget: (rows: ReadonlyArray<Row>) => Effect.Effect<void, TableUnavailable>
  /** Keeps why an identity is not hosted, or that it is, unless its row changed since. */
  readonly blame: (
    row: Pick<Row, "address" | "version">,
    fault: string | undefined
  ) => Effect.Effect<void, TableUnavailable>
  /** Returns the seed of a row that is signed for by a key of its own; undefined if it cannot be decrypted. */
  readonly seedOf: (address: Address.Address, sealed: string) => Uint8Array | undefined
}

const minKeyLength = 32

/** Rows written by one statement. */
const batch = 500

/** Rows read by one statement. */
const page = 1000

/** Time limit of a statement, or of a transaction. */
const timeout = "10 seconds"

/** What the seal of the key check has in it. */
const checked = new TextEncoder().encode("effect-dht")

const seqDigits = 20

interface IdentityColumns {
  readonly address: string
  readonly bucket: number
  readonly version: number | string
  readonly removed: number
  readonly signer: string
  readonly announce: string
  readonly replicas: number
  readonly ttl: number | string
  readonly fault: string | null
}

interface RecordColumns {
  readonly address: string
  readonly key: string
  readonly record: Uint8Array
  readonly due: number | string
  readonly holders: string
}

const rowOf = (columns: IdentityColumns): Row => ({
  address: columns.address as Address.Address,
  bucket: Number(columns.bucket),
  version: Number(columns.version),
  isRemoved: Number(columns.removed) !== 0,
  signer: columns.signer,
  announce: columns.announce,
  replicas: Number(columns.replicas),
  ttl: Number(columns.ttl),
  fault: columns.fault ?? undefined
})

/** Records that cannot be read are left out: they are signed again. */
const recordsOf = (found: ReadonlyArray<RecordColumns>): ReadonlyArray<StoredRecord> =>
  found.flatMap(({ address, due, holders, key, record: bytes }) => {
    // A copy of its own, as the driver may keep many rows in one buffer.
    const record = Record.decode(Uint8Array.from(bytes))
    return Result.isFailure(record) ? [] : [{
      address: address as Address.Address,
      key: key as NodeId.NodeId,
      record: record.success,
      due: Number(due),
      holders: holders.split(" ").filter(Boolean).map(Number)
    }]
  })

const bucketOfAddress = (address: Address.Address): number => bucketOf(NodeId.fromAddress(address))

const reasonOf = ({ cause, message }: SqlError): string => {
  const inner = cause instanceof Error ? cause.cause : undefined
  return inner instanceof Error && inner.message !== "" ? inner.message : message
}

const make = Effect.fnUntraced(function*(
  { key }: Options
): Effect.fn.Return<
  IdentityTable["Service"],
  CannotOpen,
  SqlClient.SqlClient | Crypto | SecureRandom.SecureRandom
> {
  const crypto = yield* Crypto
  const random = yield* SecureRandom.SecureRandom
  const sql = (yield* SqlClient.SqlClient).withoutTransforms()
  const { length } = Redacted.value(key)
  if (length < minKeyLength) return yield* new WeakKey({ length })
  const secret = new TextEncoder().encode(Redacted.value(key))

  const inTime = <A, E>(
    effect: Effect.Effect<A, E | SqlError>
  ): Effect.Effect<A, Exclude<E, SqlError> | TableUnavailable> =>
    effect.pipe(
      Effect.catchIf(
        (error): error is E & SqlError => (error as { readonly _tag?: string })._tag === "SqlError",
        (error) => new TableUnavailable({ reason: reasonOf(error) })
      ),
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () => new TableUnavailable({ reason: `no answer within ${timeout}` })
      })
    ) as Effect.Effect<A, Exclude<E, SqlError> | TableUnavailable>

  // --- Opening -------------------------------------------------------------------

  const seal = (name: string, plaintext: Uint8Array): Effect.Effect<string> =>
    Effect.map(random.randomBytes(16), (salt) => Rows.seal({ crypto, secret, salt, name, plaintext }))

  yield* inTime(migrate(sql))
  yield* inTime(Effect.gen(function*() {
    const ownCheck = yield* seal("key check", checked)
    yield* sql`UPDATE dht_hosting SET key_check = ${ownCheck} WHERE id = 1 AND key_check IS NULL`
    const [row] = yield* sql<{ readonly key_check: string }>`SELECT key_check FROM dht_hosting WHERE id = 1`
    if (row === undefined) return yield* new TableUnavailable({ reason: "the table dht_hosting has lost its row" })
    if (Rows.open({ crypto, secret, name: "key check", sealed: row.key_check }) === undefined) {
      return yield* new WrongKey()
    }
  }))

  // --- Writing -------------------------------------------------------------------

  /**
   * Writes under a new version. The lock on the row lets other writers wait, so
   * versions become visible in their order, and a reader that has seen one has
   * missed none before it.
   */
  const change = <E>(write: (version: number) => Effect.Effect<unknown, E | SqlError>) =>
    inTime(
      Effect.flatMap(
        sql<{ readonly change: number | string }>`
          UPDATE dht_hosting SET change = change + 1 WHERE id = 1 RETURNING change
        `,
        ([row]) => write(Number(row.change))
      ).pipe(sql.withTransaction, Effect.asVoid)
    )

  const signerColumn = (signer: Identity.Identity | ExternalSigner): Effect.Effect<string> => {
    const { delegation, publicKey } = signer
    return "seed" in signer
      ? Effect.map(
        seal(signer.agent, Redacted.value(signer.seed)),
        (seed) => Rows.encodeSigner({ _tag: "Sealed", publicKey, delegation, seed })
      )
      : Effect.succeed(
        Rows.encodeSigner({
          _tag: "External",
          publicKey,
          delegation,
          service: signer.service,
          reference: signer.reference
        })
      )
  }

  /** The columns of an identity, without its version. */
  const columnsOf = Effect.fnUntraced(function*({ signer, ...options }: Hosted, now: number) {
    const { agent, delegation, publicKey } = signer
    const unused = () => new Uint8Array(64)
    const contents = yield* Effect.fromResult(
      Hosting.encodeContents({ ...options, signer: { agent, delegation, publicKey, sign: unused } }, now)
    ).pipe(Effect.mapError((reason) => new CannotPut({ address: agent, reason })))
    return {
      address: agent,
      bucket: bucketOfAddress(agent),
      removed: 0,
      signer: yield* signerColumn(signer),
      announce: Rows.encodeContents(contents),
      replicas: options.replicas ?? Hosting.defaultReplicas,
      ttl: options.ttl ?? Hosting.defaultTtl,
      fault: null
    }
  })

  type Columns = Effect.Success<ReturnType<typeof columnsOf>>

  /** Writes rows, in place of those that are there. */
  const write = (rows: Arr.NonEmptyReadonlyArray<Columns>, version: number) =>
    sql`
      INSERT INTO dht_identity ${sql.insert(Arr.map(rows, (row) => ({ ...row, version })))}
      ON CONFLICT (address) DO UPDATE SET
        version = excluded.version, removed = 0, signer = excluded.signer, announce = excluded.announce,
        replicas = excluded.replicas, ttl = excluded.ttl, fault = NULL
    `

  /** A signer's column with its seed decrypted, so that those of one signer are the same. */
  const openedSigner = (address: string, column: string): string | undefined =>
    Result.match(Rows.decodeSigner(column), {
      onFailure: () => undefined,
      onSuccess: (signer) => {
        if (signer._tag === "External") return Rows.encodeSigner(signer)
        const seed = Rows.open({ crypto, secret, name: address, sealed: signer.seed })
        return seed && Rows.encodeSigner({ ...signer, seed: Hex.encode(seed) })
      }
    })

  const isSame = (row: Columns, held: IdentityColumns): boolean =>
    row.announce === held.announce && row.replicas === Number(held.replicas) && row.ttl === Number(held.ttl) &&
    openedSigner(row.address, row.signer) === openedSigner(row.address, held.signer)

  const merge: IdentityTable["Service"]["merge"] = Effect.fnUntraced(function*(identities, { replace }) {
    const now = yield* Clock.currentTimeMillis
    const outcomes = new Array<Merged>(identities.length).fill("Differs")
    // What takes time is done before the transaction.
    const places = new Map<string, number>()
    const all: Array<Columns> = []
    for (const [place, identity] of identities.entries()) {
      const columns = yield* Effect.result(columnsOf(identity, now))
      if (Result.isFailure(columns)) outcomes[place] = columns.failure
      else if (!places.has(columns.success.address)) {
        places.set(columns.success.address, place)
        all.push(columns.success)
      }
    }
    for (const some of Arr.chunksOf(all, batch)) {
      yield* change((version) =>
        Effect.gen(function*() {
          const held = yield* sql<IdentityColumns>`
            SELECT * FROM dht_identity WHERE ${sql.in("address", some.map(({ address }) => address))} AND removed = 0
          `
          const byAddress = new Map(held.map((row) => [row.address, row]))
          const written = some.filter((row) => {
            const before = byAddress.get(row.address)
            const outcome = before === undefined
              ? "Added"
              : isSame(row, before)
              ? "Same"
              : replace
              ? "Replaced"
              : "Differs"
            outcomes[places.get(row.address) ?? 0] = outcome
            return outcome === "Added" || outcome === "Replaced"
          })
          if (Arr.isArrayNonEmpty(written)) yield* write(written, version)
        })
      )
    }
    return outcomes
  })

  const put: IdentityTable["Service"]["put"] = Effect.fnUntraced(function*(identities) {
    const now = yield* Clock.currentTimeMillis
    // The last one of an address counts: a statement cannot write a row twice.
    const last = new Map(identities.map((identity) => [identity.signer.agent, identity]))
    const all = yield* Effect.forEach(last.values(), (identity) => columnsOf(identity, now))
    for (const rows of Arr.chunksOf(all, batch)) yield* change((version) => write(rows, version))
  })

  const remove: IdentityTable["Service"]["remove"] = Effect.fnUntraced(function*(addresses) {
    for (const some of Arr.chunksOf(addresses, batch)) {
      yield* change((version) =>
        sql`UPDATE dht_identity SET version = ${version}, removed = 1 WHERE ${sql.in("address", some)} AND removed = 0`
      )
    }
  })

  // --- Reading -------------------------------------------------------------------

  const rows = (found: Effect.Effect<ReadonlyArray<IdentityColumns>, SqlError>) =>
    Effect.map(inTime(found), (found) => found.map(rowOf))

  const records = (found: Effect.Effect<ReadonlyArray<RecordColumns>, SqlError>) => Effect.map(inTime(found), recordsOf)

  const listWhere = (condition: Fragment) =>
    Stream.paginate("", (after) =>
      Effect.map(
        rows(sql<IdentityColumns>`
          SELECT * FROM dht_identity WHERE address > ${after} AND removed = 0 AND ${condition} ORDER BY address LIMIT ${page}
        `),
        (found) => [found, next(found, ({ address }) => address as string)] as const
      ))

  const changes: ForRunners["changes"] = (after, buckets) =>
    buckets.length === 0 ? Stream.empty : Stream.paginate({ version: after, address: "" }, (from) =>
      Effect.map(
        // Rows that were written together have the same version.
        rows(sql<IdentityColumns>`
          SELECT * FROM dht_identity
          WHERE (version > ${from.version} OR (version = ${from.version} AND ${from.address} <> '' AND address > ${from.address}))
            AND ${sql.in("bucket", buckets)}
          ORDER BY version, address LIMIT ${page}
        `),
        (found) => [found, next(found, ({ address, version }) => ({ version, address: address as string }))] as const
      ))

  // --- What runners write --------------------------------------------------------

  const save: ForRunners["save"] = Effect.fnUntraced(function*(stored) {
    for (const some of Arr.chunksOf(stored, batch)) {
      const rows = Arr.map(some, ({ address, due, holders, key, record }) => ({
        address,
        key,
        type: record.type,
        bucket: bucketOfAddress(address),
        seq: String(record.seq).padStart(seqDigits, "0"),
        record: record.bytes,
        expires: record.expiresAt,
        due: Math.ceil(due),
        holders: holders.join(" ")
      }))
      yield* inTime(sql`
        INSERT INTO dht_record ${sql.insert(rows)}
        ON CONFLICT (address, "key", type) DO UPDATE SET
          seq = excluded.seq, record = excluded.record, expires = excluded.expires, due = excluded.due, holders = excluded.holders
        WHERE excluded.seq >= dht_record.seq
      `)
    }
  })

  const forgetOne = ({ address, version }: Row) =>
    inTime(
      Effect.gen(function*() {
        const gone = yield* sql`
          DELETE FROM dht_identity WHERE address = ${address} AND version = ${version} AND removed = 1 RETURNING address
        `
        if (gone.length > 0) yield* sql`DELETE FROM dht_record WHERE address = ${address}`
      }).pipe(sql.withTransaction)
    )

  return IdentityTable.of({
    put,
    merge,
    remove,
    get: (address) =>
      Effect.map(
        rows(sql<IdentityColumns>`SELECT * FROM dht_identity WHERE address = ${address} AND removed = 0`),
        ([row]) => Option.fromUndefinedOr(row)
      ),
    list: listWhere(sql`1 = 1`),
    faults: listWhere(sql`fault IS NOT NULL`),
    counts: Effect.map(
      inTime(sql<{ readonly identities: number; readonly faults: number; readonly removed: number }>`
        SELECT
          COUNT(CASE WHEN removed = 0 THEN 1 END) AS identities,
          COUNT(CASE WHEN removed = 0 AND fault IS NOT NULL THEN 1 END) AS faults,
          COUNT(CASE WHEN removed = 1 THEN 1 END) AS removed
        FROM dht_identity
      `),
      ([{ faults, identities, removed }]) => ({
        identities: Number(identities),
        faults: Number(faults),
        removed: Number(removed)
      })
    ),
    runners: {
      version: Effect.map(
        inTime(sql<{ readonly change: number | string }>`SELECT change FROM dht_hosting WHERE id = 1`),
        ([row]) => Number(row.change)
      ),
      load: Effect.fnUntraced(function*(bucket) {
        const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
        yield* inTime(sql`DELETE FROM dht_record WHERE bucket = ${bucket} AND expires < ${now}`)
        return {
          // The rows come first: records that are saved meanwhile are later ones.
          rows: yield* rows(sql<IdentityColumns>`SELECT * FROM dht_identity WHERE bucket = ${bucket}`),
          records: yield* records(sql<RecordColumns>`SELECT * FROM dht_record WHERE bucket = ${bucket}`)
        }
      }),
      changes,
      records: (address) => records(sql<RecordColumns>`SELECT * FROM dht_record WHERE address = ${address}`),
      save,
      forget: (rows) => Effect.forEach(rows, forgetOne, { discard: true }),
      blame: ({ address, version }, fault) =>
        Effect.asVoid(
          inTime(
            sql`
              UPDATE dht_identity SET fault = ${fault?.replaceAll("\0", "") ?? null}
              WHERE address = ${address} AND version = ${version}
            `
          )
        ),
      seedOf: (address, sealed) => Rows.open({ crypto, secret, name: address, sealed })
    }
  })
})

/** Where the next page begins, unless this is the last one. */
const next = <A, B>(found: ReadonlyArray<A>, from: (last: A) => B): Option.Option<B> => {
  const last = found.at(-1)
  return last === undefined || found.length < page ? Option.none() : Option.some(from(last))
}

/**
 * The table in a database. Creates the tables if there are none, and brings
 * those of an earlier version of this library up to date.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options
): Layer.Layer<IdentityTable, CannotOpen, SqlClient.SqlClient | Crypto | SecureRandom.SecureRandom> =>
  Layer.effect(IdentityTable, make(options))
