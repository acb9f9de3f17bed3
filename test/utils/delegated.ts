import * as Result from "effect/Result"
import * as Delegation from "../../src/Delegation.ts"
import * as Identity from "../../src/Identity.ts"
import { crypto } from "./arbitraries.ts"
import { identity, now } from "./network.ts"

export type Master = "ed25519" | "ethereum" | "paralism"

export const masters: ReadonlyArray<Master> = ["ed25519", "ethereum", "paralism"]

/** A delegation from a master to the key of `name`. Times are Unix seconds; it never expires if `expiresAt` is 0. */
export const delegation = (
  name: string,
  options: { readonly master?: Master; readonly issuedAt?: number; readonly expiresAt?: number } = {}
): Delegation.Delegation => {
  const { expiresAt = 0, issuedAt = now - 100, master = "ed25519" } = options
  const fields = {
    operationalPublicKey: identity(name).publicKey,
    issuedAt: BigInt(issuedAt),
    expiresAt: BigInt(expiresAt)
  }
  return master === "ed25519"
    ? Delegation.delegate({ ...fields, master: identity("master") })
    : Result.getOrThrow(
      Delegation.delegateSecp256k1({ ...fields, chain: master, privateKey: new Uint8Array(32).fill(7) })
    )
}

/** The identity of `name`, which acts for a master. */
export const delegated = (name: string, options: Parameters<typeof delegation>[1] = {}): Identity.Identity =>
  Result.getOrThrow(Identity.withDelegation(identity(name), delegation(name, options), crypto))
