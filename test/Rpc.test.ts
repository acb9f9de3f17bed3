import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import { Crypto } from "../src/Crypto.ts"
import * as Identity from "../src/Identity.ts"
import * as Message from "../src/Message.ts"
import * as NodeEvents from "../src/NodeEvents.ts"
import * as NodeId from "../src/NodeId.ts"
import * as NodeSettings from "../src/NodeSettings.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Persistence from "../src/Persistence.ts"
import * as Reachability from "../src/Reachability.ts"
import type { SignedRecord } from "../src/Record.ts"
import * as Request from "../src/Request.ts"
import * as Rpc from "../src/Rpc.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import * as Timers from "../src/Timers.ts"
import { layerMemory, layerMemoryNetwork, MemoryNetwork } from "../src/Transport.ts"
import * as Verifier from "../src/Verifier.ts"
import * as arbitraries from "./utils/arbitraries.ts"
import * as network from "./utils/network.ts"
import { settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)

/** A real node, and a puppet to talk to. */
const setUp = Effect.gen(function*() {
  const node = yield* network.node("node", network.socketOf(1), { passive: true })
  const peer = yield* network.puppet("peer", network.socketOf(2))
  const rpc = Context.get(node, Rpc.Rpc)
  return { node, peer, rpc, self: network.contactOf(node) }
})

/** An `Rpc` with nothing above it. */
const bareWith = Effect.fnUntraced(function*(verifier: Layer.Layer<Verifier.Verifier, never, Crypto>) {
  const services = yield* Layer.build(
    Layer.fresh(Rpc.layer).pipe(
      Layer.provide([NodeEvents.layer, NodeSettings.layer(), PeerHealth.layer(), Reachability.layer(), Timers.layer]),
      Layer.provide(Persistence.layerNone),
      Layer.provide([layerMemory(network.socketOf(1)), Identity.layer(network.identity("node"))]),
      Layer.provide([verifier, network.layerRandom("node")]),
      Layer.provide(Layer.succeed(Crypto, arbitraries.crypto))
    )
  )
  return { rpc: Context.get(services, Rpc.Rpc), self: network.socketOf(1) }
})

/** An `Rpc` with nothing above it, and a puppet to talk to. */
const bare = Effect.gen(function*() {
  const peer = yield* network.puppet("peer", network.socketOf(2))
  return { peer, ...(yield* bareWith(Verifier.layer)) }
})

const ping = (self: { readonly address: Message.Message["sender"] }) =>
  ({ _tag: "Ping", address: self.address }) as const

const signer = network.identity("signer")

const request = (transaction = 0, key = signer) =>
  Message.encode(ping(key), { signer: key, transactionId: transaction.toString(16).padStart(40, "0") })

/** A request whose signature is bad. */
const forged = (key = signer) => {
  const bytes = request(0, key).slice()
  bytes[bytes.length - 1] ^= 1
  return bytes
}

const pong = (peer: network.Puppet): Message.Body => ({
  _tag: "Pong",
  address: peer.address,
  observed: SocketAddress.encodeObserved({ host: "198.51.100.1", port: 99 })
})
const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

describe("Rpc", () => {
  it("returns the records of a response from the fields of either version, each once", () => {
    const [a, b] = fc.sample(arbitraries.record, 2)
    const answer = { _tag: "FindValueResponse", nodes: null, observed: undefined } as const
    const of = (record: SignedRecord | undefined, records: ReadonlyArray<SignedRecord> | undefined) =>
      Request.recordsOf({ ...answer, record, records })
    assert.deepStrictEqual(of(undefined, undefined), [])
    assert.deepStrictEqual(of(a, undefined), [a])
    assert.deepStrictEqual(of(a, []), [a])
    assert.deepStrictEqual(of(a, [a]), [a])
    assert.deepStrictEqual(of(a, [b]), [b, a])
  })

  describe("asking", () => {
    it.effect("succeeds with the response, its sender and the round-trip time", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const asked = yield* start(rpc.request(peer, ping(self)))
        const question = yield* peer.receive
        yield* TestClock.adjust(30)
        yield* peer.send(self, pong(peer), question.message.transactionId)
        const { body, from, rtt } = yield* Fiber.join(asked)
        assert.strictEqual(body._tag, "Pong")
        assert.deepStrictEqual(from, { id: peer.id, address: peer.address, host: peer.host, port: peer.port })
        assert.strictEqual(rtt, 30)
      }).pipe(onNetwork))

    it.effect("repeats an unanswered request under a fresh transaction id, up to three times", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const asked = yield* start(Effect.flip(rpc.request(peer, ping(self))))
        const transactions = new Set<string>()
        for (let attempt = 0; attempt < 3; attempt++) {
          transactions.add((yield* peer.receive).message.transactionId)
          yield* TestClock.adjust("5 seconds")
        }
        const error = yield* Fiber.join(asked)
        assert.strictEqual(transactions.size, 3)
        assert.strictEqual(error._tag, "NoAnswer")
        assert.strictEqual(yield* rpc.pending, 0)
      }).pipe(onNetwork))

    it.effect("gives up at its deadline, and reports how long it waited", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const asked = yield* start(Effect.flip(rpc.request(peer, ping(self), { deadline: "2 seconds" })))
        yield* TestClock.adjust("1999 millis")
        assert.isUndefined(asked.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        const error = yield* Fiber.join(asked)
        assert.match(error.message, /^9\.0\.2\.1:4121 did not answer Ping \(\d attempts in 2000 ms\)$/)
      }).pipe(onNetwork))

    it.effect("gives a peer that pings us before it responds another round trip, and measures one", () =>
      Effect.gen(function*() {
        const { node, peer, rpc, self } = yield* setUp
        let challenges = 0
        const asked = yield* start(rpc.request(peer, { _tag: "FindNode", target: NodeId.zero }, {
          attempts: 1,
          deadline: 2000,
          failFast: true,
          onChallenge: () => challenges++
        }))
        const { transactionId } = (yield* peer.receive).message
        yield* TestClock.adjust(300)
        for (const id of ["00", "01"]) {
          yield* peer.send(self, ping(peer), id.repeat(20))
          yield* peer.receive
        }
        // Its only attempt would have failed after 400.
        yield* TestClock.adjust(600)
        yield* peer.send(self, { _tag: "FindNodeResponse", nodes: null, observed: undefined }, transactionId)
        yield* Fiber.join(asked)
        assert.strictEqual(challenges, 1)
        assert.deepStrictEqual(
          yield* Context.get(node, PeerHealth.PeerHealth).rtt(peer.id),
          Option.some(Duration.millis(600))
        )
      }).pipe(onNetwork))

    it.effect("measures at least half of the wait if a ping comes just before the response, as for another request", () =>
      Effect.gen(function*() {
        const { node, peer, rpc, self } = yield* setUp
        const asked = yield* start(rpc.request(peer, ping(self)))
        const { transactionId } = (yield* peer.receive).message
        yield* TestClock.adjust(300)
        yield* peer.send(self, ping(peer), "00".repeat(20))
        yield* peer.receive
        yield* peer.send(self, pong(peer), transactionId)
        assert.strictEqual((yield* Fiber.join(asked)).rtt, 300)
        assert.deepStrictEqual(
          yield* Context.get(node, PeerHealth.PeerHealth).rtt(peer.id),
          Option.some(Duration.millis(150))
        )
      }).pipe(onNetwork))

    it.effect("counts a response to a request that has failed: the peer is alive, and gets the time that it took", () =>
      Effect.gen(function*() {
        const { node, peer, rpc, self } = yield* setUp
        const health = Context.get(node, PeerHealth.PeerHealth)
        const transactions: Array<string> = []
        for (let i = 0; i < 2; i++) {
          const asked = yield* start(
            Effect.flip(rpc.request(peer, ping(self), { attempts: 1, deadline: 2000, failFast: true }))
          )
          transactions.push((yield* peer.receive).message.transactionId)
          yield* TestClock.adjust(1000)
          assert.strictEqual((yield* Fiber.join(asked))._tag, "NoAnswer")
        }
        assert.strictEqual(yield* health.state(peer.id), "bad")
        yield* peer.send(self, pong(peer), transactions[1])
        yield* TestClock.adjust(0)
        assert.strictEqual(yield* health.state(peer.id), "good")
        assert.isTrue(health.allowContactUnsafe(peer.id, network.now * 1000))
        assert.isTrue(network.tableOf(node).contains(peer.id))
        assert.strictEqual(health.timeoutUnsafe(peer.id, network.now * 1000), 3000)
        // It counts once, and was no answer to the caller.
        yield* peer.send(self, pong(peer), transactions[1])
        yield* TestClock.adjust(0)
        const { completed, refusedBy } = yield* rpc.traffic
        assert.strictEqual(completed, 0)
        assert.strictEqual(refusedBy.late, 1)
      }).pipe(onNetwork))

    it.effect("counts no response later than ten seconds after the failure", () =>
      Effect.gen(function*() {
        const { node, peer, rpc, self } = yield* setUp
        const asked = yield* start(Effect.flip(rpc.request(peer, ping(self), { attempts: 1, deadline: 1000 })))
        const { transactionId } = (yield* peer.receive).message
        yield* TestClock.adjust("11 seconds")
        yield* Fiber.join(asked)
        yield* peer.send(self, pong(peer), transactionId)
        yield* TestClock.adjust(0)
        assert.strictEqual((yield* rpc.traffic).refused, 1)
        assert.strictEqual(yield* Context.get(node, PeerHealth.PeerHealth).state(peer.id), "unknown")
      }).pipe(onNetwork))

    it.effect("remembers the last 256 failed requests", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const transactions: Array<string> = []
        for (let i = 0; i < 257; i++) {
          const asked = yield* start(Effect.flip(rpc.request(peer, ping(self), { attempts: 1, deadline: 1 })))
          transactions.push((yield* peer.receive).message.transactionId)
          yield* TestClock.adjust(1)
          yield* Fiber.join(asked)
        }
        for (const transaction of transactions.slice(0, 2)) yield* peer.send(self, pong(peer), transaction)
        yield* TestClock.adjust(0)
        const { received, refused } = yield* rpc.traffic
        assert.deepStrictEqual({ received, refused }, { received: 1, refused: 1 })
      }).pipe(onNetwork))

    it.effect("gives a peer no more time because another one at its address pings us", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const asked = yield* start(Effect.flip(rpc.request(
          { ...peer, id: NodeId.zero },
          ping(self),
          { attempts: 1, deadline: 2000, failFast: true }
        )))
        yield* peer.receive
        yield* TestClock.adjust(300)
        yield* peer.send(self, ping(peer), "00".repeat(20))
        yield* peer.receive
        yield* TestClock.adjust(200)
        assert.isDefined(asked.pollUnsafe())
      }).pipe(onNetwork))

    it.effect("accepts a late response to an earlier attempt", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const asked = yield* start(rpc.request(peer, ping(self)))
        const first = yield* peer.receive
        yield* TestClock.adjust("2 seconds")
        yield* peer.receive
        yield* peer.send(self, pong(peer), first.message.transactionId)
        const { from, rtt } = yield* Fiber.join(asked)
        assert.strictEqual(from.id, peer.id)
        assert.strictEqual(rtt, 2000)
        assert.strictEqual(yield* rpc.pending, 0)
      }).pipe(onNetwork))

    it.effect("accepts a response of the expected id from any address", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const moved = yield* network.puppet("peer", network.socketOf(3))
        const asked = yield* start(rpc.request(peer, ping(self)))
        const { message } = yield* peer.receive
        yield* moved.send(self, pong(peer), message.transactionId)
        assert.strictEqual((yield* Fiber.join(asked)).from.host, moved.host)
      }).pipe(onNetwork))

    it.effect("refuses a response of another id if the id is known, even from the right address", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const stranger = network.identity("stranger")
        const asked = yield* start(Effect.flip(rpc.request({ ...peer, id: stranger.nodeId }, ping(self))))
        const { message } = yield* peer.receive
        yield* peer.send(self, pong(peer), message.transactionId)
        yield* TestClock.adjust("15 seconds")
        assert.strictEqual((yield* Fiber.join(asked))._tag, "NoAnswer")
        assert.strictEqual((yield* rpc.traffic).refused, 1)
      }).pipe(onNetwork))

    it.effect("refuses a response from another address if only the address is known", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const other = yield* network.puppet("other", network.socketOf(3))
        const { host, port } = peer
        const asked = yield* start(Effect.flip(rpc.request({ host, port }, ping(self))))
        const { message } = yield* peer.receive
        yield* other.send(self, pong(other), message.transactionId)
        yield* TestClock.adjust("15 seconds")
        assert.strictEqual((yield* Fiber.join(asked))._tag, "NoAnswer")
      }).pipe(onNetwork))

    it.effect("refuses a response of another type", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const asked = yield* start(Effect.flip(rpc.request(peer, ping(self))))
        const { message } = yield* peer.receive
        const stored: Message.Body = { _tag: "StoreResponse", stored: true, alreadyHad: false, reason: 0 }
        yield* peer.send(self, stored, message.transactionId)
        yield* TestClock.adjust("15 seconds")
        assert.strictEqual((yield* Fiber.join(asked))._tag, "NoAnswer")
      }).pipe(onNetwork))

    it.effect("counts a repeated request once", () =>
      Effect.gen(function*() {
        const node = yield* network.node("node", network.socketOf(1))
        const peer = yield* network.puppet("peer", network.socketOf(60))
        yield* Effect.forkChild(network.dht(node).ping(peer), { startImmediately: true })
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual(yield* Context.get(node, Rpc.Rpc).pending, 1)
      }).pipe(onNetwork))

    it.effect("leaves nothing behind when it is interrupted", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const asked = yield* start(rpc.request(peer, ping(self)))
        yield* peer.receive
        assert.strictEqual(yield* rpc.pending, 1)
        yield* Fiber.interrupt(asked)
        assert.strictEqual(yield* rpc.pending, 0)
      }).pipe(onNetwork))

    it.effect("fails at once if the network cannot send", () =>
      Effect.gen(function*() {
        const { rpc, self } = yield* setUp
        const error = yield* Effect.flip(rpc.request(network.socketOf(9), ping(self)))
        assert.strictEqual(error._tag, "UnknownPeer")
        assert.strictEqual(yield* rpc.pending, 0)
      }).pipe(onNetwork))

    it.effect("updates the health of the peer: a success clears it, a failed request counts once", () =>
      Effect.gen(function*() {
        const { node, peer, rpc, self } = yield* setUp
        const health = Context.get(node, PeerHealth.PeerHealth)
        for (const expected of ["unknown", "bad"] as const) {
          const asked = yield* start(Effect.flip(rpc.request(peer, ping(self))))
          yield* TestClock.adjust("15 seconds")
          yield* Fiber.join(asked)
          assert.strictEqual(yield* health.state(peer.id), expected)
        }
        const asked = yield* start(rpc.request(peer, ping(self)))
        // The unanswered attempts are still in the inbox.
        for (let i = 0; i < 6; i++) yield* peer.receive
        yield* peer.answer(() => pong(peer))
        yield* Fiber.join(asked)
        assert.strictEqual(yield* health.state(peer.id), "good")
      }).pipe(onNetwork))

    it.effect("reports how peers see us", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const observation = yield* start(Stream.runHead(rpc.observations))
        const asked = yield* start(rpc.request(peer, ping(self)))
        yield* peer.answer(() => pong(peer))
        yield* Fiber.join(asked)
        const seen = yield* Fiber.join(observation)
        assert.deepStrictEqual(seen._tag === "Some" ? seen.value.address : undefined, {
          host: "198.51.100.1",
          port: 99
        })
      }).pipe(onNetwork))
  })

  describe("receiving", () => {
    /** The refused datagrams and the reasons. */
    const refusedBy = (rpc: Rpc.Rpc["Service"]) =>
      Effect.map(rpc.traffic, ({ refused, refusedBy }) => {
        const counts = Object.entries(refusedBy).filter(([, count]) => count > 0)
        assert.strictEqual(refused, counts.reduce((sum, [, count]) => sum + count, 0))
        return Object.fromEntries(counts)
      })

    it.effect("drops unawaited responses before the signature check", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        yield* peer.send(self, pong(peer), "00".repeat(20))
        yield* TestClock.adjust(1)
        const { received, refused } = yield* rpc.traffic
        assert.deepStrictEqual({ received, refused }, { received: 0, refused: 1 })
      }).pipe(onNetwork))

    it.effect("reads no more than the header of an unawaited response", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const raw = yield* MemoryNetwork.use((memory) => memory.join(network.socketOf(3)))
        const encoded = Message.encode(pong(peer), { signer: peer.identity, transactionId: "00".repeat(20) })
        const frame = Message.frame(encoded)
        if (typeof frame === "string") return assert.fail(frame)
        // Anything after the header would be malformed.
        yield* raw.send(encoded.slice(0, frame.headerEnd), self)
        yield* raw.send(encoded.slice().fill(0xff, frame.headerEnd), self)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* refusedBy(rpc), { unawaited: 2 })
      }).pipe(onNetwork))

    it.effect("drops datagrams that are not messages, and continues", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const raw = yield* MemoryNetwork.use((memory) => memory.join(network.socketOf(3)))
        for (const bytes of [[], [0xa4], [0x00], Array.from({ length: 1200 }, () => 0x81)]) {
          yield* raw.send(Uint8Array.from(bytes), self)
        }
        yield* peer.send(self, ping(peer), "00".repeat(20))
        assert.strictEqual((yield* peer.receive).message.body._tag, "Pong")
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* rpc.traffic).refused, 4)
      }).pipe(onNetwork))

    it.effect("distinguishes a late or repeated response from an unawaited one", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const asked = yield* start(rpc.request(peer, ping(self)))
        const first = (yield* peer.receive).message
        yield* peer.send(self, pong(peer), first.transactionId)
        yield* Fiber.join(asked)
        yield* peer.send(self, pong(peer), first.transactionId)
        const given = yield* start(rpc.request(peer, ping(self)))
        const second = (yield* peer.receive).message
        yield* Fiber.interrupt(given)
        yield* peer.send(self, pong(peer), second.transactionId)
        for (const id of ["00".repeat(20), "ff".repeat(20)]) yield* peer.send(self, pong(peer), id)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* refusedBy(rpc), { late: 2, unawaited: 2 })
      }).pipe(onNetwork))

    it.effect("counts a response as late for the last 1024 attempts", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const ids: Array<string> = []
        for (let i = 0; i < 1025; i++) {
          const asked = yield* start(rpc.request(peer, ping(self)))
          ids.push((yield* peer.receive).message.transactionId)
          yield* Fiber.interrupt(asked)
        }
        for (const id of [ids[0], ids[1], ids[1024]]) yield* peer.send(self, pong(peer), id)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* refusedBy(rpc), { late: 2, unawaited: 1 })
      }).pipe(onNetwork))

    it.effect("counts refused datagrams by reason", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const raw = yield* MemoryNetwork.use((memory) => memory.join(network.socketOf(3)))
        const encoded = (body: Message.Body) =>
          Message.encode(body, { signer: peer.identity, transactionId: "00".repeat(20) }).slice()
        const unknown = encoded(ping(peer))
        unknown[8] = 0x17
        const forged = encoded(ping(peer))
        forged[forged.length - 1] ^= 1
        const lying = encoded({ _tag: "Ping", address: self.address })
        for (const bytes of [Uint8Array.of(0xa4), lying, unknown, forged]) yield* raw.send(bytes, self)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* refusedBy(rpc), { malformed: 2, unknown_type: 1, bad_signature: 1 })
      }).pipe(onNetwork))

    it.effect("counts datagrams that find the inbox full as overload", () =>
      Effect.gen(function*() {
        const { rpc, self } = yield* setUp
        const raw = yield* MemoryNetwork.use((memory) => memory.join(network.socketOf(3)))
        for (let i = 0; i < 300; i++) raw.sendUnsafe(forged(), self)
        yield* settled
        const { bad_signature, overload } = yield* refusedBy(rpc)
        assert.isAbove(overload, 0)
        assert.strictEqual(bad_signature + overload, 300)
      }).pipe(onNetwork))

    it.effect("serves an honest peer before the rest of another peer's flood", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* setUp
        const flood = yield* MemoryNetwork.use((memory) => memory.join(network.socketOf(3)))
        for (let i = 0; i < 200; i++) yield* flood.send(forged(), self)
        yield* peer.send(self, ping(peer), "00".repeat(20))
        assert.strictEqual((yield* peer.receive).message.body._tag, "Pong")
        assert.isBelow((yield* rpc.traffic).refused, 200)
      }).pipe(onNetwork))

    it.effect("adds the sender of any signed message, under its source address, once it has answered there", () =>
      Effect.gen(function*() {
        const { node, peer, self } = yield* setUp
        const core = network.tableOf(node)
        yield* peer.send(self, { _tag: "FindNode", target: NodeId.zero }, "00".repeat(20))
        yield* peer.receive
        assert.isUndefined(core.get(peer.id))
        yield* peer.answer(() => pong(peer))
        yield* settled
        assert.deepStrictEqual(core.get(peer.id), {
          id: peer.id,
          address: peer.address,
          host: peer.host,
          port: peer.port
        })
        assert.isDefined(core.verifiedAt(peer.id))
      }).pipe(onNetwork))

    it.effect("moves a contact to a new address once that address has answered", () =>
      Effect.gen(function*() {
        const { node, peer, self } = yield* setUp
        const core = network.tableOf(node)
        yield* network.introduce(peer, self)
        const moved = yield* network.puppet("peer", network.socketOf(3))
        yield* moved.send(self, ping(moved), "01".repeat(20))
        yield* TestClock.adjust(1)
        assert.strictEqual(core.get(peer.id)?.host, peer.host)
        assert.strictEqual((yield* moved.receive).message.body._tag, "Pong")
        yield* moved.answer(() => pong(moved))
        yield* TestClock.adjust(1)
        yield* TestClock.adjust(1)
        assert.strictEqual(core.get(peer.id)?.host, moved.host)
      }).pipe(onNetwork))

    it.effect("does not move a contact because its response came from another address", () =>
      Effect.gen(function*() {
        const { node, peer, rpc, self } = yield* setUp
        const core = network.tableOf(node)
        yield* network.dht(node).addContact(peer)
        const asked = yield* start(rpc.request(peer, ping(self)))
        const { message } = yield* peer.receive
        const elsewhere = yield* network.puppet("peer", network.socketOf(3))
        yield* elsewhere.send(self, pong(peer), message.transactionId)
        yield* Fiber.join(asked)
        assert.strictEqual(core.get(peer.id)?.host, peer.host)
      }).pipe(onNetwork))

    it.effect("does not move a contact whose request is replayed from another address", () =>
      Effect.gen(function*() {
        const { node, peer, self } = yield* setUp
        const core = network.tableOf(node)
        yield* network.introduce(peer, self)
        // A message once signed by the peer, from the attacker's address.
        const thief = yield* network.puppet("peer", network.socketOf(3))
        yield* thief.send(self, ping(thief), "01".repeat(20))
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(core.get(peer.id)?.host, peer.host)
      }).pipe(onNetwork))

    it.effect("gives a place in a full bucket to a newcomer only if the oldest contact is silent", () =>
      Effect.gen(function*() {
        const { node, rpc, self } = yield* setUp
        const core = network.tableOf(node)
        // The peers of the farthest bucket, one more than it has room for.
        const inBucket: Array<network.Puppet> = []
        for (let i = 0; inBucket.length < 18; i++) {
          if (NodeId.bucketIndex(self.id, network.identity(`p${i}`).nodeId) === 0) {
            inBucket.push(yield* network.puppet(`p${i}`, network.socketOf(100 + i)))
          }
        }
        const [oldest, ...others] = inBucket
        const [second, newcomer] = others.slice(-2)
        for (const peer of inBucket.slice(0, -2)) yield* network.introduce(peer, self)
        // A contact heard from in the last half hour is not probed.
        yield* network.introduce(second, self)
        assert.isFalse(core.contains(second.id))
        assert.strictEqual(yield* rpc.pending, 0)

        yield* TestClock.adjust("30 minutes")
        // The oldest answers its probe and stays.
        yield* network.introduce(second, self)
        yield* oldest.answer(() => pong(oldest))
        yield* TestClock.adjust("5 seconds")
        assert.isTrue(core.contains(oldest.id))
        assert.isFalse(core.contains(second.id))

        // Now another contact is the oldest, and silent. It is asked five minutes after the other one answered.
        yield* TestClock.adjust("5 minutes")
        yield* network.introduce(newcomer, self)
        yield* TestClock.adjust("5 seconds")
        assert.isFalse(core.contains(others[0].id))
        assert.isTrue(core.contains(newcomer.id))
        assert.strictEqual(yield* rpc.pending, 0)
      }).pipe(onNetwork))

    it.effect("answers its peers while a probe for a full bucket is pending", () =>
      Effect.gen(function*() {
        const { peer, self } = yield* setUp
        let found = 0
        for (let i = 0; found < 17; i++) {
          if (NodeId.bucketIndex(self.id, network.identity(`p${i}`).nodeId) !== 0) continue
          found++
          const other = yield* network.puppet(`p${i}`, network.socketOf(100 + i))
          yield* network.introduce(other, self)
        }
        // No time passes, and the probe stays unanswered.
        yield* peer.send(self, ping(peer), "00".repeat(20))
        assert.strictEqual((yield* peer.receive).message.body._tag, "Pong")
      }).pipe(onNetwork))
  })

  describe("under a flood", () => {
    const joined = (address: SocketAddress.SocketAddress) => MemoryNetwork.use((memory) => memory.join(address))
    /** Sends from an address that is free afterwards, also where there is no room. */
    const sending =
      (to: SocketAddress.SocketAddress) =>
      (from: SocketAddress.SocketAddress, ...datagrams: ReadonlyArray<Uint8Array>) =>
        Effect.scoped(
          Effect.flatMap(joined(from), (raw) =>
            Effect.forEach(datagrams, (bytes) => Effect.ignore(raw.send(bytes, to)), { discard: true }))
        )
    /** The numbers of the networks whose requests were handled, in order. */
    const handling = Effect.fnUntraced(function*(rpc: Rpc.Rpc["Service"]) {
      const handled: Array<number> = []
      yield* rpc.serve((_, { host }) => handled.push(Number(host.split(".")[2])))
      return handled
    })

    it.effect("keeps no unawaited response, so that none takes the place of a request", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* bare
        const answer = Message.encode(pong(peer), { signer: peer.identity, transactionId: "00".repeat(20) })
        const raw = yield* joined(network.socketOf(3))
        for (let i = 0; i < 3000; i++) yield* raw.send(answer, self)
        yield* raw.send(request(), self)
        const handled = yield* handling(rpc)
        yield* settled
        assert.deepStrictEqual(handled, [3])
        assert.deepInclude((yield* rpc.traffic).refusedBy, { unawaited: 3000, overload: 0 })
      }).pipe(onNetwork))

    it.effect("keeps nothing that its header or its end shows to be no message of this version", () =>
      Effect.gen(function*() {
        const { rpc, self } = yield* bare
        const raw = yield* joined(network.socketOf(3))
        const whole = request()
        const unknown = whole.slice()
        unknown[8] = 0x17
        const ends = Array.from({ length: whole.length - 1 }, (_, i) => whole.slice(0, i + 1))
        const refused = [Uint8Array.of(0xa4), Uint8Array.from([...whole, 0]), ...ends]
        for (let i = 0; i < 10; i++) {
          for (const bytes of refused) yield* raw.send(bytes, self)
          yield* raw.send(unknown, self)
        }
        yield* raw.send(whole, self)
        assert.deepInclude((yield* rpc.traffic).refusedBy, {
          malformed: 10 * refused.length,
          unknown_type: 10,
          overload: 0
        })
        const handled = yield* handling(rpc)
        yield* settled
        assert.deepStrictEqual(handled, [3])
      }).pipe(onNetwork))

    it.effect("serves a request that is not in canonical form", () =>
      Effect.gen(function*() {
        const { rpc, self } = yield* bare
        const whole = request()
        // The length of the signature in two bytes.
        const at = whole.length - 64
        const long = Uint8Array.from([...whole.subarray(0, at - 2), 0x59, 0, 64, ...whole.subarray(at)])
        const handled = yield* handling(rpc)
        yield* sending(self)(network.socketOf(3), long)
        yield* settled
        assert.deepStrictEqual(handled, [3])
      }).pipe(onNetwork))

    it.effect("serves the awaited response first, then the requests of contacts, then those of strangers", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* bare
        yield* rpc.observe({ knows: ({ host }) => host === network.socketOf(50).host })
        const handled = yield* handling(rpc)
        const asked = yield* start(rpc.request(peer, ping(network.identity("node"))))
        const { message } = yield* peer.receive
        const answers: Array<number> = []
        yield* rpc.observe({ heard: ({ isAnswer }) => void (isAnswer && answers.push(handled.length)) })
        yield* settled
        // The first is served as it arrives, and the others wait meanwhile.
        for (const n of [10, 11, 12, 13]) yield* sending(self)(network.socketOf(n), request())
        yield* sending(self)(network.socketOf(50), request())
        yield* peer.send(self, pong(peer), message.transactionId)
        yield* Fiber.join(asked)
        yield* settled
        assert.deepStrictEqual(answers, [1])
        assert.deepStrictEqual(handled, [10, 50, 11, 12, 13])
      }).pipe(onNetwork))

    it.effect("serves a contact and a stranger in spite of full queues of strangers", () =>
      Effect.gen(function*() {
        const { rpc, self } = yield* bareWith(Verifier.layer)
        yield* rpc.observe({ knows: ({ host }) => host === network.socketOf(50).host })
        const send = sending(self)
        for (let port = 1; port <= 6; port++) {
          yield* send({ ...network.socketOf(3), port }, ...Array.from({ length: 300 }, () => forged()))
        }
        yield* send(network.socketOf(50), request())
        yield* send(network.socketOf(51), request())
        const handled = yield* handling(rpc)
        const last = yield* rpc.traffic
        yield* settled
        assert.deepStrictEqual(handled, [50, 51])
        // One host is one line: two turns went by before the stranger's.
        assert.isAtMost(last.refusedBy.bad_signature, 8)
      }).pipe(onNetwork))

    it.effect("reads the network again after two milliseconds of requests, however few those are", () =>
      Effect.gen(function*() {
        const clock = yield* Clock.Clock
        let spent = 0n
        const slow: Clock.Clock = Object.create(clock, {
          monotonicTimeNanosUnsafe: { value: () => clock.monotonicTimeNanosUnsafe() + spent }
        })
        const { rpc, self } = yield* Effect.provideService(bareWith(Verifier.layer), Clock.Clock, slow)
        for (let n = 10; n < 16; n++) yield* sending(self)(network.socketOf(n), request())
        let handled = 0
        yield* rpc.serve(() => {
          handled++
          spent += 1_500_000n
          return 0
        })
        const turns: Array<number> = []
        for (let before = handled; turns.length < 8; before = handled) {
          yield* Effect.yieldNow
          turns.push(handled - before)
        }
        assert.strictEqual(handled, 6)
        assert.deepStrictEqual(turns.filter((served) => served > 0), [2, 2, 2])
      }).pipe(onNetwork))

    it.effect("serves a signer whose signature failed after all others, and as before once it is good", () =>
      Effect.gen(function*() {
        const { rpc, self } = yield* bareWith(Verifier.layer)
        const send = sending(self)
        const handled = yield* handling(rpc)
        yield* send(network.socketOf(3), forged())
        yield* settled
        for (const order of [[9, 4, 5, 3], [9, 3, 4, 5]]) {
          for (const n of [9, 3, 4, 5]) yield* send(network.socketOf(n), request())
          yield* settled
          assert.deepStrictEqual(handled.splice(0), order)
        }
      }).pipe(onNetwork))

    it.effect("serves a host whose signatures failed under two keys after all others", () =>
      Effect.gen(function*() {
        const { rpc, self } = yield* bareWith(Verifier.layer)
        const send = sending(self)
        const handled = yield* handling(rpc)
        for (const name of ["a", "b"]) yield* send(network.socketOf(3), forged(network.identity(name)))
        yield* settled
        for (const n of [9, 3, 4]) yield* send({ ...network.socketOf(n), port: 77 }, request())
        yield* settled
        assert.deepStrictEqual(handled, [9, 4, 3])
      }).pipe(onNetwork))

    it.effect("refuses requests that end early after a signature failed, and serves on", () =>
      Effect.gen(function*() {
        const { rpc, self } = yield* bareWith(Verifier.layer)
        const send = sending(self)
        const handled = yield* handling(rpc)
        yield* send(network.socketOf(3), forged())
        yield* settled
        const whole = request()
        const ends = Array.from({ length: whole.length }, (_, length) => whole.slice(0, length))
        // One that begins in another way belongs to another protocol.
        yield* send(network.socketOf(4), ...ends.slice(1))
        yield* send(network.socketOf(5), whole)
        yield* settled
        assert.deepStrictEqual(handled, [5])
        assert.strictEqual((yield* rpc.traffic).refusedBy.malformed, ends.length - 1)
      }).pipe(onNetwork))

    it.effect("outlives a defect while a datagram is read, reports it, and serves on", () => {
      const logged: Array<string> = []
      const logger = Logger.make(({ message }) => void logged.push(String(message)))
      return Effect.gen(function*() {
        const { rpc, self } = yield* bareWith(Verifier.layer)
        const handled = yield* handling(rpc)
        let calls = 0
        yield* rpc.observe({
          knows: () => {
            if (calls++ === 0) throw new Error("a bug of the observer")
            return false
          }
        })
        for (const n of [3, 4]) yield* sending(self)(network.socketOf(n), request())
        yield* settled
        assert.deepStrictEqual(handled, [4])
        assert.include(logged.join(), "A datagram could not be read")
      }).pipe(onNetwork, Effect.provide(Logger.layer([logger])))
    })

    it.effect("starts the check of a contact's signature while those of strangers are in flight", () =>
      Effect.gen(function*() {
        const checks: Array<(valid: boolean) => void> = []
        const { rpc, self } = yield* bareWith(Layer.succeed(Verifier.Verifier, {
          check: (_key, _message, _signature, done) => checks.push(done) > 0,
          checkWallet: () => false
        }))
        yield* rpc.observe({ knows: ({ host }) => host === network.socketOf(150).host })
        const handled = yield* handling(rpc)
        const send = sending(self)
        for (let n = 10; n < 110; n++) yield* send(network.socketOf(n), request())
        yield* settled
        assert.strictEqual(checks.length, 48)
        yield* send(network.socketOf(150), ...Array.from({ length: 20 }, (_, i) => request(i)))
        yield* settled
        assert.strictEqual(checks.length, 64)
        // The result of a contact's makes room for any contact, that of a stranger's not yet for a stranger.
        checks[48](true)
        yield* settled
        assert.strictEqual(checks.length, 65)
        assert.deepStrictEqual(handled, [150])
        for (const done of checks.splice(0)) done(false)
        yield* settled
        // The last of the contacts, and as many strangers as before.
        assert.strictEqual(checks.length, 3 + 48)
      }).pipe(onNetwork))

    it.effect("still serves a contact whose address is forged, and another contact undiminished", () =>
      Effect.gen(function*() {
        const { rpc, self } = yield* bareWith(Verifier.layer)
        yield* rpc.observe({ knows: () => true })
        const handled = yield* handling(rpc)
        const send = sending(self)
        for (let round = 0; round < 50; round++) {
          yield* send(network.socketOf(3), ...Array.from({ length: 20 }, () => forged()), request(round))
          yield* send(network.socketOf(4), request(round))
          yield* Effect.yieldNow
        }
        yield* settled
        assert.strictEqual(handled.filter((n) => n === 4).length, 50)
        assert.isAbove(handled.filter((n) => n === 3).length, 0)
      }).pipe(onNetwork))
  })

  describe("what stands above", () => {
    const answering = (rpc: Rpc.Rpc["Service"], text: string) =>
      rpc.serve((_, to, _now, reply) => {
        reply({
          body: { _tag: "StoreResponse", stored: text === "stored", alreadyHad: false, reason: 0 },
          to,
          transactionId: undefined
        })
        return 0
      })

    it.effect("answers what arrived before its handler was there", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* bare
        yield* peer.send(self, ping(peer), "00".repeat(20))
        yield* settled
        assert.strictEqual((yield* rpc.traffic).received, 0)
        yield* answering(rpc, "stored")
        assert.deepInclude((yield* peer.receive).message, { transactionId: "00".repeat(20) })
      }).pipe(onNetwork))

    it.effect("answers requests until its scope closes, after which another handler may", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* bare
        yield* Effect.scoped(answering(rpc, "stored"))
        yield* peer.send(self, ping(peer), "00".repeat(20))
        yield* settled
        assert.deepInclude(yield* rpc.traffic, { received: 1, sent: 0 })
        yield* answering(rpc, "refused")
        yield* peer.send(self, ping(peer), "01".repeat(20))
        const { message } = yield* peer.receive
        assert.deepInclude(message, { transactionId: "01".repeat(20) })
        assert.deepInclude(message.body, { stored: false })
      }).pipe(onNetwork))

    it.effect("cannot register a second handler beside the first, which stays", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* bare
        yield* answering(rpc, "stored")
        assert.isTrue(Exit.hasDies(yield* Effect.exit(Effect.scoped(answering(rpc, "refused")))))
        yield* peer.send(self, ping(peer), "00".repeat(20))
        assert.deepInclude((yield* peer.receive).message.body, { stored: true })
      }).pipe(onNetwork))

    it.effect("is told who was heard from before the message is handled, in the order of registration, until the scope closes", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* bare
        const told: Array<unknown> = []
        const observing = (name: string) =>
          rpc.observe({
            heard: ({ contact: { host, id, port }, isAnswer }) => told.push({ name, id, host, port, isAnswer })
          })
        yield* observing("first")
        const leave = yield* Scope.make()
        yield* Scope.provide(observing("second"), leave)
        yield* rpc.serve(() => told.push("request"))
        yield* peer.send(self, ping(peer), "00".repeat(20))
        yield* settled
        const of = (name: string, isAnswer: boolean) => ({
          name,
          id: peer.id,
          host: peer.host,
          port: peer.port,
          isAnswer
        })
        assert.deepStrictEqual(told.splice(0), [of("first", false), of("second", false), "request"])
        yield* Scope.close(leave, Exit.void)
        const asked = yield* start(rpc.request(peer, ping(network.identity("node"))))
        yield* peer.answer(() => pong(peer))
        yield* Fiber.join(asked)
        assert.deepStrictEqual(told, [of("first", true)])
      }).pipe(onNetwork))

    it.effect("is told of a response from elsewhere than the queried address as of any message", () =>
      Effect.gen(function*() {
        const { peer, rpc, self } = yield* bare
        const answers: Array<boolean> = []
        yield* rpc.observe({ heard: ({ isAnswer }) => answers.push(isAnswer) })
        const asked = yield* start(rpc.request(peer, ping(network.identity("node"))))
        const { message } = yield* peer.receive
        const elsewhere = yield* network.puppet("peer", network.socketOf(3))
        yield* elsewhere.send(self, pong(peer), message.transactionId)
        yield* Fiber.join(asked)
        assert.deepStrictEqual(answers, [false])
      }).pipe(onNetwork))
  })
})
