/**
 * Who offers what: the agents that published under a topic.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type { Address } from "./Address.ts"
import * as NodeId from "./NodeId.ts"
import { NoMatchingRecords, Query } from "./Query.ts"
import * as Record from "./Record.ts"
import * as Topic from "./Topic.ts"

/**
 * An agent's offer and whose it is.
 *
 * @category models
 * @since 0.1.0
 */
export interface Offer extends Topic.TopicPayload {
  readonly address: Address
  readonly record: Record.SignedRecord
}

/**
 * @category services
 * @since 0.1.0
 */
export class Discovery extends Context.Service<Discovery, {
  /**
   * All offers under a topic that pass the filter. With several topics only
   * agents that published under each of them count, with one offer per topic.
   */
  readonly discover: (
    topics: string | Arr.NonEmptyReadonlyArray<string>,
    filter?: Topic.Filter
  ) => Effect.Effect<Arr.NonEmptyReadonlyArray<Offer>, NoMatchingRecords>
}>()("effect-dht/Discovery") {}

const make = Effect.gen(function*() {
  const query = yield* Query

  const offersOf = Effect.fnUntraced(function*(topic: string, filter: Topic.Filter) {
    const key = NodeId.fromTopic(topic)
    const records = yield* query.aggregateRecords(key, Record.RecordType.topic)
    return records.flatMap((record): Array<Offer> => {
      const payload = Topic.decode(record.payload)
      // A record may be stored under a foreign key; it is found there in vain.
      return Result.isSuccess(payload) && Topic.belongsTo(payload.success, key) &&
          Topic.matches(payload.success, filter)
        ? [{ ...payload.success, address: record.address, record }]
        : []
    })
  })

  const discover = Effect.fn("Discovery.discover")(function*(
    topics: string | Arr.NonEmptyReadonlyArray<string>,
    filter: Topic.Filter = {}
  ) {
    const wanted = typeof topics === "string" ? Arr.of(topics) : topics
    const byTopic = yield* Effect.forEach(wanted, (topic) => offersOf(topic, filter), { concurrency: "unbounded" })
    const offers = byTopic.flat().filter(({ address }) =>
      byTopic.every((others) => others.some((other) => other.address === address))
    )
    return Arr.isReadonlyArrayNonEmpty(offers)
      ? offers
      : yield* new NoMatchingRecords({
        target: NodeId.fromTopic(wanted[0]),
        type: Record.RecordType.topic,
        answered: 0
      })
  })

  return Discovery.of({ discover })
})

/**
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Discovery, never, Query> = Layer.effect(Discovery, make)
