/**
 * A cluster on PostgreSQL: how long until all identities of a table are hosted,
 * and until those of a killed runner are hosted by the others.
 *
 * `npm run bench:cluster -- [identities] [runners]`, 100 000 and 3 by default
 *
 * PostgreSQL, the runners and a network of 8 more nodes run on this machine, so they
 * share its processors.
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as Fs from "node:fs"
import { join } from "node:path"
import * as IdentityTable from "../src/cluster/IdentityTable.ts"
import { Crypto } from "../src/Crypto.ts"
import { Dht } from "../src/Dht.ts"
import { DhtLive } from "../src/node/DhtLive.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as PostgresClient from "../src/node/PostgresClient.ts"
import { identityOf } from "../src/testing/internal/madeUp.ts"
import { postgres } from "../test/utils/postgres.ts"
import * as Processes from "../test/utils/processes.ts"
import { temporary } from "../test/utils/temporary.ts"

const [count = 100_000, runnerCount = 3] = process.argv.slice(2).map(Number)
const crypto = NodeCrypto.fastest
const key = "a key of the benchmark, long enough to be one"
process.env.EFFECT_DHT_BENCH_KEY = key

const say = (what: string, value: unknown) => console.log(`${what.padEnd(58)}${value}`)
const seconds = (since: number) => `${((performance.now() - since) / 1000).toFixed(1)} s`

interface Hosting {
  readonly identities: number
}

const program = Effect.gen(function*() {
  const directory = yield* temporary
  const database = yield* postgres
  const services = yield* Layer.build(
    IdentityTable.layer({ key: Redacted.make(key) }).pipe(
      Layer.provideMerge(PostgresClient.layer({ url: Redacted.make(database.url) })),
      Layer.provide(Layer.succeed(Crypto, crypto)),
      Layer.provide(SecureRandom.layerWebCrypto)
    )
  )
  const sql = yield* Effect.provideContext(SqlClient, services)
  const nodes = []
  let bootstrap: ReadonlyArray<string> = []
  for (let n = 0; n < 8; n++) {
    const node = yield* Layer.build(Layer.fresh(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, bootstrap })))
    nodes.push(node)
    const dht = yield* Effect.provideContext(Dht, node)
    bootstrap = [...bootstrap, `127.0.0.1:${dht.localAddress.port}`].slice(0, 1)
  }

  const written = performance.now()
  for (let at = 0; at < count; at += 1000) {
    const some = Array.from(
      { length: Math.min(1000, count - at) },
      (_, n) => identityOf(crypto, `hosted ${at + n}`)
    )
    yield* Effect.provideContext(
      IdentityTable.IdentityTable.use(({ put }) =>
        put(some.map((signer) => ({
          signer,
          announce: [{ _tag: "Endpoint", endpoints: ["https://agents.example"] }]
        })))
      ),
      services
    )
  }
  say(`${count} identities written`, seconds(written))

  const start = Effect.fnUntraced(function*(name: string) {
    const node = ["--json", "--listen", "127.0.0.1:0", "--no-http", "--data", join(directory, name)]
    const table = ["--database", database.url, "--database-key-env", "EFFECT_DHT_BENCH_KEY"]
    const budget = ["--hosting-datagrams", "2000", "--hosting-signatures", "500"]
    const process = yield* Processes.start("host", ...node, "--bootstrap", bootstrap[0], ...table, ...budget)
    const hosted = () => process.latest<Hosting>((event) => event.event === "hosting")?.identities ?? 0
    const memory = () =>
      Number(/VmRSS:\s+(\d+)/.exec(Fs.readFileSync(`/proc/${process.pid}/status`, "utf8"))?.[1]) / 1024
    return { process, hosted, memory }
  })
  const until = (condition: () => boolean) =>
    Effect.sleep("100 millis").pipe(Effect.repeat({ until: () => condition() }), Effect.timeout("5 minutes"))

  const started = performance.now()
  const runners = yield* Effect.forEach(
    Array.from({ length: runnerCount }, (_, n) => n),
    (n) => start(`runner ${n}`),
    { concurrency: "unbounded" }
  )
  const sum = (some: typeof runners) => some.reduce((sum, { hosted }) => sum + hosted(), 0)
  yield* until(() => sum(runners) === count)
  say("all of them hosted after the start of the processes", seconds(started))
  say("hosted by each", runners.map(({ hosted }) => hosted()).join(", "))

  const load = Effect.gen(function*() {
    const [row] = yield* sql<{ commits: string; written: string }>`
      SELECT xact_commit AS commits, tup_inserted + tup_updated AS written FROM pg_stat_database WHERE datname = 'postgres'
    `
    const [{ stored }] = yield* sql<{ stored: string }>`SELECT COUNT(*) AS stored FROM dht_record`
    return { at: performance.now(), commits: Number(row.commits), written: Number(row.written), stored: Number(stored) }
  })
  const before = yield* load
  yield* Effect.sleep("60 seconds")
  const after = yield* load
  const rate = (name: "commits" | "written" | "stored") =>
    ((after[name] - before[name]) / (after.at - before.at) * 1000).toFixed(0)
  say("records stored and saved a second, over a minute", rate("stored"))
  say("transactions a second, rows written a second", `${rate("commits")}, ${rate("written")}`)
  say("memory of a runner, MiB", runners.map(({ memory }) => memory().toFixed(0)).join(", "))
  const [{ size }] = yield* sql<{ size: string }>`
    SELECT pg_total_relation_size('dht_identity') + pg_total_relation_size('dht_record') AS size
  `
  say("size of the tables, MB", (Number(size) / 1e6).toFixed(0))

  const [killed, ...others] = runners
  const had = killed.hosted()
  const at = performance.now()
  yield* killed.process.kill("SIGKILL")
  yield* until(() => sum(others) === count)
  say(`${had} of a killed runner hosted by the others`, seconds(at))
  const handed = performance.now()
  yield* others[0].process.kill("SIGTERM")
  yield* until(() => sum(others.slice(1)) === count)
  say("those of one that was told to stop hosted by the last one", seconds(handed))
}).pipe(Effect.scoped)

await Effect.runPromise(program)
