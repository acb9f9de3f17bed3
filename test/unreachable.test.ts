import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { Contact } from "../src/Contact.ts"
import type * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Rpc from "../src/Rpc.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { Subscriptions } from "../src/Subscriptions.ts"
import { layerMemory, layerMemoryNetwork, Transport } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { helpful, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)

const setUp = (at: SocketAddress.SocketAddress = network.socketOf(1)) =>
  Effect.gen(function*() {
    yield* TestClock.setTime(network.now * 1000)
    const node = yield* network.node("node", at, { passive: true })
    return {
      node,
      dht: network.dht(node),
      rpc: Context.get(node, Rpc.Rpc),
      self: network.contactOf(node),
      table: network.tableOf(node)
    }
  })

const contact = (name: string, at: SocketAddress.SocketAddress): Contact => {
  const { address, nodeId } = network.identity(name)
  return { id: nodeId, address, ...at }
}

/** Addresses to which no datagram can be sent. */
const nowhere: ReadonlyArray<SocketAddress.SocketAddress> = [
  { host: "9.9.9.9", port: 0 },
  { host: "2001:db8::9", port: 0 },
  { host: "0.0.0.0", port: 4121 },
  { host: "::", port: 4121 },
  { host: "0.1.2.3", port: 4121 },
  { host: "224.0.0.1", port: 4121 },
  { host: "239.255.255.255", port: 4121 },
  { host: "ff02::1", port: 4121 },
  { host: "240.0.0.1", port: 4121 },
  { host: "255.255.255.255", port: 4121 },
  { host: "::ffff:9.9.9.9", port: 4121 }
]

describe("an unreachable address", () => {
  for (const at of nowhere) {
    it.effect(`is not a contact's: ${SocketAddress.format(at)}`, () =>
      Effect.gen(function*() {
        const { dht, rpc, self, table } = yield* setUp()
        // Added by the application.
        const unreachable = contact("unreachable", at)
        yield* dht.addContact(unreachable)
        yield* dht.bootstrapContacts([unreachable])
        assert.strictEqual(table.size, 0)

        // As the source of a message.
        const peer = yield* network.puppet("peer", at)
        for (
          const body of [
            { _tag: "Ping", address: peer.address },
            { _tag: "FindNode", target: NodeId.zero }
          ] as const
        ) {
          yield* peer.send(self, body, "00".repeat(20))
        }
        yield* settled
        const { received, refused, sent } = yield* rpc.traffic
        assert.deepStrictEqual({ received, refused, sent }, { received: 0, refused: 2, sent: 0 })
        assert.strictEqual(table.size, 0)

        // Reported by a peer, as a new contact and as a new address of a known
        // one.
        const reporter = yield* network.puppet("reporter", network.socketOf(2))
        const friend = contact("friend", network.socketOf(3))
        const answer: Message.Body = {
          _tag: "FindNodeResponse",
          nodes: [unreachable, { ...friend, ...at }],
          observed: undefined
        }
        yield* dht.addContact(reporter)
        yield* dht.addContact(friend)
        yield* serve(reporter, () => answer)
        assert.deepStrictEqual(
          yield* dht.findNodeAt(reporter, NodeId.zero),
          at.host.startsWith("::ffff") ?
            [
              { ...unreachable, host: "9.9.9.9" },
              { ...friend, host: "9.9.9.9", port: 4121 }
            ] :
            []
        )
        yield* dht.addContact({ ...friend, ...at })
        assert.deepStrictEqual(table.get(friend.id), friend)
      }).pipe(onNetwork))

    it.effect(`gets no datagram, whatever the caller: ${SocketAddress.format(at)}`, () =>
      Effect.gen(function*() {
        const { dht, rpc } = yield* setUp()
        const unreachable = yield* network.puppet("unreachable", at)
        const heard = yield* serve(unreachable, helpful(unreachable))
        assert.strictEqual((yield* Effect.flip(dht.ping(at)))._tag, "Unroutable")
        assert.strictEqual((yield* Effect.flip(rpc.natProbe(at, network.socketOf(1))))._tag, "Unroutable")
        const failed = yield* Effect.flip(dht.bootstrap([at]))
        assert.deepStrictEqual(
          failed.failures.map(({ error }) => error._tag),
          // For joining, a typed address is read as the IPv4 address that it
          // stands for.
          [at.host.startsWith("::ffff:") ? "UnknownPeer" : "Unroutable"]
        )
        assert.deepStrictEqual(heard, [])
      }).pipe(onNetwork))
  }

  it.effect("cannot subscribe", () =>
    Effect.gen(function*() {
      const { dht, node, self } = yield* setUp()
      const { key } = yield* dht.publishEndpoint({ endpoints: [] })
      const peer = yield* network.puppet("peer", { host: "9.9.9.9", port: 0 })
      yield* peer.send(self, { _tag: "FindValue", target: key, recordType: 0, subscribe: true }, "00".repeat(20))
      yield* settled
      assert.strictEqual(yield* Context.get(node, Subscriptions).size, 0)
    }).pipe(onNetwork))

  it.effect("is not where a NAT probe is echoed", () =>
    Effect.gen(function*() {
      const { rpc, self } = yield* setUp()
      const peer = yield* network.puppet("peer", network.socketOf(2))
      const claimed = SocketAddress.encodeObserved({ host: peer.host, port: 0 })
      yield* network.introduce(peer, self)
      yield* settled
      const { sent } = yield* rpc.traffic
      yield* peer.send(self, { _tag: "NatProbe", token: new Uint8Array(8), claimed }, "00".repeat(20))
      yield* settled
      assert.strictEqual((yield* rpc.traffic).sent, sent)
    }).pipe(onNetwork))

  it.effect("is not accepted as our own address from any peer", () =>
    Effect.gen(function*() {
      const { dht, rpc } = yield* setUp()
      const said: Array<SocketAddress.SocketAddress> = []
      yield* Effect.forkScoped(
        Stream.runForEach(rpc.observations, ({ address }) => Effect.sync(() => said.push(address))),
        { startImmediately: true }
      )
      for (const [i, observed] of [...nowhere, { host: "127.0.0.1", port: 4121 }].entries()) {
        const peer = yield* network.puppet(`peer ${i}`, network.socketOf(10 + i))
        const wire = SocketAddress.encodeObserved(observed)
        yield* serve(peer, () => ({ _tag: "Pong", address: peer.address, observed: wire }))
        yield* dht.ping(peer)
      }
      // IPv4-mapped addresses in the list are plain IPv4 on the wire.
      assert.deepStrictEqual(said, [{ host: "9.9.9.9", port: 4121 }])
    }).pipe(onNetwork))
})

describe("an address of a narrower scope", () => {
  const loopback = { host: "127.0.0.1", port: 5001 }
  const linkLocal = { host: "169.254.7.7", port: 5002 }
  const site = { host: "192.168.7.7", port: 5003 }
  const unique = { host: "fd00::7", port: 5004 }
  const world = { host: "9.7.7.7", port: 5005 }
  const all = [loopback, linkLocal, site, unique, world]

  const cases: ReadonlyArray<
    readonly [
      observer: string,
      peer: SocketAddress.SocketAddress,
      passes: ReadonlyArray<SocketAddress.SocketAddress>
    ]
  > = [
    ["a public peer", network.socketOf(2), [world]],
    ["a peer of the same site", { host: "192.168.7.1", port: 4121 }, [site, unique, world]],
    ["a peer on the same link", { host: "169.254.7.1", port: 4121 }, [linkLocal, site, unique, world]],
    ["a peer on the same machine", { host: "127.0.0.1", port: 4121 }, all]
  ]

  for (const [observer, at, passes] of cases) {
    it.effect(`is not believed from ${observer}`, () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(network.now * 1000)
        const services = yield* Layer.build(layerMemory(network.socketOf(1)))
        // It sends over both families, so that no address is useless to it for its family.
        const transport = { ...Context.get(services, Transport), reaches: () => true }
        const node = yield* network.nodeOn("node", Context.make(Transport, transport), { passive: true })
        const dht = network.dht(node)
        const table = network.tableOf(node)
        const reporter = yield* network.puppet("reporter", at)
        yield* dht.addContact(reporter)
        const nodes = all.map((at, i) => contact(`told ${i}`, at))
        yield* serve(reporter, () => ({ _tag: "FindNodeResponse", nodes, observed: undefined }))
        yield* Effect.forkScoped(dht.findNode(NodeId.zero))
        yield* settled
        const known = table.entries().map(({ contact }) => contact).filter(({ id }) => id !== reporter.id)
        assert.sameMembers(known.map(SocketAddress.format), passes.map(SocketAddress.format))
      }).pipe(onNetwork))

    it.effect(`is not reported to ${observer}`, () =>
      Effect.gen(function*() {
        const { dht, self } = yield* setUp()
        for (const [i, at] of all.entries()) yield* dht.addContact(contact(`known ${i}`, at))
        yield* dht.addContact(contact("zoned", { host: "fe80::7%eth0", port: 5006 }))
        const requester = yield* network.puppet("requester", at)
        yield* network.introduce(requester, self)
        yield* requester.send(self, { _tag: "FindNode", target: NodeId.zero }, "00".repeat(20))
        const { body } = (yield* requester.receive).message
        const told = body._tag === "FindNodeResponse" ? body.nodes ?? [] : assert.fail(body._tag)
        assert.sameMembers(
          told.filter(({ id }) => id !== requester.id).map(SocketAddress.format),
          passes.map(SocketAddress.format)
        )
      }).pipe(onNetwork))
  }

  it.effect("is reported and believed among nodes that share the scope", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const at = (n: number) => ({ host: "127.0.0.1", port: 4000 + n })
      const nodes: Array<network.Node> = []
      for (let i = 0; i < 6; i++) {
        nodes.push(yield* network.node(`node ${i}`, at(i)))
        if (i > 0) yield* network.dht(nodes[i]).bootstrap([at(0)])
      }
      for (const node of nodes) assert.strictEqual((yield* network.dht(node).findNode(NodeId.zero)).length, 5)
    }).pipe(onNetwork))
})
