import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import type { Address } from "../src/Address.ts"
import type { Contact } from "../src/Contact.ts"
import * as Crypto from "../src/Crypto.ts"
import * as Features from "../src/Features.ts"
import * as Identity from "../src/Identity.ts"
import * as NodeEvents from "../src/NodeEvents.ts"
import { bucketIndex, type NodeId } from "../src/NodeId.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Persistence from "../src/Persistence.ts"
import type * as Request from "../src/Request.ts"
import * as Routing from "../src/Routing.ts"
import * as Rpc from "../src/Rpc.ts"
import * as SeenPeers from "../src/SeenPeers.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { TransportClosed } from "../src/Transport.ts"
import { layerTold } from "./utils/told.ts"

const id = (byte: number) => (byte.toString(16).padStart(2, "0") + "0".repeat(62)) as NodeId
const contact = (byte: number): Contact => ({
  id: id(byte),
  address: id(byte).slice(0, 42) as Address,
  host: "192.0.2.1",
  port: byte
})

const requester = (contact: Contact, features: Features.Features = 0): Rpc.Requester => ({
  ...contact,
  features,
  bytes: 200,
  isInSession: false
})

/** A request for a liveness check, and how to end it. */
interface Check {
  readonly peer: Request.Peer
  readonly done: (isAlive: boolean) => void
  /** Ends it by a defect. */
  readonly dies: () => void
  isCancelled: boolean
}

/** A table above an `Rpc` that sends nothing: the test says what was heard, and how checks end. */
const setUp = Effect.fnUntraced(function*(
  options?: Routing.Options,
  events: Layer.Layer<NodeEvents.NodeEvents> = NodeEvents.layer
) {
  const identity = yield* Identity.NodeIdentity
  const checks: Array<Check> = []
  let observer: Rpc.Observer = {}
  const rpc = Layer.mock(Rpc.Rpc, {
    observe: (next) =>
      Effect.sync(() => {
        observer = next
      }),
    isAskingUnsafe: (address) => checks.some(({ peer }) => SocketAddress.isSame(peer, address)),
    peersUnsafe: () => [],
    request: (peer) =>
      Effect.callback((resume) => {
        const check: Check = {
          peer,
          isCancelled: false,
          done: (isAlive) => resume(isAlive ? Effect.succeed({} as never) : Effect.fail(new TransportClosed())),
          dies: () => resume(Effect.die(new Error("unexpected")))
        }
        checks.push(check)
        return Effect.sync(() => {
          check.isCancelled = true
        })
      })
  })
  const services = yield* Layer.build(
    Layer.fresh(Routing.layer(options)).pipe(
      Layer.provideMerge(PeerHealth.layer()),
      Layer.provide([rpc, events, SeenPeers.layer().pipe(Layer.provide(Persistence.layerNone))])
    )
  )
  /** The id of a contact in the farthest bucket. */
  const far = (n: number) => {
    const first = Number.parseInt(identity.nodeId[0], 16) ^ 8
    return (first.toString(16) + n.toString(16).padStart(63, "0")) as NodeId
  }
  const heard = (contact: Contact, now: number, isAnswer = true, features: Features.Features = 0) =>
    observer.heard?.({ contact, features, isAnswer, now })
  /** It sent a request, whose answer left so much room. */
  const requested = (contact: Contact, now: number, room = 1000, features: Features.Features = 0) => {
    heard(contact, now, false, features)
    observer.handled?.(requester(contact, features), now, room)
  }
  const knows = (address: SocketAddress.SocketAddress) => observer.knows?.(address) ?? false
  const routing = Context.get(services, Routing.Routing)
  const health = Context.get(services, PeerHealth.PeerHealth)
  return { routing, identity, checks, health, heard, requested, knows, far }
})

const withIdentity = Effect.provide(Identity.layerSeed(new Uint8Array(32)).pipe(Layer.provide(Crypto.layerNoble)))

const minute = 60_000

describe("Routing", () => {
  it.effect("finds contacts by id and by distance", () =>
    Effect.gen(function*() {
      const { routing } = yield* setUp()
      routing.learnedUnsafe([0x81, 0x82, 0x41].map(contact), id(1), 0)
      assert.strictEqual(yield* routing.size, 3)
      assert.deepStrictEqual(yield* routing.nearest(id(0x83), 2), [contact(0x82), contact(0x81)])
      assert.deepStrictEqual(yield* routing.get(id(0x41)), Option.some(contact(0x41)))
      assert.deepStrictEqual(yield* routing.get(id(0x42)), Option.none())
      const buckets = (yield* routing.entries).map((entry) => entry.bucket)
      assert.deepStrictEqual(
        [...buckets].sort(),
        [0x81, 0x82, 0x41].map((byte) => bucketIndex(routing.self, id(byte))).sort()
      )
    }).pipe(withIdentity))

  it.effect("measures its windows back from the clock's time", () =>
    Effect.gen(function*() {
      const { far, routing } = yield* setUp()
      yield* TestClock.adjust("1 hour")
      const [old, young] = [1, 2].map((n): Contact => ({ ...contact(n), id: far(n) }))
      routing.givenUnsafe(old, Duration.toMillis("10 minutes"))
      routing.givenUnsafe(young, Duration.toMillis("50 minutes"))
      assert.strictEqual(yield* routing.countVerified("15 minutes"), 1)
      assert.strictEqual(yield* routing.countVerified("55 minutes"), 2)
      assert.deepStrictEqual(yield* routing.networkSize("15 minutes"), { size: 2, confidence: 0.2 })
      assert.deepStrictEqual(yield* routing.networkSize("55 minutes"), { size: 4, confidence: 0.2 })
      assert.deepStrictEqual(yield* routing.nearestVerified(old.id, 2, "15 minutes"), [young, old])
    }).pipe(withIdentity))

  it.effect("knows the address of a contact that answered there, while it is in the table", () =>
    Effect.gen(function*() {
      const { health, heard, knows, routing } = yield* setUp()
      const { host, port } = contact(1)
      assert.isFalse(knows({ host, port }))
      // A message may be a replay from anywhere.
      heard(contact(1), 0, false)
      assert.isFalse(knows({ host, port }))
      heard(contact(1), 0)
      assert.isFalse(knows({ host, port }))
      health.provedAtUnsafe(id(1), { host, port })
      assert.isTrue(knows({ host, port }))
      for (const other of [{ host, port: 2 }, { host: "192.0.2.2", port }]) assert.isFalse(knows(other))
      heard({ ...contact(1), port: 2 }, 0)
      health.provedAtUnsafe(id(1), { host, port: 2 })
      assert.deepStrictEqual([1, 2].map((port) => knows({ host, port })), [false, true])
      heard({ ...contact(1), host: "192.0.2.2" }, 0)
      // Its answer there is not recorded yet.
      assert.isFalse(knows({ host: "192.0.2.2", port: 1 }))
      health.provedAtUnsafe(id(1), { host: "192.0.2.2", port: 1 })
      assert.isTrue(knows({ host: "192.0.2.2", port: 1 }))
      heard({ ...contact(1), host: "192.0.2.2" }, 0, true, Features.Bit.client)
      assert.strictEqual(yield* routing.size, 0)
      assert.isFalse(knows({ host: "192.0.2.2", port: 1 }))
    }).pipe(withIdentity))

  it.effect("is built for the node's own identity", () =>
    Effect.gen(function*() {
      const { identity, routing } = yield* setUp()
      assert.strictEqual(routing.self, identity.nodeId)
      assert.strictEqual(routing.k, 16)
    }).pipe(withIdentity))

  it.effect("holds as many contacts as its options allow", () =>
    Effect.gen(function*() {
      const { far, routing } = yield* setUp({ k: 1, pendingCapacity: 1 })
      routing.learnedUnsafe([1, 2, 3].map((n) => ({ ...contact(n), id: far(n) })), id(1), 0)
      assert.strictEqual(yield* routing.size, 1)
      assert.strictEqual(routing.bucketUnsafe(0).pending, 1)
    }).pipe(withIdentity))

  it.effect("tells which contacts enter and leave, and nothing without listeners", () =>
    Effect.gen(function*() {
      for (const hasListeners of [true, false]) {
        const told: Array<NodeEvents.Event["_tag"]> = []
        const { heard, routing } = yield* setUp({}, layerTold(hasListeners, told))
        heard(contact(1), 0)
        routing.learnedUnsafe([contact(2)], id(1), 0)
        routing.unansweredUnsafe(id(2))
        assert.deepStrictEqual(told, hasListeners ? ["PeerAdded", "PeerAdded", "PeerRemoved"] : [])
      }
    }).pipe(withIdentity))

  it.effect("evicts an unverified contact that is reported silent, and no other", () =>
    Effect.gen(function*() {
      const { heard, routing } = yield* setUp()
      heard(contact(1), 0)
      routing.learnedUnsafe([contact(2)], id(1), 0)
      for (const byte of [1, 2]) routing.unansweredUnsafe(id(byte))
      assert.deepStrictEqual(routing.entriesUnsafe().map(({ contact }) => contact), [contact(1)])
    }).pipe(withIdentity))

  for (
    const [how, add] of [
      ["heard from", ({ heard }, contact, now) => heard(contact, now)],
      ["given by the program", ({ routing }, contact, now) => routing.givenUnsafe(contact, now)]
    ] as ReadonlyArray<
      readonly [string, (world: Effect.Success<ReturnType<typeof setUp>>, contact: Contact, now: number) => void]
    >
  ) {
    it.effect(`checks the oldest contact of a full bucket for a newcomer ${how}, which waits for the outcome`, () =>
      Effect.gen(function*() {
        for (const isAlive of [true, false]) {
          const world = yield* setUp({ k: 1 })
          const { checks, far, heard, routing } = world
          const [oldest, newcomer] = [1, 2].map((n): Contact => ({ ...contact(n), id: far(n) }))
          heard(oldest, 0)
          add(world, newcomer, 31 * minute)
          assert.deepStrictEqual(checks.map(({ peer }) => peer), [oldest])
          assert.strictEqual(routing.entryUnsafe(newcomer.id), undefined)
          checks[0].done(isAlive)
          const [{ contact: kept }] = routing.entriesUnsafe()
          assert.deepStrictEqual(kept, isAlive ? oldest : newcomer)
        }
      }).pipe(withIdentity))
  }

  it.effect("checks once whether several callers' contact is at its source address", () =>
    Effect.gen(function*() {
      const { checks, health, routing } = yield* setUp()
      const outcomes: Array<boolean> = []
      for (let i = 0; i < 17; i++) routing.proveUnsafe(contact(1), 1000, (isProved) => outcomes.push(isProved))
      assert.strictEqual(checks.length, 1)
      // One more than may wait.
      assert.deepStrictEqual(outcomes, [false])
      health.provedAtUnsafe(id(1), contact(1))
      checks[0].done(true)
      assert.deepStrictEqual(outcomes, [false, ...Array.from({ length: 16 }, () => true)])
    }).pipe(withIdentity))

  it.effect("tells those who wait for a check that the contact is not proved, once, if it ends before", () =>
    Effect.gen(function*() {
      const outcomes: Array<readonly [caller: string, isProved: boolean]> = []
      yield* Effect.scoped(Effect.gen(function*() {
        const { routing } = yield* setUp()
        for (const caller of ["first", "second"]) {
          routing.proveUnsafe(contact(1), 1000, (isProved) => outcomes.push([caller, isProved]))
        }
        yield* Effect.yieldNow
        assert.deepStrictEqual(outcomes, [])
      }))
      assert.deepStrictEqual(outcomes, [["first", false], ["second", false]])
    }).pipe(withIdentity))

  it.effect("checks a contact at its new address again once a check has ended, even by a defect", () =>
    Effect.gen(function*() {
      const { checks, heard, requested } = yield* setUp()
      heard(contact(1), 0)
      const moved = { ...contact(1), port: 99 }
      requested(moved, 0)
      requested(moved, 0)
      assert.lengthOf(checks, 1)
      checks.splice(0)[0].dies()
      requested(moved, 0)
      assert.lengthOf(checks, 1)
    }).pipe(withIdentity))

  it.effect("takes no answer from another address for a proof, and lets no caller wait for more than a second", () =>
    Effect.gen(function*() {
      const { checks, routing } = yield* setUp()
      const outcomes: Array<string> = []
      const prove = (name: string) =>
        routing.proveUnsafe(contact(1), 1000, (isProved) => outcomes.push(`${name} ${isProved}`))
      prove("slow")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(outcomes, ["slow false"])
      prove("elsewhere")
      for (const { done } of checks) done(true)
      assert.deepStrictEqual(outcomes, ["slow false", "elsewhere false"])
    }).pipe(withIdentity))

  it.effect("adds a newcomer, and moves a contact, only once it has answered at the source of its request", () =>
    Effect.gen(function*() {
      const { checks, heard, requested, routing } = yield* setUp()
      const elsewhere = { ...contact(1), port: 99 }
      for (const at of [contact(1), elsewhere]) {
        const before = routing.entryUnsafe(at.id)?.contact
        requested(at, 0)
        assert.deepStrictEqual(checks.map(({ peer }) => peer), [at])
        assert.deepStrictEqual(routing.entryUnsafe(at.id)?.contact, before)
        heard(at, 0)
        checks.splice(0)[0].done(true)
        assert.deepStrictEqual(routing.entryUnsafe(at.id)?.contact, at)
        requested(at, 1)
        assert.deepStrictEqual(checks, [])
      }
    }).pipe(withIdentity))

  describe("with contacts that are reachable over both families", () => {
    const dual = Features.Bit.dual
    const inIpv6 = (contact: Contact): Contact => ({ ...contact, host: "2001:db8::1" })
    const [ipv4, ipv6] = ["192.0.2.9", "2001:db8:1::9"]

    it.effect("names each to a requester at its address of that family, and others only to those of their own", () =>
      Effect.gen(function*() {
        const { heard, routing } = yield* setUp()
        for (const at of [contact(1), inIpv6(contact(1))]) heard(at, 0, true, dual)
        heard(contact(2), 0)
        heard(inIpv6(contact(3)), 0)
        const named = (requester: string, families: Routing.Families | undefined) =>
          routing.answerUnsafe(id(0), requester, families, 0)
        assert.deepStrictEqual(named(ipv4, "Own"), [contact(1), contact(2)])
        assert.deepStrictEqual(named(ipv6, "Own"), [inIpv6(contact(1)), inIpv6(contact(3))])
        for (const families of ["Both", undefined] as const) {
          assert.deepStrictEqual(named(ipv4, families), [inIpv6(contact(1)), contact(2), inIpv6(contact(3))])
        }
        const namedDual = (requester: string, families: Routing.Families) =>
          routing.dualAnswerUnsafe(id(0), 3, requester, families, 0)
        assert.deepStrictEqual(namedDual(ipv4, "Own"), [contact(1)])
        assert.deepStrictEqual(namedDual(ipv6, "Own"), [inIpv6(contact(1))])
        assert.deepStrictEqual(namedDual(ipv4, "Both"), [contact(1)])
      }).pipe(withIdentity))

    it.effect("names none at an address that has not answered, nor one of a narrower scope", () =>
      Effect.gen(function*() {
        const { heard, requested, routing } = yield* setUp()
        heard(contact(1), 0, true, dual)
        requested(inIpv6(contact(1)), 0, 1000, dual)
        assert.deepStrictEqual(routing.dualAnswerUnsafe(id(0), 3, ipv6, "Own", 0), [])
        assert.deepStrictEqual(routing.answerUnsafe(id(0), ipv6, "Own", 0), [])
        heard({ ...contact(1), host: "fd00::1" }, 0, true, dual)
        assert.deepStrictEqual(routing.dualAnswerUnsafe(id(0), 3, ipv6, "Own", 0), [])
        assert.deepStrictEqual(routing.answerUnsafe(id(0), ipv6, "Own", 0), [])
      }).pipe(withIdentity))

    it.effect("knows the closest ones however many other contacts fill their buckets, until they say otherwise", () =>
      Effect.gen(function*() {
        const { far, heard, routing } = yield* setUp()
        const at = (n: number): Contact => ({ ...contact(n), id: far(n) })
        for (let n = 1; n <= 16; n++) heard(at(n), 0)
        for (const n of [17, 18, 19]) heard(at(n), 0, true, dual)
        assert.isUndefined(routing.entryUnsafe(far(17)))
        assert.deepStrictEqual(routing.nearestDualUnsafe(far(18), 2), [at(18), at(19)])
        heard(at(18), 0)
        heard(at(19), 0, true, dual | Features.Bit.client)
        assert.deepStrictEqual(routing.nearestDualUnsafe(far(18), 9), [at(17)])
      }).pipe(withIdentity))

    it.effect("pings one at the address of the other family that others name, once in ten minutes", () =>
      Effect.gen(function*() {
        const { checks, heard, routing } = yield* setUp()
        heard(contact(1), 0, true, dual)
        heard(contact(2), 0)
        const named = [1, 2, 3].map((n) => inIpv6(contact(n)))
        // Those that are not named as such count for nothing, nor do strangers.
        routing.learnedUnsafe(named, id(9), 0, 0)
        assert.deepStrictEqual(checks, [])
        routing.learnedUnsafe(named, id(9), 0, 3)
        routing.learnedUnsafe(named, id(9), 9 * minute, 3)
        assert.deepStrictEqual(checks.map(({ peer }) => peer), [inIpv6(contact(1))])
        routing.learnedUnsafe(named, id(9), 10 * minute, 3)
        assert.lengthOf(checks, 2)
        heard(inIpv6(contact(1)), 10 * minute, true, dual)
        routing.learnedUnsafe(named, id(9), 30 * minute, 3)
        assert.lengthOf(checks, 2)
      }).pipe(withIdentity))

    it.effect("checks a silent one at each of its addresses, and forgets that at which it stays silent", () =>
      Effect.gen(function*() {
        const { checks, heard, routing } = yield* setUp()
        heard(contact(2), 0)
        for (const at of [contact(1), inIpv6(contact(1))]) heard(at, 0, true, dual)
        heard(contact(2), 26 * minute)
        yield* TestClock.setTime(26 * minute)
        routing.maintainUnsafe(false, 26 * minute)
        yield* Effect.yieldNow
        assert.deepStrictEqual(checks.map(({ peer }) => peer), [inIpv6(contact(1)), contact(1)])
        const [silent, other] = checks.splice(0)
        silent.done(false)
        heard(contact(1), 26 * minute, true, dual)
        other.done(true)
        yield* TestClock.adjust(0)
        for (const { done } of checks.splice(0)) done(true)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(routing.dualAnswerUnsafe(id(0), 3, ipv4, "Own", 26 * minute), [contact(1)])
      }).pipe(withIdentity))
  })

  it.effect("does not verify a contact that others reported by its request alone", () =>
    Effect.gen(function*() {
      const { requested, routing } = yield* setUp()
      routing.learnedUnsafe([contact(1)], id(2), 0)
      requested(contact(1), 0)
      assert.isUndefined(routing.entryUnsafe(id(1))?.verifiedAt)
    }).pipe(withIdentity))

  it.effect("sends no ping for which the request leaves no room", () =>
    Effect.gen(function*() {
      const { checks, requested } = yield* setUp()
      requested(contact(1), 0, 150)
      assert.deepStrictEqual(checks, [])
      requested(contact(1), 0, 160)
      assert.strictEqual(checks.length, 1)
    }).pipe(withIdentity))

  it.effect("pings a stranger only if the table lacks such contacts, or if its last answer was cut", () =>
    Effect.gen(function*() {
      const { checks, far, heard, requested, routing } = yield* setUp({ k: 2 })
      const [first, second, third, fourth] = [1, 2, 3, 4].map((n): Contact => ({ ...contact(n), id: far(n) }))
      for (const known of [first, second]) heard(known, 0)
      assert.isFalse(routing.willProveUnsafe(requester(third), 1))
      requested(third, 1)
      requested(third, 1, -900)
      assert.deepStrictEqual(checks, [])
      requested(third, 2)
      assert.deepStrictEqual(checks.map(({ peer }) => peer), [third])
      // The oldest contact has been silent for long, so it may give way.
      requested(fourth, 31 * minute)
      assert.deepStrictEqual(checks.map(({ peer }) => peer), [third, fourth])
    }).pipe(withIdentity))

  it.effect("pings no client, which never gets a place, unless its last answer was cut", () =>
    Effect.gen(function*() {
      const { checks, requested } = yield* setUp()
      requested(contact(1), 0, 20, Features.Bit.client)
      assert.deepStrictEqual(checks, [])
      requested(contact(1), 1, 1000, Features.Bit.client)
      assert.strictEqual(checks.length, 1)
    }).pipe(withIdentity))

  it.effect("cancels its checks when it closes", () =>
    Effect.gen(function*() {
      const { checks } = yield* Effect.scoped(Effect.gen(function*() {
        const world = yield* setUp()
        world.routing.proveUnsafe(contact(1), 1000, () => {})
        world.heard(contact(2), 0)
        world.requested({ ...contact(2), port: 99 }, 0)
        return world
      }))
      assert.deepStrictEqual(checks.map(({ isCancelled }) => isCancelled), [true, true])
    }).pipe(withIdentity))
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
