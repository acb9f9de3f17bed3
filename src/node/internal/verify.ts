/**
 * The check of a signature of any kind, on whatever thread runs it.
 *
 * @since 0.1.0
 */
import * as Wallets from "../../internal/wallets.ts"
import { fastest } from "./nativeCrypto.ts"
import type { Verify } from "./verifyLane.ts"

/**
 * @internal
 */
export const verify: Verify = (kind, signer, message, signature) =>
  kind === "Ed25519" ? fastest.verify(signer, message, signature) : Wallets.isSigned(signer, message, signature)
