/**
 * The tables of hosted identities, and their migrations.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

/**
 * The tables were made by a later version of this library.
 *
 * @category errors
 * @since 0.1.0
 */
export class LaterSchema extends Data.TaggedError("LaterSchema")<{ readonly found: number; readonly known: number }> {
  override get message() {
    return `The tables of hosted identities have version ${this.found}, and this program knows ${this.known}. ` +
      "Update the program; the tables were not changed"
  }
}

/** The statements that lead from each version of the tables to the next. */
const migrations: ReadonlyArray<(bytes: string) => ReadonlyArray<string>> = [
  (bytes) => [
    // The one row of facts; `change` is the version of the latest change.
    "CREATE TABLE dht_hosting (id INT PRIMARY KEY, change BIGINT NOT NULL, key_check TEXT)",
    "INSERT INTO dht_hosting (id, change) VALUES (1, 0)",
    `CREATE TABLE dht_identity (
      address TEXT PRIMARY KEY,
      bucket INT NOT NULL,
      version BIGINT NOT NULL,
      removed INT NOT NULL,
      signer TEXT NOT NULL,
      announce TEXT NOT NULL,
      replicas INT NOT NULL,
      ttl BIGINT NOT NULL,
      fault TEXT
    )`,
    "CREATE INDEX dht_identity_bucket ON dht_identity (bucket)",
    "CREATE INDEX dht_identity_version ON dht_identity (version)",
    `CREATE TABLE dht_record (
      address TEXT NOT NULL,
      "key" TEXT NOT NULL,
      type INT NOT NULL,
      bucket INT NOT NULL,
      seq TEXT NOT NULL,
      record ${bytes} NOT NULL,
      expires BIGINT NOT NULL,
      due BIGINT NOT NULL,
      holders TEXT NOT NULL,
      PRIMARY KEY (address, "key", type)
    )`,
    "CREATE INDEX dht_record_bucket ON dht_record (bucket)"
  ]
]

/** Any number: it identifies the lock of the migrations in PostgreSQL. */
const lock = 0x646874

/**
 * Brings the tables to the current version, while other programs wait.
 *
 * @internal
 */
export const migrate = (sql: SqlClient): Effect.Effect<void, SqlError | LaterSchema> =>
  Effect.gen(function*() {
    const bytes = sql.onDialectOrElse({ pg: () => "BYTEA", orElse: () => "BLOB" })
    yield* sql.onDialectOrElse({
      pg: () => Effect.asVoid(sql`SELECT pg_advisory_xact_lock(${lock})`),
      // The transaction has the lock on the file.
      orElse: () => Effect.void
    })
    yield* sql`CREATE TABLE IF NOT EXISTS dht_schema (id INT PRIMARY KEY, version INT NOT NULL)`
    const [row] = yield* sql<{ readonly version: number }>`SELECT version FROM dht_schema WHERE id = 1`
    const version = row === undefined ? 0 : Number(row.version)
    const known = migrations.length
    if (version > known) return yield* new LaterSchema({ found: version, known })
    if (version === known) return
    for (const statements of migrations.slice(version)) {
      for (const statement of statements(bytes)) yield* sql.unsafe(statement)
    }
    yield* row === undefined
      ? sql`INSERT INTO dht_schema (id, version) VALUES (1, ${known})`
      : sql`UPDATE dht_schema SET version = ${known} WHERE id = 1`
  }).pipe(sql.withTransaction)
