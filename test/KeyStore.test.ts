import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Redacted from "effect/Redacted"
import * as Address from "../src/Address.ts"
import * as Identity from "../src/Identity.ts"
import * as KeyStore from "../src/KeyStore.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"

const services = Layer.merge(NodeCrypto.layer, SecureRandom.layerWebCrypto)
const passphrase = Redacted.make("correct horse battery staple")

/** Deriving a key takes a quarter of a second, and longer on a busy machine. */
const slow = 60_000

const layers = {
  "in memory": KeyStore.layerMemory,
  "in a key-value store": KeyStore.layerKeyValueStore({ passphrase }).pipe(Layer.provide(KeyValueStore.layerMemory))
}

describe("KeyStore", () => {
  for (const [where, layer] of Object.entries(layers)) {
    describe(where, () => {
      it.effect("is empty at first, and has the one generated identity afterwards", () =>
        Effect.gen(function*() {
          const keys = yield* KeyStore.KeyStore
          assert.deepStrictEqual(yield* keys.addresses, [])
          const address = yield* keys.generate
          assert.deepStrictEqual(yield* keys.addresses, [address])
          assert.strictEqual(Address.fromPublicKey(yield* keys.publicKey(address)), address)
          assert.strictEqual((yield* Effect.flip(keys.generate))._tag, "IdentityExists")
          assert.deepStrictEqual(yield* keys.addresses, [address])
        }).pipe(Effect.provide(layer), Effect.provide(services)), slow)

      it.effect("generates one identity if asked for two at the same time", () =>
        Effect.gen(function*() {
          const keys = yield* KeyStore.KeyStore
          const results = yield* Effect.all([Effect.exit(keys.generate), Effect.exit(keys.generate)], {
            concurrency: "unbounded"
          })
          assert.deepStrictEqual(results.map((exit) => exit._tag).sort(), ["Failure", "Success"])
          assert.strictEqual((yield* keys.addresses).length, 1)
        }).pipe(Effect.provide(layer), Effect.provide(services)), slow)

      it.effect("signs for its own address only", () =>
        Effect.gen(function*() {
          const keys = yield* KeyStore.KeyStore
          const other = (yield* Identity.generate).address
          assert.strictEqual((yield* Effect.flip(keys.sign(other, new Uint8Array(3)))).address, other)
          const address = yield* keys.generate
          const message = new TextEncoder().encode("message")
          const signature = yield* keys.sign(address, message)
          assert.isTrue(NodeCrypto.fastest.verify(yield* keys.publicKey(address), message, signature))
          for (const refused of [keys.sign(other, message), keys.publicKey(other)]) {
            const error = yield* Effect.flip(refused)
            assert.strictEqual(error._tag, "UnknownAddress")
            assert.strictEqual(error.address, other)
          }
        }).pipe(Effect.provide(layer), Effect.provide(services)), slow)
    })
  }

  it.effect("keeps the identity encrypted under the given key, and finds it again", () =>
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      const build = (passphrase: string, key?: string) =>
        Effect.provide(KeyStore.KeyStore, KeyStore.layerKeyValueStore({ passphrase: Redacted.make(passphrase), key }))

      const keys = yield* build("first")
      assert.deepStrictEqual(yield* store.keys, [])
      const address = yield* keys.generate
      assert.deepStrictEqual(yield* store.keys, ["identity.ed25519"])

      const again = yield* build("first")
      assert.deepStrictEqual(yield* again.addresses, [address])
      assert.strictEqual((yield* Effect.flip(again.generate))._tag, "IdentityExists")
      assert.strictEqual((yield* Effect.flip(build("second")))._tag, "CannotUnlock")

      const elsewhere = yield* build("second", "another")
      assert.deepStrictEqual(yield* elsewhere.addresses, [])
      yield* elsewhere.generate
      assert.sameMembers([...(yield* store.keys)], ["identity.ed25519", "another"])
    }).pipe(Effect.provide([services, KeyValueStore.layerMemory])), slow)

  it.effect("does not overwrite an entry that appeared after it had looked", () =>
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      const keys = yield* Effect.provide(KeyStore.KeyStore, KeyStore.layerKeyValueStore({ passphrase }))
      const blob = new Uint8Array([1, 2, 3])
      yield* store.set("identity.ed25519", blob)
      assert.strictEqual((yield* Effect.flip(keys.generate))._tag, "IdentityExists")
      assert.deepStrictEqual(yield* store.getUint8Array("identity.ed25519"), blob)
      assert.deepStrictEqual(yield* keys.addresses, [])
    }).pipe(Effect.provide([services, KeyValueStore.layerMemory])), slow)
})
