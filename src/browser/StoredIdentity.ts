/**
 * An identity whose key is in the storage of a page: `localStorage`, which all
 * tabs of the page's origin share, or `sessionStorage`, for one tab.
 *
 * Every script of the origin can read the key. For a key that needs a
 * passphrase, store the result of `Identity.seal` instead.
 *
 * @module
 * @since 0.1.0
 */
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { Crypto } from "../Crypto.ts"
import * as Identity from "../Identity.ts"
import * as Hex from "../internal/hex.ts"

/**
 * The part of the Web Storage API that is used.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeyStorage {
  readonly getItem: (name: string) => string | null
  readonly setItem: (name: string, text: string) => void
}

/**
 * The storage refuses, or has something else under the name.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnusableStorage extends Data.TaggedError("UnusableStorage")<{
  readonly name: string
  readonly reason: string
}> {
  override get message() {
    return `The identity ${JSON.stringify(this.name)} cannot be kept: ${this.reason}`
  }
}

/**
 * The name under which the key is stored by default.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultName = "effect-dht.identity"

/**
 * Reads the identity in a storage. Makes one if there is none. The private key
 * is stored as 64 hex digits.
 *
 * @category constructors
 * @since 0.1.0
 */
export const loadOrCreate = (
  storage: KeyStorage,
  name: string = defaultName
): Effect.Effect<Identity.Identity, UnusableStorage, Crypto | SecureRandom.SecureRandom> =>
  Effect.gen(function*() {
    const crypto = yield* Crypto
    const attempt = <A>(evaluate: () => A) =>
      Effect.try({ try: evaluate, catch: (cause) => new UnusableStorage({ name, reason: String(cause) }) })
    if ((yield* attempt(() => storage.getItem(name))) === null) {
      const { seed } = yield* Identity.generate
      yield* attempt(() => storage.setItem(name, Hex.encode(Redacted.value(seed))))
    }
    // What is there now: another tab may have made an identity as well.
    const text = yield* attempt(() => storage.getItem(name))
    return text !== null && /^[0-9a-f]{64}$/.test(text)
      ? Identity.fromSeed(crypto, Hex.decode(text))
      : yield* new UnusableStorage({ name, reason: "what is stored is not a key of 64 hex digits" })
  })

/**
 * Provides the identity in a storage, made if there is none.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  storage: KeyStorage,
  name?: string
): Layer.Layer<Identity.NodeIdentity, UnusableStorage, Crypto | SecureRandom.SecureRandom> =>
  Layer.effect(Identity.NodeIdentity, loadOrCreate(storage, name))
