import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Dht from "../src/Dht.ts"
import { DhtLive } from "../src/node/DhtLive.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Persistence from "../src/Persistence.ts"
import * as Query from "../src/Query.ts"
import type * as Record from "../src/Record.ts"
import * as Rendezvous from "../src/Rendezvous.ts"
import * as Routing from "../src/Routing.ts"
import * as Rpc from "../src/Rpc.ts"
import * as Store from "../src/Store.ts"
import * as Transport from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { offer, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(Transport.layerMemoryNetwork)

const start = (services: Dht.Replacements) =>
  Effect.andThen(
    TestClock.setTime(network.now * 1000),
    network.node("node", network.socketOf(1), { passive: true, services })
  )

describe("a replacement", () => {
  it.effect("of the store gets own records and those of peers, and is the one that the node reports", () =>
    Effect.gen(function*() {
      const put: Array<Record.SignedRecord> = []
      const admitted: Array<string> = []
      // There is no other store behind it.
      const node = yield* start({
        store: Layer.mock(Store.Store)({
          put: (_, record) => Effect.sync(() => void put.push(record)),
          getOwn: () => Effect.succeed([]),
          getAll: () => Effect.succeed([]),
          size: Effect.succeed(42),
          maxBytes: 0,
          vet: () => Result.succeed(NodeId.zero),
          inTurnUnsafe: () => [],
          servedUnsafe: () => {},
          isContendedUnsafe: () => false,
          observe: () => Effect.void,
          holdsUnsafe: () => false,
          admitUnsafe: (_key, record) => {
            admitted.push(record.address)
            return { _tag: "Full", scope: "Store" }
          }
        })
      })
      const dht = network.dht(node)
      assert.strictEqual((yield* dht.stats).keys, 42)
      const { record } = yield* dht.publishEndpoint({ endpoints: [] })
      assert.deepStrictEqual(put, [record])
      const peer = yield* network.puppet("peer", network.socketOf(60))
      const body = { _tag: "Store", record: offer("chess", "peer"), key: NodeId.fromTopic("chess") } as const
      yield* peer.send(network.contactOf(node), body, "00".repeat(20))
      const answer = (yield* peer.receive).message.body
      assert.isTrue(answer._tag === "StoreResponse" && !answer.stored)
      assert.deepStrictEqual(admitted, [peer.address])
    }).pipe(onNetwork))

  it.effect("of the store can build on the node's own, over the services below", () =>
    Effect.gen(function*() {
      const put: Array<Record.SignedRecord> = []
      const node = yield* start({
        store: Layer.effect(
          Store.Store,
          Effect.map(Store.Store, (store) =>
            Store.Store.of({
              ...store,
              put: (key, record) => Effect.tap(store.put(key, record), () => Effect.sync(() => put.push(record)))
            }))
        ).pipe(Layer.provide(Dht.layerStore({ maxKeys: 1 })))
      })
      const dht = network.dht(node)
      const { key, record } = yield* dht.publishEndpoint({ endpoints: [] })
      assert.deepStrictEqual(put, [record])
      assert.lengthOf(yield* dht.findRecords(key), 1)
      yield* dht.publishTopic({ topic: "chess" })
      assert.strictEqual((yield* dht.stats).keys, 1)
    }).pipe(onNetwork))

  it.effect("of the routing table uses Rpc below it, and is the one that is told of contacts and asked for them", () =>
    Effect.gen(function*() {
      const given: Array<NodeId.NodeId> = []
      const node = yield* start({
        routing: Layer.effect(
          Routing.Routing,
          Effect.gen(function*() {
            assert.strictEqual(yield* (yield* Rpc.Rpc).pending, 0)
            const routing = yield* Routing.Routing
            return Routing.Routing.of({
              ...routing,
              size: Effect.succeed(7),
              givenUnsafe: (contact) => void given.push(contact.id)
            })
          })
        ).pipe(Layer.provide(Routing.layer({ k: 1 })))
      })
      const dht = network.dht(node)
      const peer = yield* network.puppet("peer", network.socketOf(60))
      yield* dht.addContact(peer)
      assert.deepStrictEqual(given, [peer.id])
      assert.strictEqual((yield* dht.stats).contacts, 7)
      // The usual table keeps sixteen in a bucket.
      assert.strictEqual(Context.get(node, Routing.Routing).k, 1)
    }).pipe(onNetwork))

  it.effect("of the rendezvous meets nodes for the program, and answers those that want to meet others", () =>
    Effect.gen(function*() {
      const asked: Array<string> = []
      const owner = network.identity("owner")
      const node = yield* start({
        rendezvous: Layer.mock(Rendezvous.Rendezvous)({
          connect: (address) => new Rendezvous.CannotConnect({ address, reason: "Busy", relays: [] }),
          serveUnsafe: ({ _tag }) => {
            asked.push(_tag)
            return 0
          }
        })
      })
      const error = yield* Effect.flip(Effect.scoped(network.dht(node).connect(owner.address)))
      assert.strictEqual(error.reason, "Busy")
      const peer = yield* network.puppet("peer", network.socketOf(60))
      yield* peer.send(network.contactOf(node), { _tag: "Meet", callee: owner.nodeId, mapping: 0 }, "00".repeat(20))
      yield* settled
      assert.deepStrictEqual(asked, ["Meet"])
    }).pipe(onNetwork))

  it.effect("of the query makes the lookups of all services above", () =>
    Effect.gen(function*() {
      const peer = yield* network.puppet("peer", network.socketOf(60))
      const read: Array<NodeId.NodeId> = []
      const node = yield* start({
        query: Layer.mock(Query.Query)({
          findNode: () => Effect.succeed([peer]),
          readAll: (target, type = 0) => {
            read.push(target)
            return Effect.fail(new Query.NoMatchingRecords({ target, type, answered: 3 }))
          }
        })
      })
      const dht = network.dht(node)
      assert.deepStrictEqual(yield* dht.findNode(NodeId.zero), [peer])
      const failure = yield* Effect.flip(dht.discover("chess"))
      assert.isTrue(failure._tag === "NoMatchingRecords" && failure.answered === 3)
      assert.deepStrictEqual(read, [NodeId.fromTopic("chess")])
    }).pipe(onNetwork))

  it.effect("of persistence gets the changes", () =>
    Effect.gen(function*() {
      const saved: Array<Persistence.Change> = []
      const node = yield* start({
        persistence: Layer.effect(
          Persistence.Persistence,
          Effect.map(Persistence.Persistence, (persistence) =>
            Persistence.Persistence.of({
              ...persistence,
              isLasting: true,
              save: (change) => void saved.push(change)
            }))
        ).pipe(Layer.provide(Persistence.layerNone))
      })
      const { record } = yield* network.dht(node).publishEndpoint({ endpoints: [] })
      const stored = saved.flatMap((change) => change._tag === "Stored" ? [change.record] : [])
      assert.deepStrictEqual(stored, [record])
    }).pipe(onNetwork))

  it.live("of persistence or of the transport of a node on Node.js keeps the usual one from being built", () =>
    Effect.gen(function*() {
      const data = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-dht-replaced-"))),
        (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
      )
      const socket = network.socketOf(1)
      const node = yield* Layer.build(Layer.fresh(DhtLive({
        data,
        // Of no interface of this machine: UDP cannot bind it.
        listen: { host: "203.0.113.1", port: 4121 },
        services: {
          persistence: Persistence.layerNone,
          transport: Layer.orDie(Layer.provide(Transport.layerMemory(socket), Transport.layerMemoryNetwork))
        }
      })))
      assert.deepStrictEqual(network.dht(node).localAddress, socket)
      assert.isFalse(Context.get(node, Persistence.Persistence).isLasting)
      const files = Fs.readdirSync(data)
      assert.include(files, "identity.ed25519")
      assert.deepStrictEqual(files.filter((file) => file.startsWith("state")), [])
    }))
})
