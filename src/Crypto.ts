/**
 * Ed25519 (RFC 8032), the one signature of the protocol.
 *
 * Everything is synchronous, so that a program under virtual time can run it:
 * a promise never completes there. Providers differ in speed only. All follow
 * one strict rule, so that nodes on different machines agree on every record:
 * a signature with S not below the group order, and a public key or R that is
 * not canonical or has small order, is refused.
 *
 * @since 0.1.0
 */
import { ed25519 } from "@noble/curves/ed25519.js"
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"

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
  /** The key of a 32-byte seed. */
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
  signingKey: (seed) => ({
    publicKey: ed25519.getPublicKey(seed),
    sign: (message) => ed25519.sign(message, seed)
  }),
  verify: (publicKey, message, signature) =>
    publicKey.length === 32 && signature.length === 64 &&
    ed25519.verify(signature, message, publicKey, { zip215: false })
}

/**
 * @category layers
 * @since 0.1.0
 */
export const layerNoble: Layer.Layer<Crypto> = Layer.succeed(Crypto, noble)
