/**
 * The masters of a story and their delegations.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type { Address } from "../../Address.ts"
import type { Ed25519 } from "../../Crypto.ts"
import * as Delegation from "../../Delegation.ts"
import type { Master } from "./story.ts"

const privateKeys: { readonly [master in Master]: Uint8Array } = {
  Ann: new Uint8Array(32).fill(1),
  Eve: new Uint8Array(32).fill(2)
}

/**
 * A delegation from a master to a key. Times are Unix seconds; it never expires if
 * `expiresAt` is 0.
 *
 * @internal
 */
export const delegate = (
  master: Master,
  crypto: Ed25519,
  options: { readonly operationalPublicKey: Uint8Array; readonly issuedAt: bigint; readonly expiresAt: bigint }
): Delegation.Delegation =>
  master === "Ann"
    ? Delegation.delegate({ ...options, master: crypto.signingKey(privateKeys.Ann) })
    : Result.getOrThrow(
      Delegation.delegateSecp256k1({ ...options, chain: "ethereum", privateKey: privateKeys.Eve })
    )

/**
 * The address of a master.
 *
 * @internal
 */
export const addressOf = (master: Master, crypto: Ed25519): Address =>
  delegate(master, crypto, { operationalPublicKey: new Uint8Array(32), issuedAt: 0n, expiresAt: 0n }).agent
