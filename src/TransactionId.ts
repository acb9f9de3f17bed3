/**
 * Transaction ids: 20 random bytes for each request datagram.
 *
 * @module
 * @since 0.1.0
 */
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Hex from "./internal/hex.ts"
import type { TransactionId } from "./Message.ts"

const size = 20

/** Number of ids drawn at a time: a call to the source costs more than the bytes. */
const batch = 64

/**
 * Makes a synchronous generator of ids from a source of randomness.
 *
 * @category constructors
 * @since 0.1.0
 */
export const generator = (random: SecureRandom.SecureRandom["Service"]): () => TransactionId => {
  const draw = random.randomBytes(size * batch)
  let drawn: Uint8Array = new Uint8Array()
  let at = 0
  return () => {
    if (at === drawn.length) {
      drawn = Effect.runSync(draw)
      at = 0
    }
    return Hex.encode(drawn.subarray(at, at += size))
  }
}
