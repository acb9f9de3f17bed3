/**
 * Checks many signatures, possibly on other cores.
 *
 * A check of a signature costs more than everything else that is done for a
 * datagram, so the receive path hands it over and goes on. The answer is a
 * callback and not an effect, which keeps the cost of handing over in the
 * noise, and lets virtual time answer before the call returns.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Crypto } from "./Crypto.ts"

/**
 * Checks Ed25519 signatures, in any order.
 *
 * `check` takes a public key (32 bytes), a message and a signature (64 bytes)
 * and answers through `done`, once, before or after it returns; it has read the
 * bytes when it returns, so they may be reused. It returns false, and never
 * calls `done`, when as many checks are outstanding as may be: the caller drops
 * what it wanted to check. A key or signature of the wrong length is not valid.
 *
 * @category services
 * @since 0.1.0
 */
export class Verifier extends Context.Service<Verifier, {
  /**
   * Tells `done` whether the signature is good, once, now or later. Returns
   * false, and never calls it, where too many checks wait already.
   */
  readonly check: (
    publicKey: Uint8Array,
    message: Uint8Array,
    signature: Uint8Array,
    done: (valid: boolean) => void
  ) => boolean
}>()("effect-dht/Verifier") {}

/**
 * Checks on the calling thread, before `check` returns; never too busy.
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
      }
    }))
)
