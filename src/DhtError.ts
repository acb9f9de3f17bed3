/**
 * What can go wrong, each with its facts. One narrow error per failure, so
 * that `Effect.catchTag` names exactly what a program can handle.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type { Address } from "./Address.ts"

/**
 * The text is no address: no known form claims it, or the form that does
 * cannot decode it.
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
 * The string names no topic: it is empty, or no text.
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
 * A datagram that is no valid message of the protocol, or that a message could
 * not be made of what was given.
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
 * A message of a type (8 bits) that this version does not know.
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
 * A field of a payload that does not fit: it is longer than it may be by
 * itself, or than the other fields leave room for.
 *
 * @category models
 * @since 0.1.0
 */
export interface Excess {
  /** The member of the payload. */
  readonly field: string
  /** Of a text in UTF-8; of a list or a map, what it takes when encoded. */
  readonly size: number
  /** How much fits. */
  readonly limit: number
  readonly unit: "bytes" | "characters" | "entries"
}

/**
 * The record is malformed, wrongly signed, from the future, or may not be
 * where it was put. `excess` is there where a payload to be signed was too
 * long.
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
 * The record's lifetime is over. Times are Unix seconds.
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
 * An equal or newer record is held already, here or by a node of the network.
 *
 * A record that is signed under a later delegation is newer whatever its seq.
 * The largest seq there is, 2^64 − 1, is only superseded under a later
 * delegation, or by the same seq with a later timestamp.
 *
 * @category errors
 * @since 0.1.0
 */
export class StaleRecord extends Data.TaggedError("StaleRecord")<{
  readonly seq: bigint
  readonly heldSeq: bigint
  /** The address of the key that signed the record that is held. */
  readonly heldSigner: Address
  /** When the delegation of that record was issued, Unix seconds; 0 without one. */
  readonly heldDelegatedAt: bigint
  /** The last Unix second in which that record is alive. */
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
 * The record (bytes of its encoding) leaves no room in the 1200-byte datagram
 * that would have to carry it to whoever looks it up.
 *
 * @category errors
 * @since 0.1.0
 */
export class RecordTooLarge extends Data.TaggedError("RecordTooLarge")<{
  readonly size: number
  readonly limit: number
  /** The field to blame, where it is known. */
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
 * A delegation that does not hold: malformed, wrongly signed, out of time, or
 * for someone else.
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
 * The delegation that lets this node's key act for another address is over, so
 * the key signs nothing more for it. Times are Unix seconds.
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
 * The mailbox note is not for this recipient, or was changed on its way.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotDecrypt extends Data.TaggedError("CannotDecrypt")<{ readonly reason: string }> {
  override get message() {
    return `Cannot decrypt: ${this.reason}`
  }
}

/**
 * The encrypted identity does not open: a wrong passphrase or a damaged blob,
 * which cannot be told apart.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotUnlock extends Data.TaggedError("CannotUnlock")<{}> {
  override get message() {
    return "The identity does not open: wrong passphrase, or a damaged file"
  }
}

/**
 * Bytes that are no key of the curve they are meant for.
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
 * The text is no host and port.
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
 * The key store holds no key of that address.
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
 * The key store holds an identity already. A node has exactly one, and it is
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
