/**
 * The database of hosted identities that flags name.
 *
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { existsSync } from "node:fs"
import * as IdentityTable from "../cluster/IdentityTable.ts"
import type { Crypto } from "../Crypto.ts"
import type { Database } from "../node/internal/settings.ts"
import * as NodeCrypto from "../node/NodeCrypto.ts"
import * as PostgresClient from "../node/PostgresClient.ts"
import * as SqliteClient from "../node/SqliteClient.ts"
import * as Output from "./Output.ts"
import * as Secrets from "./Secrets.ts"

/**
 * Why the table cannot be used.
 *
 * @category errors
 * @since 0.1.0
 */
export type CannotOpen = IdentityTable.CannotOpen | PostgresClient.PostgresMissing | SqlError

/**
 * The key of the seeds in the database. `name` is that of an environment variable.
 *
 * @category constructors
 * @since 0.1.0
 */
export const keyOf = (name: Option.Option<string>): Effect.Effect<Redacted.Redacted, Output.Failure> =>
  Option.isNone(name)
    ? Output.usage(
      "--database-key-env is missing: name the environment variable with the key of the seeds in the database"
    )
    : Secrets.fromEnv("--database-key-env", name.value)

/**
 * The table in a database, and the database.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  database: Database,
  key: Redacted.Redacted
): Layer.Layer<IdentityTable.IdentityTable | SqlClient, CannotOpen, Crypto> =>
  IdentityTable.layer({ key }).pipe(
    Layer.provideMerge(
      database._tag === "Postgres" ? PostgresClient.layer({ url: database.url }) : SqliteClient.layer(database.path)
    ),
    Layer.provide(SecureRandom.layerWebCrypto)
  )

/**
 * Why the table cannot be used, as the failure of a command.
 *
 * @category conversions
 * @since 0.1.0
 */
export const failureOf = (error: CannotOpen): Output.Failure =>
  Output.failed(
    error._tag === "SqlError" ? new IdentityTable.TableUnavailable({ reason: error.message }).message : error.message
  )

/**
 * Flags of commands that act on the table.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly database: Database
  /** The name of an environment variable. */
  readonly databaseKeyEnv: Option.Option<string>
}

/**
 * Runs what acts on the table. `isNew`: whether a file is made if there is none.
 *
 * @category running
 * @since 0.1.0
 */
export const run = <A, R>(
  { database, databaseKeyEnv }: Options,
  isNew: boolean,
  use: (
    table: IdentityTable.IdentityTable["Service"]
  ) => Effect.Effect<A, Output.Failure | IdentityTable.TableUnavailable, R>
): Effect.Effect<A, Output.Failure, Exclude<R, Crypto>> =>
  Effect.gen(function*() {
    const key = yield* keyOf(databaseKeyEnv)
    if (!isNew && database._tag === "Sqlite" && !existsSync(database.path)) {
      return yield* Output.failed(`There is no database ${database.path}`)
    }
    const context = yield* Effect.mapError(Layer.build(layer(database, key)), failureOf)
    return yield* IdentityTable.IdentityTable.use(use).pipe(
      Effect.provide(context),
      Effect.mapError((error) => error._tag === "Failure" ? error : failureOf(error))
    )
  }).pipe(Effect.scoped, Effect.provide(NodeCrypto.layer)) as Effect.Effect<A, Output.Failure, Exclude<R, Crypto>>
