/**
 * What happens to hosted identities.
 *
 * @since 0.1.0
 */
import type * as Address from "../Address.ts"
import type * as Identity from "../Identity.ts"
import type * as NodeId from "../NodeId.ts"
import type { RenewalError } from "./failure.ts"

/**
 * What happens to hosted identities. `at` and other times are Unix milliseconds.
 *
 * - `Renewed`: a record was signed, unless it was still good, and stored; `copies`
 *   nodes hold it.
 * - `RenewalFailed`: that failed, and is tried again at `retryAt`.
 * - `DelegationEnded`: nothing of the identity is renewed until `update` gives it
 *   another signer.
 * - `Started`, `Updated` and `Removed`: the identity is hosted from now on, in
 *   another way, or no longer.
 *
 * @category models
 * @since 0.1.0
 */
export type Event =
  & { readonly at: number; readonly address: Address.Address }
  & (
    | { readonly _tag: "Started" | "Updated" | "Removed" }
    | {
      readonly _tag: "Renewed"
      readonly key: NodeId.NodeId
      readonly type: number
      readonly seq: bigint
      readonly copies: number
      readonly wanted: number
      readonly due: number
    }
    | {
      readonly _tag: "RenewalFailed"
      readonly key: NodeId.NodeId
      readonly type: number
      readonly reason: RenewalError
      readonly failures: number
      readonly retryAt: number
    }
    | { readonly _tag: "DelegationEnded"; readonly reason: Identity.DelegationExpired }
  )
