import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as Endpoint from "../src/Endpoint.ts"
import * as Features from "../src/Features.ts"
import type * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import { SeenPeers } from "../src/SeenPeers.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { found, helpful, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const ours = Features.own({ client: false, sessions: false })
const client = Features.own({ client: true, sessions: false })

const setUp = Effect.gen(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const node = yield* network.node("node", network.socketOf(1), { passive: true })
  const peer = yield* network.puppet("peer", network.socketOf(60))
  return { node, peer, dht: network.dht(node), self: network.contactOf(node), table: network.tableOf(node) }
})

const endpoint = (owner: string) => {
  const signer = network.identity(owner)
  return Result.getOrThrow(Endpoint.sign({
    signer,
    address: signer.address,
    payload: Endpoint.make({ endpoints: [] }),
    seq: 1n,
    timestamp: BigInt(network.now),
    ttl: 3600
  }))
}

describe("a client", () => {
  const ask = Effect.fnUntraced(function*(
    peer: network.Puppet,
    self: { readonly host: string; readonly port: number },
    features: number
  ) {
    yield* network.introduce(peer, self, features)
    yield* peer.send(self, { _tag: "FindNode", target: NodeId.zero }, "00".repeat(20), features)
    while (true) {
      const { body } = (yield* peer.receive).message
      if (body._tag === "FindNodeResponse") return body.nodes ?? []
    }
  })

  it.effect("gets responses, and is not kept as a contact, reported to others, or counted as seen", () =>
    Effect.gen(function*() {
      const { node, peer, self, table } = yield* setUp
      const other = yield* network.puppet("other", network.socketOf(61))
      assert.deepStrictEqual(yield* ask(peer, self, client), [])
      assert.strictEqual(table.size, 0)
      assert.deepStrictEqual((yield* ask(other, self, ours)).map(({ id }) => id), [other.id])
      assert.strictEqual((yield* Context.get(node, SeenPeers).counts).hour, 1)
    }).pipe(onNetwork))

  it.effect("becomes a contact when it stops being a client, and ceases to be one when it becomes a client", () =>
    Effect.gen(function*() {
      const { peer, self, table } = yield* setUp
      yield* ask(peer, self, client)
      yield* ask(peer, self, ours)
      assert.isTrue(table.contains(peer.id))
      yield* ask(peer, self, client)
      assert.isFalse(table.contains(peer.id))
      yield* ask(peer, self, 0)
      assert.isTrue(table.contains(peer.id))
    }).pipe(onNetwork))

  it.effect("stays out of the table whichever peer reports it, as a reference node does, and is not looked up", () =>
    Effect.gen(function*() {
      const { dht, peer, self, table } = yield* setUp
      const teller = yield* network.puppet("teller", network.socketOf(61))
      const { address, host, id, port } = peer
      yield* serve(
        teller,
        () => ({ _tag: "FindNodeResponse", nodes: [{ address, host, id, port }], observed: undefined })
      )
      yield* dht.addContact(teller)
      yield* ask(peer, self, client)
      const closest = yield* dht.findNode(peer.id)
      assert.deepStrictEqual(closest.map(({ id }) => id), [teller.id])
      assert.isFalse(table.contains(peer.id))
      yield* dht.addContact(peer)
      yield* dht.bootstrapContacts([peer])
      assert.isFalse(table.contains(peer.id))
    }).pipe(onNetwork))

  it.effect("is not among the closest nodes of a lookup that meets it, but its reports help the lookup", () =>
    Effect.gen(function*() {
      const { dht, peer, table } = yield* setUp
      const far = yield* network.puppet("far", network.socketOf(62))
      yield* serve(far, helpful(far), ours)
      const { address, host, id, port } = far
      yield* serve(
        peer,
        () => ({ _tag: "FindNodeResponse", nodes: [{ address, host, id, port }], observed: undefined }),
        client
      )
      yield* dht.addContact(peer)
      const closest = yield* dht.findNode(NodeId.zero)
      assert.deepStrictEqual(closest.map(({ id }) => id), [far.id])
      assert.isFalse(table.contains(peer.id))
    }).pipe(onNetwork))

  it.effect("loses its waiting place for a full bucket", () =>
    Effect.gen(function*() {
      const { peer, self, table } = yield* setUp
      const bucket = NodeId.bucketIndex(self.id, peer.id)
      for (let i = 0; i < 16; i++) {
        const { address, nodeId } = network.identityInBucket(self.id, bucket, i)
        table.add({ id: nodeId, address, ...network.socketOf(100 + i) }, network.now * 1000, network.now * 1000)
      }
      table.add(peer, undefined, network.now * 1000)
      assert.strictEqual(table.pendingLength(bucket), 1)
      yield* ask(peer, self, client)
      assert.strictEqual(table.pendingLength(bucket), 0)
    }).pipe(onNetwork))
})

describe("a node that is a client", () => {
  const setUpClient = Effect.gen(function*() {
    yield* TestClock.setTime(network.now * 1000)
    const node = yield* network.node("node", network.socketOf(1), { client: true })
    const peer = yield* network.puppet("peer", network.socketOf(60))
    return { node, peer, dht: network.dht(node), self: network.contactOf(node) }
  })

  it.effect("announces that in every message", () =>
    Effect.gen(function*() {
      const { dht, peer, self } = yield* setUpClient
      yield* Effect.forkScoped(dht.ping(peer), { startImmediately: true })
      assert.strictEqual((yield* peer.receive).message.features, client | Features.Bit.sessions)
      yield* peer.send(self, { _tag: "Ping", address: peer.address }, "00".repeat(20))
      assert.strictEqual((yield* peer.receive).message.features, client | Features.Bit.sessions)
    }).pipe(onNetwork))

  for (
    const [sender, features, reason] of [["a peer of its own version", ours, 1], ["any other peer", 0, 0]] as const
  ) {
    it.effect(`stores no record for ${sender}`, () =>
      Effect.gen(function*() {
        const { node, peer, self } = yield* setUpClient
        yield* peer.send(self, { _tag: "Store", record: endpoint("owner"), key: undefined }, "00".repeat(20), features)
        const { body } = (yield* peer.receive).message
        assert.deepStrictEqual(body, { _tag: "StoreResponse", stored: false, alreadyHad: false, reason })
        assert.strictEqual(yield* Context.get(node, Store).size, 0)
      }).pipe(onNetwork))
  }

  it.effect("sends no requests of its own accord", () =>
    Effect.gen(function*() {
      const { dht, peer } = yield* setUpClient
      const heard = yield* serve(peer, helpful(peer))
      yield* dht.bootstrap([peer])
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(heard.map(({ body }) => body._tag), ["Ping"])
    }).pipe(onNetwork))

  it.effect("looks up and publishes like any other node", () =>
    Effect.gen(function*() {
      const { dht, peer } = yield* setUpClient
      const record = endpoint("owner")
      const answers = (body: Message.Body, from: typeof peer): Message.Body | undefined =>
        body._tag === "FindValue" ? found(record) : helpful(peer)(body, from)
      yield* serve(peer, (body, from) => answers(body, { ...peer, ...from }))
      yield* dht.addContact(peer)
      assert.strictEqual((yield* dht.resolve(network.addressOf("owner"))).record.seq, 1n)
      const publication = yield* dht.publishEndpoint({ endpoints: [] })
      yield* settled
      assert.deepStrictEqual((yield* publication.confirmed).map(({ id }) => id), [peer.id])
    }).pipe(onNetwork))

  it.effect("leaves no dead contact behind in a network that it visited", () =>
    Effect.gen(function*() {
      const nodes = yield* network.build(8)
      for (let i = 0; i < 10; i++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const visitor = network.dht(yield* network.node(`visitor ${i}`, network.socketOf(100 + i), { client: true }))
          yield* visitor.bootstrap([network.socketOf(1)])
          yield* visitor.findNode(NodeId.zero)
        }))
      }
      const known = new Set(nodes.flatMap((node) => network.tableOf(node).entries().map(({ contact }) => contact.id)))
      assert.deepStrictEqual(
        [...known].toSorted(),
        nodes.map((node) => network.contactOf(node).id).toSorted()
      )
    }).pipe(onNetwork))
})
