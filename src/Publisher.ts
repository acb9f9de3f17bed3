/**
 * Records of our own: signed, kept here, and copied to where they are looked
 * for.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Address from "./Address.ts"
import {
  type DelegationExpired,
  type InvalidDelegation,
  type InvalidRecord,
  type RecordExpired,
  RecordTooLarge,
  type StaleRecord
} from "./DhtError.ts"
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
import { Store } from "./Store.ts"
import * as Topic from "./Topic.ts"
import { Transport } from "./Transport.ts"
import * as Withdrawal from "./Withdrawal.ts"

/**
 * Why a record was not published.
 *
 * @category errors
 * @since 0.1.0
 */
export type PublishError =
  | InvalidRecord
  | RecordExpired
  | StaleRecord
  | InvalidDelegation
  | DelegationExpired
  | RecordTooLarge

/**
 * What every record of our own may say besides its content.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lifetime {
  /** Seconds; defaults to 3600, and no more than `Record.maxLifetime` counts. */
  readonly ttl?: number | undefined
}

/**
 * Signs records as the node's identity and publishes them. Each has a larger
 * `seq` than what is held in its place, here or in the network.
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
 *     // What does not fit is named: { field: "name", size: 2000, limit: 689, unit: "bytes" }
 *     Effect.logError(message, excess))
 * )
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Publisher extends Context.Service<Publisher, {
  /**
   * Publishes a record that is signed already, at its own key unless another
   * is given. Returns once it is stored here; copying goes on in the background.
   * Where a newer record turns up, `replicas` of the publication fails with
   * `StaleRecord`.
   *
   * The others sign what they are given: with a seq of the clock, or one more
   * than that of the record that is held, here or in the network.
   */
  readonly publish: (
    record: Record.SignedRecord,
    key?: NodeId.NodeId
  ) => Effect.Effect<Publication, PublishError>
  /** Where we can be reached. */
  readonly publishEndpoint: (
    endpoint: Parameters<typeof Endpoint.make>[0] & Lifetime
  ) => Effect.Effect<Publication, PublishError>
  /** What we offer, under a topic. */
  readonly publishTopic: (
    topic: Parameters<typeof Topic.make>[0] & Lifetime
  ) => Effect.Effect<Publication, PublishError>
  /** Who we are. */
  readonly publishProfile: (
    profile: Parameters<typeof Profile.make>[0] & Lifetime
  ) => Effect.Effect<Publication, PublishError>
  /** Any payload under any type that may be signed; at our own key unless another is given. */
  readonly publishCustom: (
    record: { readonly type: number; readonly payload: Uint8Array; readonly key?: NodeId.NodeId | undefined } & Lifetime
  ) => Effect.Effect<Publication, PublishError>
  /**
   * Withdraws a published endpoint, topic or profile: readers do not see it
   * from the moment they hear of that. What was published in its place since
   * stays. Returns at once.
   */
  readonly withdraw: (
    publication: Publication
  ) => Effect.Effect<Recall, InvalidRecord | RecordExpired | StaleRecord | InvalidDelegation>
}>()("effect-dht/Publisher") {}

const defaultTtl = 3600

/** A delegation that ends within a day deserves a warning. */
const warningSeconds = 86_400

const maxSeq = 0xffff_ffff_ffff_ffffn

/** Nanoseconds that the clock may have been ahead when the last seq was signed: a day. */
const maxAhead = 86_400_000_000_000n

/** How often a record is signed anew because its slot was taken meanwhile. */
const maxSigned = 4

/** Hints that were logged and are not again, as when a record is renewed. */
const maxLogged = 64

const make = Effect.fnUntraced(function*(options: {
  readonly whereabouts: Effect.Effect<Whereabouts | undefined>
  readonly logsHints: boolean
}) {
  const identity = yield* Identity.NodeIdentity
  const store = yield* Store
  const replication = yield* Replication
  const persistence = yield* Persistence
  const logged = new RecencyMap<string, true>(maxLogged)
  let lastSeq = yield* persistence.kept.seq

  // From the clock, so that a restart without state does not go back; and after
  // the last one, in case the clock was set back. By how much is bounded: what
  // was signed while the clock was far ahead is no reason to go on from there.
  const stamp = (heldSeq: bigint) =>
    Effect.gen(function*() {
      const nanos = yield* Clock.currentTimeNanos
      lastSeq = nanos > lastSeq || lastSeq - nanos > maxAhead ? nanos : lastSeq + 1n
      persistence.save({ _tag: "Signed", seq: lastSeq })
      const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
      const delegation = yield* Effect.fromResult(Identity.mandate(identity, now))
      // The seq of a slot has no bearing on that of others.
      const seq = heldSeq < lastSeq ? lastSeq : heldSeq < maxSeq ? heldSeq + 1n : maxSeq
      return { signer: identity, address: identity.agent, delegation, seq, timestamp: BigInt(now) }
    })

  let warnedOfExpiry = false

  /** Says once that the delegation ends soon, while there is time to get another. */
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

  /** Keeps the record here, so that it is copied. */
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
      logged.use(message, () => true)
    }
    return hints
  }, Effect.annotateLogs({ module: "effect-dht/Publisher" }))

  const publish = Effect.fn("Publisher.publish")(function*(record: Record.SignedRecord, key?: NodeId.NodeId) {
    yield* keep(record, key)
    return yield* replication.replicate(placeOf(record, key), record, { hints: yield* warned(record) })
  })

  const signed = Effect.fn("Publisher.publish")(function*(
    sign: (stamped: Effect.Success<ReturnType<typeof stamp>>) => Result.Result<Record.SignedRecord, InvalidRecord>,
    keyOf?: () => NodeId.NodeId | undefined
  ) {
    /** Signs over what is held here and elsewhere. */
    const signOver = Effect.fnUntraced(function*(heldSeq: bigint) {
      for (let times = 1;; times++) {
        const record = yield* Effect.fromResult(sign(yield* stamp(heldSeq)))
        const kept = yield* Effect.result(keep(record, keyOf?.()))
        if (Result.isSuccess(kept)) return record
        const { failure } = kept
        // A larger seq helps where a smaller one was the reason.
        const helps = failure._tag === "StaleRecord" && failure.heldSeq >= failure.seq && failure.seq < maxSeq
        if (!helps || times === maxSigned) return yield* failure
        heldSeq = failure.heldSeq
      }
    })
    const record = yield* signOver(-1n)
    yield* warnBeforeExpiry(record)
    return yield* replication.replicate(placeOf(record, keyOf?.()), record, {
      hints: yield* warned(record),
      signOver: (held) =>
        // Under a later delegation it is newer whatever our seq.
        held.delegatedAt > record.delegatedAt
          ? Effect.undefined
          : Effect.orElseSucceed(signOver(held.seq), () => undefined)
    })
  })

  const withdraw: Publisher["Service"]["withdraw"] = Effect.fn("Publisher.withdraw")(function*(publication) {
    const record = yield* publication.current
    const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const withdrawal = yield* Effect.fromResult(Withdrawal.sign({ signer: identity, record, now }))
    yield* store.put(publication.key, withdrawal)
    return yield* replication.recall(publication.key, withdrawal)
  })

  return Publisher.of({
    publish,
    publishEndpoint: ({ ttl = defaultTtl, ...endpoint }) =>
      Effect.flatMap(Effect.fromResult(Endpoint.parse(endpoint)), (payload) =>
        Effect.mapError(
          signed((stamped) => Endpoint.sign({ ...stamped, ttl, payload })),
          // Nothing but the record's own limit bounds the list of endpoints.
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
        // What is no topic was refused before it has a key.
        () => NodeId.fromTopic(topic.topic)
      ),
    publishProfile: ({ ttl = defaultTtl, ...profile }) =>
      signed((stamped) => Profile.sign({ ...stamped, ttl, payload: Profile.make(profile) })),
    publishCustom: ({ key, payload, ttl = defaultTtl, type }) =>
      signed((stamped) => Record.sign({ ...stamped, ttl, type, payload }), () => key),
    withdraw
  })
})

/**
 * Publishes as the identity of this node. The hints of publications are logged
 * as well, each once.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Publisher,
  never,
  Identity.NodeIdentity | Persistence | Reachability | Store | Replication | Transport
> = Layer.effect(
  Publisher,
  Effect.gen(function*() {
    const reachability = yield* Reachability
    const { address } = yield* Transport
    const whereabouts = Effect.gen(function*() {
      return { bound: address, publicHost: yield* reachability.publicHost, observed: yield* reachability.observed }
    })
    return yield* make({ whereabouts, logsHints: true })
  })
)

/**
 * Publishes as an identity whose node is another one; `node` is what is known
 * of where that runs, if one does.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFor = (
  node: Whereabouts | undefined
): Layer.Layer<Publisher, never, Identity.NodeIdentity | Persistence | Store | Replication> =>
  Layer.effect(Publisher, make({ whereabouts: Effect.succeed(node), logsHints: false }))
