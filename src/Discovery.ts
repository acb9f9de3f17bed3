/**
 * Discovery: the agents that published an offer under a topic, and the values of
 * custom records.
 *
 * @module
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Bytes from "effect/Bytes"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import type { Address } from "./Address.ts"
import type { Custom, InvalidPayload } from "./Custom.ts"
import * as Hex from "./internal/hex.ts"
import * as NodeId from "./NodeId.ts"
import { type Completeness, type NoMatchingRecords, Query } from "./Query.ts"
import * as Record from "./Record.ts"
import { spanned } from "./Spans.ts"
import * as Topic from "./Topic.ts"
import { Watch } from "./Watch.ts"

/**
 * An offer and the agent that made it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Offer extends Topic.TopicPayload {
  /** The agent's address. */
  readonly address: Address
  /** The record that carries the offer, with its times and signature. */
  readonly record: Record.SignedRecord
}

/**
 * The offers under one or several topics, and how complete they are over all
 * topics.
 *
 * @category models
 * @since 0.1.0
 */
export interface Discovered {
  readonly offers: Arr.NonEmptyReadonlyArray<Offer>
  readonly completeness: Completeness
}

/**
 * The offers under a topic at one time, possibly none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Offers {
  readonly offers: ReadonlyArray<Offer>
  /** How complete the offers were when the holders were last asked. */
  readonly completeness: Completeness
}

/**
 * A value of a custom record, and the record that carries it, with its address,
 * times and signature.
 *
 * @category models
 * @since 0.1.0
 */
export interface CustomFound<A> {
  readonly value: A
  readonly record: Record.SignedRecord
}

/**
 * A custom record that is not a value of its schema.
 *
 * @category models
 * @since 0.1.0
 */
export interface CustomRefused {
  readonly error: InvalidPayload
  readonly record: Record.SignedRecord
}

/**
 * The custom records at a key, and how complete they are.
 *
 * @category models
 * @since 0.1.0
 */
export interface CustomRecords<A> {
  readonly found: ReadonlyArray<CustomFound<A>>
  /** Anyone can publish under the types that are stored at any key. */
  readonly refused: ReadonlyArray<CustomRefused>
  readonly completeness: Completeness
}

/**
 * Offers exist, but none passes the filter, or no agent has an offer under
 * every topic.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoMatchingOffers extends Data.TaggedError("NoMatchingOffers")<{
  readonly topics: ReadonlyArray<string>
  /** Number of offers under the topics before filtering. */
  readonly found: number
}> {
  override get message() {
    const under = this.topics.map((topic) => JSON.stringify(topic)).join(", ")
    return `None of ${this.found} offers under ${under} matches the search`
  }
}

/**
 * A change of an offer. `Gone` means that it was withdrawn, has expired, or no
 * longer passes the filter.
 *
 * @category models
 * @since 0.1.0
 */
export interface Change {
  readonly _tag: "Appeared" | "Changed" | "Gone"
  readonly offer: Offer
  /** How complete the offers were when the holders were last asked. */
  readonly completeness: Completeness
}

/**
 * Finds the offers under topics and the values of custom records.
 *
 * @example
 * ```ts
 * import { Discovery } from "effect-dht"
 * import * as Effect from "effect/Effect"
 * import * as Stream from "effect/Stream"
 *
 * const watching = Effect.gen(function*() {
 *   const discovery = yield* Discovery.Discovery
 *   const changes = discovery.watchTopic("translate", { tags: ["de"] })
 *   yield* Stream.runForEach(changes, ({ _tag, offer }) => Effect.log(`${_tag}: ${offer.name}`))
 * })
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export class Discovery extends Context.Service<Discovery, {
  /**
   * Returns all offers under a topic that pass the filter, from all nodes that
   * hold any. Each holder is read until it has delivered every record it lists.
   * Given several topics, it returns agents that published under each of them,
   * with one offer per topic.
   */
  readonly discover: (
    topics: string | Arr.NonEmptyReadonlyArray<string>,
    filter?: Topic.Filter
  ) => Effect.Effect<Discovered, Topic.InvalidTopic | NoMatchingRecords | NoMatchingOffers>
  /**
   * Streams the offers under a topic: first the present ones, then each change
   * as it becomes known.
   */
  readonly watchTopic: (topic: string, filter?: Topic.Filter) => Stream.Stream<Change, Topic.InvalidTopic>
  /**
   * Streams all offers under a topic: the present ones once they were looked up,
   * then all again whenever they change. A slow reader misses versions, but
   * never the latest.
   */
  readonly watchOffers: (topic: string) => Stream.Stream<Offers, Topic.InvalidTopic>
  /**
   * Returns all custom records of one type, at the key of the address that
   * published them or at the given key. Fails if there are none.
   */
  readonly findCustom: <A>(
    custom: Custom<A>,
    at: { readonly address: Address } | { readonly key: NodeId.NodeId }
  ) => Effect.Effect<CustomRecords<A>, NoMatchingRecords>
}>()("effect-dht/Discovery") {}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const query = yield* Query
  const watch = yield* Watch

  const keyOf = (topic: string): Result.Result<NodeId.NodeId, Topic.InvalidTopic> =>
    Result.map(Topic.parse(topic), NodeId.fromTopic)

  const offersOf = Effect.fnUntraced(function*(key: NodeId.NodeId) {
    const { completeness, records } = yield* query.readAll(key, Record.RecordType.topic)
    return { offers: read(key, records), completeness }
  })

  const watchOffers: Discovery["Service"]["watchOffers"] = (topic) =>
    Stream.unwrap(Effect.map(Effect.fromResult(keyOf(topic)), (key) =>
      Stream.map(
        watch.records(key, Record.RecordType.topic),
        ({ completeness, records }) => ({ offers: read(key, records), completeness })
      )))

  const watchTopic: Discovery["Service"]["watchTopic"] = (topic, filter = {}) =>
    Stream.mapAccum(
      watchOffers(topic),
      (): BySigner => new Map(),
      (before, { completeness, offers }) => {
        const after = bySigner(offers.filter((offer) => Topic.matches(offer, filter)))
        return [after, changes(before, after).map(({ _tag, offer }) => ({ _tag, offer, completeness }))]
      }
    )

  const discover = Effect.fnUntraced(function*(
    topics: string | Arr.NonEmptyReadonlyArray<string>,
    filter: Topic.Filter = {}
  ) {
    const wanted = typeof topics === "string" ? Arr.of(topics) : topics
    // Every topic is validated before the first lookup.
    const keys = yield* Effect.forEach(wanted, (topic) => Effect.fromResult(keyOf(topic)))
    const byTopic = yield* Effect.forEach(Arr.dedupe(keys), offersOf, { concurrency: "unbounded" })
    const matching = byTopic.map(({ offers }) => offers.filter((offer) => Topic.matches(offer, filter)))
    const offers = matching.flat().filter(({ address }) =>
      matching.every((others) => others.some((other) => other.address === address))
    )
    return Arr.isReadonlyArrayNonEmpty(offers)
      ? { offers, completeness: byTopic.map(({ completeness }) => completeness).reduce(both) }
      : yield* new NoMatchingOffers({ topics: wanted, found: byTopic.flatMap(({ offers }) => offers).length })
  }, spanned("Discovery.discover"))

  const findCustom = Effect.fnUntraced(function*<A>(
    custom: Custom<A>,
    at: { readonly address: Address } | { readonly key: NodeId.NodeId }
  ) {
    const key = "key" in at ? at.key : NodeId.fromAddress(at.address)
    const { completeness, records } = yield* query.readAll(key, custom.type)
    const found: Array<CustomFound<A>> = []
    const refused: Array<CustomRefused> = []
    for (const record of records) {
      Result.match(custom.decode(record), {
        onFailure: (error) => refused.push({ error, record }),
        onSuccess: (value) => found.push({ value, record })
      })
    }
    return { found, refused, completeness }
  }, spanned("Discovery.findCustom"))

  return Discovery.of({ discover, watchTopic, watchOffers, findCustom })
})

/** The offers among the records of a topic. Records stored under another topic's key are ignored. */
const read = (key: NodeId.NodeId, records: ReadonlyArray<Record.SignedRecord>): Array<Offer> =>
  records.flatMap((record) => {
    const payload = Topic.decode(record.payload)
    return Result.isSuccess(payload) && Topic.belongsTo(payload.success, key)
      ? [{ ...payload.success, address: record.address, record }]
      : []
  })

const both = (a: Completeness, b: Completeness): Completeness => ({
  answered: a.answered + b.answered,
  holders: a.holders + b.holders,
  seen: a.seen + b.seen,
  held: a.held + b.held
})

/**
 * Offers by the key that signed them: a topic has one slot per address and
 * signing key.
 *
 * @internal
 */
export type BySigner = ReadonlyMap<string, Offer>

/**
 * @internal
 */
export const bySigner = (offers: ReadonlyArray<Offer>): BySigner =>
  new Map(offers.map((offer) => [Hex.encode(offer.record.publicKey), offer]))

/**
 * Returns how one set of offers differs from an earlier one. `before` is the
 * offer that a changed one replaces.
 *
 * @internal
 */
export const changes = (
  before: BySigner,
  after: BySigner
): Array<{ readonly _tag: Change["_tag"]; readonly offer: Offer; readonly before: Offer | undefined }> => {
  const found: ReturnType<typeof changes> = []
  for (const [signer, offer] of after) {
    const known = before.get(signer)
    if (known === undefined) found.push({ _tag: "Appeared", offer, before: undefined })
    // A record that was only signed again brings no change.
    else if (!Bytes.Equivalence(known.record.payload, offer.record.payload)) {
      found.push({ _tag: "Changed", offer, before: known })
    }
  }
  for (const [signer, offer] of before) {
    if (!after.has(signer)) found.push({ _tag: "Gone", offer, before: undefined })
  }
  return found
}

/**
 * Discovery by the lookups of this node.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Discovery, never, Query | Watch> = Layer.effect(Discovery, make)
