import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Mail from "../src/Mail.ts"
import * as NodeId from "../src/NodeId.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Rpc from "../src/Rpc.ts"
import { Subscribers } from "../src/Subscribers.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const { build, now } = network

/** The output of a stream so far. */
const collect = <A, E>(stream: Stream.Stream<A, E>) =>
  Effect.gen(function*() {
    const said: Array<A> = []
    yield* Effect.forkScoped(
      Stream.runForEach(stream, (item) => Effect.sync(() => said.push(item))),
      { startImmediately: true }
    )
    return said
  })

/** Runs everything that needs almost no time. */
const settle = Effect.repeat(TestClock.adjust("100 millis"), { times: 20 })

const text = (body: string) => ({ type: Mail.MessageType.text, body: new TextEncoder().encode(body) })

describe("watching a topic", () => {
  it.effect("reports present, new, changed and removed offers", () =>
    Effect.gen(function*() {
      const [ann, bob, watcher] = (yield* build(5)).map(network.dht)
      yield* ann.publishTopic({ topic: "translate", name: "Ann", ttl: 300 })
      yield* TestClock.adjust("5 seconds")
      const said = yield* collect(watcher.watchTopic("translate"))
      const names = () => said.map(({ _tag, offer }) => `${_tag} ${offer.name}`)
      yield* settled
      assert.deepStrictEqual(names(), ["Appeared Ann"])

      yield* bob.publishTopic({ topic: "translate", name: "Bob", ttl: 3600 })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(names(), ["Appeared Ann", "Appeared Bob"])

      // The same offer again is not a change.
      yield* bob.publishTopic({ topic: "translate", name: "Bob", ttl: 3600 })
      yield* bob.publishTopic({ topic: "translate", name: "Robert", ttl: 3600 })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(names().slice(2), ["Changed Robert"])

      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(names().slice(3), ["Gone Ann"])
      // Each change reports how complete the offers were by then.
      for (const { completeness } of said) {
        assert.isAbove(completeness.holders, 0)
        assert.strictEqual(completeness.seen, completeness.held)
      }
    }).pipe(onNetwork))

  it.effect("reports a new offer at once if the holders can push", () =>
    Effect.gen(function*() {
      const nodes = yield* build(6)
      const [ann, bob, watcher] = nodes.map(network.dht)
      yield* ann.publishTopic({ topic: "translate", name: "Ann" })
      yield* TestClock.adjust("5 seconds")
      const said = yield* collect(watcher.watchTopic("translate"))
      // By now it asks at most once in fifty seconds.
      yield* TestClock.adjust("5 minutes")
      yield* bob.publishTopic({ topic: "translate", name: "Bob" })
      yield* settle
      assert.deepStrictEqual(said.map(({ offer }) => offer.name), ["Ann", "Bob"])
      // An acknowledgement renews the subscription.
      yield* bob.publishTopic({ topic: "translate", name: "Robert" })
      yield* settle
      assert.deepStrictEqual(said.map(({ offer }) => offer.name), ["Ann", "Bob", "Robert"])
    }).pipe(onNetwork))

  it.effect("leaves no subscription behind for long after watching ends", () =>
    Effect.gen(function*() {
      const nodes = yield* build(4)
      const [ann, , watcher] = nodes.map(network.dht)
      yield* ann.publishTopic({ topic: "translate", name: "Ann", ttl: 3600 })
      yield* TestClock.adjust("5 seconds")
      yield* Stream.runHead(watcher.watchTopic("translate"))
      const key = NodeId.fromTopic("translate")
      const subscriptions = (at: number) =>
        nodes.flatMap((node) => Context.get(node, Subscribers).core.take(key, at * 1000))
      assert.isNotEmpty(yield* Effect.map(TestClock.adjust("1 second"), () => subscriptions(now + 6)))
      yield* Stream.runHead(watcher.watchTopic("translate"))
      yield* TestClock.adjust("61 seconds")
      assert.isEmpty(subscriptions(now + 68))
    }).pipe(onNetwork))
})

describe("messages", () => {
  it.effect("delivers each message once, waiting and future ones", () =>
    Effect.gen(function*() {
      const [ann, bob] = (yield* build(6)).map(network.dht)
      yield* bob.publishEndpoint({ endpoints: [], ttl: 86_400 })
      yield* TestClock.adjust("5 seconds")
      yield* ann.mail.send({ recipient: bob.address, ...text("one"), ttl: 7200 })
      yield* TestClock.adjust("5 seconds")
      const said = yield* collect(bob.mail.messages)
      yield* TestClock.adjust("1 second")
      yield* ann.mail.send({ recipient: bob.address, ...text("two"), ttl: 7200 })
      yield* TestClock.adjust("1 minute")
      yield* ann.mail.send({ recipient: bob.address, ...text("three"), ttl: 7200 })
      yield* TestClock.adjust("30 minutes")
      assert.deepStrictEqual(said.map(({ body }) => new TextDecoder().decode(body)), ["one", "two", "three"])
    }).pipe(onNetwork))
})

describe("requests in both protocol versions", () => {
  const setUp = Effect.gen(function*() {
    const [node] = yield* build(1)
    const peer = yield* network.puppet("peer", network.socketOf(60))
    yield* network.dht(node).setPassive(true)
    yield* network.dht(node).addContact(peer)
    const key = NodeId.fromTopic("x")
    const ask = Context.get(node, Rpc.Rpc).request(
      peer,
      { _tag: "FindValue", target: key, recordType: 0, subscribe: true }
    )
    return {
      node,
      peer,
      ask,
      version: () => Context.get(node, PeerHealth.PeerHealth).versionUnsafe(peer.id, now * 1000)
    }
  })
  const nothing = {
    _tag: "FindValueResponse",
    nodes: null,
    record: undefined,
    observed: undefined,
    records: undefined
  } as const

  it.effect("repeat a request with a new key without it, and remember a peer that answers only the latter", () =>
    Effect.gen(function*() {
      const { ask, peer, version } = yield* setUp
      const asking = yield* Effect.forkScoped(ask, { startImmediately: true })
      const first = (yield* peer.receive).message.body
      assert.isTrue(first._tag === "FindValue" && first.subscribe)
      yield* TestClock.adjust("5 seconds")
      yield* peer.answer((body) => body._tag === "FindValue" && !body.subscribe ? nothing : assert.fail(body._tag))
      yield* TestClock.adjust(1)
      assert.isDefined(asking.pollUnsafe())
      assert.strictEqual(version(), "v0.1")
      // From now on the peer gets v0.1 requests.
      yield* Effect.forkScoped(ask, { startImmediately: true })
      const next = (yield* peer.receive).message.body
      assert.isTrue(next._tag === "FindValue" && !next.subscribe)
    }).pipe(onNetwork))

  it.effect("remember that a peer which answers the new key understands it", () =>
    Effect.gen(function*() {
      const { ask, peer, version } = yield* setUp
      yield* Effect.forkScoped(ask, { startImmediately: true })
      yield* peer.answer(() => nothing)
      yield* TestClock.adjust(1)
      assert.strictEqual(version(), "v0.2")
    }).pipe(onNetwork))

  it.effect("report the outcome of a STORE to a v0.2 peer, and to a v0.1 peer only what it understands", () =>
    Effect.gen(function*() {
      const { node, peer } = yield* setUp
      const self = network.contactOf(node)
      const { record } = yield* network.dht(node).publishEndpoint({ endpoints: [] })
      const store = Effect.gen(function*() {
        yield* peer.send(self, { _tag: "Store", record, key: undefined }, "0a".repeat(20))
        while (true) {
          const { body } = (yield* peer.receive).message
          if (body._tag === "StoreResponse") return body
        }
      })
      assert.deepStrictEqual(yield* store, { _tag: "StoreResponse", stored: true, alreadyHad: false, reason: 0 })
      Context.get(node, PeerHealth.PeerHealth).speaksUnsafe(peer.id, "v0.2", now * 1000)
      assert.deepStrictEqual(yield* store, { _tag: "StoreResponse", stored: true, alreadyHad: true, reason: 0 })
    }).pipe(onNetwork))

  it.effect("accept subscriptions only for keys that hold a record", () =>
    Effect.gen(function*() {
      const { node, peer } = yield* setUp
      const self = network.contactOf(node)
      const { key } = yield* network.dht(node).publishEndpoint({ endpoints: [] })
      for (const [target, expected] of [[NodeId.fromTopic("empty"), 0], [key, 1]] as const) {
        yield* peer.send(self, { _tag: "FindValue", target, recordType: 0, subscribe: true }, "0b".repeat(20))
        yield* TestClock.adjust(1)
        assert.strictEqual(yield* Context.get(node, Subscribers).size, expected)
      }
    }).pipe(onNetwork))
})
