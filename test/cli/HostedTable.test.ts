import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import * as TestConsole from "effect/testing/TestConsole"
import { existsSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Address from "../../src/Address.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as IdentityFile from "../../src/node/IdentityFile.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as SqliteClient from "../../src/node/SqliteClient.ts"
import * as commandLine from "../utils/commandLine.ts"
import { seedOf } from "../utils/hosting.ts"
import * as network from "../utils/network.ts"
import { postgres } from "../utils/postgres.ts"
import { temporary } from "../utils/temporary.ts"

const captured = Effect.provide(TestConsole.layer)

const key = "a key of the tests, long enough to be one"

/** Runs a command on the database of the environment. */
const on = (url: string) => (...args: ReadonlyArray<string>) =>
  commandLine.run(["hosted", ...args, "--json"], {
    DHT_DATABASE: url,
    DHT_DATABASE_KEY_ENV: "HOSTING_KEY",
    HOSTING_KEY: key
  })

const said = ({ error, exitCode, out }: commandLine.Ran) => {
  assert.deepStrictEqual({ exitCode, error }, { exitCode: 0, error: [] })
  return JSON.parse(out.join())
}

const addressOf = (name: string) => Address.format(network.identity(name).address)

const line = (name: string, more: object = {}) =>
  JSON.stringify({
    seed_hex: Hex.encode(seedOf(name)),
    announce: { endpoint: { endpoints: [`https://${name}.example`] } },
    ...more
  })

const databases = {
  SQLite: Effect.map(temporary, (directory) => `sqlite:${join(directory, "hosted.sqlite")}`),
  PostgreSQL: Effect.map(postgres, ({ url }) => url)
}

describe("hosted, with a database", () => {
  for (const [name, database] of Object.entries(databases)) {
    it.live(
      `imports, lists, shows and removes the rows of ${name}, with one error for each line that is wrong`,
      () =>
        Effect.gen(function*() {
          const run = on(yield* database)
          const file = join(yield* temporary, "agents.ndjson")
          const seed = Hex.encode(seedOf("bad"))
          writeFileSync(
            file,
            [
              line("a"),
              "",
              line("b"),
              `{"seed_hex": "${seed}", `,
              line("a", { replicas: 2 }),
              line("c", { announce: { endpoint: { endpoints: [`https://${"c".repeat(1500)}.example`] } } }),
              line("d", { mail: true }),
              line("e").replace(/"seed_hex":"../, "\"seed_hex\":\""),
              line("f", { announce: { custom: [{ type: 7, value: 1 }, { type: 7, value: 2 }] } }),
              line("g", { replicas: 3, ttl: 60 })
            ].join("\n")
          )
          const { error, exitCode, out } = yield* run("import", file)
          assert.strictEqual(exitCode, 1)
          assert.deepStrictEqual(out.map((text) => JSON.parse(text)), [
            { imported: 3, updated: 0, unchanged: 0, failed: 6 }
          ])
          const faults = Object.fromEntries(error.flatMap((text) => {
            const [, number, fault] = /^effect-dht: line (\d+): (.*)$/.exec(text) ?? []
            return number === undefined ? [] : [[number, fault]]
          }))
          for (
            const [number, words] of [
              [4, "not JSON"],
              [5, `${addressOf("a")} is on line 1 already`],
              [6, "endpoints is too long"],
              [7, "mail: "],
              [8, "64 hex digits"],
              [9, "would replace each other"]
            ] as const
          ) {
            assert.include(faults[number], words)
          }
          assert.deepStrictEqual(Object.keys(faults), ["4", "5", "6", "7", "8", "9"])
          assert.strictEqual(error.at(-1), "effect-dht: 6 of 9 lines were not imported")
          assert.notInclude(error.join("\n"), seed.slice(2, 20))

          // The same again changes nothing; other contents only do if they are to.
          writeFileSync(file, [line("a"), line("b"), line("g", { replicas: 3, ttl: 60 })].join("\n"))
          assert.deepStrictEqual(said(yield* run("import", file)), { imported: 0, updated: 0, unchanged: 3, failed: 0 })
          writeFileSync(file, [line("a", { replicas: 5 }), line("h")].join("\n"))
          const differs = yield* run("import", file)
          assert.deepStrictEqual([differs.exitCode, JSON.parse(differs.out.join())], [
            1,
            { imported: 1, updated: 0, unchanged: 0, failed: 1 }
          ])
          assert.include(differs.error[0], `line 1: ${addressOf("a")} is in the database with other contents`)
          assert.include(said(yield* run("show", addressOf("a"))), { replicas: 8, state: "good" })
          assert.deepStrictEqual(said(yield* run("import", file, "--update")), {
            imported: 0,
            updated: 1,
            unchanged: 1,
            failed: 0
          })
          assert.include(said(yield* run("show", addressOf("a"))), { replicas: 5 })

          said(yield* run("remove", addressOf("b")))
          const again = yield* run("remove", addressOf("b"))
          assert.deepStrictEqual([again.exitCode, again.error], [
            1,
            [`effect-dht: ${addressOf("b")} is not in the database`]
          ])
          const { counts, identities, more } = said(yield* run("list", "--limit", "2"))
          assert.deepStrictEqual([counts, more], [{ identities: 3, faults: 0, removed: 1 }, true])
          assert.deepStrictEqual(
            identities.map(({ address }: { readonly address: string }) => address),
            ["a", "g", "h"].map(addressOf).toSorted().slice(0, 2)
          )
          // What was removed can be added again.
          writeFileSync(file, line("b"))
          assert.include(said(yield* run("import", file)), { imported: 1 })
        }).pipe(Effect.scoped, captured),
      120_000
    )
  }

  it.live("writes thousands of lines in few statements, and tells how far it is", () =>
    Effect.gen(function*() {
      const path = join(yield* temporary, "hosted.sqlite")
      const file = join(yield* temporary, "agents.ndjson")
      const count = 2300
      writeFileSync(file, Array.from({ length: count }, (_, n) => line(`${n}`)).join("\n"))
      const run = on(`sqlite:${path}`)
      assert.include(said(yield* run("import", file)), { imported: count, failed: 0 })
      const sql = SqlClient.use((sql) => sql<{ readonly change: number }>`SELECT change FROM dht_hosting`)
      const [{ change }] = yield* Effect.provide(sql, SqliteClient.layer(path))
      // Each writes up to 500 rows.
      assert.strictEqual(change, 5)
      writeFileSync(file, "{}\n".repeat(10_000))
      const { error } = yield* run("import", file)
      assert.include(error, "effect-dht: 10000 lines: 0 imported, 10000 failed")
    }).pipe(Effect.scoped, captured), 120_000)

  it.live("adds the identity of a directory, once", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const run = on(`sqlite:${join(yield* temporary, "hosted.sqlite")}`)
      const { identity } = yield* IdentityFile.create({ directory, passphrase: undefined }).pipe(
        Effect.provide([NodeCrypto.layer, SecureRandom.layerWebCrypto])
      )
      const address = Address.format(identity.address)
      const add = (endpoint: string) => run("add", "--identity", directory, "--endpoint", endpoint)
      assert.deepStrictEqual(said(yield* add("https://ann.example")), { address, added: true })
      assert.deepStrictEqual(said(yield* add("https://ann.example")), { address, added: false })
      const other = yield* add("https://other.example")
      assert.strictEqual(other.exitCode, 1)
      assert.include(other.error[0], "with other contents")
      assert.strictEqual((yield* add("no URL")).exitCode, 2)
    }).pipe(Effect.scoped, captured))

  it.live("lists first what runners could not host", () =>
    Effect.gen(function*() {
      const path = join(yield* temporary, "hosted.sqlite")
      const file = join(yield* temporary, "agents.ndjson")
      writeFileSync(file, ["a", "b", "c"].map((name) => line(name)).join("\n"))
      const run = on(`sqlite:${path}`)
      said(yield* run("import", file))
      const last = ["a", "b", "c"].map(addressOf).toSorted()[2]
      yield* SqlClient.use((sql) =>
        sql`UPDATE dht_identity SET fault = 'it broke' WHERE address = ${last.toLowerCase()}`
      ).pipe(
        Effect.provide(SqliteClient.layer(path))
      )
      const { identities } = said(yield* run("list"))
      assert.deepInclude(identities[0], { address: last, state: "failing", fault: "it broke" })
      assert.lengthOf(identities, 3)
      assert.lengthOf(said(yield* run("list", "--state", "failing")).identities, 1)
      assert.lengthOf(said(yield* run("list", "--state", "good")).identities, 2)
      assert.strictEqual((yield* run("list", "--state", "ended")).exitCode, 2)
    }).pipe(Effect.scoped, captured))

  it.live("says which key and which database it needs, and makes no database to read it", () =>
    Effect.gen(function*() {
      const path = join(yield* temporary, "hosted.sqlite")
      const env = { HOSTING_KEY: key, OTHER_KEY: "another one, which is as long as it has to be" }
      const run = (...args: ReadonlyArray<string>) => commandLine.run(["hosted", ...args], env)
      const database = ["--database", `sqlite:${path}`]
      const keyless = yield* run("list", ...database)
      assert.deepStrictEqual([keyless.exitCode, keyless.error.length], [2, 1])
      assert.include(keyless.error[0], "--database-key-env is missing")
      const both = yield* run("list", ...database, "--database-key-env", "HOSTING_KEY", "--node", "http://127.0.0.1:1")
      assert.strictEqual(both.exitCode, 2)
      assert.include(both.error[0], "give one of them")
      const missing = yield* run("list", ...database, "--database-key-env", "HOSTING_KEY")
      assert.strictEqual(missing.exitCode, 1)
      assert.include(missing.error[0], `There is no database ${path}`)
      assert.isFalse(existsSync(path))
      const file = join(yield* temporary, "agents.ndjson")
      writeFileSync(file, line("a"))
      assert.strictEqual((yield* run("import", file, ...database, "--database-key-env", "HOSTING_KEY")).exitCode, 0)
      const other = yield* run("import", file, ...database, "--database-key-env", "OTHER_KEY")
      assert.strictEqual(other.exitCode, 1)
      assert.include(other.error[0], "The key does not open the seeds")
      const away = yield* run(
        "list",
        "--database",
        "postgres://me:secret@127.0.0.1:1/x",
        "--database-key-env",
        "HOSTING_KEY"
      )
      assert.strictEqual(away.exitCode, 1)
      assert.include(away.error[0], "out of reach: connect ECONNREFUSED 127.0.0.1:1")
      assert.notInclude(away.error.join(), "secret")
    }).pipe(Effect.scoped, captured))
})
