import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"

import type * as Dht from "../src/Dht.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Persistence from "../src/Persistence.ts"
import * as Record from "../src/Record.ts"
import { Replication } from "../src/Replication.ts"
import { SeenPeers } from "../src/SeenPeers.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { storedOf } from "./utils/numbered.ts"
import { offer, settled } from "./utils/served.ts"

const socket = network.socketOf(100)

/** A node whose state is kept across restarts. */
const machine = (options: Dht.Options = {}) => {
  const memory = Persistence.makeMemory()
  let isCut = false
  const disk: Persistence.Medium = {
    ...memory,
    write: (batch, now) => Effect.suspend(() => isCut ? Effect.void : memory.write(batch, now))
  }
  return {
    memory,
    /** Closes the node as if it was killed: nothing more reaches the disk. */
    killing: (close: Effect.Effect<void>) =>
      Effect.suspend(() => {
        isCut = true
        return Effect.ensuring(close, Effect.sync(() => isCut = false))
      }),
    /** Runs the node in a scope of its own. The returned effect closes it. */
    start: Effect.fnUntraced(function*(changed: Dht.Options = {}) {
      const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
      const node = yield* Scope.provide(
        network.node("restarted", socket, {
          ...options,
          ...changed,
          services: { persistence: Persistence.layerMemory(disk) }
        }),
        scope
      )
      return { node, close: Scope.close(scope, Exit.void), scope }
    })
  }
}

const store = (node: network.Node) => Context.get(node, Store)

/** Waits until the network is idle. */
const rest = Effect.andThen(settled, TestClock.adjust("20 seconds"))

const begin = TestClock.setTime(network.now * 1000)

const topicKey = (topic: string) => NodeId.fromTopic(topic)

describe("a node that starts again", () => {
  it.effect("serves the records it held, except expired, removed and evicted ones", () =>
    Effect.gen(function*() {
      yield* begin
      const { start } = machine({ maxKeys: 3 })
      const first = yield* start()
      const put = (topic: string, options?: Parameters<typeof offer>[2]) =>
        store(first.node).put(topicKey(topic), offer(topic, "alice", options))
      yield* put("evicted")
      yield* put("kept", { seq: 1n })
      yield* put("kept", { seq: 2n })
      yield* put("short", { ttl: 60 })
      yield* put("removed")
      yield* store(first.node).invalidate(topicKey("removed"), 0)
      yield* put("last")
      yield* first.close

      yield* TestClock.adjust("2 minutes")
      const { node } = yield* start({ maxKeys: 2 })
      const held = (topic: string) => store(node).getAll(topicKey(topic), 0)
      assert.deepStrictEqual(yield* held("kept"), [offer("kept", "alice", { seq: 2n })])
      assert.deepStrictEqual(yield* held("last"), [offer("last", "alice")])
      for (const topic of ["evicted", "short", "removed"]) assert.deepStrictEqual(yield* held(topic), [], topic)
      assert.strictEqual(yield* store(node).size, 2)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("leaves no more records to the next run than it holds", () =>
    Effect.gen(function*() {
      yield* begin
      const { memory, start } = machine({ maxKeys: 4, policy: Record.policyNone })
      const { close, node } = yield* start()
      const sign = (name: string, type: number, seq: number) =>
        Result.getOrThrow(Record.sign({
          signer: network.identity(name),
          address: network.addressOf(name),
          type,
          payload: Uint8Array.of(seq),
          seq: BigInt(seq),
          timestamp: BigInt(network.now + seq),
          ttl: 3600
        }))
      // One key too many, one topic three times, and six messages of one
      // sender, of which four fit.
      for (const name of ["bob", "carol"]) yield* store(node).put(NodeId.zero, sign(name, 0x03, 1))
      for (let i = 0; i < 3; i++) yield* store(node).put(topicKey("topic"), sign("alice", 0x11, i))
      for (let i = 0; i < 6; i++) yield* store(node).put(topicKey("recipient"), sign("alice", 0x80, i))
      yield* network.dht(node).publishTopic({ topic: "own", name: "me" })
      yield* network.dht(node).publishTopic({ topic: "own", name: "me, once more" })
      const namesOf = (rows: ReadonlyArray<{ readonly key: string; readonly seq: bigint }>) =>
        rows.map(({ key, seq }) => `${key} ${seq}`).sort()
      const held = namesOf(yield* store(node).rows)
      yield* close
      const kept = yield* Stream.runCollect(memory.records)
      assert.deepStrictEqual(namesOf(kept.map(({ key, record }) => ({ key, seq: record.seq }))), held)
      assert.lengthOf(yield* memory.publications, 1)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("resolves changes that were not saved", () =>
    Effect.gen(function*() {
      yield* begin
      const { memory, start } = machine()
      const stored = (seq: bigint): Persistence.Change => ({
        _tag: "Stored",
        network: undefined,
        key: topicKey("a"),
        record: offer("a", "alice", { seq }),
        replaced: undefined
      })
      yield* memory.write([stored(1n), stored(3n), stored(2n)], network.now * 1000)
      const { close, node } = yield* start()
      assert.deepStrictEqual(yield* store(node).getAll(topicKey("a"), 0), [offer("a", "alice", { seq: 3n })])
      yield* close
      assert.lengthOf(yield* Stream.runCollect(memory.records), 1)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("still knows which of two records is newer, and which key was used last", () =>
    Effect.gen(function*() {
      yield* begin
      const { start } = machine({ maxKeys: 2 })
      const first = yield* start()
      for (const topic of ["a", "b"]) {
        yield* store(first.node).put(topicKey(topic), offer(topic, "alice", { seq: 5n }))
      }
      yield* first.close
      const { node } = yield* start()
      const stale = yield* Effect.flip(store(node).put(topicKey("a"), offer("a", "alice", { seq: 4n })))
      assert.strictEqual(stale._tag, "StaleRecord")
      yield* store(node).put(topicKey("b"), offer("b", "alice", { seq: 6n }))
      yield* store(node).put(topicKey("c"), offer("c", "alice"))
      assert.deepStrictEqual(yield* store(node).getAll(topicKey("a"), 0), [])
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("evicts permanently at once if fewer keys are allowed than it held", () =>
    Effect.gen(function*() {
      yield* begin
      const { memory, start } = machine()
      const first = yield* start()
      for (let i = 0; i < 5; i++) yield* store(first.node).put(topicKey(`${i}`), offer(`${i}`, "alice"))
      yield* store(first.node).setMaxKeys(2)
      yield* first.close
      const persistence = Persistence.layerMemory(memory)
      const small = network.node("restarted", socket, { services: { persistence }, maxKeys: 2 })
      yield* Effect.scoped(Effect.gen(function*() {
        assert.strictEqual(yield* store(yield* small).size, 2)
      }))
      assert.lengthOf(yield* Stream.runCollect(memory.records), 2)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("keeps its records if its clock has been set back", () =>
    Effect.gen(function*() {
      yield* begin
      const { start } = machine()
      const first = yield* start()
      yield* store(first.node).put(topicKey("a"), offer("a", "alice"))
      yield* first.close
      yield* TestClock.setTime(0)
      const second = yield* start()
      assert.lengthOf(yield* store(second.node).getAll(topicKey("a"), 0), 1)
      yield* second.close
      yield* TestClock.setTime(network.now * 1000)
      const { node } = yield* start()
      assert.lengthOf(yield* store(node).getAll(topicKey("a"), 0), 1)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("finds the network again by itself, through remembered peers", () =>
    Effect.gen(function*() {
      const others = yield* network.build(4)
      const { memory, start } = machine()
      const first = yield* start()
      yield* network.dht(first.node).bootstrap([network.socketOf(1)])
      yield* rest
      yield* first.close
      assert.isAtLeast((yield* memory.peers).length, 3)

      const { node } = yield* start()
      assert.strictEqual((yield* network.dht(node).stats).contacts, 0)
      yield* TestClock.adjust("30 seconds")
      assert.isAtLeast((yield* network.dht(node).stats).verifiedContacts, 3)
      const found = yield* network.dht(others[2]).findNode(network.contactOf(node).id)
      assert.strictEqual(found[0].id, network.contactOf(node).id)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("joins through remembered peers if no given address answers, or none is given", () =>
    Effect.gen(function*() {
      yield* network.build(3)
      const { start } = machine()
      const first = yield* start()
      yield* network.dht(first.node).bootstrap([network.socketOf(1)])
      yield* rest
      yield* first.close
      for (const given of [[], [network.socketOf(77)]]) {
        const { close, node } = yield* start()
        assert.isNotEmpty(yield* network.join(node, given))
        yield* close
      }
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("still tries them after finding only itself at first", () =>
    Effect.gen(function*() {
      yield* begin
      const { memory, start } = machine()
      yield* memory.write([{ _tag: "Peers", peers: [network.socketOf(1)] }], 0)
      const { node } = yield* start()
      const joining = yield* Effect.forkChild(network.dht(node).bootstrap([socket]), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(joining)
      assert.strictEqual((yield* network.dht(node).stats).verifiedContacts, 0)
      yield* network.node("late", network.socketOf(1))
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual((yield* network.dht(node).stats).verifiedContacts, 1)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("remembers its peers within a minute, in case it is killed, and across a run that meets no peer", () =>
    Effect.gen(function*() {
      const others = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
      yield* Scope.provide(network.build(2), others)
      const kept = machine()
      const { close, node } = yield* kept.start()
      yield* network.dht(node).bootstrap([network.socketOf(1)])
      yield* settled
      yield* TestClock.adjust("61 seconds")
      const peers = yield* kept.memory.peers
      assert.sameDeepMembers(Array.from(peers), [network.socketOf(1), network.socketOf(2)])
      yield* Scope.close(others, Exit.void)
      // No peer answers any more, which the node notices at its next requests.
      for (const { host, port } of peers) yield* network.puppet(`mute ${host}`, { host, port })
      for (let i = 0; i < 3; i++) {
        yield* Effect.forkChild(network.dht(node).findNode(topicKey(`${i}`)))
        yield* settled
        yield* TestClock.adjust("10 minutes")
      }
      assert.deepStrictEqual(yield* network.dht(node).bootstrapCandidates(9), [])
      assert.deepStrictEqual(yield* kept.memory.peers, peers)
      yield* close
      // Those peers are gone.
      yield* Effect.scoped(Effect.andThen(kept.start(), TestClock.adjust("2 minutes"))).pipe(
        Effect.provide(Layer.fresh(layerMemoryNetwork))
      )
      assert.deepStrictEqual(yield* kept.memory.peers, peers)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("forgets records that no longer fit at the pace at which that can be saved", () =>
    Effect.gen(function*() {
      yield* begin
      const { memory, start } = machine({ policy: Record.policyNone })
      const entries = Array.from({ length: 20_000 }, (_, n) => ({ ...storedOf(0), key: topicKey(`${n}`) }))
      yield* memory.write(entries.map((entry) => ({ _tag: "Stored" as const, ...entry, replaced: undefined })), 0)
      const { node } = yield* start({ maxKeys: 100 })
      const persistence = Context.get(node, Persistence.Persistence)
      assert.strictEqual((yield* persistence.status).dropped, 0)
      yield* persistence.flush
      assert.strictEqual((yield* Stream.runCollect(memory.records)).length, 100)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("remembers the peers it saw, and counts those of this run as unique", () =>
    Effect.gen(function*() {
      yield* network.build(2)
      const { start } = machine()
      const first = yield* start()
      yield* network.dht(first.node).bootstrap([network.socketOf(1)])
      yield* rest
      yield* first.close
      yield* TestClock.adjust("2 hours")
      const { node } = yield* start()
      const seen = Context.get(node, SeenPeers)
      assert.deepStrictEqual(yield* seen.counts, { hour: 0, day: 2, week: 2 })
      assert.strictEqual(yield* seen.uniqueSinceStart, 0)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("maintains the copies of its publications, except withdrawn and expired ones", () =>
    Effect.gen(function*() {
      const others = yield* network.build(4)
      const { start } = machine()
      const first = yield* start()
      yield* network.dht(first.node).bootstrap([network.socketOf(1)])
      const endpoints = ["tcp://192.0.2.1:4433"]
      yield* network.dht(first.node).publishTopic({ topic: "stays", name: "me", ttl: 7200 })
      yield* network.dht(first.node).publishTopic({ topic: "expires", name: "me", ttl: 60 })
      yield* Scope.provide(network.dht(first.node).announceEndpoint({ endpoints }), yield* Scope.fork(first.scope))
      yield* rest
      yield* first.close

      yield* TestClock.adjust("5 minutes")
      for (const other of others) yield* store(other).invalidate(topicKey("stays"), 0)
      const { node } = yield* start()
      yield* TestClock.adjust("5 minutes")
      for (const other of others) assert.lengthOf(yield* store(other).getAll(topicKey("stays"), 0), 1)
      const { replicated } = Context.get(node, Replication)
      assert.deepStrictEqual((yield* replicated).map(({ key }) => key), [topicKey("stays")])
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("announces again, with a larger seq, what it announced when it was killed, except withdrawn announcements", () =>
    Effect.gen(function*() {
      const others = yield* network.build(4)
      const { killing, start } = machine()
      const first = yield* start()
      yield* network.dht(first.node).bootstrap([network.socketOf(1)])
      const announce = (node: network.Node, topic: string) =>
        Effect.flatMap(network.dht(node).announceTopic({ topic, name: "me" }), ({ current }) => current)
      const before = yield* Scope.provide(announce(first.node, "stays"), first.scope)
      const over = yield* Scope.fork(first.scope)
      yield* Scope.provide(announce(first.node, "over"), over)
      yield* rest
      yield* Scope.close(over, Exit.void)
      yield* rest
      yield* killing(first.close)

      const { node } = yield* start()
      const { replicated } = Context.get(node, Replication)
      assert.deepStrictEqual((yield* replicated).map(({ record }) => record.seq), [before.record.seq])
      yield* network.dht(node).bootstrap([])
      const after = yield* announce(node, "stays")
      assert.isTrue(after.record.seq > before.record.seq)
      assert.deepStrictEqual((yield* replicated).map(({ record }) => record.seq), [after.record.seq])
      yield* rest
      for (const other of others) {
        const held = yield* store(other).getAll(topicKey("stays"), 0)
        assert.deepStrictEqual(held.map(({ seq }) => seq), [after.record.seq])
      }
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("signs with a larger seq than ever before, even if the clock was set back", () =>
    Effect.gen(function*() {
      yield* begin
      const { start } = machine()
      const first = yield* start()
      const before = yield* network.dht(first.node).publishTopic({ topic: "a", name: "me" })
      yield* first.close
      yield* TestClock.setTime((network.now - 1000) * 1000)
      const { node } = yield* start()
      const after = yield* network.dht(node).publishTopic({ topic: "b", name: "me" })
      assert.isTrue(after.record.seq > before.record.seq)
    }).pipe(Effect.provide(layerMemoryNetwork)))

  it.effect("keeps nothing by default", () =>
    Effect.gen(function*() {
      yield* begin
      const run = Effect.scoped(Effect.gen(function*() {
        const node = yield* network.node("restarted", socket)
        const size = yield* store(node).size
        yield* store(node).put(topicKey("a"), offer("a", "alice"))
        return size
      }))
      assert.deepStrictEqual([yield* run, yield* run], [0, 0])
    }).pipe(Effect.provide(layerMemoryNetwork)))
})
