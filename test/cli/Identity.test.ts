import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as TestConsole from "effect/testing/TestConsole"
import * as Fs from "node:fs"
import { join } from "node:path"
import { run } from "../utils/commandLine.ts"
import { temporary } from "../utils/temporary.ts"

const env = { OLD: "correct horse", NEW: "battery staple" }

/** Runs a command of `identity` with `--json` and both passphrases in the environment. */
const identity = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const { error, exitCode, out: [out] } = yield* run(["identity", ...args, "--json"], env)
  return { exitCode, error: error.join(), shown: out === undefined ? undefined : JSON.parse(out) }
})

const captured = Effect.provide(TestConsole.layer)

const mode = (path: string) => Fs.statSync(path).mode & 0o777

describe("identity export and import", () => {
  it.effect("move an identity to another data directory, encrypted on the way", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      const [first, second, file] = ["first", "second", "copy"].map((name) => join(folder, name))
      const { shown } = yield* identity("new", "--data", first)
      const copy = yield* identity("export", file, "--data", first, "--new-passphrase-env", "OLD")
      assert.deepStrictEqual([copy.exitCode, copy.shown.address, copy.shown.encrypted], [0, shown.address, true])
      assert.strictEqual(mode(file), 0o600)

      const locked = yield* identity("import", file, "--data", second)
      assert.deepStrictEqual([locked.exitCode, Fs.existsSync(second)], [1, false])
      const bare = yield* identity("import", file, "--data", second, "--passphrase-env", "OLD")
      assert.deepStrictEqual([bare.exitCode, Fs.existsSync(second)], [2, false])
      const taken = ["import", file, "--data", second, "--passphrase-env", "OLD", "--new-passphrase-env", "NEW"]
      assert.strictEqual((yield* identity(...taken)).shown.address, shown.address)
      const there = yield* identity("show", "--data", second, "--passphrase-env", "NEW")
      assert.deepStrictEqual([there.shown.address, there.shown.encrypted], [shown.address, true])
    }).pipe(captured))

  it.effect("overwrite nothing, and read nothing but an identity", () =>
    Effect.gen(function*() {
      const folder = yield* temporary
      const [first, second, file] = ["first", "second", "copy"].map((name) => join(folder, name))
      yield* identity("new", "--data", first)
      yield* identity("new", "--data", second)
      yield* identity("export", file, "--data", first)
      const text = Fs.readFileSync(file, "utf8")
      for (const args of [["export", file, "--data", second], ["import", file, "--data", second]]) {
        const { error, exitCode } = yield* identity(...args)
        assert.strictEqual(exitCode, 1)
        assert.include(error, "already holds an identity; it was not changed")
      }
      assert.strictEqual(Fs.readFileSync(file, "utf8"), text)
      const fresh = join(folder, "fresh")
      assert.include(
        (yield* identity("import", join(folder, "none"), "--data", fresh)).error,
        "There is no identity at"
      )
      Fs.writeFileSync(file, "hello")
      assert.include((yield* identity("import", file, "--data", fresh)).error, "is not an identity file")
      assert.isFalse(Fs.existsSync(fresh))
    }).pipe(captured))
})

describe("identity passphrase", () => {
  it.effect("encrypts, encrypts anew, and decrypts the identity in place", () =>
    Effect.gen(function*() {
      const data = join(yield* temporary, "data")
      const { shown } = yield* identity("new", "--data", data)
      const change = (...args: ReadonlyArray<string>) => identity("passphrase", "--data", data, ...args)
      assert.isTrue((yield* change("--new-passphrase-env", "OLD")).shown.encrypted)
      assert.strictEqual((yield* change("--new-passphrase-env", "NEW")).exitCode, 1)
      assert.strictEqual((yield* change("--passphrase-env", "NEW", "--none")).exitCode, 1)
      assert.strictEqual((yield* change("--passphrase-env", "OLD", "--new-passphrase-env", "NEW")).exitCode, 0)
      assert.isFalse((yield* change("--passphrase-env", "NEW", "--none")).shown.encrypted)
      assert.strictEqual((yield* identity("show", "--data", data)).shown.address, shown.address)
      assert.deepStrictEqual([mode(join(data, "identity.ed25519")), Fs.readdirSync(data)], [0o600, [
        "identity.ed25519"
      ]])
    }).pipe(captured))

  it.effect("needs to know what the new passphrase is", () =>
    Effect.gen(function*() {
      const data = join(yield* temporary, "data")
      yield* identity("new", "--data", data)
      for (const args of [[], ["--none", "--new-passphrase-env", "NEW"]]) {
        const { error, exitCode } = yield* identity("passphrase", "--data", data, ...args)
        assert.strictEqual(exitCode, 2)
        assert.include(error, "--none")
      }
    }).pipe(captured))
})
