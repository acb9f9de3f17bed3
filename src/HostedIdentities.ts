/**
 * Identities that the node hosts until they are removed, also after a restart.
 * For that it keeps their keys, where `Hosting` is given signers by a program.
 *
 * They are saved with the node's state: what each announces, and its private
 * key, encrypted with a key that is derived from the node's own. So the state,
 * and copies of it, are of no use without the node's private key. A key is
 * decrypted for each signature, and is nowhere returned.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import { type Address, fromPublicKey } from "./Address.ts"
import { Crypto, type ExchangeKey, type PrivateKey } from "./Crypto.ts"
import type { InvalidPayload } from "./Custom.ts"
import * as Delegation from "./Delegation.ts"
import * as Hosting from "./Hosting.ts"
import { fromSeed, type Identity, NodeIdentity, withDelegation } from "./Identity.ts"
import * as NodeId from "./NodeId.ts"
import { type HostedIdentity, Persistence } from "./Persistence.ts"
import * as Record from "./Record.ts"
import * as StandingAnnouncements from "./StandingAnnouncements.ts"
import * as Topic from "./Topic.ts"

// --- Models ------------------------------------------------------------------------

/**
 * What a hosted identity announces: the contents of standing announcements, and
 * custom records. A record at the key of its own address has no `key`, which is
 * 64 hex digits.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Content = Schema.Union([
  ...StandingAnnouncements.Content.members,
  Schema.TaggedStruct("Custom", {
    type: Schema.Int,
    payload: Schema.Uint8ArrayFromHex,
    key: Schema.optional(Schema.String),
    ttl: Schema.optional(Schema.Int)
  })
])

/**
 * @category models
 * @since 0.1.0
 */
export type Content = typeof Content.Type

/**
 * How an identity is hosted. See `Hosting.HostOptions`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Terms {
  readonly announce: ReadonlyArray<Content>
  readonly replicas?: number | undefined
  readonly ttl?: number | undefined
  readonly mail?: boolean | undefined
}

/**
 * The private key of an identity: that of its address, or one that the address
 * has delegated to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Key {
  /** 32 bytes. */
  readonly seed: Redacted.Redacted<Uint8Array>
  readonly delegation?: Delegation.Delegation | undefined
}

/**
 * Changes of a hosted identity; what is not given stays. A key must be for the
 * same address.
 *
 * @category models
 * @since 0.1.0
 */
export interface Changes {
  readonly key?: Key | undefined
  readonly announce?: ReadonlyArray<Content> | undefined
  readonly replicas?: number | undefined
  readonly ttl?: number | undefined
  readonly mail?: boolean | undefined
}

/**
 * Why an identity cannot be added.
 *
 * @category errors
 * @since 0.1.0
 */
export type AddError = Hosting.HostError | Delegation.InvalidDelegation | InvalidPayload

/**
 * An identity of an earlier run that cannot be hosted.
 *
 * @category models
 * @since 0.1.0
 */
export interface Refused {
  readonly address: Address
  readonly reason: AddError
}

/**
 * Outcome of a change. `isDurable`: whether it would survive the end of the
 * process at this moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface Changed {
  readonly address: Address
  readonly isDurable: boolean
}

// --- The service -------------------------------------------------------------------

/**
 * Hosts identities until they are removed.
 *
 * @example
 * ```ts
 * import { type Crypto, HostedIdentities } from "effect-dht"
 * import * as Effect from "effect/Effect"
 * import * as Redacted from "effect/Redacted"
 *
 * const add = (seed: Uint8Array) =>
 *   Effect.gen(function*() {
 *     const identities = yield* HostedIdentities.HostedIdentities
 *     const { address, isDurable } = yield* identities.add({
 *       seed: Redacted.make(seed),
 *       announce: [{ _tag: "Endpoint", endpoints: ["https://agents.example"] }]
 *     })
 *     yield* Effect.log(`${address} is hosted until ${isDurable ? "it is removed" : "the node stops"}`)
 *   }).pipe(Effect.catchTag("AlreadyHosted", ({ message }) => Effect.logWarning(message)))
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class HostedIdentities extends Context.Service<HostedIdentities, {
  /** Hosts an identity. Succeeds once it is saved; if it fails, nothing is hosted. */
  readonly add: (options: Terms & Key) => Effect.Effect<Changed, AddError>
  /** Changes a hosted identity. Succeeds once that is saved; if it fails, nothing is changed. */
  readonly update: (
    address: Address,
    options: Changes
  ) => Effect.Effect<Changed, Hosting.NotHosted | Exclude<AddError, Hosting.AlreadyHosted>>
  /** Stops hosting an identity and forgets its key, see `Hosting.remove`. Returns once that is saved. */
  readonly remove: (
    address: Address,
    options?: { readonly keepRecords?: boolean | undefined }
  ) => Effect.Effect<Changed, Hosting.NotHosted>
  /** Identities of an earlier run that cannot be hosted, such as those whose delegations have ended. They can be updated and removed. */
  readonly refused: Effect.Effect<ReadonlyArray<Refused>>
}>()("effect-dht/HostedIdentities") {}

// --- What is saved -----------------------------------------------------------------

/** An identity as it is saved. The key is a nonce, then the encrypted seed; the delegation is encoded. */
const Saved = Schema.fromJsonString(Schema.Struct({
  key: Schema.Uint8ArrayFromBase64Url,
  publicKey: Schema.Uint8ArrayFromBase64Url,
  delegation: Schema.optional(Schema.Uint8ArrayFromBase64Url),
  announce: Schema.Array(Content),
  replicas: Schema.optional(Schema.Int),
  ttl: Schema.optional(Schema.Int),
  mail: Schema.optional(Schema.Boolean)
}))

type Saved = typeof Saved.Type

const encode = Schema.encodeSync(Saved)
const decode = Schema.decodeUnknownResult(Saved)

const nonceLength = 12

const purpose = new TextEncoder().encode("effect-dht hosted identities")

/** Encrypts and decrypts the seeds of hosted identities. */
class Box {
  private readonly crypto: Crypto["Service"]
  private readonly secret: Redacted.Redacted<Uint8Array>

  constructor(crypto: Crypto["Service"], { seed }: Identity) {
    this.crypto = crypto
    this.secret = Redacted.make(crypto.deriveKey(Redacted.value(seed), new Uint8Array(0), purpose))
  }

  seal(seed: Uint8Array, nonce: Uint8Array): Uint8Array {
    const sealed = this.crypto.encrypt(Redacted.value(this.secret), nonce, seed)
    const key = new Uint8Array(nonceLength + sealed.length)
    key.set(nonce)
    key.set(sealed, nonceLength)
    return key
  }

  /** The private key; a failure if it was encrypted by a node with another key, or is not that of `publicKey`. */
  open({ key, publicKey }: Pick<Saved, "key" | "publicKey">): PrivateKey | Hosting.SignerFailed {
    const sealed = key.subarray(nonceLength)
    const seed = this.crypto.decrypt(Redacted.value(this.secret), key.subarray(0, nonceLength), sealed)
    if (seed?.length !== 32) {
      return new Hosting.SignerFailed({ reason: "the saved key cannot be decrypted: a node with another key saved it" })
    }
    const own = this.crypto.signingKey(seed)
    return isSame(own.publicKey, publicKey)
      ? own
      : new Hosting.SignerFailed({ reason: "the saved key is that of another identity" })
  }
}

const isSame = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && a.every((byte, i) => byte === b[i])

/** Signs with a saved key, which is decrypted each time: thousands of ready keys would take more memory than the records. */
class SavedSigner implements Hosting.Signer {
  readonly agent: Address
  readonly delegation: Delegation.Delegation | undefined
  readonly publicKey: Uint8Array
  private readonly key: Uint8Array
  private readonly box: Box

  constructor(box: Box, { delegation, key, publicKey }: Pick<Saved, "key" | "publicKey"> & {
    readonly delegation: Delegation.Delegation | undefined
  }) {
    this.agent = delegation?.agent ?? fromPublicKey(publicKey)
    this.delegation = delegation
    this.publicKey = publicKey
    this.key = key
    this.box = box
  }

  /** What is saved of the key. */
  get saved(): Pick<Saved, "key" | "publicKey"> {
    return { key: this.key, publicKey: this.publicKey }
  }

  /** Undefined for a key that cannot be decrypted. */
  get exchangeKey(): ExchangeKey | undefined {
    const own = this.box.open(this.saved)
    return own instanceof Hosting.SignerFailed ? undefined : own.exchangeKey
  }

  sign(bytes: Uint8Array): Uint8Array | Effect.Effect<Uint8Array, Hosting.SignerFailed> {
    const own = this.box.open(this.saved)
    return own instanceof Hosting.SignerFailed ? Effect.fail(own) : own.sign(bytes)
  }
}

// --- Making and restoring ----------------------------------------------------------

const metaCodec = Topic.meta(Schema.Record(Schema.String, Schema.Json))

/** A content as `Hosting` takes it. */
const contentOf = (content: Content): Result.Result<Hosting.Content, InvalidPayload | Record.InvalidRecord> => {
  switch (content._tag) {
    case "Endpoint":
      return Result.succeed(content)
    case "Profile":
    case "Topic": {
      const { meta, ...rest } = content
      return meta === undefined
        ? Result.succeed(rest)
        : Result.map(metaCodec.encode(meta), (meta) => ({ ...rest, meta }))
    }
    case "Custom": {
      const { key, ...rest } = content
      if (key === undefined) return Result.succeed(rest)
      return Result.mapBoth(NodeId.fromString(key), {
        onFailure: ({ message }) => new Record.InvalidRecord({ reason: message }),
        onSuccess: (key) => ({ ...rest, key })
      })
    }
  }
}

const contentsOf = (announce: ReadonlyArray<Content>) => Effect.fromResult(Result.all(announce.map(contentOf)))

/** An identity that is hosted, or that could not be. */
interface Entry {
  readonly signer: SavedSigner
  /** As it is saved: an object would take several times the memory. */
  readonly text: string
  readonly problem: AddError | undefined
}

/** The terms without what comes with them. */
const termsOf = ({ announce, mail, replicas, ttl }: Terms): Terms => ({ announce, replicas, ttl, mail })

const make = Effect.gen(function*() {
  const hosting = yield* Hosting.Hosting
  const persistence = yield* Persistence
  const crypto = yield* Crypto
  const random = yield* SecureRandom.SecureRandom
  const box = new Box(crypto, yield* NodeIdentity)
  const changing = yield* Semaphore.make(1)
  const entries = new Map<Address, Entry>()

  /** Checks a key, and encrypts it. */
  const signerOf = Effect.fnUntraced(function*({ delegation, seed }: Key) {
    const bytes = Redacted.value(seed)
    if (bytes.length !== 32) {
      return yield* new Record.InvalidRecord({ reason: `the private key has ${bytes.length} bytes, not 32` })
    }
    const own = fromSeed(crypto, bytes)
    const acting = delegation === undefined
      ? own
      : yield* Effect.fromResult(withDelegation(own, delegation, crypto))
    return new SavedSigner(box, {
      key: box.seal(bytes, yield* random.randomBytes(nonceLength)),
      publicKey: acting.publicKey,
      delegation: acting.delegation
    })
  })

  const save = (signer: SavedSigner, terms: Terms): void => {
    const { agent: address, delegation } = signer
    const text = encode({
      ...signer.saved,
      delegation: delegation && Delegation.encode(delegation),
      ...termsOf(terms)
    })
    entries.set(address, { signer, text, problem: undefined })
    persistence.save({ _tag: "Enrolled", address, text })
  }

  const changed = (address: Address) =>
    persistence.flush.pipe(
      Effect.match({ onFailure: () => false, onSuccess: () => true }),
      // A change that ended while another one starts it would start a loop over many of them again within itself.
      Effect.tap(() => Effect.yieldNow),
      Effect.map((isDurable) => ({ address, isDurable }))
    )

  const add: HostedIdentities["Service"]["add"] = Effect.fn("HostedIdentities.add")(function*(options) {
    const address = yield* Effect.gen(function*() {
      const signer = yield* signerOf(options)
      const address = signer.agent
      // One that could not be hosted is not replaced either: its terms would be lost.
      if (entries.has(address)) return yield* new Hosting.AlreadyHosted({ address })
      yield* hosting.host({ ...termsOf(options), signer, announce: yield* contentsOf(options.announce) })
      save(signer, options)
      return address
    }).pipe(changing.withPermits(1), Effect.uninterruptible)
    return yield* changed(address)
  })

  const find = (address: Address): Effect.Effect<Entry, Hosting.NotHosted> =>
    Effect.suspend(() => {
      const entry = entries.get(address)
      return entry === undefined ? new Hosting.NotHosted({ address }) : Effect.succeed(entry)
    })

  const update: HostedIdentities["Service"]["update"] = Effect.fn("HostedIdentities.update")(
    function*(address, { key, ...given }) {
      yield* Effect.gen(function*() {
        const entry = yield* find(address)
        const { announce, mail, replicas, ttl } = Result.getOrThrow(decode(entry.text))
        const terms = {
          announce: given.announce ?? announce,
          replicas: given.replicas ?? replicas,
          ttl: given.ttl ?? ttl,
          mail: given.mail ?? mail
        }
        const signer = key === undefined ? entry.signer : yield* signerOf(key)
        if (signer.agent !== address) {
          return yield* new Record.InvalidRecord({ reason: `the key is for ${signer.agent}, not for ${address}` })
        }
        if (entry.problem === undefined) {
          const contents = given.announce === undefined ? {} : { announce: yield* contentsOf(given.announce) }
          yield* hosting.update(address, {
            signer,
            replicas: given.replicas,
            ttl: given.ttl,
            mail: given.mail,
            ...contents
          })
        } else {
          yield* hosting.host({ ...termsOf(terms), signer, announce: yield* contentsOf(terms.announce) }).pipe(
            Effect.catchTag("AlreadyHosted", Effect.die)
          )
        }
        save(signer, terms)
      }).pipe(changing.withPermits(1), Effect.uninterruptible)
      return yield* changed(address)
    }
  )

  const remove: HostedIdentities["Service"]["remove"] = Effect.fn("HostedIdentities.remove")(
    function*(address, options) {
      yield* Effect.gen(function*() {
        const { problem } = yield* find(address)
        if (problem === undefined) yield* hosting.remove(address, options)
        entries.delete(address)
        persistence.save({ _tag: "Dismissed", address })
      }).pipe(changing.withPermits(1), Effect.uninterruptible)
      return yield* changed(address)
    }
  )

  /** Hosts an identity of an earlier run. */
  const resume = Effect.fnUntraced(function*({ address, text }: HostedIdentity) {
    const saved = decode(text)
    const delegation = Result.isSuccess(saved) && saved.success.delegation !== undefined
      ? Delegation.decode(saved.success.delegation)
      : Result.succeed(undefined)
    if (Result.isFailure(saved) || Result.isFailure(delegation)) {
      return yield* Effect.logWarning(`The hosted identity ${address} of the last run cannot be read`)
    }
    const signer = new SavedSigner(box, { ...saved.success, delegation: delegation.success })
    const problem = yield* contentsOf(saved.success.announce).pipe(
      Effect.flatMap((announce) => hosting.host({ ...termsOf(saved.success), signer, announce })),
      Effect.match({ onFailure: (error) => error, onSuccess: () => undefined })
    )
    entries.set(address, { signer, text, problem })
  })

  yield* Stream.runForEach(persistence.kept.identities, resume)
  const refused = Array.from(entries.values()).filter(({ problem }) => problem !== undefined).length
  if (refused > 0) yield* Effect.logWarning(`${refused} hosted identities of the last run cannot be hosted`)

  return HostedIdentities.of({
    add,
    update,
    remove,
    refused: Effect.sync(() =>
      Array.from(entries, ([address, { problem }]) => ({ address, reason: problem })).filter(
        (each): each is Refused => each.reason !== undefined
      )
    )
  })
})

/**
 * Identities that are hosted until they are removed; those of an earlier run are
 * hosted again before the layer is built.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  HostedIdentities,
  never,
  Crypto | Hosting.Hosting | NodeIdentity | Persistence | SecureRandom.SecureRandom
> = Layer.effect(HostedIdentities, make)
