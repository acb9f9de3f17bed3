/**
 * The checks of a record before it is stored, passed on or shown: integrity,
 * authority, lifetime, and that it belongs at its key.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type { Ed25519 } from "../Crypto.ts"
import type { InvalidDelegation } from "../Delegation.ts"
import * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import { placementFault } from "./placement.ts"

/**
 * The key where a record may be kept, or why it may not.
 *
 * @internal
 */
export type Vetted<E = never> = Result.Result<NodeId.NodeId, Record.InvalidRecord | InvalidDelegation | E>

/**
 * The fault of a record that is older than any of its type is kept.
 *
 * @internal
 */
export const endOf = ({ expiresAt }: Record.SignedRecord, now: number): Record.Fault | undefined =>
  expiresAt < now ? { _tag: "RecordExpired", expiresAt, now } : undefined

/**
 * Whether a key is meant, and not the key of the record's address.
 *
 * @internal
 */
export const isGiven = (key: NodeId.NodeId | undefined): key is NodeId.NodeId =>
  key !== undefined && key !== NodeId.zero

/**
 * Makes the checks. They remember the signatures that they have verified. Times
 * are Unix seconds.
 *
 * @internal
 */
export const make = (options: { readonly crypto: Ed25519; readonly policy?: Record.Policy | undefined }) => {
  const policy = options.policy ?? Record.authority(options)
  const verifyOnce = Record.verifier(options)

  /** Checks the authority of a record. */
  const place = (given: NodeId.NodeId | undefined, record: Record.SignedRecord, now: number): Vetted => {
    const key = isGiven(given) && Record.category(record.type) !== "sovereign" ? given : Record.ownKey(record)
    if (isGiven(given) && given !== key) {
      return Result.fail(new Record.InvalidRecord({ reason: "it belongs at the key of its own address" }))
    }
    const allowed = policy(key, record, now)
    return Result.isFailure(allowed) ? Result.fail(allowed.failure) : Result.succeed(key)
  }

  /** Makes all checks but that of the key that the payload names. */
  const verify = (
    given: NodeId.NodeId | undefined,
    record: Record.SignedRecord,
    now: number
  ): Vetted<Record.RecordExpired> => {
    const verified = verifyOnce(record, now)
    if (Result.isFailure(verified)) return Result.fail(verified.failure)
    const key = place(given, record, now)
    const ended = Result.isSuccess(key) ? endOf(record, now) : undefined
    return ended === undefined ? key : Result.fail(Record.toError(ended))
  }

  /** Makes all checks. */
  const vet = (
    given: NodeId.NodeId | undefined,
    record: Record.SignedRecord,
    now: number
  ): Vetted<Record.RecordExpired> =>
    Result.flatMap(verify(given, record, now), (key) => {
      const reason = placementFault(key, record)
      return reason === undefined ? Result.succeed(key) : Result.fail(new Record.InvalidRecord({ reason }))
    })

  return { place, verify, vet }
}
