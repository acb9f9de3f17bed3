import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as NodeId from "../src/NodeId.ts"
import * as Topic from "../src/Topic.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"

/** Offers under one topic by as many agents, published through the nodes of a network. */
const offersBy = Effect.fnUntraced(function*(
  nodes: ReadonlyArray<network.Node>,
  topic: string,
  count: number
) {
  const now = yield* Clock.currentTimeMillis
  yield* Effect.forEach(Array.from({ length: count }, (_, i) => i), (i) => {
    const agent = network.identity(`agent ${i}`)
    const record = Result.getOrThrow(Topic.sign({
      signer: agent,
      address: agent.address,
      seq: 1n,
      timestamp: BigInt(Math.floor(now / 1000)),
      ttl: 3600,
      payload: Topic.make({ topic, name: `agent ${i}` })
    }))
    return network.dht(nodes[i % nodes.length]).publish(record, NodeId.fromTopic(topic))
  }, { concurrency: "unbounded", discard: true })
})

describe("a crowded topic", () => {
  it.effect("is found whole by anybody", () =>
    Effect.gen(function*() {
      const nodes = yield* network.build(24)
      yield* offersBy(nodes, "crowd", 100)
      yield* TestClock.adjust("20 seconds")
      const { completeness, offers } = yield* network.dht(nodes[7]).discover("crowd")
      console.log(completeness)
      assert.strictEqual(new Set(offers.map(({ name }) => name)).size, 100)
      assert.strictEqual(completeness.seen, completeness.held)
    }).pipe(Effect.provide(layerMemoryNetwork)), 60000)
})
