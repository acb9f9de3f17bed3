/**
 * Which record is newer, which ones compete, and how long one counts, said once
 * more, so that what checks the nodes does not share their code.
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
 * The parts of a record that order it.
 *
 * @internal
 */
export type Rank = Pick<SignedRecord, "delegatedAt" | "seq" | "timestamp">

/**
 * Negative when `a` is the older.
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
 * The most records of one key.
 *
 * @internal
 */
export const most: { readonly [kind in Kind]: number } = { sovereign: 8, topic: 100, mailbox: 50 }

/** Seconds that a record counts at most. */
const longest: { readonly [kind in Kind]: number } = { sovereign: 604_800, topic: 7200, mailbox: 604_800 }

/**
 * Of two records with the same, at one node, only the newer stays.
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
      return `${key} mail ${signer()} ${record.type} ${sha256Hex(record.payload)}`
  }
}

/** Seconds that a delegation is believed after its end, as clocks differ. */
const clockSkew = 60n

/**
 * The first Unix second in which the signer has no say any more by any clock;
 * undefined when that never comes.
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
 * The last Unix second in which a record counts by its own time.
 *
 * @internal
 */
export const ownLastSecond = ({ timestamp, ttl, type }: SignedRecord): number =>
  Number(timestamp) + Math.min(ttl, longest[kindOf(type)])

/**
 * The last Unix second in which a record counts.
 *
 * @internal
 */
export const lastSecond = (record: SignedRecord): number => {
  const until = authorityOf(record)
  const expiresAt = ownLastSecond(record)
  return until === undefined ? expiresAt : Math.min(expiresAt, Number(until) - 1)
}
