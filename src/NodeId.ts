/**
 * The 256-bit keys of the DHT: positions of nodes and of records.
 *
 * A `NodeId` is 64 lower-case hex digits, so it prints as itself, compares with
 * `===` and works as a `Map` key. Distance is the XOR metric of Kademlia
 * (Maymounkov and Mazières, 2002).
 *
 * @module
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import type { Address } from "./Address.ts"
import * as Hex from "./internal/hex.ts"
import { memo } from "./internal/memo.ts"
import { sha256Hex } from "./internal/sha256.ts"
import * as Text from "./internal/text.ts"

/**
 * 64 lower-case hex digits (32 bytes).
 *
 * @category models
 * @since 0.1.0
 */
export type NodeId = string & Brand.Brand<"effect-dht/NodeId">

/**
 * The text is not 64 hex digits.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidNodeId extends Data.TaggedError("InvalidNodeId")<{ readonly text: string }> {
  override get message() {
    return `"${this.text}" is not a node id: expected 64 hex digits`
  }
}

/**
 * Length in bytes.
 *
 * @category constants
 * @since 0.1.0
 */
export const length = 32

/**
 * Length in bits, which is the common prefix length of equal keys.
 *
 * @category constants
 * @since 0.1.0
 */
export const bits = 256

/**
 * The all-zero key. In a STORE it means "the key of the record's own address".
 *
 * @category constants
 * @since 0.1.0
 */
export const zero = "0".repeat(64) as NodeId

/**
 * Converts 32 trusted bytes: the caller has checked the length.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromBytesUnsafe = (bytes: Uint8Array): NodeId => Hex.encode(bytes) as NodeId

/**
 * Reads 64 hex digits in either case, ignoring surrounding white space.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromString = (text: string): Result.Result<NodeId, InvalidNodeId> => {
  const trimmed = text.trim().toLowerCase()
  return /^[0-9a-f]{64}$/.test(trimmed)
    ? Result.succeed(trimmed as NodeId)
    : Result.fail(new InvalidNodeId({ text }))
}

/**
 * Returns the key of an address: SHA-256 of its 21 bytes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromAddress: (address: Address) => NodeId = memo((address) => sha256Hex(Hex.decode(address)) as NodeId)

/**
 * Returns the key of a topic: SHA-256 of `topic:` and the topic's text in
 * Unicode's composed form (NFC) as UTF-8. Throws a `RangeError` for a string
 * with a lone surrogate; `Topic.parse` fails with a typed error instead.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromTopic = (topic: string): NodeId => {
  // UTF-8 would encode every lone surrogate as the same character.
  if (!topic.isWellFormed()) throw new RangeError(`${JSON.stringify(topic)} has a lone surrogate`)
  return sha256Hex(new TextEncoder().encode(`topic:${Text.normal(topic)}`)) as NodeId
}

/**
 * Returns the 32 bytes of a key.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toBytes = (id: NodeId): Uint8Array => Hex.decode(id)

/**
 * Returns the XOR distance of two keys, as a key.
 *
 * @category metric
 * @since 0.1.0
 */
export const distance = (a: NodeId, b: NodeId): NodeId => {
  const bytes = toBytes(a)
  const other = toBytes(b)
  for (let i = 0; i < length; i++) bytes[i] ^= other[i]
  return Hex.encode(bytes) as NodeId
}

/**
 * Returns the first 32 bits of a key as a number: they nearly always decide
 * which of two keys is closer to a third.
 *
 * @category metric
 * @since 0.1.0
 */
export const prefix = (id: NodeId): number => Number.parseInt(id.slice(0, 8), 16)

/**
 * Orders two keys by their distance to `target`: negative if `a` is closer.
 *
 * @category metric
 * @since 0.1.0
 */
export const compareDistance = (target: NodeId, a: NodeId, b: NodeId): number => {
  // The first differing digit decides, and is nearly always one of the first
  // few.
  for (let i = 0; i < 64; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x !== y) {
      const t = digit(target.charCodeAt(i))
      return (digit(x) ^ t) - (digit(y) ^ t)
    }
  }
  return 0
}

/**
 * Returns the key with one bit flipped, 0 being the first.
 *
 * @category metric
 * @since 0.1.0
 */
export const flip = (id: NodeId, bit: number): NodeId => {
  const at = bit >> 2
  const flipped = parseInt(id[at], 16) ^ (8 >> (bit & 3))
  return id.slice(0, at) + flipped.toString(16) + id.slice(at + 1) as NodeId
}

/**
 * Returns the number of leading bits that two keys share: 0 to 256.
 *
 * @category metric
 * @since 0.1.0
 */
export const commonPrefixLength = (a: NodeId, b: NodeId): number => {
  for (let i = 0; i < 64; i++) {
    const x = digit(a.charCodeAt(i)) ^ digit(b.charCodeAt(i))
    if (x !== 0) return i * 4 + Math.clz32(x) - 28
  }
  return bits
}

/**
 * Returns the routing bucket of `other` as seen by `self`, 0 to 255; −1 for
 * `self`.
 *
 * @category metric
 * @since 0.1.0
 */
export const bucketIndex = (self: NodeId, other: NodeId): number => {
  const shared = commonPrefixLength(self, other)
  return shared === bits ? -1 : shared
}

/**
 * Returns a key in the given bucket of `self` (0 to 255): it shares that many
 * leading bits, differs in the next, and takes the rest from 32 random bytes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const inBucket = (self: NodeId, bucket: number, random: Uint8Array): NodeId => {
  const bytes = toBytes(self)
  const at = bucket >> 3
  const bit = 0x80 >> (bucket & 7)
  const rest = bit - 1
  bytes[at] = (bytes[at] ^ bit) & ~rest | random[at] & rest
  bytes.set(random.subarray(at + 1, length), at + 1)
  return Hex.encode(bytes) as NodeId
}

const digit = (code: number): number => code < 58 ? code - 48 : code - 87
