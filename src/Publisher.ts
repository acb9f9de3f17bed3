/**
 * Publishing of own records: signs them, stores them here and replicates them.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Address from "./Address.ts"
import * as Seq from "./core/seq.ts"
import type { Custom, InvalidPayload } from "./Custom.ts"
import type { InvalidDelegation } from "./Delegation.ts"
import * as Endpoint from "./Endpoint.ts"
import * as Identity from "./Identity.ts"
import { RecencyMap } from "./internal/recencyMap.ts"
import * as NodeId from "./NodeId.ts"
import { Persistence } from "./Persistence.ts"
import * as Profile from "./Profile.ts"
import { hintsOf, type Whereabouts } from "./PublishHint.ts"
import { Reachability } from "./Reachability.ts"
import * as Record from "./Record.ts"
import { type Publication, type Recall, Replication } from "./Replication.ts"
import { spanned } from "./Spans.ts"
import { Store } from "./Store.ts"
import * as Topic from "./Topic.ts"
import { Transport } from "./Transport.ts"
import * as Withdrawal from "./Withdrawal.ts"

/**
 * The record (its size in bytes) does not fit into the 1200-byte datagram that
 * returns it to a reader.
 *
 * @category errors
 * @since 0.1.0
 */
export class RecordTooLarge extends Data.TaggedError("RecordTooLarge")<{
  readonly size: number
  readonly limit: number
  /** The field that is too long, if known. */
  readonly excess?: Record.Excess | undefined
}> {
  override get message() {
    const { excess, limit, size } = this
    const said = `The record is ${size} bytes, and at most ${limit} can be resolved`
    return excess === undefined
      ? said
      : `${said}: ${excess.field} is too long, ${excess.size} ${excess.unit}, and at most ${excess.limit} fit`
  }
}

/**
 * Why a record was not published.
 *
 * @category errors
 * @since 0.1.0
 */
export type PublishError =
  | Record.InvalidRecord
  | Record.RecordExpired
  | Record.StaleRecord
  | InvalidDelegation
  | Identity.DelegationExpired
  | RecordTooLarge

/**
 * Options of every own record besides its content.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lifetime {
  /** Seconds, by default 3600; more than `Record.maxLifetime` counts as that. */
  readonly ttl?: number | undefined
}

/**
 * A custom record as bytes, at our own key or at the given one.
 *
 * @category models
 * @since 0.1.0
 */
export interface CustomBytes extends Lifetime {
  readonly type: number
  readonly payload: Uint8Array
  readonly key?: NodeId.NodeId | undefined
}

/**
 * A custom record as a value, at our own key or at the given one.
 *
 * @category models
 * @since 0.1.0
 */
export interface CustomValue<A> extends Lifetime {
  readonly custom: Custom<A>
  readonly value: A
  readonly key?: NodeId.NodeId | undefined
}

/**
 * Signs records with the node's identity and publishes them. Each gets a larger
 * `seq` than the record that is held in its slot, here or in the network.
 *
 * @example
 * ```ts
 * import { Publisher } from "effect-dht"
 * import * as Effect from "effect/Effect"
 *
 * const program = Effect.gen(function*() {
 *   const publisher = yield* Publisher.Publisher
 *   const { record } = yield* publisher.publishProfile({ name: "Ann", skills: ["translation"] })
 *   yield* Effect.log(`Published as ${record.address}, until ${record.expiresAt}`)
 * }).pipe(
 *   Effect.catchTag("InvalidRecord", ({ excess, message }) =>
 *     // The field that does not fit: { field: "name", size: 2000, limit: 689, unit: "bytes" }
 *     Effect.logError(message, excess))
 * )
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Publisher extends Context.Service<Publisher, {
  /**
   * Publishes a record that is already signed, at its own key or at the given
   * one. Returns once the record is stored here; copying continues in the
   * background. If a newer record turns up, `replicas` of the publication fails
   * with `StaleRecord`.
   *
   * The other methods sign their content, with a seq from the clock, or one
   * above that of the record held here or in the network.
   */
  readonly publish: (
    record: Record.SignedRecord,
    key?: NodeId.NodeId
  ) => Effect.Effect<Publication, PublishError>
  /** Publishes where the agent can be reached. */
  readonly publishEndpoint: (
    endpoint: Parameters<typeof Endpoint.make>[0] & Lifetime
  ) => Effect.Effect<Publication, PublishError>
  /** Publishes an offer under a topic. */
  readonly publishTopic: (
    topic: Parameters<typeof Topic.make>[0] & Lifetime
  ) => Effect.Effect<Publication, PublishError>
  /** Publishes the agent's profile. */
  readonly publishProfile: (
    profile: Parameters<typeof Profile.make>[0] & Lifetime
  ) => Effect.Effect<Publication, PublishError>
  /** Publishes a value, or any bytes, under a type that is left to applications. */
  readonly publishCustom: {
    <A>(record: CustomValue<A>): Effect.Effect<Publication, PublishError | InvalidPayload>
    (record: CustomBytes): Effect.Effect<Publication, PublishError>
  }
  /**
   * Withdraws a publication other than mail: readers that see the withdrawal no
   * longer see the record. A record published in its place since then stays.
   * Returns at once.
   */
  readonly withdraw: (
    publication: Publication
  ) => Effect.Effect<Recall, Record.InvalidRecord | Record.RecordExpired | Record.StaleRecord | InvalidDelegation>
}>()("effect-dht/Publisher") {}

const defaultTtl = 3600

/** Remaining seconds of a delegation at which the log warns: a day. */
const warningSeconds = 86_400

/** Attempts to sign a record whose slot other records keep taking. */
const maxSigned = 4

/** Hints remembered so that a renewed record does not log them again. */
const maxLogged = 64

const makeWith = Effect.fnUntraced(function*(options: {
  readonly whereabouts: Effect.Effect<Whereabouts | undefined>
  readonly logsHints: boolean
}) {
  const identity = yield* Identity.NodeIdentity
  const store = yield* Store
  const replication = yield* Replication
  const persistence = yield* Persistence
  const logged = new RecencyMap<string, true>(maxLogged)
  let lastSeq = yield* persistence.kept.seq

  const stamp = (heldSeq: bigint) =>
    Effect.gen(function*() {
      lastSeq = Seq.after(lastSeq, yield* Clock.currentTimeNanos)
      persistence.save({ _tag: "Signed", seq: lastSeq })
      const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
      const delegation = yield* Effect.fromResult(Identity.mandate(identity, now))
      // The seq of one slot does not affect that of another.
      const seq = Seq.over(lastSeq, heldSeq)
      return { signer: identity, address: identity.agent, delegation, seq, timestamp: BigInt(now) }
    })

  let warnedOfExpiry = false

  /** Warns once that the delegation expires soon, while there is time to get another. */
  const warnBeforeExpiry = Effect.fnUntraced(function*({ timestamp, ttl }: Record.SignedRecord) {
    const { agent, delegation } = identity
    if (warnedOfExpiry || delegation === undefined || delegation.expiresAt === 0n) return
    const left = delegation.expiresAt - timestamp
    if (left > BigInt(Math.max(ttl, warningSeconds))) return
    warnedOfExpiry = true
    yield* Effect.logWarning(
      `The delegation from ${Address.format(agent)} ends in ${left} s, and with it what this node publishes. ` +
        "Get a new one, signed by the master key"
    )
  })

  const placeOf = (record: Record.SignedRecord, key: NodeId.NodeId | undefined): NodeId.NodeId =>
    key === undefined || key === NodeId.zero ? Record.ownKey(record) : key

  /** Stores the record here, from where it is replicated. */
  const keep = Effect.fnUntraced(function*(record: Record.SignedRecord, key: NodeId.NodeId | undefined) {
    const size = record.bytes.length
    if (size > Record.maxResolvableSize) {
      return yield* new RecordTooLarge({ size, limit: Record.maxResolvableSize })
    }
    yield* store.put(placeOf(record, key), record)
  })

  const warned = Effect.fnUntraced(function*(record: Record.SignedRecord) {
    const hints = hintsOf(record, record.address === identity.agent ? yield* options.whereabouts : undefined)
    if (!options.logsHints) return hints
    for (const { message } of hints) {
      if (logged.get(message) === undefined) yield* Effect.logWarning(message)
      logged.set(message, true)
    }
    return hints
  }, Effect.annotateLogs({ module: "effect-dht/Publisher" }))

  const publish = Effect.fnUntraced(function*(record: Record.SignedRecord, key?: NodeId.NodeId) {
    yield* keep(record, key)
    return yield* replication.replicate(placeOf(record, key), record, { hints: yield* warned(record) })
  }, spanned("Publisher.publish"))

  const signed = Effect.fnUntraced(function*(
    sign: (
      stamped: Effect.Success<ReturnType<typeof stamp>>
    ) => Result.Result<Record.SignedRecord, Record.InvalidRecord>,
    keyOf?: () => NodeId.NodeId | undefined
  ) {
    /** Signs with a larger seq than the records held here and elsewhere. */
    const signOver = Effect.fnUntraced(function*(heldSeq: bigint) {
      for (let times = 1;; times++) {
        const record = yield* Effect.fromResult(sign(yield* stamp(heldSeq)))
        const kept = yield* Effect.result(keep(record, keyOf?.()))
        if (Result.isSuccess(kept)) return record
        const { failure } = kept
        if (failure._tag !== "StaleRecord" || !Seq.helps(failure) || times === maxSigned) return yield* failure
        heldSeq = failure.heldSeq
      }
    })
    const record = yield* signOver(-1n)
    yield* warnBeforeExpiry(record)
    return yield* replication.replicate(placeOf(record, keyOf?.()), record, {
      hints: yield* warned(record),
      signOver: (held) =>
        // A record under a later delegation is newer whatever our seq.
        held.delegatedAt > record.delegatedAt
          ? Effect.undefined
          : Effect.orElseSucceed(signOver(held.seq), () => undefined)
    })
  }, spanned("Publisher.publish"))

  const withdraw: Publisher["Service"]["withdraw"] = Effect.fnUntraced(function*(publication) {
    const record = yield* publication.current
    const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const withdrawal = yield* Effect.fromResult(Withdrawal.sign({ signer: identity, record, now }))
    yield* store.put(publication.key, withdrawal)
    return yield* replication.recall(publication.key, withdrawal)
  }, spanned("Publisher.withdraw"))

  function publishCustom<A>(
    record: CustomValue<A>
  ): Effect.Effect<Publication, PublishError | InvalidPayload>
  function publishCustom(record: CustomBytes): Effect.Effect<Publication, PublishError>
  function publishCustom<A>(record: CustomValue<A> | CustomBytes) {
    const { key, ttl = defaultTtl } = record
    const put = (type: number, payload: Uint8Array) =>
      signed((stamped) => Record.sign({ ...stamped, ttl, type, payload }), () => key)
    return "payload" in record
      ? put(record.type, record.payload)
      : Effect.flatMap(
        Effect.suspend(() => Effect.fromResult(record.custom.encode(record.value))),
        (payload) => put(record.custom.type, payload)
      )
  }

  return Publisher.of({
    publish,
    publishEndpoint: ({ ttl = defaultTtl, ...endpoint }) =>
      Effect.flatMap(Effect.fromResult(Endpoint.parse(endpoint)), (payload) =>
        Effect.mapError(
          signed((stamped) => Endpoint.sign({ ...stamped, ttl, payload })),
          // The size of the record is the only bound on the list of endpoints.
          (error) =>
            error._tag === "RecordTooLarge"
              ? new RecordTooLarge({
                size: error.size,
                limit: error.limit,
                excess: Endpoint.excess(payload, error.size - error.limit)
              })
              : error
        )),
    publishTopic: ({ ttl = Topic.defaultTtl, ...topic }) =>
      signed(
        (stamped) => Topic.sign({ ...stamped, ttl, payload: Topic.make(topic) }),
        // `Topic.sign` has refused an invalid topic before its key is needed.
        () => NodeId.fromTopic(topic.topic)
      ),
    publishProfile: ({ ttl = defaultTtl, ...profile }) =>
      signed((stamped) => Profile.sign({ ...stamped, ttl, payload: Profile.make(profile) })),
    publishCustom,
    withdraw
  })
})

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const reachability = yield* Reachability
  const { address } = yield* Transport
  const whereabouts = Effect.gen(function*() {
    return { bound: address, publicHost: yield* reachability.publicHost, observed: yield* reachability.observed }
  })
  return yield* makeWith({ whereabouts, logsHints: true })
})

/**
 * Publishes with the identity of this node. Hints about publications are also
 * logged, once each.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Publisher,
  never,
  Identity.NodeIdentity | Persistence | Reachability | Store | Replication | Transport
> = Layer.effect(Publisher, make)

/**
 * Publishes for an identity whose node runs elsewhere; `node` is what is known
 * about that node's address, if there is such a node.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFor = (
  node: Whereabouts | undefined
): Layer.Layer<Publisher, never, Identity.NodeIdentity | Persistence | Store | Replication> =>
  Layer.effect(Publisher, makeWith({ whereabouts: Effect.succeed(node), logsHints: false }))
