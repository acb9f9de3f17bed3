/**
 * HMAC-SHA-256 (RFC 2104) truncated to 128 bits, over messages that are written
 * behind the padded key, so that nothing is copied.
 *
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import * as Hex from "./hex.ts"
import { sha256Hex } from "./sha256.ts"

/**
 * Bytes that SHA-256 takes at a time.
 *
 * @internal
 */
export const blockLength = 64

/**
 * A key of at most 64 bytes, in hex digits. A node keeps two for each peer, and a
 * text takes a fraction of the memory of an array of bytes.
 *
 * @internal
 */
export type HmacKey = string & Brand.Brand<"effect-dht/HmacKey">

/**
 * @internal
 */
export const prepare = (key: Uint8Array): HmacKey => Hex.encode(key) as HmacKey

/** What the inner hash begins with, and the outer one, which has room for the inner digest. */
const innerBlock = new Uint8Array(blockLength)
const outerBlock = new Uint8Array(blockLength + 32)

/** Writes the padded key to the first block. */
const pad = (block: Uint8Array, key: HmacKey, mask: number): void => {
  block.fill(0, key.length >> 1, blockLength)
  Hex.write(block, key, 0)
  for (let i = 0; i < blockLength; i++) block[i] ^= mask
}

/**
 * The padded key, behind which a message is written. The next call overwrites it.
 *
 * @internal
 */
export const inner = (key: HmacKey): Uint8Array => {
  pad(innerBlock, key, 0x36)
  return innerBlock
}

/**
 * The MAC as 32 hex digits. `bytes` are those of {@link inner} and then the message.
 *
 * @internal
 */
export const mac = (key: HmacKey, bytes: Uint8Array): string => {
  pad(outerBlock, key, 0x5c)
  Hex.write(outerBlock, sha256Hex(bytes), blockLength)
  return sha256Hex(outerBlock).slice(0, 32)
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
