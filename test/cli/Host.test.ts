import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import { join } from "node:path"
import * as SqliteClient from "../../src/node/SqliteClient.ts"
import * as Processes from "../utils/processes.ts"
import { temporary } from "../utils/temporary.ts"

const key = "a key of the tests, long enough to be one"
const otherKey = "another one, which is as long as it has to be"

Object.assign(process.env, { EFFECT_DHT_KEY: key, EFFECT_DHT_OTHER: otherKey, EFFECT_DHT_WEAK: "short" })

const flags = (data: string) => ["host", "--json", "--listen", "127.0.0.1:0", "--no-http", "--data", data]

/** Runs a runner that cannot start. */
const host = (data: string, ...args: ReadonlyArray<string>) =>
  Effect.map(Processes.run(...flags(data), ...args), ({ code, error }) => ({ code, error: error.join("\n") }))

/** A runner in a process of its own, on a database of its own, that has started and stopped. */
const once = Effect.fnUntraced(function*(data: string) {
  const runner = yield* Processes.start(...flags(data), "--database-key-env", "EFFECT_DHT_KEY")
  yield* runner.event("hosting")
  yield* runner.kill("SIGTERM")
  assert.deepInclude(yield* runner.ended, { code: 0, error: [] })
})

describe("effect-dht host", () => {
  it.live("says which key and which database it needs, and quotes no secret", () =>
    Effect.gen(function*() {
      const data = yield* temporary
      const none = yield* host(data)
      assert.strictEqual(none.code, 2)
      assert.include(none.error, "--database-key-env")
      const wrong = yield* host(data, "--database-key-env", "EFFECT_DHT_KEY", "--database", "mysql://me:secret@db/x")
      assert.strictEqual(wrong.code, 2)
      assert.include(wrong.error, "postgres://USER:PASSWORD@HOST/NAME or sqlite:PATH")
      const unset = yield* host(data, "--database-key-env", "EFFECT_DHT_NOWHERE")
      assert.strictEqual(unset.code, 2)
      const weak = yield* host(data, "--database-key-env", "EFFECT_DHT_WEAK")
      assert.strictEqual(weak.code, 1)
      assert.include(weak.error, "at least 32")
      assert.notInclude(weak.error, "short")
    }).pipe(Effect.scoped), 180_000)

  it.live(
    "refuses the tables of a later version, and those with another key, and leaves them as they are",
    () =>
      Effect.gen(function*() {
        const data = yield* temporary
        yield* once(data)
        const other = yield* host(data, "--database-key-env", "EFFECT_DHT_OTHER")
        assert.strictEqual(other.code, 1)
        assert.include(other.error, "The key does not open the seeds")
        const version = (change: number) =>
          SqlClient.use((sql) =>
            Effect.andThen(
              sql`UPDATE dht_schema SET version = version + ${change}`,
              sql<{ readonly version: number }>`SELECT version FROM dht_schema`
            )
          ).pipe(Effect.provide(SqliteClient.layer(join(data, "hosted.sqlite"))))
        yield* version(6)
        const later = yield* host(data, "--database-key-env", "EFFECT_DHT_KEY")
        assert.strictEqual(later.code, 1)
        assert.include(later.error, "Update the program")
        assert.deepStrictEqual((yield* version(0)).map(({ version }) => version), [7])
      }).pipe(Effect.scoped),
    180_000
  )

  it.live(
    "waits for a database that is out of reach, says so once, and stops when told to",
    () =>
      Effect.gen(function*() {
        process.env.EFFECT_DHT_TEST_KEY = key
        const flags = ["--json", "--listen", "127.0.0.1:0", "--no-http", "--data", yield* temporary]
        const database = [
          "--database",
          "postgres://me:secret@127.0.0.1:1/x",
          "--database-key-env",
          "EFFECT_DHT_TEST_KEY"
        ]
        const runner = yield* Processes.start("host", ...flags, ...database)
        const { reason } = yield* runner.event("database-unreachable")
        assert.include(reason, "out of reach: connect ECONNREFUSED 127.0.0.1:1")
        yield* Effect.sleep("6 seconds")
        yield* runner.kill("SIGTERM")
        const { code, out } = yield* runner.ended
        assert.deepStrictEqual(
          { code, events: out.map((line) => JSON.parse(line).event) },
          { code: 0, events: ["database-unreachable", "stopped"] }
        )
      }).pipe(Effect.scoped),
    180_000
  )
})
