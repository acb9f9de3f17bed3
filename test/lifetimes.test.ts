import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type * as Dht from "../src/Dht.ts"
import type * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Query from "../src/Query.ts"
import * as Rpc from "../src/Rpc.ts"
import * as Transport from "../src/Transport.ts"
import * as alive from "./utils/alive.ts"
import * as network from "./utils/network.ts"
import { found, helpful, offer, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(Transport.layerMemoryNetwork)
const start = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

const target = NodeId.fromTopic("target")

/**
 * A passive node with six contacts, all puppets, the one closest to the target
 * first. Only the test starts requests.
 */
const setUp = Effect.fnUntraced(function*(now: () => alive.Alive, options: Dht.Options = {}) {
  yield* TestClock.setTime(network.now * 1000)
  const puppets: Array<network.Puppet> = []
  for (let i = 0; i < 6; i++) puppets.push(yield* network.puppet(`puppet ${i}`, network.socketOf(60 + i)))
  puppets.sort((a, b) => NodeId.compareDistance(target, a.id, b.id))
  const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const node = yield* Scope.provide(network.node("node", network.socketOf(1), { passive: true, ...options }), scope)
  for (const puppet of puppets) yield* network.dht(node).addContact(puppet)
  yield* TestClock.adjust("1 second")
  const left = Effect.map(Context.get(node, Rpc.Rpc).pending, (pending) => ({ ...now(), pending }))
  return {
    node,
    puppets,
    query: Context.get(node, Query.Query),
    close: Scope.close(scope, Exit.void),
    before: yield* left,
    left
  }
})

/** Fails if nothing is in flight, because then nothing could be left behind. */
const underWay = Effect.fnUntraced(function*({ before, left }: Effect.Success<ReturnType<typeof setUp>>) {
  const { fibers, pending, sleeps } = yield* left
  assert.isAbove(pending, before.pending)
  assert.isAbove(fibers, before.fibers + 1)
  assert.isAbove(sleeps, before.sleeps)
})

describe("a query leaves no fiber, timer or pending request", () => {
  it.effect("when it finds a record before all have answered", () =>
    alive.counting((now) =>
      Effect.gen(function*() {
        const world = yield* setUp(now)
        const finding = yield* start(world.query.findRecords(target, { quorum: 1 }))
        yield* underWay(world)
        yield* world.puppets[0].answer(() => found(offer("target", "owner")))
        assert.strictEqual((yield* Fiber.join(finding)).length, 1)
        assert.deepStrictEqual(yield* world.left, world.before)
      })
    ).pipe(onNetwork))

  it.effect("when the quorum is reached", () =>
    alive.counting((now) =>
      Effect.gen(function*() {
        const world = yield* setUp(now)
        const finding = yield* start(world.query.findRecords(target, { quorum: 2 }))
        yield* underWay(world)
        for (const puppet of world.puppets.slice(0, 2)) yield* puppet.answer(() => found(offer("target", "owner")))
        yield* Fiber.join(finding)
        assert.deepStrictEqual(yield* world.left, world.before)
      })
    ).pipe(onNetwork))

  it.effect("when all peers have answered without records", () =>
    alive.counting((now) =>
      Effect.gen(function*() {
        const world = yield* setUp(now)
        const finding = yield* start(Effect.flip(world.query.findRecords(target)))
        yield* underWay(world)
        yield* Effect.forEach(world.puppets, (puppet) => puppet.answer(() => found()), { concurrency: "unbounded" })
        assert.strictEqual((yield* Fiber.join(finding)).answered, 6)
        assert.deepStrictEqual(yield* world.left, world.before)
      })
    ).pipe(onNetwork))

  it.effect("when no peer answers", () =>
    alive.counting((now) =>
      Effect.gen(function*() {
        const world = yield* setUp(now)
        // Once contacts were silent, a check of them is due.
        for (const isFirst of [true, false]) {
          const before = yield* world.left
          const finding = yield* start(Effect.flip(world.query.findRecords(target)))
          yield* underWay(world)
          yield* TestClock.adjust("30 seconds")
          assert.strictEqual((yield* Fiber.join(finding)).answered, 0)
          if (!isFirst) assert.deepStrictEqual(yield* world.left, before)
        }
      })
    ).pipe(onNetwork))

  it.effect("when no peer can be reached", () =>
    alive.counting((now) =>
      Effect.gen(function*() {
        const world = yield* setUp(now)
        for (let i = 0; i < 6; i++) {
          const gone = network.identity(`gone ${i}`)
          yield* network.dht(world.node).addContact({
            id: gone.nodeId,
            address: gone.address,
            ...network.socketOf(900 + i)
          })
        }
        for (const isFirst of [true, false]) {
          const before = yield* world.left
          const finding = yield* start(world.query.findNode(target))
          yield* underWay(world)
          yield* TestClock.adjust("30 seconds")
          assert.deepStrictEqual(yield* Fiber.join(finding), [])
          if (!isFirst) assert.deepStrictEqual(yield* world.left, before)
        }
      })
    ).pipe(onNetwork))

  it.effect("when it is interrupted", () =>
    alive.counting((now) =>
      Effect.gen(function*() {
        const world = yield* setUp(now)
        // Before a request was repeated, while a slow peer is hedged, and after
        // both.
        for (const millis of [0, 300, 1100]) {
          const finding = yield* start(world.query.aggregateRecords(target))
          yield* TestClock.adjust(millis)
          yield* underWay(world)
          yield* Fiber.interrupt(finding)
          assert.deepStrictEqual(yield* world.left, world.before)
        }
      })
    ).pipe(onNetwork))

  it.effect("when it times out", () =>
    alive.counting((now) =>
      Effect.gen(function*() {
        const world = yield* setUp(now)
        const finding = yield* start(Effect.timeoutOption(world.query.findNode(target), "700 millis"))
        yield* underWay(world)
        yield* TestClock.adjust("700 millis")
        assert.isTrue(Option.isNone(yield* Fiber.join(finding)))
        assert.deepStrictEqual(yield* world.left, world.before)
      })
    ).pipe(onNetwork))

  it.effect("when another effect wins the race", () =>
    alive.counting((now) =>
      Effect.gen(function*() {
        const world = yield* setUp(now)
        const racing = yield* start(
          Effect.raceFirst(world.query.findNode(target), world.query.findRecords(target, { quorum: 1 }))
        )
        yield* underWay(world)
        while (racing.pollUnsafe() === undefined) {
          yield* world.puppets[0].answer((body) => body._tag === "FindValue" ? found(offer("target", "owner")) : body)
          yield* TestClock.adjust(1)
        }
        assert.strictEqual((yield* Fiber.join(racing)).length, 1)
        assert.deepStrictEqual(yield* world.left, world.before)
      })
    ).pipe(onNetwork))

  it.effect("when a defect ends it", () =>
    alive.counting((now) =>
      Effect.gen(function*() {
        const world = yield* setUp(now, {
          policy: () => {
            throw new Error("a policy of the application's that fails")
          }
        })
        const finding = yield* start(Effect.exit(world.query.findRecords(target)))
        yield* underWay(world)
        yield* world.puppets[0].answer(() => found(offer("target", "owner")))
        const exit = yield* Fiber.join(finding)
        assert.isTrue(Exit.hasDies(exit))
        assert.deepStrictEqual(yield* world.left, world.before)
      })
    ).pipe(onNetwork))
})

describe("an interruption leaves no fiber, timer or pending request of", () => {
  type Work = (node: network.Node, peer: network.Puppet) => Effect.Effect<unknown, unknown>
  const works: ReadonlyArray<readonly [name: string, work: Work, options?: Dht.Options]> = [
    ["joining", (node, peer) => network.dht(node).bootstrap([peer])],
    ["joining through a known contact", (node, peer) => network.dht(node).bootstrapContacts([peer]), {
      passive: false
    }],
    ["asking one peer", (node, peer) => network.dht(node).ping(peer)],
    ["a NAT probe", (node, peer) => network.dht(node).natProbe(peer, network.socketOf(1))],
    ["discovering", (node) => network.dht(node).discover(["one", "two"])],
    ["watching a topic", (node) => Stream.runDrain(network.dht(node).watchTopic("target"))],
    ["waiting for messages", (node) => Stream.runDrain(network.dht(node).mail.messages)],
    ["following observations", (node) => Stream.runDrain(network.dht(node).observations)],
    [
      "announcing",
      (node) => Effect.scoped(Effect.andThen(network.dht(node).announceEndpoint({ endpoints: [] }), Effect.never))
    ],
    ["waiting for replicas", (node) =>
      Effect.scoped(Effect.gen(function*() {
        const announced = yield* network.dht(node).announceEndpoint({ endpoints: [] })
        return yield* announced.replicas(8, { within: "1 hour" })
      }))]
  ]
  for (const [name, work, options] of works) {
    it.effect(name, () =>
      alive.counting((now) =>
        Effect.gen(function*() {
          const world = yield* setUp(now, options)
          const interruptAfter = Effect.fnUntraced(function*(millis: number) {
            const working = yield* start(Effect.ignore(work(world.node, world.puppets[0])))
            yield* TestClock.adjust(millis)
            assert.isAbove(now().fibers, world.before.fibers, `after ${millis} ms`)
            yield* Fiber.interrupt(working)
          })
          // An own record that was stored is looked after.
          yield* interruptAfter(0)
          const before = yield* world.left
          // At once, and after requests were repeated.
          for (const millis of [0, 1500]) {
            yield* interruptAfter(millis)
            assert.deepStrictEqual(yield* world.left, before, `after ${millis} ms`)
          }
        })
      ).pipe(onNetwork))
  }

  for (const name of ["watching a topic", "waiting for messages"]) {
    it.effect(`${name}, in the pause between two lookups`, () =>
      alive.counting((now) =>
        Effect.gen(function*() {
          const world = yield* setUp(now)
          const { mail, watchTopic } = network.dht(world.node)
          const working = yield* start(
            name === "waiting for messages" ? Stream.runDrain(mail.messages) : Stream.runDrain(watchTopic("target"))
          )
          yield* Effect.forEach(world.puppets, (puppet) => puppet.answer(() => found()), { concurrency: "unbounded" })
          yield* TestClock.adjust("100 millis")
          assert.strictEqual((yield* world.left).pending, 0)
          assert.isAbove(now().sleeps, world.before.sleeps)
          yield* Fiber.interrupt(working)
          assert.deepStrictEqual(yield* world.left, world.before)
        })
      ).pipe(onNetwork))
  }
})

describe("closing a node leaves no fiber, timer or pending request of it", () => {
  interface World {
    readonly node: network.Node
    readonly peers: ReadonlyArray<network.Puppet>
    /** From now on the peers are silent, or answer the given requests. */
    readonly answering: (kinds: ReadonlyArray<Message.Body["_tag"]>) => void
  }
  const addAll = ({ node, peers }: World) => Effect.forEach(peers, network.dht(node).addContact, { discard: true })
  const cases: ReadonlyArray<
    readonly [name: string, until: (world: World) => Effect.Effect<unknown, unknown, Scope.Scope>]
  > = [
    ["while it looks for its neighbours", (world) =>
      Effect.gen(function*() {
        world.answering(["Ping", "FindNode"])
        yield* network.dht(world.node).bootstrap(world.peers)
        world.answering([])
        while ((yield* Context.get(world.node, Rpc.Rpc).pending) === 0) yield* TestClock.adjust("100 millis")
      })],
    ["while it looks up where copies belong", (world) =>
      Effect.gen(function*() {
        yield* addAll(world)
        yield* network.dht(world.node).publishEndpoint({ endpoints: [] })
        yield* TestClock.adjust("1 second")
      })],
    ["while it stores copies", (world) =>
      Effect.gen(function*() {
        yield* addAll(world)
        world.answering(["FindNode"])
        yield* network.dht(world.node).publishEndpoint({ endpoints: [] })
        yield* settled
        yield* TestClock.adjust("1 second")
      })],
    ["while it asks replicas whether they hold their copy", (world) =>
      Effect.gen(function*() {
        yield* addAll(world)
        world.answering(["FindNode", "Store"])
        yield* network.dht(world.node).publishEndpoint({ endpoints: [] })
        yield* settled
        yield* TestClock.adjust("31 seconds")
      })],
    ["in a heartbeat that probes and refills", (world) =>
      Effect.gen(function*() {
        const table = network.tableOf(world.node)
        for (const peer of world.peers) table.add(peer, undefined, network.now * 1000 - 3_600_000)
        while ((yield* Context.get(world.node, Rpc.Rpc).pending) === 0) yield* TestClock.adjust("1 second")
      })],
    ["while it asks whether a contact moved", (world) =>
      Effect.gen(function*() {
        const [peer] = world.peers
        yield* network.dht(world.node).addContact({ ...peer, ...network.socketOf(900) })
        yield* peer.send(network.socketOf(1), { _tag: "FindNode", target }, "00".repeat(20))
        yield* TestClock.adjust(1)
      })],
    ["while it pushes to a subscriber", (world) =>
      Effect.gen(function*() {
        const { node, peers: [peer] } = world
        yield* network.dht(node).setPassive(true)
        yield* network.dht(node).publishTopic({ topic: "target", name: "held" })
        yield* peer.send(
          network.socketOf(1),
          { _tag: "FindValue", target, recordType: 0, subscribe: true },
          "00".repeat(20)
        )
        yield* TestClock.adjust("1 minute")
        yield* peer.send(
          network.socketOf(1),
          { _tag: "FindValue", target, recordType: 0, subscribe: true },
          "01".repeat(20)
        )
        yield* TestClock.adjust(1)
        yield* peer.send(
          network.socketOf(1),
          { _tag: "Store", key: target, record: offer("target", "new") },
          "02".repeat(20)
        )
        yield* TestClock.adjust(1)
      })]
  ]
  for (const [name, until] of cases) {
    it.effect(name, () =>
      alive.counting((now) =>
        Effect.gen(function*() {
          yield* TestClock.setTime(network.now * 1000)
          let kinds: ReadonlyArray<Message.Body["_tag"]> = []
          const peers: Array<network.Puppet> = []
          for (let i = 0; i < 6; i++) {
            const peer = yield* network.puppet(`puppet ${i}`, network.socketOf(60 + i))
            peers.push(peer)
            const help = helpful(peer)
            yield* serve(peer, (body, from) => kinds.includes(body._tag) ? help(body, from) : undefined)
          }
          yield* TestClock.adjust(1)
          const before = now()

          const scope = yield* Scope.make()
          const node = yield* Scope.provide(network.node("node", network.socketOf(1)), scope)
          const idle = now()
          const { pending } = Context.get(node, Rpc.Rpc)
          yield* until({
            node,
            peers,
            answering: (some) => {
              kinds = some
            }
          })
          assert.isAbove(yield* pending, 0)
          assert.isAbove(now().fibers, idle.fibers)
          // No time passes.
          yield* Scope.close(scope, Exit.void)
          assert.deepStrictEqual({ ...now(), pending: yield* pending }, { ...before, pending: 0 })
          yield* Scope.close(scope, Exit.void)
          yield* TestClock.adjust("1 hour")
          assert.deepStrictEqual(now(), before)
        })
      ).pipe(Effect.scoped, onNetwork))
  }
})

type Asked = (node: network.Node, peer: network.Puppet) => Effect.Effect<unknown, unknown>

const asked: ReadonlyArray<readonly [name: string, ask: Asked]> = [
  ["joining", (node, peer) => network.dht(node).bootstrap([peer])],
  ["a lookup", (node) => network.dht(node).findNode(NodeId.zero)],
  ["asking one peer", (node, peer) => network.dht(node).ping(peer)],
  ["a NAT probe", (node, peer) => network.dht(node).natProbe(peer, network.socketOf(1))],
  ["waiting for replicas", (node) =>
    Effect.flatMap(
      network.dht(node).publishEndpoint({ endpoints: [] }),
      (published) => published.replicas(8, { within: "1 hour" })
    )],
  ["watching a topic", (node) => Stream.runDrain(network.dht(node).watchTopic("target"))],
  ["waiting for messages", (node) => Stream.runDrain(network.dht(node).mail.messages)],
  ["following observations", (node) => Stream.runDrain(network.dht(node).observations)]
]

describe("when a node closes, its requests end within a second", () => {
  for (const [name, ask] of asked) {
    // At the start, and when the last attempt of a request has the rest of the
    // time.
    for (const millis of [0, 3000]) {
      it.effect(`${name}, ${millis} ms after it began`, () =>
        alive.counting((now) =>
          Effect.gen(function*() {
            yield* TestClock.setTime(network.now * 1000)
            const peer = yield* network.puppet("peer", network.socketOf(60))
            const before = now()
            const scope = yield* Scope.make()
            const node = yield* Scope.provide(network.node("node", network.socketOf(1)), scope)
            yield* network.dht(node).addContact(peer)
            const asking = yield* Effect.forkChild(Effect.exit(ask(node, peer)), { startImmediately: true })
            yield* settled
            yield* TestClock.adjust(millis)
            yield* Scope.close(scope, Exit.void)
            yield* settled
            yield* TestClock.adjust("1 second")
            const pending = yield* Context.get(node, Rpc.Rpc).pending
            assert.deepStrictEqual({ ...now(), pending }, { ...before, pending: 0 })
            assert.isDefined(asking.pollUnsafe())
          })
        ).pipe(onNetwork))
    }
  }
})

describe("when a node closes and its transport lives on", () => {
  it.effect("new requests fail at once, even if the caller repeats them after a failure", () =>
    alive.counting((now) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(network.now * 1000)
        const peer = yield* network.puppet("peer", network.socketOf(60))
        const transport = yield* Layer.build(Transport.layerMemory(network.socketOf(1)))
        const before = now()
        const scope = yield* Scope.make()
        const node = yield* Scope.provide(network.nodeOn("node", transport), scope)
        const asking = yield* Effect.forkChild(
          Effect.exit(Effect.retry(network.dht(node).ping(peer), { times: 3 })),
          { startImmediately: true }
        )
        yield* settled
        yield* Scope.close(scope, Exit.void)
        yield* settled
        assert.strictEqual((yield* Effect.flip(network.dht(node).ping(peer)))._tag, "TransportClosed")
        assert.strictEqual((yield* Effect.flip(network.dht(node).natProbe(peer, peer)))._tag, "TransportClosed")
        assert.isDefined(asking.pollUnsafe())
        const pending = yield* Context.get(node, Rpc.Rpc).pending
        assert.deepStrictEqual({ ...now(), pending }, { ...before, pending: 0 })
      })
    ).pipe(Effect.scoped, onNetwork))
})
