/**
 * The errors of the library, each with its facts. There is one narrow error per
 * failure, so that `Effect.catchTag` names exactly what a program can handle.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type { Address } from "./Address.ts"

/**
 * The text is not an address: it has no known form, or cannot be decoded in the
 * form it has.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidAddress extends Data.TaggedError("InvalidAddress")<{
  readonly text: string
  readonly reason: string
}> {
  override get message() {
    return `"${this.text}" is not an address: ${this.reason}`
  }
}

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
 * The string is not a topic: it is empty or not well-formed Unicode.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidTopic extends Data.TaggedError("InvalidTopic")<{
  readonly topic: string
  readonly reason: string
}> {
  override get message() {
    return `${JSON.stringify(this.topic)} is not a topic: ${this.reason}`
  }
}

/**
 * A datagram is not a valid message of the protocol, or a message cannot be
 * built from the given values.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidMessage extends Data.TaggedError("InvalidMessage")<{ readonly reason: string }> {
  override get message() {
    return `Invalid message: ${this.reason}`
  }
}

/**
 * The message has a type (8 bits) that this version does not know.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownMessageType extends Data.TaggedError("UnknownMessageType")<{ readonly type: number }> {
  override get message() {
    return `Unknown message type 0x${this.type.toString(16).padStart(2, "0")}`
  }
}

/**
 * A payload field that does not fit: it exceeds its own limit, or the room that
 * the other fields leave.
 *
 * @category models
 * @since 0.1.0
 */
export interface Excess {
  /** The member of the payload. */
  readonly field: string
  /** Its size: of a text in UTF-8 bytes; of a list or a map, its encoded length. */
  readonly size: number
  /** The largest size that fits. */
  readonly limit: number
  readonly unit: "bytes" | "characters" | "entries"
}

/**
 * The record is malformed, wrongly signed, from the future, or not allowed at
 * this key. `excess` is set if a payload to be signed is too long.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidRecord extends Data.TaggedError("InvalidRecord")<{
  readonly reason: string
  readonly excess?: Excess | undefined
}> {
  override get message() {
    return `Invalid record: ${this.reason}`
  }
}

/**
 * The record has expired. Times are Unix seconds.
 *
 * @category errors
 * @since 0.1.0
 */
export class RecordExpired extends Data.TaggedError("RecordExpired")<{
  readonly expiresAt: number
  readonly now: number
}> {
  override get message() {
    return `The record expired ${this.now - this.expiresAt} s ago`
  }
}

/** The largest seq that a record can have. */
const maxSeq = 0xffff_ffff_ffff_ffffn

/**
 * An equal or newer record is already held, here or by another node.
 *
 * A record signed under a later delegation is newer, whatever its seq. The
 * largest seq, 2^64 − 1, is superseded only under a later delegation, or by the
 * same seq with a later timestamp.
 *
 * @category errors
 * @since 0.1.0
 */
export class StaleRecord extends Data.TaggedError("StaleRecord")<{
  readonly seq: bigint
  readonly heldSeq: bigint
  /** The address of the key that signed the held record. */
  readonly heldSigner: Address
  /** When the delegation of the held record was issued, Unix seconds; 0 without one. */
  readonly heldDelegatedAt: bigint
  /** The last Unix second in which the held record is alive. */
  readonly heldUntil: number
}> {
  override get message() {
    const under = this.heldDelegatedAt === 0n ? "" : ` under a delegation issued at ${this.heldDelegatedAt}`
    return `An equal or newer record is held: seq ${this.heldSeq}, signed by ${this.heldSigner}${under}; ` +
      `offered was seq ${this.seq}. ${this.remedy}`
  }

  private get remedy() {
    if (this.heldDelegatedAt !== 0n && this.heldSeq < this.seq) {
      return "Sign under that delegation or a later one: it counts before the seq"
    }
    return this.heldSeq === maxSeq
      ? `There is no larger seq: wait until it expires at ${this.heldUntil}`
      : "Sign again with a larger seq"
  }
}

/**
 * The record (its size in bytes) does not fit into the 1200-byte datagram that
 * returns it to a reader.
 *
 * @category errors
 * @since 0.1.0
 */
export class RecordTooLarge extends Data.TaggedError("RecordTooLarge")<{
  readonly size: number
  readonly limit: number
  /** The field that is too long, if known. */
  readonly excess?: Excess | undefined
}> {
  override get message() {
    const { excess, limit, size } = this
    const said = `The record is ${size} bytes, and at most ${limit} can be resolved`
    return excess === undefined
      ? said
      : `${said}: ${excess.field} is too long, ${excess.size} ${excess.unit}, and at most ${excess.limit} fit`
  }
}

/**
 * The delegation is malformed, wrongly signed, expired, or for another key or
 * address.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidDelegation extends Data.TaggedError("InvalidDelegation")<{ readonly reason: string }> {
  override get message() {
    return `Invalid delegation: ${this.reason}`
  }
}

/**
 * The delegation of this node's key has expired, so the key signs nothing more
 * for that address. Times are Unix seconds.
 *
 * @category errors
 * @since 0.1.0
 */
export class DelegationExpired extends Data.TaggedError("DelegationExpired")<{
  readonly agent: Address
  readonly expiresAt: bigint
  readonly now: number
}> {
  override get message() {
    return `The delegation from ${this.agent} expired ${BigInt(this.now) - this.expiresAt} s ago. ` +
      "Get a new one, signed by the master key"
  }
}

/**
 * The encrypted identity cannot be decrypted: the passphrase is wrong or the
 * blob is damaged, which cannot be told apart.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotUnlock extends Data.TaggedError("CannotUnlock")<{}> {
  override get message() {
    return "The identity cannot be decrypted: the passphrase is wrong, or the file is damaged"
  }
}

/**
 * The bytes are not a key of the expected curve.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidKey extends Data.TaggedError("InvalidKey")<{ readonly reason: string }> {
  override get message() {
    return `Invalid key: ${this.reason}`
  }
}

/**
 * The text is not a host and port.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidSocketAddress extends Data.TaggedError("InvalidSocketAddress")<{
  readonly text: string
  readonly reason: string
}> {
  override get message() {
    return `"${this.text}" is not a socket address: ${this.reason}`
  }
}

/**
 * The key store has no key for the address.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownAddress extends Data.TaggedError("UnknownAddress")<{ readonly address: Address }> {
  override get message() {
    return `The key store has no key for ${this.address}`
  }
}

/**
 * The key store already holds an identity. A node has exactly one, and it is
 * never overwritten.
 *
 * @category errors
 * @since 0.1.0
 */
export class IdentityExists extends Data.TaggedError("IdentityExists")<{}> {
  override get message() {
    return "The key store already holds an identity, and a node has exactly one"
  }
}
