import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type * as Message from "../src/Message.ts"
import { NodeEvents } from "../src/NodeEvents.ts"
import * as NodeId from "../src/NodeId.ts"
import { replicas } from "../src/Replication.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import * as Topic from "../src/Topic.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const topic = "crowd"
const key = NodeId.fromTopic(topic)

/** Offers under one topic by as many agents, published through the nodes of a network. */
const offersBy = Effect.fnUntraced(function*(nodes: ReadonlyArray<network.Node>, count: number) {
  const now = yield* Clock.currentTimeMillis
  return yield* Effect.forEach(Array.from({ length: count }, (_, i) => i), (i) => {
    const agent = network.identity(`agent ${i}`)
    const record = Result.getOrThrow(Topic.sign({
      signer: agent,
      address: agent.address,
      seq: 1n,
      timestamp: BigInt(Math.floor(now / 1000)),
      ttl: 7200,
      payload: Topic.make({ topic, name: `agent ${i}` })
    }))
    return network.dht(nodes[i % nodes.length]).publish(record, key)
  }, { concurrency: "unbounded" })
})

const namesOf = (offers: ReadonlyArray<{ readonly name: string }>) => new Set(offers.map(({ name }) => name))

/**
 * The names that a reader finds which behaves like the reference: it asks each of
 * the 16 nearest once in each try, and answers pings.
 */
const asReference = Effect.fnUntraced(function*(nodes: ReadonlyArray<network.Node>, tries: number) {
  const reader = yield* network.puppet("reader", network.socketOf(5000))
  const holders = nodes.map(network.contactOf)
    .toSorted((a, b) => NodeId.compareDistance(key, a.id, b.id))
    .slice(0, 16)
  const found = new Set<string>()
  const sizes: Array<number> = []
  for (let i = 0; i < tries; i++) {
    for (const [n, holder] of holders.entries()) {
      const transactionId = (100 * i + n).toString(16).padStart(40, "0")
      const body: Message.Body = { _tag: "FindValue", target: key, recordType: 0, subscribe: false }
      yield* reader.send(holder, body, transactionId)
      while (true) {
        const { from, message } = yield* reader.receive
        if (message.body._tag === "Ping") {
          const observed = SocketAddress.encodeObserved(from)
          yield* reader.send(from, { _tag: "Pong", address: reader.address, observed }, message.transactionId)
        }
        if (message.transactionId !== transactionId) continue
        const { records } = message.body._tag === "FindValueResponse" ? message.body : assert.fail(message.body._tag)
        for (const { payload } of records ?? []) found.add(Result.getOrThrow(Topic.decode(payload)).name)
        break
      }
    }
    sizes.push(found.size)
  }
  return sizes
})

describe("a topic with a hundred offers", () => {
  it.effect(
    "is read completely by every reader, and mostly by a reader that behaves like the reference",
    () =>
      Effect.gen(function*() {
        const nodes = yield* network.build(24)
        yield* offersBy(nodes, 100)
        yield* TestClock.adjust("20 seconds")
        const outsider = yield* network.node("outsider", network.socketOf(300))
        yield* network.dht(outsider).bootstrap([network.socketOf(1)])
        for (const reader of [outsider, ...nodes.slice(0, 8)]) {
          const { completeness, offers } = yield* network.dht(reader).discover(topic)
          assert.strictEqual(namesOf(offers).size, 100)
          assert.strictEqual(completeness.seen, completeness.held)
        }
        const sizes = yield* asReference(nodes, 3)
        assert.isAtLeast(sizes[2], 80)
      }).pipe(Effect.scoped, onNetwork),
    60_000
  )

  it.effect("is watched completely, with one change for each offer", () =>
    Effect.gen(function*() {
      const nodes = yield* network.build(24)
      const told: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(network.dht(nodes[3]).watchTopic(topic), (change) =>
          Effect.sync(() => told.push(`${change._tag} ${change.offer.name}`))),
        { startImmediately: true }
      )
      yield* offersBy(nodes, 100)
      yield* TestClock.adjust("3 minutes")
      assert.deepStrictEqual(
        told.toSorted(),
        Array.from({ length: 100 }, (_, i) =>
          `Appeared agent ${i}`).toSorted()
      )
    }).pipe(Effect.scoped, onNetwork), 60_000)

  it.effect(
    "has 8 confirmed copies of each offer for an hour, none of them lost or refused without a reason",
    () =>
      Effect.gen(function*() {
        const nodes = yield* network.build(24)
        const outcomes = new Map<string, number>()
        for (const node of nodes) {
          yield* Effect.forkChild(
            Stream.runForEach(Context.get(node, NodeEvents).events, (event) =>
              Effect.sync(() => {
                if (event._tag === "ReplicaReported") {
                  outcomes.set(event.outcome, (outcomes.get(event.outcome) ?? 0) + 1)
                }
              })),
            { startImmediately: true }
          )
        }
        const publications = yield* offersBy(nodes, 100)
        let least = Infinity
        for (let minute = 1; minute <= 60; minute++) {
          yield* TestClock.adjust("1 minute")
          for (const { confirmed } of publications) {
            const { length } = yield* confirmed
            if (minute > 1) least = Math.min(least, length)
          }
        }
        assert.isAtLeast(least, replicas)
        assert.isUndefined(outcomes.get("Lost"))
        assert.isUndefined(outcomes.get("Refused"))
      }).pipe(Effect.scoped, onNetwork),
    120_000
  )
})

describe("a topic with more offers than a holder keeps", () => {
  it.effect(
    "gives every reader more offers than one holder stores, and tells each publisher whether its own was stored",
    () =>
      Effect.gen(function*() {
        const nodes = yield* network.build(40)
        // No publisher is a holder, because a node never evicts its own records.
        const byDistance = nodes.toSorted((a, b) =>
          NodeId.compareDistance(key, network.contactOf(a).id, network.contactOf(b).id)
        )
        const publications = yield* offersBy(byDistance.slice(16), 200)
        yield* TestClock.adjust("15 minutes")
        const told = yield* Effect.forEach(
          publications,
          ({ replicas }) => Effect.result(replicas(1, { within: "1 second" })),
          { concurrency: "unbounded" }
        )
        assert.isAtLeast(told.filter(Result.isSuccess).length, 150)
        for (const reader of [0, 20, 39]) {
          const seen = namesOf((yield* network.dht(byDistance[reader]).discover(topic)).offers)
          for (const [i, result] of told.entries()) {
            if (Result.isFailure(result)) assert.strictEqual(result.failure._tag, "KeyFull")
            else assert.isTrue(seen.has(`agent ${i}`))
          }
        }
      }).pipe(Effect.scoped, onNetwork),
    240_000
  )
})
