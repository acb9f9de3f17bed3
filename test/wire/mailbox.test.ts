import { assert, describe, it } from "@effect/vitest"
import { gcm } from "@noble/ciphers/aes.js"
import { ed25519, x25519 } from "@noble/curves/ed25519.js"
import { hkdf } from "@noble/hashes/hkdf.js"
import { sha256 } from "@noble/hashes/sha2.js"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../../src/Address.ts"
import * as Identity from "../../src/Identity.ts"
import * as Mail from "../../src/Mail.ts"
import { fastest } from "../../src/node/NodeCrypto.ts"
import * as Cbor from "../../src/wire/cbor.ts"
import { smallOrderKeys } from "../utils/smallOrderKeys.ts"

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

const identityOf = (fill: number): Identity.Identity => Identity.fromSeed(fastest, new Uint8Array(32).fill(fill))
const alice = identityOf(1)
const bob = identityOf(2)
const eve = identityOf(3)

const options = {
  sender: alice.address,
  recipient: bob.address,
  recipientPublicKey: bob.publicKey,
  type: Mail.MessageType.text,
  body: new TextEncoder().encode("hello"),
  ephemeralSeed: new Uint8Array(32).fill(4),
  nonce: new Uint8Array(12).fill(5)
}

const payload = Result.getOrThrow(Mail.seal(options))
const message = Result.getOrThrow(Mail.decode(payload))

const tagOf = (result: Result.Result<unknown, { readonly _tag: string }>): string =>
  Result.isSuccess(result) ? "ok" : result.failure._tag

/** The payload as a map, to be modified and encoded again. */
const fields = (): Map<Cbor.Value, Cbor.Value> =>
  new Map<Cbor.Value, Cbor.Value>([
    [1, Address.toBytes(message.recipient)],
    [2, Address.toBytes(message.sender)],
    [3, message.ephemeralPublicKey],
    [4, message.ciphertext],
    [5, message.nonce]
  ])

const content = (type: Cbor.Value, body: Cbor.Value): Map<Cbor.Value, Cbor.Value> => new Map([[1, type], [2, body]])

/** The shared secret of the message above, and the encryption of any plaintext in its place. */
const secret = x25519.getSharedSecret(options.ephemeralSeed, ed25519.utils.toMontgomery(bob.publicKey))
const encrypt = (plaintext: Uint8Array, secret: Uint8Array): Uint8Array => {
  const info = new Uint8Array([...Address.toBytes(message.sender), ...Address.toBytes(message.recipient)])
  const salt = new TextEncoder().encode("a2al-mailbox\0")
  return gcm(hkdf(sha256, secret, salt, info, 32), message.nonce).encrypt(plaintext)
}

describe("mailbox payload", () => {
  describe("seal and open", () => {
    it("gives the recipient the type, the body and the sender", () => {
      fc.assert(
        fc.property(
          fc.integer({ min: 0, max: 255 }),
          fc.uint8Array({ maxLength: 388 }),
          bytes(32),
          bytes(32),
          bytes(12),
          (type, body, seed, ephemeralSeed, nonce) => {
            const recipient = Identity.fromSeed(fastest, seed)
            const payload = Result.getOrThrow(Mail.seal({
              sender: alice.address,
              recipient: recipient.address,
              recipientPublicKey: recipient.publicKey,
              type,
              body,
              ephemeralSeed,
              nonce
            }))
            const message = Result.getOrThrow(Mail.decode(payload))
            assert.strictEqual(message.recipient, recipient.address)
            assert.strictEqual(message.sender, alice.address)
            assert.deepStrictEqual(message.nonce, nonce)
            assert.deepStrictEqual(Mail.encode(message), payload)
            assert.deepStrictEqual(
              Result.getOrThrow(Mail.open({ message, identity: recipient })),
              { type, body, sender: alice.address }
            )
          }
        ),
        { numRuns: 30 }
      )
    })

    it("gives the same payload for the same randomness, and another for other randomness", () => {
      const other = { ephemeralSeed: new Uint8Array(32).fill(6), nonce: new Uint8Array(12).fill(7) }
      assert.deepStrictEqual(Result.getOrThrow(Mail.seal(options)), payload)
      assert.notDeepEqual(Result.getOrThrow(Mail.seal({ ...options, nonce: other.nonce })), payload)
      assert.notDeepEqual(Result.getOrThrow(Mail.seal({ ...options, ephemeralSeed: other.ephemeralSeed })), payload)
    })

    it("does not decrypt for any other identity, including the sender", () => {
      assert.strictEqual(tagOf(Mail.open({ message, identity: bob })), "ok")
      for (const identity of [alice, eve]) {
        assert.strictEqual(tagOf(Mail.open({ message, identity })), "CannotDecrypt")
      }
    })

    it("does not decrypt under another sender or recipient", () => {
      for (const changed of [{ sender: eve.address }, { recipient: eve.address }]) {
        assert.strictEqual(tagOf(Mail.open({ message: { ...message, ...changed }, identity: bob })), "CannotDecrypt")
      }
    })

    it("never decrypts to anything but the original, whichever byte is changed", () => {
      const original = Result.getOrThrow(Mail.open({ message, identity: bob }))
      for (let at = 0; at < payload.length; at++) {
        for (const bit of [0x01, 0x80]) {
          const changed = Mail.decode(payload.with(at, payload[at] ^ bit))
          if (Result.isFailure(changed)) continue
          const opened = Mail.open({ message: changed.success, identity: bob })
          // X25519 ignores the highest bit of a public key, so that change may
          // decrypt.
          if (Result.isSuccess(opened)) assert.deepStrictEqual(opened.success, original)
          else assert.strictEqual(opened.failure._tag, "CannotDecrypt")
        }
      }
    })

    it("does not decrypt with an ephemeral key of small order, whose secret is public", () => {
      const plaintext = Cbor.encode(content(3, options.body))
      // The forger's encryption itself is correct.
      assert.deepStrictEqual(encrypt(plaintext, secret), message.ciphertext)
      const ciphertext = encrypt(plaintext, new Uint8Array(32))
      for (const ephemeralPublicKey of smallOrderKeys) {
        const opened = Mail.open({ message: { ...message, ephemeralPublicKey, ciphertext }, identity: bob })
        assert.strictEqual(tagOf(opened), "CannotDecrypt")
      }
    })

    it("refuses a sealed plaintext that is not a message, and never throws", () => {
      const open = (plaintext: Uint8Array) =>
        Mail.open({ message: { ...message, ciphertext: encrypt(plaintext, secret) }, identity: bob })
      const empty = { type: 3, body: new Uint8Array(0), sender: alice.address }
      assert.deepStrictEqual(open(Cbor.encode(content(3, empty.body))), Result.succeed(empty))
      assert.deepStrictEqual(open(Cbor.encode(content(3, null))), Result.succeed(empty))
      assert.deepStrictEqual(open(Cbor.encode(content(3, empty.body).set(3, "later"))), Result.succeed(empty))
      const malformed = [
        Cbor.encode(new Map<Cbor.Value, Cbor.Value>([[1, 3]])),
        Cbor.encode(new Map<Cbor.Value, Cbor.Value>([[2, empty.body]])),
        Cbor.encode(content(256, empty.body)),
        Cbor.encode(content(-1, empty.body)),
        Cbor.encode(content(3, "text")),
        new Uint8Array([...Cbor.encode(content(3, empty.body)), 0]),
        new Uint8Array([0xa3, 1, 3, 1, 3, 2, 0x40]),
        new Uint8Array([0xa3, 1, 3, 2, 0x40, 2, 0x40])
      ]
      for (const plaintext of malformed) assert.strictEqual(tagOf(open(plaintext)), "CannotDecrypt")
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 64 }), (plaintext) => {
          assert.include(["ok", "CannotDecrypt"], tagOf(open(plaintext)))
        }),
        { numRuns: 50 }
      )
    })

    it("does not encrypt to a key of small order, or to bytes that are not a key", () => {
      const { Point } = ed25519
      const offCurve = new Uint8Array(32).fill(0, 1).with(0, 2)
      assert.throws(() => Point.fromBytes(offCurve))
      const torsion = Point.fromHex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")
      const smallOrder: Array<Uint8Array> = []
      for (let point = Point.ZERO; smallOrder.length < 8; point = point.add(torsion)) smallOrder.push(point.toBytes())
      for (const recipientPublicKey of [...smallOrder, offCurve, bob.publicKey.slice(1), new Uint8Array(0)]) {
        assert.strictEqual(tagOf(Mail.seal({ ...options, recipientPublicKey })), "InvalidRecord")
      }
    })

    it("refuses a body that does not fit and a type that is not a byte", () => {
      assert.strictEqual(Result.getOrThrow(Mail.seal({ ...options, body: new Uint8Array(389) })).length, 512)
      assert.strictEqual(tagOf(Mail.seal({ ...options, body: new Uint8Array(390) })), "InvalidRecord")
      for (const type of [-1, 1.5, 256, NaN]) {
        assert.strictEqual(tagOf(Mail.seal({ ...options, type })), "InvalidRecord")
      }
    })

    it("throws for randomness of the wrong length", () => {
      for (const wrong of [{ ephemeralSeed: new Uint8Array(31) }, { nonce: new Uint8Array(16) }]) {
        assert.throws(() => Mail.seal({ ...options, ...wrong }), RangeError)
      }
    })
  })

  describe("decode", () => {
    it("never throws, and its results can be passed to open", () => {
      fc.assert(fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        const decoded = Mail.decode(bytes)
        if (Result.isSuccess(decoded)) Mail.open({ message: decoded.success, identity: bob })
        else assert.strictEqual(decoded.failure._tag, "InvalidRecord")
      }))
    })

    it("refuses every truncation, and bytes after the end", () => {
      for (let length = 0; length < payload.length; length++) {
        assert.strictEqual(tagOf(Mail.decode(payload.slice(0, length))), "InvalidRecord")
      }
      assert.strictEqual(tagOf(Mail.decode(new Uint8Array([...payload, 0]))), "InvalidRecord")
    })

    it("refuses a payload of more than 512 bytes", () => {
      const ciphertextOf = (size: number) => Cbor.encode(fields().set(4, new Uint8Array(size)))
      const overhead = ciphertextOf(300).length - 300
      assert.strictEqual(tagOf(Mail.decode(ciphertextOf(512 - overhead))), "ok")
      assert.strictEqual(tagOf(Mail.decode(ciphertextOf(513 - overhead))), "InvalidRecord")
    })

    it("refuses a payload in which a field is missing, or has another length or type", () => {
      assert.strictEqual(tagOf(Mail.decode(Cbor.encode(fields()))), "ok")
      for (const key of [1, 2, 3, 4, 5]) {
        const without = fields()
        without.delete(key)
        assert.strictEqual(tagOf(Mail.decode(Cbor.encode(without))), "InvalidRecord")
        assert.strictEqual(tagOf(Mail.decode(Cbor.encode(fields().set(key, "text")))), "InvalidRecord")
        if (key === 4) continue
        assert.strictEqual(tagOf(Mail.decode(Cbor.encode(fields().set(key, new Uint8Array(20))))), "InvalidRecord")
      }
    })

    it("refuses an address of an unknown kind", () => {
      for (const key of [1, 2]) {
        const bytes = Address.toBytes(message.sender).with(0, 0x11)
        assert.strictEqual(tagOf(Mail.decode(Cbor.encode(fields().set(key, bytes)))), "InvalidRecord")
      }
    })

    it("refuses a repeated key", () => {
      const twice = new Uint8Array([0xa6, ...payload.slice(1), 5, 0x4c, ...message.nonce])
      assert.strictEqual(tagOf(Mail.decode(twice)), "InvalidRecord")
    })

    it("skips keys of later versions", () => {
      const later = Cbor.encode(fields().set(6, ["later", new Map([[1, true]])]))
      assert.deepStrictEqual(Mail.decode(later), Result.succeed(message))
    })
  })
})
