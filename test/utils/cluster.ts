import * as Clock from "effect/Clock"
import { PersistenceError } from "effect/cluster/ClusterError"
import * as RunnerStorage from "effect/cluster/RunnerStorage"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { layer as layerReactivity } from "effect/reactivity/Reactivity"
import * as Redacted from "effect/Redacted"
import * as Semaphore from "effect/Semaphore"
import * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as IdentityTable from "../../src/cluster/IdentityTable.ts"
import * as Runner from "../../src/cluster/Runner.ts"
import * as Shards from "../../src/cluster/Shards.ts"
import * as Hosting from "../../src/Hosting.ts"
import * as SqliteClient from "../../src/node/SqliteClient.ts"

/** How a program reaches the database. */
export interface Line {
  state: "Up" | "Refused" | "Silent"
}

export const key = Redacted.make("a key of the tests, long enough to be one")

/** Seconds after which a lock, and the row of a runner, count no longer. */
const expirationMillis = 12_000

/** A database in memory, which programs under virtual time share, each over a line of its own. */
export const database = Effect.gen(function*() {
  const shared = Context.get(yield* Layer.build(SqliteClient.layer(":memory:")), SqlClient.SqlClient)
  const connection = yield* shared.reserve
  const semaphore = Semaphore.makeUnsafe(1)
  const clock = yield* Clock.Clock
  const runners = new Map<string, { readonly runner: string; healthy: boolean; beat: number }>()
  const locks = new Map<string, { readonly owner: string; at: number }>()
  const now = () => clock.currentTimeMillisUnsafe()
  const isFresh = (at: number) => now() - at < expirationMillis
  let ids = 0

  const over = <A, E>(line: Line, error: () => E, effect: () => A): Effect.Effect<A, E> =>
    Effect.suspend((): Effect.Effect<A, E> => {
      if (line.state === "Silent") return Effect.never
      return line.state === "Refused" ? Effect.fail(error()) : Effect.sync(effect)
    })

  const noSql = () => new SqlError({ reason: new ConnectionError({ message: "connection refused", cause: undefined }) })

  const sqlClient = (line: Line): Layer.Layer<SqlClient.SqlClient> =>
    Layer.effect(
      SqlClient.SqlClient,
      SqlClient.make({
        ...SqlClient.makeSqliteAcquirers({ connection: over(line, noSql, () => connection), semaphore }),
        compiler: Statement.makeCompilerSqlite(),
        driver: "node-sqlite",
        spanAttributes: []
      })
    ).pipe(Layer.provide(layerReactivity))

  /** That of Effect for tests has no locks: each runner would get every shard. */
  const storage = (line: Line): Layer.Layer<RunnerStorage.RunnerStorage> => {
    const run = <A>(effect: () => A) => over(line, () => new PersistenceError({ cause: "connection refused" }), effect)
    const isOwn = (address: string, shard: string) => locks.get(shard)?.owner === address
    return Layer.sync(RunnerStorage.RunnerStorage, () =>
      RunnerStorage.makeEncoded({
        getRunners: run(() =>
          [...runners.values()].filter(({ beat }) => isFresh(beat)).map(({ healthy, runner }) =>
            [runner, healthy] as const
          )
        ),
        register: (address, runner, healthy) =>
          run(() => {
            runners.set(address, { runner, healthy, beat: now() })
            return ++ids
          }),
        unregister: (address) => run(() => void runners.delete(address)),
        setRunnerHealth: (address, healthy) =>
          run(() => {
            const runner = runners.get(address)
            if (runner !== undefined) runner.healthy = healthy
          }),
        acquire: (address, shards) =>
          run(() =>
            shards.filter((shard) => {
              const lock = locks.get(shard)
              if (lock !== undefined && lock.owner !== address && isFresh(lock.at)) return false
              locks.set(shard, { owner: address, at: now() })
              return true
            })
          ),
        refresh: (address, shards) =>
          run(() => {
            const runner = runners.get(address)
            if (runner !== undefined) runner.beat = now()
            return shards.filter((shard) => {
              if (!isOwn(address, shard)) return false
              locks.set(shard, { owner: address, at: now() })
              return true
            })
          }),
        release: (address, shard) => run(() => void (isOwn(address, shard) && locks.delete(shard))),
        releaseAll: (address) =>
          run(() => {
            for (const [shard, { owner }] of locks) if (owner === address) locks.delete(shard)
          })
      }))
  }

  const execute = (statement: string) => connection.execute(statement, [], undefined)

  return { sqlClient, storage, execute }
})

export type Database = Effect.Success<typeof database>

export const table = ({ sqlClient }: Database, line: Line = { state: "Up" }) =>
  IdentityTable.layer({ key }).pipe(Layer.provide(sqlClient(line)))

/** A runner, as an application of a simulated node. */
export const runner = (
  database: Database,
  { hosting, line, name, ...options }:
    & Runner.Options
    & { readonly name: string; readonly line: Line; readonly hosting?: Hosting.Options }
) =>
  Runner.layer(options).pipe(
    Layer.provideMerge(Shards.layer({ name }).pipe(Layer.provide(database.storage(line)))),
    Layer.provideMerge(table(database, line)),
    Layer.provideMerge(Hosting.layer(hosting))
  )
