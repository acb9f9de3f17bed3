import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import { join } from "node:path"
import { IdentityTable, layer as layerTable } from "../../src/cluster/IdentityTable.ts"
import { Crypto } from "../../src/Crypto.ts"
import { Dht } from "../../src/Dht.ts"
import { DhtLive } from "../../src/node/DhtLive.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as PostgresClient from "../../src/node/PostgresClient.ts"
import { identityOf } from "../../src/testing/internal/madeUp.ts"
import { postgres } from "../utils/postgres.ts"
import * as Processes from "../utils/processes.ts"
import { temporary } from "../utils/temporary.ts"

const crypto = NodeCrypto.fastest
const key = "a key of the tests, long enough to be one"
process.env.EFFECT_DHT_TEST_KEY = key

const count = 120

/** Seconds: so short that records expire if they are not renewed during the test, and longer than a machine that is busy needs. */
const ttl = 120

const identities = Array.from(
  { length: count },
  (_, n) => identityOf(crypto, `hosted ${n}`)
)

/** The table, as a program that writes it has it. */
const table = (url: string) =>
  layerTable({ key: Redacted.make(key) }).pipe(
    Layer.provideMerge(PostgresClient.layer({ url: Redacted.make(url) })),
    Layer.provide(Layer.succeed(Crypto, crypto)),
    Layer.provide(SecureRandom.layerWebCrypto)
  )

interface Hosting {
  readonly identities: number
  readonly connected: boolean
}

type Runner = Effect.Success<ReturnType<typeof startRunner>>

const startRunner = Effect.fnUntraced(function*(data: string, url: string, bootstrap: string) {
  const node = ["--json", "--listen", "127.0.0.1:0", "--no-http", "--data", data, "--bootstrap", bootstrap]
  const table = ["--database", url, "--database-key-env", "EFFECT_DHT_TEST_KEY"]
  const process = yield* Processes.start("host", ...node, ...table, "--log-level", "error")
  const { listen } = yield* process.event("ready")
  const hosted = (): Hosting =>
    process.latest<Hosting>((event) => event.event === "hosting") ?? { identities: 0, connected: false }
  return { process, listen, hosted }
})

const hostedBy = (runners: ReadonlyArray<Runner>) => runners.map(({ hosted }) => hosted().identities)

const total = (runners: ReadonlyArray<Runner>) => hostedBy(runners).reduce((sum, count) => sum + count, 0)

/** Waits for a condition. The limit only says when to give up. */
const until = <E, R>(what: string, condition: Effect.Effect<boolean, E, R>, shown: () => unknown = () => "") =>
  condition.pipe(
    Effect.andThen((isMet) => isMet ? Effect.succeed(true) : Effect.as(Effect.sleep("200 millis"), false)),
    Effect.repeat({ until: (isMet) => isMet }),
    Effect.timeoutOrElse({
      duration: "2 minutes",
      orElse: () => Effect.die(new Error(`Not within two minutes: ${what}, ${JSON.stringify(shown())}`))
    })
  )

/** Waits until the runners host every identity, each once, and each of them its share. */
const untilShared = (what: string, runners: ReadonlyArray<Runner>) =>
  until(
    what,
    Effect.sync(() =>
      total(runners) === count && runners.every(({ hosted }) => hosted().connected && hosted().identities > count / 10)
    ),
    () => hostedBy(runners)
  )

/** The seqs of all records in the table, by address. */
const seqs = SqlClient.use((sql) => sql<{ address: string; seq: string }>`SELECT address, seq FROM dht_record`).pipe(
  Effect.map((rows) => new Map(rows.map(({ address, seq }) => [address, seq])))
)

describe("a cluster on PostgreSQL", () => {
  it.live("keeps every record alive, whatever happens to its runners and its database", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const database = yield* postgres
      const flags = ["--json", "--listen", "127.0.0.1:0", "--no-http", "--data", join(directory, "node")]
      const first = yield* Processes.start("node", ...flags)
      const bootstrap = (yield* first.event("ready")).listen
      const start = (name: string) => startRunner(join(directory, name), database.url, bootstrap)

      // The rows are there first: the first runners create no table.
      const services = yield* Layer.build(table(database.url))
      const writer = yield* Effect.provideContext(IdentityTable, services)
      yield* writer.put(identities.map((signer, n) => ({
        signer,
        ttl,
        announce: [{ _tag: "Endpoint", endpoints: [`https://${n}.example`] }]
      })))
      const a = yield* start("a")
      const [b, c] = yield* Effect.all([start("b"), start("c")], { concurrency: "unbounded" })
      yield* untilShared("three runners share the identities", [a, b, c])
      yield* until("all are stored", Effect.provideContext(Effect.map(seqs, ({ size }) => size === count), services))

      // From here on, a reader looks for one after another.
      const reader = yield* Layer.build(DhtLive({ client: true, bootstrap: [bootstrap] }))
      const missed: Array<string> = []
      let read = 0
      const reading = yield* Effect.provideContext(Dht, reader).pipe(
        Effect.flatMap((dht) => Effect.exit(dht.resolve(identities[read % count].address))),
        Effect.tap((exit) =>
          Effect.sync(() => {
            const found = exit._tag === "Success" ? exit.value.endpoints?.join() : String(exit.cause)
            if (found !== `https://${read % count}.example`) missed.push(`${read % count}: ${found}`)
            read++
          })
        ),
        Effect.andThen(Effect.sleep("100 millis")),
        Effect.forever,
        Effect.forkScoped
      )

      const before = yield* Effect.provideContext(seqs, services)
      yield* a.process.kill("SIGKILL")
      yield* untilShared("two host what a killed one hosted", [b, c])

      const d = yield* start("d")
      yield* untilShared("one that joins gets its share", [b, c, d])

      yield* b.process.kill("SIGTERM")
      assert.strictEqual((yield* b.process.ended).code, 0)
      yield* untilShared("two host what one handed over", [c, d])

      yield* database.stop
      yield* until("they notice", Effect.sync(() => [c, d].every(({ hosted }) => !hosted().connected)))
      yield* Effect.sleep("20 seconds")
      assert.strictEqual(total([c, d]), count)
      yield* database.start
      yield* untilShared("two share them again", [c, d])

      yield* c.process.kill("SIGSTOP")
      yield* until("one hosts all", Effect.sync(() => d.hosted().identities === count), () => hostedBy([d]))
      yield* c.process.kill("SIGCONT")
      yield* untilShared("the one that thawed shares with the other", [c, d])
      yield* until(
        "the others have renewed all records",
        Effect.provideContext(seqs, services).pipe(
          Effect.map((now) => [...before].every(([address, seq]) => (now.get(address) ?? "") > seq))
        )
      )

      // A change still reaches the runner that has the identity.
      const [changed, removed] = identities
      yield* Fiber.interrupt(reading)
      yield* writer.put([{
        signer: changed,
        ttl,
        announce: [{ _tag: "Endpoint", endpoints: ["https://new.example"] }]
      }])
      yield* writer.remove([removed.address])
      yield* until(
        "readers see the changes",
        Effect.provideContext(
          Dht.use((dht) =>
            Effect.gen(function*() {
              const { endpoints } = yield* dht.resolve(changed.address)
              const gone = yield* Effect.exit(dht.resolve(removed.address))
              return endpoints?.join() === "https://new.example" && gone._tag === "Failure"
            })
          ),
          reader
        )
      )
      assert.deepStrictEqual(missed, [], `${read} were read`)
      assert.isAbove(read, 50)
    }).pipe(Effect.scoped), 600_000)
})
