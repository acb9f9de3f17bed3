/**
 * The node's identity: one Ed25519 key and the names derived from it, and the
 * address it publishes for, which is its own unless it has a delegation.
 *
 * @module
 * @since 0.1.0
 */
import { xchacha20poly1305 } from "@noble/ciphers/chacha.js"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Address from "./Address.ts"
import { Crypto, type Ed25519, type ExchangeKey, type Provider } from "./Crypto.ts"
import * as Delegation from "./Delegation.ts"
import { deriveKey } from "./internal/argon2id.ts"
import * as Hex from "./internal/hex.ts"
import * as NodeId from "./NodeId.ts"

/**
 * A key pair and its names. `address` and `nodeId` are hashes of `publicKey`
 * (32 bytes); `seed` is the private key (32 bytes); `sign` returns an Ed25519
 * signature (64 bytes).
 *
 * Other nodes know this node by `address` and `nodeId`. Its records and its
 * mailbox belong to `agent`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Identity {
  readonly address: Address.Address
  readonly nodeId: NodeId.NodeId
  readonly publicKey: Uint8Array
  readonly seed: Redacted.Redacted<Uint8Array>
  readonly sign: (bytes: Uint8Array) => Uint8Array
  /** The same key for encryption: messages to this node are encrypted to it. */
  readonly exchangeKey: ExchangeKey
  /** The address that the key acts for: `address`, or the master of the delegation. */
  readonly agent: Address.Address
  /** Authorises the key to act for `agent`; undefined if that is its own address. */
  readonly delegation: Delegation.Delegation | undefined
}

/**
 * The encrypted identity cannot be decrypted: the passphrase is wrong or the
 * blob is damaged, which cannot be told apart.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotUnlock extends Data.TaggedError("CannotUnlock")<{}> {
  override get message() {
    return "The identity cannot be decrypted: the passphrase is wrong, or the file is damaged"
  }
}

/**
 * The delegation of this node's key has expired, so the key signs nothing more
 * for that address. Times are Unix seconds.
 *
 * @category errors
 * @since 0.1.0
 */
export class DelegationExpired extends Data.TaggedError("DelegationExpired")<{
  readonly agent: Address.Address
  readonly expiresAt: bigint
  readonly now: number
}> {
  override get message() {
    return `The delegation from ${this.agent} expired ${BigInt(this.now) - this.expiresAt} s ago. ` +
      "Get a new one, signed by the master key"
  }
}

/**
 * The one identity that this node signs with.
 *
 * @category services
 * @since 0.1.0
 */
export class NodeIdentity extends Context.Service<NodeIdentity, Identity>()("effect-dht/Identity/NodeIdentity") {}

/**
 * Derives the identity of a 32-byte private key, and keeps a copy of the key.
 * Throws a `RangeError` for another length.
 *
 * @example
 * ```ts run
 * import { Address, Crypto, Identity } from "effect-dht"
 *
 * const identity = Identity.fromSeed(Crypto.noble, new Uint8Array(32).fill(1))
 * console.log(Address.format(identity.address) === Address.format(Address.fromPublicKey(identity.publicKey))) // => true
 * console.log(identity.nodeId.length) // => 64
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromSeed = (crypto: Provider, seed: Uint8Array): Identity => {
  const { exchangeKey, publicKey, sign } = crypto.signingKey(seed)
  const address = Address.fromPublicKey(publicKey)
  return {
    address,
    nodeId: NodeId.fromAddress(address),
    publicKey,
    seed: Redacted.make(seed.slice()),
    sign,
    exchangeKey,
    agent: address,
    delegation: undefined
  }
}

/**
 * Returns the same key, acting for the address that delegated to it. Fails if
 * the delegation is for another key, or not signed by its master. Whether it
 * has expired is checked at each signature, see {@link mandate}.
 *
 * @category constructors
 * @since 0.1.0
 */
export const withDelegation = (
  identity: Identity,
  delegation: Delegation.Delegation,
  crypto: Ed25519
): Result.Result<Identity, Delegation.InvalidDelegation> =>
  Hex.encode(delegation.operationalPublicKey) === Hex.encode(identity.publicKey)
    ? Result.map(Delegation.verifyMaster(delegation, crypto), () => ({
      ...identity,
      agent: delegation.agent,
      delegation: Delegation.canonical(delegation)
    }))
    : Result.fail(
      new Delegation.InvalidDelegation({
        reason: `it is for the key ${Hex.encode(delegation.operationalPublicKey)}, this one is ${
          Hex.encode(identity.publicKey)
        }`
      })
    )

/**
 * Returns what a record of `agent` must carry: the encoded delegation, or
 * undefined if the address is the key's own. Fails if the delegation has
 * expired at `now`, in Unix seconds.
 *
 * @category accessors
 * @since 0.1.0
 */
export const mandate = (
  { delegation }: Pick<Identity, "delegation">,
  now: number
): Result.Result<Uint8Array | undefined, DelegationExpired> =>
  delegation === undefined
    ? Result.succeed(undefined)
    : Delegation.isExpired(delegation, now)
    ? Result.fail(new DelegationExpired({ agent: delegation.agent, expiresAt: delegation.expiresAt, now }))
    : Result.succeed(Delegation.encode(delegation))

/**
 * Generates a new identity.
 *
 * @category constructors
 * @since 0.1.0
 */
export const generate: Effect.Effect<Identity, never, Crypto | SecureRandom.SecureRandom> = Effect.gen(function*() {
  const crypto = yield* Crypto
  const random = yield* SecureRandom.SecureRandom
  return fromSeed(crypto, yield* random.randomBytes(32))
})

const magic = new TextEncoder().encode("a2al-k1")
const saltAt = magic.length
const nonceAt = saltAt + 16
const boxAt = nonceAt + 24
/** The seed (32 bytes), then the Poly1305 tag. */
const blobLength = boxAt + 32 + 16

/**
 * Encrypts the private key with a passphrase into 95 bytes that are safe to
 * keep in a file. Argon2id derives the key of XChaCha20-Poly1305; it takes 64
 * MiB and about a quarter of a second, and blocks the thread meanwhile.
 *
 * @example
 * ```ts run
 * import { Crypto, Identity } from "effect-dht"
 * import * as SecureRandom from "effect/crypto/SecureRandom"
 * import * as Effect from "effect/Effect"
 * import * as Redacted from "effect/Redacted"
 *
 * const program = Effect.gen(function*() {
 *   const identity = yield* Identity.generate
 *   const blob = yield* Identity.seal(identity, Redacted.make("correct horse"))
 *   const again = yield* Identity.unseal(blob, Redacted.make("correct horse"))
 *   const wrong = yield* Effect.flip(Identity.unseal(blob, Redacted.make("battery staple")))
 *   console.log(blob.length, again.address === identity.address, wrong._tag) // => 95 true CannotUnlock
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide([Crypto.layerNoble, SecureRandom.layerWebCrypto])))
 * ```
 *
 * @category encryption
 * @since 0.1.0
 */
export const seal = (
  identity: Identity,
  passphrase: Redacted.Redacted
): Effect.Effect<Uint8Array, never, SecureRandom.SecureRandom> =>
  Effect.gen(function*() {
    const random = yield* SecureRandom.SecureRandom
    const blob = new Uint8Array(blobLength)
    blob.set(magic)
    blob.set(yield* random.randomBytes(nonceAt - saltAt), saltAt)
    blob.set(yield* random.randomBytes(boxAt - nonceAt), nonceAt)
    blob.set(cipher(blob, passphrase).encrypt(Redacted.value(identity.seed)), boxAt)
    return blob
  })

/**
 * Decrypts the result of {@link seal}. Fails alike for a wrong passphrase and
 * for damaged bytes. Blocks the thread as `seal` does.
 *
 * @category encryption
 * @since 0.1.0
 */
export const unseal = (
  blob: Uint8Array,
  passphrase: Redacted.Redacted
): Effect.Effect<Identity, CannotUnlock, Crypto> =>
  Effect.gen(function*() {
    const crypto = yield* Crypto
    const seed = openBox(blob, passphrase)
    if (seed === undefined) return yield* new CannotUnlock()
    return fromSeed(crypto, seed)
  })

const openBox = (blob: Uint8Array, passphrase: Redacted.Redacted): Uint8Array | undefined => {
  if (blob.length !== blobLength || !magic.every((byte, i) => byte === blob[i])) return undefined
  const opened = cipher(blob, passphrase)
  try {
    return opened.decrypt(blob.subarray(boxAt))
  } catch {
    return undefined
  }
}

const cipher = (blob: Uint8Array, passphrase: Redacted.Redacted) =>
  xchacha20poly1305(
    deriveKey(new TextEncoder().encode(Redacted.value(passphrase)), blob.subarray(saltAt, nonceAt)),
    blob.subarray(nonceAt, boxAt)
  )

/**
 * Provides a given identity.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (identity: Identity): Layer.Layer<NodeIdentity> => Layer.succeed(NodeIdentity, identity)

/**
 * Provides the identity of a 32-byte private key. Dies if the length is wrong.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSeed = (seed: Uint8Array): Layer.Layer<NodeIdentity, never, Crypto> =>
  Layer.effect(NodeIdentity, Effect.map(Crypto, (crypto) => fromSeed(crypto, seed)))

/**
 * Generates a new identity each time the layer is built.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerGenerate: Layer.Layer<NodeIdentity, never, Crypto | SecureRandom.SecureRandom> = Layer.effect(
  NodeIdentity,
  generate
)
