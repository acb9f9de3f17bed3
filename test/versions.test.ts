import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { InvalidDelegation } from "../src/Delegation.ts"
import * as Endpoint from "../src/Endpoint.ts"
import * as Features from "../src/Features.ts"
import type * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Record from "../src/Record.ts"
import * as Rpc from "../src/Rpc.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { found, helpful, offer, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const key = NodeId.fromTopic("topic")

const endpoint = (owner: string, options: { readonly seq?: bigint; readonly ttl?: number } = {}) => {
  const signer = network.identity(owner)
  return Result.getOrThrow(Endpoint.sign({
    signer,
    address: signer.address,
    payload: Endpoint.make({ endpoints: [] }),
    seq: options.seq ?? 1n,
    timestamp: BigInt(network.now),
    ttl: options.ttl ?? 3600
  }))
}

/** Whether a message contains fields that v0.1 does not know, and therefore drops. */
const isV02 = (body: Message.Body): boolean => {
  switch (body._tag) {
    case "FindValue":
      return body.subscribe
    case "StoreResponse":
      return body.alreadyHad || body.reason !== 0
    case "Push":
    case "PushAck":
      return true
    default:
      return false
  }
}

const setUp = Effect.gen(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const node = yield* network.node("node", network.socketOf(1), {
    passive: true,
    policy: (_key, { address }) =>
      address === network.addressOf("unwanted")
        ? Result.fail(new InvalidDelegation({ reason: "not wanted here" }))
        : Result.void
  })
  const peer = yield* network.puppet("peer", network.socketOf(60))
  return {
    node,
    peer,
    dht: network.dht(node),
    self: network.contactOf(node),
    health: Context.get(node, PeerHealth.PeerHealth)
  }
})

const watchTopic = (node: network.Node) =>
  Effect.forkScoped(Stream.runDrain(network.dht(node).watchTopic("topic")), { startImmediately: true })

describe("a v0.1 peer", () => {
  /** Drops messages it does not know, as such peers do. */
  const old = (peer: network.Puppet, ...records: ReadonlyArray<Record.SignedRecord>) =>
    serve(
      peer,
      (body, from) =>
        isV02(body) ? undefined : body._tag === "FindValue" ? found(...records) : helpful(peer)(body, from)
    )

  it.effect("answers a query that would subscribe, within the deadline of one peer", () =>
    Effect.gen(function*() {
      const { dht, node, peer } = yield* setUp
      yield* dht.addContact(peer)
      yield* old(peer, offer("topic", "publisher"))
      const said: Array<string> = []
      yield* Effect.forkScoped(
        Stream.runForEach(dht.watchTopic("topic"), ({ offer }) => Effect.sync(() => said.push(offer.name))),
        { startImmediately: true }
      )
      yield* settled
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(said, ["publisher 1"])
      assert.strictEqual(yield* Context.get(node, Rpc.Rpc).pending, 0)
    }).pipe(onNetwork))

  it.effect("gets a message that it drops once in ten minutes, and otherwise only those it understands", () =>
    Effect.gen(function*() {
      const { dht, node, peer } = yield* setUp
      yield* dht.addContact(peer)
      const heard = yield* old(peer)
      yield* watchTopic(node)
      const { record } = yield* dht.publishTopic({ topic: "topic", name: "own", ttl: 7200 })
      yield* settled
      yield* TestClock.adjust("1 minute")
      yield* peer.send(network.contactOf(node), { _tag: "Store", key, record: offer("topic", "new") }, "00".repeat(20))
      yield* peer.send(network.contactOf(node), { _tag: "Store", key, record }, "01".repeat(20))
      yield* peer.send(
        network.contactOf(node),
        { _tag: "Store", key: undefined, record: endpoint("gone", { ttl: 1 }) },
        "02".repeat(20)
      )
      yield* settled
      yield* TestClock.adjust("29 minutes")
      assert.includeMembers(heard.map(({ body }) => body._tag), ["FindValue", "Store", "StoreResponse"])
      const dropped = heard.filter(({ body }) => isV02(body))
      assert.isTrue(dropped.every(({ body }) => body._tag === "FindValue"))
      assert.isAtMost(dropped.length, 4)
      for (const [i, { at }] of dropped.entries()) if (i > 0) assert.isAtLeast(at - dropped[i - 1].at, 600_000)
    }).pipe(onNetwork))

  it.effect("finds the newest endpoint in the v0.1 field, besides the list that it does not know", () =>
    Effect.gen(function*() {
      const { node, peer, self } = yield* setUp
      const record = endpoint("owner")
      yield* Context.get(node, Store).put(Record.ownKey(record), record)
      yield* peer.send(
        self,
        { _tag: "FindValue", target: Record.ownKey(record), recordType: 0, subscribe: false },
        "00".repeat(20)
      )
      const { body } = (yield* peer.receive).message
      assert.strictEqual(body._tag === "FindValueResponse" ? body.record?.seq : undefined, 1n)
    }).pipe(onNetwork))

  it.effect("is understood if its only record is in the v0.1 field", () =>
    Effect.gen(function*() {
      const { dht, peer } = yield* setUp
      yield* dht.addContact(peer)
      yield* serve(peer, () => ({ ...found(), record: endpoint("owner"), records: undefined }) as Message.Body)
      const resolved = yield* dht.resolve(network.addressOf("owner"))
      assert.strictEqual(resolved.record.seq, 1n)
    }).pipe(onNetwork))
})

describe("a v0.2 peer", () => {
  const storing = Effect.gen(function*() {
    const world = yield* setUp
    const { peer, self } = world
    let transactions = 0
    const store = Effect.fnUntraced(function*(record: Record.SignedRecord, at?: NodeId.NodeId) {
      const transactionId = (++transactions).toString(16).padStart(40, "0")
      yield* peer.send(self, { _tag: "Store", record, key: at }, transactionId)
      while (true) {
        const { message } = yield* peer.receive
        if (message.transactionId === transactionId) return message.body
      }
    })
    return { ...world, store }
  })
  const answers = (
    options: { readonly stored: boolean; readonly alreadyHad?: boolean; readonly reason?: number }
  ): Message.Body => ({
    _tag: "StoreResponse",
    alreadyHad: false,
    reason: 0,
    ...options
  })

  it.effect("gets the reason why a record was not stored: 1 for policy, 2 for an invalid one", () =>
    Effect.gen(function*() {
      const { health, peer, store } = yield* storing
      health.speaksUnsafe(peer.id, "v0.2", network.now * 1000)
      const record = endpoint("owner")
      assert.deepStrictEqual(yield* store(endpoint("unwanted")), answers({ stored: false, reason: 1 }))
      const { bytes } = record
      const forged = Result.getOrThrow(
        Record.decode(bytes.with(bytes.length - 1, bytes[bytes.length - 1] ^ 1))
      )
      assert.deepStrictEqual(yield* store(forged), answers({ stored: false, reason: 2 }))
      assert.deepStrictEqual(yield* store(record), answers({ stored: true }))
      assert.deepStrictEqual(yield* store(record), answers({ stored: true, alreadyHad: true }))
    }).pipe(onNetwork))

  it.effect("gets a v0.1 response before it has shown its version, and true if the same record is held", () =>
    Effect.gen(function*() {
      const { store } = yield* storing
      const record = endpoint("owner")
      assert.deepStrictEqual(yield* store(record, key), answers({ stored: false }))
      assert.deepStrictEqual(yield* store(record), answers({ stored: true }))
      assert.deepStrictEqual(yield* store(record), answers({ stored: true }))
      const older = Result.getOrThrow(Record.decode(record.bytes))
      assert.deepStrictEqual(yield* store(endpoint("owner", { seq: 2n })), answers({ stored: true }))
      // The held record is another one, and not a copy of this one.
      assert.deepStrictEqual(yield* store(older), answers({ stored: false }))
    }).pipe(onNetwork))

  it.effect("is recognised by its subscription", () =>
    Effect.gen(function*() {
      const { health, peer, self } = yield* storing
      yield* network.introduce(peer, self)
      yield* peer.send(self, { _tag: "FindValue", target: key, recordType: 0, subscribe: true }, "ff".repeat(20))
      yield* peer.receive
      assert.strictEqual(health.versionUnsafe(peer.id, network.now * 1000), "v0.2")
    }).pipe(onNetwork))

  for (
    const [what, answer] of [
      ["alreadyHad", { stored: true, alreadyHad: true, reason: 0 }],
      ["reason", { stored: false, alreadyHad: false, reason: 1 }]
    ] as const
  ) {
    it.effect(`is recognised by ${what} in a response`, () =>
      Effect.gen(function*() {
        const { dht, health, peer } = yield* storing
        yield* serve(peer, () => ({ _tag: "StoreResponse", ...answer }))
        yield* dht.storeAt(peer, endpoint("owner"))
        assert.strictEqual(health.versionUnsafe(peer.id, network.now * 1000), "v0.2")
      }).pipe(onNetwork))
  }

  it.effect("gets v0.2 requests every time once it has answered them", () =>
    Effect.gen(function*() {
      const { dht, node, peer } = yield* setUp
      yield* dht.addContact(peer)
      const heard = yield* serve(peer, helpful(peer))
      yield* watchTopic(node)
      yield* settled
      yield* TestClock.adjust("30 minutes")
      assert.isAbove(heard.length, 10)
      assert.isTrue(heard.every(({ body }) => body._tag === "FindValue" && body.subscribe))
    }).pipe(onNetwork))

  it.effect("is recognised again after an upgrade", () =>
    Effect.gen(function*() {
      const { dht, health, node, peer } = yield* setUp
      yield* dht.addContact(peer)
      let isOld = true
      yield* serve(peer, (body, from) => isOld && isV02(body) ? undefined : helpful(peer)(body, from))
      yield* watchTopic(node)
      yield* settled
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(health.versionUnsafe(peer.id, (network.now + 60) * 1000), "v0.1")
      isOld = false
      yield* TestClock.adjust("12 minutes")
      assert.strictEqual(health.versionUnsafe(peer.id, (network.now + 780) * 1000), "v0.2")
    }).pipe(onNetwork))
})

describe("a peer whose messages show that it understands v0.2", () => {
  const v02 = Features.Bit["v0.2"]

  /** Drops messages of a later version while it is old. */
  const changing = Effect.gen(function*() {
    const world = yield* setUp
    const { dht, peer, self } = world
    const is = { old: false }
    const subscribed: Array<boolean> = []
    yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
      const { from, message: { body, transactionId } } = yield* peer.receive
      if (body._tag === "FindValue") subscribed.push(body.subscribe)
      const answer = is.old && isV02(body) ? undefined : helpful(peer)(body, from)
      if (answer !== undefined) yield* peer.send(from, answer, transactionId, is.old ? 0 : v02)
    })))
    const show = (features: Features.Features) =>
      Effect.andThen(
        peer.send(self, { _tag: "Ping", address: peer.address }, "ee".repeat(20), features),
        settled
      )
    yield* dht.addContact(peer)
    return { ...world, is, show, subscribed }
  })

  it.effect("gets v0.2 responses at once, whatever unknown bits it shows besides", () =>
    Effect.gen(function*() {
      const { peer, self } = yield* setUp
      const record = endpoint("owner")
      yield* network.introduce(peer, self)
      for (const alreadyHad of [false, true]) {
        yield* peer.send(self, { _tag: "Store", record, key: undefined }, "00".repeat(20), 0xfff0 | v02)
        const { body } = (yield* peer.receive).message
        assert.deepStrictEqual(body, { _tag: "StoreResponse", stored: true, alreadyHad, reason: 0 })
      }
    }).pipe(onNetwork))

  it.effect("gets v0.2 requests in every attempt, however many are lost", () =>
    Effect.gen(function*() {
      const { dht, node, peer, self } = yield* setUp
      yield* dht.addContact(peer)
      yield* peer.send(self, { _tag: "Ping", address: peer.address }, "00".repeat(20), v02)
      yield* settled
      yield* watchTopic(node)
      yield* settled
      yield* TestClock.adjust("2 seconds")
      yield* peer.send(self, { _tag: "Ping", address: peer.address }, "01".repeat(20), v02)
      const asked: Array<boolean> = []
      while (true) {
        const { body, transactionId } = (yield* peer.receive).message
        if (body._tag === "FindValue") asked.push(body.subscribe)
        if (transactionId === "01".repeat(20)) break
      }
      assert.isAbove(asked.length, 1)
      assert.isFalse(asked.includes(false))
    }).pipe(onNetwork))

  it.effect("is believed at once when it returns without the bit", () =>
    Effect.gen(function*() {
      const { health, is, node, show, subscribed } = yield* changing
      yield* show(v02)
      is.old = true
      yield* show(0)
      assert.isUndefined(health.versionUnsafe(network.identity("peer").nodeId, network.now * 1000))
      yield* watchTopic(node)
      yield* settled
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(subscribed.slice(0, 2), [true, false])
    }).pipe(onNetwork))

  it.effect("is treated as v0.1 if it does not answer a message that it claims to understand", () =>
    Effect.gen(function*() {
      const { health, is, node, show, subscribed } = yield* changing
      yield* show(v02)
      is.old = true
      yield* watchTopic(node)
      yield* settled
      yield* TestClock.adjust("1 minute")
      assert.isTrue(subscribed.includes(false))
      assert.strictEqual(health.versionUnsafe(network.identity("peer").nodeId, (network.now + 60) * 1000), "v0.1")
    }).pipe(onNetwork))

  it.effect("is not recognised by messages sent in its name from elsewhere", () =>
    Effect.gen(function*() {
      const { health, peer, self, show } = yield* changing
      yield* show(v02)
      const elsewhere = yield* network.puppet("peer", network.socketOf(61))
      yield* elsewhere.send(self, { _tag: "FindNode", target: key }, "dd".repeat(20), 0)
      yield* settled
      assert.isTrue(health.hasUnsafe(peer.id, v02))
    }).pipe(onNetwork))

  it.effect("can be a node of this library", () =>
    Effect.gen(function*() {
      const { dht, peer } = yield* setUp
      yield* Effect.forkScoped(dht.ping(peer), { startImmediately: true })
      assert.strictEqual(
        (yield* peer.receive).message.features,
        v02 | Features.Bit.sessions | Features.Bit.paging | Features.Bit.dialBack | Features.Bit.rendezvous |
          Features.Bit.families
      )
    }).pipe(onNetwork))
})

const signer = network.identity("owner")
const record = Result.getOrThrow(Endpoint.sign({
  signer,
  address: signer.address,
  payload: Endpoint.make({ endpoints: [] }),
  seq: 1n,
  timestamp: BigInt(network.now),
  ttl: 3600
}))
const thief = network.identity("thief")
const stolen = Result.getOrThrow(Record.decode(Record.encode({
  ...record,
  publicKey: thief.publicKey,
  signature: thief.sign(Record.signedBytes(record))
})))

describe("a v0.2 peer gets reason 1 (policy) for a valid record", () => {
  for (
    const [what, sent, key] of [
      ["at a foreign key", record, NodeId.fromTopic("x")],
      ["of another's address", stolen, undefined]
    ] as const
  ) {
    it.effect(what, () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(network.now * 1000)
        const node = yield* network.node("node", network.socketOf(1), { passive: true })
        const peer = yield* network.puppet("peer", network.socketOf(60))
        Context.get(node, PeerHealth.PeerHealth).speaksUnsafe(peer.id, "v0.2", network.now * 1000)
        yield* peer.send(network.contactOf(node), { _tag: "Store", record: sent, key }, "00".repeat(20))
        const { body } = (yield* peer.receive).message
        assert.deepStrictEqual(body, { _tag: "StoreResponse", stored: false, alreadyHad: false, reason: 1 })
      }).pipe(onNetwork))
  }
})
