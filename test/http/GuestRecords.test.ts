import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as GuestRecords from "../../src/http/GuestRecords.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Persistence from "../../src/Persistence.ts"
import { Publisher } from "../../src/Publisher.ts"
import * as Record from "../../src/Record.ts"
import { Replication } from "../../src/Replication.ts"
import * as Transport from "../../src/Transport.ts"
import * as network from "../utils/network.ts"

const onNetwork = Effect.provide(Transport.layerMemoryNetwork)

/** A record that may be at any key, so that one signature makes many publications. */
const record = (options: { readonly seq?: bigint; readonly ttl?: number; readonly signer?: string } = {}) => {
  const signer = network.identity(options.signer ?? "guest")
  return Result.getOrThrow(Record.sign({
    signer,
    address: signer.address,
    type: 0x1f,
    payload: new Uint8Array(0),
    seq: options.seq ?? 1n,
    timestamp: BigInt(network.now),
    ttl: options.ttl ?? 7200
  }))
}

const keyOf = (n: number): NodeId.NodeId => NodeId.fromTopic(`key ${n}`)

/** A node with its guests' records, whose state is kept in a value. */
const start = Effect.fnUntraced(function*(medium: Persistence.Medium = Persistence.makeMemory()) {
  const node = yield* network.node("node", network.socketOf(1), {
    services: { persistence: Persistence.layerMemory(medium) }
  })
  const built = yield* Layer.build(GuestRecords.layer).pipe(Effect.provideContext(node))
  const guests = Context.get(built, GuestRecords.GuestRecords)
  const keys = Effect.map(
    Context.get(node, Replication).replicated,
    (all) => new Set(all.map(({ key }) => key))
  )
  return { node, guests, keys }
})

const begin = Effect.andThen(TestClock.setTime(network.now * 1000), Effect.suspend(() => start()))

describe("records of guests", () => {
  it.effect("are of one network as long as no other has any, and no more than the bound", () =>
    Effect.gen(function*() {
      const { guests, keys } = yield* begin
      for (let i = 0; i < GuestRecords.maxRecords; i++) yield* guests.publish("a", keyOf(i), record())
      const { _tag, message } = yield* Effect.map(
        Effect.flip(guests.publish("a", keyOf(-1), record())),
        (error) => ({ _tag: error._tag, message: error._tag === "TooMany" ? error.detail : error.message })
      )
      assert.deepStrictEqual(
        [_tag, message],
        ["TooMany", "the limit of 1024 records of guests is reached; try again later"]
      )
      assert.strictEqual(yield* guests.size, GuestRecords.maxRecords)
      assert.strictEqual((yield* keys).size, GuestRecords.maxRecords)
    }).pipe(onNetwork))

  it.effect("make room at the bound for networks with fewer, which lose none to those with more", () =>
    Effect.gen(function*() {
      const { guests, keys } = yield* begin
      const few = [keyOf(-1), keyOf(-2)]
      for (const key of few) yield* guests.publish("few", key, record())
      for (let i = 2; i < GuestRecords.maxRecords; i++) yield* guests.publish("many", keyOf(i), record())
      // As many networks as there are records: each gets a place, from those that have more than it.
      for (let i = 0; i < 2000; i++) {
        yield* Effect.exit(guests.publish(`other ${i}`, NodeId.fromTopic(`other ${i}`), record()))
      }
      const kept = yield* keys
      assert.strictEqual(kept.size, GuestRecords.maxRecords)
      assert.isTrue(kept.has(few[0]))
      assert.isTrue(kept.has(keyOf(2)))
      assert.isFalse(kept.has(keyOf(3)))
      const late = yield* Effect.exit(guests.publish("late", keyOf(-3), record()))
      assert.isTrue(Exit.isFailure(late))
    }).pipe(onNetwork))

  it.effect("count once for each slot, and for the network with fewer of those that repeat them", () =>
    Effect.gen(function*() {
      const { guests, keys } = yield* begin
      yield* guests.publish("a", keyOf(0), record())
      yield* guests.publish("a", keyOf(0), record({ seq: 2n }))
      assert.strictEqual(yield* guests.size, 1)
      for (let i = 2; i < GuestRecords.maxRecords + 1; i++) yield* guests.publish("flood", keyOf(i), record())
      // The record of the first network would now be the latest of the largest.
      yield* guests.publish("flood", keyOf(0), record({ seq: 2n }))
      yield* guests.publish("b", keyOf(1), record())
      assert.isTrue((yield* keys).has(keyOf(0)))
      assert.isFalse((yield* keys).has(keyOf(GuestRecords.maxRecords)))
    }).pipe(onNetwork))

  it.effect("leave room when they expire", () =>
    Effect.gen(function*() {
      const { guests } = yield* begin
      for (let i = 0; i < GuestRecords.maxRecords; i++) yield* guests.publish("a", keyOf(i), record({ ttl: 60 }))
      yield* TestClock.adjust("62 seconds")
      yield* guests.publish("a", keyOf(-1), record())
      assert.strictEqual(yield* guests.size, 1)
    }).pipe(onNetwork))

  it.effect("are refused if a newer one is held, but published again if it is the same", () =>
    Effect.gen(function*() {
      const { guests, keys, node } = yield* begin
      const { key, record: newest } = yield* guests.publish("a", keyOf(0), record({ seq: 2n }))
      assert.strictEqual((yield* Effect.flip(guests.publish("a", key, record())))._tag, "StaleRecord")
      const replication = Context.get(node, Replication)
      yield* replication.release(yield* guests.publish("a", key, newest))
      assert.isFalse((yield* keys).has(key))
      yield* guests.publish("a", key, newest)
      assert.isTrue((yield* keys).has(key))
    }).pipe(onNetwork))

  it.effect("never take the place of records of the node's owner", () =>
    Effect.gen(function*() {
      const { guests, keys, node } = yield* begin
      const own = yield* Context.get(node, Publisher).publish(record({ signer: "owner" }), keyOf(-1))
      // What anyone can read, anyone can send.
      yield* guests.publish("a", own.key, own.record)
      assert.strictEqual(yield* guests.size, 0)
      assert.isFalse(yield* own.isTransient)
      for (let i = 0; i < GuestRecords.maxRecords; i++) yield* guests.publish("a", keyOf(i), record())
      yield* guests.publish("b", keyOf(-2), record())
      assert.isTrue((yield* keys).has(own.key))
    }).pipe(onNetwork))

  it.effect("are maintained by one run of the node, so that the bound holds over a restart; those of the owner by all", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const medium = Persistence.makeMemory()
      const scope = yield* Scope.make()
      yield* Effect.gen(function*() {
        const { guests, node } = yield* start(medium)
        yield* guests.publish("a", keyOf(0), record())
        yield* guests.publish("a", keyOf(1), record())
        const publisher = Context.get(node, Publisher)
        yield* publisher.publish(record({ signer: "owner" }), keyOf(2))
        // The owner takes over the record of a guest.
        assert.isFalse(yield* (yield* publisher.publish(record({ seq: 2n }), keyOf(1))).isTransient)
      }).pipe(Scope.provide(scope))
      yield* Scope.close(scope, Exit.void)
      const { keys } = yield* start(medium)
      assert.deepStrictEqual([...yield* keys].sort(), [keyOf(1), keyOf(2)].sort())
    }).pipe(onNetwork))
})
