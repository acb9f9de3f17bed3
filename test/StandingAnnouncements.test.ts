import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { Announce } from "../src/Announce.ts"
import * as Endpoint from "../src/Endpoint.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Persistence from "../src/Persistence.ts"
import * as Record from "../src/Record.ts"
import { Replication } from "../src/Replication.ts"
import { type Content, maxAnnouncements, StandingAnnouncements } from "../src/StandingAnnouncements.ts"
import { Store } from "../src/Store.ts"
import * as Topic from "../src/Topic.ts"
import * as Transport from "../src/Transport.ts"
import * as Withdrawal from "../src/Withdrawal.ts"
import * as network from "./utils/network.ts"
import { settled } from "./utils/served.ts"

const onNetwork = Effect.provide(Transport.layerMemoryNetwork)

/** A node that keeps its state in a value. */
const start = (medium: Persistence.Medium = Persistence.makeMemory()) =>
  network.node("node", network.socketOf(1), { services: { persistence: Persistence.layerMemory(medium) } })

const standingOf = (node: network.Node) => Context.get(node, StandingAnnouncements)

/** The record of a slot in the node's store, its withdrawal included. */
const stored = (node: network.Node, key: NodeId.NodeId, type: number) =>
  Effect.map(Context.get(node, Store).getAll(key, type), ([record]) => record)

const offerOf = Effect.fnUntraced(function*(node: network.Node, topic: string) {
  const record = yield* stored(node, NodeId.fromTopic(topic), Record.RecordType.topic)
  return record === undefined || Withdrawal.isWithdrawal(record)
    ? undefined
    : Result.getOrThrow(Topic.decode(record.payload))
})

const translate = (name: string): Content & { readonly _tag: "Topic" } => ({ _tag: "Topic", topic: "translate", name })

describe("a standing announcement", () => {
  it.effect("is published, renewed and kept on the nodes closest to its key", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* start()
      const peer = yield* network.node("peer", network.socketOf(2))
      yield* network.dht(node).bootstrap([network.socketOf(2)])
      const { announcement, isDurable } = yield* standingOf(node).put(translate("Ann"))
      assert.isTrue(isDurable)
      yield* settled
      assert.strictEqual((yield* offerOf(peer, "translate"))?.name, "Ann")
      const before = yield* announcement!.current
      yield* TestClock.adjust("31 minutes")
      yield* settled
      assert.isAbove(Number((yield* announcement!.current).record.seq), Number(before.record.seq))
    }).pipe(onNetwork))

  it.effect("has one slot for each topic, however it is spelled, and one for the endpoint and the profile", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* start()
      const standing = standingOf(node)
      yield* standing.put({ _tag: "Topic", topic: "cafe\u0301", name: "first" })
      yield* standing.put({ _tag: "Topic", topic: "caf\u00e9", name: "second" })
      yield* standing.put({ _tag: "Endpoint", endpoints: ["tcp://203.0.113.5:1"] })
      yield* standing.put({ _tag: "Endpoint", endpoints: ["tcp://203.0.113.5:2"] })
      yield* standing.put({ _tag: "Profile", name: "Ann" })
      const contents = (yield* standing.all).map(({ content }) => content)
      assert.deepStrictEqual(contents.map(({ _tag }) => _tag), ["Topic", "Endpoint", "Profile"])
      assert.strictEqual((yield* offerOf(node, "caf\u00e9"))?.name, "second")
      const endpoint = yield* stored(node, network.dht(node).nodeId, Record.RecordType.endpoint)
      assert.deepStrictEqual(Result.getOrThrow(Endpoint.decode(endpoint!.payload)).endpoints, ["tcp://203.0.113.5:2"])
      // The announcement that was replaced is over; the copies of the new record are maintained.
      assert.strictEqual((yield* Context.get(node, Announce).announcements).length, 3)
      assert.strictEqual((yield* Context.get(node, Replication).summary).records, 3)
    }).pipe(onNetwork))

  it.effect("is withdrawn and forgotten when it is deleted", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const medium = Persistence.makeMemory()
      const node = yield* start(medium)
      const standing = standingOf(node)
      yield* standing.put(translate("Ann"))
      yield* standing.delete({ _tag: "Topic", topic: "translate" })
      assert.isUndefined(yield* offerOf(node, "translate"))
      assert.deepStrictEqual(yield* standing.all, [])
      assert.strictEqual(yield* medium.announcements, "[]")
      for (const gone of [standing.get, standing.delete]) {
        const error = yield* Effect.flip<unknown, { readonly _tag: string; readonly message: string }, never>(
          gone({ _tag: "Topic", topic: "translate" })
        )
        assert.strictEqual(error._tag, "NotAnnounced")
        assert.strictEqual(error.message, "Nothing is announced under the topic \"translate\"")
      }
      // Not renewed either.
      yield* TestClock.adjust("2 hours")
      assert.isUndefined(yield* offerOf(node, "translate"))
    }).pipe(onNetwork))

  it.effect("is left to expire when the node stops, and made again when it starts", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const medium = Persistence.makeMemory()
      const peer = yield* network.node("peer", network.socketOf(2))
      const first = yield* Scope.make()
      const node = yield* Scope.provide(start(medium), first)
      yield* network.dht(node).bootstrap([network.socketOf(2)])
      yield* standingOf(node).put({ ...translate("Ann"), meta: { price: 3 }, ttl: 600 })
      const profile: Content = { _tag: "Profile", name: "Ann", cardHash: new Uint8Array(32).fill(0xab) }
      yield* standingOf(node).put(profile)
      yield* settled
      yield* Scope.close(first, Exit.void)
      assert.strictEqual((yield* offerOf(peer, "translate"))?.name, "Ann")

      // Its record has expired by now.
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(yield* offerOf(peer, "translate"))
      const again = yield* start(medium)
      yield* network.dht(again).bootstrap([network.socketOf(2)])
      yield* settled
      const offer = yield* offerOf(peer, "translate")
      assert.deepStrictEqual([offer?.name, offer?.meta.get("price")], ["Ann", 3])
      const contents = (yield* standingOf(again).all).map(({ content }) => content)
      assert.deepStrictEqual(contents, [{ ...translate("Ann"), meta: { price: 3 }, ttl: 600 }, profile])
    }).pipe(onNetwork))

  it.effect("is not durable on a node that keeps nothing", () =>
    Effect.gen(function*() {
      const node = yield* network.node("node", network.socketOf(1))
      assert.isFalse((yield* standingOf(node).put(translate("Ann"))).isDurable)
    }).pipe(onNetwork))

  it.effect("stays as it is if its new content is refused", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* start()
      const standing = standingOf(node)
      yield* standing.put(translate("Ann"))
      const error = yield* Effect.flip(standing.put(translate("A".repeat(2000))))
      assert.strictEqual(error._tag, "InvalidRecord")
      assert.strictEqual((yield* Effect.flip(standing.put({ _tag: "Topic", topic: "" })))._tag, "InvalidTopic")
      assert.strictEqual((yield* offerOf(node, "translate"))?.name, "Ann")
      assert.deepStrictEqual((yield* standing.all).map(({ content }) => content), [translate("Ann")])
    }).pipe(onNetwork))

  it.effect("is one of at most 256; one that exists can still be changed", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* start()
      const standing = standingOf(node)
      for (let i = 0; i < maxAnnouncements; i++) yield* standing.put({ _tag: "Topic", topic: `topic ${i}` })
      const error = yield* Effect.flip(standing.put({ _tag: "Topic", topic: "another" }))
      assert.strictEqual(error._tag, "TooManyAnnouncements")
      yield* standing.put({ _tag: "Topic", topic: "topic 0", name: "changed" })
    }).pipe(onNetwork))

  it.effect("is skipped if what the last run saved cannot be read", () =>
    Effect.gen(function*() {
      for (const text of ["{", "[1]", "[{\"_tag\":\"Other\"}]"]) {
        const medium = Persistence.makeMemory()
        yield* medium.write([{ _tag: "Announced", announcements: text }], 0)
        const node = yield* Effect.scoped(Effect.flatMap(start(medium), (node) => standingOf(node).all))
        assert.deepStrictEqual(node, [])
      }
    }).pipe(onNetwork))
})
