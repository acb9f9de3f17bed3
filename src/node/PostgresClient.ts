/**
 * A `SqlClient` on PostgreSQL, by the package `@effect/sql-pg`, which a program
 * installs beside this one.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

/**
 * The package `@effect/sql-pg` is not installed.
 *
 * @category errors
 * @since 0.1.0
 */
export class PostgresMissing extends Data.TaggedError("PostgresMissing")<{}> {
  override get message() {
    return "PostgreSQL needs the package @effect/sql-pg, which is not installed. Install its version 4 beside effect-dht"
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Such as `postgres://user:password@db.example/agents`; `sslmode` and other parameters are those of `libpq`. */
  readonly url: Redacted.Redacted
  /** Connections at the same time; defaults to 5, one of which holds the locks of a runner. */
  readonly maxConnections?: number | undefined
}

/**
 * Connects when it is used first.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  { maxConnections = 5, url }: Options
): Layer.Layer<SqlClient, PostgresMissing | SqlError> =>
  Layer.unwrap(
    Effect.map(
      Effect.tryPromise({ try: () => import("@effect/sql-pg/PgClient"), catch: () => new PostgresMissing() }),
      (PgClient) => PgClient.layer({ url, maxConnections, applicationName: "effect-dht", connectTimeout: "5 seconds" })
    )
  )
