/**
 * A topic with 100 offers, beside one with 4, and no attacker.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as NodeId from "../../src/NodeId.ts"
import { RecordType } from "../../src/Record.ts"
import { quantile } from "../measure.ts"
import type { Section } from "../report.ts"
import { contactOf, discovered, identity, mean, network, offersUnder, shareOf, some } from "./network.ts"
import { Stranger } from "./Stranger.ts"

const crowd = 100
const few = 4

export const offers = (options: { readonly nodes: number; readonly rounds: number }) =>
  Effect.gen(function*() {
    const nodes = yield* network(options.nodes)
    const published = yield* offersUnder(nodes, "crowded", crowd)
    const quiet = yield* offersUnder(nodes, "quiet", few)
    const names = published.map(({ record }) => record.address)
    const quietNames = quiet.map(({ record }) => record.address)

    const readers = some(nodes, 24)
    const found: Array<number> = []
    const foundQuiet: Array<number> = []
    const times: { [topic in "crowded" | "quiet"]: Array<number> } = { crowded: [], quiet: [] }
    const timed = Effect.fnUntraced(function*(reader: typeof readers[number], topic: "crowded" | "quiet") {
      const started = performance.now()
      const addresses = yield* discovered(reader, topic)
      times[topic].push(performance.now() - started)
      return addresses
    })
    for (let round = 0; round < options.rounds; round++) {
      for (const reader of readers) {
        found.push(shareOf(names, yield* timed(reader, "crowded")))
        foundQuiet.push(shareOf(quietNames, yield* timed(reader, "quiet")))
      }
    }

    const stranger = yield* Effect.promise(() => Stranger.open(identity("reader"), "127.99.0.1"))
    const key = NodeId.fromTopic("crowded")
    const withoutBits: Array<number> = []
    const first: Array<number> = []
    for (const seed of some(nodes, 8)) {
      const table = yield* Effect.promise(() => stranger.join(contactOf(seed)))
      const seen = new Set<string>()
      for (let attempt = 0; attempt < 3; attempt++) {
        const records = yield* Effect.promise(() => stranger.collect(table, key, RecordType.topic))
        for (const { address } of records) seen.add(address)
        if (attempt === 0) first.push(shareOf(names, seen))
      }
      withoutBits.push(shareOf(names, seen))
    }
    stranger.close()
    const quietMillis = quantile(times.quiet, 0.5)
    const section: Section = {
      title: `${crowd} offers under a topic, ${options.nodes} nodes, no attacker`,
      note:
        `${readers.length} readers, ${options.rounds} times each; a reader without the paging bit asks from 8 places.`,
      rows: [
        {
          name: `discover of ${crowd} offers`,
          figures: {
            "found": { value: 100 * mean(found), unit: "%", atLeast: 100 },
            "p50": { value: quantile(times.crowded, 0.5), unit: "ms", atMost: 3 * quietMillis },
            "p95": { value: quantile(times.crowded, 0.95), unit: "ms" },
            "of the quiet": { value: quantile(times.crowded, 0.5) / quietMillis, unit: "×" }
          }
        },
        {
          name: `discover of ${few} offers`,
          figures: {
            "found": { value: 100 * mean(foundQuiet), unit: "%", atLeast: 100 },
            "p50": { value: quietMillis, unit: "ms" },
            "p95": { value: quantile(times.quiet, 0.95), unit: "ms" }
          }
        },
        { name: "a reader without our bit, once", figures: { "found": { value: 100 * mean(first), unit: "%" } } },
        {
          name: "the same in three tries",
          figures: { "found": { value: 100 * mean(withoutBits), unit: "%", atLeast: 80 } }
        }
      ]
    }
    return section
  }).pipe(Effect.scoped)
