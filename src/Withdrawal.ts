/**
 * Withdrawals: records that revoke an endpoint, an offer, a profile or a custom
 * record.
 *
 * The protocol has no message to delete a record, which stays until it expires.
 * So a withdrawal is an ordinary record of the same slot, newer than the one it
 * withdraws, with an empty payload and a lifetime that marks it as a
 * withdrawal. Any node stores it in place of the other record. Readers of this
 * library show neither; other readers see an endpoint without URLs, an offer
 * without a name, or a custom payload of no bytes, for half a minute.
 *
 * @module
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Result from "effect/Result"
import type { SigningKey } from "./Crypto.ts"
import * as Endpoint from "./Endpoint.ts"
import * as Profile from "./Profile.ts"
import { category, InvalidRecord, isCustom, RecordType, type SignedRecord } from "./Record.ts"
import * as Topic from "./Topic.ts"
import * as internal from "./wire/record.ts"

/**
 * Lifetime of a withdrawal in seconds, and how far before the present it
 * begins. For clocks that differ by less than half a minute it is not expired
 * and, to v0.1 holders, not from the future. No record has this lifetime
 * together with an empty payload by chance, so both together mark a withdrawal.
 *
 * @category constants
 * @since 0.1.0
 */
export const ttl = 61
const backdated = 30

const noBytes = new Uint8Array(0)

/** The empty payload for a record's type; undefined for types that cannot be withdrawn. */
const emptied = ({ payload, type }: SignedRecord): Uint8Array | undefined => {
  switch (type) {
    case RecordType.endpoint:
      return Endpoint.encode(Endpoint.make({ endpoints: [] }))
    case RecordType.profile:
      return Profile.encode(Profile.make({}))
    case RecordType.topic: {
      const decoded = Topic.decode(payload)
      if (Result.isFailure(decoded)) return undefined
      const { topic } = decoded.success
      // The topic keeps its spelling: another spelling would be another key.
      return Topic.encode({ ...Topic.make({ topic }), topic })
    }
    default:
      // The payload is part of a letter's slot, so another one does not supersede it.
      return isCustom(type) && category(type) !== "mailbox" ? noBytes : undefined
  }
}

/**
 * Whether a withdrawal can take the slot of the record.
 *
 * @category guards
 * @since 0.1.0
 */
export const isPossible = (record: SignedRecord): boolean => emptied(record) !== undefined

/**
 * Whether the record withdraws the one in its slot.
 *
 * @category guards
 * @since 0.1.0
 */
export const isWithdrawal = (record: SignedRecord): boolean => {
  if (record.ttl !== ttl) return false
  const empty = emptied(record)
  return empty !== undefined && Bytes.Equivalence(empty, record.payload)
}

/**
 * Whether the record has content, and is not a withdrawal.
 *
 * @category guards
 * @since 0.1.0
 */
export const isStanding = (record: SignedRecord): boolean => !isWithdrawal(record)

/**
 * Signs the withdrawal of a record. Its seq is the next one, so it withdraws no
 * newer record. `now` is in Unix seconds. Only the key that signed the record
 * can withdraw it. Letters and other records of the category `mailbox` cannot be
 * withdrawn.
 *
 * @category constructors
 * @since 0.1.0
 */
export const sign = (options: {
  readonly signer: SigningKey
  readonly record: SignedRecord
  readonly now: number
}): Result.Result<SignedRecord, InvalidRecord> => {
  const { now, record, signer } = options
  const payload = emptied(record)
  if (payload === undefined) {
    return Result.fail(new InvalidRecord({ reason: `a record of type ${record.type} cannot be withdrawn` }))
  }
  return internal.seal({
    signer,
    address: record.address,
    type: record.type,
    payload,
    seq: record.seq + 1n,
    timestamp: BigInt(Math.max(now - backdated, 0)),
    ttl,
    delegation: record.delegation
  })
}
