/**
 * Signed records: statements that the network keeps while their publishers are
 * offline.
 *
 * A record is its own proof. Anyone can check its integrity (it is unmodified
 * and alive); whether the signer may speak for the address is its authority,
 * which a {@link Policy} decides. A `SignedRecord` is well formed, because only
 * {@link decode} and {@link sign} make one.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Address from "./Address.ts"
import type { Ed25519, SigningKey } from "./Crypto.ts"
import * as Delegation from "./Delegation.ts"
import { sha256Hex } from "./internal/sha256.ts"
import { Verdicts } from "./internal/verdicts.ts"
import * as NodeId from "./NodeId.ts"
import type * as Cbor from "./wire/cbor.ts"
import { InvalidRecord } from "./wire/invalidRecord.ts"
import * as internal from "./wire/record.ts"

export { type Excess, InvalidRecord } from "./wire/invalidRecord.ts"

/**
 * A signed statement by an address, kept by nodes that do not know the
 * publisher.
 *
 * @category models
 * @since 0.1.0
 */
export interface SignedRecord {
  /**
   * The record as transmitted: canonical CBOR, kept as received except for the
   * form of its delegation, see {@link decode}.
   */
  readonly bytes: Uint8Array
  /** The address of the publisher. */
  readonly address: Address.Address
  /** One of {@link RecordType}, or any other 8-bit number. */
  readonly type: number
  readonly payload: Uint8Array
  readonly seq: bigint
  /** Unix seconds, up to 64 bits. */
  readonly timestamp: bigint
  /** Seconds, up to 32 bits. */
  readonly ttl: number
  /**
   * The last Unix second in which the record is alive: `ttl` seconds after its
   * timestamp, at most {@link maxLifetime}, or 60 s after its delegation's last,
   * for the difference between clocks, if that is sooner.
   */
  readonly expiresAt: number
  /** The signing key, 32 bytes. */
  readonly publicKey: Uint8Array
  /** 64 bytes. */
  readonly signature: Uint8Array
  /** Canonical CBOR of a delegation from the address to the signing key. */
  readonly delegation: Uint8Array | undefined
  /** When the delegation was issued, Unix seconds; 0 without one. */
  readonly delegatedAt: bigint
}

/**
 * The signed content of a record, without derived values.
 *
 * @category models
 * @since 0.1.0
 */
export type Fields = Omit<SignedRecord, "bytes" | "expiresAt" | "delegatedAt">

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
  readonly heldSigner: Address.Address
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
 * The types whose payload the protocol defines. The rest of 0x03 to 0x0F, 0x11
 * to 0x1F and 0x81 to 0x8F is free for applications; all other types are
 * reserved.
 *
 * @category constants
 * @since 0.1.0
 */
export const RecordType: {
  readonly endpoint: 0x01
  readonly profile: 0x02
  readonly topic: 0x10
  readonly mailbox: 0x80
} = internal.RecordType

/**
 * Tolerated clock difference in seconds: a record may be that far in the
 * future, and its delegation expired for that long.
 *
 * @category constants
 * @since 0.1.0
 */
export const clockSkew = internal.clockSkew

/**
 * Where a record lives: `sovereign` at the key of its own address, `topic` at
 * that of its topic, `mailbox` at that of the recipient.
 *
 * @category models
 * @since 0.1.0
 */
export type Category = "sovereign" | "topic" | "mailbox"

/**
 * Seconds after its timestamp that a record is kept, read and copied at most,
 * whatever its `ttl` says: two hours under a topic, seven days elsewhere.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxLifetime: { readonly [category in Category]: number } = internal.maxLifetime

/**
 * The category of a record type; a reserved one counts as sovereign.
 *
 * @category accessors
 * @since 0.1.0
 */
export const category: (type: number) => Category = internal.category

/**
 * Whether a record type is reserved for later versions of the protocol: neither
 * one of {@link RecordType} nor free for applications.
 *
 * @category guards
 * @since 0.1.0
 */
export const isReserved = (type: number): boolean => type < 0x01 || type > 0x0f && category(type) === "sovereign"

const defined: ReadonlyArray<number> = Object.values(RecordType)

/**
 * Whether records of this type are left to applications: 0x03 to 0x0F at the key
 * of their address, 0x11 to 0x1F at any key like topics, 0x81 to 0x8F at any key
 * like mail.
 *
 * @category guards
 * @since 0.1.0
 */
export const isCustom = (type: number): boolean =>
  Number.isInteger(type) && !isReserved(type) && !defined.includes(type)

/**
 * Returns the key of the record's address, the only one at which a sovereign
 * record may be stored.
 *
 * @category accessors
 * @since 0.1.0
 */
export const ownKey = (record: SignedRecord): NodeId.NodeId => NodeId.fromAddress(record.address)

/**
 * The largest record, in bytes, that a node can return to a reader.
 *
 * The body of a response has 1050 bytes. The minimum besides a record:
 *
 * - 1: the head of a map of three
 * - 2: field 1, no nodes
 * - 20: field 3, the observed address, 18 bytes if the requester uses IPv6
 * - 2: field 4, the head of a list of one
 *
 * (A STORE of the record to its key then has 1196 of 1200 bytes.)
 *
 * @category constants
 * @since 0.1.0
 */
export const maxResolvableSize: number = 1050 - (1 + 2 + 20 + 2)

// --- Encoding ---

/**
 * Decodes one record in canonical CBOR, with no trailing bytes. The record's
 * byte fields are views of its `bytes`, which is a view of the input, unless
 * the delegation is not in canonical form: then `bytes` is a copy in which it
 * is. Nothing is verified.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decode: (bytes: Uint8Array) => Result.Result<SignedRecord, InvalidRecord> = internal.decode

/**
 * Reads one record inside a message; undefined if the reader found a fault.
 *
 * @internal
 */
export const read: (reader: Cbor.Reader) => SignedRecord | undefined = internal.read

/**
 * Writes canonical CBOR. For a `SignedRecord` use `bytes` instead. Throws a
 * `RangeError` for a number that does not fit its field.
 *
 * @category conversions
 * @since 0.1.0
 */
export const encode: (fields: Fields) => Uint8Array = internal.encode

/**
 * Returns the same record over its own copy of the bytes, so that keeping the
 * record does not keep the datagram that it came in.
 *
 * @category conversions
 * @since 0.1.0
 */
export const detach: (record: SignedRecord) => SignedRecord = internal.detach

// --- Integrity ---

/**
 * What is wrong with a record, as a plain value: peers can send many
 * such records, and an `Error` with its stack costs more than the
 * check. {@link toError} converts it.
 *
 * @category models
 * @since 0.1.0
 */
export type Fault =
  | { readonly _tag: "InvalidRecord"; readonly reason: string }
  | { readonly _tag: "RecordExpired"; readonly expiresAt: number; readonly now: number }

/**
 * Converts a fault to a typed error.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toError = (fault: Fault): InvalidRecord | RecordExpired =>
  fault._tag === "InvalidRecord"
    ? new InvalidRecord({ reason: fault.reason })
    : new RecordExpired({ expiresAt: fault.expiresAt, now: fault.now })

/**
 * Everything of integrity but the signature, at `now` in Unix seconds: the
 * limits of the payload; not from the future, give or take {@link clockSkew};
 * alive by its own `ttl`, the last second included. Expiry is judged last. A
 * record without a fault may still be older than any is kept: see `expiresAt`.
 *
 * @category verification
 * @since 0.1.0
 */
export const fault: (record: SignedRecord, now: number) => Fault | undefined = internal.fault

/**
 * Returns the bytes that the signature covers: `a2al-rec`, a zero byte, and the
 * canonical map of fields 1 to 6.
 *
 * @category verification
 * @since 0.1.0
 */
export const signedBytes = (record: SignedRecord): Uint8Array => signedView(record).slice()

/**
 * Returns the same bytes in a buffer that the next call overwrites.
 *
 * @internal
 */
export const signedView: (record: SignedRecord) => Uint8Array = internal.signedView

/**
 * Whether the record's own key signed it.
 *
 * @category verification
 * @since 0.1.0
 */
export const isSigned = (record: SignedRecord, crypto: Ed25519): boolean =>
  crypto.verify(record.publicKey, signedView(record), record.signature)

/**
 * Checks what {@link fault} checks, with a typed error.
 *
 * @category verification
 * @since 0.1.0
 */
export const checkForm = (record: SignedRecord, now: number): Result.Result<void, InvalidRecord | RecordExpired> =>
  toResult(fault(record, now))

/**
 * Checks the integrity of a record completely: {@link fault} and the signature.
 * The signature of an expired record is checked as well, so that
 * `RecordExpired` means that the record was once valid.
 *
 * @category verification
 * @since 0.1.0
 */
export const verify = (
  record: SignedRecord,
  options: { readonly crypto: Ed25519; readonly now: number }
): Result.Result<void, InvalidRecord | RecordExpired> =>
  judge(record, options.now, () => isSigned(record, options.crypto))

const judge = (
  record: SignedRecord,
  now: number,
  isGenuine: () => boolean
): Result.Result<void, InvalidRecord | RecordExpired> => {
  const found = fault(record, now)
  return found?._tag !== "InvalidRecord" && !isGenuine() ? invalid("bad signature") : toResult(found)
}

/**
 * Signatures of records to remember: valid ones as many as a reader merges, and
 * a few of those that a lying holder may repeat.
 */
const rememberedSignatures = { valid: 4096, invalid: 256 }

/**
 * Returns {@link verify} with a memory: the signature of the same bytes is
 * checked once, however many holders return or push the record.
 *
 * @internal
 */
export const verifier = (options: { readonly crypto: Ed25519 }) => {
  const verdicts = new Verdicts(rememberedSignatures)
  return (record: SignedRecord, now: number): ReturnType<typeof verify> =>
    judge(record, now, () => {
      const id = sha256Hex(record.bytes)
      const known = verdicts.of(id)
      if (known !== undefined) return known
      const valid = isSigned(record, options.crypto)
      verdicts.remember(id, valid)
      return valid
    })
}

const toResult = (found: Fault | undefined): Result.Result<void, InvalidRecord | RecordExpired> =>
  found === undefined ? Result.void : Result.fail(toError(found))

// --- Authority ---

/**
 * Decides whether a record of good integrity may be stored at `key`. `now` is
 * in Unix seconds.
 *
 * @category models
 * @since 0.1.0
 */
export type Policy = (
  key: NodeId.NodeId,
  record: SignedRecord,
  now: number
) => Result.Result<void, InvalidRecord | Delegation.InvalidDelegation>

/**
 * Delegations to remember, because checking a wallet's signature takes
 * milliseconds: those that hold, and those that a wallet did not sign.
 *
 * @internal
 */
export const rememberedDelegations = { valid: 512, invalid: 4096 }

/** Verdicts on the delegations of records that were checked ahead of the policy. */
const settled = new WeakMap<SignedRecord, boolean>()

/**
 * Makes the usual policy. The signing key must be the address's own, or one
 * that it delegated to, with a delegation that holds at `now` or expired less
 * than 60 s ago, as clocks differ. A sovereign record must be at its own key.
 *
 * A delegation must be valid even in a record that needs none: the record's
 * signature does not cover it, and {@link isNewer} uses it, so a stranger could
 * attach one to make an old record the newest.
 *
 * @category policies
 * @since 0.1.0
 */
export const authority = (options: { readonly crypto: Ed25519 }): Policy => {
  const verdicts = new Verdicts(rememberedDelegations)
  return (key, record, now) => {
    if (category(record.type) === "sovereign" && key !== ownKey(record)) {
      return invalid("it belongs at the key of its own address")
    }
    const claimed = claim(record, now)
    if (Result.isFailure(claimed)) return Result.fail(claimed.failure)
    if (claimed.success === undefined) return Result.void
    const { id, proof } = claimed.success
    let valid = settled.get(record) ?? verdicts.of(id)
    if (valid === undefined) {
      valid = Delegation.isProven(proof, options.crypto)
      // Another Ed25519 check costs no more than the record's own.
      if (valid || proof._tag === "Wallet") verdicts.remember(id, valid)
    }
    return valid ? Result.void : Delegation.badSignature
  }
}

/**
 * The delegation of a record: the hash of its bytes, and the proof to be checked.
 *
 * @internal
 */
export interface Claim {
  readonly id: string
  readonly proof: Delegation.Proof
}

/** The delegation of a record, and what is to be checked of it, neither of which depends on the time. */
interface Delegated extends Claim {
  readonly delegation: Delegation.Delegation
}

/** By record, because both those that prepare records and policies ask for it. */
const delegated = new WeakMap<SignedRecord, Result.Result<Delegated, Delegation.InvalidDelegation>>()

const delegatedOf = (
  record: SignedRecord,
  bytes: Uint8Array
): Result.Result<Delegated, Delegation.InvalidDelegation> => {
  const known = delegated.get(record)
  if (known !== undefined) return known
  const result = Result.gen(function*() {
    const delegation = yield* Delegation.decode(bytes)
    if (!internal.delegates(delegation, record.address, record.publicKey)) {
      return yield* Result.fail(new Delegation.InvalidDelegation({ reason: "it is for another address or key" }))
    }
    return { delegation, id: sha256Hex(bytes), proof: yield* Delegation.proofOf(delegation) }
  })
  delegated.set(record, result)
  return result
}

/**
 * Makes all quick checks of a record's authority at `now`, in Unix seconds.
 * Returns what remains, if it has a delegation.
 *
 * @internal
 */
export const claim = (
  record: SignedRecord,
  now: number
): Result.Result<Claim | undefined, InvalidRecord | Delegation.InvalidDelegation> => {
  if (record.delegation === undefined) {
    return Address.isOfPublicKey(record.address, record.publicKey)
      ? Result.succeed(undefined)
      : invalid("the key is not the address's, and there is no delegation")
  }
  return Result.flatMap(delegatedOf(record, record.delegation), (claim) => {
    const { delegation } = claim
    return Delegation.isExpired(delegation, now - clockSkew)
      ? Result.fail(
        new Delegation.InvalidDelegation({ reason: `it expired at ${delegation.expiresAt}, now is ${now}` })
      )
      : Result.succeed(claim)
  })
}

/**
 * Tells policies the verdict on the proof of this very record's delegation.
 *
 * @internal
 */
export const settle = (record: SignedRecord, valid: boolean): void => {
  settled.set(record, valid)
}

/**
 * Accepts every record of good integrity, for a network that settles authority
 * elsewhere.
 *
 * @category policies
 * @since 0.1.0
 */
export const policyNone: Policy = () => Result.void

// --- Order ---

/**
 * The values that decide which of two records is newer.
 *
 * @category models
 * @since 0.1.0
 */
export type Rank = Pick<SignedRecord, "delegatedAt" | "seq" | "timestamp">

/**
 * Whether `a` supersedes `b`: the later delegation wins, then the larger seq,
 * then the later timestamp. So a new delegation ends the use of a stolen
 * operational key, however large a seq that key has signed.
 *
 * @example
 * ```ts run
 * import { Crypto, Identity, Record } from "effect-dht"
 * import * as Result from "effect/Result"
 *
 * const signer = Identity.fromSeed(Crypto.noble, new Uint8Array(32).fill(1))
 * const [first, second] = [1n, 2n].map((seq) =>
 *   Result.getOrThrow(Record.sign({
 *     signer,
 *     address: signer.address,
 *     type: 0x07,
 *     payload: Uint8Array.of(1),
 *     seq,
 *     timestamp: 1_700_000_000n,
 *     ttl: 3600
 *   }))
 * )
 * console.log(Record.isNewer(second, first), Record.isNewer(first, second)) // => true false
 * ```
 *
 * @category ordering
 * @since 0.1.0
 */
export const isNewer = (a: Rank, b: Rank): boolean =>
  a.delegatedAt !== b.delegatedAt
    ? a.delegatedAt > b.delegatedAt
    : a.seq !== b.seq
    ? a.seq > b.seq
    : a.timestamp > b.timestamp

/**
 * Describes why `record` cannot replace `held`.
 *
 * @category ordering
 * @since 0.1.0
 */
export const stale = (record: SignedRecord, held: SignedRecord): StaleRecord =>
  new StaleRecord({
    seq: record.seq,
    heldSeq: held.seq,
    heldSigner: Address.fromPublicKey(held.publicKey),
    heldDelegatedAt: held.delegatedAt,
    heldUntil: held.expiresAt
  })

/**
 * When a record that stays alive is signed again, in Unix seconds: halfway
 * between its timestamp and its last second.
 *
 * @category ordering
 * @since 0.1.0
 */
export const renewsAt = ({ expiresAt, timestamp }: Pick<SignedRecord, "expiresAt" | "timestamp">): number =>
  (Number(timestamp) + expiresAt) / 2

// --- Signing ---

/**
 * Signs a record. `type` is 0x02 to 0x0F, 0x10 to 0x1F or 0x80 to 0x8F, `ttl`
 * is in seconds and at least 1, `timestamp` in Unix seconds. A key other than
 * the address's own needs an encoded delegation from the address.
 *
 * For endpoint, topic and profile records use `Endpoint.sign`, `Topic.sign` and
 * `Profile.sign`.
 *
 * @example
 * ```ts run
 * import { Crypto, Identity, Record } from "effect-dht"
 * import * as Result from "effect/Result"
 *
 * const signer = Identity.fromSeed(Crypto.noble, new Uint8Array(32).fill(1))
 * const record = Result.getOrThrow(Record.sign({
 *   signer,
 *   address: signer.address,
 *   type: 0x07,
 *   payload: Uint8Array.of(1, 2, 3),
 *   seq: 1n,
 *   timestamp: 1_700_000_000n,
 *   ttl: 3600
 * }))
 * console.log(Record.isSigned(record, Crypto.noble), Record.ownKey(record) === signer.nodeId) // => true true
 * const again = Result.getOrThrow(Record.decode(record.bytes))
 * console.log(again.payload.join()) // => 1,2,3
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const sign = (options: {
  readonly signer: SigningKey
  readonly address: Address.Address
  readonly type: number
  readonly payload: Uint8Array
  readonly seq: bigint
  readonly timestamp: bigint
  readonly ttl: number
  readonly delegation?: Uint8Array | undefined
}): Result.Result<SignedRecord, InvalidRecord> => {
  const { type } = options
  if (type === RecordType.endpoint) return invalid("sign an endpoint record with Endpoint.sign")
  return isReserved(type) ? invalid(`type ${type} is reserved`) : internal.seal(options)
}

const invalid = (reason: string): Result.Result<never, InvalidRecord> => Result.fail(new InvalidRecord({ reason }))
