import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { sha256 } from "../src/internal/sha256.ts"
import type * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import type * as Record from "../src/Record.ts"
import * as Rpc from "../src/Rpc.ts"
import { Store } from "../src/Store.ts"
import { Subscriptions } from "../src/Subscriptions.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { helpful, offer, serve } from "./utils/served.ts"

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
    yield* network.introduce(peer, network.contactOf(node))
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
      assert.strictEqual(yield* Context.get(node, Subscriptions).size, 0)
    }).pipe(onNetwork))

  for (const [name, millis, expected] of [["renews", 1900, 1], ["does not renew", 2100, 0]] as const) {
    it.effect(`${name} a subscription that is acknowledged after ${millis} milliseconds`, () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(network.now * 1000)
        const node = yield* network.node("node", network.socketOf(1), { passive: true })
        const peer = yield* network.puppet("peer", network.socketOf(60))
        const put = (owner: string) => Effect.andThen(Context.get(node, Store).put(key, offer("topic", owner)), moment)
        yield* put("first")
        yield* network.introduce(peer, network.contactOf(node))
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
        assert.strictEqual(yield* Context.get(node, Subscriptions).size, expected)
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
      yield* network.introduce(peer, network.contactOf(node))
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
      assert.strictEqual(yield* Context.get(node, Subscriptions).size, 0)
    }).pipe(onNetwork))

  it.effect("pushes nothing to a peer that has not proved its address, and serves it once it has", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* network.node("node", network.socketOf(1), { passive: true })
      const put = (owner: string) => Effect.andThen(Context.get(node, Store).put(key, offer("topic", owner)), moment)
      yield* put("first")
      const mute = yield* network.puppet("mute", network.socketOf(60))
      const live = yield* network.puppet("live", network.socketOf(61))
      const heardOf = new Map<string, ReadonlyArray<{ readonly body: Message.Body }>>()
      heardOf.set("mute", yield* serve(mute, () => undefined))
      heardOf.set("live", yield* serve(live, helpful(live)))
      for (const peer of [mute, live]) {
        yield* peer.send(
          network.contactOf(node),
          { _tag: "FindValue", target: key, recordType: 0, subscribe: true },
          "00".repeat(20)
        )
      }
      // The ping that proves the address, and its response, take some turns.
      yield* Effect.repeat(moment, { times: 10 })
      yield* put("second")
      yield* TestClock.adjust("5 seconds")
      const pushes = (name: string) => heardOf.get(name)?.filter(({ body }) => body._tag === "Push").length
      // It has acknowledged none before, so it gets one attempt.
      assert.deepStrictEqual([pushes("mute"), pushes("live")], [0, 1])
    }).pipe(onNetwork))

  it.effect("repeats a push to a subscriber that acknowledged one before", () =>
    Effect.gen(function*() {
      const { heard, put, subscribe } = yield* setUp(({ address }) =>
        address === network.addressOf("second") ? "End" : "Silence"
      )
      for (const [owner, attempts] of [["second", 1], ["third", 3]] as const) {
        yield* subscribe
        yield* put(offer("topic", owner))
        yield* TestClock.adjust("5 seconds")
        const pushes = heard.filter(({ body }) =>
          body._tag === "Push" && body.record.address === network.addressOf(owner)
        )
        assert.strictEqual(pushes.length, attempts)
      }
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
        const pong: Message.Body = { _tag: "Pong", address: peer.address, observed: new Uint8Array(6) }
        heard.push(yield* serve(peer, (body) => body._tag === "Ping" ? pong : undefined))
        yield* peer.send(
          network.contactOf(node),
          { _tag: "FindValue", target: key, recordType: 0, subscribe: true },
          "00".repeat(20)
        )
      }
      // The receive loop checks a few signatures a turn.
      yield* Effect.repeat(moment, { times: 10 })
      yield* put(offer("topic", "second"))
      const told = heard.filter((messages) => messages.some(({ body }) => body._tag === "Push"))
      assert.strictEqual(told.length, 32)
      // All at once: no subscriber waits for the acknowledgement of another.
      assert.isAtLeast(yield* Context.get(node, Rpc.Rpc).pending, 32)
    }).pipe(onNetwork))
})
