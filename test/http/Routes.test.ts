import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Address from "../../src/Address.ts"
import * as Api from "../../src/http/Api.ts"
import * as DebugDocuments from "../../src/http/DebugDocuments.ts"
import * as Routes from "../../src/http/Routes.ts"
import { NodeIdentity } from "../../src/Identity.ts"
import { NodeEvents } from "../../src/NodeEvents.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Persistence from "../../src/Persistence.ts"
import * as Query from "../../src/Query.ts"
import * as Reachability from "../../src/Reachability.ts"
import * as Record from "../../src/Record.ts"
import { Replication } from "../../src/Replication.ts"
import { Rpc } from "../../src/Rpc.ts"
import { Store } from "../../src/Store.ts"
import * as Transport from "../../src/Transport.ts"
import { all, type Fetch, json, reader, serve, text } from "../utils/httpNode.ts"
import * as Network from "../utils/network.ts"
import { offer, settled } from "../utils/served.ts"

/** Two nodes, one of which has joined through the other. */
const pair = Effect.gen(function*() {
  const a = yield* Network.node("a", Network.socketOf(1))
  const b = yield* Network.node("b", Network.socketOf(2))
  yield* Network.dht(b).bootstrap([Network.socketOf(1)])
  return { a, b }
})

const paths = [
  "/debug/identity",
  "/debug/routing",
  "/debug/store",
  "/debug/stats",
  "/debug/queries",
  "/debug/replication"
]

describe("Routes", () => {
  it.effect("shows the node's identity, with its address in canonical text", () =>
    Effect.gen(function*() {
      const { a } = yield* pair
      const { address, nodeId } = Network.dht(a)
      assert.deepStrictEqual(yield* json(yield* (yield* serve(a))("/debug/identity")), {
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
      // Maintenance may have contacted the peer in the meantime.
      const document = (yield* Effect.provideContext(DebugDocuments.routing, a)).peers[0]
      assert.match(document.verified_ago ?? "", /^\d+s$/)
      assert.deepStrictEqual(yield* json(yield* (yield* serve(a))("/debug/routing")), {
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

  it.effect("has no time for a peer that was never heard from", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const { address, nodeId } = Network.identity("b")
      Network.tableOf(a).add({ id: nodeId, address, ...Network.socketOf(2) }, undefined, 0)
      const body = yield* text(yield* (yield* serve(a))("/debug/routing"))
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
      const response = yield* (yield* serve(a))("/debug/store")
      assert.strictEqual(response.headers.get("content-type"), "application/json")
      assert.strictEqual(
        yield* text(response),
        `[{"key_node_id_hex":"${signer.nodeId}","address_hex":"${signer.address}","rec_type":3,` +
          "\"seq\":\"18446744073709551615\",\"timestamp\":\"0\",\"ttl_seconds\":7200,\"payload_cbor_len\":2}]"
      )
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("shows a store of many records as one document", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const fetch = yield* serve(a)
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
      const seqs = (rows as ReadonlyArray<{ readonly seq: string }>).map(({ seq }) => Number(seq))
      assert.deepStrictEqual(seqs.toSorted((x, y) => x - y), Array.from({ length: count }, (_, i) => i))
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("shows the figures of the node", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const { completed, network, received, sent } = yield* Network.dht(b).stats
      assert.isAbove(completed, 0)
      assert.deepStrictEqual(yield* json(yield* (yield* serve(b))("/debug/stats")), {
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
      it.effect(`rejects ${method} ${path} and names the allowed methods`, () =>
        Effect.gen(function*() {
          const a = yield* Network.node("a", Network.socketOf(1))
          const response = yield* (yield* serve(a))(path, { method })
          assert.strictEqual(response.status, 405)
          assert.strictEqual(response.headers.get("allow"), "GET")
        }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
    }

    it.effect(`answers HEAD ${path} like GET, without a body`, () =>
      Effect.gen(function*() {
        const a = yield* Network.node("a", Network.socketOf(1))
        const fetch = yield* serve(a)
        const response = yield* fetch(path, { method: "HEAD" })
        assert.strictEqual(response.status, 200)
        assert.strictEqual(response.headers.get("content-type"), "application/json")
        assert.strictEqual(yield* text(response), "")
        assert.strictEqual((yield* fetch(path)).status, 200)
      }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
  }

  it.effect("rejects other paths, and refers to the list of paths", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const fetch = yield* serve(a)
      for (const path of ["/debug", "/debug/", "/debug/store/x", "/api", "/v1", "/v1/topics", "/assets/x"]) {
        const response = yield* fetch(path)
        assert.strictEqual(response.status, 404, path)
        assert.include(yield* text(response), "/openapi.json")
      }
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})

/** The document at a path, checked against its schema. */
const document = Effect.fnUntraced(function*<A, I>(
  fetch: Fetch,
  path: string,
  schema: Schema.Codec<A, I>,
  status = 200
) {
  const response = yield* fetch(path)
  assert.strictEqual(response.status, status)
  assert.strictEqual(response.headers.get("content-type"), "application/json")
  return yield* Schema.decodeUnknownEffect(schema)(yield* json(response), { onExcessProperty: "error" })
})

const endpoint = { endpoints: ["quic://192.0.2.1:4121"], ttl: 600 }

describe("the documents of the dashboard", () => {
  it.effect("shows the last queries: the peers queried, their referrers, and the outcomes", () =>
    Effect.gen(function*() {
      const nodes = yield* Network.build(4)
      const [a, b] = nodes
      const fetch = yield* serve(a)
      assert.deepStrictEqual((yield* document(fetch, "/debug/queries", Api.Queries)).queries, [])
      yield* Network.dht(a).findNode(Network.contactOf(b).id)
      yield* Effect.flip(Network.dht(a).discover("nothing"))
      const { queries } = yield* document(fetch, "/debug/queries", Api.Queries)
      const [second, first] = queries
      assert.strictEqual(queries.length, 2)
      assert.deepInclude(first, {
        kind: "find_node",
        target_hex: Network.contactOf(b).id,
        rec_type: null,
        outcome: "done",
        records: 0
      })
      assert.deepInclude(second, { kind: "find_value", rec_type: 0x10, outcome: "not_found" })
      assert.strictEqual(first.requests, first.steps.length)
      assert.sameMembers(
        first.steps.map(({ peer }) => peer.node_id_hex),
        nodes.slice(1).map((node) => Network.contactOf(node).id)
      )
      for (const step of first.steps) {
        assert.strictEqual(step.outcome, "answered")
        assert.strictEqual(step.learned_from_hex === null, step.depth === 0)
        assert.isNotNull(step.took_ms)
      }
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("keeps no more than the last 64 queries", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const fetch = yield* serve(a)
      for (let i = 0; i < 70; i++) yield* Network.dht(a).findNode(NodeId.fromTopic(`${i}`))
      const { kept, queries, total } = yield* document(fetch, "/debug/queries", Api.Queries)
      assert.deepStrictEqual([kept, total], [64, 64])
      const part = yield* document(fetch, "/debug/queries?limit=2", Api.Queries)
      assert.deepStrictEqual(part, { kept, total, queries: queries.slice(0, 2) })
      assert.deepStrictEqual(
        queries.map(({ target_hex }) => target_hex),
        Array.from({ length: 64 }, (_, i) => NodeId.fromTopic(`${69 - i}`))
      )
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("shows the node's own records and their holders", () =>
    Effect.gen(function*() {
      const nodes = yield* Network.build(4)
      const [a, ...others] = nodes
      const fetch = yield* serve(a)
      yield* Network.dht(a).announceEndpoint(endpoint)
      yield* settled
      const { records, wanted } = yield* document(fetch, "/debug/replication", Api.Replication)
      assert.strictEqual(wanted, 8)
      assert.deepInclude(records[0], { full: 0, surrounded: false })
      assert.deepInclude(records[0].record, {
        key_node_id_hex: Network.dht(a).nodeId,
        address: Address.format(Network.dht(a).address),
        rec_type: 1,
        type_name: "endpoint",
        expires_at: String(Network.now + 600)
      })
      assert.sameDeepMembers(
        records[0].replicas.map(({ peer, state }) => ({ id: peer.node_id_hex, state })),
        others.map((node) => ({ id: Network.contactOf(node).id, state: "confirmed" as const }))
      )
      const { announcements } = yield* document(fetch, "/v1/announcements", Api.Announcements)
      assert.strictEqual(announcements.length, 1)
      assert.deepStrictEqual(announcements[0].record, records[0].record)
      assert.strictEqual(announcements[0].renews_at, String(Network.now + 300))
      assert.strictEqual(announcements[0].confirmed.length, 3)
      const { publishing } = yield* document(fetch, "/v1/overview", Api.Overview)
      assert.deepStrictEqual(publishing, {
        announcements: 1,
        records: 1,
        messages: 0,
        complete: 0,
        confirmed_replicas: 3,
        wanted_replicas: 8
      })
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("keeps the figures of an hour, and continues them with events", () =>
    Effect.gen(function*() {
      const { a } = yield* pair
      const fetch = yield* serve(a)
      assert.deepStrictEqual((yield* document(fetch, "/v1/history", Api.History)).samples, [])
      yield* TestClock.adjust("61 minutes")
      const { interval_ms, kept_ms, samples } = yield* document(fetch, "/v1/history", Api.History)
      assert.deepStrictEqual([interval_ms, kept_ms, samples.length], [5000, 3_600_000, 720])
      assert.isAbove(samples.reduce((sum, { sent_per_s }) => sum + sent_per_s, 0), 0)
      assert.deepInclude(samples[0], { contacts: 1, keys: 0 })

      const events = reader(yield* fetch("/v1/events"))
      yield* events.next
      yield* TestClock.adjust("5 seconds")
      const next = (yield* document(fetch, "/v1/history", Api.History)).samples.at(-1)
      const told = yield* Effect.repeat(
        Effect.map(events.next, (some) => some?.find(({ type }) => type === "sampled")),
        { until: (event) => event !== undefined }
      )
      assert.deepStrictEqual(told?.data, { type: "sampled", ...next })
      yield* events.leave
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("lists messages apart from other records, and the stored records of one type", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      const fetch = yield* serve(a)
      yield* Network.dht(b).announceEndpoint(endpoint)
      yield* Network.dht(a).announceEndpoint(endpoint)
      yield* settled
      yield* Network.dht(a).mail.send({ recipient: Network.dht(b).address, type: 3, body: Uint8Array.of(1) })
      yield* settled
      const listed = (query: string) =>
        Effect.map(
          document(fetch, `/debug/replication${query}`, Api.Replication),
          ({ messages, records, total }) => [total, messages.total, ...records.map(({ record }) => record.type_name)]
        )
      assert.deepStrictEqual(yield* listed("?messages=only"), [2, 1, "mailbox"])
      assert.deepStrictEqual(yield* listed("?messages=none"), [2, 1, "endpoint"])
      assert.lengthOf(yield* listed(""), 4)
      const stored = (query: string) =>
        Effect.map(
          document(fetch, `/v1/store${query}`, Api.StoreReport),
          ({ listed }) => listed.map(({ rec_type }) => rec_type)
        )
      assert.deepStrictEqual((yield* stored("")).toSorted(), [1, 1, 128])
      assert.deepStrictEqual(yield* stored("?type=1"), [1, 1])
      assert.deepStrictEqual(yield* stored("?type=1&limit=1"), [1])
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("says how many nodes have no room for a record", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const b = yield* Network.node("b", Network.socketOf(2), { maxBytes: 1 })
      yield* Network.dht(b).bootstrap([Network.socketOf(1)])
      yield* Network.dht(a).announceEndpoint(endpoint)
      yield* settled
      const shown = yield* document(yield* serve(a), "/debug/replication", Api.Replication)
      assert.deepInclude(shown, { total: 1, uncopied: 1, full: 1, surrounded: 0 })
      assert.deepInclude(shown.records[0], { full: 1, surrounded: false })
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("forgets an announcement when it ends", () =>
    Effect.gen(function*() {
      const [a] = yield* Network.build(2)
      const fetch = yield* serve(a)
      yield* Effect.scoped(Network.dht(a).announceEndpoint(endpoint))
      assert.deepStrictEqual((yield* document(fetch, "/v1/announcements", Api.Announcements)).announcements, [])
      assert.deepStrictEqual((yield* document(fetch, "/debug/replication", Api.Replication)).records, [])
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("shows the node's identity, reachability and network size", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      const overview = yield* document(yield* serve(b), "/v1/overview", Api.Overview)
      const { address, nodeId } = Network.dht(b)
      assert.deepInclude(overview, {
        ready: true,
        identity: { address: Address.format(address), node_id_hex: nodeId },
        agent: Address.format(address),
        passive: false,
        persistence: null
      })
      assert.strictEqual(overview.reachability.local_addr, "9.0.2.1:4121")
      assert.deepStrictEqual(overview.reachability.local_addrs, ["9.0.2.1:4121"])
      assert.strictEqual(overview.network.contacts, 1)
      assert.deepInclude(overview.store, { bytes: yield* Context.get(b, Store).bytes, max_bytes: 64 * 1024 * 1024 })
      const { received, refused, refusedBy, sent } = yield* Network.dht(b).stats
      assert.deepInclude(overview.traffic, { received, refused, refused_by: refusedBy, sent, pending: 0 })
      yield* Network.dht(a).setPublicHost("203.0.113.9")
      const other = yield* document(yield* serve(a), "/v1/overview", Api.Overview)
      assert.strictEqual(other.reachability.public_host, "203.0.113.9")
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("shows which network the node belongs to, and never its key", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1), {
        network: "acme",
        networkKey: Redacted.make("open sesame")
      })
      const fetch = yield* serve(a)
      const overview = yield* document(fetch, "/v1/overview", Api.Overview)
      assert.deepInclude(overview.network, { name: "acme", has_key: true })
      const health = yield* document(fetch, "/health", Api.Health, 503)
      assert.deepStrictEqual(health.network, { name: "acme", has_key: true })
      assert.notInclude(JSON.stringify([overview, health]), "open sesame")
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("shows why state cannot be stored, and nothing for a node without storage", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1), {
        services: {
          persistence: Layer.effect(Persistence.Persistence, Persistence.makeUnavailable("the disk is gone"))
        }
      })
      const { persistence } = yield* document(yield* serve(a), "/v1/overview", Api.Overview)
      assert.deepStrictEqual(persistence, { degraded: "the disk is gone", queued: 0, written: 0, dropped: 0 })
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("shows each contact with its health", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      const { address, nodeId } = Network.identity("unverified")
      const contact = { id: nodeId, address, ...Network.socketOf(3) }
      Network.tableOf(b).add(contact, undefined, 0, Network.contactOf(a).id)
      const { buckets, k, self_node_id_hex } = yield* document(yield* serve(b), "/v1/buckets", Api.Buckets)
      const self = Network.dht(b).nodeId
      assert.strictEqual(self_node_id_hex, self)
      assert.strictEqual(k, 16)
      const contacts = buckets.flatMap(({ bucket, contacts }) => contacts.map((contact) => ({ bucket, ...contact })))
      const found = (id: NodeId.NodeId) => contacts.find(({ peer }) => peer.node_id_hex === id)
      assert.deepInclude(found(Network.contactOf(a).id), {
        bucket: NodeId.bucketIndex(self, Network.contactOf(a).id),
        fresh: true,
        health: "good"
      })
      assert.isNotNull(found(Network.contactOf(a).id)?.rtt_ms)
      assert.deepInclude(found(nodeId), {
        heard_ms_ago: null,
        fresh: false,
        health: "unknown",
        rtt_ms: null,
        learned_from_hex: Network.contactOf(a).id
      })
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("counts the durations of requests and queries", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const { queries, requests, traffic } = yield* document(yield* serve(b), "/v1/traffic", Api.TrafficReport)
      const answered = requests.map(({ answered }) => answered.count).reduce((sum, count) => sum + count)
      assert.strictEqual(answered, traffic.completed)
      assert.isAbove(traffic.completed, 0)
      for (const { answered: { bounds, count, counts } } of requests) {
        assert.strictEqual(counts.length, bounds.length + 1)
        assert.strictEqual(counts.reduce((sum, each) => sum + each), count)
      }
      assert.isAbove(queries.find(({ kind }) => kind === "find_node")?.duration.count ?? 0, 0)
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("lists the store up to the requested number, and counts the rest", () =>
    Effect.gen(function*() {
      const [a] = yield* Network.build(1)
      const fetch = yield* serve(a)
      for (let i = 0; i < 5; i++) {
        yield* Context.get(a, Store).put(NodeId.fromTopic("chess"), offer("chess", `player ${i}`))
      }
      const whole = yield* document(fetch, "/v1/store", Api.StoreReport)
      assert.deepInclude(whole, {
        keys: 1,
        records: 5,
        by_type: [{ rec_type: 0x10, type_name: "topic", records: 5 }]
      })
      assert.strictEqual(whole.listed.length, 5)
      assert.isNull(whole.next)
      const part = yield* document(fetch, "/v1/store?limit=2", Api.StoreReport)
      assert.deepStrictEqual(part, { ...whole, listed: whole.listed.slice(0, 2), next: part.next })
      const rest = yield* document(fetch, `/v1/store?after=${part.next}`, Api.StoreReport)
      assert.deepStrictEqual(rest, { ...whole, listed: whole.listed.slice(2) })
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("decodes a record however it was published", () =>
    Effect.gen(function*() {
      const [a, b] = yield* Network.build(2)
      const fetch = yield* serve(a)
      const dht = Network.dht(a)
      const { address } = Network.contactOf(a)
      yield* dht.publishEndpoint(endpoint)
      yield* dht.announceTopic({ topic: "chess", name: "Ann" })
      yield* dht.publishProfile({ name: "Ann" })
      const recipient = Network.contactOf(b).id
      const signer = Context.get(a, NodeIdentity)
      const custom = Result.getOrThrow(Record.sign({
        signer,
        address,
        type: 0x05,
        payload: Uint8Array.of(0xa0),
        seq: 1n,
        timestamp: BigInt(Network.now),
        ttl: 600
      }))
      const later = { ...custom, type: 0x04, payload: Uint8Array.of(0xa0, 0xff) }
      yield* Context.get(a, Replication).replicate(recipient, later)
      for (const type of [0x05, 0x13, 0x42, 0x80, 0x8f]) {
        yield* Context.get(a, Replication).replicate(recipient, { ...custom, type })
      }
      const { records } = yield* document(fetch, "/debug/replication", Api.Replication)
      const said = records.map(({ record, renews_at, title }) => [record.type_name, title, renews_at])
      assert.sameDeepMembers(said, [
        ["endpoint", "quic://192.0.2.1:4121", null],
        ["topic", "chess", String(Network.now + 1800)],
        ["profile", "Ann", null],
        ["custom", "custom type 4", null],
        ["mailbox", `message to ${recipient.slice(0, 8)}…`, null],
        ["custom", "custom type 5", null],
        ["custom", "custom type 19", null],
        ["custom", "custom type 143", null],
        ["reserved", "reserved type 66", null]
      ])
      // {}, and {} with a byte after it.
      const contents = records.flatMap(({ payload_hex, record, value }) =>
        record.type_name === "custom" ? [[record.rec_type, value, payload_hex]] : []
      )
      assert.sameDeepMembers(contents, [
        [0x04, undefined, "a0ff"],
        [0x05, {}, undefined],
        [0x13, {}, undefined],
        [0x8f, {}, undefined]
      ])
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})

describe("a list that is longer than one page", () => {
  /** All pages of a list whose documents carry the position of the next one. */
  const parts = Effect.fnUntraced(function*<A extends { readonly next: string | null }, I>(
    fetch: Fetch,
    path: string,
    schema: Schema.Codec<A, I>
  ) {
    const parts: Array<A> = []
    for (let after = ""; parts.at(-1)?.next !== null; after = `&after=${parts.at(-1)?.next}`) {
      parts.push(yield* document(fetch, path + after, schema))
    }
    return parts
  })

  /** All pages of a list whose headers carry the URL of the next one. */
  const linked = Effect.fnUntraced(function*(fetch: Fetch, path: string) {
    const parts: Array<unknown> = []
    const totals = new Set<string | null>()
    for (let next: string | undefined = path; next !== undefined;) {
      const response: Response = yield* fetch(next)
      assert.strictEqual(response.status, 200)
      parts.push(yield* json(response))
      totals.add(response.headers.get("x-total-count"))
      next = /^<(.+)>; rel="next"$/.exec(response.headers.get("link") ?? "")?.[1]
    }
    return { parts, totals: [...totals] }
  })

  it.effect("is paged: the stored records, in the reference's document", () =>
    Effect.gen(function*() {
      const [a] = yield* Network.build(1)
      const fetch = yield* serve(a)
      Network.fill(a, 2500)
      const { parts, totals } = yield* linked(fetch, "/debug/store")
      const keys = (parts as ReadonlyArray<ReadonlyArray<{ readonly key_node_id_hex: string }>>)
        .map((part) => part.map(({ key_node_id_hex }) => key_node_id_hex))
      assert.deepStrictEqual(keys.map(({ length }) => length), [1000, 1000, 500])
      assert.strictEqual(new Set(keys.flat()).size, 2500)
      assert.deepStrictEqual(totals, ["2500"])
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("lets other fibers run while it is built", () =>
    Effect.gen(function*() {
      const [a] = yield* Network.build(1)
      Network.fill(a, 5000)
      const { rows } = Context.get(a, Store)
      let turns = 0
      const other = yield* Effect.forkChild(
        Effect.forever(Effect.andThen(Effect.sync(() => turns++), Effect.yieldNow)),
        { startImmediately: true }
      )
      assert.strictEqual((yield* rows).length, 5000)
      assert.isAbove(turns, 5)
      yield* Fiber.interrupt(other)
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("is paged: the routing table, the farthest first", () =>
    Effect.gen(function*() {
      const [a] = yield* Network.build(9)
      const fetch = yield* serve(a)
      const whole = (yield* json(yield* fetch("/debug/routing"))) as typeof Api.RoutingTable.Type
      assert.strictEqual(whole.peers.length, whole.total_peers)
      const distances = whole.peers.map(({ xor_distance_to_self_hex }) => xor_distance_to_self_hex)
      assert.deepStrictEqual(distances, distances.toSorted().toReversed())
      const { parts } = yield* linked(fetch, "/debug/routing?limit=3")
      const tables = parts as ReadonlyArray<typeof whole>
      assert.strictEqual(tables.length, Math.ceil(whole.total_peers / 3))
      assert.deepStrictEqual(
        tables.flatMap(({ peers }) => peers.map((peer) => peer.node_id_hex)),
        whole.peers.map((peer) => peer.node_id_hex)
      )
      for (const { total_peers } of tables) assert.strictEqual(total_peers, whole.total_peers)
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("is paged: the published records, those with the fewest copies first", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(Network.now * 1000)
      const a = yield* Network.node("a", Network.socketOf(1))
      const others = yield* Scope.make()
      for (let i = 2; i <= 12; i++) {
        const other = yield* Scope.provide(Network.node(`${i}`, Network.socketOf(i)), others)
        yield* Network.dht(other).bootstrap([Network.socketOf(1)])
      }
      const fetch = yield* serve(a)
      for (let i = 0; i < 5; i++) yield* Network.dht(a).publishTopic({ topic: `good ${i}`, name: "Ann" })
      yield* settled
      // Without other nodes, no copy is made.
      yield* Network.dht(a).setPassive(true)
      yield* Scope.close(others, Exit.void)
      for (let i = 0; i < 2; i++) yield* Network.dht(a).publishTopic({ topic: `bad ${i}`, name: "Ann" })
      const list = yield* parts(fetch, "/debug/replication?limit=3", Api.Replication)
      assert.deepStrictEqual(list.map(({ records }) => records.map(({ title }) => title)), [
        ["bad 0", "bad 1", "good 0"],
        ["good 1", "good 2", "good 3"],
        ["good 4"]
      ])
      for (const part of list) assert.deepInclude(part, { total: 7, complete: 5, uncopied: 2 })
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("is paged: the announcements", () =>
    Effect.gen(function*() {
      const [a] = yield* Network.build(1)
      const fetch = yield* serve(a)
      for (let i = 0; i < 5; i++) {
        if (i === 2) yield* Effect.scoped(Network.dht(a).announceTopic({ topic: "over", name: "Ann" }))
        yield* Network.dht(a).announceTopic({ topic: `topic ${i}`, name: "Ann" })
      }
      const list = yield* parts(fetch, "/v1/announcements?limit=2", Api.Announcements)
      assert.deepStrictEqual(list.map(({ announcements }) => announcements.map(({ title }) => title)), [
        ["topic 0", "topic 1"],
        ["topic 2", "topic 3"],
        ["topic 4"]
      ])
      for (const { total } of list) assert.strictEqual(total, 5)
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("has at most the maximum number of elements, and rejects an invalid position", () =>
    Effect.gen(function*() {
      const [a] = yield* Network.build(1)
      const fetch = yield* serve(a)
      const lists = ["/debug/routing", "/debug/store", "/debug/replication", "/v1/store", "/v1/announcements"]
      for (const path of [...lists, "/debug/queries"]) {
        for (const limit of ["-1", "1001", "1.5", "x"]) {
          const response = yield* fetch(`${path}?limit=${limit}`)
          assert.strictEqual(response.status, 400, `${path} ${limit}`)
          assert.include(yield* text(response), "limit")
        }
      }
      for (const path of lists) {
        const response = yield* fetch(`${path}?after=nowhere`)
        assert.strictEqual(response.status, 400, path)
        assert.include(yield* text(response), "after")
      }
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})

describe("/health/live", () => {
  it.effect("is 200 with or without contacts", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const alone = yield* Network.node("alone", Network.socketOf(9))
      for (const node of [b, alone]) {
        assert.deepStrictEqual(yield* document(yield* serve(node), "/health/live", Api.Live), { live: true })
      }
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})

for (const path of ["/health/ready", "/health"]) {
  describe(path, () => {
    it.effect("is ready if the node has contacts", () =>
      Effect.gen(function*() {
        const { b } = yield* pair
        assert.deepStrictEqual(yield* document(yield* serve(b), path, Api.Health), {
          live: true,
          ready: true,
          bound: true,
          local_addrs: ["9.0.2.1:4121"],
          first: false,
          network: { name: null, has_key: false },
          reachable: "unknown",
          reachable_why: Reachability.explain({ state: "unknown", mapping: "Unknown", filtering: "Unknown" }),
          verified_contacts_1h: 1
        })
      }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

    it.effect("is live but not ready, status 503, while the node has no contacts", () =>
      Effect.gen(function*() {
        const a = yield* Network.node("a", Network.socketOf(1))
        const health = yield* document(yield* serve(a), path, Api.Health, 503)
        assert.deepInclude(health, { live: true, ready: false })
      }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

    it.effect("is ready if the node is the first of its network", () =>
      Effect.gen(function*() {
        const a = yield* Network.node("a", Network.socketOf(1))
        const health = yield* document(yield* serve(a, { first: true }), path, Api.Health)
        assert.deepInclude(health, { ready: true, first: true, verified_contacts_1h: 0 })
      }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
  })
}

describe("/metrics", () => {
  /** A sample line of Prometheus text. */
  const sample =
    /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|NaN|[+-]Inf)$/

  it.effect("is Prometheus text, each sample of a declared metric", () =>
    Effect.gen(function*() {
      const { b } = yield* pair
      const response = yield* (yield* serve(b))("/metrics")
      assert.strictEqual(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8")
      const body = yield* text(response)
      assert.isTrue(body.endsWith("\n"))
      const declared = new Set<string>()
      const values = new Map<string, number>()
      for (const line of body.trimEnd().split("\n")) {
        const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line)
        if (type !== null) {
          assert.isFalse(declared.has(type[1]), line)
          declared.add(type[1])
        } else if (!line.startsWith("# HELP ")) {
          const parts = sample.exec(line)
          assert.isNotNull(parts, line)
          const [, name, labels = "", value] = parts!
          assert.isTrue(declared.has(name) || declared.has(name.replace(/_(?:bucket|sum|count)$/, "")), line)
          assert.isFalse(values.has(name + labels), line)
          values.set(name + labels, Number(value))
        }
      }
      const { completed, received, sent } = yield* Network.dht(b).stats
      assert.strictEqual(values.get("dht_datagrams_received_total"), received)
      assert.strictEqual(values.get("dht_datagrams_sent_total"), sent)
      assert.strictEqual(values.get("dht_routing_contacts"), 1)
      const answered = Array.from(values).filter(([name]) =>
        name.startsWith("dht_rpc_client_duration_seconds_count") && name.includes("answered")
      )
      assert.strictEqual(answered.reduce((sum, [, count]) => sum + count, 0), completed)
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})

describe("/openapi.json", () => {
  it.effect("lists every route", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const fetch = yield* serve(a)
      const { openapi, paths } = (yield* json(yield* fetch("/openapi.json"))) as {
        readonly openapi: string
        readonly paths: { readonly [path: string]: { readonly [method: string]: unknown } }
      }
      assert.strictEqual(openapi, "3.1.0")
      assert.deepStrictEqual(
        Object.entries(paths).map(([path, methods]) => `${Object.keys(methods).join()} ${path}`).sort(),
        [
          "get /debug/identity",
          "get /debug/queries",
          "get /debug/replication",
          "get /debug/routing",
          "get /debug/stats",
          "get /debug/store",
          "get /health",
          "get /health/live",
          "get /health/ready",
          "get /metrics",
          "get /v1/agents/{address}",
          "get /v1/announcements",
          "get /v1/backup",
          "get /v1/buckets",
          "get /v1/events",
          "get /v1/history",
          "get /v1/hosted/events",
          "get /v1/hosted/{address}/mail",
          "get /v1/network",
          "get /v1/overview",
          "get /v1/records/{key}",
          "get /v1/store",
          "get /v1/topics/{topic}",
          "get /v1/topics/{topic}/events",
          "get /v1/traffic",
          "get,patch,delete /v1/hosted/{address}",
          "get,post /v1/hosted",
          "get,post /v1/mail",
          "get,put,delete /v1/announcements/endpoint",
          "get,put,delete /v1/announcements/profile",
          "get,put,delete /v1/announcements/topics/{topic}",
          "post /v1/lookup",
          "post /v1/records"
        ]
      )
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})

describe("/v1/backup", () => {
  const token = "0123456789abcdef"
  const authorized: RequestInit = { headers: { authorization: `Bearer ${token}` } }

  /** A node whose backup is as given, and its server. */
  const serving = Effect.fnUntraced(function*(backup: Persistence.Persistence["Service"]["backup"]) {
    const a = yield* Network.node("a", Network.socketOf(1))
    const persistence = { ...Context.get(a, Persistence.Persistence), backup }
    return yield* serve(Context.add(a, Persistence.Persistence, persistence), {
      token: Redacted.make(token),
      readable: true
    })
  })

  it.effect("is the copy of the state, for the owner of the token, one at a time", () =>
    Effect.gen(function*() {
      let open = 0
      const filled = Latch.makeUnsafe()
      const fetch = yield* serving(Effect.acquireRelease(
        Effect.sync(() => {
          open++
          const content = Stream.make(Uint8Array.of(1, 2), Uint8Array.of(3)).pipe(
            Stream.mapEffect((chunk) => Effect.as(filled.await, chunk))
          )
          return { size: 3, content }
        }),
        () => Effect.sync(() => open--)
      ))
      assert.strictEqual((yield* fetch("/v1/backup")).status, 401)
      const response = yield* fetch("/v1/backup", authorized)
      assert.deepStrictEqual(
        [response.status, response.headers.get("content-type"), response.headers.get("content-length")],
        [200, "application/vnd.sqlite3", "3"]
      )
      const second = yield* fetch("/v1/backup", authorized)
      assert.deepStrictEqual([second.status, ((yield* json(second)) as { readonly _tag: string })._tag], [
        503,
        "TooMany"
      ])
      filled.openUnsafe()
      const bytes = yield* Effect.promise(() => response.arrayBuffer())
      assert.deepStrictEqual(Array.from(new Uint8Array(bytes)), [1, 2, 3])
      yield* settled
      assert.strictEqual(open, 0)
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("is a problem with the reason if the state cannot be copied", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const fetch = yield* serve(a, { token: Redacted.make(token), readable: true })
      const response = yield* fetch("/v1/backup", authorized)
      assert.strictEqual(response.status, 503)
      assert.deepInclude(yield* json(response), {
        _tag: "CannotBackUp",
        detail: "The state cannot be backed up: this node keeps its state in memory only"
      })
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})

const post = (body: unknown): RequestInit => ({
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body)
})

describe("/v1/lookup", () => {
  it.effect("streams the steps of a lookup and ends with its result", () =>
    Effect.gen(function*() {
      const [a, b, c] = yield* Network.build(4)
      yield* Network.dht(b).publishTopic({ topic: "chess", name: "Deep <b>", protocols: ["uci"] })
      yield* settled
      // Excludes the node's own copy.
      yield* Context.get(a, Store).invalidate(NodeId.fromTopic("chess"), 0)
      const response = yield* (yield* serve(a))("/v1/lookup", post({ kind: "topic", value: "chess" }))
      assert.strictEqual(response.status, 200)
      assert.strictEqual(response.headers.get("content-type"), "text/event-stream")
      const events = yield* all(response)
      assert.deepStrictEqual(events.map(({ id }) => id), events.map((_, i) => i + 1))
      const data = yield* Effect.forEach(events, ({ data }) => Schema.decodeUnknownEffect(Api.LookupEvent)(data))
      assert.deepStrictEqual(data.map(({ type }) => type), events.map(({ type }) => type))
      assert.strictEqual(data[0].type, "query-started")
      const steps = data.flatMap((event) => event.type === "query-stepped" ? [event.step] : [])
      for (const { peer } of steps) {
        const [asked, answered] = steps.filter((step) => step.peer.node_id_hex === peer.node_id_hex)
        assert.deepInclude(asked, { outcome: "unanswered", took_ms: null })
        assert.deepInclude(answered, { outcome: "answered" })
      }
      assert.includeMembers(steps.map(({ peer }) => peer.node_id_hex), [Network.contactOf(c).id])
      const ended = data.at(-1)
      if (ended?.type !== "lookup-ended") return assert.fail("the last event is another one")
      assert.isFalse(ended.timed_out)
      assert.strictEqual(ended.target_hex, NodeId.fromTopic("chess"))
      assert.deepInclude(ended.records[0], { topic: "chess", name: "Deep <b>", protocols: ["uci"] })
      assert.strictEqual(ended.records[0].record.address, Address.format(Network.dht(b).address))
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("looks up the endpoint of an address, and the nodes closest to an id", () =>
    Effect.gen(function*() {
      const [a, b] = yield* Network.build(3)
      yield* Network.dht(b).publishEndpoint(endpoint)
      yield* settled
      const fetch = yield* serve(a)
      const last = (body: unknown) =>
        Effect.flatMap(Effect.flatMap(fetch("/v1/lookup", post(body)), all), (events) =>
          Schema.decodeUnknownEffect(Api.LookupEvent)(events.at(-1)?.data))
      const reached = yield* last({ kind: "address", value: Address.format(Network.dht(b).address) })
      assert.deepInclude(reached.type === "lookup-ended" ? reached.records[0] : undefined, {
        endpoints: endpoint.endpoints
      })
      const close = yield* last({ kind: "node_id", value: Network.dht(b).nodeId })
      assert.strictEqual(
        close.type === "lookup-ended" ? close.closest[0].node_id_hex : undefined,
        Network.dht(b).nodeId
      )
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("reports what is wrong with a request", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const fetch = yield* serve(a)
      const wrong: ReadonlyArray<readonly [body: unknown, said: string]> = [
        [{ kind: "node_id", value: "zz" }, "is not a node id"],
        [{ kind: "address", value: "a0" }, "is not an address"],
        [{ kind: "topic", value: "" }, "value"],
        [{ kind: "topic", value: "x".repeat(513) }, "value"],
        [{ kind: "other", value: "x" }, "kind"],
        [[], "object"]
      ]
      for (const [body, said] of wrong) {
        const response = yield* fetch("/v1/lookup", post(body))
        assert.strictEqual(response.status, 400)
        assert.strictEqual(response.headers.get("content-type"), "application/problem+json")
        const { _tag, detail } = (yield* json(response)) as { readonly _tag: string; readonly detail: string }
        assert.strictEqual(_tag, "BadRequest")
        assert.include(detail, said)
      }
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  /** A node whose lookups never complete. */
  const lost = Effect.gen(function*() {
    const a = yield* Network.node("a", Network.socketOf(1))
    const query = Context.get(a, Query.Query)
    return Context.add(a, Query.Query, { ...query, lookup: () => Effect.never })
  })

  it.effect("runs at most four at a time, and abandons each after 15 seconds", () =>
    Effect.gen(function*() {
      const fetch = yield* serve(yield* lost)
      const lookup = fetch("/v1/lookup", post({ kind: "topic", value: "chess" }))
      const running = yield* Effect.forEach(
        Array.from({ length: Routes.maxLookups }),
        () => Effect.flatMap(lookup, (response) => Effect.forkChild(all(response)))
      )
      yield* settled
      const refused = yield* lookup
      assert.strictEqual(refused.status, 503)
      assert.include(yield* text(refused), "TooMany")
      yield* TestClock.adjust("15 seconds")
      for (const fiber of running) {
        const ended = (yield* Fiber.join(fiber)).at(-1)?.data
        assert.deepInclude(ended, { type: "lookup-ended", timed_out: true, closest: [], records: [] })
      }
      const again = yield* lookup
      assert.strictEqual(again.status, 200)
      yield* reader(again).leave
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("abandons the lookup and frees its place when the client disconnects", () =>
    Effect.gen(function*() {
      const a = yield* Network.node("a", Network.socketOf(1))
      const silent = yield* Network.puppet("silent", Network.socketOf(2))
      yield* Network.dht(a).addContact(silent)
      const fetch = yield* serve(a)
      for (let i = 0; i < 2 * Routes.maxLookups; i++) {
        const response = yield* fetch("/v1/lookup", post({ kind: "topic", value: "chess" }))
        assert.strictEqual(response.status, 200)
        const { leave, next } = reader(response)
        yield* next
        yield* leave
        yield* settled
      }
      const { queries } = yield* document(fetch, "/debug/queries", Api.Queries)
      assert.strictEqual(queries.length, 2 * Routes.maxLookups)
      for (const { outcome, steps } of queries) {
        assert.strictEqual(outcome, "given_up")
        assert.deepStrictEqual(steps.map(({ outcome }) => outcome), ["unanswered"])
      }
      assert.strictEqual(yield* Context.get(a, Rpc).pending, 0)
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})

describe("/v1/events", () => {
  it.effect("reports events as they happen", () =>
    Effect.gen(function*() {
      const [a, b] = yield* Network.build(2)
      const fetch = yield* serve(a)
      const { leave, next } = reader(yield* fetch("/v1/events"))
      yield* next
      const seen: Array<typeof Api.Event.Type> = []
      /** Reads on until this many events of each of these types have arrived. */
      const told = Effect.fnUntraced(function*(types: ReadonlyArray<string>, count = 1) {
        while (!types.every((wanted) => seen.filter(({ type }) => type === wanted).length >= count)) {
          for (const { data, type } of (yield* next) ?? []) {
            const event = yield* Schema.decodeUnknownEffect(Api.Event)(data)
            assert.strictEqual(event.type, type)
            seen.push(event)
          }
        }
      })
      yield* Network.node("new", Network.socketOf(9)).pipe(
        Effect.tap((node) => Network.dht(node).bootstrap([Network.socketOf(1)]))
      )
      yield* told(["peer-added"])
      yield* Network.dht(b).publishEndpoint(endpoint)
      yield* told(["record-stored"])
      yield* Effect.scoped(Effect.andThen(Network.dht(a).announceTopic({ topic: "chess", name: "a" }), settled))
      yield* told([
        "publication-started",
        "announcement-started",
        "query-started",
        "query-stepped",
        "query-ended",
        "replica-reported",
        "publication-ended",
        "announcement-ended"
      ])
      const traffic = () => seen.filter(({ type }) => type === "traffic").map(({ at_ms }) => at_ms)
      assert.deepStrictEqual(traffic(), [Network.now * 1000])
      yield* TestClock.adjust("2 seconds")
      yield* told(["traffic"], 3)
      assert.deepStrictEqual(traffic(), [0, 1000, 2000].map((millis) => Network.now * 1000 + millis))
      yield* leave
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("stops when the client disconnects", () =>
    Effect.gen(function*() {
      const [a] = yield* Network.build(2)
      const { leave, next } = reader(yield* (yield* serve(a))("/v1/events"))
      yield* next
      assert.isTrue(Context.get(a, NodeEvents).hasListeners)
      yield* leave
      yield* settled
      assert.isFalse(Context.get(a, NodeEvents).hasListeners)
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))

  it.effect("serves at most 16 clients, and another once one has disconnected", () =>
    Effect.gen(function*() {
      const [a] = yield* Network.build(1)
      const fetch = yield* serve(a)
      const open = Effect.map(fetch("/v1/events"), reader)
      const clients = yield* Effect.forEach(Array.from({ length: Routes.maxEventStreams }), () => open)
      yield* Effect.forEach(clients, ({ next }) => next, { discard: true })
      assert.strictEqual((yield* fetch("/v1/events")).status, 503)
      yield* clients[0].leave
      yield* settled
      assert.strictEqual((yield* fetch("/v1/events")).status, 200)
    }).pipe(Effect.provide(Transport.layerMemoryNetwork)))
})
