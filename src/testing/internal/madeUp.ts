/**
 * Identities that a run makes up.
 *
 * @since 0.1.0
 */
import type { Provider } from "../../Crypto.ts"
import * as Identity from "../../Identity.ts"
import { sha256 } from "../../internal/sha256.ts"

/**
 * The identity whose seed is derived from a name.
 *
 * @internal
 */
export const identityOf = (crypto: Provider, name: string): Identity.Identity =>
  Identity.fromSeed(crypto, sha256(new TextEncoder().encode(name)))
