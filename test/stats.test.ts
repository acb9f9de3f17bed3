import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { refusals } from "../src/Rpc.ts"
import { SeenPeers } from "../src/SeenPeers.ts"
import { layerMemoryNetwork, MemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { helpful, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)

describe("the statistics of a node", () => {
  const setUp = Effect.gen(function*() {
    yield* TestClock.setTime(network.now * 1000)
    const node = yield* network.node("node", network.socketOf(1), { passive: true })
    const peer = yield* network.puppet("peer", network.socketOf(60))
    return { node, peer, dht: network.dht(node) }
  })

  it.effect("are zero at first", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      assert.deepStrictEqual(yield* dht.stats, {
        received: 0,
        inSessions: 0,
        sent: 0,
        completed: 0,
        refused: 0,
        refusedBy: Object.fromEntries(refusals.map((reason) => [reason, 0])),
        contacts: 0,
        verifiedContacts: 0,
        seen: { hour: 0, day: 0, week: 0 },
        network: { size: 0, confidence: 0 },
        keys: 0
      })
    }).pipe(onNetwork))

  it.effect("count datagrams sent, received and refused, and requests answered", () =>
    Effect.gen(function*() {
      const { dht, node, peer } = yield* setUp
      const raw = yield* MemoryNetwork.use((memory) => memory.join(network.socketOf(61)))
      yield* serve(peer, helpful(peer))
      yield* dht.ping(peer)
      yield* peer.send(network.contactOf(node), { _tag: "Ping", address: peer.address }, "00".repeat(20))
      yield* raw.send(Uint8Array.of(0xa4), network.contactOf(node))
      yield* settled
      const { completed, received, refused, sent } = yield* dht.stats
      // Its response and its request; our request and our response.
      assert.deepStrictEqual({ completed, received, refused, sent }, {
        completed: 1,
        received: 2,
        refused: 1,
        sent: 2
      })
    }).pipe(onNetwork))

  it.effect("forget peers after an hour, a day and a week, but not the total", () =>
    Effect.gen(function*() {
      const { dht, node, peer } = yield* setUp
      yield* network.introduce(peer, network.contactOf(node))
      const figures = Effect.map(dht.stats, ({ contacts, seen, verifiedContacts }) => ({
        seen,
        verifiedContacts,
        contacts
      }))
      assert.deepStrictEqual(yield* figures, {
        seen: { hour: 1, day: 1, week: 1 },
        verifiedContacts: 1,
        contacts: 1
      })
      yield* TestClock.adjust("1 hour")
      const later = yield* figures
      assert.deepStrictEqual([later.seen, later.verifiedContacts], [{ hour: 0, day: 1, week: 1 }, 0])
      yield* TestClock.adjust("23 hours")
      assert.deepStrictEqual((yield* figures).seen, { hour: 0, day: 0, week: 1 })
      yield* TestClock.adjust("6 days")
      assert.deepStrictEqual((yield* figures).seen, { hour: 0, day: 0, week: 0 })
      assert.strictEqual(yield* Context.get(node, SeenPeers).uniqueSinceStart, 1)
    }).pipe(onNetwork))

  it.effect("estimate a network of 60 nodes within reasonable bounds from its deepest buckets", () =>
    Effect.gen(function*() {
      const nodes = yield* network.build(60)
      const { network: { confidence, size } } = yield* network.dht(nodes[30]).stats
      assert.isAbove(confidence, 0.5)
      assert.isAbove(size, 15)
      assert.isBelow(size, 240)
    }).pipe(onNetwork))
})
