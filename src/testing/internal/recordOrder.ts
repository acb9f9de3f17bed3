/**
 * The order, slots and lifetime of records, implemented independently of the
 * nodes, so that the checks do not share their faults.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Delegation from "../../Delegation.ts"
import * as Hex from "../../internal/hex.ts"
import { sha256Hex } from "../../internal/sha256.ts"
import type { NodeId } from "../../NodeId.ts"
import type { SignedRecord } from "../../Record.ts"

/**
 * The fields of a record that determine its order.
 *
 * @internal
 */
export type Rank = Pick<SignedRecord, "delegatedAt" | "seq" | "timestamp">

/**
 * Compares two records; negative if `a` is older.
 *
 * @internal
 */
export const compare = (a: Rank, b: Rank): number => {
  const differences = [a.delegatedAt - b.delegatedAt, a.seq - b.seq, a.timestamp - b.timestamp]
  const first = differences.find((difference) => difference !== 0n) ?? 0n
  return first < 0n ? -1 : first > 0n ? 1 : 0
}

/**
 * @internal
 */
export type Kind = "sovereign" | "topic" | "mailbox"

/**
 * @internal
 */
export const kindOf = (type: number): Kind =>
  type >= 0x10 && type <= 0x1f ? "topic" : type >= 0x80 && type <= 0x8f ? "mailbox" : "sovereign"

/**
 * Most records of each kind at one key.
 *
 * @internal
 */
export const most: { readonly [kind in Kind]: number } = { sovereign: 8, topic: 100, mailbox: 50 }

/** Longest lifetime of a record in seconds. */
const longest: { readonly [kind in Kind]: number } = { sovereign: 604_800, topic: 7200, mailbox: 604_800 }

/**
 * The slot of a record. Of the records in one slot, a node keeps only the newest.
 *
 * @internal
 */
export const slotOf = (key: NodeId, record: SignedRecord): string => {
  const signer = () => Hex.encode(record.publicKey)
  switch (kindOf(record.type)) {
    case "sovereign":
      return `${key} ${record.address} ${record.type}`
    case "topic":
      return `${key} topic ${signer()}`
    case "mailbox":
      return `${key} mailbox ${signer()} ${record.type} ${sha256Hex(record.payload)}`
  }
}

/** Seconds for which a delegation is accepted after its end, because clocks differ. */
const clockSkew = 60n

/**
 * The first Unix second in which the delegation of a record has ended by any
 * clock; undefined if it never ends or there is none.
 *
 * @internal
 */
export const authorityOf = ({ delegation }: SignedRecord): bigint | undefined => {
  if (delegation === undefined) return undefined
  const decoded = Delegation.decode(delegation)
  return Result.isSuccess(decoded) && decoded.success.expiresAt > 0n
    ? decoded.success.expiresAt + clockSkew
    : undefined
}

/**
 * The last Unix second in which a record is valid by its own timestamp and TTL.
 *
 * @internal
 */
export const ownLastSecond = ({ timestamp, ttl, type }: SignedRecord): number =>
  Number(timestamp) + Math.min(ttl, longest[kindOf(type)])

/**
 * The last Unix second in which a record and its delegation are valid.
 *
 * @internal
 */
export const lastSecond = (record: SignedRecord): number => {
  const until = authorityOf(record)
  const expiresAt = ownLastSecond(record)
  return until === undefined ? expiresAt : Math.min(expiresAt, Number(until) - 1)
}
