/**
 * Ed25519 (RFC 8032), the one signature of the protocol.
 *
 * Everything is synchronous, so that a program under virtual time can run it:
 * a promise never completes there. Providers differ in speed only. All follow
 * one strict rule, so that nodes on different machines agree on every record:
 * a signature with S not below the group order, and a public key or R that is
 * not canonical or has small order, is refused; what is left is checked without
 * the cofactor, so that R must be exactly the point that S and the key make.
 *
 * @since 0.1.0
 */
import { ed25519 } from "@noble/curves/ed25519.js"
import { bytesToNumberLE } from "@noble/curves/utils.js"
import { sha512 } from "@noble/hashes/sha2.js"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import { assertSeed, isStrict } from "./internal/ed25519Strict.ts"

/**
 * A private key made ready for signing.
 *
 * @category models
 * @since 0.1.0
 */
export interface SigningKey {
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** Returns 64 bytes, the same for the same message. */
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
  /** The key of a 32-byte seed, of which it keeps a copy. Another length throws a `RangeError`. */
  readonly signingKey: (seed: Uint8Array) => SigningKey
  /** Total: a key or signature of the wrong length is merely not valid. */
  readonly verify: (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean
}

/**
 * The signatures of this node.
 *
 * @category services
 * @since 0.1.0
 */
export class Crypto extends Context.Service<Crypto, Ed25519>()("effect-dht/Crypto") {}

/**
 * `@noble/curves`: runs anywhere, some twenty times slower than native code.
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
 * Ed25519 in JavaScript, wherever it runs; `NodeCrypto` is faster on Node.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoble: Layer.Layer<Crypto> = Layer.succeed(Crypto, noble)

// The library's own verify multiplies by the cofactor, which also accepts an R
// that is off by a point of small order.
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
