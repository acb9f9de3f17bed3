import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { sha256 } from "../src/internal/sha256.ts"
import * as Mail from "../src/Mail.ts"
import type * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Record from "../src/Record.ts"
import * as Rpc from "../src/Rpc.ts"
import { Store } from "../src/Store.ts"
import { Subscriptions } from "../src/Subscriptions.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { offer, settled } from "./utils/served.ts"

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
      const subscriptions = Effect.forEach(nodes, (node) => Context.get(node, Subscriptions).size)
      yield* TestClock.adjust("1 second")
      assert.include(yield* subscriptions, 1)
      yield* Stream.runHead(watcher.watchTopic("translate"))
      yield* TestClock.adjust("61 seconds")
      assert.deepStrictEqual(yield* subscriptions, [0, 0, 0, 0])
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
        assert.strictEqual(yield* Context.get(node, Subscriptions).size, expected)
      }
    }).pipe(onNetwork))
})

describe("a node that is pushed to", () => {
  const key = NodeId.fromTopic("topic")
  const messageId = (record: Record.SignedRecord) => NodeId.fromBytesUnsafe(sha256(record.payload))
  /** A moment for effects that need no time. */
  const moment = TestClock.adjust(10)

  const setUp = Effect.gen(function*() {
    yield* TestClock.setTime(network.now * 1000)
    const node = yield* network.node("node", network.socketOf(1), { passive: true })
    const peer = yield* network.puppet("peer", network.socketOf(60))
    yield* network.introduce(peer, network.contactOf(node))
    const acks: Array<Message.Body> = []
    yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
      const { body } = (yield* peer.receive).message
      if (body._tag === "PushAck") acks.push(body)
    })))
    const push = (record: Record.SignedRecord, at = key) =>
      Effect.andThen(
        peer.send(network.contactOf(node), { _tag: "Push", key: at, record }, "00".repeat(20)),
        moment
      )
    const names: Array<string> = []
    const watch = Effect.andThen(
      Effect.forkScoped(
        Stream.runForEach(
          network.dht(node).watchTopic("topic"),
          ({ offer }) => Effect.sync(() => names.push(offer.name))
        ),
        { startImmediately: true }
      ),
      moment
    )
    return { node, peer, push, acks, names, watch }
  })

  it.effect("acknowledges a watched key with the SHA-256 of the payload, and renews the subscription", () =>
    Effect.gen(function*() {
      const { acks, names, push, watch } = yield* setUp
      yield* watch
      const record = offer("topic", "publisher")
      yield* push(record)
      assert.deepStrictEqual(names, ["publisher 1"])
      assert.deepStrictEqual(acks, [{ _tag: "PushAck", key, messageId: messageId(record), subscribe: true }])
    }).pipe(onNetwork))

  it.effect("takes 64 records a second from one network, and those of others meanwhile", () =>
    Effect.gen(function*() {
      const { acks, names, node, peer, watch } = yield* setUp
      yield* watch
      const pushFrom = (peer: network.Puppet, record: Record.SignedRecord) =>
        peer.send(network.contactOf(node), { _tag: "Push", key, record }, "00".repeat(20))
      for (let i = 0; i < 100; i++) yield* pushFrom(peer, offer("topic", `junk ${i}`))
      yield* settled
      assert.strictEqual(acks.length, 64)
      yield* pushFrom(yield* network.puppet("other", network.socketOf(61)), offer("topic", "honest"))
      yield* settled
      assert.strictEqual(names.length, 65)
      yield* TestClock.adjust("1 second")
      yield* pushFrom(peer, offer("topic", "later"))
      yield* settled
      assert.strictEqual(names.length, 66)
    }).pipe(onNetwork))

  it.effect("ignores keys that it does not watch, and does not respond", () =>
    Effect.gen(function*() {
      const { acks, names, node, push, watch } = yield* setUp
      yield* push(offer("topic", "publisher"))
      yield* watch
      yield* push(offer("other", "publisher"), NodeId.fromTopic("other"))
      assert.deepStrictEqual([acks, names], [[], []])
      assert.strictEqual(yield* Context.get(node, Store).size, 0)
    }).pipe(onNetwork))

  it.effect("ignores records that are invalid at the key", () =>
    Effect.gen(function*() {
      const { acks, names, push, watch } = yield* setUp
      yield* watch
      yield* TestClock.adjust("5 minutes")
      yield* push(offer("topic", "expired", { ttl: 60 }))
      const { bytes } = offer("topic", "forged")
      yield* push(Result.getOrThrow(Record.decode(bytes.with(bytes.length - 1, bytes[bytes.length - 1] ^ 1))))
      assert.deepStrictEqual([acks, names], [[], []])
    }).pipe(onNetwork))

  it.effect("remembers that the peer understands v0.2", () =>
    Effect.gen(function*() {
      const { node, peer, push } = yield* setUp
      const { versionUnsafe } = Context.get(node, PeerHealth.PeerHealth)
      assert.isUndefined(versionUnsafe(peer.id, network.now * 1000))
      yield* push(offer("topic", "publisher"))
      assert.strictEqual(versionUnsafe(peer.id, network.now * 1000), "v0.2")
    }).pipe(onNetwork))
})
