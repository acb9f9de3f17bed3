/**
 * Why a hosted record was not renewed.
 *
 * @since 0.1.0
 */
import type { PublishError } from "../Publisher.ts"
import type { KeyFull, NotEnoughReplicas } from "../Replication.ts"
import type { SignerFailed } from "./signer.ts"

/**
 * Why a record was not renewed.
 *
 * @category errors
 * @since 0.1.0
 */
export type RenewalError = PublishError | SignerFailed | NotEnoughReplicas | KeyFull

/**
 * The tags of the reasons, for counters. `Internal` is a fault of this library,
 * which is logged.
 *
 * @category constants
 * @since 0.1.0
 */
export const reasons = [
  "SignerFailed",
  "NotEnoughReplicas",
  "KeyFull",
  "StaleRecord",
  "InvalidRecord",
  "RecordTooLarge",
  "RecordExpired",
  "InvalidDelegation",
  "DelegationExpired",
  "Internal"
] as const satisfies ReadonlyArray<RenewalError["_tag"] | "Internal">

/**
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof reasons[number]

/**
 * The failure of the last attempt. No reason: a fault of this library.
 *
 * @internal
 */
export interface Failure {
  readonly tag: Reason
  readonly reason: RenewalError | undefined
}
