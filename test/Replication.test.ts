import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import type { Contact } from "../src/Contact.ts"
import type * as Message from "../src/Message.ts"
import type * as NodeId from "../src/NodeId.ts"
import type { SignedRecord } from "../src/Record.ts"
import * as Rpc from "../src/Rpc.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const now = 1_700_000_000

/** Nodes that can be stopped one by one. */
const build = Effect.fnUntraced(function*(count: number) {
  yield* TestClock.setTime(now * 1000)
  const nodes: Array<{ readonly node: network.Node; readonly stop: Effect.Effect<void> }> = []
  for (let i = 0; i < count; i++) {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const node = yield* Scope.provide(network.node(`node ${i}`, network.socketOf(i + 1)), scope)
    nodes.push({ node, stop: Scope.close(scope, Exit.void) })
    if (i > 0) yield* network.dht(node).bootstrap([network.socketOf(1)])
  }
  return nodes
})

const ids = (contacts: ReadonlyArray<Contact>) => contacts.map(({ id }) => id)

const holds = (node: network.Node, key: NodeId.NodeId) =>
  Effect.map(Context.get(node, Store).getAll(key, 0), (records) => records.length > 0)

describe("Replication", () => {
  it.effect("replaces replicas that died, within the hour", () =>
    Effect.gen(function*() {
      const nodes = yield* build(14)
      const owner = network.dht(nodes[0].node)
      const published = yield* owner.publishEndpoint({ endpoints: ["quic://192.0.2.1:1"], ttl: 86_400 })
      const first = ids(yield* published.replicas(8, { within: "5 seconds" }))
      for (const { node, stop } of nodes) if (first.slice(0, 4).includes(network.contactOf(node).id)) yield* stop
      yield* TestClock.adjust("1 hour")
      const confirmed = ids(yield* published.confirmed).filter((id) => !first.slice(0, 4).includes(id))
      assert.isAtLeast(confirmed.length, 8)
      for (const { node } of nodes) {
        if (confirmed.includes(network.contactOf(node).id)) assert.isTrue(yield* holds(node, published.key))
      }
    }).pipe(onNetwork))

  it.effect("gives a copy again to a replica that lost it", () =>
    Effect.gen(function*() {
      const nodes = yield* build(12)
      const published = yield* network.dht(nodes[0].node).publishEndpoint({ endpoints: [], ttl: 86_400 })
      const [replica] = yield* published.replicas(8, { within: "5 seconds" })
      const holder = nodes.find(({ node }) => network.contactOf(node).id === replica.id)
      assert.isDefined(holder)
      yield* Context.get(holder.node, Store).invalidate(published.key, 0)
      yield* TestClock.adjust("2 minutes")
      assert.isTrue(yield* holds(holder.node, published.key))
    }).pipe(onNetwork))

  it.effect("goes on when the network comes back after an hour", () =>
    Effect.gen(function*() {
      const [alone] = yield* build(1)
      const published = yield* network.dht(alone.node).publishEndpoint({ endpoints: [], ttl: 86_400 })
      assert.strictEqual(
        (yield* Effect.flip(published.replicas(1, { within: "10 seconds" })))._tag,
        "NotEnoughReplicas"
      )
      yield* TestClock.adjust("1 hour")
      const other = yield* network.node("other", network.socketOf(50))
      yield* network.dht(other).bootstrap([network.socketOf(1)])
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(ids(yield* published.confirmed), [network.contactOf(other).id])
    }).pipe(onNetwork))

  it.effect("ends with the record's life", () =>
    Effect.gen(function*() {
      const nodes = yield* build(5)
      const { node } = nodes[0]
      yield* network.dht(node).publishEndpoint({ endpoints: [], ttl: 60 })
      yield* TestClock.adjust("1 hour")
      const asked = Effect.map(Context.get(node, Rpc.Rpc).traffic, ({ completed }) => completed)
      // Upkeep goes on, and is the same for a node that never published.
      const idle = Effect.map(Context.get(nodes[1].node, Rpc.Rpc).traffic, ({ completed }) => completed)
      const before = [yield* asked, yield* idle]
      yield* TestClock.adjust("2 hours")
      assert.isAtMost((yield* asked) - before[0], (yield* idle) - before[1] + 16)
    }).pipe(onNetwork))

  it.effect("stops when it is told to forget the publisher, and leaves the copies to expire", () =>
    Effect.gen(function*() {
      const nodes = yield* build(5)
      const owner = network.dht(nodes[0].node)
      const published = yield* owner.publishEndpoint({ endpoints: [], ttl: 86_400 })
      yield* Effect.ignore(published.replicas(8, { within: "5 seconds" }))
      yield* owner.forget(owner.address)
      const holder = nodes[1].node
      assert.isTrue(yield* holds(holder, published.key))
      yield* Context.get(holder, Store).invalidate(published.key, 0)
      yield* TestClock.adjust("1 hour")
      assert.isFalse(yield* holds(holder, published.key))
    }).pipe(onNetwork))

  it.effect("takes a bare no for a copy only when the peer shows the record", () =>
    Effect.gen(function*() {
      const [{ node }] = yield* build(1)
      const peer = yield* network.puppet("peer", network.socketOf(60))
      yield* network.dht(node).addContact(peer)
      const published = yield* network.dht(node).publishEndpoint({ endpoints: [] })
      let shown: ReadonlyArray<SignedRecord> = []
      const answer = (request: Message.Body): Message.Body => {
        switch (request._tag) {
          case "Store":
            return { _tag: "StoreResponse", stored: false, alreadyHad: false, reason: 0 }
          case "FindValue":
            return { _tag: "FindValueResponse", nodes: null, record: undefined, observed: undefined, records: shown }
          default:
            return { _tag: "FindNodeResponse", nodes: null, observed: undefined }
        }
      }
      yield* Effect.forkScoped(Effect.forever(peer.answer(answer)))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* published.confirmed, [])
      shown = [published.record]
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual(ids(yield* published.confirmed), [peer.id])
    }).pipe(onNetwork))
})
