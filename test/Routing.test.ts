import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import type { Address } from "../src/Address.ts"
import type { Contact } from "../src/Contact.ts"
import * as Crypto from "../src/Crypto.ts"
import * as Identity from "../src/Identity.ts"
import type { NodeId } from "../src/NodeId.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Persistence from "../src/Persistence.ts"
import * as Routing from "../src/Routing.ts"
import * as SeenPeers from "../src/SeenPeers.ts"

const id = (byte: number) => (byte.toString(16).padStart(2, "0") + "0".repeat(62)) as NodeId
const self = id(0)
const contact = (byte: number): Contact => ({
  id: id(byte),
  address: id(byte).slice(0, 42) as Address,
  host: "192.0.2.1",
  port: byte
})

describe("Routing", () => {
  it.effect("finds contacts by id and by distance", () =>
    Effect.gen(function*() {
      const routing = yield* Routing.make(self)
      for (const byte of [0x81, 0x82, 0x41]) routing.core.add(contact(byte), undefined, 0)
      assert.strictEqual(yield* routing.size, 3)
      assert.deepStrictEqual(yield* routing.nearest(id(0x83), 2), [contact(0x82), contact(0x81)])
      assert.deepStrictEqual(yield* routing.get(id(0x41)), Option.some(contact(0x41)))
      assert.deepStrictEqual(yield* routing.get(id(0x42)), Option.none())
      assert.deepStrictEqual((yield* routing.entries).map((entry) => entry.bucket), [0, 0, 1])
    }))

  it.effect("measures its windows back from the clock's time", () =>
    Effect.gen(function*() {
      const routing = yield* Routing.make(self)
      yield* TestClock.adjust("1 hour")
      routing.core.add(contact(0x81), Duration.toMillis("10 minutes"), 0)
      routing.core.add(contact(0x82), Duration.toMillis("50 minutes"), 0)
      assert.strictEqual(yield* routing.countVerified("15 minutes"), 1)
      assert.strictEqual(yield* routing.countVerified("55 minutes"), 2)
      assert.deepStrictEqual(yield* routing.networkSize("15 minutes"), { size: 2, confidence: 0.2 })
      assert.deepStrictEqual(yield* routing.networkSize("55 minutes"), { size: 4, confidence: 0.2 })
      const nearest = yield* routing.nearestVerified(id(0x81), 2, "15 minutes")
      assert.deepStrictEqual(nearest, [contact(0x82), contact(0x81)])
    }))

  it.effect("is built for the node's own identity", () =>
    Effect.gen(function*() {
      const identity = yield* Identity.NodeIdentity
      const routing = yield* Routing.Routing
      assert.strictEqual(routing.core.self, identity.nodeId)
      assert.strictEqual(routing.core.k, 16)
    }).pipe(Effect.provide(
      Routing.layer().pipe(
        Layer.provideMerge(Identity.layerSeed(new Uint8Array(32))),
        Layer.provide(Crypto.layerNoble)
      )
    )))

  it.effect("holds as many contacts as its options allow", () =>
    Effect.gen(function*() {
      const routing = yield* Routing.make(self, { k: 1, pendingCapacity: 1 })
      for (const byte of [0x81, 0x82, 0x83]) routing.core.add(contact(byte), undefined, 0)
      assert.strictEqual(yield* routing.size, 1)
      assert.strictEqual(routing.core.pendingLength(0), 1)
    }))
})

describe("PeerHealth", () => {
  it.effect("allows a silent peer to be asked again when its back-off is over", () =>
    Effect.gen(function*() {
      const health = yield* PeerHealth.PeerHealth
      health.failedUnsafe(id(1), 0)
      health.failedUnsafe(id(1), 0)
      assert.strictEqual(yield* health.state(id(1)), "bad")
      yield* TestClock.adjust("59 seconds")
      assert.isFalse(yield* health.allowContact(id(1)))
      yield* TestClock.adjust("1 second")
      assert.isTrue(yield* health.allowContact(id(1)))
    }).pipe(Effect.provide(PeerHealth.layer())))

  it.effect("reports the round-trip time of peers that answered", () =>
    Effect.gen(function*() {
      const health = yield* PeerHealth.PeerHealth
      health.succeededUnsafe(id(1), 42, 0)
      assert.deepStrictEqual(yield* health.rtt(id(1)), Option.some(Duration.millis(42)))
      assert.deepStrictEqual(yield* health.rtt(id(2)), Option.none())
    }).pipe(Effect.provide(PeerHealth.layer())))
})

describe("SeenPeers", () => {
  it.effect("counts back from the clock's time, across runs", () =>
    Effect.gen(function*() {
      const seen = yield* SeenPeers.SeenPeers
      seen.seenUnsafe(id(1), 0)
      yield* TestClock.adjust("2 hours")
      yield* seen.parse(`${id(2)} 3601\n`)
      assert.deepStrictEqual(yield* seen.counts, { hour: 1, day: 2, week: 2 })
      assert.strictEqual(yield* seen.uniqueSinceStart, 1)
      assert.strictEqual(yield* seen.format, `${id(2)} 3601\n${id(1)} 0\n`)
    }).pipe(Effect.provide(SeenPeers.layer().pipe(Layer.provide(Persistence.layerNone)))))
})
