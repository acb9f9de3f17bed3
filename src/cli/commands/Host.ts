/**
 * A runner of a cluster: `host`.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import { join } from "node:path"
import type * as IdentityTable from "../../cluster/IdentityTable.ts"
import * as Runner from "../../cluster/Runner.ts"
import * as Shards from "../../cluster/Shards.ts"
import { buckets } from "../../core/share.ts"
import type { Crypto } from "../../Crypto.ts"
import { Dht } from "../../Dht.ts"
import * as Hosting from "../../Hosting.ts"
import type * as settings from "../../node/internal/settings.ts"
import * as Database from "../Database.ts"
import * as Output from "../Output.ts"
import * as Node from "./Node.ts"

interface Options extends Omit<Node.Options, "hosting"> {
  readonly database: Option.Option<settings.Database>
  /** The name of an environment variable. */
  readonly databaseKeyEnv: Option.Option<string>
}

/** Time between attempts to reach the database at the start. */
const retryPause = "5 seconds"

/** Time between looks at what is hosted. */
const reportPause = "1 second"

const databaseOf = ({ data, database }: Options): settings.Database =>
  Option.getOrElse(database, () => ({ _tag: "Sqlite", path: join(data, "hosted.sqlite") }))

/** Opens the table, for as long as it takes; fails if waiting cannot help. */
const open = Effect.fnUntraced(function*(
  options: Options,
  key: Redacted.Redacted
): Effect.fn.Return<
  Context.Context<IdentityTable.IdentityTable | SqlClient>,
  Output.Failure,
  Crypto | Scope.Scope
> {
  const scope = yield* Effect.scope
  const layer = Database.layer(databaseOf(options), key)
  const attempt = Effect.gen(function*() {
    const own = yield* Scope.fork(scope)
    return yield* Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), own).pipe(
      Effect.onError(() => Scope.close(own, Exit.void))
    )
  })
  let told: string | undefined
  while (true) {
    const opened = yield* Effect.result(attempt)
    if (Result.isSuccess(opened)) return opened.success
    const error = opened.failure
    const failure = Database.failureOf(error)
    if (error._tag !== "TableUnavailable" && error._tag !== "SqlError") return yield* failure
    const reason = failure.message
    if (reason !== told) {
      yield* Output.print(options.json, { event: "database-unreachable", reason }, [
        `${reason}. Trying again every ${retryPause}`
      ])
    }
    told = reason
    yield* Effect.sleep(retryPause)
  }
})

/** Reports what is hosted, when that changes. */
const report = Effect.fnUntraced(function*({ json }: Options) {
  const { status } = yield* Runner.Runner
  let told: Runner.Status | undefined
  yield* Effect.gen(function*() {
    const now = yield* status
    if (now === told) return
    told = now
    const { identities, isConnected } = now
    yield* Output.print(json, { event: "hosting", identities, buckets: now.buckets, connected: isConnected }, [
      `Hosts ${identities} ${identities === 1 ? "identity" : "identities"}: ${now.buckets} of ${buckets} buckets` +
      (isConnected ? "" : ", while the database is out of reach")
    ])
  }).pipe(
    Effect.andThen(Effect.sleep(reportPause)),
    Effect.forever,
    Effect.catchCause((cause) => Effect.logWarning("Reporting of what is hosted stopped", cause)),
    Effect.annotateLogs({ module: "effect-dht/cli/Host", fiber: "Report" }),
    Effect.forkScoped
  )
})

const runnerOf = (options: Options, key: Redacted.Redacted) =>
  Layer.unwrap(Effect.gen(function*() {
    const { address } = yield* Dht
    const database = yield* open(options, key)
    return Layer.effectDiscard(report(options)).pipe(
      Layer.provideMerge(Runner.layer()),
      Layer.provide(Shards.layerSql({ name: address })),
      Layer.provide(Layer.succeedContext(database)),
      Layer.merge(Node.hostingMetrics(options)),
      Layer.provideMerge(
        Hosting.layer({
          datagramsPerSecond: options.hostingDatagrams,
          signaturesPerSecond: options.hostingSignatures
        })
      )
    )
  }))

/**
 * Runs a node that hosts its share of a table of identities, until it is
 * interrupted, which counts as success.
 *
 * @category commands
 * @since 0.1.0
 */
export const host = (options: Options) =>
  Effect.gen(function*() {
    const key = yield* Database.keyOf(options.databaseKeyEnv)
    return yield* Node.run(options, runnerOf(options, key))
  })
