import { assert, describe, it } from "@effect/vitest"
import { ed25519, ED25519_TORSION_SUBGROUP } from "@noble/curves/ed25519.js"
import { sha512 } from "@noble/hashes/sha2.js"
import * as Effect from "effect/Effect"
import * as fc from "fast-check"
import * as Crypto from "../src/Crypto.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import { smallOrderKeys } from "./utils/smallOrderKeys.ts"

const native = NodeCrypto.sodium === undefined ? [NodeCrypto.openssl] : [NodeCrypto.sodium, NodeCrypto.openssl]
const providers = [...native, Crypto.noble]

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "hex"))
const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat(parts))

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

// --- Crafting keys and signatures by hand ------------------------------------

const Point = ed25519.Point
type Point = InstanceType<typeof Point>
const L = Point.Fn.ORDER
const p = Point.Fp.ORDER

const toNumber = (value: Uint8Array): bigint => value.reduceRight((sum, byte) => sum << 8n | BigInt(byte), 0n)

const toBytes = (value: bigint): Uint8Array => {
  const out = new Uint8Array(32)
  for (let i = 0; i < 32; i++) out[i] = Number(value >> BigInt(8 * i) & 0xffn)
  return out
}

const withSign = (y: Uint8Array): Uint8Array => y.with(31, y[31] | 0x80)

/** n times a point that may be outside the prime-order group. */
const times = (point: Point, n: bigint): Point => n % L === 0n ? Point.ZERO : point.multiplyUnsafe(n % L)

/** A point of order 8. */
const torsion = ((): Point => {
  for (let y = 2n;; y++) {
    try {
      const point = Point.fromBytes(toBytes(y))
      const candidate = point.multiplyUnsafe(L - 1n).add(point)
      if (!candidate.double().double().is0()) return candidate
    } catch {
      // Not every y is on the curve.
    }
  }
})()

/** The eight points of small order: multiples 0 to 7 of that point. */
const torsions = Array.from({ length: 8 }, (_, i) => times(torsion, BigInt(i)))

/**
 * Every encoding of those points with its multiple: the eight canonical ones, a
 * sign bit where x is zero, and a y that is not reduced.
 */
const smallOrderEncodings = [
  ...torsions.map((point) => point.toBytes()),
  ...[1n, p - 1n].map((y) => withSign(toBytes(y))),
  ...[p, p + 1n].flatMap((y) => [toBytes(y), withSign(toBytes(y))])
].map((encoding) => {
  const point = Point.fromBytes(encoding, true)
  return [encoding, torsions.findIndex((other) => other.equals(point))] as const
})

const challenge = (r: Uint8Array, publicKey: Uint8Array, message: Uint8Array): bigint =>
  toNumber(sha512(concat(r, publicKey, message))) % L

const a = 0x1234567890abcdef1234567890abcdefn

interface Case {
  readonly publicKey: Uint8Array
  readonly message: Uint8Array
  readonly signature: Uint8Array
}

/**
 * A signature with S = nonce + k·secret under the given encodings of the key
 * and of R. The message varies until the challenge k is suitable.
 */
const craft = (options: {
  readonly publicKey: Uint8Array
  readonly secret: bigint
  readonly r: Uint8Array
  readonly nonce: bigint
  readonly suits: (k: bigint) => boolean
}): Case => {
  for (let i = 0;; i++) {
    const message = text(`message ${i}`)
    const k = challenge(options.r, options.publicKey, message)
    if (!options.suits(k)) continue
    const s = (options.nonce + k * options.secret) % L
    return { publicKey: options.publicKey, message, signature: concat(options.r, toBytes(s)) }
  }
}

const nonce = 987654321987654321n
const R = times(Point.BASE, nonce)
const A = times(Point.BASE, a)

/** Whether S·B = R + k·A, computed from the points behind the encodings, whatever their form. */
const holds = ({ message, publicKey, signature }: Case): boolean => {
  const r = signature.slice(0, 32)
  const k = challenge(r, publicKey, message)
  const right = Point.fromBytes(r, true).add(times(Point.fromBytes(publicKey, true), k))
  return times(Point.BASE, toNumber(signature.slice(32))).equals(right)
}

describe("Ed25519", () => {
  for (const crypto of providers) {
    const verify = (c: Case): boolean => crypto.verify(c.publicKey, c.message, c.signature)

    describe(crypto.name, () => {
      it("signs and verifies as in RFC 8032", () => {
        for (const [seed, publicKey, message, signature] of rfc8032) {
          const key = crypto.signingKey(hex(seed))
          assert.deepStrictEqual(key.publicKey, hex(publicKey))
          assert.deepStrictEqual(key.sign(hex(message)), hex(signature))
          assert.isTrue(crypto.verify(hex(publicKey), hex(message), hex(signature)))
          assert.isFalse(crypto.verify(hex(publicKey), concat(hex(message), hex("00")), hex(signature)))
        }
      })

      it("accepts what it signed and nothing that differs from it in one bit", () => {
        fc.assert(
          fc.property(bytes(32), fc.uint8Array({ maxLength: 200 }), fc.nat(), (seed, message, at) => {
            const key = crypto.signingKey(seed)
            const whole = concat(key.publicKey, key.sign(message), message)
            const read = (b: Uint8Array) => crypto.verify(b.slice(0, 32), b.slice(96), b.slice(32, 96))
            assert.isTrue(read(whole))
            const index = at % (whole.length * 8)
            const changed = whole.slice()
            changed[index >> 3] ^= 1 << (index & 7)
            assert.isFalse(read(changed))
          }),
          { numRuns: 30 }
        )
      })

      it("returns a result for any bytes as key, message and signature, and never throws", () => {
        const any = fc.uint8Array({ maxLength: 100 })
        fc.assert(fc.property(fc.oneof(any, bytes(32)), any, fc.oneof(any, bytes(64)), (key, message, signature) => {
          assert.isFalse(crypto.verify(key, message, signature))
        }))
      })

      it("refuses a key or a signature of the wrong length", () => {
        const key = crypto.signingKey(bytesOf(1))
        const message = text("message")
        const signature = key.sign(message)
        assert.isTrue(crypto.verify(key.publicKey, message, signature))
        for (const length of [0, 31]) {
          assert.isFalse(crypto.verify(key.publicKey.slice(0, length), message, signature))
          assert.isFalse(crypto.verify(key.publicKey, message, signature.slice(0, length)))
        }
        assert.isFalse(crypto.verify(concat(key.publicKey, hex("00")), message, signature))
        assert.isFalse(crypto.verify(key.publicKey, message, signature.slice(0, 63)))
        assert.isFalse(crypto.verify(key.publicKey, message, concat(signature, hex("00"))))
      })

      it("throws for a seed of another length than 32 bytes", () => {
        for (const length of [0, 31, 33, 64]) assert.throws(() => crypto.signingKey(new Uint8Array(length)), RangeError)
      })

      it("keeps a copy of the seed, and returns bytes that it does not share", () => {
        const seed = bytesOf(7)
        const key = crypto.signingKey(seed)
        const signature = key.sign(text("message"))
        seed.fill(0)
        assert.deepStrictEqual(key.sign(text("message")), signature)
        for (const out of [key.publicKey, signature]) {
          assert.strictEqual(out.constructor, Uint8Array)
          assert.strictEqual(out.buffer.byteLength, out.length)
        }
      })

      it("refuses a signature whose S is not below the group order", () => {
        const good = craft({ publicKey: A.toBytes(), secret: a, r: R.toBytes(), nonce, suits: () => true })
        assert.isTrue(verify(good))
        const s = toNumber(good.signature.slice(32))
        for (const other of [s + L, s + 2n * L, s + 15n * L, L, 2n ** 256n - 1n]) {
          assert.isFalse(verify({ ...good, signature: concat(good.signature.slice(0, 32), toBytes(other)) }))
        }
      })

      it("refuses every encoding of a small-order public key, even if the equation holds", () => {
        for (const [publicKey, multiple] of smallOrderEncodings) {
          const c = craft({
            publicKey,
            secret: 0n,
            r: R.toBytes(),
            nonce,
            suits: (k) => k * BigInt(multiple) % 8n === 0n
          })
          assert.isTrue(holds(c))
          assert.isFalse(verify(c))
        }
      })

      it("refuses every encoding of a small-order R, even if the equation holds", () => {
        const publicKey = A.add(torsion).toBytes()
        for (const [r, multiple] of smallOrderEncodings) {
          const c = craft({ publicKey, secret: a, r, nonce: 0n, suits: (k) => (k + BigInt(multiple)) % 8n === 0n })
          assert.isTrue(holds(c))
          assert.isFalse(verify(c))
        }
      })

      it("refuses a public key or R whose y is not below the field's prime", () => {
        const good = craft({ publicKey: A.toBytes(), secret: a, r: R.toBytes(), nonce, suits: () => true })
        for (let y = p; y < 2n ** 255n; y++) {
          for (const odd of [toBytes(y), withSign(toBytes(y))]) {
            assert.isFalse(verify({ ...good, publicKey: odd }))
            assert.isFalse(verify({ ...good, signature: concat(odd, good.signature.slice(32)) }))
          }
        }
      })

      it("refuses a public key that is not a point of the curve", () => {
        const good = craft({ publicKey: A.toBytes(), secret: a, r: R.toBytes(), nonce, suits: () => true })
        const offCurve = toBytes(2n)
        assert.throws(() => Point.fromBytes(offCurve))
        assert.isFalse(verify({ ...good, publicKey: offCurve }))
      })

      it("accepts a mixed-order key exactly if the equation holds without the cofactor", () => {
        for (let keyTorsion = 0; keyTorsion < 8; keyTorsion++) {
          for (let rTorsion = 0; rTorsion < 8; rTorsion++) {
            for (const residue of [0n, 1n, 2n, 4n, 7n]) {
              const c = craft({
                publicKey: A.add(torsions[keyTorsion]).toBytes(),
                secret: a,
                r: R.add(torsions[rTorsion]).toBytes(),
                nonce,
                suits: (k) => k % 8n === residue
              })
              // With the cofactor, each of them would be valid.
              const valid = (BigInt(rTorsion) + residue * BigInt(keyTorsion)) % 8n === 0n
              assert.strictEqual(holds(c), valid)
              assert.strictEqual(verify(c), valid)
            }
          }
        }
      })
    })
  }

  it("gives the same signatures and the same results with every provider", () => {
    fc.assert(
      fc.property(
        bytes(32),
        fc.uint8Array({ maxLength: 1200 }),
        bytes(96),
        fc.nat(95),
        (seed, message, noise, from) => {
          const [first, ...others] = providers.map((crypto) => crypto.signingKey(seed))
          const signature = first.sign(message)
          for (const key of others) {
            assert.deepStrictEqual(key.publicKey, first.publicKey)
            assert.deepStrictEqual(key.sign(message), signature)
          }
          // Noise up to some byte, valid bytes from there on.
          const mixed = concat(noise.slice(0, from), concat(first.publicKey, signature).slice(from))
          const verdicts = providers.map((crypto) => crypto.verify(mixed.slice(0, 32), message, mixed.slice(32)))
          assert.deepStrictEqual(verdicts, verdicts.map(() => verdicts[0]))
          for (const crypto of providers) assert.isTrue(crypto.verify(first.publicKey, message, signature))
        }
      ),
      { numRuns: 30 }
    )
  })
})

describe("NodeCrypto", () => {
  it("keeps its results when OpenSSL is given more keys than it remembers", () => {
    const message = text("message")
    const keys = Array.from({ length: 1100 }, (_, i) => {
      const seed = new Uint8Array(32)
      new DataView(seed.buffer).setUint32(0, i)
      const key = NodeCrypto.fastest.signingKey(seed)
      return { publicKey: key.publicKey, signature: key.sign(message) }
    })
    for (const key of [...keys, ...keys.slice(0, 10)]) {
      assert.isTrue(NodeCrypto.openssl.verify(key.publicKey, message, key.signature))
      assert.isFalse(NodeCrypto.openssl.verify(key.publicKey, text("another"), key.signature))
    }
  })

  it("uses libsodium if it can be loaded, and OpenSSL otherwise", () => {
    assert.strictEqual(NodeCrypto.fastest, NodeCrypto.sodium ?? NodeCrypto.openssl)
  })

  it.effect("provides each provider as a layer", () =>
    Effect.gen(function*() {
      const name = Effect.map(Crypto.Crypto, (crypto) => crypto.name)
      assert.strictEqual(yield* Effect.provide(name, Crypto.layerNoble), "noble")
      assert.strictEqual(yield* Effect.provide(name, NodeCrypto.layer), NodeCrypto.fastest.name)
      assert.strictEqual(yield* Effect.provide(name, NodeCrypto.layerOpenSsl), "openssl")
      if (NodeCrypto.sodium !== undefined) {
        assert.strictEqual(yield* Effect.provide(name, NodeCrypto.layerSodium), "sodium")
      }
    }))
})

describe("encryption", () => {
  const pair = (crypto: Crypto.Provider, seed: Uint8Array) => {
    const { exchangeKey, publicKey } = crypto.signingKey(seed)
    return { exchangeKey, publicKey }
  }

  for (const crypto of providers) {
    describe(crypto.name, () => {
      it("agrees on secrets as in RFC 7748", () => {
        for (const [privateKey, publicKey, secret] of rfc7748) {
          assert.deepStrictEqual(crypto.exchangeKey(hex(privateKey)).agree(hex(publicKey)), hex(secret))
        }
        const [alice, bob] = diffieHellman.map(({ privateKey }) => crypto.exchangeKey(hex(privateKey)))
        assert.deepStrictEqual(
          [alice, bob].map(({ publicKey }) => publicKey),
          diffieHellman.map((k) => hex(k.publicKey))
        )
        assert.deepStrictEqual(alice.agree(bob.publicKey), hex(diffieHellmanSecret))
        assert.deepStrictEqual(bob.agree(alice.publicKey), hex(diffieHellmanSecret))
      })

      it("refuses public keys of small order, which would give everyone the same secret, and of another length", () => {
        const key = crypto.exchangeKey(bytesOf(1))
        for (const publicKey of smallOrderKeys) assert.isUndefined(key.agree(publicKey))
        for (const length of [0, 31, 33]) assert.isUndefined(key.agree(new Uint8Array(length).fill(9)))
        assert.throws(() => crypto.exchangeKey(new Uint8Array(31)), RangeError)
      })

      it("converts a signing key and its public key to the two halves of one exchange key", () => {
        fc.assert(
          fc.property(bytes(32), bytes(32), (a, b) => {
            const [ann, ben] = [pair(crypto, a), pair(crypto, b)]
            const converted = crypto.toExchangeKey(ben.publicKey)
            assert.deepStrictEqual(converted, ben.exchangeKey.publicKey)
            assert.deepStrictEqual(
              ann.exchangeKey.agree(ben.exchangeKey.publicKey),
              ben.exchangeKey.agree(ann.exchangeKey.publicKey)
            )
          }),
          { numRuns: 10 }
        )
        assert.isUndefined(crypto.toExchangeKey(new Uint8Array(31)))
        assert.isUndefined(crypto.toExchangeKey(bytesOf(0xff)))
      })

      it("converts points of small and of composite order as the portable provider does, and refuses an unreduced y", () => {
        for (const digits of ED25519_TORSION_SUBGROUP) {
          const point = ed25519.Point.fromHex(digits)
          for (const key of [point, point.add(ed25519.Point.BASE.multiply(7n))].map((point) => point.toBytes())) {
            assert.deepStrictEqual(crypto.toExchangeKey(key), Crypto.noble.toExchangeKey(key))
          }
        }
        for (let low = 0xed; low <= 0xff; low++) {
          const key = bytesOf(0xff).fill(low, 0, 1).fill(0x7f, 31)
          assert.isUndefined(crypto.toExchangeKey(key))
        }
      })

      it("decrypts what it encrypted and nothing that differs from it in one bit or is shorter", () => {
        fc.assert(
          fc.property(bytes(32), bytes(12), fc.uint8Array({ maxLength: 400 }), fc.nat(), (key, nonce, text, at) => {
            const ciphertext = crypto.encrypt(key, nonce, text)
            assert.strictEqual(ciphertext.length, text.length + 16)
            assert.deepStrictEqual(crypto.decrypt(key, nonce, ciphertext), text)
            const index = at % (ciphertext.length * 8)
            const changed = ciphertext.slice()
            changed[index >> 3] ^= 1 << (index & 7)
            assert.isUndefined(crypto.decrypt(key, nonce, changed))
            assert.isUndefined(crypto.decrypt(key, nonce, ciphertext.subarray(0, at % ciphertext.length)))
          }),
          { numRuns: 30 }
        )
      })

      it("agrees with the portable provider about every secret, key and ciphertext", () => {
        fc.assert(
          fc.property(bytes(32), bytes(32), bytes(12), fc.uint8Array({ maxLength: 400 }), (a, b, nonce, text) => {
            // Any 32 bytes are an X25519 public key, reduced or not, whatever their highest bit.
            const secret = crypto.exchangeKey(a).agree(b)
            assert.deepStrictEqual(secret, Crypto.noble.exchangeKey(a).agree(b))
            assert.deepStrictEqual(crypto.deriveKey(a, text, nonce), Crypto.noble.deriveKey(a, text, nonce))
            assert.deepStrictEqual(crypto.encrypt(a, nonce, text), Crypto.noble.encrypt(a, nonce, text))
            assert.deepStrictEqual(crypto.toExchangeKey(b), Crypto.noble.toExchangeKey(b))
            const { publicKey } = Crypto.noble.signingKey(b)
            assert.deepStrictEqual(crypto.toExchangeKey(publicKey), Crypto.noble.toExchangeKey(publicKey))
          }),
          { numRuns: 30 }
        )
        for (const publicKey of unreducedKeys) {
          assert.deepStrictEqual(
            crypto.exchangeKey(bytesOf(1)).agree(publicKey),
            Crypto.noble.exchangeKey(bytesOf(1)).agree(publicKey)
          )
        }
      })
    })
  }
})

const bytesOf = (fill: number): Uint8Array => new Uint8Array(32).fill(fill)

/** RFC 8032 §7.1: seed, public key, message, signature. */
const rfc8032 = [
  [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "",
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
  ],
  [
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "72",
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
  ],
  [
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
    "af82",
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
  ],
  [
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
    "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
    "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
  ]
] as const

/** RFC 7748 §5.2: private key, public key, secret. */
const rfc7748 = [
  [
    "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
    "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
    "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
  ],
  [
    "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
    "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
    "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"
  ]
] as const

/** RFC 7748 §6.1. */
const diffieHellman = [
  {
    privateKey: "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
    publicKey: "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
  },
  {
    privateKey: "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
    publicKey: "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
  }
]

const diffieHellmanSecret = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"

/** Other u at or above the field's prime, or with the bit that is ignored. */
const unreducedKeys = [
  "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
  "0900000000000000000000000000000000000000000000000000000000000080"
].map(hex)
