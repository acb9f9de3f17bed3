import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as Endpoint from "../src/Endpoint.ts"
import type * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Record from "../src/Record.ts"
import * as Routing from "../src/Routing.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const now = 1_700_000_000

const setUp = Effect.gen(function*() {
  yield* TestClock.setTime(now * 1000)
  const node = yield* network.node("node", network.socketOf(1), { passive: true })
  const peer = yield* network.puppet("peer", network.socketOf(2))
  const self = network.contactOf(node)
  let transactions = 0
  const ask = Effect.fnUntraced(function*(body: Message.Body) {
    const transactionId = (++transactions).toString(16).padStart(40, "0")
    yield* peer.send(self, body, transactionId)
    while (true) {
      const { message } = yield* peer.receive
      // The node may ask something of its own meanwhile.
      if (message.transactionId === transactionId) return message.body
    }
  })
  const findValue = Effect.fnUntraced(function*(target: NodeId.NodeId, recordType: number) {
    const found = yield* ask({ _tag: "FindValue", target, recordType, subscribe: false })
    return found._tag === "FindValueResponse" ? found : assert.fail(found._tag)
  })
  return { node, peer, self, ask, findValue }
})

const endpoint = (owner: string, options: { readonly seq?: bigint; readonly size?: number } = {}) => {
  const signer = network.identity(owner)
  return Result.getOrThrow(Endpoint.sign({
    signer,
    address: signer.address,
    payload: Endpoint.make({ endpoints: [`quic://${"x".repeat(options.size ?? 10)}:1`] }),
    seq: options.seq ?? 1n,
    timestamp: BigInt(now),
    ttl: 3600
  }))
}

const stored = (value: boolean): Message.Body => ({
  _tag: "StoreResponse",
  stored: value,
  alreadyHad: false,
  reason: 0
})

describe("Responder", () => {
  it.effect("answers PING with its address and how it sees the asker", () =>
    Effect.gen(function*() {
      const { ask, peer, self } = yield* setUp
      assert.deepStrictEqual(yield* ask({ _tag: "Ping", address: peer.address }), {
        _tag: "Pong",
        address: self.address,
        observed: SocketAddress.encodeObserved(peer)
      })
    }).pipe(onNetwork))

  it.effect("answers FIND_NODE with contacts that it heard from, and not with unverified contacts", () =>
    Effect.gen(function*() {
      const { ask, node, peer } = yield* setUp
      const named = (name: string) => {
        const { address, nodeId } = network.identity(name)
        return { ...peer, id: nodeId, address }
      }
      const known = named("known")
      yield* network.dht(node).addContact(known)
      Context.get(node, Routing.Routing).core.add(named("unverified"), undefined, now * 1000, known.id)
      const answer = yield* ask({ _tag: "FindNode", target: NodeId.zero })
      // The asker itself is known by now.
      assert.deepStrictEqual(
        answer._tag === "FindNodeResponse" ? answer.nodes?.map(({ id }) => id).toSorted() : answer,
        [peer.id, known.id].toSorted()
      )
    }).pipe(onNetwork))

  it.effect("stores a record that holds, and says yes to one that it has", () =>
    Effect.gen(function*() {
      const { ask, node } = yield* setUp
      const record = endpoint("owner")
      assert.deepStrictEqual(yield* ask({ _tag: "Store", record, key: undefined }), stored(true))
      assert.deepStrictEqual(yield* ask({ _tag: "Store", record, key: undefined }), stored(true))
      const held = yield* Context.get(node, Store).getAll(Record.ownKey(record), 0)
      assert.deepStrictEqual(held.map(({ seq }) => seq), [1n])
    }).pipe(onNetwork))

  it.effect("does not store a record that is wrongly signed, expired, at a foreign key, or another's", () =>
    Effect.gen(function*() {
      const { ask, node } = yield* setUp
      const good = endpoint("owner")
      const forged = good.bytes.with(good.bytes.length - 1, good.bytes[good.bytes.length - 1] ^ 1)
      const record = Result.getOrThrow(Record.decode(forged))
      assert.deepStrictEqual(yield* ask({ _tag: "Store", record, key: undefined }), stored(false))
      assert.deepStrictEqual(yield* ask({ _tag: "Store", record: good, key: NodeId.fromTopic("x") }), stored(false))

      const thief = network.identity("thief")
      const stolen = Result.getOrThrow(Record.decode(Record.encode({
        ...good,
        publicKey: thief.publicKey,
        signature: thief.sign(Record.signedBytes(good))
      })))
      assert.deepStrictEqual(yield* ask({ _tag: "Store", record: stolen, key: undefined }), stored(false))

      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual(yield* ask({ _tag: "Store", record: good, key: undefined }), stored(false))
      assert.strictEqual(yield* Context.get(node, Store).size, 0)
    }).pipe(onNetwork))

  it.effect("answers FIND_VALUE with the records of the type, and the newest endpoint for old readers", () =>
    Effect.gen(function*() {
      const { ask, findValue } = yield* setUp
      const record = endpoint("owner", { seq: 2n })
      const target = Record.ownKey(record)
      yield* ask({ _tag: "Store", record, key: undefined })
      for (const recordType of [0, Record.RecordType.endpoint]) {
        const found = yield* findValue(target, recordType)
        assert.deepStrictEqual(found.records?.map(({ seq }) => seq), [2n])
        assert.strictEqual(found.record?.seq, 2n)
      }
      const other = yield* findValue(target, Record.RecordType.mailbox)
      assert.isUndefined(other.records)
      assert.isUndefined(other.record)
    }).pipe(onNetwork))

  it.effect("still answers with a record that leaves no room for the copy that old readers want", () =>
    Effect.gen(function*() {
      const { ask, findValue } = yield* setUp
      const record = endpoint("owner", { size: 700 })
      yield* ask({ _tag: "Store", record, key: undefined })
      const found = yield* findValue(Record.ownKey(record), 0)
      assert.deepStrictEqual(found.records?.map(({ bytes }) => bytes), [record.bytes])
      assert.isUndefined(found.record)
    }).pipe(onNetwork))

  it.effect("echoes a NAT probe to the claimed address of the prober, three times in ten seconds", () =>
    Effect.gen(function*() {
      const { peer, self } = yield* setUp
      const claimed = { host: peer.host, port: 5000 }
      const behind = yield* network.puppet("behind", claimed)
      const probe = (token: number): Message.Body => ({
        _tag: "NatProbe",
        token: new Uint8Array(8).fill(token),
        claimed: SocketAddress.encodeObserved(claimed)
      })
      for (let token = 1; token <= 4; token++) yield* peer.send(self, probe(token), "00".repeat(20))
      yield* TestClock.adjust("11 seconds")
      yield* peer.send(self, probe(5), "00".repeat(20))
      const tokens: Array<number> = []
      for (let i = 0; i < 4; i++) {
        const { body, transactionId } = (yield* behind.receive).message
        assert.notStrictEqual(transactionId, "00".repeat(20))
        tokens.push(body._tag === "NatProbeEcho" ? body.token[0] : assert.fail(body._tag))
      }
      assert.deepStrictEqual(tokens, [1, 2, 3, 5])
    }).pipe(onNetwork))

  it.effect("sends no echo to another IP than the prober's", () =>
    Effect.gen(function*() {
      const { peer, self } = yield* setUp
      const victim = yield* network.puppet("victim", network.socketOf(3))
      const claimed = SocketAddress.encodeObserved(victim)
      yield* peer.send(self, { _tag: "NatProbe", token: new Uint8Array(8), claimed }, "00".repeat(20))
      yield* victim.send(self, { _tag: "Ping", address: victim.address }, "01".repeat(20))
      assert.strictEqual((yield* victim.receive).message.body._tag, "Pong")
    }).pipe(onNetwork))
})
