/**
 * The store: whether a full one is slower than an empty one, and the cost of
 * reading.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { RecordSet } from "../src/core/recordSet.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as NodeEvents from "../src/NodeEvents.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Persistence from "../src/Persistence.ts"
import * as Record from "../src/Record.ts"
import * as Store from "../src/Store.ts"
import { identity, nodeId, topic, topicRecord, unixSeconds } from "./fixtures.ts"
import { inTurns, median, type Operation, ratio, used } from "./measure.ts"
import type { Row, Section } from "./report.ts"

const crypto = NodeCrypto.fastest
const publishers = 100

/** New keys, one per put. The string is flattened, like one decoded from a datagram. */
const keys = (prefix: string) => {
  const stem = nodeId(prefix).slice(16)
  return (i: number): NodeId.NodeId =>
    NodeId.fromBytesUnsafe(Buffer.from(i.toString(16).padStart(16, "0") + stem, "hex"))
}

/** Puts under precomputed keys into a store that is emptied from time to time. */
const putting = (
  count: number,
  put: (key: NodeId.NodeId) => unknown,
  key: (i: number) => NodeId.NodeId,
  refresh?: () => void
): Operation => {
  const prepared: Array<NodeId.NodeId> = Array.from({ length: count }, (_, i) => key(i))
  let next = 0
  return used(() => {
    if (next === count) {
      refresh?.()
      next = 0
    }
    return put(prepared[next++])
  })
}

const rows = (full: number, rounds: number) =>
  Effect.gen(function*() {
    const now = unixSeconds()
    const records = Array.from({ length: publishers }, (_, i) => topicRecord(identity(crypto, `publisher ${i}`), now))
    const record = records[0]
    const filler = keys("filler")
    const fill = (put: (key: NodeId.NodeId) => unknown) => {
      for (let i = 0; i < full; i++) put(filler(i))
    }
    const result: Array<Row> = []
    const compare = (name: string, empty: Operation, filled: Operation, limit: number | undefined) => {
      const times = inTurns({ empty, filled }, rounds)
      result.push({
        name,
        figures: {
          "empty": { value: median(times.empty), unit: "µs" },
          "full": { value: median(times.filled), unit: "µs" },
          "ratio": { value: ratio(times.filled, times.empty), unit: "×", atMost: limit }
        }
      })
    }

    // Twice as many keys as fit, so that each has been evicted when its turn comes again.
    const fullSet = new RecordSet({ maxKeys: full })
    fill((key) => fullSet.put(key, record, now))
    let emptySet = new RecordSet({ maxKeys: full })
    compare(
      "put, without verification",
      putting(1000, (key) => emptySet.put(key, record, now), keys("empty"), () => {
        emptySet = new RecordSet({ maxKeys: full })
      }),
      putting(2 * full, (key) => fullSet.put(key, record, now), keys("full")),
      1.5
    )

    // The work for a STORE, without its datagram.
    const store = () => Effect.provide(Store.Store, Store.layer({ maxKeys: full }), { local: true })
    const signer = identity(crypto, "application")
    const placeable = Result.getOrThrow(Record.sign({
      signer,
      address: signer.address,
      // A topic type without a key of its own.
      type: 0x1f,
      payload: record.payload,
      seq: 1n,
      timestamp: BigInt(now),
      ttl: 7200
    }))
    const admit = (target: Store.Store["Service"], key: NodeId.NodeId) =>
      Record.fault(placeable, now) === undefined && Record.isSigned(placeable, crypto) &&
      target.admitUnsafe(key, placeable, now, "203.0.113.0/24")
    const fullStore = yield* store()
    fill((key) => fullStore.admitUnsafe(key, placeable, now, "203.0.113.0/24"))
    const emptyStore = yield* store()
    const run = Effect.runSyncWith(yield* Effect.context<never>())
    compare(
      "put, with the record's verification",
      putting(1000, (key) => admit(emptyStore, key), keys("empty"), () => {
        for (const { key } of run(emptyStore.page({ limit: Infinity })).rows) {
          run(emptyStore.invalidate(key, 0))
        }
      }),
      putting(2 * full, (key) => admit(fullStore, key), keys("full")),
      1.5
    )

    const topicKey = NodeId.fromTopic(topic)
    for (const published of records) fullSet.put(topicKey, published, now)
    const others = Array.from({ length: 1000 }, (_, i) => keys("other")(i))
    for (const key of others) fullSet.put(key, record, now)
    const times = inTurns({
      one: used((i) => fullSet.getAll(others[i % others.length], 0, now)),
      many: used(() => fullSet.getAll(topicKey, Record.RecordType.topic, now))
    }, rounds)
    result.push(
      { name: "getAll, 1 record", figures: { full: { value: median(times.one), unit: "µs", atMost: 2 } } },
      {
        name: `getAll, ${publishers} records`,
        figures: { full: { value: median(times.many), unit: "µs", atMost: 20 } }
      }
    )
    return result
  }).pipe(Effect.provide([NodeCrypto.layer, NodeEvents.layer, Persistence.layerNone]), Effect.scoped)

export const store = async (rounds: number, full = 100_000): Promise<Section> => ({
  title: `Store, full at ${full} keys`,
  note: "A put into a full store evicts a key as well; in a bare Map that alone takes six times as long as a put.",
  rows: await Effect.runPromise(rows(full, rounds))
})
