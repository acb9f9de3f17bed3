/**
 * HKDF with SHA-256 (RFC 5869) for keys of 32 bytes. Four digests, with nothing
 * to set up: objects for keys and contexts cost more than the digests.
 *
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import { sha256 } from "./sha256.ts"

/** Bytes that SHA-256 takes at a time. */
const blockLength = 64

/** The number of the first block of output, of 32 bytes. */
const first = Uint8Array.of(1)

const hmac = (key: Uint8Array, message: Uint8Array): Uint8Array => {
  const block = key.length > blockLength ? sha256(key) : key
  const inner = new Uint8Array(blockLength + message.length).fill(0x36, 0, blockLength)
  const outer = new Uint8Array(blockLength + 32).fill(0x5c, 0, blockLength)
  for (let i = 0; i < block.length; i++) {
    inner[i] ^= block[i]
    outer[i] ^= block[i]
  }
  inner.set(message, blockLength)
  outer.set(sha256(inner), blockLength)
  return sha256(outer)
}

/**
 * Derives a key of 32 bytes from a shared secret.
 *
 * @internal
 */
export const derive = (secret: Uint8Array, salt: Uint8Array, info: Uint8Array): Uint8Array =>
  hmac(hmac(salt, secret), Bytes.concat([info, first]))
