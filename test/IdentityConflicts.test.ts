import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as TestClock from "effect/testing/TestClock"
import { IdentityConflicts } from "../src/IdentityConflicts.ts"
import { NodeEvents } from "../src/NodeEvents.ts"
import * as NodeId from "../src/NodeId.ts"
import { SeenPeers } from "../src/SeenPeers.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import * as Transport from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { helpful, serve, settled } from "./utils/served.ts"

/** The logged warnings about a conflict. */
class Warnings extends Context.Service<Warnings, Array<string>>()("Warnings") {}

const layerWarnings = Layer.unwrap(Effect.sync(() => {
  const warnings: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    const text = String(message)
    if (logLevel === "Warn" && text.includes("identity")) warnings.push(text)
  })
  return Layer.merge(Layer.succeed(Warnings, warnings), Logger.layer([logger]))
}))

const alone = Effect.provide([Transport.layerMemoryNetwork, layerWarnings])

/** The addresses at which a node finds its own identity from now on. */
const conflicts = Effect.fnUntraced(function*(node: network.Node) {
  const addresses: Array<string> = []
  yield* Context.get(node, NodeEvents).listen((event) => {
    if (event._tag === "IdentityConflict") addresses.push(SocketAddress.format(event.address))
  })
  return addresses
})

const counted = (node: network.Node) => Effect.runSync(Context.get(node, IdentityConflicts).count)

const at = (n: number) => SocketAddress.format(network.socketOf(n))

describe("an identity that two nodes use", () => {
  it.effect("is detected by both nodes if one joins through the other", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const first = yield* network.node("first", network.socketOf(1))
      const second = yield* network.nodeAs("first", "second", network.socketOf(2))
      const [atFirst, atSecond] = [yield* conflicts(first), yield* conflicts(second)]
      yield* network.dht(second).bootstrap([network.socketOf(1)])
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual([atFirst, atSecond], [[at(2)], [at(1)]])
      assert.deepStrictEqual([counted(first), counted(second)], [1, 1])
      const warnings = yield* Warnings
      assert.strictEqual(warnings.length, 2)
      assert.include(warnings.join("\n"), at(2))
    }).pipe(alone))

  it.effect("is detected by both nodes even if they never communicate, and for as long as it lasts", () =>
    Effect.gen(function*() {
      const [first] = yield* network.build(12)
      const atFirst = yield* conflicts(first)
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(atFirst, [])
      const second = yield* network.nodeAs("node 0", "second", network.socketOf(99))
      const atSecond = yield* conflicts(second)
      yield* network.dht(second).bootstrap([network.socketOf(9)])
      yield* TestClock.adjust("15 minutes")
      assert.include(atFirst, at(99))
      assert.include(atSecond, at(1))
      const before = atFirst.length
      yield* TestClock.adjust("1 hour")
      assert.isAbove(atFirst.length, before)
      assert.isAtMost(atFirst.length, 8)
      assert.strictEqual((yield* Warnings).length, atFirst.length + atSecond.length)
    }).pipe(alone))
})

describe("no conflict is reported", () => {
  it.effect("if the node is given its own address to join through", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* network.node("node", network.socketOf(1))
      yield* network.dht(node).bootstrap([network.socketOf(1)])
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(counted(node), 0)
      assert.strictEqual((yield* Context.get(node, SeenPeers).counts).hour, 0)
    }).pipe(alone))

  it.effect("if other peers return its own messages, of this run or an earlier one", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const raw = yield* Transport.MemoryNetwork.use((memory) => memory.join(network.socketOf(2)))
      const recorded: Array<Uint8Array> = []
      for (const run of ["first run", "second run"]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const node = yield* network.nodeAs("node", run, network.socketOf(1))
          yield* Effect.forkScoped(network.dht(node).ping(network.socketOf(2)))
          yield* settled
          recorded.push(...(yield* raw.receive).map(({ payload }) => payload))
          for (const payload of recorded) yield* raw.send(payload, network.socketOf(1))
          yield* TestClock.adjust("1 minute")
          assert.isAbove(recorded.length, 0)
          assert.strictEqual(counted(node), 0)
        }))
      }
    }).pipe(alone))

  it.effect("if another address relays all messages", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* network.node("node", network.socketOf(1))
      const raw = yield* Transport.MemoryNetwork.use((memory) => memory.join(network.socketOf(2)))
      yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
        for (const { payload } of yield* raw.receive) yield* raw.send(payload, network.socketOf(1))
      })))
      yield* Effect.forkScoped(network.dht(node).ping(network.socketOf(2)))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(counted(node), 0)
    }).pipe(alone))

  it.effect("if a liar reports it at the addresses of other peers, and those are probed a bounded number of times", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* network.node("node", network.socketOf(1), { passive: true })
      const self = network.contactOf(node)
      const liar = yield* network.puppet("liar", network.socketOf(2))
      const victim = yield* network.puppet("victim", network.socketOf(3))
      const heard = yield* serve(victim, helpful(victim))
      yield* network.dht(node).addContact(liar)
      let port = 5000
      yield* serve(liar, () => ({
        _tag: "FindNodeResponse",
        nodes: [{ ...self, ...network.socketOf(3) }, { ...self, ...network.socketOf(3), port: ++port }],
        observed: SocketAddress.encodeObserved(self)
      }))
      for (let i = 0; i < 60; i++) {
        yield* network.dht(node).findNodeAt(liar, NodeId.zero)
        yield* TestClock.adjust("1 second")
      }
      assert.strictEqual(counted(node), 0)
      assert.isAtLeast(heard.length, 1)
      assert.isAtMost(heard.length, 7)
    }).pipe(alone))

  it.effect("if peers report it at its own address", () =>
    Effect.gen(function*() {
      const nodes = yield* network.build(10)
      yield* TestClock.adjust("1 hour")
      for (const node of nodes) {
        yield* network.dht(node).findNode(network.dht(node).nodeId)
        assert.strictEqual(counted(node), 0)
      }
    }).pipe(alone))
})
