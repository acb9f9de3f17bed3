/**
 * The keys of a session: both sides derive them from their own private and the
 * other's public key.
 *
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import type { Keys } from "../core/sessions.ts"
import type { Encryption } from "../Crypto.ts"
import type { Identity } from "../Identity.ts"
import * as Hmac from "../internal/hmac.ts"
import type { Network } from "../Network.ts"

const label = new TextEncoder().encode("effect-dht session\0")

/**
 * Derives the keys that an identity shares with the owner of an Ed25519 public
 * key in a network; undefined if that is not a point of the curve or has small
 * order. Each direction has its own key, for which the sender's public key comes
 * first.
 *
 * @internal
 */
export const deriver = ({ crypto, identity, network }: {
  readonly identity: Pick<Identity, "publicKey" | "exchangeKey">
  readonly network: Network
  readonly crypto: Pick<Encryption, "toExchangeKey" | "deriveKey">
}): (publicKey: Uint8Array) => Keys | undefined => {
  const salt = Bytes.concat([label, network.hash])
  return (publicKey) => {
    const other = crypto.toExchangeKey(publicKey)
    const secret = other && identity.exchangeKey.agree(other)
    if (secret === undefined) return undefined
    const key = (from: Uint8Array, to: Uint8Array) =>
      Hmac.prepare(crypto.deriveKey(secret, salt, Bytes.concat([from, to])))
    return { send: key(identity.publicKey, publicKey), receive: key(publicKey, identity.publicKey) }
  }
}
