/**
 * An agent whose key stays with it: it signs, verifies, encrypts and decrypts
 * here, and reaches the network through a {@link Gateway}.
 *
 * Methods have the names that they have in `Dht`. They return no
 * `completeness`: it would be the gateway's word.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type * as Address from "../Address.ts"
import type { OnClose } from "../Announce.ts"
import * as Letters from "../core/letters.ts"
import * as Seq from "../core/seq.ts"
import * as Correspondence from "../Correspondence.ts"
import * as Crypto from "../Crypto.ts"
import type { Offer } from "../Discovery.ts"
import * as Endpoint from "../Endpoint.ts"
import * as Identity from "../Identity.ts"
import * as NodeId from "../NodeId.ts"
import * as Profile from "../Profile.ts"
import type { Lifetime } from "../Publisher.ts"
import type { Resolved } from "../Query.ts"
import * as Record from "../Record.ts"
import * as Renewal from "../Renewal.ts"
import * as Topic from "../Topic.ts"
import * as Withdrawal from "../Withdrawal.ts"
import { type FalseRecord, Gateway, type GatewayError, layer as layerGateway, type Options } from "./Gateway.ts"
import * as StoredIdentity from "./StoredIdentity.ts"

/**
 * Why nothing was read.
 *
 * @category errors
 * @since 0.1.0
 */
export type ReadError = GatewayError | FalseRecord

/**
 * Why a record was not published.
 *
 * @category errors
 * @since 0.1.0
 */
export type PublishError = ReadError | Record.InvalidRecord | Identity.DelegationExpired

/**
 * A record that is kept alive.
 *
 * @category models
 * @since 0.1.0
 */
export interface Announcement {
  /** The record as published last. */
  readonly current: Effect.Effect<Record.SignedRecord>
}

/**
 * What an agent says about itself.
 *
 * @category models
 * @since 0.1.0
 */
export interface FoundProfile extends Profile.ProfilePayload {
  readonly record: Record.SignedRecord
}

/**
 * An agent that signs here.
 *
 * @example
 * ```ts
 * import { Agent } from "effect-dht/browser"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const agent = yield* Agent.Agent
 *   // Both are renewed until the scope closes, and withdrawn then.
 *   yield* agent.announceProfile({ name: "Ann" })
 *   yield* agent.announceTopic({ topic: "translate", name: "Ann", protocols: ["note"], ttl: 600 })
 *   const [offer] = yield* agent.discover("weather", { protocols: ["note"] })
 *   if (offer !== undefined) {
 *     yield* agent.mail.send({ recipient: offer.address, body: new TextEncoder().encode("Rain today?") })
 *   }
 * }).pipe(
 *   Effect.catchTag("FalseRecord", ({ message }) => Effect.logError(message)),
 *   Effect.scoped,
 *   Effect.provide(Agent.layerStored({ url: "http://127.0.0.1:2634", storage: localStorage }))
 * )
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Agent extends Context.Service<Agent, {
  /** The address that the agent publishes for. */
  readonly address: Address.Address
  /** Announces where the agent can be reached, until the scope closes. */
  readonly announceEndpoint: (
    endpoint: Parameters<typeof Endpoint.make>[0] & Lifetime & OnClose
  ) => Effect.Effect<Announcement, PublishError, Scope.Scope>
  /** Announces an offer under a topic, until the scope closes. */
  readonly announceTopic: (
    topic: Parameters<typeof Topic.make>[0] & Lifetime & OnClose
  ) => Effect.Effect<Announcement, PublishError, Scope.Scope>
  /** Announces the agent's profile, until the scope closes. Messages to the agent are encrypted to the key it shows. */
  readonly announceProfile: (
    profile: Parameters<typeof Profile.make>[0] & Lifetime & OnClose
  ) => Effect.Effect<Announcement, PublishError, Scope.Scope>
  /** Finds where an agent can be reached; undefined if the gateway shows no endpoint of it. */
  readonly resolve: (address: Address.Address) => Effect.Effect<Resolved | undefined, ReadError>
  /** Finds what an agent says about itself; undefined if the gateway shows no profile of it. */
  readonly profile: (address: Address.Address) => Effect.Effect<FoundProfile | undefined, ReadError>
  /** Finds the offers under a topic that pass a filter. */
  readonly discover: (
    topic: string,
    filter?: Topic.Filter
  ) => Effect.Effect<ReadonlyArray<Offer>, ReadError | Topic.InvalidTopic>
  /** Encrypted messages, as of `Mail`. */
  readonly mail: {
    /** Encrypts a message of at most 389 bytes and stores it in the recipient's mailbox. */
    readonly send: (message: {
      readonly recipient: Address.Address
      /** Any number up to 255; by default 3, text. */
      readonly type?: number | undefined
      readonly body: Uint8Array
      /** Seconds, by default 3600; more than seven days count as seven days. */
      readonly ttl?: number | undefined
    }) => Effect.Effect<Record.SignedRecord, Letters.NoRecipientKey | PublishError>
    /** Returns the messages to this agent, oldest first: those that have come before as well, until they expire. */
    readonly read: Effect.Effect<ReadonlyArray<Letters.ReceivedMessage>, ReadError>
  }
}>()("effect-dht/browser/Agent") {}

export { NoRecipientKey } from "../core/letters.ts"
export type { Message, ReceivedMessage } from "../core/letters.ts"

const defaultTtl = 3600

/** Attempts to sign a record whose slot other records keep taking. */
const maxSigned = 4

/** Time for the gateway to take a withdrawal when a scope closes. */
const closing = "2 seconds"

/** What every own record has besides its content. */
interface Stamp {
  readonly signer: Identity.Identity
  readonly address: Address.Address
  readonly delegation: Uint8Array | undefined
  readonly seq: bigint
  readonly timestamp: bigint
}

type Sign = (stamp: Stamp) => Result.Result<Record.SignedRecord, Record.InvalidRecord>

const seconds = Effect.map(Clock.currentTimeMillis, (millis) => Math.floor(millis / 1000))

const isStale = (error: { readonly _tag: string; readonly problem?: unknown }): boolean =>
  error._tag === "GatewayRefused" && error.problem === "StaleRecord"

const newest = (records: ReadonlyArray<Record.SignedRecord>): Record.SignedRecord | undefined =>
  records.length === 0 ? undefined : records.reduce((newest, other) => Record.isNewer(other, newest) ? other : newest)

/**
 * Makes the agent of an identity.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: Effect.Effect<
  Agent["Service"],
  never,
  Crypto.Crypto | Gateway | Identity.NodeIdentity | SecureRandom.SecureRandom
> = Effect.gen(function*() {
  const gateway = yield* Gateway
  const identity = yield* Identity.NodeIdentity
  const { agent: address } = identity
  const ownKey = NodeId.fromAddress(address)
  const { open, seal } = yield* Correspondence.make(gateway.records)
  let lastSeq = 0n

  const stamp = (heldSeq: bigint): Effect.Effect<Stamp, Identity.DelegationExpired> =>
    Effect.gen(function*() {
      lastSeq = Seq.after(lastSeq, yield* Clock.currentTimeNanos)
      const now = yield* seconds
      const delegation = yield* Effect.fromResult(Identity.mandate(identity, now))
      const seq = Seq.over(lastSeq, heldSeq)
      return { signer: identity, address, delegation, seq, timestamp: BigInt(now) }
    })

  /** Signs and publishes with a larger seq than a record that is in the network already. */
  const publish = Effect.fnUntraced(function*(sign: Sign, key: () => NodeId.NodeId) {
    let heldSeq = -1n
    for (let times = 1;; times++) {
      const record = yield* Effect.fromResult(sign(yield* stamp(heldSeq)))
      const published = yield* Effect.result(gateway.publish(record))
      if (Result.isSuccess(published)) return record
      const { failure } = published
      if (!isStale(failure) || times === maxSigned) return yield* failure
      // Not the seq that the gateway names: a false one could use up all that there are.
      const held = newest((yield* gateway.records(key(), record.type)).filter((other) => other.address === address))
      if (held === undefined || held.delegatedAt > record.delegatedAt) return yield* failure
      if (!Seq.helps({ seq: record.seq, heldSeq: held.seq })) return yield* failure
      heldSeq = held.seq
    }
  })

  const withdraw = Effect.fnUntraced(function*(record: Record.SignedRecord) {
    const withdrawal = yield* Effect.fromResult(Withdrawal.sign({ signer: identity, record, now: yield* seconds }))
    yield* gateway.publish(withdrawal, { keepalive: true })
  })

  const announce = Effect.fnUntraced(function*(
    publishing: Effect.Effect<Record.SignedRecord, PublishError>,
    { keepOnClose = false }: OnClose
  ) {
    const announced = yield* Effect.acquireRelease(
      Effect.map(publishing, (record) => ({ record })),
      ({ record }) =>
        keepOnClose ? Effect.void : withdraw(record).pipe(
          Effect.timeoutOption(closing),
          // A newer record in its slot was published elsewhere and is not ours to withdraw.
          Effect.catchIf(isStale, () => Effect.void),
          Effect.catchCause((cause) => Effect.logWarning("An announcement could not be withdrawn", cause)),
          Effect.annotateLogs({ module: "effect-dht/browser/Agent" })
        )
    )
    yield* Renewal.forkLoop(
      () => announced.record,
      // A renewal that is not noted here could not be withdrawn.
      Effect.uninterruptible(Effect.map(publishing, (record) => {
        announced.record = record
      })),
      { module: "effect-dht/browser/Agent" }
    )
    return { current: Effect.sync(() => announced.record) }
  })

  const find = Effect.fnUntraced(function*<A>(
    address: Address.Address,
    type: number,
    decode: (payload: Uint8Array) => Result.Result<A, Record.InvalidRecord>
  ) {
    const record = newest(yield* gateway.records(NodeId.fromAddress(address), type))
    if (record === undefined) return undefined
    // No node checks the payload of a profile.
    const payload = decode(record.payload)
    return Result.isSuccess(payload) ? { ...payload.success, record } : undefined
  })

  const discover: Agent["Service"]["discover"] = Effect.fnUntraced(function*(text, filter = {}) {
    const key = NodeId.fromTopic(yield* Effect.fromResult(Topic.parse(text)))
    const records = yield* gateway.records(key, Record.RecordType.topic)
    return records.flatMap((record): ReadonlyArray<Offer> =>
      Result.match(Topic.decode(record.payload), {
        onFailure: () => [],
        onSuccess: (payload) => Topic.matches(payload, filter) ? [{ ...payload, address: record.address, record }] : []
      })
    )
  })

  const send: Agent["Service"]["mail"]["send"] = Effect.fnUntraced(
    function*({ body, recipient, ttl = defaultTtl, type = Letters.MessageType.text }) {
      const payload = yield* seal({ recipient, type, body })
      return yield* publish(
        (stamp) => Record.sign({ ...stamp, ttl, type: Record.RecordType.mailbox, payload }),
        () => NodeId.fromAddress(recipient)
      )
    }
  )

  const read = Effect.flatMap(gateway.records(ownKey, Record.RecordType.mailbox), open)

  return Agent.of({
    address,
    announceEndpoint: ({ keepOnClose, ttl = defaultTtl, ...endpoint }) =>
      Effect.flatMap(
        Effect.fromResult(Endpoint.parse(endpoint)),
        (payload) =>
          announce(publish((stamp) => Endpoint.sign({ ...stamp, ttl, payload }), () => ownKey), { keepOnClose })
      ),
    announceTopic: ({ keepOnClose, ttl = Topic.defaultTtl, ...topic }) =>
      announce(
        publish(
          (stamp) => Topic.sign({ ...stamp, ttl, payload: Topic.make(topic) }),
          // `Topic.sign` has refused an invalid topic before its key is needed.
          () => NodeId.fromTopic(topic.topic)
        ),
        { keepOnClose }
      ),
    announceProfile: ({ keepOnClose, ttl = defaultTtl, ...profile }) =>
      announce(
        publish((stamp) => Profile.sign({ ...stamp, ttl, payload: Profile.make(profile) }), () => ownKey),
        { keepOnClose }
      ),
    resolve: (address) => find(address, Record.RecordType.endpoint, Endpoint.decode),
    profile: (address) => find(address, Record.RecordType.profile, Profile.decode),
    discover,
    mail: { send, read }
  })
})

/**
 * The agent of the provided identity.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Agent,
  never,
  Crypto.Crypto | Gateway | Identity.NodeIdentity | SecureRandom.SecureRandom
> = Layer.effect(Agent, make)

/**
 * All that a page needs: the identity in a storage, made if there is none, the
 * gateway, and primitives in plain JavaScript.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStored = (
  { name, storage, ...gateway }: Options & {
    readonly storage: StoredIdentity.KeyStorage
    /** The name of the identity in the storage. */
    readonly name?: string | undefined
  }
): Layer.Layer<Agent | Gateway | Identity.NodeIdentity, StoredIdentity.UnusableStorage> =>
  layer.pipe(
    Layer.provideMerge(Layer.merge(layerGateway(gateway), StoredIdentity.layer(storage, name))),
    Layer.provide([Crypto.layerNoble, SecureRandom.layerWebCrypto])
  )
