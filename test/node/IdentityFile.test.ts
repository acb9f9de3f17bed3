import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as fc from "fast-check"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Address from "../../src/Address.ts"
import type { Identity } from "../../src/Identity.ts"
import * as IdentityFile from "../../src/node/IdentityFile.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"

const services = Layer.merge(NodeCrypto.layer, SecureRandom.layerWebCrypto)

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-dht-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
)

const passphrase = Redacted.make("correct horse")

const fileIn = (directory: string) => join(directory, IdentityFile.fileName)

const mode = (path: string) => Fs.statSync(path).mode & 0o777

const seedOf = (identity: Identity) => Buffer.from(Redacted.value(identity.seed)).toString("hex")

/** Writes a file at the path of the identity, and returns its directory. */
const holding = (content: string | Uint8Array) =>
  Effect.tap(temporary, (directory) => Effect.sync(() => Fs.writeFileSync(fileIn(directory), content, { mode: 0o600 })))

describe("IdentityFile", () => {
  describe("create", () => {
    it.effect("makes a file of mode 0600 in a directory of mode 0700, and nothing else", () =>
      Effect.gen(function*() {
        const directory = join(yield* temporary, "some", "data")
        const made = yield* IdentityFile.create({ directory })
        assert.strictEqual(made.path, fileIn(directory))
        assert.isFalse(made.encrypted)
        assert.strictEqual(mode(made.path), 0o600)
        assert.strictEqual(mode(directory), 0o700)
        assert.deepStrictEqual(Fs.readdirSync(directory), [IdentityFile.fileName])
      }).pipe(Effect.provide(services)))

    it.effect("leaves the mode of an existing directory", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        Fs.chmodSync(directory, 0o755)
        yield* IdentityFile.create({ directory })
        assert.strictEqual(mode(directory), 0o755)
      }).pipe(Effect.provide(services)))

    it.effect("writes a plain file that load reads as the same identity", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const made = yield* IdentityFile.create({ directory })
        const loaded = yield* IdentityFile.load({ directory })
        assert.strictEqual(seedOf(loaded.identity), seedOf(made.identity))
        assert.strictEqual(loaded.identity.address, made.identity.address)
        assert.isFalse(loaded.encrypted)
      }).pipe(Effect.provide(services)))

    it.effect("writes an encrypted file that the passphrase opens", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const made = yield* IdentityFile.create({ directory, passphrase })
        assert.isTrue(made.encrypted)
        assert.strictEqual(mode(made.path), 0o600)
        const content = Fs.readFileSync(made.path)
        assert.strictEqual(content.length, 95)
        assert.isFalse(content.includes(seedOf(made.identity)))
        assert.isFalse(content.includes(Buffer.from(Redacted.value(made.identity.seed))))
        const loaded = yield* IdentityFile.load({ directory, passphrase })
        assert.strictEqual(loaded.identity.address, made.identity.address)
        assert.isTrue(loaded.encrypted)
      }).pipe(Effect.provide(services)))

    const occupants: ReadonlyArray<readonly [what: string, content: string | Uint8Array]> = [
      ["a plain identity", `${"11".repeat(32)}\n`],
      ["an encrypted identity", Buffer.concat([Buffer.from("a2al-k1"), Buffer.alloc(88)])],
      ["damaged text", "what is this"],
      ["nothing in it", ""]
    ]
    for (const [what, content] of occupants) {
      it.effect(`never overwrites a file with ${what}`, () =>
        Effect.gen(function*() {
          const directory = yield* holding(content)
          const error = yield* Effect.flip(IdentityFile.create({ directory }))
          assert.strictEqual(error._tag, "IdentityFileExists")
          assert.deepStrictEqual(Fs.readFileSync(fileIn(directory)), Buffer.from(content))
          assert.deepStrictEqual(Fs.readdirSync(directory), [IdentityFile.fileName])
        }).pipe(Effect.provide(services)))
    }

    it.effect("never follows a dangling link", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const elsewhere = join(directory, "elsewhere")
        Fs.symlinkSync(elsewhere, fileIn(directory))
        const error = yield* Effect.flip(IdentityFile.create({ directory }))
        assert.strictEqual(error._tag, "IdentityFileExists")
        assert.isFalse(Fs.existsSync(elsewhere))
      }).pipe(Effect.provide(services)))

    it.effect("lets exactly one of several concurrent calls win, and its identity is in the file", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const results = yield* Effect.forEach(
          Array.from({ length: 16 }),
          () => Effect.option(IdentityFile.create({ directory })),
          { concurrency: "unbounded" }
        )
        const winners = results.flatMap((result) => result._tag === "Some" ? [result.value] : [])
        assert.strictEqual(winners.length, 1)
        const { identity } = yield* IdentityFile.load({ directory })
        assert.strictEqual(identity.address, winners[0].identity.address)
        assert.deepStrictEqual(Fs.readdirSync(directory), [IdentityFile.fileName])
      }).pipe(Effect.provide(services)))

    it.effect("reports a directory that is a file", () =>
      Effect.gen(function*() {
        const directory = join(yield* temporary, "file")
        Fs.writeFileSync(directory, "mine")
        const error = yield* Effect.flip(IdentityFile.create({ directory }))
        assert.strictEqual(error._tag, "CannotAccess")
        assert.include(error.message, "not a directory")
        assert.strictEqual(Fs.readFileSync(directory, "utf8"), "mine")
      }).pipe(Effect.provide(services)))

    it.effect("fails where the system allows no directories", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        Fs.symlinkSync("/nowhere/at/all", join(directory, "link"))
        const error = yield* Effect.flip(IdentityFile.create({ directory: join(directory, "link", "data") }))
        assert.strictEqual(error._tag, "CannotAccess")
      }).pipe(Effect.provide(services)))
  })

  describe("load", () => {
    it.effect("reports a missing file", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const error = yield* Effect.flip(IdentityFile.load({ directory }))
        assert.strictEqual(error._tag, "NoIdentityFile")
      }).pipe(Effect.provide(services)))

    it.effect("reads a key without its address, between comments and with Windows line endings", () =>
      Effect.gen(function*() {
        const seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
        const directory = yield* holding(`# mine\r\n\r\n  ${seed.toUpperCase()}  \r\n# end\r\n`)
        const { identity } = yield* IdentityFile.load({ directory })
        assert.strictEqual(seedOf(identity), seed)
      }).pipe(Effect.provide(services)))

    it.effect("reads a plain file given a passphrase, and reports that it is not encrypted", () =>
      Effect.gen(function*() {
        const directory = yield* holding("11".repeat(32))
        assert.isFalse((yield* IdentityFile.load({ directory, passphrase })).encrypted)
      }).pipe(Effect.provide(services)))

    it.effect("needs the passphrase of an encrypted file", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        yield* IdentityFile.create({ directory, passphrase })
        const error = yield* Effect.flip(IdentityFile.load({ directory }))
        assert.strictEqual(error._tag, "PassphraseNeeded")
      }).pipe(Effect.provide(services)))

    it.effect("refuses a wrong passphrase and leaves the file as it is", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const { path } = yield* IdentityFile.create({ directory, passphrase })
        const before = Fs.readFileSync(path)
        const error = yield* Effect.flip(IdentityFile.load({ directory, passphrase: Redacted.make("wrong") }))
        assert.strictEqual(error._tag, "CannotUnlock")
        assert.deepStrictEqual(Fs.readFileSync(path), before)
      }).pipe(Effect.provide(services)))

    it.effect("refuses a truncated encrypted file", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const { path } = yield* IdentityFile.create({ directory, passphrase })
        Fs.truncateSync(path, 94)
        const error = yield* Effect.flip(IdentityFile.load({ directory, passphrase }))
        assert.strictEqual(error._tag, "CannotUnlock")
      }).pipe(Effect.provide(services)))

    const damaged: ReadonlyArray<readonly [what: string, content: string | Uint8Array]> = [
      ["an empty file", ""],
      ["only comments", "# nothing\n"],
      ["a key that is too short", "11".repeat(31)],
      ["a key that is too long", "11".repeat(33)],
      ["two keys", `${"11".repeat(32)}\n${"22".repeat(32)}\n`],
      ["an address that is none", `${"11".repeat(32)} a0`],
      ["too much text", `${"11".repeat(32)}\n#${"x".repeat(5000)}`],
      ["binary", Uint8Array.of(0, 255, 1, 254)]
    ]
    for (const [what, content] of damaged) {
      it.effect(`refuses ${what} and leaves the file as it is`, () =>
        Effect.gen(function*() {
          const directory = yield* holding(content)
          const error = yield* Effect.flip(IdentityFile.load({ directory }))
          assert.strictEqual(error._tag, "DamagedIdentityFile")
          assert.deepStrictEqual(Fs.readFileSync(fileIn(directory)), Buffer.from(content))
        }).pipe(Effect.provide(services)))
    }

    it.effect("refuses anything but a regular file", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        Fs.mkdirSync(fileIn(directory))
        const error = yield* Effect.flip(IdentityFile.load({ directory }))
        assert.strictEqual(error._tag, "DamagedIdentityFile")
      }).pipe(Effect.provide(services)))

    it.effect("refuses a key that other users can read or change, and tells how to fix it", () =>
      Effect.gen(function*() {
        const plain = yield* temporary
        yield* IdentityFile.create({ directory: plain })
        const encrypted = yield* temporary
        yield* IdentityFile.create({ directory: encrypted, passphrase })
        for (const directory of [plain, encrypted]) {
          const path = fileIn(directory)
          for (const [bits, text] of [[0o666, "0666"], [0o644, "0644"], [0o640, "0640"], [0o620, "0620"]] as const) {
            Fs.chmodSync(path, bits)
            for (const attempt of [IdentityFile.load, IdentityFile.loadOrCreate]) {
              const error = yield* Effect.flip(attempt({ directory, passphrase }))
              assert.strictEqual(error._tag, "ExposedIdentityFile")
              assert.include(error.message, `(mode ${text})`)
              assert.include(error.message, `chmod 600 ${path}`)
            }
          }
          for (const bits of [0o600, 0o400]) {
            Fs.chmodSync(path, bits)
            yield* IdentityFile.load({ directory, passphrase })
          }
        }
      }).pipe(Effect.provide(services)))

    it.effect("detects a change of any single digit of the key", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const { path } = yield* IdentityFile.create({ directory })
        const content = Fs.readFileSync(path, "utf8")
        const start = content.lastIndexOf("\n", content.length - 2) + 1
        const samples = fc.sample(fc.tuple(fc.nat(63), fc.integer({ min: 1, max: 15 })), 40)
        for (const [at, step] of samples) {
          const digit = (Number.parseInt(content[start + at], 16) + step) % 16
          Fs.writeFileSync(path, content.slice(0, start + at) + digit.toString(16) + content.slice(start + at + 1))
          const error = yield* Effect.flip(IdentityFile.load({ directory }))
          assert.strictEqual(error._tag, "DamagedIdentityFile")
        }
      }).pipe(Effect.provide(services)))

    it.effect("succeeds or fails typed for any content", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        for (const content of fc.sample(fc.uint8Array({ maxLength: 200 }), 100)) {
          Fs.writeFileSync(fileIn(directory), content)
          const error = yield* Effect.flip(IdentityFile.load({ directory }))
          assert.strictEqual(error._tag, "DamagedIdentityFile")
        }
      }).pipe(Effect.provide(services)))
  })

  describe("loadOrCreate", () => {
    it.effect("creates the identity once and reads it thereafter", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const first = yield* IdentityFile.loadOrCreate({ directory })
        const second = yield* IdentityFile.loadOrCreate({ directory })
        assert.isTrue(first.created)
        assert.isFalse(second.created)
        assert.strictEqual(second.identity.address, first.identity.address)
      }).pipe(Effect.provide(services)))

    it.effect("gives concurrent calls the same identity", () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const all = yield* Effect.forEach(
          Array.from({ length: 16 }),
          () => IdentityFile.loadOrCreate({ directory }),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(new Set(all.map(({ identity }) => identity.address)).size, 1)
        assert.strictEqual(all.filter(({ created }) => created).length, 1)
      }).pipe(Effect.provide(services)))

    it.effect("does not replace a damaged identity", () =>
      Effect.gen(function*() {
        const directory = yield* holding("damaged")
        const error = yield* Effect.flip(IdentityFile.loadOrCreate({ directory }))
        assert.strictEqual(error._tag, "DamagedIdentityFile")
        assert.strictEqual(Fs.readFileSync(fileIn(directory), "utf8"), "damaged")
      }).pipe(Effect.provide(services)))
  })

  it.effect("includes the address in the plain file", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const { identity, path } = yield* IdentityFile.create({ directory })
      assert.include(Fs.readFileSync(path, "utf8"), Address.format(identity.address))
    }).pipe(Effect.provide(services)))
})
