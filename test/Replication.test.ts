import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Logger from "effect/Logger"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import type { Contact } from "../src/Contact.ts"
import type * as Dht from "../src/Dht.ts"
import * as Endpoint from "../src/Endpoint.ts"
import type * as Message from "../src/Message.ts"
import { type Event, NodeEvents } from "../src/NodeEvents.ts"
import * as NodeId from "../src/NodeId.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import { Query } from "../src/Query.ts"
import type { SignedRecord } from "../src/Record.ts"
import { Replication } from "../src/Replication.ts"
import * as Rpc from "../src/Rpc.ts"
import type { SocketAddress } from "../src/SocketAddress.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { found, type Heard, helpful, offer, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const now = 1_700_000_000

/** Nodes that can be stopped individually. */
const build = Effect.fnUntraced(function*(count: number, options: Dht.Options = {}) {
  yield* TestClock.setTime(now * 1000)
  const nodes: Array<{ readonly node: network.Node; readonly stop: Effect.Effect<void> }> = []
  for (let i = 0; i < count; i++) {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const node = yield* Scope.provide(network.node(`node ${i}`, network.socketOf(i + 1), options), scope)
    nodes.push({ node, stop: Scope.close(scope, Exit.void) })
    if (i > 0) yield* network.dht(node).bootstrap([network.socketOf(1)])
  }
  return nodes
})

const ids = (contacts: ReadonlyArray<Contact>) => contacts.map(({ id }) => id)

const holds = (node: network.Node, key: NodeId.NodeId) =>
  Effect.map(Context.get(node, Store).getAll(key, 0), (records) => records.length > 0)

describe("Replication", () => {
  it.effect("replaces dead replicas within the hour", () =>
    Effect.gen(function*() {
      const nodes = yield* build(14)
      const owner = network.dht(nodes[0].node)
      const published = yield* owner.publishEndpoint({ endpoints: ["tcp://192.0.2.1:1"], ttl: 86_400 })
      const first = ids(yield* published.replicas(8, { within: "5 seconds" }))
      for (const { node, stop } of nodes) if (first.slice(0, 4).includes(network.contactOf(node).id)) yield* stop
      yield* TestClock.adjust("1 hour")
      const confirmed = ids(yield* published.confirmed).filter((id) => !first.slice(0, 4).includes(id))
      assert.isAtLeast(confirmed.length, 8)
      for (const { node } of nodes) {
        if (confirmed.includes(network.contactOf(node).id)) assert.isTrue(yield* holds(node, published.key))
      }
    }).pipe(onNetwork))

  it.effect("tells of nodes without room, by the publication, the figures and one warning, until they have some", () =>
    Effect.gen(function*() {
      const warnings: Array<string> = []
      const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
        if (logLevel === "Warn") warnings.push([message].flat().join(" "))
      })
      yield* Effect.gen(function*() {
        yield* TestClock.setTime(now * 1000)
        const owner = yield* network.node("owner", network.socketOf(1))
        const others = []
        for (let i = 2; i <= 4; i++) {
          others.push(yield* network.node(`other ${i}`, network.socketOf(i), { maxBytes: i === 2 ? undefined : 1 }))
          yield* network.dht(others[i - 2]).bootstrap([network.socketOf(1)])
        }
        const [roomy, ...crowded] = others.map((other) => network.contactOf(other).id)
        const publish = network.dht(owner).publishProfile({ name: "a" })
        const published = yield* publish
        const { summary, replicated } = Context.get(owner, Replication)
        const error = yield* Effect.flip(published.replicas(8, { within: "1 minute" }))
        if (error._tag !== "KeyFull") return assert.fail(error._tag)
        assert.deepStrictEqual(ids(error.confirmed), [roomy])
        for (const full of [error.full, yield* published.full, (yield* replicated)[0].full]) {
          assert.sameMembers(ids(full), crowded)
        }
        assert.deepInclude(yield* summary, { records: 1, full: 1, surrounded: 0 })
        yield* TestClock.adjust("5 minutes")
        assert.deepStrictEqual(warnings.filter((text) => text.includes("no room")), [error.message])
        // What is said of a record is not said of the next one before it was tried.
        yield* publish
        assert.deepStrictEqual(yield* published.full, [])
      }).pipe(Effect.provide(Logger.layer([logger])))
    }).pipe(onNetwork))

  it.effect("tells of a key that is surrounded, by the publication, the figures, an event and one warning", () =>
    Effect.gen(function*() {
      const warnings: Array<string> = []
      const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
        if (logLevel === "Warn") warnings.push([message].flat().join(" "))
      })
      yield* Effect.gen(function*() {
        const [owner, ...others] = (yield* build(4)).map(({ node }) => node)
        const query = Context.get(owner, Query)
        const closest = others.slice(0, 1).map(network.contactOf)
        const region = others.slice(1).map(network.contactOf)
        Object.assign(query, { neighbourhood: () => Effect.succeed({ closest, region, dual: [], isSurrounded: true }) })
        const events: Array<Event> = []
        yield* Context.get(owner, NodeEvents).listen((event) => events.push(event))
        const published = yield* network.dht(owner).publishProfile({ name: "a" })
        yield* Effect.exit(published.replicas(8, { within: "1 minute" }))
        assert.isTrue(yield* published.isSurrounded)
        // The region has copies as well.
        assert.sameMembers(ids(yield* published.confirmed), ids([...closest, ...region]))
        const { summary, replicated } = Context.get(owner, Replication)
        assert.isTrue((yield* replicated)[0].isSurrounded)
        assert.deepInclude(yield* summary, { records: 1, full: 0, surrounded: 1 })
        yield* TestClock.adjust("1 hour")
        assert.lengthOf(events.filter(({ _tag }) => _tag === "KeySurrounded"), 1)
        assert.lengthOf(warnings.filter((text) => text.includes("surround")), 1)
      }).pipe(Effect.provide(Logger.layer([logger])))
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

  it.effect("continues when the network returns after an hour", () =>
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

  it.effect("ends when the record expires", () =>
    Effect.gen(function*() {
      const nodes = yield* build(5, { services: { reachability: network.layerReachability } })
      const { node } = nodes[0]
      yield* network.dht(node).publishEndpoint({ endpoints: [], ttl: 60 })
      yield* TestClock.adjust("1 hour")
      const asked = Effect.map(Context.get(node, Rpc.Rpc).traffic, ({ completed }) => completed)
      // Maintenance continues, and is the same for a node that never published.
      const idle = Effect.map(Context.get(nodes[1].node, Rpc.Rpc).traffic, ({ completed }) => completed)
      const before = [yield* asked, yield* idle]
      yield* TestClock.adjust("2 hours")
      assert.isAtMost((yield* asked) - before[0], (yield* idle) - before[1] + 16)
    }).pipe(onNetwork))

  it.effect("stops when told to forget the publisher, and leaves the copies to expire", () =>
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

  it.effect("counts a bare refusal as a copy only if the peer shows the record", () =>
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

describe("the copies of a record", () => {
  const seconds = (at: number) => (at - now * 1000) / 1000

  /** A peer that stores the given records, and notes the requests of the node under test. */
  interface Peer extends network.Puppet {
    readonly heard: ReadonlyArray<Heard>
    /** Makes the peer silent from now on, or ends its silence. */
    silent: boolean
    held: SignedRecord | undefined
  }

  /** A node that knows the given number of peers, which know no others; the one closest to its key first. */
  const setUp = Effect.fnUntraced(function*(count: number, options: Dht.Options = {}) {
    yield* TestClock.setTime(now * 1000)
    const node = yield* network.node("node", network.socketOf(1), options)
    const dht = network.dht(node)
    const join = Effect.fnUntraced(function*(name: string, socket: SocketAddress) {
      const puppet = yield* network.puppet(name, socket)
      const help = helpful(puppet)
      const heard = yield* serve(puppet, (body, from) => {
        if (peer.silent) return undefined
        if (body._tag === "Store") peer.held = body.record
        return body._tag === "FindValue" && peer.held !== undefined ? found(peer.held) : help(body, from)
      })
      const peer: Peer = { ...puppet, heard, silent: false, held: undefined }
      yield* dht.addContact(puppet)
      return peer
    })
    const peers: Array<Peer> = []
    for (let i = 0; i < count; i++) peers.push(yield* join(`peer ${i}`, network.socketOf(60 + i)))
    peers.sort((a, b) => NodeId.compareDistance(dht.nodeId, a.id, b.id))
    return { node, dht, peers, join }
  })
  const stores = (peer: Peer) => peer.heard.flatMap(({ at, body }) => body._tag === "Store" ? [{ at, ...body }] : [])
  const probes = (peer: Peer) => peer.heard.filter(({ body }) => body._tag === "FindValue").map(({ at }) => at)
  const day = { endpoints: [], ttl: 86_400 }

  it.effect("are stored at the eight closest nodes only", () =>
    Effect.gen(function*() {
      const { dht, peers } = yield* setUp(12)
      yield* dht.publishEndpoint(day)
      yield* settled
      assert.deepStrictEqual(peers.map((peer) => stores(peer).length), [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0])
    }).pipe(onNetwork))

  it.effect("are at a newcomer of a network with fewer nodes than copies within a minute", () =>
    Effect.gen(function*() {
      const { dht, join } = yield* setUp(3)
      yield* dht.publishEndpoint(day)
      yield* settled
      yield* TestClock.adjust("20 minutes")
      const newcomer = yield* join("newcomer", network.socketOf(90))
      yield* TestClock.adjust("1 minute")
      assert.lengthOf(stores(newcomer), 1)
    }).pipe(onNetwork))

  it.effect("are sent to eight nodes at the same time, even if none answers", () =>
    Effect.gen(function*() {
      const { dht, peers } = yield* setUp(12)
      yield* dht.setPassive(true)
      for (const peer of peers) peer.silent = true
      yield* dht.publishEndpoint(day)
      yield* settled
      assert.strictEqual(peers.filter((peer) => stores(peer).length > 0).length, 8)
    }).pipe(onNetwork))

  it.effect("are checked 30 seconds after they were stored, then after pauses that grow fourfold up to an hour", () =>
    Effect.gen(function*() {
      const { dht, peers: [peer] } = yield* setUp(1)
      yield* dht.publishEndpoint(day)
      yield* settled
      yield* TestClock.adjust("4 hours")
      const at = probes(peer).map(seconds)
      const pauses = at.map((time, i) => time - (i === 0 ? 0 : at[i - 1]))
      const expected = [30, 120, 480, 1920, 3600, 3600]
      for (const [i, pause] of expected.entries()) assert.approximately(pauses[i], pause, 1)
    }).pipe(onNetwork))

  it.effect("are replaced as soon as a replica failed twice, and that replica is dropped after another half hour", () =>
    Effect.gen(function*() {
      const { dht, peers } = yield* setUp(10)
      const published = yield* dht.publishEndpoint(day)
      yield* settled
      const [lost] = peers
      lost.silent = true
      yield* TestClock.adjust("1 minute")
      // Silent once: no replacement is sought yet.
      assert.isNotEmpty(probes(lost))
      assert.strictEqual(stores(peers[8]).length, 0)
      // The second probe comes 30 seconds after the first failed.
      yield* TestClock.adjust("15 seconds")
      assert.strictEqual(stores(peers[8]).length, 1)
      assert.include(ids(yield* published.confirmed), lost.id)

      yield* TestClock.adjust("1 hour")
      assert.notInclude(ids(yield* published.confirmed), lost.id)
      assert.strictEqual((yield* published.confirmed).length, 8)
      const [last] = probes(lost).slice(-1)
      assert.isAbove(seconds(last), 1800)
      yield* TestClock.adjust("3 hours")
      assert.deepStrictEqual(probes(lost).slice(-1), [last])
    }).pipe(onNetwork))

  it.effect("are asked for with one datagram at a time where the last request failed", () =>
    Effect.gen(function*() {
      const { dht, peers } = yield* setUp(10)
      yield* dht.publishEndpoint(day)
      yield* settled
      const [lost] = peers
      lost.silent = true
      yield* TestClock.adjust("1 hour")
      const at = probes(lost).map(seconds)
      // The first is repeated within seconds.
      const first = at.filter((second) => second < 45)
      assert.isAtLeast(first.length, 2)
      const later = at.slice(first.length)
      assert.lengthOf(later, 2)
      for (const [i, second] of later.entries()) assert.isAtLeast(second - (at[first.length + i - 1] ?? 0), 20)
    }).pipe(onNetwork))

  it.effect("stay in place if a suspect answers within the half hour", () =>
    Effect.gen(function*() {
      const { dht, peers } = yield* setUp(8)
      const published = yield* dht.publishEndpoint(day)
      yield* settled
      peers[0].silent = true
      yield* TestClock.adjust("5 minutes")
      peers[0].silent = false
      yield* TestClock.adjust("1 hour")
      assert.sameMembers(ids(yield* published.confirmed), ids(peers))
      assert.strictEqual(stores(peers[0]).length, 1)
    }).pipe(onNetwork))

  it.effect("are stored again at a replica that shows an older record, but not at one that shows a newer", () =>
    Effect.gen(function*() {
      const { dht, peers: [older, newer] } = yield* setUp(2)
      const first = yield* dht.publishEndpoint(day)
      yield* settled
      const second = yield* dht.publishEndpoint(day)
      yield* settled
      older.held = first.record
      newer.held = Result.getOrThrow(Endpoint.sign({
        signer: network.identity("node"),
        address: dht.address,
        payload: Endpoint.make({ endpoints: [] }),
        seq: second.record.seq + 1n,
        timestamp: second.record.timestamp,
        ttl: 86_400
      }))
      const before = [older, newer].map((peer) => stores(peer).length)
      yield* TestClock.adjust("3 minutes")
      assert.deepStrictEqual([older, newer].map((peer) => stores(peer).length), [before[0] + 1, before[1]])
      assert.strictEqual(older.held.seq, second.record.seq)
    }).pipe(onNetwork))

  it.effect("of a renewed record go to the replicas first, then to nodes that have become closer", () =>
    Effect.gen(function*() {
      const { dht, join, peers } = yield* setUp(8)
      yield* dht.publishEndpoint(day)
      yield* settled
      yield* TestClock.adjust("1 minute")
      let name = ""
      for (let i = 0; name === ""; i++) {
        const { nodeId } = network.identity(`closer ${i}`)
        if (NodeId.compareDistance(dht.nodeId, nodeId, peers[0].id) < 0) name = `closer ${i}`
      }
      const closer = yield* join(name, network.socketOf(100))
      const { record } = yield* dht.publishEndpoint(day)
      yield* settled
      yield* TestClock.adjust("10 seconds")
      const renewed = (peer: Peer) => stores(peer).filter((store) => store.record.seq === record.seq)
      assert.strictEqual(renewed(closer).length, 1)
      // The closer one is a contact, so nothing is looked up.
      for (const peer of peers) {
        const { heard } = peer
        const at = heard.findIndex(({ body }) => body._tag === "Store" && body.record.seq === record.seq)
        assert.isFalse(heard.slice(at).some(({ body }) => body._tag === "FindNode"))
        assert.isAtMost(renewed(peer)[0].at, renewed(closer)[0].at)
      }
    }).pipe(onNetwork))

  it.effect("are of the newest record only, if one is published while another is being placed", () =>
    Effect.gen(function*() {
      const { dht, node, peers } = yield* setUp(8)
      for (const peer of peers) peer.silent = true
      const first = yield* dht.publishEndpoint({ ...day, endpoints: ["tcp://192.0.2.1:1"] })
      yield* settled
      const second = yield* dht.publishEndpoint({ ...day, endpoints: ["tcp://192.0.2.1:2"] })
      yield* settled
      // The older record again: it changes nothing.
      const again = yield* Context.get(node, Replication).replicate(first.key, first.record)
      assert.strictEqual(again.record, second.record)
      yield* TestClock.adjust("100 millis")
      for (const peer of peers) peer.silent = false
      yield* TestClock.adjust("10 minutes")
      for (const peer of peers) assert.strictEqual(peer.held?.seq, second.record.seq)
      assert.sameMembers(ids(yield* first.confirmed), ids(peers))
      assert.deepStrictEqual(yield* first.confirmed, yield* second.confirmed)
    }).pipe(onNetwork))

  it.effect("are stored by a passive node at the closest contacts, without a lookup", () =>
    Effect.gen(function*() {
      const { dht, peers } = yield* setUp(10, { passive: true })
      const published = yield* dht.publishEndpoint(day)
      yield* settled
      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual(ids(yield* published.confirmed), ids(peers.slice(0, 8)))
      assert.isFalse(peers.some(({ heard }) => heard.some(({ body }) => body._tag === "FindNode")))
    }).pipe(onNetwork))

  for (const passive of [false, true]) {
    it.effect(`are not stored at peers behind our own public IP${passive ? ", by a passive node either" : ""}`, () =>
      Effect.gen(function*() {
        const { dht, join } = yield* setUp(3, { passive })
        const { host } = network.socketOf(50)
        const neighbour = yield* join("neighbour", { host, port: 5000 })
        yield* dht.setPublicHost(host)
        const published = yield* dht.publishEndpoint(day)
        yield* settled
        yield* TestClock.adjust("10 minutes")
        assert.strictEqual((yield* published.confirmed).length, 3)
        assert.deepStrictEqual(stores(neighbour), [])
      }).pipe(onNetwork))
  }

  it.effect("are not stored at a peer before its back-off is over", () =>
    Effect.gen(function*() {
      const { dht, node, peers } = yield* setUp(3, { passive: true })
      const health = Context.get(node, PeerHealth.PeerHealth)
      for (let i = 0; i < 3; i++) health.failedUnsafe(peers[0].id, now * 1000)
      const published = yield* dht.publishEndpoint(day)
      yield* settled
      yield* TestClock.adjust("119 seconds")
      assert.deepStrictEqual(ids(yield* published.confirmed), ids(peers.slice(1)))
      assert.deepStrictEqual(stores(peers[0]), [])
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(ids(yield* published.confirmed), ids(peers))
    }).pipe(onNetwork))

  it.effect("are counted if a peer already had the record, in either form of its response", () =>
    Effect.gen(function*() {
      for (const stored of [true, false]) {
        const scope = yield* Scope.make()
        yield* Effect.gen(function*() {
          const { dht } = yield* setUp(0)
          const peer = yield* network.puppet("peer", network.socketOf(60))
          yield* serve(peer, (body, from) =>
            body._tag === "Store"
              ? { _tag: "StoreResponse", stored, alreadyHad: true, reason: 0 }
              : helpful(peer)(body, from))
          yield* dht.addContact(peer)
          const published = yield* dht.publishEndpoint(day)
          yield* settled
          yield* settled
          assert.deepStrictEqual(ids(yield* published.confirmed), [peer.id])
        }).pipe(Scope.provide(scope))
        yield* Scope.close(scope, Exit.void)
      }
    }).pipe(onNetwork))

  /** Two peers that answer, and one that refuses for this reason; how often that one was asked to store. */
  const withRefusal = Effect.fnUntraced(function*(reason: number) {
    const { dht } = yield* setUp(2)
    const peer = yield* network.puppet("peer", network.socketOf(100))
    const heard = yield* serve(peer, (body, from) =>
      body._tag === "Store"
        ? { _tag: "StoreResponse", stored: false, alreadyHad: false, reason }
        : helpful(peer)(body, from))
    yield* dht.addContact(peer)
    const published = yield* dht.publishEndpoint(day)
    yield* settled
    return { published, heard, offers: () => heard.filter(({ body }) => body._tag === "Store").length }
  })

  it.effect("are not offered within the hour to a peer that refuses them by policy, nor replaced there", () =>
    Effect.gen(function*() {
      const { heard, offers, published } = yield* withRefusal(1)
      yield* TestClock.adjust("59 minutes")
      assert.strictEqual(offers(), 1)
      assert.isFalse(heard.some(({ body }) => body._tag === "FindValue"))
      assert.strictEqual((yield* published.confirmed).length, 2)
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(offers(), 2)
    }).pipe(onNetwork))

  it.effect("are offered again soon to a peer that calls them invalid, as happens while a clock is wrong", () =>
    Effect.gen(function*() {
      const { offers } = yield* withRefusal(2)
      assert.strictEqual(offers(), 1)
      yield* TestClock.adjust("10 minutes")
      assert.isAbove(offers(), 1)
      assert.isBelow(offers(), 20)
    }).pipe(onNetwork))
})

describe("a key without room", () => {
  const crowd = NodeId.fromTopic("crowd")

  it.effect("is told to the publisher, with the nodes that have none, and is no success", () =>
    Effect.gen(function*() {
      const [publisher, ...others] = yield* network.build(8)
      for (const node of others) {
        for (let i = 0; i < 100; i++) yield* Context.get(node, Store).put(crowd, offer("crowd", `agent ${i}`))
      }
      const { replicas } = yield* network.dht(publisher).publish(offer("crowd", "late"), crowd)
      yield* TestClock.adjust("1 minute")
      const error = yield* Effect.flip(replicas(1, { within: "1 second" }))
      if (error._tag !== "KeyFull") return assert.fail(error._tag)
      assert.deepStrictEqual([error.confirmed.length, error.wanted], [0, 1])
      assert.sameMembers(error.full.map(({ id }) => id), others.map((node) => network.contactOf(node).id))
      assert.match(error.message, /7 nodes have no room .* publish under another key, or try again later/)
    }).pipe(onNetwork), 60_000)

  it.effect("is tried again, and has the copies once others are gone", () =>
    Effect.gen(function*() {
      const [publisher, ...others] = yield* network.build(4)
      for (const node of others) {
        for (let i = 0; i < 100; i++) {
          yield* Context.get(node, Store).put(crowd, offer("crowd", `agent ${i}`, { ttl: 600 }))
        }
      }
      const { replicas } = yield* network.dht(publisher).publish(offer("crowd", "late", { ttl: 7200 }), crowd)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* Effect.flip(replicas(1, { within: "1 second" })))._tag, "KeyFull")
      yield* TestClock.adjust("90 minutes")
      assert.strictEqual((yield* replicas(3, { within: "1 second" })).length, 3)
    }).pipe(onNetwork), 60_000)
})
