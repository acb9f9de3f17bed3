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
import type * as Result from "effect/Result"
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
import * as NodeId from "./NodeId.ts"
import { Persistence } from "./Persistence.ts"
import * as Profile from "./Profile.ts"
import * as Record from "./Record.ts"
import { type Publication, Replication } from "./Replication.ts"
import { Store } from "./Store.ts"
import * as Topic from "./Topic.ts"

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
  /** Seconds; defaults to 3600. */
  readonly ttl?: number | undefined
}

/**
 * Signs records as the node's identity and publishes them. Each has a larger
 * `seq` than the one before, also after a restart.
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
}>()("effect-dht/Publisher") {}

const defaultTtl = 3600

/** A delegation that ends within a day deserves a warning. */
const warningSeconds = 86_400

const make = Effect.gen(function*() {
  const identity = yield* Identity.NodeIdentity
  const store = yield* Store
  const replication = yield* Replication
  const persistence = yield* Persistence
  let lastSeq = yield* persistence.kept.seq

  // From the clock, so that a restart without state does not go back; and after
  // the last one, in case the clock was set back.
  const stamp = Effect.gen(function*() {
    const nanos = yield* Clock.currentTimeNanos
    lastSeq = nanos > lastSeq ? nanos : lastSeq + 1n
    persistence.save({ _tag: "Signed", seq: lastSeq })
    const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const delegation = yield* Effect.fromResult(Identity.mandate(identity, now))
    return { signer: identity, address: identity.agent, delegation, seq: lastSeq, timestamp: BigInt(now) }
  })

  let warned = false

  /** Says once that the delegation ends soon, while there is time to get another. */
  const warnBeforeExpiry = Effect.fnUntraced(function*({ timestamp, ttl }: Record.SignedRecord) {
    const { agent, delegation } = identity
    if (warned || delegation === undefined || delegation.expiresAt === 0n) return
    const left = delegation.expiresAt - timestamp
    if (left > BigInt(Math.max(ttl, warningSeconds))) return
    warned = true
    yield* Effect.logWarning(
      `The delegation from ${Address.format(agent)} ends in ${left} s, and with it what this node publishes. ` +
        "Get a new one, signed by the master key"
    )
  })

  const publish = Effect.fn("Publisher.publish")(function*(record: Record.SignedRecord, key?: NodeId.NodeId) {
    const size = record.bytes.length
    if (size > Record.maxResolvableSize) {
      return yield* new RecordTooLarge({ size, limit: Record.maxResolvableSize })
    }
    const at = key === undefined || key === NodeId.zero ? Record.ownKey(record) : key
    yield* store.put(at, record)
    return yield* replication.replicate(at, record)
  })

  const signed = (
    sign: (stamped: Effect.Success<typeof stamp>) => Result.Result<Record.SignedRecord, InvalidRecord>,
    keyOf?: () => NodeId.NodeId | undefined
  ) =>
    Effect.flatMap(stamp, (stamped) => Effect.fromResult(sign(stamped))).pipe(
      Effect.tap(warnBeforeExpiry),
      Effect.flatMap((record) => publish(record, keyOf?.())),
      // Our own record from a time when the clock was ahead: what we say now counts.
      Effect.tapError((error) =>
        Effect.sync(() => {
          if (error._tag === "StaleRecord" && error.heldSeq > lastSeq) lastSeq = error.heldSeq
        })
      ),
      Effect.retry({ times: 1, while: (error) => error._tag === "StaleRecord" })
    )

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
      signed((stamped) => Record.sign({ ...stamped, ttl, type, payload }), () => key)
  })
})

/**
 * Publishing as the node's own identity.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Publisher, never, Identity.NodeIdentity | Persistence | Store | Replication> = Layer
  .effect(
    Publisher,
    make
  )
