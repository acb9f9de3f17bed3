import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Announce } from "../src/Announce.ts"
import * as Custom from "../src/Custom.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Persistence from "../src/Persistence.ts"
import { RecordType } from "../src/Record.ts"
import { Replication } from "../src/Replication.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import { isWithdrawal } from "../src/Withdrawal.ts"
import * as network from "./utils/network.ts"
import { helpful, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const { build, now } = network

const key = NodeId.fromTopic("translate")

const Load = Custom.make({ type: 0x07, schema: Schema.Struct({ jobs: Schema.Int }) })

const endpoint = { endpoints: ["tcp://192.0.2.1:4121"], ttl: 600 }

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

  it.effect("signs again at half the lifetime, with the current time and a larger seq", () =>
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

  it.effect("signs anew before the record is gone, however much longer than any is kept its ttl is", () =>
    Effect.gen(function*() {
      const [owner] = (yield* build(1)).map(network.dht)
      const announcement = yield* owner.announceEndpoint({ ...endpoint, ttl: 0xffff_ffff })
      const first = (yield* announcement.current).record
      assert.strictEqual(first.expiresAt, now + 604_800)
      yield* TestClock.adjust("84 hours")
      const second = (yield* announcement.current).record
      assert.strictEqual(second.timestamp, BigInt(now + 84 * 3600))
      assert.isTrue(second.seq > first.seq)
    }).pipe(onNetwork))

  it.effect("renews again and again, until its scope closes", () =>
    Effect.gen(function*() {
      const [owner, other] = (yield* build(4)).map(network.dht)
      const scope = yield* Scope.make()
      yield* Scope.provide(owner.announceTopic({ topic: "translate", name: "Ann", ttl: 600 }), scope)
      yield* TestClock.adjust("20 minutes")
      assert.strictEqual((yield* other.discover("translate")).offers[0].name, "Ann")
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("11 minutes")
      assert.strictEqual((yield* Effect.flip(other.discover("translate")))._tag, "NoMatchingRecords")
    }).pipe(onNetwork))

  it.effect("leaves the copies of a later announcement in its slot alone when its scope closes", () =>
    Effect.gen(function*() {
      const nodes = yield* build(4)
      const owner = network.dht(nodes[0])
      for (const [i, keepOnClose] of [true, false].entries()) {
        const topic = `topic ${i}`
        const earlier = yield* Scope.make()
        yield* Scope.provide(owner.announceTopic({ topic, name: "earlier", ttl: 600, keepOnClose }), earlier)
        yield* owner.announceTopic({ topic, name: "later", ttl: 600, keepOnClose })
        yield* Scope.close(earlier, Exit.void)
        const summary = yield* Context.get(nodes[0], Replication).summary
        assert.strictEqual(summary.records, 1 + i)
      }
    }).pipe(onNetwork))

  it.effect("is withdrawn on request, even if it would be left when its scope closes, and not renewed", () =>
    Effect.gen(function*() {
      const [owner, other] = (yield* build(4)).map(network.dht)
      const announcement = yield* owner.announceTopic({ topic: "translate", ttl: 600, keepOnClose: true })
      assert.strictEqual((yield* other.discover("translate")).offers.length, 1)
      yield* announcement.withdraw
      yield* settled
      assert.strictEqual((yield* Effect.flip(other.discover("translate")))._tag, "NoMatchingRecords")
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual((yield* Effect.flip(other.discover("translate")))._tag, "NoMatchingRecords")
    }).pipe(onNetwork))

  it.effect("keeps a custom record alive, and withdraws it when its scope closes", () =>
    Effect.gen(function*() {
      const [owner, other] = (yield* build(4)).map(network.dht)
      const scope = yield* Scope.make()
      const value = { jobs: 3 }
      yield* Scope.provide(owner.announceCustom({ custom: Load, value, ttl: 600 }), scope)
      yield* TestClock.adjust("20 minutes")
      assert.deepStrictEqual((yield* other.findCustom(Load, owner)).found.map(({ value }) => value), [value])
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Effect.flip(other.findCustom(Load, owner)))._tag, "NoMatchingRecords")
    }).pipe(onNetwork))

  it.effect("keeps bytes under a custom type alive, and leaves those like mail to expire", () =>
    Effect.gen(function*() {
      const [owner, other] = (yield* build(4)).map(network.dht)
      const scope = yield* Scope.make()
      const payload = Uint8Array.of(1)
      yield* Scope.provide(owner.announceCustom({ type: 0x11, payload, key, ttl: 600 }), scope)
      yield* Scope.provide(owner.announceCustom({ type: 0x81, payload, key, ttl: 600 }), scope)
      yield* TestClock.adjust("20 minutes")
      const typesAt = Effect.map(
        Effect.orElseSucceed(other.aggregateRecords(key), () => []),
        (records): Array<number> => records.map(({ type }) => type)
      )
      assert.sameMembers(yield* typesAt, [0x11, 0x81])
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* typesAt, [0x81])
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(yield* typesAt, [])
    }).pipe(onNetwork))

  it.effect("fails with the reason for a value that cannot be published, and announces nothing", () =>
    Effect.gen(function*() {
      const [node] = yield* build(1)
      const error = yield* Effect.flip(Effect.scoped(
        network.dht(node).announceCustom({
          custom: Load,
          value: { jobs: 1.5 }
        })
      ))
      assert.strictEqual(error._tag, "InvalidPayload")
      assert.deepStrictEqual(yield* Context.get(node, Announce).announcements, [])
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

  it.effect("outlives an hour without a network", () =>
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

  /** A clock that can be set, like a machine's wall clock. Sleeps are not affected. */
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
    it.effect(`outlives a clock that ${name}, by signing the record again`, () =>
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

  it.effect("fails as publishing does if there is nothing to keep alive", () =>
    Effect.gen(function*() {
      const [owner] = (yield* build(1)).map(network.dht)
      const error = yield* Effect.flip(owner.announceEndpoint({ endpoints: [`quic://${"x".repeat(2000)}`] }))
      assert.strictEqual(error._tag, "RecordTooLarge")
    }).pipe(onNetwork))
})

describe("an announcement whose scope closes", () => {
  const all = (dht: network.Node) => {
    const { announceEndpoint, announceProfile, announceTopic } = network.dht(dht)
    return Effect.all([
      announceEndpoint(endpoint),
      announceTopic({ topic: "translate", name: "Ann" }),
      announceProfile({ name: "Ann" })
    ])
  }

  /** The numbers of endpoints, offers and profiles that a node sees. */
  const seen = Effect.fnUntraced(function*(node: network.Node, owner: network.Node) {
    const { discover, findRecords, resolve } = network.dht(node)
    const { address, nodeId } = network.dht(owner)
    const counts = yield* Effect.all([
      Effect.as(resolve(address, { quorum: 3 }), 1).pipe(Effect.catchTag("NoEndpoint", () => Effect.succeed(0))),
      Effect.map(discover("translate"), ({ offers }) => offers.length).pipe(
        Effect.catchTag(["NoMatchingRecords", "NoMatchingOffers"], () => Effect.succeed(0))
      ),
      Effect.map(findRecords(nodeId, { type: RecordType.profile, quorum: 3 }), ({ length }) => length).pipe(
        Effect.catchTag("NoMatchingRecords", () => Effect.succeed(0))
      )
    ])
    return counts
  })

  const announced = Effect.fnUntraced(function*(count: number) {
    const nodes = yield* build(count)
    const scope = yield* Scope.make()
    yield* Scope.provide(all(nodes[0]), scope)
    yield* settled
    for (const node of nodes) assert.deepStrictEqual(yield* seen(node, nodes[0]), [1, 1, 1])
    return { nodes, close: Scope.close(scope, Exit.void) }
  })

  it.effect("is no longer seen by any node, then or later, whatever its kind", () =>
    Effect.gen(function*() {
      const { close, nodes } = yield* announced(12)
      yield* close
      for (const node of nodes) assert.deepStrictEqual(yield* seen(node, nodes[0]), [0, 0, 0])
      for (let i = 0; i < 12; i++) {
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual(yield* seen(nodes[i], nodes[0]), [0, 0, 0])
      }
    }).pipe(onNetwork))

  it.effect("disappears at once for watchers", () =>
    Effect.gen(function*() {
      const { close, nodes } = yield* announced(8)
      const changes: Array<string> = []
      for (const node of [nodes[0], nodes[5]]) {
        yield* network.dht(node).watchTopic("translate").pipe(
          Stream.runForEach(({ _tag, offer }) => Effect.sync(() => changes.push(`${_tag} ${offer.name}`))),
          Effect.forkScoped({ startImmediately: true })
        )
      }
      yield* settled
      assert.deepStrictEqual(changes, ["Appeared Ann", "Appeared Ann"])
      yield* close
      yield* settled
      assert.deepStrictEqual(changes.slice(2), ["Gone Ann", "Gone Ann"])
      yield* TestClock.adjust("1 hour")
      assert.lengthOf(changes, 4)
    }).pipe(onNetwork))

  it.effect("is withdrawn if the node closes before the scope does", () =>
    Effect.gen(function*() {
      const nodes = yield* build(6)
      const nodeScope = yield* Scope.make()
      const owner = yield* Scope.provide(network.node("owner", network.socketOf(50)), nodeScope)
      yield* network.dht(owner).bootstrap([network.socketOf(1)])
      yield* all(owner)
      yield* settled
      assert.deepStrictEqual(yield* seen(nodes[3], owner), [1, 1, 1])
      yield* Scope.close(nodeScope, Exit.void)
      assert.deepStrictEqual(yield* seen(nodes[3], owner), [0, 0, 0])
    }).pipe(onNetwork))

  it.effect("is withdrawn when its fiber is interrupted", () =>
    Effect.gen(function*() {
      const nodes = yield* build(6)
      const serving = yield* Effect.forkChild(Effect.scoped(Effect.andThen(all(nodes[0]), Effect.never)), {
        startImmediately: true
      })
      yield* settled
      assert.deepStrictEqual(yield* seen(nodes[3], nodes[0]), [1, 1, 1])
      yield* Fiber.interrupt(serving)
      assert.deepStrictEqual(yield* seen(nodes[3], nodes[0]), [0, 0, 0])
    }).pipe(onNetwork))

  it.effect("stays until it expires with keepOnClose", () =>
    Effect.gen(function*() {
      const [owner, other] = yield* build(6)
      yield* Effect.scoped(Effect.andThen(
        network.dht(owner).announceTopic({ topic: "translate", name: "Ann", keepOnClose: true }),
        settled
      ))
      yield* TestClock.adjust("59 minutes")
      assert.lengthOf((yield* network.dht(other).discover("translate")).offers, 1)
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual((yield* Effect.flip(network.dht(other).discover("translate")))._tag, "NoMatchingRecords")
    }).pipe(onNetwork))

  it.effect("leaves a record published in its place since", () =>
    Effect.gen(function*() {
      const [owner, other] = (yield* build(6)).map(network.dht)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* owner.announceEndpoint(endpoint)
        yield* settled
        yield* owner.publishEndpoint({ endpoints: ["tcp://192.0.2.9:1"] })
        yield* settled
      }))
      assert.deepStrictEqual((yield* other.resolve(owner.address, { quorum: 3 })).endpoints, ["tcp://192.0.2.9:1"])
    }).pipe(onNetwork))

  it.effect("can be announced again at once", () =>
    Effect.gen(function*() {
      const { close, nodes } = yield* announced(6)
      yield* close
      yield* all(nodes[0])
      yield* settled
      for (const node of nodes) assert.deepStrictEqual(yield* seen(node, nodes[0]), [1, 1, 1])
      yield* TestClock.adjust("2 hours")
      for (const node of nodes) assert.deepStrictEqual(yield* seen(node, nodes[0]), [1, 1, 1])
    }).pipe(onNetwork))

  it.effect("is withdrawn at a holder that was replaced", () =>
    Effect.gen(function*() {
      const { close, nodes } = yield* announced(9)
      // Newcomers closer to the key replace some replicas.
      let joined = 0
      for (let i = 0; joined < 3; i++) {
        const { nodeId } = network.identity(`closer ${i}`)
        if (nodes.some((node) => NodeId.compareDistance(key, nodeId, network.contactOf(node).id) > 0)) continue
        const node = yield* network.node(`closer ${i}`, network.socketOf(100 + joined++))
        yield* network.dht(node).bootstrap([network.socketOf(1)])
      }
      yield* TestClock.adjust("2 hours")
      yield* close
      for (const node of nodes) {
        const records = yield* Context.get(node, Store).getAll(key, RecordType.topic)
        assert.isTrue(records.every(isWithdrawal))
      }
    }).pipe(onNetwork))

  it.effect("takes at most a second if the holders are silent, and is retried while the node lives", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(now * 1000)
      const node = yield* network.node("node", network.socketOf(1))
      const peer = yield* network.puppet("peer", network.socketOf(60))
      yield* network.dht(node).addContact(peer)
      let isSilent = false
      const heard = yield* serve(peer, (body, from) => isSilent ? undefined : helpful(peer)(body, from))
      const closing = yield* Effect.forkChild(
        Effect.scoped(Effect.gen(function*() {
          for (let i = 0; i < 20; i++) yield* network.dht(node).announceTopic({ topic: `${i}`, name: "Ann" })
          yield* settled
          isSilent = true
        })),
        { startImmediately: true }
      )
      yield* settled
      yield* TestClock.adjust("1 second")
      yield* settled
      assert.isDefined(closing.pollUnsafe())
      const withdrawn = () =>
        new Set(
          heard.flatMap(({ body }) =>
            body._tag === "Store" && isWithdrawal(body.record) && body.key !== undefined ? [body.key] : []
          )
        )
      assert.strictEqual(withdrawn().size, 20)
      isSilent = false
      const before = heard.length
      yield* TestClock.adjust("10 seconds")
      assert.isAtLeast(heard.length - before, 15)
    }).pipe(onNetwork))

  it.effect("is not restored by a later start of the node", () =>
    Effect.gen(function*() {
      const nodes = yield* build(6)
      const medium = Persistence.makeMemory()
      const run = Effect.fnUntraced(function*(work: (node: network.Node) => Effect.Effect<void, unknown, Scope.Scope>) {
        const node = yield* network.node("owner", network.socketOf(50), {
          services: { persistence: Layer.fresh(Persistence.layerMemory(medium)) }
        })
        yield* network.join(node, [network.socketOf(1)])
        yield* work(node)
      }, Effect.scoped)
      yield* run((node) => Effect.andThen(Effect.orDie(all(node)), settled))
      yield* run((node) =>
        Effect.gen(function*() {
          for (let i = 0; i < 10; i++) {
            yield* TestClock.adjust("5 minutes")
            for (const other of [node, nodes[2]]) assert.deepStrictEqual(yield* seen(other, node), [0, 0, 0])
          }
        })
      )
    }).pipe(onNetwork))
})
