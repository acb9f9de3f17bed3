import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as TestConsole from "effect/testing/TestConsole"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Address from "../../src/Address.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as IdentityFile from "../../src/node/IdentityFile.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as commandLine from "../utils/commandLine.ts"
import { seedOf } from "../utils/hosting.ts"
import * as network from "../utils/network.ts"
import { hosting, joined, startNode } from "../utils/runningNode.ts"
import { temporary } from "../utils/temporary.ts"

const run = (...args: ReadonlyArray<string>) => commandLine.run(args)

const captured = Effect.provide(TestConsole.layer)

const said = ({ error, exitCode, out }: commandLine.Ran) => {
  assert.deepStrictEqual({ exitCode, error }, { exitCode: 0, error: [] })
  return JSON.parse(out.join())
}

/** A node that hosts and serves HTTP. */
const running = Effect.flatMap(startNode(), (peer) => joined(peer, hosting))

const addressOf = (name: string) => Address.format(network.identity(name).address)

const line = (name: string, more: object = {}) =>
  JSON.stringify({
    seed_hex: Hex.encode(seedOf(name)),
    announce: { endpoint: { endpoints: [`https://${name}.example`] } },
    ...more
  })

describe("hosted", () => {
  it.live("adds the identity of a directory, shows it, lists it and removes it", () =>
    Effect.gen(function*() {
      const { data } = yield* running
      const directory = yield* temporary
      const { identity } = yield* IdentityFile.create({ directory, passphrase: undefined }).pipe(
        Effect.provide([NodeCrypto.layer, SecureRandom.layerWebCrypto])
      )
      const address = Address.format(identity.address)
      const announced = [
        "--endpoint",
        "https://ann.example",
        "--name",
        "Ann",
        "--topic",
        "translate",
        "--topic",
        "chess"
      ]
      const added = said(yield* run("hosted", "add", "--identity", directory, ...announced, "--json", "--data", data))
      assert.include(added, { address, durable: true, replicas: 8 })
      assert.deepStrictEqual(added.records.map(({ rec_type }: { rec_type: number }) => rec_type), [1, 2, 16, 16])
      const { identities, status } = said(yield* run("hosted", "list", "--json", "--data", data))
      assert.deepStrictEqual([identities.length, identities[0].address, status.records], [1, address, 4])
      assert.include((yield* run("hosted", "list", "--data", data)).out.join("\n"), `good     ${address}  4 records`)
      assert.include(
        (yield* run("hosted", "show", address, "--data", data)).out.join("\n"),
        "translate"
      )
      said(yield* run("hosted", "remove", address, "--json", "--data", data))
      const again = yield* run("hosted", "remove", address, "--data", data)
      assert.deepStrictEqual([again.exitCode, again.error.length], [1, 1])
      assert.include(again.error[0], "is not hosted here")
      const nothing = yield* run("hosted", "add", "--identity", directory, "--data", data)
      assert.deepStrictEqual([nothing.exitCode, nothing.error.length], [2, 1])
    }).pipe(captured))

  it.live("imports the lines of a file, with one error for each that is wrong, and none that shows a key", () =>
    Effect.gen(function*() {
      const { data } = yield* running
      const file = join(yield* temporary, "agents.ndjson")
      const seed = Hex.encode(seedOf("bad"))
      const lines = [
        line("a"),
        "",
        line("b"),
        `{"seed_hex": "${seed}", `,
        line("a"),
        line("c", { announce: { endpoint: { endpoints: [`https://${"c".repeat(1500)}.example`] } } }),
        JSON.stringify({ seed_hex: seed }),
        line("d", { ignored: "x".repeat(70_000) }),
        line("e").replace(/"seed_hex":"../, "\"seed_hex\":\""),
        line("f")
      ]
      writeFileSync(file, lines.join("\n"))
      const { error, exitCode, out } = yield* run("hosted", "import", file, "--json", "--data", data)
      assert.strictEqual(exitCode, 1)
      assert.deepStrictEqual(out.map((text) => JSON.parse(text)), [{ imported: 3, updated: 0, failed: 6 }])
      const numbers = error.slice(0, -1).map((text) => Number(/^effect-dht: line (\d+): /.exec(text)?.[1]))
      assert.deepStrictEqual(numbers.toSorted((a, b) => a - b), [4, 5, 6, 7, 8, 9])
      assert.strictEqual(error.at(-1), "effect-dht: 6 of 9 lines were not imported")
      const texts = error.join("\n")
      for (
        const words of [
          "not JSON",
          `${addressOf("a")} is hosted already`,
          "endpoints is too long",
          "longer than 65536 bytes",
          "64 hex digits"
        ]
      ) {
        assert.include(texts, words)
      }
      for (const secret of [seed, Hex.encode(seedOf("e"))]) assert.notInclude(texts, secret.slice(2, 20))
      const { status } = said(yield* run("hosted", "list", "--json", "--data", data))
      assert.strictEqual(status.identities, 3)
      writeFileSync(file, [line("a", { replicas: 3 }), line("g")].join("\n"))
      const updated = said(yield* run("hosted", "import", file, "--update", "--json", "--data", data))
      assert.deepStrictEqual(updated, { imported: 1, updated: 1, failed: 0 })
      assert.include(said(yield* run("hosted", "show", addressOf("a"), "--json", "--data", data)), { replicas: 3 })
    }).pipe(captured))

  it.live("takes no line for less than it says: a member that is misspelt is an error, which does not quote it", () =>
    Effect.gen(function*() {
      const { data } = yield* running
      const file = join(yield* temporary, "agents.ndjson")
      const seed = Hex.encode(seedOf("a"))
      const lines = [
        line("a", { announce: { endpoints: ["https://a.example"] } }),
        line("a", { announce: {} }),
        line("a", { seed }),
        line("a", { announce: { topics: [{ topic: "x" }, { topic: "x" }] } }),
        JSON.stringify([1])
      ]
      writeFileSync(file, lines.join("\n"))
      const through: ReadonlyArray<ReadonlyArray<string>> = [
        ["--data", data],
        ["--database", `sqlite:${join(data, "table.sqlite")}`, "--database-key-env", "HOSTING_KEY"]
      ]
      for (const flags of through) {
        const { error, exitCode, out } = yield* commandLine.run(["hosted", "import", file, ...flags], {
          HOSTING_KEY: "a key of the tests, long enough to be one"
        })
        assert.deepStrictEqual([exitCode, out], [1, ["0 imported, 5 failed"]])
        assert.notInclude(error.join("\n"), seed.slice(2, 20))
        for (
          const [number, words] of [
            [1, "the member announce.endpoints is unknown"],
            [2, "announce: it is empty"],
            [3, "the member seed is unknown"],
            [4, "Two offers under one topic would replace each other"],
            [5, "the line is wrong: expected object"]
          ] as const
        ) {
          assert.isTrue(error.some((text) => text.startsWith(`effect-dht: line ${number}: `) && text.includes(words)))
        }
      }
    }).pipe(captured))

  it.live("needs a node that hosts", () =>
    Effect.gen(function*() {
      const { data, url } = yield* Effect.flatMap(startNode(), (peer) => joined(peer))
      const { error, exitCode } = yield* run("hosted", "list", "--node", url)
      assert.deepStrictEqual([exitCode, error], [
        1,
        ["effect-dht: This node hosts no identities. Start it with --hosting"]
      ])
      const missing = yield* run("hosted", "import", join(data, "nothing"), "--data", data)
      assert.strictEqual(missing.exitCode, 1)
      assert.include(missing.error.join(), "The file cannot be read")
    }).pipe(captured))
})
