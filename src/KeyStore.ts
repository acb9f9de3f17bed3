/**
 * Keeps the private key of this node and signs with it, without exposing it.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import type * as Redacted from "effect/Redacted"
import * as Semaphore from "effect/Semaphore"
import type { Address } from "./Address.ts"
import type { Crypto } from "./Crypto.ts"
import * as Identity from "./Identity.ts"

/**
 * The key store has no key for the address.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownAddress extends Data.TaggedError("UnknownAddress")<{ readonly address: Address }> {
  override get message() {
    return `The key store has no key for ${this.address}`
  }
}

/**
 * The key store already holds an identity. A node has exactly one, and it is
 * never overwritten.
 *
 * @category errors
 * @since 0.1.0
 */
export class IdentityExists extends Data.TaggedError("IdentityExists")<{}> {
  override get message() {
    return "The key store already holds an identity, and a node has exactly one"
  }
}

/**
 * The node's keys: none until `generate` creates one and returns its address.
 * Public keys are 32 bytes, signatures 64.
 *
 * @category services
 * @since 0.1.0
 */
export class KeyStore extends Context.Service<KeyStore, {
  /** The addresses of the held keys: one, or none before `generate`. */
  readonly addresses: Effect.Effect<ReadonlyArray<Address>>
  /** Returns the Ed25519 public key of an address, 32 bytes. */
  readonly publicKey: (address: Address) => Effect.Effect<Uint8Array, UnknownAddress>
  /** Signs bytes with the key of an address. The signature is 64 bytes. */
  readonly sign: (address: Address, bytes: Uint8Array) => Effect.Effect<Uint8Array, UnknownAddress>
  /** Generates and keeps the identity. Fails if one exists. */
  readonly generate: Effect.Effect<Address, IdentityExists | KeyValueStore.KeyValueStoreError>
}>()("effect-dht/KeyStore") {}

const make = Effect.fnUntraced(function*(
  initial: Identity.Identity | undefined,
  persist: (identity: Identity.Identity) => Effect.Effect<void, IdentityExists | KeyValueStore.KeyValueStoreError>
) {
  const context = yield* Effect.context<Crypto | SecureRandom.SecureRandom>()
  const oneAtATime = Semaphore.makeUnsafe(1)
  let held = initial

  const find = (address: Address): Effect.Effect<Identity.Identity, UnknownAddress> =>
    Effect.suspend(() =>
      held !== undefined && held.address === address
        ? Effect.succeed(held)
        : Effect.fail(new UnknownAddress({ address }))
    )

  return KeyStore.of({
    addresses: Effect.sync(() => held === undefined ? [] : [held.address]),
    publicKey: (address) => Effect.map(find(address), (identity) => identity.publicKey),
    sign: (address, bytes) => Effect.map(find(address), (identity) => identity.sign(bytes)),
    generate: Effect.gen(function*() {
      if (held !== undefined) return yield* new IdentityExists()
      const identity = yield* Identity.generate
      yield* persist(identity)
      held = identity
      return identity.address
    }).pipe(Effect.provideContext(context), Effect.uninterruptible, oneAtATime.withPermits(1))
  })
})

/**
 * Keeps the key in memory only.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerMemory: Layer.Layer<KeyStore, never, Crypto | SecureRandom.SecureRandom> = Layer.effect(
  KeyStore,
  make(undefined, () => Effect.void)
)

/**
 * Keeps the key in one entry of a key-value store, named `key` (by default
 * `identity.ed25519`), encrypted with a passphrase as by `Identity.seal`. The
 * entry is read when the layer is built, which fails if it cannot be decrypted.
 * `generate` writes it before it returns, and never overwrites another.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerKeyValueStore = (options: {
  readonly passphrase: Redacted.Redacted
  readonly key?: string | undefined
}): Layer.Layer<
  KeyStore,
  Identity.CannotUnlock | KeyValueStore.KeyValueStoreError,
  Crypto | SecureRandom.SecureRandom | KeyValueStore.KeyValueStore
> => {
  const key = options.key ?? "identity.ed25519"
  return Layer.effect(
    KeyStore,
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      const random = yield* SecureRandom.SecureRandom
      const blob = yield* store.getUint8Array(key)
      const held = blob === undefined ? undefined : yield* Identity.unseal(blob, options.passphrase)
      return yield* make(held, (identity) =>
        Effect.gen(function*() {
          // Another program may have written the entry since the layer was
          // built.
          if ((yield* store.getUint8Array(key)) !== undefined) return yield* new IdentityExists()
          yield* store.set(key, yield* Identity.seal(identity, options.passphrase))
        }).pipe(Effect.provideService(SecureRandom.SecureRandom, random)))
    })
  )
}
