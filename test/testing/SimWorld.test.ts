import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import { Dht } from "../../src/Dht.ts"
import { NodeIdentity } from "../../src/Identity.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import * as NodeId from "../../src/NodeId.ts"
import { Query } from "../../src/Query.ts"
import { Rpc } from "../../src/Rpc.ts"
import { Store } from "../../src/Store.ts"
import * as Nat from "../../src/testing/Nat.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import * as VirtualTime from "../../src/testing/VirtualTime.ts"
import { Transport } from "../../src/Transport.ts"

type Program<A> = (
  world: SimWorld.World
) => Effect.Effect<A, unknown, SimWorld.SimWorld | VirtualTime.VirtualTime | Scope.Scope>

const run = <A>(program: Program<A>, options: Partial<SimWorld.RunOptions> = {}): A =>
  SimWorld.runSync(Effect.flatMap(SimWorld.SimWorld, program), { seed: 1, crypto: SimCrypto.simulated, ...options })

type DhtNode = SimWorld.SimNode<SimWorld.NodeServices, unknown>

/** Number of other nodes that a node finds by their ids. */
const found = Effect.fnUntraced(function*(node: DhtNode, others: ReadonlyArray<DhtNode>) {
  const finds = yield* Effect.forEach(others, (other) =>
    Effect.map(
      node.run(Dht.use((dht) => dht.findNode(other.identity.nodeId))),
      (closest) => closest[0]?.id === other.identity.nodeId
    ))
  return finds.filter(Boolean).length
})

const without = (nodes: ReadonlyArray<DhtNode>, node: DhtNode) => nodes.filter((other) => other !== node)

/** Every node finds every other. */
const allFound = Effect.fnUntraced(function*(nodes: ReadonlyArray<DhtNode>) {
  for (const node of nodes) {
    assert.strictEqual(yield* found(node, without(nodes, node)), nodes.length - 1, `${node.name} finds the others`)
  }
})

const publish = (node: DhtNode, n: number) =>
  node.run(Dht.use((dht) => dht.publishEndpoint({ endpoints: [`tcp://192.0.2.1:${n}`] })))

/** The resolved endpoint; undefined if there is none. */
const resolve = (node: DhtNode, whose: DhtNode) =>
  node.run(Dht.use((dht) => dht.resolve(whose.identity.address))).pipe(
    Effect.map(({ endpoints }) => endpoints?.[0]),
    Effect.orElseSucceed(() => undefined)
  )

/** A run of a few nodes with every kind of event. */
const eventful: Program<string> = Effect.fnUntraced(function*(world) {
  world.network.conditions.loss = 0.05
  world.network.conditions.duplication = 0.01
  const nodes = yield* world.startNodes(12)
  yield* publish(nodes[3], 1)
  yield* nodes[4].crash()
  world.network.partition(nodes.slice(0, 6).map(({ host }) => host))
  yield* Effect.sleep("1 minute")
  world.network.heal()
  yield* Effect.ignore(nodes[4].start)
  yield* nodes[5].leave
  yield* nodes[6].setClock("1 hour")
  yield* Effect.sleep("5 minutes")
  return world.trace.hash
})

describe("SimWorld", () => {
  describe("a seed", () => {
    it("determines the run, to the last byte", () => {
      assert.strictEqual(run(eventful), run(eventful))
    })

    it("gives a different run than another seed", () => {
      const hashes = [1, 2, 3, "1", "a"].map((seed) => run(eventful, { seed }))
      // Seeds are compared as text.
      assert.strictEqual(new Set(hashes).size, 4)
    })

    it("determines the run with every library for real signatures", () => {
      const hash = (crypto: SimWorld.Options["crypto"]) =>
        run(
          Effect.fnUntraced(function*(world) {
            const nodes = yield* world.startNodes(4)
            yield* publish(nodes[1], 1)
            yield* Effect.sleep("10 seconds")
            return world.trace.hash
          }),
          { crypto }
        )
      assert.strictEqual(hash(NodeCrypto.openssl), hash(NodeCrypto.fastest))
      assert.strictEqual(hash(undefined), hash(NodeCrypto.fastest))
    })

    it("determines keys, transactions and the random numbers of applications", () => {
      const drawn = (seed: number) =>
        run(
          Effect.fnUntraced(function*(world) {
            const transactions: Array<string> = []
            world.network.observe({ delivered: ({ payload }) => transactions.push(payload.join()) })
            const nodes = yield* world.startNodes(2)
            const numbers = yield* Effect.forEach(nodes, (node) => node.run(Random.next))
            return { ids: nodes.map(({ identity }) => identity.nodeId), transactions, numbers }
          }),
          { seed }
        )
      const [a, again, b] = [drawn(1), drawn(1), drawn(2)]
      assert.deepStrictEqual(a, again)
      assert.notStrictEqual(a.numbers[0], a.numbers[1])
      assert.strictEqual(new Set([...a.ids, ...b.ids]).size, 4)
      assert.notDeepEqual(a.transactions, b.transactions)
    })

    it("gives a node the same identity regardless of other nodes", () => {
      const identity = (others: number) =>
        run((world) =>
          Effect.sync(() => {
            for (let i = 0; i < others; i++) world.node(`other ${i}`)
            return world.node("alice").identity.nodeId
          })
        )
      assert.strictEqual(identity(0), identity(5))
    })
  })

  it("withdraws the announcements of a node that leaves; those of a crashed node expire", () =>
    run(Effect.fnUntraced(function*(world) {
      world.network.conditions.loss = 0.02
      const nodes = yield* world.startNodes(20)
      const [leaver, crasher, reader] = nodes
      for (const node of [leaver, crasher]) {
        yield* node.run(Dht.use((dht) => dht.announceEndpoint({ endpoints: ["tcp://192.0.2.1:1"], ttl: 3600 })))
      }
      yield* Effect.sleep("3 hours")
      const before = world.timeline.elapsedMillis
      yield* crasher.crash()
      // A crashed node sends nothing, so the crash takes no time.
      assert.strictEqual(world.timeline.elapsedMillis, before)
      yield* leaver.leave
      assert.isAtMost(world.timeline.elapsedMillis - before, 1000)
      for (let i = 0; i < 20; i++) {
        assert.strictEqual(yield* resolve(reader, leaver), undefined)
        assert.strictEqual(yield* resolve(reader, crasher), "tcp://192.0.2.1:1")
        yield* Effect.sleep("1 minute")
      }
      yield* Effect.sleep("1 hour")
      assert.strictEqual(yield* resolve(reader, crasher), undefined)
    })))

  it("a node crashes in no time, whatever it waits for", () => {
    // An announcement is renewed after half its lifetime.
    for (const millis of [-10, 0, 10, 40, 100, 300]) {
      run(Effect.fnUntraced(function*(world) {
        const nodes = yield* world.startNodes(12)
        world.network.conditions.loss = 0.3
        const [, crasher] = nodes
        const announced = yield* crasher.run(
          Dht.use((dht) => dht.announceEndpoint({ endpoints: ["tcp://192.0.2.1:1"], ttl: 3600 }))
        )
        const { record } = yield* announced.current
        yield* Effect.sleep(Number(record.timestamp) * 1000 + 1_800_000 + millis - (yield* Clock.currentTimeMillis))
        const before = world.timeline.elapsedMillis
        yield* crasher.crash()
        assert.strictEqual(world.timeline.elapsedMillis, before)
      }))
    }
  })

  it("runs with schedule seeds 1 to 20 differ, and all nodes find each other", () => {
    const hashes = Array.from({ length: 20 }, (_, i) =>
      run(
        Effect.fnUntraced(function*(world) {
          const nodes = yield* world.startNodes(12)
          yield* Effect.sleep("30 seconds")
          yield* allFound(nodes)
          return world.trace.hash
        }),
        { scheduleSeed: i + 1 }
      ))
    assert.strictEqual(new Set(hashes).size, 20)
  })

  describe("a node", () => {
    it("runs the production code: it joins and is found", () => {
      run(Effect.fnUntraced(function*(world) {
        const first = world.node("first")
        const second = world.node("second", { through: [first] })
        yield* first.start
        yield* second.start
        yield* allFound([first, second])
        assert.isTrue(first.isUp)
        assert.strictEqual(second.identity.nodeId, yield* second.run(Dht.use((dht) => Effect.succeed(dht.nodeId))))
      }))
    })

    it("that cannot join is up and reports the reason", () => {
      run(Effect.fnUntraced(function*(world) {
        const absent = world.node("absent")
        const node = world.node("node", { through: [absent] })
        const error = yield* Effect.flip(node.start)
        assert.strictEqual(error._tag, "CannotJoin")
        assert.isTrue(node.isUp)
      }))
    })

    it("does nothing when it is started twice, or stopped twice", () => {
      run(Effect.fnUntraced(function*(world) {
        const node = world.node("node")
        yield* Effect.all([node.start, node.start], { concurrency: "unbounded" })
        yield* node.start
        yield* node.leave
        yield* node.leave
        yield* node.crash()
        assert.isFalse(node.isUp)
      }))
    })

    it("runs nothing while it is down, and interrupts effects when it goes down", () => {
      run(Effect.fnUntraced(function*(world) {
        const node = world.node("node")
        assert.strictEqual((yield* Effect.flip(node.run(Effect.void)))._tag, "NodeDown")
        yield* node.start
        const running = yield* Effect.forkChild(Effect.flip(node.run(Effect.never)))
        yield* Effect.sleep("1 second")
        yield* node.crash()
        assert.match(String(running.pollUnsafe()), /NodeDown/)
      }))
    })

    it("interrupts an effect whose caller is interrupted", () => {
      run(Effect.fnUntraced(function*(world) {
        const node = world.node("node")
        yield* node.start
        let stopped = false
        yield* Effect.timeoutOption(
          node.run(Effect.onInterrupt(Effect.never, () =>
            Effect.sync(() => {
              stopped = true
            }))),
          "1 second"
        )
        assert.isTrue(stopped)
      }))
    })

    it("that crashes sends nothing, not even in its finalizers; one that leaves does", () => {
      const said = (how: "crash" | "leave") =>
        run(Effect.fnUntraced(function*(world) {
          const listener = world.machine("listener", Layer.empty)
          yield* listener.start
          const goodbye = Layer.effectDiscard(Effect.gen(function*() {
            const transport = yield* Transport
            yield* Effect.addFinalizer(() => Effect.ignore(transport.send(Uint8Array.of(1), listener.socket)))
          }))
          const node = world.machine("node", goodbye)
          yield* node.start
          yield* how === "crash" ? node.crash() : node.leave
          yield* Effect.sleep("1 second")
          return world.network.counts.delivered
        }))
      assert.strictEqual(said("crash"), 0)
      assert.strictEqual(said("leave"), 1)
    })

    it("that crashed while starting can be started again", () => {
      run(Effect.fnUntraced(function*(world) {
        const slow = Layer.effectDiscard(Effect.sleep("1 minute"))
        const node = world.machine("node", slow)
        const starting = yield* Effect.forkChild(Effect.flip(node.start))
        yield* Effect.sleep("10 seconds")
        yield* node.crash()
        yield* Effect.sleep("1 second")
        assert.match(String(starting.pollUnsafe()), /NodeDown/)
        yield* node.start
        assert.isTrue(node.isUp)
      }))
    })

    it("restarts after a crash with its identity, and rejoins through the peers that it remembers", () => {
      run(Effect.fnUntraced(function*(world) {
        const nodes = yield* world.startNodes(8)
        const [first, , , crashed] = nodes
        const before = crashed.identity
        // Long enough to save its contacts.
        yield* Effect.sleep("1 second")
        yield* crashed.crash()
        yield* Effect.sleep("1 minute")
        // The nodes through which it joined first are gone.
        yield* first.leave
        yield* crashed.start
        assert.strictEqual(crashed.identity.nodeId, before.nodeId)
        yield* allFound(without(nodes, first))
      }))
    })

    it("has exactly its saved state after a crash", () => {
      run(Effect.fnUntraced(function*(world) {
        const [node] = yield* world.startNodes(1)
        const publishTopic = (topic: string) => node.run(Dht.use((dht) => dht.publishTopic({ topic, name: "me" })))
        const held = (topic: string) => node.run(Store.use((store) => store.getAll(NodeId.fromTopic(topic), 0)))
        yield* publishTopic("saved")
        yield* Effect.sleep("1 second")
        yield* publishTopic("not saved yet")
        yield* node.crash()
        yield* node.start
        assert.lengthOf(yield* held("saved"), 1)
        assert.deepStrictEqual(yield* held("not saved yet"), [])
      }))
    })

    it("whose state is lost restarts with a new identity", () => {
      run(Effect.fnUntraced(function*(world) {
        const nodes = yield* world.startNodes(5)
        const before = nodes[2].identity.nodeId
        yield* nodes[2].crash({ state: "Lost" })
        yield* nodes[2].start.pipe(Effect.ignore)
        assert.notStrictEqual(nodes[2].identity.nodeId, before)
      }))
    })

    it("can have a wrong clock of its own", () => {
      run(Effect.fnUntraced(function*(world) {
        const [node, other] = yield* world.startNodes(2)
        const now = yield* Clock.currentTimeMillis
        yield* node.setClock("-2 hours")
        assert.strictEqual(yield* node.run(Clock.currentTimeMillis), now - 7_200_000)
        assert.strictEqual(yield* other.run(Clock.currentTimeMillis), now)
        const { record } = yield* publish(node, 1)
        assert.strictEqual(record.timestamp, BigInt(Math.floor((now - 7_200_000) / 1000)))
      }))
    })

    it("can be behind a router and reaches the others through it", () => {
      run(Effect.fnUntraced(function*(world) {
        const nodes = yield* world.startNodes(6)
        const home = world.node("home", { host: { behind: Nat.portRestrictedCone }, through: nodes.slice(0, 1) })
        yield* home.start
        assert.strictEqual(yield* found(home, nodes), 6)
        yield* publish(home, 7)
        yield* Effect.sleep("10 seconds")
        assert.strictEqual(yield* resolve(nodes[5], home), "tcp://192.0.2.1:7")
        assert.strictEqual(
          yield* home.run(Dht.use((dht) => dht.publicHost)),
          home.host.router?.ip
        )
      }))
    })

    it("can share a host with others", () => {
      run(Effect.fnUntraced(function*(world) {
        const host = world.network.host()
        const [a, b] = [world.node("a", { host }), world.node("b", { host })]
        yield* a.start
        yield* b.start
        const { contact } = yield* b.run(Dht.use((dht) => dht.ping(a.socket)))
        assert.strictEqual(contact.id, a.identity.nodeId)
      }))
    })

    it("has a unique name", () => {
      run((world) =>
        Effect.sync(() => {
          world.node("alice")
          assert.throws(() => world.node("alice"), /"alice" is in use/)
        })
      )
    })
  })

  it("under any schedule, effects end with their callers, and a node can crash at any moment", () => {
    for (let scheduleSeed = 0; scheduleSeed < 30; scheduleSeed++) {
      let running = 0
      const busy = Effect.acquireUseRelease(
        Effect.sync(() => running++),
        () => Effect.never,
        () => Effect.sync(() => running--)
      )
      run(
        Effect.fnUntraced(function*(world) {
          const nodes = yield* world.startNodes(3)
          yield* Effect.forEach(
            Array.from({ length: 50 }, (_, i) => i),
            (i) => Effect.timeoutOption(Effect.ignore(nodes[i % 3].run(busy)), i),
            { concurrency: "unbounded" }
          )
          assert.strictEqual(running, 0)
          const restless = Effect.fnUntraced(function*(i: number) {
            yield* Effect.sleep(i * 7)
            yield* nodes[i % 3].crash()
            yield* Effect.sleep(i % 5)
            yield* Effect.ignore(nodes[i % 3].start)
          })
          yield* Effect.forEach(Array.from({ length: 30 }, (_, i) => i), restless, { concurrency: "unbounded" })
          yield* Effect.forEach(nodes, (node) => node.leave)
          // What the nodes sent may still be on its way.
          world.network.close()
          assert.strictEqual(world.timeline.timers, 0)
        }),
        { scheduleSeed }
      )
    }
  })

  describe("an application", () => {
    class Directory extends Context.Service<Directory, {
      readonly look: (address: SimWorld.SimNode<never>["identity"]["address"]) => Effect.Effect<string | undefined>
    }>()("test/Directory") {}

    /** An application that announces itself and looks up others. */
    const layerDirectory = Layer.effect(
      Directory,
      Effect.gen(function*() {
        const dht = yield* Dht
        yield* Effect.forkScoped(Effect.andThen(
          Effect.sleep("5 seconds"),
          dht.publishEndpoint({ endpoints: ["tcp://192.0.2.7:7"] })
        ))
        return {
          look: (address) =>
            Effect.match(dht.resolve(address), {
              onFailure: () => undefined,
              onSuccess: ({ endpoints }) => endpoints?.[0]
            })
        }
      })
    )

    it("runs unchanged on simulated nodes", () => {
      run(Effect.fnUntraced(function*(world) {
        const [a, b] = yield* world.startNodes(10, { app: layerDirectory })
        assert.isUndefined(yield* a.run(Directory.use(({ look }) => look(b.identity.address))))
        yield* Effect.sleep("1 minute")
        assert.strictEqual(
          yield* a.run(Directory.use(({ look }) => look(b.identity.address))),
          "tcp://192.0.2.7:7"
        )
      }))
    })

    it("that fails to start leaves its node down", () => {
      run(Effect.fnUntraced(function*(world) {
        const node = world.node("node", { app: Layer.effectDiscard(Effect.fail("no license" as const)) })
        assert.strictEqual(yield* Effect.flip(node.start), "no license")
        assert.isFalse(node.isUp)
        assert.strictEqual(world.network.hosts[0].endpoints.size, 0)
      }))
    })

    it("can run without a node", () => {
      run(Effect.fnUntraced(function*(world) {
        const silent = world.machine("silent", Layer.empty)
        yield* silent.start
        const node = world.node("node", { through: [silent] })
        assert.strictEqual((yield* Effect.flip(node.start))._tag, "CannotJoin")
        assert.strictEqual(
          yield* silent.run(Effect.map(NodeIdentity, ({ nodeId }) => nodeId)),
          silent.identity.nodeId
        )
      }))
    })
  })

  describe("a world", () => {
    it("heals after a partition: both sides publish, and afterwards every node resolves both", () => {
      run(Effect.fnUntraced(function*(world) {
        const nodes = yield* world.startNodes(20)
        yield* Effect.sleep("1 minute")
        const [left, right] = [nodes.slice(0, 10), nodes.slice(10)]
        world.network.partition(left.map(({ host }) => host))
        yield* publish(left[0], 1)
        yield* publish(right[0], 2)
        yield* Effect.sleep("2 minutes")
        assert.strictEqual(yield* resolve(left[5], left[0]), "tcp://192.0.2.1:1")
        assert.isUndefined(yield* resolve(left[5], right[0]))
        world.network.heal()
        yield* Effect.sleep("30 minutes")
        for (const node of nodes) {
          assert.strictEqual(yield* resolve(node, left[0]), "tcp://192.0.2.1:1")
          assert.strictEqual(yield* resolve(node, right[0]), "tcp://192.0.2.1:2")
        }
      }))
    })

    it("of 50 nodes runs for an hour with real signatures, and every node resolves every announced endpoint", () => {
      run(
        Effect.fnUntraced(function*(world) {
          const nodes = yield* world.startNodes(50)
          for (const [i, node] of nodes.entries()) {
            yield* node.run(Dht.use((dht) => dht.announceEndpoint({ endpoints: [`tcp://192.0.2.1:${i}`] })))
          }
          yield* Effect.sleep("55 minutes")
          for (const node of nodes) {
            for (const [i, other] of nodes.entries()) {
              assert.strictEqual(yield* resolve(node, other), `tcp://192.0.2.1:${i}`)
            }
          }
        }),
        { crypto: NodeCrypto.fastest }
      )
    }, 180_000)

    it("keeps the latest entries of its trace with `keepTrace`", () => {
      run(
        Effect.fnUntraced(function*(world) {
          yield* world.startNodes(3)
          const { entries, length } = world.trace
          assert.strictEqual(entries.length, 10)
          assert.isAbove(length, 10)
          world.network.heal()
          assert.deepInclude(world.trace.entries.at(-1), { _tag: "Changed", what: "heal" })
        }),
        { keepTrace: 10 }
      )
      assert.deepStrictEqual(run((world) => Effect.as(world.startNodes(2), world.trace.entries)), [])
    })

    it("leaves nothing when it closes: no timer, no fiber, no pending request, no datagram", () => {
      let fibers = 0
      const counting: Metric.FiberRuntimeMetricsService = {
        recordFiberStart: () => {
          fibers++
        },
        recordFiberEnd: () => {
          fibers--
        }
      }
      VirtualTime.runSync(
        Effect.gen(function*() {
          const timeline = yield* VirtualTime.VirtualTime
          yield* SimWorld.SimWorld.use(Effect.fnUntraced(function*(world) {
            const nodes = yield* world.startNodes(10)
            yield* publish(nodes[0], 1)
            const asking = yield* Effect.forkChild(Effect.ignore(
              nodes[1].run(Query.use((query) => query.findNode(NodeId.zero)))
            ))
            yield* Effect.sleep(10)
            assert.isAbove(yield* nodes[1].run(Rpc.use(({ pending }) => pending)), 0)
            assert.isAbove(timeline.timers, 10)
            assert.isAbove(fibers, 20)
            assert.isUndefined(asking.pollUnsafe())
          })).pipe(
            Effect.provide(SimWorld.layer({ seed: 1, crypto: SimCrypto.simulated })),
            Effect.provideService(Metric.FiberRuntimeMetrics, counting)
          )
          assert.strictEqual(fibers, 0)
          assert.strictEqual(timeline.timers, 0)
          assert.strictEqual(timeline.runnable, 0)
        })
      )
    })

    it("leaves nothing of a node that stopped", () => {
      run(Effect.fnUntraced(function*(world) {
        const node = world.node("node")
        yield* node.start
        yield* Effect.sleep("1 second")
        assert.isAbove(world.timeline.timers, 0)
        yield* node.leave
        assert.strictEqual(world.timeline.timers, 0)
        assert.strictEqual(node.host.endpoints.size, 0)
      }))
    })

    it("reports the seeds of a run that fails", () => {
      const failing = () => run(() => Effect.die(new Error("no luck")), { seed: 7, scheduleSeed: 3 })
      assert.throws(failing, "The run of seed 7, schedule seed 3 failed: no luck")
    })

    it("reports a deadlocked program", () => {
      const exit = SimWorld.runSyncExit(Effect.never, { seed: 1 })
      assert.match(String(exit), /Deadlock/)
      const withNodes = SimWorld.runSyncExit(
        SimWorld.SimWorld.use((world) => Effect.andThen(world.startNodes(2), Effect.never)),
        { seed: 1, crypto: SimCrypto.simulated, within: "10 minutes" }
      )
      assert.match(String(withNodes), /NotFinished/)
    })
  })
})
