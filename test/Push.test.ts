import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { sha256 } from "../src/internal/sha256.ts"
import type * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Record from "../src/Record.ts"
import * as Rpc from "../src/Rpc.ts"
import { Store } from "../src/Store.ts"
import { Subscribers } from "../src/Subscribers.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { offer, serve } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const key = NodeId.fromTopic("topic")
const messageId = (record: Record.SignedRecord) => NodeId.fromBytesUnsafe(sha256(record.payload))

/** A moment for effects that need no time. */
const moment = TestClock.adjust(10)

describe("a holder of a key", () => {
  /** A node that holds one record of the key, and a peer that acknowledges according to `ack`. */
  const setUp = Effect.fnUntraced(function*(ack: (push: Record.SignedRecord) => "Renew" | "End" | "Silence") {
    yield* TestClock.setTime(network.now * 1000)
    const node = yield* network.node("node", network.socketOf(1), { passive: true })
    const peer = yield* network.puppet("peer", network.socketOf(60))
    const put = (record: Record.SignedRecord) =>
      Effect.andThen(Effect.orDie(Context.get(node, Store).put(key, record)), moment)
    yield* put(offer("topic", "v0.1"))
    const heard = yield* serve(peer, (body) => {
      const said = body._tag === "Push" ? ack(body.record) : "Silence"
      return body._tag !== "Push" || said === "Silence"
        ? undefined
        : { _tag: "PushAck", key: body.key, messageId: messageId(body.record), subscribe: said === "Renew" }
    })
    const subscribe = Effect.andThen(
      peer.send(
        network.contactOf(node),
        { _tag: "FindValue", target: key, recordType: 0, subscribe: true },
        "00".repeat(20)
      ),
      moment
    )
    // An unacknowledged push may be repeated, like any request.
    const pushed = () => {
      const pushes = heard.flatMap(({ body }) => body._tag === "Push" ? [[body.key, body.record.address]] : [])
      return pushes.filter(([, address], i) => address !== pushes[i - 1]?.[1])
    }
    return { node, peer, put, subscribe, pushed, heard }
  })
  const of = (...owners: ReadonlyArray<string>) => owners.map((owner) => [key, network.addressOf(owner)])

  it.effect("pushes the next new record to a subscriber, and only that one", () =>
    Effect.gen(function*() {
      const { pushed, put, subscribe } = yield* setUp(() => "End")
      yield* subscribe
      yield* put(offer("topic", "second"))
      assert.deepStrictEqual(pushed(), of("second"))
      yield* put(offer("topic", "third"))
      assert.deepStrictEqual(pushed(), of("second"))
    }).pipe(onNetwork))

  it.effect("pushes further records while the acknowledgements renew the subscription", () =>
    Effect.gen(function*() {
      const { pushed, put, subscribe } = yield* setUp(({ address }) =>
        address === network.addressOf("third") ? "End" : "Renew"
      )
      yield* subscribe
      for (const owner of ["second", "third", "fourth"]) yield* put(offer("topic", owner))
      assert.deepStrictEqual(pushed(), of("second", "third"))
    }).pipe(onNetwork))

  it.effect("does not push records it already has, nor those stored under other keys", () =>
    Effect.gen(function*() {
      const { node, pushed, put, subscribe } = yield* setUp(() => "End")
      yield* put(offer("topic", "second", { seq: 5n }))
      yield* subscribe
      for (const seq of [4n, 5n]) {
        yield* Effect.ignore(Context.get(node, Store).put(key, offer("topic", "second", { seq })))
      }
      yield* Context.get(node, Store).put(NodeId.fromTopic("other"), offer("other", "second"))
      yield* moment
      assert.deepStrictEqual(pushed(), [])
      yield* put(offer("topic", "second", { seq: 6n }))
      assert.deepStrictEqual(pushed(), of("second"))
    }).pipe(onNetwork))

  it.effect("drops a subscription after 60 seconds", () =>
    Effect.gen(function*() {
      const { pushed, put, subscribe } = yield* setUp(() => "End")
      yield* subscribe
      yield* TestClock.adjust("59 seconds")
      yield* put(offer("topic", "second"))
      assert.deepStrictEqual(pushed(), of("second"))
      yield* subscribe
      yield* TestClock.adjust("60 seconds")
      yield* put(offer("topic", "third"))
      assert.deepStrictEqual(pushed(), of("second"))
    }).pipe(onNetwork))

  it.effect("renews a subscription for another 60 seconds", () =>
    Effect.gen(function*() {
      const { pushed, put, subscribe } = yield* setUp(() => "Renew")
      yield* subscribe
      yield* TestClock.adjust("50 seconds")
      yield* put(offer("topic", "second"))
      yield* TestClock.adjust("50 seconds")
      yield* put(offer("topic", "third"))
      yield* TestClock.adjust("60 seconds")
      yield* put(offer("topic", "fourth"))
      assert.deepStrictEqual(pushed(), of("second", "third"))
    }).pipe(onNetwork))

  it.effect("waits 2 seconds for an acknowledgement, and drops silent subscribers", () =>
    Effect.gen(function*() {
      const { node, pushed, put, subscribe } = yield* setUp(() => "Silence")
      const { pending } = Context.get(node, Rpc.Rpc)
      yield* subscribe
      yield* put(offer("topic", "second"))
      assert.isAbove(yield* pending, 0)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* pending, 0)
      yield* put(offer("topic", "third"))
      assert.deepStrictEqual(pushed(), of("second"))
      assert.strictEqual(yield* Context.get(node, Subscribers).size, 0)
    }).pipe(onNetwork))

  for (const [name, millis, expected] of [["renews", 1900, 1], ["does not renew", 2100, 0]] as const) {
    it.effect(`${name} a subscription that is acknowledged after ${millis} milliseconds`, () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(network.now * 1000)
        const node = yield* network.node("node", network.socketOf(1), { passive: true })
        const peer = yield* network.puppet("peer", network.socketOf(60))
        const put = (owner: string) => Effect.andThen(Context.get(node, Store).put(key, offer("topic", owner)), moment)
        yield* put("first")
        yield* peer.send(
          network.contactOf(node),
          { _tag: "FindValue", target: key, recordType: 0, subscribe: true },
          "00".repeat(20)
        )
        assert.strictEqual((yield* peer.receive).message.body._tag, "FindValueResponse")
        yield* put("second")
        const { from, message } = yield* peer.receive
        yield* TestClock.adjust(millis)
        yield* peer.send(
          from,
          { _tag: "PushAck", key, messageId: messageId(offer("topic", "second")), subscribe: true },
          message.transactionId
        )
        yield* moment
        assert.strictEqual(yield* Context.get(node, Subscribers).size, expected)
      }).pipe(onNetwork))
  }

  it.effect("ignores an acknowledgement from another address", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* network.node("node", network.socketOf(1), { passive: true })
      const peer = yield* network.puppet("peer", network.socketOf(60))
      const elsewhere = yield* network.puppet("peer", network.socketOf(61))
      const put = (owner: string) => Effect.andThen(Context.get(node, Store).put(key, offer("topic", owner)), moment)
      yield* put("first")
      const subscription: Message.Body = { _tag: "FindValue", target: key, recordType: 0, subscribe: true }
      yield* peer.send(network.contactOf(node), subscription, "00".repeat(20))
      yield* peer.receive
      yield* put("second")
      const { from, message } = yield* peer.receive
      yield* elsewhere.send(
        from,
        { _tag: "PushAck", key, messageId: messageId(offer("topic", "second")), subscribe: true },
        message.transactionId
      )
      yield* moment
      assert.strictEqual(yield* Context.get(node, Subscribers).size, 0)
    }).pipe(onNetwork))

  it.effect("never pushes to a peer without a subscription", () =>
    Effect.gen(function*() {
      const { heard, node, peer, put } = yield* setUp(() => "Renew")
      yield* peer.send(
        network.contactOf(node),
        { _tag: "FindValue", target: key, recordType: 0, subscribe: false },
        "00".repeat(20)
      )
      yield* moment
      yield* put(offer("topic", "second"))
      assert.deepStrictEqual(heard.map(({ body }) => body._tag), ["FindValueResponse"])
    }).pipe(onNetwork))

  it.effect("serves 32 subscribers of a key, each from a network of its own", () =>
    Effect.gen(function*() {
      const { node, put } = yield* setUp(() => "End")
      const heard: Array<ReadonlyArray<{ readonly body: Message.Body }>> = []
      for (let i = 0; i < 40; i++) {
        const peer = yield* network.puppet(`peer ${i}`, network.socketOf(100 + i))
        heard.push(yield* serve(peer, () => undefined))
        yield* peer.send(
          network.contactOf(node),
          { _tag: "FindValue", target: key, recordType: 0, subscribe: true },
          "00".repeat(20)
        )
      }
      yield* moment
      yield* put(offer("topic", "second"))
      const told = heard.filter((messages) => messages.some(({ body }) => body._tag === "Push"))
      assert.strictEqual(told.length, 32)
      // All at once: no subscriber waits for the acknowledgement of another.
      assert.isAtLeast(yield* Context.get(node, Rpc.Rpc).pending, 32)
    }).pipe(onNetwork))
})

describe("a node that is pushed to", () => {
  const setUp = Effect.gen(function*() {
    yield* TestClock.setTime(network.now * 1000)
    const node = yield* network.node("node", network.socketOf(1), { passive: true })
    const peer = yield* network.puppet("peer", network.socketOf(60))
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
