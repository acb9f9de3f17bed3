import { assert, describe, it, vi } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import type { Contact } from "../src/Contact.ts"
import type * as Dht from "../src/Dht.ts"
import * as Endpoint from "../src/Endpoint.ts"
import * as Features from "../src/Features.ts"
import * as Hex from "../src/internal/hex.ts"
import * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Record from "../src/Record.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as Cbor from "../src/wire/cbor.ts"
import { crypto } from "./utils/arbitraries.ts"
import * as network from "./utils/network.ts"
import { offer, settled } from "./utils/served.ts"
import { byWallet } from "./utils/wallets.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const now = 1_700_000_000

const asking = Effect.fnUntraced(function*(options: Dht.Options, features?: Features.Features) {
  yield* TestClock.setTime(now * 1000)
  const node = yield* network.node("node", network.socketOf(1), { passive: true, ...options })
  const peer = yield* network.puppet("peer", network.socketOf(2))
  const self = network.contactOf(node)
  let transactions = 0
  /** What it says to a peer, by default to one that shows no features. */
  const askAs = Effect.fnUntraced(function*(peer: network.Puppet, body: Message.Body, features?: Features.Features) {
    const transactionId = (++transactions).toString(16).padStart(40, "0")
    yield* peer.send(self, body, transactionId, features)
    while (true) {
      const { message } = yield* peer.receive
      if (message.transactionId === transactionId) return message.body
      // The node may ask something of its own meanwhile: whether the peer is where it seems to be.
      if (message.body._tag === "Ping") {
        const observed = SocketAddress.encodeObserved(self)
        yield* peer.send(self, { _tag: "Pong", address: peer.address, observed }, message.transactionId, features)
      }
    }
  })
  const ask = (body: Message.Body) => askAs(peer, body, features)
  const findValue = Effect.fnUntraced(function*(target: NodeId.NodeId, recordType: number) {
    const found = yield* ask({ _tag: "FindValue", target, recordType, subscribe: false })
    return found._tag === "FindValueResponse" ? found : assert.fail(found._tag)
  })
  return { node, peer, self, ask, askAs, findValue }
})

const setUp = asking({})

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

/** Offers under one topic, each by an agent of its own. */
const offers = (count: number, from = 0) => Array.from({ length: count }, (_, i) => offer("crowd", `agent ${from + i}`))
const crowd = NodeId.fromTopic("crowd")

const find = (options: Partial<Extract<Message.Body, { readonly _tag: "FindValue" }>> = {}): Message.Body => ({
  _tag: "FindValue",
  target: crowd,
  recordType: 0,
  subscribe: false,
  ...options
})

const later = Features.Bit["v0.2"]
const paging = Features.Bit["v0.2"] | Features.Bit.paging

const isFound = (body: Message.Body) => body._tag === "FindValueResponse" ? body : assert.fail(body._tag)

/** The keys of the map that a body is on the wire. */
const keysOf = (body: Message.Body): ReadonlyArray<number> => {
  const reader = new Cbor.Reader(Message.encodeBody(body))
  const keys: Array<number> = []
  reader.fields((key) => {
    keys.push(key)
    return false
  })
  return keys
}

const stored = (value: boolean): Message.Body => ({
  _tag: "StoreResponse",
  stored: value,
  alreadyHad: false,
  reason: 0
})

describe("Responder", () => {
  for (
    const [name, features, isPaging] of [
      ["without features", undefined, false],
      ["that understands v0.2 alone", Features.Bit["v0.2"], false],
      ["with the bit `paging`", Features.Bit["v0.2"] | Features.Bit.paging, true]
    ] as const
  ) {
    it.effect(`lists what has no room, and says that there is none, ${isPaging ? "" : "not "}to a peer ${name}`, () =>
      Effect.gen(function*() {
        // Room for the twenty records and no other.
        const { ask, findValue, node } = yield* asking({ maxBytes: 48_000 }, features)
        const key = NodeId.fromTopic("crowd")
        for (let i = 0; i < 20; i++) {
          const signer = network.identity(`publisher ${i}`)
          const payload = new Uint8Array(100)
          const record = Record.sign({
            signer,
            address: signer.address,
            type: 0x11,
            payload,
            seq: 1n,
            timestamp: BigInt(now),
            ttl: 600
          })
          yield* Context.get(node, Store).put(key, Result.getOrThrow(record))
        }
        const found = yield* findValue(key, 0)
        const carried = found.records?.length ?? 0
        assert.isAbove(carried, 0)
        assert.isBelow(carried, 20)
        assert.strictEqual(found.listed?.length, isPaging ? 20 - carried : undefined)
        const refused = yield* ask({ _tag: "Store", record: endpoint("stranger"), key: undefined })
        const reason = isPaging ? 3 : features === undefined ? 0 : 1
        assert.deepStrictEqual(refused, { _tag: "StoreResponse", stored: false, alreadyHad: false, reason })
      }).pipe(onNetwork))
  }

  it.effect("answers PING with its address and how it sees the asker", () =>
    Effect.gen(function*() {
      const { ask, peer, self } = yield* setUp
      assert.deepStrictEqual(yield* ask({ _tag: "Ping", address: peer.address }), {
        _tag: "Pong",
        address: self.address,
        observed: SocketAddress.encodeObserved(peer)
      })
    }).pipe(onNetwork))

  it.effect("answers FIND_NODE with verified contacts only", () =>
    Effect.gen(function*() {
      const { ask, node, peer, self } = yield* setUp
      yield* network.introduce(peer, self)
      const named = (name: string) => {
        const { address, nodeId } = network.identity(name)
        return { ...peer, id: nodeId, address }
      }
      const known = named("known")
      yield* network.dht(node).addContact(known)
      network.tableOf(node).add(named("unverified"), undefined, now * 1000, known.id)
      const answer = yield* ask({ _tag: "FindNode", target: NodeId.zero })
      // The requester itself is a contact by now.
      assert.deepStrictEqual(
        answer._tag === "FindNodeResponse" ? answer.nodes?.map(({ id }) => id).toSorted() : answer,
        [peer.id, known.id].toSorted()
      )
    }).pipe(onNetwork))

  it.effect("stores a valid record, and confirms one that it already has", () =>
    Effect.gen(function*() {
      const { ask, node } = yield* setUp
      const record = endpoint("owner")
      assert.deepStrictEqual(yield* ask({ _tag: "Store", record, key: undefined }), stored(true))
      assert.deepStrictEqual(yield* ask({ _tag: "Store", record, key: undefined }), stored(true))
      const held = yield* Context.get(node, Store).getAll(Record.ownKey(record), 0)
      assert.deepStrictEqual(held.map(({ seq }) => seq), [1n])
    }).pipe(onNetwork))

  it.effect("checks the signature of a record once, however often it comes while it is held", () =>
    Effect.gen(function*() {
      const { ask, node } = yield* setUp
      const [record, next] = [endpoint("owner"), endpoint("owner", { seq: 2n })]
      const messages: Array<string> = []
      const verify = crypto.verify
      const spy = vi.spyOn(crypto, "verify").mockImplementation((publicKey, message, signature) => {
        messages.push(Hex.encode(message))
        return verify(publicKey, message, signature)
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => spy.mockRestore()))
      const checks = (record: Record.SignedRecord) => {
        const signed = Hex.encode(Record.signedBytes(record))
        return messages.filter((message) => message === signed).length
      }
      const store = (record: Record.SignedRecord) => ask({ _tag: "Store", record, key: undefined })
      for (let i = 0; i < 3; i++) assert.deepStrictEqual(yield* store(record), stored(true))
      assert.strictEqual(checks(record), 1)
      assert.deepStrictEqual(yield* store(next), stored(true))
      assert.strictEqual(checks(next), 1)
      yield* store(record)
      assert.strictEqual(checks(record), 2)
      yield* Context.get(node, Store).invalidate(Record.ownKey(next), 0)
      yield* store(next)
      assert.strictEqual(checks(next), 2)
    }).pipe(onNetwork))

  it.effect("does not store a record that is wrongly signed, expired, at a foreign key, or another address's", () =>
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

  it.effect("answers FIND_VALUE with the records of the type, and the newest endpoint for v0.1 readers", () =>
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

  it.effect("answers with a record that leaves no room for the copy for v0.1 readers", () =>
    Effect.gen(function*() {
      const { ask, findValue } = yield* setUp
      const record = endpoint("owner", { size: 700 })
      yield* ask({ _tag: "Store", record, key: undefined })
      const found = yield* findValue(Record.ownKey(record), 0)
      assert.deepStrictEqual(found.records?.map(({ bytes }) => bytes), [record.bytes])
      assert.isUndefined(found.record)
    }).pipe(onNetwork))

  it.effect("echoes a NAT probe to the claimed address of the requester, three times in ten seconds", () =>
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

  it.effect("sends no echo to another IP than the requester's", () =>
    Effect.gen(function*() {
      const { peer, self } = yield* setUp
      const victim = yield* network.puppet("victim", network.socketOf(3))
      const claimed = SocketAddress.encodeObserved(victim)
      yield* peer.send(self, { _tag: "NatProbe", token: new Uint8Array(8), claimed }, "00".repeat(20))
      yield* victim.send(self, { _tag: "Ping", address: victim.address }, "01".repeat(20))
      assert.strictEqual((yield* victim.receive).message.body._tag, "Pong")
    }).pipe(onNetwork))
})

describe("a NAT probe that another peer is to echo", () => {
  const token = new Uint8Array(8).fill(7)
  const bits = Features.Bit.dialBack
  const probe = (claimed: SocketAddress.SocketAddress, relay: number): Message.Body => ({
    _tag: "NatProbe",
    token,
    claimed: SocketAddress.encodeObserved(claimed),
    relay
  })

  /** The next message of a kind. */
  const next = Effect.fnUntraced(function*(puppet: network.Puppet, tag: Message.Body["_tag"]) {
    while (true) {
      const got = yield* puppet.receive
      if (got.message.body._tag === tag) return got
    }
  })

  it.effect("is passed on to a peer of another network, and confirmed with its address once that peer has sent its echoes", () =>
    Effect.gen(function*() {
      const { peer, self } = yield* setUp
      const neighbour = yield* network.puppet("neighbour", { ...network.socketOf(2), port: 5001 })
      const helper = yield* network.puppet("helper", network.socketOf(3))
      for (const puppet of [neighbour, helper]) {
        yield* puppet.send(self, { _tag: "Ping", address: puppet.address }, "01".repeat(20), bits)
      }
      yield* settled
      yield* peer.send(self, probe(peer, Message.relay.wanted), "00".repeat(20), bits)
      const { from, message: { body } } = yield* next(helper, "NatProbe")
      assert.deepStrictEqual(body, probe(peer, Message.relay.passedOn))
      yield* helper.send(from, { _tag: "NatProbeEcho", token }, "02".repeat(20), bits)
      const confirmation = yield* next(peer, "NatProbeEcho")
      assert.strictEqual(confirmation.from.host, self.host)
      const sender = SocketAddress.encodeObserved(helper)
      assert.deepStrictEqual(confirmation.message.body, { _tag: "NatProbeEcho", token, reached: undefined, sender })
    }).pipe(onNetwork))

  it.effect("is passed on to another peer the next time, until each was asked", () =>
    Effect.gen(function*() {
      const { peer, self } = yield* setUp
      const helpers: Array<network.Puppet> = []
      for (const n of [3, 4, 5]) helpers.push(yield* network.puppet(`helper ${n}`, network.socketOf(n)))
      const asked: Array<number> = []
      for (const [n, helper] of helpers.entries()) {
        yield* helper.send(self, { _tag: "Ping", address: helper.address }, "01".repeat(20), bits)
        yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
          const { from } = yield* next(helper, "NatProbe")
          asked.push(n)
          yield* helper.send(from, { _tag: "NatProbeEcho", token }, "02".repeat(20), bits)
        })))
      }
      yield* settled
      for (let round = 0; round < 6; round++) {
        yield* peer.send(self, probe(peer, Message.relay.wanted), `0${round}`.repeat(20), bits)
        yield* next(peer, "NatProbeEcho")
      }
      for (const round of [asked.slice(0, 3), asked.slice(3)]) assert.sameMembers(round, [0, 1, 2])
    }).pipe(onNetwork))

  it.effect("is not passed on to a peer of the other address family, which could send nothing", () =>
    Effect.gen(function*() {
      const { peer, self } = yield* setUp
      const helper = yield* network.puppet("helper", { host: "2400:3::1", port: 4121 })
      yield* helper.send(self, { _tag: "Ping", address: helper.address }, "01".repeat(20), bits)
      yield* settled
      yield* peer.send(self, probe(peer, Message.relay.wanted), "00".repeat(20), bits)
      const { message: { body } } = yield* next(peer, "NatProbeEcho")
      assert.deepStrictEqual(body, { _tag: "NatProbeEcho", token, reached: false, sender: undefined })
    }).pipe(onNetwork))

  it.effect("is not confirmed if no peer sends an echo, which the requester is told", () =>
    Effect.gen(function*() {
      const { peer, self } = yield* setUp
      const helper = yield* network.puppet("helper", network.socketOf(3))
      yield* helper.send(self, { _tag: "Ping", address: helper.address }, "01".repeat(20), bits)
      yield* settled
      yield* peer.send(self, probe(peer, Message.relay.wanted), "00".repeat(20), bits)
      yield* next(helper, "NatProbe")
      const told = yield* Effect.forkScoped(next(peer, "NatProbeEcho"))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual((yield* Fiber.join(told)).message.body, {
        _tag: "NatProbeEcho",
        token,
        reached: false,
        sender: undefined
      })
    }).pipe(onNetwork))

  it.effect("is echoed three times to the claimed address and once to the contact that passed it on", () =>
    Effect.gen(function*() {
      const { node, peer, self } = yield* setUp
      const requester = yield* network.puppet("requester", network.socketOf(3))
      yield* Effect.forkScoped(network.dht(node).ping(peer), { startImmediately: true })
      yield* peer.answer(
        () => ({ _tag: "Pong", address: peer.address, observed: SocketAddress.encodeObserved(self) }),
        bits
      )
      yield* settled
      yield* peer.send(self, probe(requester, Message.relay.passedOn), "00".repeat(20), bits)
      yield* next(peer, "NatProbeEcho")
      yield* next(requester, "NatProbeEcho")
      yield* TestClock.adjust("1 second")
      yield* next(requester, "NatProbeEcho")
      yield* next(requester, "NatProbeEcho")
    }).pipe(onNetwork))

  it.effect("is refused while so many echoes are to be repeated that its own could not be", () =>
    Effect.gen(function*() {
      const { node, peer, self } = yield* setUp
      const second = yield* network.puppet("second", network.socketOf(60))
      for (const puppet of [peer, second]) {
        yield* Effect.forkScoped(network.dht(node).ping(puppet), { startImmediately: true })
        yield* puppet.answer(
          () => ({ _tag: "Pong", address: puppet.address, observed: SocketAddress.encodeObserved(self) }),
          bits
        )
        yield* settled
      }
      for (const [i, puppet] of [peer, second].entries()) {
        for (let n = 0; n < 20; n++) {
          const claimed = network.socketOf(100 + 20 * i + n)
          const transaction = (1 + 20 * i + n).toString(16).padStart(40, "0")
          yield* puppet.send(self, probe(claimed, Message.relay.passedOn), transaction, bits)
        }
      }
      yield* settled
      const replies: Array<Message.Body> = []
      while (replies.length < 20) replies.push((yield* next(second, "NatProbeEcho")).message.body)
      const sent: Message.Body = { _tag: "NatProbeEcho", token }
      assert.deepStrictEqual(replies.slice(0, 12), Array.from({ length: 12 }, () => sent))
      assert.isTrue(replies.some((body) => body._tag === "NatProbeEcho" && body.reached === false))
    }).pipe(onNetwork))

  it.effect("asks for a ping to a third peer, and is told whether that answered, but not if it was heard from before", () =>
    Effect.gen(function*() {
      const { node, peer, self } = yield* setUp
      const [third, known] = [
        yield* network.puppet("third", network.socketOf(3)),
        yield* network.puppet("known", network.socketOf(4))
      ]
      yield* Effect.forkScoped(network.dht(node).ping(peer), { startImmediately: true })
      yield* peer.answer(
        () => ({ _tag: "Pong", address: peer.address, observed: SocketAddress.encodeObserved(self) }),
        bits
      )
      yield* known.send(self, { _tag: "Ping", address: known.address }, "01".repeat(20))
      yield* settled
      const told = Effect.map(next(peer, "NatProbeEcho"), ({ message: { body } }) => body)
      yield* peer.send(self, probe(third, Message.relay.ping), "02".repeat(20), bits)
      yield* third.answer(() => ({
        _tag: "Pong",
        address: third.address,
        observed: SocketAddress.encodeObserved(self)
      }))
      assert.deepStrictEqual(yield* told, { _tag: "NatProbeEcho", token, reached: true, sender: undefined })
      yield* peer.send(self, probe(known, Message.relay.ping), "03".repeat(20), bits)
      assert.deepStrictEqual(yield* told, { _tag: "NatProbeEcho", token })
    }).pipe(onNetwork))

  it.effect("is ignored if a stranger passed it on, or if it claims another IP than the requester's", () =>
    Effect.gen(function*() {
      const { peer, self } = yield* setUp
      const victim = yield* network.puppet("victim", network.socketOf(3))
      yield* peer.send(self, probe(victim, Message.relay.passedOn), "00".repeat(20), bits)
      yield* peer.send(self, probe(victim, Message.relay.wanted), "00".repeat(20), bits)
      yield* TestClock.adjust("1 second")
      yield* victim.send(self, { _tag: "Ping", address: victim.address }, "01".repeat(20))
      assert.strictEqual((yield* victim.receive).message.body._tag, "Pong")
    }).pipe(onNetwork))
})

describe("a flood of STOREs with forged delegations of wallets", () => {
  /** Sends STOREs and answers no PING. Returns how many responses come. */
  const flood = Effect.fnUntraced(function*(peer: network.Puppet, self: Contact, count: number) {
    let responses = 0
    yield* Effect.forkScoped(
      Effect.forever(Effect.map(peer.receive, ({ message }) => {
        if (message.body._tag === "StoreResponse") responses++
      }))
    )
    for (let i = 1; i <= count; i++) {
      const record = byWallet({ seq: 1n, forgery: i })
      yield* peer.send(self, { _tag: "Store", record, key: undefined }, i.toString(16).padStart(40, "0"))
    }
    yield* settled
    return () => responses
  })

  it.effect("is answered as far as the allowance goes, and the rest waits for its sender to repeat it", () =>
    Effect.gen(function*() {
      const { node, peer, self } = yield* setUp
      const responses = yield* flood(peer, self, 100)
      assert.strictEqual(responses(), 16)
      assert.strictEqual(yield* Context.get(node, Store).size, 0)
    }).pipe(onNetwork))

  it.effect("keeps no publisher with a wallet from storing that answers at its address", () =>
    Effect.gen(function*() {
      const { askAs, node, peer, self } = yield* setUp
      yield* flood(peer, self, 60)
      const publisher = yield* network.puppet("publisher", network.socketOf(90))
      const record = byWallet({ seq: 1n, forgery: 0 })
      const response = yield* askAs(publisher, { _tag: "Store", record, key: undefined })
      assert.deepStrictEqual(response, stored(true))
      assert.strictEqual(yield* Context.get(node, Store).size, 1)
    }).pipe(onNetwork))

  it.effect("costs one check and is refused whole if it is always the same delegation", () =>
    Effect.gen(function*() {
      const { ask } = yield* setUp
      for (let seq = 1n; seq <= 40n; seq++) {
        const record = byWallet({ seq, forgery: 1 })
        assert.deepStrictEqual(yield* ask({ _tag: "Store", record, key: undefined }), stored(false))
      }
    }).pipe(onNetwork))
})

describe("a key with more records than fit an answer", () => {
  const crowded = Effect.gen(function*() {
    const world = yield* setUp
    const records = offers(60)
    for (const record of records) yield* Context.get(world.node, Store).put(crowd, record)
    return { ...world, records }
  })

  it.effect("is listed whole for a peer that shows that it reads lists", () =>
    Effect.gen(function*() {
      const { askAs, peer, records } = yield* crowded
      const { listed = [], records: carried = [] } = isFound(yield* askAs(peer, find(), paging))
      assert.isNotEmpty(carried)
      assert.sameMembers([...listed, ...carried.map(Message.digest)], records.map(Message.digest))
    }).pipe(onNetwork))

  it.effect("is told to other peers in turns, in answers that have no key that the reference does not know", () =>
    Effect.gen(function*() {
      const { askAs, peer, records } = yield* crowded
      const seen = new Set<string>()
      for (const features of [0, later]) {
        for (let i = 0; i < 10; i++) {
          const answer = yield* askAs(peer, find(), features)
          assert.isUndefined(isFound(answer).listed)
          assert.includeMembers([1, 2, 3, 4], [...keysOf(answer)])
          for (const { signature } of isFound(answer).records ?? []) seen.add(signature.join())
        }
      }
      assert.strictEqual(seen.size, records.length)
    }).pipe(onNetwork))

  it.effect("is listed no longer once a peer shows that it does not read lists any more", () =>
    Effect.gen(function*() {
      const { askAs, peer } = yield* crowded
      assert.isDefined(isFound(yield* askAs(peer, find(), paging)).listed)
      assert.isUndefined(isFound(yield* askAs(peer, find(), 0)).listed)
    }).pipe(onNetwork))

  it.effect("is asked for some records by their digests, or for those of one publisher", () =>
    Effect.gen(function*() {
      const { askAs, peer, records } = yield* crowded
      const [first, second, third] = records
      const answered = Effect.fnUntraced(function*(options: Parameters<typeof find>[0]) {
        const { listed, nodes, records = [] } = isFound(yield* askAs(peer, find(options), paging))
        assert.deepStrictEqual([nodes, listed], [null, undefined])
        return records.map(({ address }) => address)
      })
      const wanted = [second, third].map(Message.digest)
      assert.sameMembers(yield* answered({ wanted }), [second.address, third.address])
      assert.deepStrictEqual(yield* answered({ publisher: first.address }), [first.address])
      assert.deepStrictEqual(yield* answered({ publisher: first.address, wanted }), [])
      assert.deepStrictEqual(yield* answered({ wanted: ["00".repeat(6)] }), [])
    }).pipe(onNetwork))
})

describe("a record that has to compete for room", () => {
  /** A node with so many offers of as many networks under the topic. */
  const holding = Effect.fnUntraced(function*(count: number) {
    const world = yield* setUp
    const store = Context.get(world.node, Store)
    for (const [i, record] of offers(count, 1000).entries()) {
      assert.strictEqual(store.admitUnsafe(crowd, record, now, `network ${i}`)._tag, "Stored")
    }
    const heldOf = (names: ReadonlyArray<string>) =>
      Effect.map(store.getAll(crowd, 0), (held) => {
        const addresses = new Set(names.map((name) => network.identity(name).address))
        return held.filter(({ address }) => addresses.has(address)).length
      })
    return { ...world, store, heldOf }
  })

  it.effect("is not taken before its sender has answered from where it sent it", () =>
    Effect.gen(function*() {
      const { peer, self, store } = yield* holding(60)
      const record = offer("crowd", "late")
      yield* peer.send(self, { _tag: "Store", record, key: crowd }, "01".repeat(20), paging)
      // It may be asked for other reasons as well.
      const asked = yield* peer.receive
      assert.strictEqual(asked.message.body._tag, "Ping")
      assert.strictEqual((yield* store.getAll(crowd, 0)).length, 60)
      yield* peer.send(self, {
        _tag: "Pong",
        address: peer.address,
        observed: SocketAddress.encodeObserved(asked.from)
      }, asked.message.transactionId)
      const { body, transactionId } = (yield* peer.receive).message
      assert.deepStrictEqual([body, transactionId], [stored(true), "01".repeat(20)])
      assert.strictEqual((yield* store.getAll(crowd, 0)).length, 61)
    }).pipe(onNetwork))

  it.effect("is taken at once where there is room for many", () =>
    Effect.gen(function*() {
      const { ask } = yield* holding(10)
      assert.deepStrictEqual(yield* ask({ _tag: "Store", record: offer("crowd", "late"), key: crowd }), stored(true))
    }).pipe(onNetwork))

  it.effect("shares one network's allowance with all others whose senders did not show where they are", () =>
    Effect.gen(function*() {
      const { heldOf, self, store } = yield* holding(60)
      const names = Array.from({ length: 60 }, (_, i) => `forged ${i}`)
      // Each from an address of its own, where no node answers.
      for (const [i, name] of names.entries()) {
        const forger = yield* network.puppet(name, network.socketOf(1000 + i))
        yield* forger.send(self, { _tag: "Store", record: offer("crowd", name), key: crowd }, "01".repeat(20))
      }
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* store.getAll(crowd, 0)).length, 100)
      assert.strictEqual(yield* heldOf(names), 40)
      const honest = offers(30, 2000)
      for (const [i, record] of honest.entries()) {
        assert.strictEqual(store.admitUnsafe(crowd, record, now, `honest ${i}`)._tag, "Stored")
      }
      assert.strictEqual(yield* heldOf(names), 10)
    }).pipe(onNetwork))

  it.effect("that has no room is refused with a reason that its sender knows", () =>
    Effect.gen(function*() {
      const { askAs, node } = yield* setUp
      for (const record of offers(100)) yield* Context.get(node, Store).put(crowd, record)
      const reasons = [[paging, 3], [later, 1], [0, 0]] as const
      for (const [i, [features, reason]] of reasons.entries()) {
        const sender = yield* network.puppet(`sender ${i}`, network.socketOf(100 + i))
        const asking = yield* Effect.forkChild(
          askAs(sender, { _tag: "Store", record: offer("crowd", `late ${i}`), key: crowd }, features),
          { startImmediately: true }
        )
        // It answers nothing else, and is not believed to be where it is.
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual(yield* Fiber.join(asking), {
          _tag: "StoreResponse",
          stored: false,
          alreadyHad: false,
          reason
        })
      }
    }).pipe(onNetwork))
})
