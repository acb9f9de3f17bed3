/**
 * A stand-in for signatures that offers **no security**: it is computed from the
 * public key alone, so anyone can sign for any key. It exists because real
 * signatures take most of the computing time of a large simulation.
 *
 * It is deterministic, has the sizes of Ed25519, and rejects another key and a
 * message or signature that was modified. Do not use it in a simulation with
 * forged records or with messages to agents: its public keys are not points of
 * the curve on which those are encrypted.
 *
 * @module
 * @since 0.1.0
 */
import * as Layer from "effect/Layer"
import { Crypto, type Ed25519 } from "../Crypto.ts"

/** Fills `out` with a 64-bit hash of the key and the message. */
const mark = (publicKey: Uint8Array, message: Uint8Array, out: Uint8Array): void => {
  let a = 0x9e3779b9 ^ message.length
  let b = 0x85ebca6b
  for (let i = 0; i < publicKey.length; i++) {
    a = Math.imul(a ^ publicKey[i], 0x85ebca77)
    b = Math.imul(b ^ publicKey[i], 0x27d4eb2f)
  }
  const words = message.length & ~3
  let at = 0
  for (; at < words; at += 4) {
    const word = message[at] | message[at + 1] << 8 | message[at + 2] << 16 | message[at + 3] << 24
    a = Math.imul(a ^ word, 0x85ebca77)
    b = Math.imul(b ^ word, 0x27d4eb2f)
    a ^= b >>> 13
    b ^= a >>> 15
  }
  for (; at < message.length; at++) {
    a = Math.imul(a ^ message[at], 0x85ebca77)
    b = Math.imul(b ^ message[at], 0x27d4eb2f)
  }
  for (let i = 0; i < out.length; i += 4) {
    a = Math.imul(a ^ (a >>> 15) ^ b, 0x2c1b3c6d)
    b = Math.imul(b ^ (b >>> 13) ^ i, 0x297a2d39)
    const word = a ^ (b >>> 16)
    out[i] = word
    out[i + 1] = word >>> 8
    out[i + 2] = word >>> 16
    out[i + 3] = word >>> 24
  }
}

const nothing = new Uint8Array(0)

/** Buffer for the expected signature; verification is synchronous, so one is enough. */
const expected = new Uint8Array(64)

/**
 * The stand-in for Ed25519.
 *
 * @category constructors
 * @since 0.1.0
 */
export const simulated: Ed25519 = {
  name: "simulated",
  signingKey: (seed) => {
    if (seed.length !== 32) throw new RangeError(`an Ed25519 seed is 32 bytes, got ${seed.length}`)
    const publicKey = new Uint8Array(32)
    mark(seed, nothing, publicKey)
    return {
      publicKey,
      sign: (message) => {
        const signature = new Uint8Array(64)
        mark(publicKey, message, signature)
        return signature
      }
    }
  },
  verify: (publicKey, message, signature) => {
    if (publicKey.length !== 32 || signature.length !== 64) return false
    mark(publicKey, message, expected)
    for (let i = 0; i < 64; i++) if (expected[i] !== signature[i]) return false
    return true
  }
}

/**
 * Provides {@link simulated} as the `Crypto` service.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Crypto> = Layer.succeed(Crypto, simulated)
