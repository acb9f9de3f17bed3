import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Address from "../src/Address.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Record from "../src/Record.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import { delegated, masters } from "./utils/delegated.ts"
import * as network from "./utils/network.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const { now } = network

/** Some nodes, and one more that acts for another address. */
const withDelegate = Effect.fnUntraced(function*(options?: Parameters<typeof delegated>[1]) {
  const nodes = yield* network.build(4)
  const delegate = yield* network.nodeOf(delegated("delegate", options), network.socketOf(100))
  yield* network.dht(delegate).bootstrap([network.socketOf(1)])
  return { delegate: network.dht(delegate), other: network.dht(nodes[1]) }
})

describe("publishing for an address that delegated to the node's key", () => {
  for (const master of masters) {
    it.effect(`is found under the address of the master: ${master}`, () =>
      Effect.gen(function*() {
        const { delegate, other } = yield* withDelegate({ master })
        assert.notStrictEqual(delegate.agent, delegate.address)
        assert.strictEqual(delegate.nodeId, NodeId.fromAddress(delegate.address))
        yield* delegate.announceEndpoint({ endpoints: ["quic://192.0.2.1:1"] })
        yield* delegate.announceTopic({ topic: "translate", name: "Ann" })
        yield* delegate.announceProfile({ name: "Ann" })
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual((yield* other.resolve(delegate.agent)).endpoints, ["quic://192.0.2.1:1"])
        const [offer] = yield* other.discover("translate")
        assert.strictEqual(offer.address, delegate.agent)
        const found = yield* other.aggregateRecords(NodeId.fromAddress(delegate.agent))
        assert.deepStrictEqual(found.map(({ type }) => type).toSorted(), [
          Record.RecordType.endpoint,
          Record.RecordType.profile
        ])
        for (const { address } of found) assert.strictEqual(address, delegate.agent)
        assert.strictEqual((yield* Effect.flip(other.resolve(delegate.address)))._tag, "NoEndpoint")
      }).pipe(Effect.scoped, onNetwork))
  }

  it.effect("fails with DelegationExpired once the delegation is over, and from that very second", () =>
    Effect.gen(function*() {
      const { delegate } = yield* withDelegate({ expiresAt: now + 100 })
      yield* TestClock.setTime((now + 99) * 1000)
      yield* delegate.publishProfile({ name: "Ann" })
      yield* TestClock.setTime((now + 100) * 1000)
      const error = yield* Effect.flip(delegate.publishProfile({ name: "Ann" }))
      assert.strictEqual(error._tag, "DelegationExpired")
      assert.include(error.message, "new one")
    }).pipe(Effect.scoped, onNetwork))

  it.effect("warns once when the delegation ends within a day, and not before", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const logger = Logger.make(({ message }) => void said.push(String(message)))
      yield* Effect.gen(function*() {
        const { delegate } = yield* withDelegate({ expiresAt: now + 100_000 })
        const warnings = () => said.filter((line) => line.includes(Address.format(delegate.agent)))
        yield* delegate.publishProfile({ name: "Ann" })
        assert.deepStrictEqual(warnings(), [])
        yield* TestClock.setTime((now + 20_000) * 1000)
        yield* delegate.publishProfile({ name: "Ann" })
        yield* delegate.publishProfile({ name: "Ann" })
        assert.strictEqual(warnings().length, 1)
        assert.include(warnings()[0], "80000 s")
      }).pipe(Effect.provide(Logger.layer([logger])))
    }).pipe(Effect.scoped, onNetwork))
})

describe("publishing", () => {
  it.effect("refuses an endpoint that is not a URL, and names it", () =>
    Effect.gen(function*() {
      const node = network.dht(yield* network.node("a", network.socketOf(1)))
      for (const wrong of ["not a url", "", "203.0.113.5:4121", "quic://203.0.113.5:99999"]) {
        const endpoint = { endpoints: ["quic://203.0.113.5:4121", wrong] }
        for (
          const error of [
            yield* Effect.flip(node.publishEndpoint(endpoint)),
            yield* Effect.flip(node.announceEndpoint(endpoint))
          ]
        ) {
          assert.strictEqual(error._tag, "InvalidRecord")
          assert.include(error.message, JSON.stringify(wrong))
        }
      }
      yield* node.publishEndpoint({ endpoints: [] })
    }).pipe(Effect.scoped, onNetwork))

  it.effect("fails with InvalidRecord for what a record cannot say, and stores nothing", () =>
    Effect.gen(function*() {
      const node = network.dht(yield* network.node("a", network.socketOf(1)))
      const wrong = [
        node.publishTopic({ topic: "t", meta: new Map([["n", 2n ** 64n]]) }),
        node.publishTopic({ topic: "t", meta: new Map([["n", -(2n ** 64n) - 1n]]) }),
        node.publishTopic({ topic: "t", meta: new Map([["n", [new Map([["deep", 2n ** 70n]])]]]) }),
        node.publishTopic({ topic: "t", ttl: 1.5 }),
        node.publishTopic({ topic: "t", ttl: NaN }),
        node.publishTopic({ topic: "" }),
        node.publishTopic({ topic: "\ud800" }),
        node.publishTopic({ topic: "t", name: "\udfff" }),
        node.publishTopic({ topic: "t", tags: ["\ud800"] }),
        node.publishProfile({ name: "\ud800" }),
        node.publishProfile({ meta: new Map([["n", 2n ** 64n]]) }),
        node.publishProfile({ ttl: -1 }),
        node.publishProfile({ ttl: 2 ** 32 }),
        node.publishEndpoint({ endpoints: [], natType: NaN as never }),
        node.publishEndpoint({ endpoints: [], natType: -1 as never }),
        node.publishEndpoint({ endpoints: [], signals: ["\ud800"] }),
        node.publishCustom({ type: 3.5, payload: new Uint8Array() }),
        node.publishCustom({ type: 3, payload: new Uint8Array(), ttl: Infinity })
      ]
      for (const publish of wrong) assert.strictEqual((yield* Effect.flip(publish))._tag, "InvalidRecord")
      assert.strictEqual((yield* node.stats).keys, 0)
    }).pipe(Effect.scoped, onNetwork))

  it.effect("finds an offer under every spelling of its topic, protocols and tags", () =>
    Effect.gen(function*() {
      const [composed, decomposed] = ["caf\u00e9", "cafe\u0301"]
      const [ann, bob, reader] = (yield* network.build(4)).map(network.dht)
      yield* ann.publishTopic({ topic: composed, name: "Ann", protocols: [decomposed], tags: [composed] })
      yield* bob.publishTopic({ topic: decomposed, name: "Bob", protocols: [composed], tags: [decomposed] })
      yield* TestClock.adjust("5 seconds")
      for (const topic of [composed, decomposed]) {
        for (const word of [composed, decomposed]) {
          const offers = yield* reader.discover(topic, { protocols: [word], tags: [word] })
          assert.deepStrictEqual(offers.map(({ name }) => name).toSorted(), ["Ann", "Bob"])
        }
      }
    }).pipe(Effect.scoped, onNetwork))

  it.effect("fails with InvalidTopic where a search names no topic", () =>
    Effect.gen(function*() {
      const node = network.dht(yield* network.node("a", network.socketOf(1)))
      for (const topic of ["", "\ud800", "a\udc00b"]) {
        assert.strictEqual((yield* Effect.flip(node.discover(topic)))._tag, "InvalidTopic")
        assert.strictEqual((yield* Effect.flip(node.discover(["t", topic])))._tag, "InvalidTopic")
        const watched = yield* Effect.flip(Stream.runDrain(node.watchTopic(topic)))
        assert.strictEqual(watched._tag, "InvalidTopic")
      }
    }).pipe(Effect.scoped, onNetwork))
})
