import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as HttpToken from "../../src/node/HttpToken.ts"

/** A directory that is removed with the scope. */
const directory = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "dht-"))),
  (path) => Effect.sync(() => Fs.rmSync(path, { recursive: true }))
)

const loadOrCreate = (path: string) => Effect.provide(HttpToken.loadOrCreate(path), SecureRandom.layerWebCrypto)

describe("HttpToken", () => {
  it.effect("is made once, for its owner only", () =>
    Effect.gen(function*() {
      const data = yield* directory
      assert.isUndefined(yield* HttpToken.load(data))
      const made = yield* Effect.all([loadOrCreate(data), loadOrCreate(data)], { concurrency: 2 })
      const tokens = [...made, yield* loadOrCreate(data)].map(({ token }) => Redacted.value(token))
      assert.match(tokens[0], /^[0-9a-f]{64}$/)
      assert.strictEqual(new Set(tokens).size, 1)
      assert.strictEqual(made[0].path, join(data, "http-token"))
      assert.strictEqual(Fs.statSync(made[0].path).mode & 0o777, 0o600)
      assert.deepStrictEqual(Fs.readdirSync(data), ["http-token"])
    }))

  it.effect("is refused if others can read it, or if it is no token", () =>
    Effect.gen(function*() {
      const data = yield* directory
      const { path } = yield* loadOrCreate(data)
      Fs.chmodSync(path, 0o644)
      assert.include((yield* Effect.flip(HttpToken.load(data))).message, "other users of this machine")
      Fs.chmodSync(path, 0o600)
      for (const text of ["", "short", "with a space in between", "ü".repeat(20), "x".repeat(2000)]) {
        Fs.writeFileSync(path, text)
        const { _tag, message } = yield* Effect.flip(loadOrCreate(data))
        assert.strictEqual(_tag, "UnusableTokenFile")
        assert.include(message, path)
        assert.include(message, "Remove the file")
      }
      Fs.rmSync(path)
      Fs.mkdirSync(path)
      assert.include((yield* Effect.flip(loadOrCreate(data))).message, "it is not a file")
    }))
})
