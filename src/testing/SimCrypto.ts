/**
 * A stand-in for signatures and encryption that offers **no security**: all is
 * computed from public keys alone, so anyone can sign for any key and read any
 * message. It exists because real signatures take most of the computing time of
 * a large simulation.
 *
 * It is deterministic, has the sizes of the real primitives, and rejects another
 * key and a message, signature or ciphertext that was modified. Do not use it in
 * a simulation with forged records.
 *
 * @module
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Layer from "effect/Layer"
import { Crypto, type Encryption, type Provider } from "../Crypto.ts"

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

const compare = (a: Uint8Array, b: Uint8Array): number => {
  const at = a.findIndex((byte, i) => byte !== b[i])
  return at === -1 ? 0 : a[at] - b[at]
}

/** 32 bytes that both owners of two public keys compute alike. */
const exchangeKeyOf = (publicKey: Uint8Array) => ({
  publicKey,
  agree: (other: Uint8Array): Uint8Array | undefined => {
    if (other.length !== 32) return undefined
    const [first, second] = [publicKey, other].sort(compare)
    const secret = new Uint8Array(32)
    mark(first, second, secret)
    return secret
  }
})

/** The text under a stream of marks of the key and the nonce. */
const masked = (key: Uint8Array, nonce: Uint8Array, text: Uint8Array): Uint8Array => {
  const stream = new Uint8Array((text.length + 3) & ~3)
  mark(key, nonce, stream)
  return text.map((byte, i) => byte ^ stream[i])
}

const tagOf = (key: Uint8Array, nonce: Uint8Array, text: Uint8Array): Uint8Array => {
  const tag = new Uint8Array(16)
  mark(key, Bytes.concat([nonce, text]), tag)
  return tag
}

const encryption: Encryption = {
  exchangeKey: (privateKey) => {
    if (privateKey.length !== 32) throw new RangeError(`an X25519 private key is 32 bytes, got ${privateKey.length}`)
    const publicKey = new Uint8Array(32)
    mark(privateKey, nothing, publicKey)
    return exchangeKeyOf(publicKey)
  },
  toExchangeKey: (publicKey) => publicKey.length === 32 ? publicKey.slice() : undefined,
  deriveKey: (secret, salt, info) => {
    const key = new Uint8Array(32)
    mark(secret, Bytes.concat([salt, info]), key)
    return key
  },
  encrypt: (key, nonce, plaintext) => Bytes.concat([masked(key, nonce, plaintext), tagOf(key, nonce, plaintext)]),
  decrypt: (key, nonce, ciphertext) => {
    if (ciphertext.length < 16) return undefined
    const plaintext = masked(key, nonce, ciphertext.subarray(0, -16))
    const tag = tagOf(key, nonce, plaintext)
    return tag.every((byte, i) => byte === ciphertext[ciphertext.length - 16 + i]) ? plaintext : undefined
  }
}

/**
 * The stand-in for the primitives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const simulated: Provider = {
  ...encryption,
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
      },
      exchangeKey: exchangeKeyOf(publicKey)
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
