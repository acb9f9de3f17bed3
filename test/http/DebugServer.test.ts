import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as Address from "../../src/Address.ts"
import * as DebugServer from "../../src/http/DebugServer.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import { Routing } from "../../src/Routing.ts"
import { Store } from "../../src/Store.ts"
import * as Transport from "../../src/Transport.ts"
import * as Network from "../utils/network.ts"

/** Answers requests as the node's debug server does, without a port. */
const server = Effect.fnUntraced(function*(node: Network.Node) {
  const { handler } = yield* Effect.acquireRelease(
    Effect.sync(() =>
      HttpRouter.toWebHandler(Layer.provide(DebugServer.routes, Layer.succeedContext(node)), { disableLogger: true })
    ),
    ({ dispose }) => Effect.promise(dispose)
  )
  // With the clock of the test.
  const context = yield* Effect.context<never>()
  return (path: string, method = "GET") =>
    Effect.promise(() => handler(new Request(`http://localhost${path}`, { method }), context))
})

const text = (response: Response) => Effect.promise(() => response.text())

const json = (response: Response) => Effect.map(text(response), (body): unknown => JSON.parse(body))

/** Two nodes, of which one has joined through the other. */
const pair = Effect.gen(function*() {
  const a = yield* Network.node("a", Network.socketOf(1))
  const b = yield* Network.node("b", Network.socketOf(2))
  yield* Network.dht(b).bootstrap([Network.socketOf(1)])
  return { a, b }
})

const paths = ["/debug/identity", "/debug/routing", "/debug/store", "/debug/stats"]

describe("DebugServer", () => {
  it.effect("says who the node is, its address in canonical text", () =>
    Effect.gen(function*() {
      const { a } = yield* pair
      const { address, nodeId } = Network.dht(a)
      assert.deepStrictEqual(yield* json(yield* (yield* server(a))("/debug/identity")), {
        address: Address.format(address),
        node_id_hex: nodeId,
        local_addr: "9.0.1.1:4121"
      })
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("shows the routing table", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      const self = Network.contactOf(a)
      const peer = Network.contactOf(b)
      yield* TestClock.adjust("62 seconds")
      // Upkeep may have heard from the peer meanwhile.
      const document = (yield* Effect.provideContext(DebugServer.routing, a)).peers[0]
      assert.match(document.verified_ago ?? "", /^\d+s$/)
      assert.deepStrictEqual(yield* json(yield* (yield* server(a))("/debug/routing")), {
        self_node_id_hex: self.id,
        peers: [{
          bucket: NodeId.bucketIndex(self.id, peer.id),
          xor_distance_to_self_hex: NodeId.distance(self.id, peer.id),
          address_hex: peer.address,
          node_id_hex: peer.id,
          ip: "9.0.2.1",
          port: 4121,
          verified_ago: document.verified_ago
        }],
        total_peers: 1
      })
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("does not say when a peer was heard from that never was", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const { address, nodeId } = Network.identity("b")
      Context.get(a, Routing).core.add({ id: nodeId, address, ...Network.socketOf(2) }, undefined, 0)
      const body = yield* text(yield* (yield* server(a))("/debug/routing"))
      assert.include(body, nodeId)
      assert.notInclude(body, "verified_ago")
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("shows every record, its seq and timestamp in full", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const signer = Network.identity("signer")
      const record = Result.getOrThrow(Record.sign({
        signer,
        address: signer.address,
        type: 0x03,
        payload: Uint8Array.of(0x81, 0x01),
        seq: 18446744073709551615n,
        timestamp: 0n,
        ttl: 7200
      }))
      yield* Context.get(a, Store).put(undefined, record)
      const response = yield* (yield* server(a))("/debug/store")
      assert.strictEqual(response.headers.get("content-type"), "application/json")
      assert.strictEqual(
        yield* text(response),
        `[{"key_node_id_hex":"${signer.nodeId}","address_hex":"${signer.address}","rec_type":3,` +
          "\"seq\":18446744073709551615,\"timestamp\":0,\"ttl_seconds\":7200,\"payload_cbor_len\":2}]"
      )
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("shows a store of many records as one document", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const fetch = yield* server(a)
      assert.deepStrictEqual(yield* json(yield* fetch("/debug/store")), [])
      const signer = Network.identity("signer")
      const store = Context.get(a, Store)
      const count = 600
      for (let i = 0; i < count; i++) {
        const key = NodeId.fromTopic(`topic ${i}`)
        const record = Result.getOrThrow(Record.sign({
          signer,
          address: signer.address,
          type: 0x81,
          payload: Uint8Array.of(0xa0),
          seq: BigInt(i),
          timestamp: 0n,
          ttl: 60
        }))
        yield* store.put(key, record)
      }
      const rows = yield* json(yield* fetch("/debug/store"))
      assert.isArray(rows)
      const seqs = (rows as ReadonlyArray<{ readonly seq: number }>).map(({ seq }) => seq)
      assert.deepStrictEqual(seqs.toSorted((x, y) => x - y), Array.from({ length: count }, (_, i) => i))
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("gives the figures of the node", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const { completed, network, received, sent } = yield* Network.dht(b).stats
      assert.isAbove(completed, 0)
      assert.deepStrictEqual(yield* json(yield* (yield* server(b))("/debug/stats")), {
        rx_packets_verified: received,
        tx_packets: sent,
        rpc_completed: completed,
        total_peers: 1,
        reach_1h: 1,
        reach_24h: 1,
        reach_7d: 1,
        estimated_network_size: network.size,
        estimate_confidence: network.confidence,
        verified_peers_1h: 1,
        unique_nodes_since_start: 1
      })
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  for (const path of paths) {
    for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
      it.effect(`refuses ${method} ${path} and names what is allowed`, () =>
        Effect.gen(function*() {
          const a = yield* Network.node("a", Network.socketOf(1))
          const response = yield* (yield* server(a))(path, method)
          assert.strictEqual(response.status, 405)
          assert.strictEqual(response.headers.get("allow"), "GET")
        }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
    }

    it.effect(`answers HEAD ${path} as GET, without the document`, () =>
      Effect.gen(function*() {
        const a = yield* Network.node("a", Network.socketOf(1))
        const fetch = yield* server(a)
        const response = yield* fetch(path, "HEAD")
        assert.strictEqual(response.status, 200)
        assert.strictEqual(response.headers.get("content-type"), "application/json")
        assert.strictEqual(yield* text(response), "")
        assert.strictEqual((yield* fetch(path)).status, 200)
      }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
  }

  it.effect("knows no other path", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const fetch = yield* server(a)
      for (const path of ["/", "/debug", "/debug/", "/debug/store/x"]) {
        assert.strictEqual((yield* fetch(path)).status, 404, path)
      }
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})
