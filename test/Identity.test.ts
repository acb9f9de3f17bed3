import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../src/Address.ts"
import * as Delegation from "../src/Delegation.ts"
import * as Identity from "../src/Identity.ts"
import { deriveKey, deriveKeyPortable } from "../src/internal/argon2id.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Delegated from "./utils/delegated.ts"
import * as Network from "./utils/network.ts"

const crypto = NodeCrypto.fastest
const services = Layer.merge(NodeCrypto.layer, SecureRandom.layerWebCrypto)

/** Deriving a key takes a quarter of a second, and longer on a busy machine. */
const slow = 60_000

const seed = new Uint8Array(32).map((_, i) => i)
const passphrase = Redacted.make("correct horse battery staple")

describe("Identity", () => {
  describe("with a delegation", () => {
    const delegation = Delegated.delegation("key", { expiresAt: 2000, issuedAt: 1000 })
    const own = Network.identity("key")

    it("keeps its own address and node id, and acts for the master", () => {
      assert.strictEqual(own.agent, own.address)
      assert.isUndefined(own.delegation)
      assert.isUndefined(Result.getOrThrow(Identity.mandate(own, 3000)))
      const delegated = Result.getOrThrow(Identity.withDelegation(own, delegation, crypto))
      assert.deepStrictEqual(
        [delegated.address, delegated.nodeId, delegated.publicKey],
        [own.address, own.nodeId, own.publicKey]
      )
      assert.strictEqual(delegated.agent, Network.identity("master").address)
    })

    it("has its mandate until the second in which the delegation expires", () => {
      const delegated = Result.getOrThrow(Identity.withDelegation(own, delegation, crypto))
      assert.deepStrictEqual(Result.getOrThrow(Identity.mandate(delegated, 1999)), Delegation.encode(delegation))
      const over = Result.flip(Identity.mandate(delegated, 2000))
      assert.strictEqual(Result.getOrThrow(over)._tag, "DelegationExpired")
    })

    it("refuses a delegation to another key, and one that its master did not sign", () => {
      const forged = { ...delegation, expiresAt: 3000n }
      for (const [identity, wrong] of [[Network.identity("other"), delegation], [own, forged]] as const) {
        const refused = Result.getOrThrow(Result.flip(Identity.withDelegation(identity, wrong, crypto)))
        assert.strictEqual(refused._tag, "InvalidDelegation")
      }
    })

    it("carries a wallet's delegation in its canonical form", () => {
      const wallet = Delegated.delegation("key", { master: "ethereum" })
      const signature = wallet.signature.slice()
      signature[64] -= 27
      const delegated = Result.getOrThrow(Identity.withDelegation(own, { ...wallet, signature }, crypto))
      assert.deepStrictEqual(delegated.delegation, wallet)
    })
  })

  it("derives the address and the node id from the public key", () => {
    const bytes = fc.uint8Array({ minLength: 32, maxLength: 32 })
    fc.assert(fc.property(bytes, fc.uint8Array(), (seed, message) => {
      const identity = Identity.fromSeed(crypto, seed)
      assert.deepStrictEqual(identity.publicKey, crypto.signingKey(seed).publicKey)
      assert.strictEqual(identity.address, Address.fromPublicKey(identity.publicKey))
      assert.strictEqual(identity.nodeId, NodeId.fromAddress(identity.address))
      assert.deepStrictEqual(Redacted.value(identity.seed), seed)
      assert.isTrue(crypto.verify(identity.publicKey, message, identity.sign(message)))
    }))
  })

  it("keeps its own copy of the seed", () => {
    const own = seed.slice()
    const identity = Identity.fromSeed(crypto, own)
    own.fill(0)
    assert.deepStrictEqual(Redacted.value(identity.seed), seed)
    assert.deepStrictEqual(identity.sign(seed), Identity.fromSeed(crypto, seed).sign(seed))
  })

  it("does not show the seed when it is printed", () => {
    const identity = Identity.fromSeed(crypto, seed)
    assert.strictEqual(String(identity.seed), "<redacted>")
    assert.include(JSON.stringify(identity), "\"seed\":\"<redacted>\"")
  })

  it("throws for a seed of another length than 32 bytes", () => {
    assert.throws(() => Identity.fromSeed(crypto, seed.slice(1)), RangeError)
  })

  it.effect("generates a new identity each time", () =>
    Effect.gen(function*() {
      const first = yield* Identity.generate
      const second = yield* Identity.generate
      assert.notStrictEqual(first.address, second.address)
      assert.strictEqual(Redacted.value(first.seed).length, 32)
    }).pipe(Effect.provide(services)))

  it.effect("provides the identity of this node as a layer", () =>
    Effect.gen(function*() {
      const identity = Identity.fromSeed(crypto, seed)
      const address = Effect.map(Identity.NodeIdentity, (identity) => identity.address)
      assert.strictEqual(yield* Effect.provide(address, Identity.layer(identity)), identity.address)
      assert.strictEqual(yield* Effect.provide(address, Identity.layerSeed(seed)), identity.address)
      const generated = yield* Effect.provide(address, Identity.layerGenerate)
      assert.strictEqual(generated.slice(0, 2), "a0")
    }).pipe(Effect.provide(services)))
})

describe("the encrypted identity", () => {
  it.effect("decrypts with its passphrase, and differs each time", () =>
    Effect.gen(function*() {
      const identity = Identity.fromSeed(crypto, seed)
      const first = yield* Identity.seal(identity, passphrase)
      const second = yield* Identity.seal(identity, passphrase)
      assert.strictEqual(first.length, 95)
      assert.notDeepEqual(first, second)
      assert.notInclude(Buffer.from(first).toString("hex"), Buffer.from(seed).toString("hex"))
      const opened = yield* Identity.unseal(first, passphrase)
      assert.strictEqual(opened.address, identity.address)
      assert.deepStrictEqual(Redacted.value(opened.seed), seed)
    }).pipe(Effect.provide(services)), slow)

  it.effect("fails alike for a wrong passphrase and for a change in any part", () =>
    Effect.gen(function*() {
      const blob = yield* Identity.seal(Identity.fromSeed(crypto, seed), passphrase)
      const wrong = yield* Effect.flip(Identity.unseal(blob, Redacted.make("correct horse battery stapl")))
      assert.strictEqual(wrong._tag, "CannotUnlock")
      // The magic, the salt, the nonce, the ciphertext and the tag.
      for (const at of [0, 7, 46, 47, 94]) {
        const changed = blob.with(at, blob[at] ^ 0x80)
        assert.strictEqual((yield* Effect.flip(Identity.unseal(changed, passphrase)))._tag, "CannotUnlock")
      }
    }).pipe(Effect.provide(services)), slow)

  it.effect("fails for any other bytes and never throws", () =>
    Effect.gen(function*() {
      const blob = yield* Identity.seal(Identity.fromSeed(crypto, seed), passphrase)
      const others = [
        ...fc.sample(fc.uint8Array({ maxLength: 200 }), 100),
        ...Array.from({ length: blob.length }, (_, length) => blob.slice(0, length)),
        new Uint8Array([...blob, 0])
      ]
      for (const other of others) {
        assert.strictEqual((yield* Effect.flip(Identity.unseal(other, passphrase)))._tag, "CannotUnlock")
      }
    }).pipe(Effect.provide(services)), slow)

  it("derives the same key with the host's Argon2id as with the portable one", { timeout: slow }, () => {
    const password = new TextEncoder().encode("пароль")
    const salt = seed.slice(0, 16)
    assert.deepStrictEqual(deriveKey(password, salt), deriveKeyPortable(password, salt))
  })
})
