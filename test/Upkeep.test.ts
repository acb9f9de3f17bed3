import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import type { Contact } from "../src/Contact.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Routing from "../src/Routing.ts"
import * as Rpc from "../src/Rpc.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const now = 1_700_000_000_000

const table = (node: network.Node) => Context.get(node, Routing.Routing).core

/** A contact that nobody answers for. */
const invented = (name: string): Contact => {
  const { address, nodeId } = network.identity(name)
  return { id: nodeId, address, ...network.socketOf(900) }
}

const build = Effect.fnUntraced(function*(count: number) {
  yield* TestClock.setTime(now)
  const nodes: Array<network.Node> = []
  for (let i = 0; i < count; i++) nodes.push(yield* network.node(`node ${i}`, network.socketOf(i + 1)))
  return nodes
})

describe("Upkeep", () => {
  it.effect("confirms hearsay that answers, and drops what stays silent", () =>
    Effect.gen(function*() {
      const [node, other] = yield* build(2)
      yield* network.puppet("mute", network.socketOf(900))
      // Passive, so that no lookup finds out first.
      yield* network.dht(node).setPassive(true)
      const [real, fake] = [network.contactOf(other), invented("nobody")]
      for (const contact of [real, fake]) table(node).add(contact, undefined, now)
      yield* TestClock.adjust("9 minutes")
      assert.isUndefined(table(node).verifiedAt(real.id))
      yield* TestClock.adjust("2 minutes")
      assert.isDefined(table(node).verifiedAt(real.id))
      assert.isFalse(table(node).contains(fake.id))
    }).pipe(onNetwork))

  it.effect("fills a thin bucket from what its contacts know", () =>
    Effect.gen(function*() {
      const nodes = yield* build(20)
      const [first, ...others] = nodes
      // Everybody knows the first; the first knows one of them only.
      for (const node of others) yield* network.dht(node).addContact(network.contactOf(first))
      for (const node of others) yield* network.dht(others[0]).addContact(network.contactOf(node))
      yield* network.dht(first).addContact(network.contactOf(others[0]))
      yield* TestClock.adjust("5 minutes")
      assert.isAbove(table(first).size, 10)
    }).pipe(onNetwork))

  it.effect("looks nothing up while the node is passive", () =>
    Effect.gen(function*() {
      const [node, other] = yield* build(2)
      yield* network.dht(node).setPassive(true)
      yield* network.dht(node).addContact(network.contactOf(other))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* Context.get(node, Rpc.Rpc).traffic).sent, 0)
      yield* network.dht(node).setPassive(false)
      yield* TestClock.adjust("1 hour")
      assert.isAbove((yield* Context.get(node, Rpc.Rpc).traffic).sent, 0)
    }).pipe(onNetwork))

  it.effect("costs an idle network next to nothing", () =>
    Effect.gen(function*() {
      const nodes = yield* build(12)
      for (const node of nodes.slice(1)) yield* network.dht(node).bootstrap([network.socketOf(1)])
      const sent = Effect.map(
        Effect.forEach(nodes, (node) => Context.get(node, Rpc.Rpc).traffic),
        (traffic) => traffic.reduce((sum, { sent }) => sum + sent, 0)
      )
      yield* TestClock.adjust("1 hour")
      const before = yield* sent
      yield* TestClock.adjust("1 hour")
      assert.isBelow(((yield* sent) - before) / nodes.length / 3600, 0.5)
    }).pipe(onNetwork))

  it.effect("does not hold a silent probe against a peer", () =>
    Effect.gen(function*() {
      const [node] = yield* build(1)
      yield* network.puppet("mute", network.socketOf(900))
      yield* network.dht(node).setPassive(true)
      const fake = invented("nobody")
      table(node).add(fake, undefined, now)
      yield* TestClock.adjust("1 hour")
      assert.isFalse(table(node).contains(fake.id))
      assert.strictEqual(Context.get(node, PeerHealth.PeerHealth).core.state(fake.id), "unknown")
      assert.isTrue(yield* Context.get(node, PeerHealth.PeerHealth).allowContact(fake.id))
    }).pipe(onNetwork))
})
