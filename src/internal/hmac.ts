/**
 * HMAC-SHA-256 (RFC 2104) truncated to 128 bits, over messages that are written
 * behind the padded key, so that nothing is copied.
 *
 * @since 0.1.0
 */
import * as Hex from "./hex.ts"
import { sha256Hex } from "./sha256.ts"

/** Bytes that SHA-256 takes at a time. */
const blockLength = 64

/**
 * A key of at most 64 bytes as both hashes begin with it. `outer` has room for
 * the inner digest.
 *
 * @internal
 */
export interface HmacKey {
  readonly inner: Uint8Array
  readonly outer: Uint8Array
}

/**
 * @internal
 */
export const prepare = (key: Uint8Array): HmacKey => {
  const inner = new Uint8Array(blockLength).fill(0x36)
  const outer = new Uint8Array(blockLength + 32).fill(0x5c, 0, blockLength)
  for (let i = 0; i < key.length; i++) {
    inner[i] ^= key[i]
    outer[i] ^= key[i]
  }
  return { inner, outer }
}

/**
 * The MAC as 32 hex digits. `bytes` are `key.inner` and then the message.
 *
 * @internal
 */
export const mac = (key: HmacKey, bytes: Uint8Array): string => {
  Hex.write(key.outer, sha256Hex(bytes), blockLength)
  return sha256Hex(key.outer).slice(0, 32)
}

/**
 * Whether two MACs are equal. Its time does not depend on where they differ.
 *
 * @internal
 */
export const isEqual = (a: string, b: string): boolean => {
  let difference = a.length ^ b.length
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i)
  return difference === 0
}
