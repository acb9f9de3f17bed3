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
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { Address } from "./Address.ts"
import { Crypto, type ExchangeKey, type PrivateKey, type Provider } from "./Crypto.ts"
import type { InvalidPayload } from "./Custom.ts"
import * as Delegation from "./Delegation.ts"
import * as Hosting from "./Hosting.ts"
import { draftAll, fingerprintOf } from "./hosting/drafts.ts"
import { fromSeed, type Identity, NodeIdentity, withDelegation } from "./Identity.ts"
import * as NodeId from "./NodeId.ts"
import { type HostedIdentity, Persistence } from "./Persistence.ts"
import * as Record from "./Record.ts"
import { spanned } from "./Spans.ts"
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

const savedKey = {
  key: Schema.Uint8ArrayFromBase64Url,
  publicKey: Schema.Uint8ArrayFromBase64Url,
  delegation: Schema.optional(Schema.Uint8ArrayFromBase64Url)
}

const savedTerms = {
  replicas: Schema.optional(Schema.Int),
  ttl: Schema.optional(Schema.Int),
  mail: Schema.optional(Schema.Boolean)
}

/**
 * An identity as it is saved. The key is a nonce, then the encrypted seed; the
 * delegation is encoded. The fingerprint tells whether records are of what it
 * announces.
 */
const Saved = Schema.fromJsonString(Schema.Struct({
  ...savedKey,
  ...savedTerms,
  announce: Schema.Array(Content),
  fingerprint: Schema.String
}))

type Saved = typeof Saved.Type
type SavedKey = Pick<Saved, keyof typeof savedKey>

const encode = Schema.encodeSync(Saved)
const decode = Schema.decodeUnknownResult(Saved)

/** Parts of it: the others take more time to decode, and a start with thousands does without. */
const decodeKey = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.Struct(savedKey)))
const decodeTerms = Schema.decodeUnknownResult(
  Schema.fromJsonString(Schema.Struct({ ...savedTerms, delegation: savedKey.delegation, fingerprint: Schema.String }))
)

const delegationOf = (
  { delegation }: Pick<Saved, "delegation">
): Result.Result<Delegation.Delegation | undefined, Delegation.InvalidDelegation> =>
  delegation === undefined ? Result.succeed(undefined) : Delegation.decode(delegation)

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

/**
 * Signs with a saved key, which is read and decrypted each time: thousands of
 * ready keys would take more memory than the records.
 */
class SavedSigner implements Hosting.Signer {
  readonly agent: Address
  readonly delegation: Delegation.Delegation | undefined
  /** The identity as it is saved. An object would take several times the memory. */
  readonly text: string
  private readonly box: Box

  constructor(box: Box, { address, text }: HostedIdentity, delegation: Delegation.Delegation | undefined) {
    this.agent = address
    this.delegation = delegation
    this.text = text
    this.box = box
  }

  /** What is saved of the key. */
  get saved(): SavedKey {
    return Result.getOrThrow(decodeKey(this.text))
  }

  get publicKey(): Uint8Array {
    return this.saved.publicKey
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

/** The identity of a key. */
const identityOf = (
  crypto: Provider,
  { delegation, seed }: Key
): Result.Result<Identity, Record.InvalidRecord | Delegation.InvalidDelegation> => {
  const { length } = Redacted.value(seed)
  if (length !== 32) {
    return Result.fail(new Record.InvalidRecord({ reason: `the private key has ${length} bytes, not 32` }))
  }
  const own = fromSeed(crypto, Redacted.value(seed))
  return delegation === undefined ? Result.succeed(own) : withDelegation(own, delegation, crypto)
}

/**
 * An identity as `Hosting` takes it, with its key.
 *
 * @internal
 */
export const optionsOf = (
  crypto: Provider,
  { announce, mail, replicas, ttl, ...key }: Terms & Key
): Result.Result<Omit<Hosting.HostOptions, "signer"> & { readonly signer: Identity }, AddError> =>
  Result.flatMap(identityOf(crypto, key), (signer) =>
    Result.map(
      Result.all(announce.map(contentOf)),
      (announce) => ({ signer, announce, replicas, ttl, mail })
    ))

/** The terms without what comes with them. */
const termsOf = ({ announce, mail, replicas, ttl }: Terms): Terms => ({ announce, replicas, ttl, mail })

const make = Effect.gen(function*() {
  const hosting = yield* Hosting.Hosting
  const persistence = yield* Persistence
  const crypto = yield* Crypto
  const random = yield* SecureRandom.SecureRandom
  const box = new Box(crypto, yield* NodeIdentity)
  const changing = yield* Semaphore.make(1)
  const signers = new Map<Address, SavedSigner>()
  /** Why those that could not be hosted could not. */
  const problems = new Map<Address, AddError>()

  /** Checks a key, and encrypts it. */
  const keyOf = Effect.fnUntraced(function*(given: Key) {
    const { agent, delegation: mandate, publicKey } = yield* Effect.fromResult(identityOf(crypto, given))
    const key = box.seal(Redacted.value(given.seed), yield* random.randomBytes(nonceLength))
    return { agent, saved: { key, publicKey, delegation: mandate && Delegation.encode(mandate) } }
  })

  /** Returns the signer of an identity, with all that is saved of it, and what it announces. */
  const prepare = Effect.fnUntraced(function*(address: Address, key: SavedKey, terms: Terms) {
    const delegation = yield* Effect.fromResult(delegationOf(key))
    const announce = yield* contentsOf(terms.announce)
    const announced = { signer: { agent: address, delegation, publicKey: key.publicKey }, announce, ttl: terms.ttl }
    const drafts = yield* Effect.fromResult(draftAll(announced, yield* Clock.currentTimeMillis))
    const text = encode({ ...key, ...termsOf(terms), fingerprint: fingerprintOf(drafts) })
    return { ...termsOf(terms), signer: new SavedSigner(box, { address, text }, delegation), announce }
  })

  const save = (signer: SavedSigner): void => {
    signers.set(signer.agent, signer)
    problems.delete(signer.agent)
    persistence.save({ _tag: "Enrolled", address: signer.agent, text: signer.text })
  }

  const changed = (address: Address) =>
    persistence.flush.pipe(
      Effect.match({ onFailure: () => false, onSuccess: () => true }),
      // A change that ended while another one starts it would start a loop over many of them again within itself.
      Effect.tap(() => Effect.yieldNow),
      Effect.map((isDurable) => ({ address, isDurable }))
    )

  const add: HostedIdentities["Service"]["add"] = Effect.fnUntraced(function*(options) {
    const address = yield* Effect.gen(function*() {
      const { agent: address, saved } = yield* keyOf(options)
      // One that could not be hosted is not replaced either: its terms would be lost.
      if (signers.has(address)) return yield* new Hosting.AlreadyHosted({ address })
      const prepared = yield* prepare(address, saved, options)
      yield* hosting.host(prepared)
      save(prepared.signer)
      return address
    }).pipe(changing.withPermits(1), Effect.uninterruptible)
    return yield* changed(address)
  }, spanned("HostedIdentities.add"))

  const find = (address: Address): Effect.Effect<SavedSigner, Hosting.NotHosted> =>
    Effect.suspend(() => {
      const signer = signers.get(address)
      return signer === undefined ? new Hosting.NotHosted({ address }) : Effect.succeed(signer)
    })

  const update: HostedIdentities["Service"]["update"] = Effect.fnUntraced(
    function*(address, { key, ...given }) {
      yield* Effect.gen(function*() {
        const signer = yield* find(address)
        const { announce, mail, replicas, ttl } = Result.getOrThrow(decode(signer.text))
        const { agent, saved } = key === undefined ? { agent: address, saved: signer.saved } : yield* keyOf(key)
        if (agent !== address) {
          return yield* new Record.InvalidRecord({ reason: `the key is for ${agent}, not for ${address}` })
        }
        const prepared = yield* prepare(address, saved, {
          announce: given.announce ?? announce,
          replicas: given.replicas ?? replicas,
          ttl: given.ttl ?? ttl,
          mail: given.mail ?? mail
        })
        yield* problems.has(address)
          ? Effect.catchTag(hosting.host(prepared), "AlreadyHosted", Effect.die)
          : hosting.update(address, prepared)
        save(prepared.signer)
      }).pipe(changing.withPermits(1), Effect.uninterruptible)
      return yield* changed(address)
    },
    spanned("HostedIdentities.update")
  )

  const remove: HostedIdentities["Service"]["remove"] = Effect.fnUntraced(
    function*(address, options) {
      yield* Effect.gen(function*() {
        yield* find(address)
        if (!problems.delete(address)) yield* hosting.remove(address, options)
        signers.delete(address)
        persistence.save({ _tag: "Dismissed", address })
      }).pipe(changing.withPermits(1), Effect.uninterruptible)
      return yield* changed(address)
    },
    spanned("HostedIdentities.remove")
  )

  /** Hosts an identity of an earlier run with the records that it left. */
  const resume = (saved: HostedIdentity): boolean => {
    const decoded = decodeTerms(saved.text)
    const delegation = Result.flatMap(decoded, delegationOf)
    if (Result.isFailure(decoded) || Result.isFailure(delegation)) return false
    const { fingerprint, mail, replicas, ttl } = decoded.success
    const signer = new SavedSigner(box, saved, delegation.success)
    const isResumed = hosting.resumeUnsafe({ signer, fingerprint, mail, replicas, ttl })
    if (isResumed) signers.set(saved.address, signer)
    return isResumed
  }

  /** Hosts an identity of an earlier run anew. */
  const rehost = Effect.fnUntraced(function*({ address, text }: HostedIdentity) {
    const saved = decode(text)
    const delegation = Result.flatMap(saved, delegationOf)
    if (Result.isFailure(saved) || Result.isFailure(delegation)) {
      return yield* Effect.logWarning(`The hosted identity ${address} of the last run cannot be read`)
    }
    const signer = new SavedSigner(box, { address, text }, delegation.success)
    signers.set(address, signer)
    yield* contentsOf(saved.success.announce).pipe(
      Effect.flatMap((announce) => hosting.host({ ...termsOf(saved.success), signer, announce })),
      Effect.catch((error) => Effect.sync(() => problems.set(address, error)))
    )
  })

  yield* Stream.runForEachArray(
    persistence.kept.identities,
    Effect.fnUntraced(function*(page) {
      for (const saved of page) if (!resume(saved)) yield* rehost(saved)
    })
  )
  if (problems.size > 0) yield* Effect.logWarning(`${problems.size} hosted identities of the last run cannot be hosted`)

  return HostedIdentities.of({
    add,
    update,
    remove,
    refused: Effect.sync(() => Array.from(problems, ([address, reason]) => ({ address, reason })))
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
