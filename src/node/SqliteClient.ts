/**
 * A `SqlClient` on Node's built-in SQLite: the database of a single runner, which
 * needs no server.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { layer as layerReactivity } from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import type { Connection } from "effect/sql/SqlConnection"
import { classifySqliteError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import type { DatabaseSync, SQLInputValue, StatementSync } from "node:sqlite"

/** A row as an object, or as an array for the caller that asked for that. */
type Row = object & ReadonlyArray<unknown>

/** Prepared statements that are kept. */
const maxPrepared = 256

const attempt = <A>(operation: string, evaluate: () => A): Effect.Effect<A, SqlError> =>
  Effect.try({
    try: evaluate,
    catch: (cause) =>
      new SqlError({
        reason: classifySqliteError(cause, {
          message: cause instanceof Error ? cause.message : String(cause),
          operation
        })
      })
  })

const bound = (parameter: unknown): SQLInputValue => {
  if (typeof parameter === "boolean") return Number(parameter)
  return parameter === undefined ? null : parameter as SQLInputValue
}

const open = (path: string): Effect.Effect<DatabaseSync, SqlError, Scope.Scope> =>
  Effect.acquireRelease(
    attempt("open", () => {
      // Some versions of Node warn when this module is loaded, so only programs that use it do.
      const { DatabaseSync } = process.getBuiltinModule("node:sqlite")
      const database = new DatabaseSync(path, { timeout: 5000 })
      try {
        database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL")
      } catch (error) {
        database.close()
        throw error
      }
      return database
    }),
    (database) => Effect.sync(() => database.close())
  )

const connectionTo = (database: DatabaseSync): Connection => {
  const prepared = new Map<string, StatementSync>()

  const prepare = (sql: string): StatementSync => {
    const known = prepared.get(sql)
    if (known !== undefined) return known
    const [oldest] = prepared.keys()
    if (prepared.size >= maxPrepared) prepared.delete(oldest)
    const statement = database.prepare(sql)
    prepared.set(sql, statement)
    return statement
  }

  const run = (sql: string, parameters: ReadonlyArray<unknown>, { isKept = true, hasArrays = false }) =>
    Effect.withFiber<ReadonlyArray<Row>, SqlError>((fiber) =>
      attempt("execute", () => {
        const statement = isKept ? prepare(sql) : database.prepare(sql)
        statement.setReadBigInts(Context.get(fiber.context, SqlClient.SafeIntegers))
        statement.setReturnArrays(hasArrays)
        const values = parameters.map(bound)
        if (statement.columns().length > 0) {
          return statement.all(...values) as ReadonlyArray<object> as ReadonlyArray<Row>
        }
        statement.run(...values)
        return []
      })
    )

  const rows = (isKept: boolean): Connection["execute"] => (sql, parameters, transform) =>
    Effect.map(run(sql, parameters, { isKept }), (found) => transform === undefined ? found : transform(found))

  return {
    execute: rows(true),
    executeUnprepared: rows(false),
    executeRaw: (sql, parameters) => run(sql, parameters, {}),
    executeValues: (sql, parameters) => run(sql, parameters, { hasArrays: true }),
    executeValuesUnprepared: (sql, parameters) => run(sql, parameters, { hasArrays: true, isKept: false }),
    // All rows are read at once: a statement that is left open would block writers.
    executeStream: (sql, parameters, transform) =>
      Stream.unwrap(Effect.map(rows(true)(sql, parameters, transform), Stream.fromIterable))
  }
}

const make = Effect.fnUntraced(function*(path: string) {
  const database = yield* open(path)
  const acquirers = SqlClient.makeSqliteAcquirers({
    connection: Effect.succeed(connectionTo(database)),
    semaphore: Semaphore.makeUnsafe(1),
    isTransaction: () => database.isTransaction
  })
  return yield* SqlClient.make({
    ...acquirers,
    compiler: Statement.makeCompilerSqlite(),
    driver: "node-sqlite",
    beginTransaction: "BEGIN IMMEDIATE",
    releaseSavepoint: (name) => `RELEASE SAVEPOINT ${name}`,
    spanAttributes: [["db.system.name", "sqlite"]]
  })
})

/**
 * Opens a file, or a database in memory with the path `:memory:`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (path: string): Layer.Layer<SqlClient.SqlClient, SqlError> =>
  Layer.effect(SqlClient.SqlClient, make(path)).pipe(Layer.provide(layerReactivity))
