import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { simulated } from "../../src/testing/SimCrypto.ts"

const seed = fc.uint8Array({ minLength: 32, maxLength: 32 })
const message = fc.uint8Array({ maxLength: 300 })

describe("SimCrypto", () => {
  it("has the sizes of Ed25519 and verifies its own signatures", () => {
    fc.assert(fc.property(seed, message, (seed, message) => {
      const key = simulated.signingKey(seed)
      assert.strictEqual(key.publicKey.length, 32)
      assert.strictEqual(key.sign(message).length, 64)
      assert.deepStrictEqual(key.sign(message), simulated.signingKey(seed).sign(message))
      assert.isTrue(simulated.verify(key.publicKey, message, key.sign(message)))
    }))
  })

  it("rejects another key, a modified message and a modified signature", () => {
    const bit = fc.record({ at: fc.nat(10_000), mask: fc.integer({ min: 1, max: 255 }) })
    const changed = (bytes: Uint8Array, { at, mask }: { readonly at: number; readonly mask: number }) => {
      const copy = bytes.slice()
      copy[at % bytes.length] ^= mask
      return copy
    }
    fc.assert(fc.property(seed, fc.uint8Array({ minLength: 1, maxLength: 300 }), bit, (seed, message, bit) => {
      const { publicKey, sign } = simulated.signingKey(seed)
      const signature = sign(message)
      const other = simulated.signingKey(changed(seed, bit))
      assert.notDeepEqual(other.publicKey, publicKey)
      assert.isFalse(simulated.verify(other.publicKey, message, signature))
      assert.isFalse(simulated.verify(changed(publicKey, bit), message, signature))
      assert.isFalse(simulated.verify(publicKey, changed(message, bit), signature))
      assert.isFalse(simulated.verify(publicKey, message, changed(signature, bit)))
    }))
  })

  it("rejects keys and signatures of another length, and throws for a seed of another length", () => {
    const { publicKey, sign } = simulated.signingKey(new Uint8Array(32))
    const message = new Uint8Array(5)
    assert.isFalse(simulated.verify(publicKey.subarray(1), message, sign(message)))
    assert.isFalse(simulated.verify(publicKey, message, sign(message).subarray(1)))
    assert.isFalse(simulated.verify(publicKey, new Uint8Array(6), sign(message)))
    assert.throws(() => simulated.signingKey(new Uint8Array(31)), RangeError)
  })

  it("encrypts to a public key what its owner alone decrypts, and nothing modified", () => {
    const [ann, ben, eve] = [1, 2, 3].map((n) => simulated.signingKey(new Uint8Array(32).fill(n)))
    const toBen = simulated.toExchangeKey(ben.publicKey) ?? assert.fail()
    assert.deepStrictEqual(toBen, ben.exchangeKey.publicKey)
    const ephemeral = simulated.exchangeKey(new Uint8Array(32).fill(9))
    const secret = ephemeral.agree(toBen) ?? assert.fail()
    assert.deepStrictEqual(ben.exchangeKey.agree(ephemeral.publicKey), secret)
    assert.notDeepEqual(eve.exchangeKey.agree(ephemeral.publicKey), secret)
    assert.notDeepEqual(ann.exchangeKey.agree(toBen), secret)
    const none = new Uint8Array(0)
    const key = simulated.deriveKey(secret, none, none)
    const nonce = new Uint8Array(12)
    const text = new TextEncoder().encode("See you at noon")
    const ciphertext = simulated.encrypt(key, nonce, text)
    assert.deepStrictEqual(simulated.decrypt(key, nonce, ciphertext), text)
    assert.isUndefined(simulated.decrypt(key, nonce, ciphertext.with(9, ciphertext[9] ^ 1)))
    assert.isUndefined(simulated.decrypt(key, nonce, ciphertext.subarray(0, 15)))
    assert.isUndefined(ephemeral.agree(new Uint8Array(31)))
  })

  it("is imported only by the testing modules and the command line, as other modules use only types of theirs", () => {
    const src = join(import.meta.dirname, "../../src")
    const typesOnly = /^(?:import|export) type [^"]* from "[^"]*"$/gm
    const importers = globSync("**/*.ts", { cwd: src }).filter((path) =>
      !path.startsWith("testing") && !path.startsWith("cli") &&
      readFileSync(join(src, path), "utf8").replace(typesOnly, "").includes("testing/")
    )
    assert.deepStrictEqual(importers, [])
  })
})
