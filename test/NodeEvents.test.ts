import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as NodeEvents from "../src/NodeEvents.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Query from "../src/Query.ts"
import * as Record from "../src/Record.ts"
import { Routing } from "../src/Routing.ts"
import { Rpc } from "../src/Rpc.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { offer, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)

const eventsOf = (node: network.Node) => Context.get(node, NodeEvents.NodeEvents)

/** The events of the node from now on. */
const heard = Effect.fnUntraced(function*(node: network.Node) {
  const events: Array<NodeEvents.Event> = []
  yield* eventsOf(node).listen((event) => events.push(event))
  return events
})

describe("NodeEvents", () => {
  it.effect("reports contacts that enter and leave the routing table", () =>
    Effect.gen(function*() {
      const [a, b] = yield* network.build(2)
      const events = yield* heard(a)
      const routing = Context.get(a, Routing)
      const { address, nodeId } = network.identity("silent")
      const peer = { id: nodeId, address, ...network.socketOf(3) }
      for (let i = 0; i < 2; i++) routing.learnedUnsafe([peer], network.contactOf(b).id, network.now * 1000)
      routing.unansweredUnsafe(peer.id)
      const bucket = NodeId.bucketIndex(routing.self, peer.id)
      assert.deepStrictEqual(events, [
        { _tag: "PeerAdded", at: network.now * 1000, contact: peer, bucket },
        { _tag: "PeerRemoved", at: network.now * 1000, contact: peer, bucket }
      ])
    }).pipe(onNetwork))

  it.effect("reports records that enter and leave the store, except those replaced", () =>
    Effect.gen(function*() {
      const [a] = yield* network.build(1)
      const events = yield* heard(a)
      const store = Context.get(a, Store)
      const key = NodeId.fromTopic("chess")
      const first = offer("chess", "ann", { ttl: 60 })
      const second = offer("chess", "ann", { seq: 2n, ttl: 60 })
      yield* store.put(key, first)
      yield* store.put(key, second)
      yield* TestClock.adjust("10 minutes")
      const told = events.flatMap((event) =>
        event._tag === "RecordStored" || event._tag === "RecordRemoved"
          ? [{ tag: event._tag, key: event.key, seq: event.record.seq }]
          : []
      )
      assert.deepStrictEqual(told, [
        { tag: "RecordStored", key, seq: 1n },
        { tag: "RecordStored", key, seq: 2n },
        { tag: "RecordRemoved", key, seq: 2n }
      ])
    }).pipe(onNetwork))

  it.effect("reports the evicted records", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const a = yield* network.node("a", network.socketOf(1), { maxKeys: 2 })
      const events = yield* heard(a)
      for (const topic of ["one", "two", "three"]) {
        yield* Context.get(a, Store).put(NodeId.fromTopic(topic), offer(topic, "ann"))
      }
      const removed = events.flatMap((event) => event._tag === "RecordRemoved" ? [event.key] : [])
      assert.deepStrictEqual(removed, [NodeId.fromTopic("one")])
      assert.strictEqual(yield* Context.get(a, Store).size, 2)
    }).pipe(onNetwork))

  it.effect("reports each step of a query at its request and at its end, and then the whole query", () =>
    Effect.gen(function*() {
      const nodes = yield* network.build(4)
      const [a, b] = nodes
      // It is known to all of them, so that none is asked twice.
      yield* network.dht(a).findNode(network.dht(b).nodeId)
      yield* settled
      yield* TestClock.adjust(1)
      const events = yield* heard(a)
      const { trace } = yield* Context.get(a, Query.Query).lookup(network.dht(b).nodeId)
      const told = events.filter(({ _tag }) => _tag.startsWith("Query"))
      assert.strictEqual(told[0]._tag, "QueryStarted")
      const ended = told.at(-1)
      if (ended?._tag !== "QueryEnded") return assert.fail("the last event is another one")
      assert.deepInclude(ended.trace, {
        kind: "FindNode",
        target: network.dht(b).nodeId,
        type: undefined,
        outcome: "Done"
      })
      assert.deepStrictEqual(
        ended.trace.steps.map(({ contact, depth, learnedFrom }) => ({ contact, depth, learnedFrom })),
        trace.map(({ contact, depth, learnedFrom }) => ({ contact, depth, learnedFrom }))
      )
      const steps = told.flatMap((event) => event._tag === "QueryStepped" ? [event.step] : [])
      for (const { contact } of trace) {
        assert.deepStrictEqual(
          steps.filter((step) => step.contact.id === contact.id).map(({ outcome }) => outcome),
          ["Unanswered", "Answered"]
        )
      }
      assert.strictEqual(steps.length, 2 * trace.length)
    }).pipe(onNetwork))

  it.effect("reports a peer that does not answer, and a query that was given up", () =>
    Effect.gen(function*() {
      const a = yield* network.node("a", network.socketOf(1))
      const silent = yield* network.puppet("silent", network.socketOf(2))
      yield* network.dht(a).addContact(silent)
      const events = yield* heard(a)
      yield* Effect.forkChild(network.dht(a).findNode(silent.id))
      yield* settled
      yield* TestClock.adjust("3 seconds")
      const outcomes = () => events.flatMap((event) => event._tag === "QueryStepped" ? [event.step.outcome] : [])
      assert.deepStrictEqual(outcomes(), ["Unanswered", "Failed"])
      const walk = yield* Effect.forkChild(network.dht(a).findNode(silent.id))
      yield* settled
      yield* Fiber.interrupt(walk)
      const ended = events.at(-1)
      assert.strictEqual(ended?._tag === "QueryEnded" ? ended.trace.outcome : undefined, "GivenUp")
    }).pipe(onNetwork))

  it.effect("reports one lookup to its watcher even without listeners", () =>
    Effect.gen(function*() {
      const [a, b] = yield* network.build(3)
      const events: Array<NodeEvents.QueryEvent> = []
      const query = Context.get(a, Query.Query)
      yield* query.lookup(network.dht(b).nodeId, { type: 0 }, (event) => events.push(event))
      yield* query.lookup(network.dht(b).nodeId)
      const started = events.filter(({ _tag }) => _tag === "QueryStarted")
      assert.strictEqual(started.length, 1)
      assert.strictEqual(events.at(-1)?._tag, "QueryEnded")
      assert.isFalse(eventsOf(a).hasListeners)
    }).pipe(onNetwork))

  it.effect("keeps no query before that is requested, and then the latest 64", () =>
    Effect.gen(function*() {
      const a = yield* network.node("a", network.socketOf(1))
      const events = eventsOf(a)
      yield* network.dht(a).findNode(NodeId.zero)
      assert.deepStrictEqual(yield* events.queries, [])
      yield* events.keepQueries
      for (let i = 0; i < NodeEvents.keptQueries + 3; i++) yield* network.dht(a).findNode(NodeId.fromTopic(`${i}`))
      const queries = yield* events.queries
      assert.strictEqual(queries.length, NodeEvents.keptQueries)
      assert.strictEqual(queries[0].target, NodeId.fromTopic(`${NodeEvents.keptQueries + 2}`))
    }).pipe(onNetwork))

  it.effect("counts answered and failed requests", () =>
    Effect.gen(function*() {
      const [a] = yield* network.build(2)
      const { requestTimes } = eventsOf(a)
      const rpc = Context.get(a, Rpc)
      const before = requestTimes.Ping.answered.read().count
      yield* network.dht(a).ping(network.socketOf(2))
      const silent = yield* network.puppet("silent", network.socketOf(9))
      const asked = yield* Effect.forkChild(
        rpc.request(silent, { _tag: "FindNode", target: NodeId.zero }, { attempts: 1, deadline: 4000 }).pipe(
          Effect.flip
        )
      )
      yield* settled
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(asked)
      assert.strictEqual(requestTimes.Ping.answered.read().count, before + 1)
      const failed = requestTimes.FindNode.failed.read()
      assert.strictEqual(failed.count, 1)
      assert.isAtMost(failed.max, 4)
      assert.isAbove(failed.max, 0)
    }).pipe(onNetwork))

  it.effect("keeps the histograms of the nodes of one process apart; one without values is all zeros", () =>
    Effect.gen(function*() {
      const [a, b] = yield* network.build(2)
      const [ours, theirs] = [a, b].map((node) => eventsOf(node).requestTimes.Ping)
      const before = theirs.answered.read().count
      yield* network.dht(a).ping(network.socketOf(2))
      const answered = ours.answered.read()
      assert.deepStrictEqual(answered.buckets.at(-1), [10, answered.count])
      assert.isAbove(answered.count, 0)
      assert.strictEqual(theirs.answered.read().count, before)
      const { buckets, ...failed } = ours.failed.read()
      assert.deepStrictEqual(failed, { count: 0, min: 0, max: 0, sum: 0 })
      assert.isTrue(buckets.every(([, count]) => count === 0))
    }).pipe(onNetwork))

  it.effect("gives a slow reader of the stream the newest events that fit", () =>
    Effect.gen(function*() {
      const [a] = yield* network.build(1)
      const events = eventsOf(a)
      const seen: Array<NodeEvents.Event> = []
      const reading = yield* Effect.forkChild(Stream.runForEach(events.events, (event) =>
        Effect.suspend(() => {
          seen.push(event)
          return seen.length === 1 ? Effect.sleep("1 second") : Effect.void
        })))
      yield* settled
      const contact = network.contactOf(a)
      const told = 4 * NodeEvents.waitingEvents
      for (let bucket = 0; bucket <= told; bucket++) {
        events.tellUnsafe({ _tag: "PeerAdded", at: 0, contact, bucket })
        if (bucket === 0) yield* settled
      }
      yield* TestClock.adjust("1 second")
      const numbers = seen.map((event) => event._tag === "PeerAdded" ? event.bucket : -1)
      assert.strictEqual(numbers[0], 0)
      assert.isAtMost(numbers.length, NodeEvents.waitingEvents + 1)
      assert.strictEqual(numbers.at(-1), told)
      yield* Fiber.interrupt(reading)
      assert.isFalse(events.hasListeners)
    }).pipe(onNetwork))

  it.effect("has listeners only while one listens", () =>
    Effect.gen(function*() {
      const [a] = yield* network.build(2)
      assert.isFalse(eventsOf(a).hasListeners)
      yield* Effect.scoped(Effect.andThen(heard(a), Effect.sync(() => assert.isTrue(eventsOf(a).hasListeners))))
      assert.isFalse(eventsOf(a).hasListeners)
    }).pipe(onNetwork))

  it.effect("reports how publications begin, continue with a newer record, and end", () =>
    Effect.gen(function*() {
      const [a, b] = yield* network.build(3)
      const events = yield* heard(a)
      const told = () => events.flatMap((event) => "key" in event && !event._tag.startsWith("Record") ? [event] : [])
      yield* network.dht(a).publishEndpoint({ endpoints: ["tcp://192.0.2.1:4121"] })
      yield* settled
      const reported = told().flatMap((event) => event._tag === "ReplicaReported" ? [event] : [])
      assert.sameMembers(reported.map(({ outcome }) => outcome), ["Stored", "Stored"])
      assert.include(reported.map(({ contact }) => contact.id), network.dht(b).nodeId)
      yield* network.dht(a).publishEndpoint({ endpoints: ["tcp://192.0.2.2:4121"] })
      yield* settled
      yield* network.dht(a).forget(network.dht(a).address)
      assert.deepStrictEqual(
        told().map(({ _tag }) => _tag).filter((tag) => tag !== "ReplicaReported"),
        ["PublicationStarted", "PublicationRenewed", "PublicationEnded"]
      )
      const [started, renewed] = told().filter(({ _tag }) => _tag !== "ReplicaReported")
      assert.isTrue(Record.isNewer(renewed.record, started.record))
      assert.isTrue(Result.isSuccess(Context.get(a, Store).vet(renewed.key, renewed.record, network.now)))
    }).pipe(onNetwork))
})
