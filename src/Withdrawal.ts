/**
 * Withdrawals: records that say of an endpoint, an offer or a profile that it
 * is no more.
 *
 * The protocol has no such message, and a record stays where it is until it
 * expires. So a withdrawal is an ordinary record of the same slot, newer than
 * what it withdraws, with a payload that says nothing and a lifetime that says
 * that this is meant. Any node keeps it in the place of the other one. Readers
 * here show neither; to other readers it is an endpoint without URLs, or an
 * offer without a name, for half a minute.
 *
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Result from "effect/Result"
import type { SigningKey } from "./Crypto.ts"
import { InvalidRecord } from "./DhtError.ts"
import * as Endpoint from "./Endpoint.ts"
import * as internal from "./internal/record.ts"
import * as Profile from "./Profile.ts"
import { RecordType, type SignedRecord } from "./Record.ts"
import * as Topic from "./Topic.ts"

/**
 * Lifetime of a withdrawal in seconds, and how far before the present it
 * begins. Between clocks that differ by less than half a minute it is neither
 * expired nor, to v0.1 holders, from the future. Together with an empty payload
 * this lifetime marks a withdrawal, so it is one that no record has by chance.
 *
 * @category constants
 * @since 0.1.0
 */
export const ttl = 61
const backdated = 30

/** The payload of a record's type that says nothing; undefined for types that cannot be withdrawn. */
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
      // As it is spelled: another spelling is another key.
      return Topic.encode({ ...Topic.make({ topic }), topic })
    }
    default:
      return undefined
  }
}

/**
 * Whether the record withdraws what was in its slot.
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
 * Whether the record says something.
 *
 * @category guards
 * @since 0.1.0
 */
export const isStanding = (record: SignedRecord): boolean => !isWithdrawal(record)

/**
 * Withdraws a record, and none that is newer: its seq is the next one. `now` is
 * in Unix seconds. Only the key that signed the record can do so, and only
 * endpoints, topics and profiles can be withdrawn.
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
