/**
 * Signature checks in bulk, possibly on other cores.
 *
 * A signature check is the most expensive part of handling a datagram, so the
 * receive path delegates it and continues. The result arrives by callback
 * instead of an effect: the overhead stays negligible, and under virtual time
 * the callback can run before the call returns.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Crypto } from "./Crypto.ts"
import * as Wallets from "./internal/wallets.ts"

/**
 * Checks signatures, in any order.
 *
 * A check calls `done` with whether the signature is valid once, before or after
 * it returns. It has read the bytes when it returns, so they may be reused. If
 * too many checks are outstanding it returns false and never calls `done`; the
 * caller then drops the message. Bytes of the wrong length are not valid.
 *
 * @category services
 * @since 0.1.0
 */
export class Verifier extends Context.Service<Verifier, {
  /** Checks the Ed25519 signature (64 bytes) of a public key (32 bytes). */
  readonly check: (
    publicKey: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
    done: (valid: boolean) => void
  ) => boolean
  /**
   * Checks the signature (65 bytes) of a text by the wallet of an Ethereum or
   * Paralism address (21 bytes). Takes a millisecond or two: `DelegationChecks`
   * limits how many there are.
   */
  readonly checkWallet: (
    address: Uint8Array,
    text: Uint8Array,
    signature: Uint8Array,
    done: (valid: boolean) => void
  ) => boolean
}>()("effect-dht/Verifier") {}

/**
 * Checks on the calling thread, before `check` returns. Never refuses.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Verifier, never, Crypto> = Layer.effect(
  Verifier,
  Effect.map(Crypto, (crypto) =>
    Verifier.of({
      check: (publicKey, message, signature, done) => {
        done(crypto.verify(publicKey, message, signature))
        return true
      },
      checkWallet: (address, text, signature, done) => {
        done(Wallets.isSigned(address, text, signature))
        return true
      }
    }))
)
