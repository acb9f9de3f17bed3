import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import type { Contact } from "../src/Contact.ts"
import * as Custom from "../src/Custom.ts"
import type * as Discovery from "../src/Discovery.ts"
import * as Endpoint from "../src/Endpoint.ts"
import * as Mail from "../src/Mail.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Profile from "../src/Profile.ts"
import * as Query from "../src/Query.ts"
import * as Record from "../src/Record.ts"
import type { Publication } from "../src/Replication.ts"
import * as Rpc from "../src/Rpc.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import { heapBytes } from "./utils/heap.ts"
import * as network from "./utils/network.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const { build, now } = network

const closestTo = (target: NodeId.NodeId, nodes: ReadonlyArray<network.Node>, n: number) =>
  nodes.map(network.contactOf).toSorted((a, b) => NodeId.compareDistance(target, a.id, b.id)).slice(0, n)

const ids = (contacts: ReadonlyArray<Contact>) => contacts.map(({ id }) => id)

const holders = (nodes: ReadonlyArray<network.Node>, key: NodeId.NodeId) =>
  Effect.filter(nodes, (node) => Effect.map(Context.get(node, Store).getAll(key, 0), (held) => held.length > 0))

/** The error of waiting for replicas. */
const tooFew = (replicas: ReturnType<Publication["replicas"]>) =>
  Effect.flip(Effect.catchTag(replicas, "StaleRecord", Effect.die))

describe("Dht", () => {
  describe("joining", () => {
    it.effect("accepts an empty list, as for the first node of a network", () =>
      Effect.gen(function*() {
        const [node] = yield* build(1)
        assert.deepStrictEqual(yield* network.dht(node).bootstrap([]), [])
        assert.deepStrictEqual(yield* network.dht(node).findNode(NodeId.zero), [])
      }).pipe(onNetwork))

    it.effect("succeeds with the nodes that answered", () =>
      Effect.gen(function*() {
        const [first] = yield* build(1)
        const node = yield* network.node("late", network.socketOf(50))
        const joined = yield* network.dht(node).bootstrap([network.socketOf(1), network.socketOf(77)])
        assert.deepStrictEqual(joined, [network.contactOf(first)])
      }).pipe(onNetwork))

    it.effect("does not wait for silent addresses once a node has answered", () =>
      Effect.gen(function*() {
        yield* build(1)
        yield* network.puppet("mute", network.socketOf(60))
        const node = yield* network.node("late", network.socketOf(50))
        const joining = yield* Effect.forkChild(
          network.dht(node).bootstrap([network.socketOf(60), network.socketOf(1)]),
          { startImmediately: true }
        )
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(joining)).length, 1)
      }).pipe(onNetwork))

    it.effect("fails with each address and its reason if none answered, and can be repeated", () =>
      Effect.gen(function*() {
        const [node] = yield* build(1)
        yield* network.puppet("mute", network.socketOf(60))
        const joining = yield* Effect.forkChild(
          Effect.flip(network.dht(node).bootstrap([network.socketOf(60), network.socketOf(61)])),
          { startImmediately: true }
        )
        yield* TestClock.adjust("10 seconds")
        const error = yield* Fiber.join(joining)
        assert.deepStrictEqual(error.failures.map(({ error }) => error._tag), ["NoAnswer", "UnknownPeer"])
        assert.match(error.message, /: 9\.0\.60\.1:4121 did not answer .*; .*9\.0\.61\.1:4121/)
        yield* network.node("other", network.socketOf(61))
        assert.strictEqual((yield* network.dht(node).bootstrap([network.socketOf(61)])).length, 1)
      }).pipe(onNetwork))

    it.effect("connects many nodes that join through one node at the same time, near and far", () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(now * 1000)
        const nodes = yield* Effect.forEach(
          Array.from({ length: 80 }),
          (_, i) => network.node(`node ${i}`, network.socketOf(i + 1))
        )
        const [, ...others] = nodes
        yield* Effect.forEach(others, (node) => network.dht(node).bootstrap([network.socketOf(1)]), {
          concurrency: "unbounded"
        })
        yield* TestClock.adjust("12 seconds")
        for (let i = 0; i < 80; i++) {
          const target = NodeId.fromTopic(`target ${i}`)
          const found = yield* network.dht(nodes[i]).findNode(target)
          assert.deepStrictEqual(ids(found), ids(closestTo(target, nodes.filter((node) => node !== nodes[i]), 16)))
        }
      }).pipe(onNetwork))

    it.effect("works with contacts of known identity", () =>
      Effect.gen(function*() {
        const nodes = yield* build(4)
        const node = yield* network.node("late", network.socketOf(50))
        yield* network.dht(node).bootstrapContacts([network.contactOf(nodes[2])])
        assert.strictEqual((yield* network.dht(node).stats).contacts, 4)
      }).pipe(onNetwork))
  })

  describe("looking up", () => {
    it.effect("finds the 16 closest nodes, nearest first and never itself", () =>
      Effect.gen(function*() {
        const nodes = yield* build(40)
        for (let i = 0; i < 20; i++) {
          const target = NodeId.fromTopic(`target ${i}`)
          const asker = nodes[i]
          const found = yield* network.dht(asker).findNode(target)
          assert.deepStrictEqual(ids(found), ids(closestTo(target, nodes.filter((node) => node !== asker), 16)))
        }
      }).pipe(onNetwork))

    it.effect("does not return ids that no node answers for", () =>
      Effect.gen(function*() {
        const [node, ...others] = yield* build(5)
        const target = NodeId.fromTopic("target")
        // A silent port under many invented names, all of them close to the
        // target.
        const mute = yield* network.puppet("mute", network.socketOf(66))
        for (let i = 0; i < 14; i++) {
          const address = network.addressOf(`invented ${i}`)
          yield* network.dht(node).addContact({ ...mute, address, id: NodeId.fromAddress(address) })
        }
        const finding = yield* Effect.forkChild(network.dht(node).findNode(target), { startImmediately: true })
        yield* TestClock.adjust("10 seconds")
        const found = yield* Fiber.join(finding)
        assert.deepStrictEqual(ids(found), ids(closestTo(target, others, 16)))
      }).pipe(onNetwork))

    it.effect("leaves no request behind when it is interrupted", () =>
      Effect.gen(function*() {
        const [node] = yield* build(1)
        const mute = yield* network.puppet("mute", network.socketOf(66))
        yield* network.dht(node).addContact(mute)
        const finding = yield* Effect.forkChild(network.dht(node).findNode(NodeId.zero), { startImmediately: true })
        yield* TestClock.adjust(10)
        const { pending } = Context.get(node, Rpc.Rpc)
        assert.strictEqual(yield* pending, 1)
        yield* Fiber.interrupt(finding)
        assert.strictEqual(yield* pending, 0)
      }).pipe(onNetwork))

    it.effect("leaves no request behind when it finishes early", () =>
      Effect.gen(function*() {
        const nodes = yield* build(30)
        const published = yield* network.dht(nodes[3]).publishEndpoint({ endpoints: ["quic://192.0.2.1:1"] })
        yield* published.replicas(8, { within: "5 seconds" })
        for (const node of nodes) {
          yield* network.dht(node).resolve(network.contactOf(nodes[3]).address)
          // What others know of the node only by its requests is pinged.
          yield* TestClock.adjust(1)
          assert.strictEqual(yield* Context.get(node, Rpc.Rpc).pending, 0)
        }
      }).pipe(onNetwork))
  })

  describe("publishing", () => {
    it.effect("copies a record to the 8 nodes closest to its key, and every node resolves it", () =>
      Effect.gen(function*() {
        const nodes = yield* build(30)
        const owner = nodes[7]
        const published = yield* network.dht(owner).publishEndpoint({
          endpoints: ["quic://192.0.2.1:4121"],
          natType: 1
        })
        const replicas = yield* published.replicas(8, { within: "5 seconds" })
        const others = nodes.filter((node) => node !== owner)
        assert.deepStrictEqual(ids(replicas).toSorted(), ids(closestTo(published.key, others, 8)).toSorted())
        assert.strictEqual((yield* holders(others, published.key)).length, 8)
        for (const node of nodes) {
          const resolved = yield* network.dht(node).resolve(network.contactOf(owner).address)
          assert.deepStrictEqual(resolved.endpoints, ["quic://192.0.2.1:4121"])
          assert.strictEqual(resolved.natType, 1)
        }
      }).pipe(onNetwork))

    it.effect("reports the number of copies if there are too few", () =>
      Effect.gen(function*() {
        const nodes = yield* build(4)
        const published = yield* network.dht(nodes[0]).publishEndpoint({ endpoints: [] })
        const error = yield* tooFew(published.replicas(8, { within: "5 seconds" }))
        assert.strictEqual(error.confirmed.length, 3)
        assert.strictEqual(error.message, `3 of 8 nodes hold a copy of the record at ${published.key}`)
      }).pipe(onNetwork))

    it.effect("waits no longer than the given time", () =>
      Effect.gen(function*() {
        const [node] = yield* build(1)
        yield* network.dht(node).addContact(yield* network.puppet("mute", network.socketOf(66)))
        const published = yield* network.dht(node).publishEndpoint({ endpoints: [] })
        const waiting = yield* Effect.forkChild(tooFew(published.replicas(1, { within: "1 second" })), {
          startImmediately: true
        })
        yield* TestClock.adjust("1 second")
        assert.strictEqual((yield* Fiber.join(waiting)).wanted, 1)
      }).pipe(onNetwork))

    it.effect("replaces the older record everywhere by a newer one", () =>
      Effect.gen(function*() {
        const nodes = yield* build(12)
        const owner = network.dht(nodes[1])
        for (const endpoint of ["quic://192.0.2.1:1", "quic://192.0.2.1:2"]) {
          const published = yield* owner.publishEndpoint({ endpoints: [endpoint] })
          yield* published.replicas(8, { within: "5 seconds" })
        }
        for (const node of nodes) {
          assert.deepStrictEqual((yield* network.dht(node).resolve(owner.address)).endpoints, ["quic://192.0.2.1:2"])
        }
      }).pipe(onNetwork))

    it.effect("gives every record a larger seq, within one millisecond and after a restart", () =>
      Effect.gen(function*() {
        const [node] = yield* build(1)
        const first = yield* network.dht(node).publishEndpoint({ endpoints: [] })
        const second = yield* network.dht(node).publishEndpoint({ endpoints: [] })
        assert.isAbove(Number(second.record.seq - first.record.seq), 0)
        assert.strictEqual(first.record.seq, BigInt(now) * 1_000_000_000n)
      }).pipe(onNetwork))

    it.effect("refuses a record that could be stored but never returned", () =>
      Effect.gen(function*() {
        const [node] = yield* build(1)
        const error = yield* Effect.flip(
          network.dht(node).publishEndpoint({ endpoints: [`quic://${"x".repeat(1000)}`] })
        )
        assert.strictEqual(error._tag, "RecordTooLarge")
        assert.strictEqual((yield* network.dht(node).stats).keys, 0)
        const excess = error._tag === "RecordTooLarge" ? error.excess : undefined
        assert.deepInclude(excess, { field: "endpoints", size: 1007, unit: "bytes" })
        const longest = "quic://".padEnd(excess?.limit ?? 0, "x")
        yield* network.dht(node).publishEndpoint({ endpoints: [longest] })
      }).pipe(onNetwork))

    it.effect("refuses a record older than the one held", () =>
      Effect.gen(function*() {
        const [node] = yield* build(1)
        const { record } = yield* network.dht(node).publishEndpoint({ endpoints: [] })
        assert.strictEqual((yield* Effect.flip(network.dht(node).publish(record)))._tag, "StaleRecord")
      }).pipe(onNetwork))

    it.effect("publishes records of other types at the publisher's key, or at the given one", () =>
      Effect.gen(function*() {
        const nodes = yield* build(10)
        const owner = network.dht(nodes[0])
        yield* owner.publishProfile({ name: "Ann" })
        yield* owner.publishCustom({ type: 0x07, payload: Uint8Array.of(1) })
        const key = NodeId.fromTopic("notes")
        yield* owner.publishCustom({ type: 0x11, payload: Uint8Array.of(2), key })
        yield* TestClock.adjust("1 second")
        const found = yield* network.dht(nodes[9]).aggregateRecords(owner.nodeId)
        assert.deepStrictEqual(found.map(({ type }) => type).toSorted(), [Record.RecordType.profile, 0x07])
        assert.strictEqual((yield* network.dht(nodes[8]).findRecords(key))[0].type, 0x11)
      }).pipe(onNetwork))

    it.effect("publishes the values of a custom type, and finds them at an address or a key", () =>
      Effect.gen(function*() {
        const nodes = yield* build(10)
        const [ann, ben, asker] = nodes.map(network.dht)
        const key = NodeId.fromTopic("notes")
        const Load = Custom.make({ type: 0x07, schema: Schema.Struct({ jobs: Schema.Int }) })
        const Note = Custom.make({ type: 0x11, schema: Schema.String })
        yield* ann.publishCustom({ custom: Load, value: { jobs: 2 } })
        yield* ann.publishCustom({ custom: Load, value: { jobs: 3 } })
        yield* ann.publishCustom({ custom: Note, value: "from Ann", key })
        // The first byte of a text that is missing.
        yield* ben.publishCustom({ type: 0x11, payload: Uint8Array.of(0x61), key })
        yield* TestClock.adjust("1 second")
        const { found: [load] } = yield* asker.findCustom(Load, { address: ann.address })
        assert.deepStrictEqual(load.value, { jobs: 3 })
        assert.strictEqual(load.record.address, ann.address)
        const notes = yield* asker.findCustom(Note, { key })
        assert.deepStrictEqual(notes.found.map(({ value }) => value), ["from Ann"])
        assert.deepStrictEqual(notes.refused.map(({ record }) => record.address), [ben.address])
        assert.strictEqual(notes.refused[0].error._tag, "InvalidPayload")
        assert.strictEqual(notes.completeness.answered, 9)
        const error = yield* Effect.flip(asker.findCustom(Load, ben))
        assert.strictEqual(error._tag, "NoMatchingRecords")
      }).pipe(onNetwork))

    it.effect("fails with the reason for a value that does not fit its schema, and publishes nothing", () =>
      Effect.gen(function*() {
        const [node] = yield* build(1)
        const dht = network.dht(node)
        const Load = Custom.make({ type: 0x07, schema: Schema.Struct({ jobs: Schema.Int }) })
        const error = yield* Effect.flip(dht.publishCustom({ custom: Load, value: { jobs: 1.5 } }))
        assert.strictEqual(error._tag, "InvalidPayload")
        assert.strictEqual((yield* dht.stats).keys, 0)
      }).pipe(onNetwork))

    it.effect("withdraws a custom record", () =>
      Effect.gen(function*() {
        const [ann, asker] = (yield* build(4)).map(network.dht)
        const publication = yield* ann.publishCustom({ type: 0x07, payload: Uint8Array.of(1) })
        yield* TestClock.adjust("1 second")
        yield* asker.findRecords(ann.nodeId, { type: 0x07 })
        yield* ann.withdraw(publication)
        yield* TestClock.adjust("1 second")
        const error = yield* Effect.flip(asker.findRecords(ann.nodeId, { type: 0x07 }))
        assert.strictEqual(error._tag, "NoMatchingRecords")
      }).pipe(onNetwork))
  })

  describe("finding records", () => {
    it.effect("finds the newest record of each type that an address published, however many messages are at its key", () =>
      Effect.gen(function*() {
        const nodes = yield* build(16)
        const [owner, ...writers] = nodes.map(network.dht)
        yield* owner.publishEndpoint({ endpoints: ["quic://192.0.2.1:1"] })
        for (const name of ["An", "Ann"]) yield* owner.publishProfile({ name })
        yield* TestClock.adjust("5 seconds")
        for (let i = 0; i < 8; i++) {
          const body = new Uint8Array(300).fill(i)
          yield* writers[i % 4].mail.send({ recipient: owner.address, type: 3, body })
        }
        yield* TestClock.adjust("5 seconds")
        yield* owner.publishCustom({ type: 0x07, payload: Uint8Array.of(1) })
        yield* TestClock.adjust("5 seconds")
        // A node that holds none of the records, so it must ask.
        const held = yield* Effect.forEach(nodes, (node) => Context.get(node, Store).getAll(owner.nodeId, 0))
        const asker = nodes[held.findIndex((records) => records.length === 0)]
        const found = yield* network.dht(asker).resolveAll(owner.address)
        assert.deepStrictEqual(found.map(({ type }) => type), [
          Record.RecordType.endpoint,
          Record.RecordType.profile,
          0x07
        ])
        assert.strictEqual(Result.getOrThrow(Profile.decode(found[1].payload)).name, "Ann")
        assert.isTrue(found.every(({ address }) => address === owner.address))
      }).pipe(onNetwork))

    it.effect("finds nothing for an address that has published nothing, even if others left records at its key", () =>
      Effect.gen(function*() {
        const nodes = yield* build(10)
        const [owner, other, asker] = nodes.map(network.dht)
        yield* other.publishCustom({ type: 0x81, payload: Uint8Array.of(1), key: owner.nodeId })
        yield* TestClock.adjust("1 second")
        const error = yield* Effect.flip(asker.resolveAll(owner.address))
        assert.strictEqual(error._tag, "NoMatchingRecords")
        assert.strictEqual(error.answered, 9)
      }).pipe(onNetwork))

    it.effect("fails with NoEndpoint and the number of responses if nothing is published", () =>
      Effect.gen(function*() {
        const nodes = yield* build(10)
        const error = yield* Effect.flip(network.dht(nodes[0]).resolve(network.addressOf("nobody")))
        assert.strictEqual(error._tag, "NoEndpoint")
        assert.strictEqual(error.answered, 9)
      }).pipe(onNetwork))

    it.effect("fails with NoMatchingRecords if no record has the type", () =>
      Effect.gen(function*() {
        const nodes = yield* build(10)
        yield* network.dht(nodes[1]).publishEndpoint({ endpoints: [] })
        yield* TestClock.adjust("1 second")
        const { nodeId } = network.dht(nodes[1])
        const error = yield* Effect.flip(network.dht(nodes[0]).findRecords(nodeId, { type: Record.RecordType.profile }))
        assert.strictEqual(error._tag, "NoMatchingRecords")
        const none = yield* Effect.flip(network.dht(nodes[0]).aggregateRecords(NodeId.zero))
        assert.strictEqual(none._tag, "NoMatchingRecords")
      }).pipe(onNetwork))

    it.effect("refuses forged records, and records of others, from the network", () =>
      Effect.gen(function*() {
        const [node] = yield* build(1)
        const liar = yield* network.puppet("liar", network.socketOf(66))
        yield* network.dht(node).addContact(liar)
        const owner = network.identity("owner")
        const byLiar = Result.getOrThrow(Record.decode(Record.encode({
          ...Result.getOrThrow(Endpoint.sign({
            signer: owner,
            address: owner.address,
            payload: Endpoint.make({ endpoints: ["quic://192.0.2.66:1"] }),
            seq: 1n,
            timestamp: BigInt(now),
            ttl: 60
          })),
          signature: new Uint8Array(64)
        })))
        const resolving = yield* Effect.forkChild(Effect.flip(network.dht(node).resolve(owner.address)), {
          startImmediately: true
        })
        yield* liar.answer(() => ({
          _tag: "FindValueResponse",
          nodes: null,
          record: byLiar,
          observed: undefined,
          records: [byLiar]
        }))
        assert.strictEqual((yield* Fiber.join(resolving))._tag, "NoEndpoint")
      }).pipe(onNetwork))

    it.effect("prefers the newest of several responses to a stale one with a quorum", () =>
      Effect.gen(function*() {
        const nodes = yield* build(20)
        const owner = network.dht(nodes[2])
        const old = yield* owner.publishEndpoint({ endpoints: ["quic://192.0.2.1:1"] })
        yield* old.replicas(8, { within: "5 seconds" })
        const fresh = yield* owner.publishEndpoint({ endpoints: ["quic://192.0.2.1:2"] })
        const copies = yield* fresh.replicas(8, { within: "5 seconds" })
        // The closest replica has reverted to the old record.
        const [closest] = closestTo(owner.nodeId, nodes.filter((node) => node !== nodes[2]), 1)
        assert.include(ids(copies), closest.id)
        const stale = nodes.find((node) => network.contactOf(node).id === closest.id)
        assert.isDefined(stale)
        const store = Context.get(stale, Store)
        yield* store.invalidate(owner.nodeId, 0)
        yield* store.put(undefined, old.record)
        const asker = nodes.find((node) => ![...ids(copies), owner.nodeId].includes(network.contactOf(node).id))
        assert.isDefined(asker)
        const resolved = yield* network.dht(asker).resolve(owner.address, { quorum: 3 })
        assert.deepStrictEqual(resolved.endpoints, ["quic://192.0.2.1:2"])
      }).pipe(onNetwork))

    it.effect("sends no request for a record that is held here, unless a quorum is required", () =>
      Effect.gen(function*() {
        const nodes = yield* build(5)
        const owner = network.dht(nodes[0])
        const published = yield* owner.publishEndpoint({ endpoints: [] })
        yield* Effect.ignore(published.replicas(8, { within: "5 seconds" }))
        const { traffic } = Context.get(nodes[0], Rpc.Rpc)
        const before = (yield* traffic).sent
        yield* owner.resolve(owner.address)
        assert.strictEqual((yield* traffic).sent, before)
        yield* owner.resolve(owner.address, { quorum: 2 })
        assert.isAbove((yield* traffic).sent, before)
      }).pipe(onNetwork))
  })

  describe("topics", () => {
    it.effect("discovers all agents that published under a topic, and filters by protocol and tags", () =>
      Effect.gen(function*() {
        const nodes = yield* build(15)
        for (let i = 1; i < 6; i++) {
          yield* network.dht(nodes[i]).publishTopic({
            topic: "translate",
            name: `agent ${i}`,
            protocols: [i % 2 === 0 ? "mcp" : "a2a"],
            tags: i > 3 ? ["en", "de"] : ["en"]
          })
        }
        yield* TestClock.adjust("5 seconds")
        const asker = network.dht(nodes[12])
        const names = ({ offers }: Discovery.Discovered) => offers.map(({ name }) => name).toSorted()
        assert.deepStrictEqual(
          names(yield* asker.discover("translate")),
          ["agent 1", "agent 2", "agent 3", "agent 4", "agent 5"]
        )
        assert.deepStrictEqual(names(yield* asker.discover("translate", { protocols: ["mcp"] })), [
          "agent 2",
          "agent 4"
        ])
        assert.deepStrictEqual(names(yield* asker.discover("translate", { tags: ["en", "de"] })), [
          "agent 4",
          "agent 5"
        ])
        const error = yield* Effect.flip(asker.discover("translate", { tags: ["fr"] }))
        assert.strictEqual(error.message, "None of 5 offers under \"translate\" matches the search")
        const none = yield* Effect.flip(asker.discover("cook", { tags: ["fr"] }))
        assert.strictEqual(none._tag, "NoMatchingRecords")
      }).pipe(onNetwork))

    it.effect("finds only the agents that published under each of several topics", () =>
      Effect.gen(function*() {
        const nodes = yield* build(6)
        yield* network.dht(nodes[1]).publishTopic({ topic: "a", name: "one" })
        yield* network.dht(nodes[2]).publishTopic({ topic: "a", name: "two" })
        yield* network.dht(nodes[2]).publishTopic({ topic: "b", name: "two" })
        yield* TestClock.adjust("5 seconds")
        const { offers } = yield* network.dht(nodes[5]).discover(["a", "b"])
        assert.deepStrictEqual(offers.map(({ name, topic }) => `${name} ${topic}`), ["two a", "two b"])
      }).pipe(onNetwork))
  })

  describe("messages", () => {
    const text = (body: string) => ({ type: Mail.MessageType.text, body: new TextEncoder().encode(body) })

    it.effect("reaches its recipient, and only the recipient can read it", () =>
      Effect.gen(function*() {
        const nodes = yield* build(8)
        const [ann, bob, eve] = nodes.map(network.dht)
        yield* bob.publishEndpoint({ endpoints: [] })
        yield* TestClock.adjust("5 seconds")
        yield* ann.mail.send({ recipient: bob.address, ...text("hello") })
        yield* TestClock.adjust("5 seconds")
        yield* ann.mail.send({ recipient: bob.address, ...text("are you there?") })
        yield* TestClock.adjust("5 seconds")
        const { completeness, messages } = yield* bob.mail.read
        assert.deepStrictEqual(
          messages.map(({ body, sender }) => [sender, new TextDecoder().decode(body)]),
          [[ann.address, "hello"], [ann.address, "are you there?"]]
        )
        assert.strictEqual(completeness.seen, completeness.held)
        assert.deepStrictEqual((yield* eve.mail.read).messages, [])
        // The sender of a message can be answered, with or without an endpoint.
        yield* bob.mail.send({ recipient: ann.address, ...text("yes") })
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* ann.mail.read).messages.length, 1)
      }).pipe(onNetwork))

    it.effect("fails with NoRecipientKey if the recipient has published no key", () =>
      Effect.gen(function*() {
        const [ann] = (yield* build(3)).map(network.dht)
        const error = yield* Effect.flip(ann.mail.send({ recipient: network.addressOf("nobody"), ...text("hello") }))
        assert.strictEqual(error._tag, "NoRecipientKey")
      }).pipe(onNetwork))
  })

  describe("while running", () => {
    it.effect("publishes from a passive node to its contacts, without any lookup of its own", () =>
      Effect.gen(function*() {
        const nodes = yield* build(12)
        const node = yield* network.node("late", network.socketOf(50))
        yield* network.dht(node).setPassive(true)
        yield* network.dht(node).bootstrap([network.socketOf(1)])
        assert.strictEqual((yield* network.dht(node).stats).contacts, 1)
        const published = yield* network.dht(node).publishEndpoint({ endpoints: [] })
        const error = yield* tooFew(published.replicas(8, { within: "5 seconds" }))
        assert.deepStrictEqual(ids(error.confirmed), [network.contactOf(nodes[0]).id])
      }).pipe(onNetwork))

    it.effect("skips peers behind its own public IP", () =>
      Effect.gen(function*() {
        const nodes = yield* build(3)
        const neighbour = yield* network.node("neighbour", { host: "9.9.9.9", port: 1 })
        yield* network.dht(neighbour).bootstrap([network.socketOf(1)])
        const node = network.dht(nodes[0])
        assert.strictEqual((yield* node.findNode(NodeId.zero)).length, 3)
        yield* node.setPublicHost("9.9.9.9")
        assert.strictEqual(yield* node.publicHost, "9.9.9.9")
        assert.strictEqual((yield* node.findNode(NodeId.zero)).length, 2)
      }).pipe(onNetwork))

    it.effect("learns its public IP from enough agreeing peers, and keeps a declared one", () =>
      Effect.gen(function*() {
        const nodes = yield* build(4)
        const node = network.dht(nodes[3])
        for (const other of nodes.slice(0, 3)) yield* node.ping(network.contactOf(other))
        assert.strictEqual(yield* node.publicHost, network.socketOf(4).host)
        yield* node.setPublicHost("9.9.9.9")
        assert.strictEqual(yield* node.publicHost, "9.9.9.9")
      }).pipe(onNetwork))

    it.effect("does not accept the report of one peer as its public IP", () =>
      Effect.gen(function*() {
        const [node, other] = yield* build(2)
        for (let i = 0; i < 5; i++) yield* network.dht(node).ping(network.contactOf(other))
        assert.isUndefined(yield* network.dht(node).publicHost)
      }).pipe(onNetwork))

    it.effect("verifies by an echo that a claimed address reaches it", () =>
      Effect.gen(function*() {
        const nodes = yield* build(2)
        const [node, via] = nodes.map(network.dht)
        assert.isTrue(yield* node.natProbe(via.localAddress, node.localAddress))
        const probing = yield* Effect.forkChild(
          node.natProbe(via.localAddress, { host: "9.9.9.9", port: 1 }, { deadline: "3 seconds" }),
          { startImmediately: true }
        )
        yield* TestClock.adjust("3 seconds")
        assert.isFalse(yield* Fiber.join(probing))
      }).pipe(onNetwork))

    it.effect("can be closed at any moment and twice, and ends its work", () =>
      Effect.gen(function*() {
        yield* build(5)
        const scope = yield* Scope.make()
        const node = yield* Scope.provide(network.node("short-lived", network.socketOf(50)), scope)
        yield* network.dht(node).bootstrap([network.socketOf(1)])
        yield* network.puppet("mute", network.socketOf(66))
        yield* network.dht(node).publishEndpoint({ endpoints: [] })
        const asking = yield* Effect.forkChild(
          Effect.exit(network.dht(node).ping(network.socketOf(66))),
          { startImmediately: true }
        )
        yield* Scope.close(scope, Exit.void)
        yield* Scope.close(scope, Exit.void)
        yield* TestClock.adjust("1 minute")
        assert.isTrue(Exit.isFailure(yield* Fiber.join(asking)))
        // Its address can be bound again.
        yield* network.node("next", network.socketOf(50))
      }).pipe(onNetwork))
  })

  it.effect("holds at most 250 KiB before it has a peer, and almost nothing once it is closed", () =>
    Effect.gen(function*() {
      const count = 40
      const run = Effect.fnUntraced(function*(from: number) {
        const before = heapBytes()
        const scope = yield* Scope.make()
        for (let i = 0; i < count; i++) {
          yield* Scope.provide(network.node("alone", network.socketOf(from + i)), scope)
        }
        const open = heapBytes()
        yield* Scope.close(scope, Exit.void)
        return { open: (open - before) / count / 1024, closed: (heapBytes() - before) / count / 1024 }
      })
      // The first ones load and compile what all others share.
      yield* run(1)
      const { closed, open } = yield* run(1 + count)
      assert.isBelow(open, 250)
      assert.isBelow(closed, 20)
    }).pipe(onNetwork))

  it.effect("reports the contacts that a query asked, and the outcomes", () =>
    Effect.gen(function*() {
      const nodes = yield* build(20)
      const target = NodeId.fromTopic("target")
      const { closest, trace } = yield* Context.get(nodes[0], Query.Query).lookup(target)
      assert.isTrue(trace.every(({ outcome }) => outcome === "Answered"))
      assert.isAtLeast(trace.length, closest.length)
      assert.includeMembers(trace.map(({ contact }) => contact.id), ids(closest))
    }).pipe(onNetwork))
})
