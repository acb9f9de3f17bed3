import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Address from "../src/Address.ts"
import * as Delegation from "../src/Delegation.ts"
import * as Endpoint from "../src/Endpoint.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Persistence from "../src/Persistence.ts"
import * as Record from "../src/Record.ts"
import { Store } from "../src/Store.ts"
import * as Topic from "../src/Topic.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import { delegated, masters } from "./utils/delegated.ts"
import * as network from "./utils/network.ts"
import { found, helpful, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const { now } = network

/** Some nodes, and one more that acts for another address. */
const withDelegate = Effect.fnUntraced(function*(options?: Parameters<typeof delegated>[1]) {
  const nodes = yield* network.build(4)
  const delegate = yield* network.nodeOf(delegated("delegate", options), network.socketOf(100))
  yield* network.dht(delegate).bootstrap([network.socketOf(1)])
  return { delegate: network.dht(delegate), other: network.dht(nodes[1]) }
})

describe("publishing for an address that delegated to the node's key", () => {
  for (const master of masters) {
    it.effect(`publishes under the address of the master: ${master}`, () =>
      Effect.gen(function*() {
        const { delegate, other } = yield* withDelegate({ master })
        assert.notStrictEqual(delegate.agent, delegate.address)
        assert.strictEqual(delegate.nodeId, NodeId.fromAddress(delegate.address))
        yield* delegate.announceEndpoint({ endpoints: ["quic://192.0.2.1:1"] })
        yield* delegate.announceTopic({ topic: "translate", name: "Ann" })
        yield* delegate.announceProfile({ name: "Ann" })
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual((yield* other.resolve(delegate.agent)).endpoints, ["quic://192.0.2.1:1"])
        const { offers: [offer] } = yield* other.discover("translate")
        assert.strictEqual(offer.address, delegate.agent)
        const found = yield* other.aggregateRecords(NodeId.fromAddress(delegate.agent))
        assert.deepStrictEqual(found.map(({ type }) => type).toSorted(), [
          Record.RecordType.endpoint,
          Record.RecordType.profile
        ])
        for (const { address } of found) assert.strictEqual(address, delegate.agent)
        assert.strictEqual((yield* Effect.flip(other.resolve(delegate.address)))._tag, "NoEndpoint")
      }).pipe(Effect.scoped, onNetwork))
  }

  it.effect("fails with DelegationExpired from the second in which the delegation expires", () =>
    Effect.gen(function*() {
      const { delegate } = yield* withDelegate({ expiresAt: now + 100 })
      yield* TestClock.setTime((now + 99) * 1000)
      yield* delegate.publishProfile({ name: "Ann" })
      yield* TestClock.setTime((now + 100) * 1000)
      const error = yield* Effect.flip(delegate.publishProfile({ name: "Ann" }))
      assert.strictEqual(error._tag, "DelegationExpired")
      assert.include(error.message, "new one")
    }).pipe(Effect.scoped, onNetwork))

  it.effect("warns once when the delegation ends within a day, and not before", () =>
    Effect.gen(function*() {
      const said: Array<string> = []
      const logger = Logger.make(({ message }) => void said.push(String(message)))
      yield* Effect.gen(function*() {
        const { delegate } = yield* withDelegate({ expiresAt: now + 100_000 })
        const warnings = () => said.filter((line) => line.includes(Address.format(delegate.agent)))
        yield* delegate.publishProfile({ name: "Ann" })
        assert.deepStrictEqual(warnings(), [])
        yield* TestClock.setTime((now + 20_000) * 1000)
        yield* delegate.publishProfile({ name: "Ann" })
        yield* delegate.publishProfile({ name: "Ann" })
        assert.strictEqual(warnings().length, 1)
        assert.include(warnings()[0], "80000 s")
      }).pipe(Effect.provide(Logger.layer([logger])))
    }).pipe(Effect.scoped, onNetwork))
})

describe("publishing", () => {
  it.effect("refuses an endpoint that is not a URL, and names it", () =>
    Effect.gen(function*() {
      const node = network.dht(yield* network.node("a", network.socketOf(1)))
      for (const wrong of ["not a url", "", "203.0.113.5:4121", "quic://203.0.113.5:99999"]) {
        const endpoint = { endpoints: ["quic://203.0.113.5:4121", wrong] }
        for (
          const error of [
            yield* Effect.flip(node.publishEndpoint(endpoint)),
            yield* Effect.flip(node.announceEndpoint(endpoint))
          ]
        ) {
          assert.strictEqual(error._tag, "InvalidRecord")
          assert.include(error.message, JSON.stringify(wrong))
        }
      }
      yield* node.publishEndpoint({ endpoints: [] })
    }).pipe(Effect.scoped, onNetwork))

  it.effect("fails with InvalidRecord for content that a record cannot express, and stores nothing", () =>
    Effect.gen(function*() {
      const node = network.dht(yield* network.node("a", network.socketOf(1)))
      const wrong = [
        node.publishTopic({ topic: "t", meta: new Map([["n", 2n ** 64n]]) }),
        node.publishTopic({ topic: "t", meta: new Map([["n", -(2n ** 64n) - 1n]]) }),
        node.publishTopic({ topic: "t", meta: new Map([["n", [new Map([["deep", 2n ** 70n]])]]]) }),
        node.publishTopic({ topic: "t", ttl: 1.5 }),
        node.publishTopic({ topic: "t", ttl: NaN }),
        node.publishTopic({ topic: "" }),
        node.publishTopic({ topic: "\ud800" }),
        node.publishTopic({ topic: "t", name: "\udfff" }),
        node.publishTopic({ topic: "t", tags: ["\ud800"] }),
        node.publishProfile({ name: "\ud800" }),
        node.publishProfile({ meta: new Map([["n", 2n ** 64n]]) }),
        node.publishProfile({ ttl: -1 }),
        node.publishProfile({ ttl: 2 ** 32 }),
        node.publishEndpoint({ endpoints: [], natType: NaN as never }),
        node.publishEndpoint({ endpoints: [], natType: -1 as never }),
        node.publishEndpoint({ endpoints: [], signals: ["\ud800"] }),
        node.publishCustom({ type: 3.5, payload: new Uint8Array() }),
        node.publishCustom({ type: 3, payload: new Uint8Array(), ttl: Infinity })
      ]
      for (const publish of wrong) assert.strictEqual((yield* Effect.flip(publish))._tag, "InvalidRecord")
      assert.strictEqual((yield* node.stats).keys, 0)
    }).pipe(Effect.scoped, onNetwork))

  it.effect("finds an offer under every spelling of its topic, protocols and tags", () =>
    Effect.gen(function*() {
      const [composed, decomposed] = ["caf\u00e9", "cafe\u0301"]
      const [ann, bob, reader] = (yield* network.build(4)).map(network.dht)
      yield* ann.publishTopic({ topic: composed, name: "Ann", protocols: [decomposed], tags: [composed] })
      yield* bob.publishTopic({ topic: decomposed, name: "Bob", protocols: [composed], tags: [decomposed] })
      yield* TestClock.adjust("5 seconds")
      for (const topic of [composed, decomposed]) {
        for (const word of [composed, decomposed]) {
          const { offers } = yield* reader.discover(topic, { protocols: [word], tags: [word] })
          assert.deepStrictEqual(offers.map(({ name }) => name).toSorted(), ["Ann", "Bob"])
        }
      }
    }).pipe(Effect.scoped, onNetwork))

  it.effect("fails with InvalidTopic if a search contains an invalid topic", () =>
    Effect.gen(function*() {
      const node = network.dht(yield* network.node("a", network.socketOf(1)))
      for (const topic of ["", "\ud800", "a\udc00b"]) {
        assert.strictEqual((yield* Effect.flip(node.discover(topic)))._tag, "InvalidTopic")
        assert.strictEqual((yield* Effect.flip(node.discover(["t", topic])))._tag, "InvalidTopic")
        const watched = yield* Effect.flip(Stream.runDrain(node.watchTopic(topic)))
        assert.strictEqual(watched._tag, "InvalidTopic")
      }
    }).pipe(Effect.scoped, onNetwork))
})

const { build } = network

const maxSeq = 2n ** 64n - 1n
/** A seq that the clock reaches in a year. */
const ahead = BigInt(now + 365 * 86_400) * 1_000_000_000n

const signer = network.identity("node 0")
const operational = network.identity("operational")

const endpoint = (url: string, seq: bigint, options: { readonly timestamp?: number } = {}) =>
  Result.getOrThrow(Endpoint.sign({
    signer,
    address: signer.address,
    payload: Endpoint.make({ endpoints: [url] }),
    seq,
    timestamp: BigInt(options.timestamp ?? now),
    ttl: 3600
  }))

/** Under a delegation from the same address. */
const underDelegation = (url: string, seq: bigint) =>
  Result.getOrThrow(Endpoint.sign({
    signer: operational,
    address: signer.address,
    payload: Endpoint.make({ endpoints: [url] }),
    seq,
    timestamp: BigInt(now),
    ttl: 3600,
    delegation: Delegation.encode(Delegation.delegate({
      master: signer,
      operationalPublicKey: operational.publicKey,
      issuedAt: BigInt(now - 1000),
      expiresAt: 0n
    }))
  }))

const hold = (nodes: ReadonlyArray<network.Node>, key: NodeId.NodeId, record: Record.SignedRecord) =>
  Effect.forEach(nodes, (node) => Context.get(node, Store).put(key, record), { discard: true })

const urls = (nodes: ReadonlyArray<network.Node>) =>
  Effect.forEach(
    nodes,
    (node) => Effect.map(network.dht(node).resolve(signer.address, { quorum: 3 }), ({ endpoints }) => endpoints?.[0])
  )

describe("a newer record in the network", () => {
  it.effect("is superseded: readers see the latest publication", () =>
    Effect.gen(function*() {
      const [owner, ...others] = yield* build(5)
      yield* hold(others, signer.nodeId, endpoint("tcp://old", ahead))
      const published = yield* network.dht(owner).publishEndpoint({ endpoints: ["tcp://new"] })
      assert.lengthOf(yield* published.replicas(4, { within: "5 seconds" }), 4)
      assert.strictEqual((yield* published.current).seq, ahead + 1n)
      assert.deepStrictEqual(yield* urls(others), Array(4).fill("tcp://new"))
    }).pipe(onNetwork))

  it.effect("is superseded even if only one of the holders has it", () =>
    Effect.gen(function*() {
      const [owner, ...others] = yield* build(5)
      yield* hold(others.slice(0, 1), signer.nodeId, endpoint("tcp://old", ahead))
      const published = yield* network.dht(owner).publishEndpoint({ endpoints: ["tcp://new"] })
      yield* published.replicas(4, { within: "5 seconds" })
      yield* settled
      assert.deepStrictEqual(yield* urls(others), Array(4).fill("tcp://new"))
    }).pipe(onNetwork))

  it.effect("is superseded by the renewal of an announcement", () =>
    Effect.gen(function*() {
      const [owner, ...others] = yield* build(5)
      yield* network.dht(owner).announceEndpoint({ endpoints: ["tcp://new"], ttl: 600 })
      yield* settled
      yield* hold(others, signer.nodeId, endpoint("tcp://other", ahead))
      yield* TestClock.adjust("6 minutes")
      assert.deepStrictEqual(yield* urls(others), Array(4).fill("tcp://new"))
    }).pipe(onNetwork))

  const stale = Effect.fnUntraced(function*(held: Record.SignedRecord, offered: Record.SignedRecord) {
    const [owner, ...others] = yield* build(5)
    yield* hold(others, signer.nodeId, held)
    const published = yield* network.dht(owner).publish(offered)
    const error = yield* Effect.flip(published.replicas(1, { within: "5 seconds" }))
    assert.strictEqual(error._tag, "StaleRecord")
    assert.deepStrictEqual(yield* published.confirmed, [])
    return error as Record.StaleRecord
  })

  it.effect("fails the publication of a signed record, and is reported with its signer", () =>
    Effect.gen(function*() {
      const error = yield* stale(endpoint("tcp://old", 9n), endpoint("tcp://new", 5n))
      assert.deepInclude({ ...error }, { seq: 5n, heldSeq: 9n, heldSigner: signer.address, heldDelegatedAt: 0n })
      assert.include(error.message, "seq 9")
    }).pipe(onNetwork))

  it.effect("under a delegation fails a record without one, whatever the seq", () =>
    Effect.gen(function*() {
      const held = underDelegation("tcp://old", 1n)
      const error = yield* stale(held, endpoint("tcp://new", ahead))
      assert.deepInclude({ ...error }, {
        heldSeq: 1n,
        heldSigner: operational.address,
        heldDelegatedAt: BigInt(now - 1000)
      })
    }).pipe(onNetwork))

  it.effect("under a delegation fails a record of the master key alone, after a bounded number of signatures", () =>
    Effect.gen(function*() {
      const [owner, ...others] = yield* build(5)
      yield* hold(others, signer.nodeId, underDelegation("tcp://delegated", 1n))
      const published = yield* network.dht(owner).publishEndpoint({ endpoints: ["tcp://new"] })
      const error = yield* Effect.flip(published.replicas(4, { within: "5 seconds" }))
      assert.strictEqual(error._tag, "StaleRecord")
      assert.deepStrictEqual(yield* urls(others), Array(4).fill("tcp://delegated"))
      // Our own node shows the same record as readers see.
      assert.strictEqual((yield* network.dht(owner).resolve(signer.address)).endpoints?.[0], "tcp://delegated")
    }).pipe(onNetwork))

  it.effect("neither stops a record nor is superseded if it is forged or expired", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(now * 1000)
      const node = yield* network.node("node 0", network.socketOf(1))
      const peer = yield* network.puppet("peer", network.socketOf(60))
      yield* network.dht(node).addContact(peer)
      const genuine = endpoint("tcp://x", ahead)
      const forged = Result.getOrThrow(Record.decode(genuine.bytes.with(genuine.bytes.length - 1, 0)))
      const expired = endpoint("tcp://x", ahead, { timestamp: now - 7200 })
      yield* serve(peer, (body, from) => {
        if (body._tag === "Store") return { _tag: "StoreResponse", stored: true, alreadyHad: true, reason: 0 }
        return body._tag === "FindValue" ? found(forged, expired) : helpful(peer)(body, from)
      })
      const published = yield* network.dht(node).publishEndpoint({ endpoints: ["tcp://new"] })
      yield* settled
      assert.strictEqual(yield* published.current, published.record)
      const error = yield* Effect.flip(published.replicas(1, { within: 0 }))
      assert.strictEqual(error._tag, "NotEnoughReplicas")
    }).pipe(onNetwork))

  it.effect("of another topic ends no publication: its holder is skipped, and the other replicas are maintained", () =>
    Effect.gen(function*() {
      const [owner, ...others] = yield* build(5)
      const { key, replicas } = yield* network.dht(owner).publishTopic({ topic: "ours", name: "me" })
      yield* settled
      // A reader of one of our offers can store it under the key of another
      // topic.
      const foreign = Result.getOrThrow(Topic.sign({
        signer,
        address: signer.address,
        payload: Topic.make({ topic: "another" }),
        seq: ahead,
        timestamp: BigInt(now)
      }))
      yield* hold(others.slice(0, 1), key, foreign)
      yield* TestClock.adjust("5 minutes")
      assert.lengthOf(yield* replicas(3, { within: "1 second" }), 3)
      for (const other of others.slice(1)) yield* Context.get(other, Store).invalidate(key, 0)
      yield* TestClock.adjust("10 minutes")
      for (const other of others.slice(1)) assert.lengthOf(yield* Context.get(other, Store).getAll(key, 0), 1)
    }).pipe(onNetwork))
})

describe("the seq of a record", () => {
  it.effect("ends its own slot at the maximum, in this run and the next", () =>
    Effect.gen(function*() {
      yield* build(4)
      const medium = Persistence.makeMemory()
      for (const run of [1, 2]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const node = yield* network.node("owner", network.socketOf(50), {
            services: { persistence: Layer.fresh(Persistence.layerMemory(medium)) }
          })
          const dht = network.dht(node)
          yield* network.join(node, [network.socketOf(1)])
          const owner = network.identity("owner")
          const last = Result.getOrThrow(Record.sign({
            signer: owner,
            address: owner.address,
            type: 0x05,
            payload: new Uint8Array([1]),
            seq: maxSeq,
            // Later than any record signed in this test.
            timestamp: BigInt(now + 50),
            ttl: 3600
          }))
          if (run === 1) yield* Effect.flatMap(dht.publish(last), ({ replicas }) => replicas(4, { within: "1 second" }))
          const error = yield* Effect.flip(dht.publishCustom({ type: 0x05, payload: new Uint8Array([2]) }))
          assert.strictEqual(error._tag, "StaleRecord")
          assert.include(error.message, "There is no larger seq")
          const others = yield* Effect.all([
            dht.publishEndpoint({ endpoints: [] }),
            dht.publishTopic({ topic: "t" }),
            dht.publishProfile({ name: "n" }),
            dht.publishCustom({ type: 0x06, payload: new Uint8Array([1]) })
          ])
          yield* TestClock.adjust("10 seconds")
          for (const published of others) {
            assert.lengthOf(yield* published.confirmed, 4)
            assert.isBelow(Number(published.record.seq), Number(ahead))
          }
        }))
      }
    }).pipe(onNetwork))

  it.effect("at the maximum is superseded by the same seq a second later", () =>
    Effect.gen(function*() {
      const [owner, ...others] = yield* build(5)
      yield* hold(others, signer.nodeId, endpoint("tcp://old", maxSeq))
      yield* TestClock.adjust("1 second")
      const published = yield* network.dht(owner).publishEndpoint({ endpoints: ["tcp://new"] })
      assert.lengthOf(yield* published.replicas(4, { within: "5 seconds" }), 4)
      assert.deepStrictEqual(yield* urls(others), Array(4).fill("tcp://new"))
    }).pipe(onNetwork))

  it.effect("does not continue from one signed while the clock was a year ahead", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(now * 1000)
      const medium = Persistence.makeMemory()
      const scope = yield* Scope.make()
      yield* medium.write([{ _tag: "Signed", seq: ahead }], now * 1000)
      const node = yield* network.node("owner", network.socketOf(1), {
        services: { persistence: Layer.fresh(Persistence.layerMemory(medium)) }
      }).pipe(Scope.provide(scope))
      const { record } = yield* network.dht(node).publishEndpoint({ endpoints: [] })
      assert.strictEqual(record.seq, BigInt(now) * 1_000_000_000n)
    }).pipe(onNetwork))
})

describe("the hints of a publication", () => {
  const publish = Effect.fnUntraced(function*(endpoints: ReadonlyArray<string>) {
    yield* TestClock.setTime(now * 1000)
    const node = yield* network.node("node", network.socketOf(1))
    return (yield* network.dht(node).publishEndpoint({ endpoints })).hints
  })

  it.effect("are empty if a QUIC URL has the node's own port and host", () =>
    Effect.gen(function*() {
      const { host, port } = network.socketOf(1)
      assert.deepStrictEqual(yield* publish([`quic://${host}:${port}`]), [])
    }).pipe(onNetwork))

  it.effect("report that v0.2 peers would look for the node elsewhere", () =>
    Effect.gen(function*() {
      const [hint, ...rest] = yield* publish(["tcp://203.0.113.5:1", "quic://203.0.113.5:9"])
      assert.deepStrictEqual(rest, [])
      assert.strictEqual(hint._tag, "EndpointElsewhere")
      assert.include(hint.message, "quic://203.0.113.5:9")
    }).pipe(onNetwork))
})
