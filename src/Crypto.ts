/**
 * The primitives of the protocol: Ed25519 (RFC 8032), its only signature scheme,
 * and the encryption of messages (X25519, HKDF-SHA-256, AES-256-GCM).
 *
 * Everything is synchronous, because a promise never completes under virtual
 * time. Providers differ in speed only. All apply one strict rule, so that
 * nodes on different machines agree on every record: a signature whose S is not
 * below the group order is refused, and so is a public key or R that is not
 * canonical or has small order. The rest is verified without the cofactor, so
 * that R must be exactly the point that S and the key determine.
 *
 * @module
 * @since 0.1.0
 */
import { gcm } from "@noble/ciphers/aes.js"
import { ed25519, x25519 } from "@noble/curves/ed25519.js"
import { bytesToNumberLE } from "@noble/curves/utils.js"
import { sha512 } from "@noble/hashes/sha2.js"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import { assertSeed, isStrict } from "./internal/ed25519Strict.ts"
import * as ExchangeKeys from "./internal/exchangeKeys.ts"
import type { ExchangeKey } from "./internal/exchangeKeys.ts"
import * as Hkdf from "./internal/hkdf.ts"
import { orUndefined } from "./internal/orUndefined.ts"

/**
 * A private key that is ready for signing.
 *
 * @category models
 * @since 0.1.0
 */
export interface SigningKey {
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** Returns a signature of 64 bytes. Deterministic. */
  readonly sign: (message: Uint8Array) => Uint8Array
}

export type { ExchangeKey } from "./internal/exchangeKeys.ts"

/**
 * A private key that signs, and that also agrees on secrets: the same key on
 * the birationally equivalent curve.
 *
 * @category models
 * @since 0.1.0
 */
export interface PrivateKey extends SigningKey {
  readonly exchangeKey: ExchangeKey
}

/**
 * An implementation of Ed25519.
 *
 * @category models
 * @since 0.1.0
 */
export interface Ed25519 {
  /** For logs and benchmarks: `sodium`, `openssl`, `noble`. */
  readonly name: string
  /** Derives the key of a 32-byte seed, and keeps a copy of the seed. Throws a `RangeError` for another length. */
  readonly signingKey: (seed: Uint8Array) => PrivateKey
  /** Total: a key or signature of the wrong length is not valid, and never throws. */
  readonly verify: (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean
}

/**
 * An implementation of the encryption of messages. Total: bytes of the wrong
 * length as a public key or a ciphertext never throw.
 *
 * @category models
 * @since 0.1.0
 */
export interface Encryption {
  /** Keeps a copy of a private key of 32 random bytes. Throws a `RangeError` for another length. */
  readonly exchangeKey: (privateKey: Uint8Array) => ExchangeKey
  /** Returns the X25519 form of an Ed25519 public key: that of the owner's {@link PrivateKey} `exchangeKey`. Undefined if it is not a point of the curve. */
  readonly toExchangeKey: (publicKey: Uint8Array) => Uint8Array | undefined
  /** Derives a key of 32 bytes from a shared secret (HKDF-SHA-256, RFC 5869). */
  readonly deriveKey: (secret: Uint8Array, salt: Uint8Array, info: Uint8Array) => Uint8Array
  /** Encrypts with a key of 32 bytes and a nonce of 12, never used before with that key; appends a tag of 16 (AES-256-GCM). */
  readonly encrypt: (key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array) => Uint8Array
  /** Undoes `encrypt`. Undefined if the ciphertext was made with another key or nonce, or was modified. */
  readonly decrypt: (key: Uint8Array, nonce: Uint8Array, ciphertext: Uint8Array) => Uint8Array | undefined
}

/**
 * An implementation of all primitives.
 *
 * @category models
 * @since 0.1.0
 */
export interface Provider extends Ed25519, Encryption {}

/**
 * Signing, verification and encryption for this node.
 *
 * @category services
 * @since 0.1.0
 */
export class Crypto extends Context.Service<Crypto, Provider>()("effect-dht/Crypto") {}

const exchangeKey: Encryption["exchangeKey"] = ExchangeKeys.make((privateKey) => ({
  publicKey: () => x25519.getPublicKey(privateKey),
  agree: (publicKey) => orUndefined(() => x25519.getSharedSecret(privateKey, publicKey))
}))

/**
 * `@noble/curves`: runs anywhere, about twenty times slower than native code,
 * and its time depends on the private key.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noble: Provider = {
  name: "noble",
  signingKey: (seed) => {
    assertSeed(seed)
    const own = seed.slice()
    return {
      publicKey: ed25519.getPublicKey(own),
      sign: (message) => ed25519.sign(message, own),
      exchangeKey: exchangeKey(ExchangeKeys.privateKeyOf(own))
    }
  },
  verify: (publicKey, message, signature) =>
    isStrict(publicKey, signature) && isPointOfSignature(publicKey, message, signature),
  exchangeKey,
  toExchangeKey: ExchangeKeys.converter(ExchangeKeys.convertPortably),
  deriveKey: Hkdf.derive,
  encrypt: (key, nonce, plaintext) => gcm(key, nonce).encrypt(plaintext),
  decrypt: (key, nonce, ciphertext) => orUndefined(() => gcm(key, nonce).decrypt(ciphertext))
}

/**
 * The primitives in plain JavaScript. On Node, `NodeCrypto` is faster.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoble: Layer.Layer<Crypto> = Layer.succeed(Crypto, noble)

// The library's own verify multiplies by the cofactor, which would also accept
// an R that is off by a point of small order.
const isPointOfSignature = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array): boolean => {
  const Point = ed25519.Point
  const r = signature.subarray(0, 32)
  const a = pointOf(publicKey)
  if (a === undefined) return false
  const k = Point.Fn.create(bytesToNumberLE(sha512.create().update(r).update(publicKey).update(message).digest()))
  const s = bytesToNumberLE(signature.subarray(32))
  const expected = Point.BASE.multiplyUnsafe(s).subtract(a.multiplyUnsafe(k)).toBytes()
  return expected.every((byte, i) => byte === r[i])
}

const pointOf = (publicKey: Uint8Array): InstanceType<typeof ed25519.Point> | undefined =>
  orUndefined(() => ed25519.Point.fromBytes(publicKey))
