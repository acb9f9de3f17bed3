/**
 * Ed25519 (RFC 8032), the only signature scheme of the protocol.
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
import { ed25519 } from "@noble/curves/ed25519.js"
import { bytesToNumberLE } from "@noble/curves/utils.js"
import { sha512 } from "@noble/hashes/sha2.js"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import { assertSeed, isStrict } from "./internal/ed25519Strict.ts"

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
  readonly signingKey: (seed: Uint8Array) => SigningKey
  /** Total: a key or signature of the wrong length is not valid, and never throws. */
  readonly verify: (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean
}

/**
 * Signing and verification for this node.
 *
 * @category services
 * @since 0.1.0
 */
export class Crypto extends Context.Service<Crypto, Ed25519>()("effect-dht/Crypto") {}

/**
 * `@noble/curves`: runs anywhere, about twenty times slower than native code.
 *
 * @category constructors
 * @since 0.1.0
 */
export const noble: Ed25519 = {
  name: "noble",
  signingKey: (seed) => {
    assertSeed(seed)
    const own = seed.slice()
    return {
      publicKey: ed25519.getPublicKey(own),
      sign: (message) => ed25519.sign(message, own)
    }
  },
  verify: (publicKey, message, signature) =>
    isStrict(publicKey, signature) && isPointOfSignature(publicKey, message, signature)
}

/**
 * Ed25519 in plain JavaScript. On Node, `NodeCrypto` is faster.
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

const pointOf = (publicKey: Uint8Array): InstanceType<typeof ed25519.Point> | undefined => {
  try {
    return ed25519.Point.fromBytes(publicKey)
  } catch {
    return undefined
  }
}
