import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const { build, now } = network

const endpoint = { endpoints: ["quic://192.0.2.1:4121"], ttl: 600 }

describe("Announce", () => {
  it.effect("keeps an endpoint resolvable for many times its lifetime", () =>
    Effect.gen(function*() {
      const [owner, other] = (yield* build(4)).map(network.dht)
      yield* owner.announceEndpoint(endpoint)
      for (let i = 0; i < 10; i++) {
        yield* TestClock.adjust("7 minutes")
        assert.deepStrictEqual((yield* other.resolve(owner.address)).endpoints, endpoint.endpoints)
      }
    }).pipe(onNetwork))

  it.effect("signs anew at half the lifetime: now, and with a larger seq", () =>
    Effect.gen(function*() {
      const [owner] = (yield* build(2)).map(network.dht)
      const announcement = yield* owner.announceEndpoint(endpoint)
      const first = (yield* announcement.current).record
      yield* TestClock.adjust("299 seconds")
      assert.strictEqual((yield* announcement.current).record, first)
      yield* TestClock.adjust("1 second")
      const second = (yield* announcement.current).record
      assert.strictEqual(second.timestamp, BigInt(now + 300))
      assert.isTrue(second.seq > first.seq)
    }).pipe(onNetwork))

  it.effect("leaves the record to expire when its scope closes", () =>
    Effect.gen(function*() {
      const [owner, other] = (yield* build(4)).map(network.dht)
      const scope = yield* Scope.make()
      yield* Scope.provide(owner.announceTopic({ topic: "translate", name: "Ann", ttl: 600 }), scope)
      yield* TestClock.adjust("20 minutes")
      assert.strictEqual((yield* other.discover("translate"))[0].name, "Ann")
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("11 minutes")
      assert.strictEqual((yield* Effect.flip(other.discover("translate")))._tag, "NoMatchingRecords")
    }).pipe(onNetwork))

  it.effect("outlives the loss of every replica", () =>
    Effect.gen(function*() {
      const nodes = yield* build(4)
      const [owner, other] = nodes.map(network.dht)
      const announcement = yield* owner.announceEndpoint(endpoint)
      yield* Effect.ignore(announcement.replicas(8, { within: "1 second" }))
      for (const node of nodes) yield* Context.get(node, Store).invalidate(owner.nodeId, 0)
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual((yield* other.resolve(owner.address)).endpoints, endpoint.endpoints)
    }).pipe(onNetwork))

  it.effect("outlives a network that is gone for an hour", () =>
    Effect.gen(function*() {
      const [owner] = (yield* build(1)).map(network.dht)
      yield* owner.announceEndpoint(endpoint)
      yield* TestClock.adjust("1 hour")
      const other = network.dht(yield* network.node("other", network.socketOf(50)))
      yield* other.bootstrap([network.socketOf(1)])
      const third = network.dht(yield* network.node("third", network.socketOf(51)))
      yield* third.bootstrap([network.socketOf(50)])
      yield* TestClock.adjust("10 minutes")
      const copies = yield* third.findValueAt(network.socketOf(50), owner.nodeId)
      assert.strictEqual(copies.records.length, 1)
    }).pipe(onNetwork))

  /** A clock that can be set, as the wall clock of a machine: sleeping goes on as before. */
  const settable = Effect.map(Clock.Clock, (clock) => {
    let offset = 0
    const millis = () => clock.currentTimeMillisUnsafe() + offset
    const nanos = () => clock.currentTimeNanosUnsafe() + BigInt(offset) * 1_000_000n
    const set: Clock.Clock = {
      ...clock,
      currentTimeMillisUnsafe: millis,
      currentTimeNanosUnsafe: nanos,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanos: Effect.sync(nanos),
      monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe(),
      monotonicTimeNanos: clock.monotonicTimeNanos,
      sleep: (duration) => clock.sleep(duration)
    }
    return {
      clock: set,
      jump: (byMillis: number) => {
        offset += byMillis
      }
    }
  })

  for (const [name, jump] of [["is set back by hours", -7_200_000], ["jumps ahead by hours", 7_200_000]] as const) {
    it.effect(`outlives a clock that ${name}: what it says is signed anew`, () =>
      Effect.gen(function*() {
        const { clock, jump: set } = yield* settable
        yield* Effect.gen(function*() {
          const [owner, other] = (yield* build(3)).map(network.dht)
          const announcement = yield* owner.announceEndpoint(endpoint)
          const before = (yield* announcement.current).record
          yield* TestClock.adjust("10 seconds")
          set(jump)
          yield* TestClock.adjust("2 minutes")
          const after = (yield* announcement.current).record
          assert.isTrue(after.seq > before.seq)
          assert.approximately(Number(after.timestamp), now + jump / 1000, 200)
          assert.strictEqual((yield* other.resolve(owner.address)).record.seq, after.seq)
        }).pipe(Effect.provideService(Clock.Clock, clock))
      }).pipe(onNetwork))
  }

  it.effect("fails as publishing does when there is nothing to keep alive", () =>
    Effect.gen(function*() {
      const [owner] = (yield* build(1)).map(network.dht)
      const error = yield* Effect.flip(owner.announceEndpoint({ endpoints: [`quic://${"x".repeat(2000)}`] }))
      assert.strictEqual(error._tag, "RecordTooLarge")
    }).pipe(onNetwork))
})
