import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type { Address } from "../src/Address.ts"
import * as Crypto from "../src/Crypto.ts"
import * as Identity from "../src/Identity.ts"
import * as Mail from "../src/Mail.ts"
import * as NodeId from "../src/NodeId.ts"
import { Publisher } from "../src/Publisher.ts"
import { Query } from "../src/Query.ts"
import * as Record from "../src/Record.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import { Watch } from "../src/Watch.ts"
import { delegated, masters } from "./utils/delegated.ts"
import * as network from "./utils/network.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const { now } = network

/** Time for the network to take copies. */
const settle = TestClock.adjust("5 seconds")

const text = (recipient: Address, body: string) => ({
  recipient,
  type: Mail.MessageType.text,
  body: new TextEncoder().encode(body)
})

const bodies = (messages: ReadonlyArray<Mail.Message>) => messages.map(({ body }) => new TextDecoder().decode(body))

/** Some nodes, and one more that acts for another address. */
const withDelegate = Effect.fnUntraced(function*(options?: Parameters<typeof delegated>[1]) {
  const nodes = yield* network.build(6)
  return { nodes, ann: network.dht(nodes[1]), delegate: yield* joined("delegate", 100, options) }
})

const joined = Effect.fnUntraced(function*(name: string, n: number, options?: Parameters<typeof delegated>[1]) {
  const node = network.dht(yield* network.nodeOf(delegated(name, options), network.socketOf(n)))
  yield* node.bootstrap([network.socketOf(1)])
  return node
})

describe("a message to an address that delegated to another key", () => {
  for (const master of masters) {
    it.effect(`is at the master's key, encrypted to the operational key: ${master}`, () =>
      Effect.gen(function*() {
        const { ann, delegate } = yield* withDelegate({ master })
        yield* delegate.announceEndpoint({ endpoints: [] })
        yield* settle
        const { key, record } = yield* ann.mail.send(text(delegate.agent, "hello"))
        yield* settle
        assert.strictEqual(key, NodeId.fromAddress(delegate.agent))
        const message = Result.getOrThrow(Mail.decode(record.payload))
        assert.strictEqual(message.recipient, delegate.agent)
        assert.isTrue(Result.isSuccess(Mail.open({ message, identity: network.identity("delegate") })))
        const { messages } = yield* delegate.mail.read
        assert.deepStrictEqual(bodies(messages), ["hello"])
        assert.strictEqual(messages[0].sender, ann.address)
      }).pipe(Effect.scoped, onNetwork))
  }

  it.effect("is delivered as it arrives", () =>
    Effect.gen(function*() {
      const { ann, delegate } = yield* withDelegate()
      yield* delegate.announceProfile({})
      yield* settle
      const arriving = yield* Effect.forkChild(Stream.runCollect(Stream.take(delegate.mail.messages, 1)), {
        startImmediately: true
      })
      yield* settle
      yield* ann.mail.send(text(delegate.agent, "hello"))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(bodies(yield* Fiber.join(arriving)), ["hello"])
    }).pipe(Effect.scoped, onNetwork))

  it.effect("comes from the master's address, and can be answered although nothing was announced", () =>
    Effect.gen(function*() {
      const { ann, delegate } = yield* withDelegate()
      yield* ann.announceProfile({})
      yield* settle
      yield* delegate.mail.send(text(ann.address, "hello"))
      yield* settle
      const { messages: [message] } = yield* ann.mail.read
      assert.strictEqual(message.sender, delegate.agent)
      yield* ann.mail.send(text(message.sender, "yes"))
      yield* settle
      assert.deepStrictEqual(bodies((yield* delegate.mail.read).messages), ["yes"])
    }).pipe(Effect.scoped, onNetwork))

  it.effect("goes to the key of the latest delegation, also from a sender that wrote to an earlier one", () =>
    Effect.gen(function*() {
      const { ann, delegate } = yield* withDelegate({ issuedAt: now - 100 })
      yield* delegate.publishEndpoint({ endpoints: [] })
      yield* settle
      yield* ann.mail.send(text(delegate.agent, "to the first"))
      yield* settle
      const next = yield* joined("next", 101, { issuedAt: now - 50 })
      yield* next.publishEndpoint({ endpoints: [] })
      yield* settle
      yield* ann.mail.send(text(delegate.agent, "to the second"))
      yield* settle
      assert.deepStrictEqual(bodies((yield* next.mail.read).messages), ["to the second"])
      assert.deepStrictEqual(bodies((yield* delegate.mail.read).messages), ["to the first"])
    }).pipe(Effect.scoped, onNetwork))

  it.effect("excludes messages to the operational key's own address that were copied there", () =>
    Effect.gen(function*() {
      const { ann, delegate, nodes } = yield* withDelegate()
      const own = network.identity("delegate")
      const payload = Result.getOrThrow(Mail.seal({
        ...text(own.address, "to another name"),
        sender: ann.address,
        recipientPublicKey: own.publicKey,
        ephemeralSeed: new Uint8Array(32).fill(1),
        nonce: new Uint8Array(12)
      }))
      const { address } = ann
      const record = Result.getOrThrow(Record.sign({
        signer: network.identity("node 1"),
        address,
        type: Record.RecordType.mailbox,
        payload,
        seq: 1n,
        timestamp: BigInt(now),
        ttl: 3600
      }))
      for (const node of nodes) {
        yield* Context.get(node, Store).put(NodeId.fromAddress(delegate.agent), record)
      }
      assert.deepStrictEqual((yield* delegate.mail.read).messages, [])
    }).pipe(Effect.scoped, onNetwork))

  it.effect("is refused if the delegation of the only record has expired", () =>
    Effect.gen(function*() {
      const { ann, delegate } = yield* withDelegate({ expiresAt: now + 100 })
      yield* delegate.publishEndpoint({ endpoints: [] })
      yield* settle
      yield* ann.mail.send(text(delegate.agent, "hello"))
      yield* TestClock.setTime((now + 200) * 1000)
      const error = yield* Effect.flip(ann.mail.send(text(delegate.agent, "hello?")))
      assert.strictEqual(error._tag, "NoRecipientKey")
    }).pipe(Effect.scoped, onNetwork))
})

describe("a message to an address without an endpoint", () => {
  it.effect("finds the key in a profile, or in any other record of the recipient", () =>
    Effect.gen(function*() {
      const [ann, bob, carol] = (yield* network.build(6)).map(network.dht)
      yield* bob.publishProfile({ name: "Bob" })
      yield* carol.publishCustom({ type: 0x07, payload: Uint8Array.of(1) })
      yield* settle
      for (const recipient of [bob, carol]) {
        yield* ann.mail.send(text(recipient.address, "hello"))
        yield* settle
        assert.deepStrictEqual(bodies((yield* recipient.mail.read).messages), ["hello"])
      }
    }).pipe(Effect.scoped, onNetwork))

  it.effect("finds the key among the messages of others at the same place", () =>
    Effect.gen(function*() {
      const [ann, bob, carol] = (yield* network.build(6)).map(network.dht)
      yield* bob.publishProfile({ name: "Bob" })
      yield* settle
      for (const body of ["one", "two", "three", "four"]) yield* carol.mail.send(text(bob.address, body.repeat(50)))
      yield* settle
      yield* ann.mail.send(text(bob.address, "hello"))
      yield* settle
      assert.include(bodies((yield* bob.mail.read).messages), "hello")
    }).pipe(Effect.scoped, onNetwork))

  it.effect("fails and says what the recipient can do if no key is known", () =>
    Effect.gen(function*() {
      const [ann] = (yield* network.build(3)).map(network.dht)
      const error = yield* Effect.flip(ann.mail.send(text(network.addressOf("nobody"), "hello")))
      assert.strictEqual(error._tag, "NoRecipientKey")
      assert.match(error.message, /profile/)
    }).pipe(Effect.scoped, onNetwork))
})

describe("the mailbox of a recipient that is offline", () => {
  /** A recipient that publishes a profile and leaves, before the nodes send `messages` to it in turn. */
  const away = Effect.fnUntraced(function*(nodes: ReadonlyArray<network.Node>, messages: number) {
    const socket = network.socketOf(200)
    const recipient = network.identity("recipient").address
    yield* Effect.scoped(Effect.gen(function*() {
      const node = network.dht(yield* network.node("recipient", socket))
      yield* node.bootstrap([network.socketOf(1)])
      yield* node.publishProfile({ name: "Away" })
      yield* settle
    }))
    const bodies = Array.from({ length: messages }, (_, i) => `message ${i}`)
    yield* Effect.forEach(
      bodies,
      (body, i) => network.dht(nodes[i % nodes.length]).mail.send(text(recipient, body)),
      { concurrency: "unbounded", discard: true }
    )
    yield* TestClock.adjust("1 minute")
    const back = Effect.gen(function*() {
      const node = network.dht(yield* network.node("recipient", socket))
      yield* node.bootstrap([network.socketOf(1)])
      return node
    })
    return { back, bodies }
  })

  for (const [nodes, senders, messages] of [[24, 20, 50], [3, 3, 12]]) {
    it.effect(
      `is read on return, ${messages} messages of ${senders} senders in a network of ${nodes}, once each`,
      () =>
        Effect.gen(function*() {
          const all = yield* network.build(nodes)
          const { back, bodies: written } = yield* away(all.slice(0, senders), messages)
          const node = yield* back
          const { completeness, messages: read } = yield* node.mail.read
          assert.deepStrictEqual(bodies(read).toSorted(), written.toSorted())
          assert.strictEqual(completeness.seen, completeness.held)
        }).pipe(Effect.scoped, onNetwork),
      60_000
    )
  }

  it.effect("is read whole in a network of two, where the other node holds all", () =>
    Effect.gen(function*() {
      const [holder] = yield* network.build(1)
      const recipient = network.identity("recipient")
      const written = Array.from({ length: 12 }, (_, i) => `message ${i}`)
      for (const [i, body] of written.entries()) {
        const sender = network.identity(`sender ${i % 3}`)
        const record = Result.getOrThrow(Record.sign({
          signer: sender,
          address: sender.address,
          type: Record.RecordType.mailbox,
          payload: Result.getOrThrow(Mail.seal({
            ...text(recipient.address, body),
            sender: sender.address,
            recipientPublicKey: recipient.publicKey,
            ephemeralSeed: new Uint8Array(32).fill(1 + i),
            nonce: new Uint8Array(12)
          })),
          seq: 1n,
          timestamp: BigInt(now),
          ttl: 3600
        }))
        yield* Context.get(holder, Store).put(recipient.nodeId, record)
      }
      const node = network.dht(yield* network.node("recipient", network.socketOf(2)))
      yield* node.bootstrap([network.socketOf(1)])
      assert.deepStrictEqual(bodies((yield* node.mail.read).messages).toSorted(), written.toSorted())
    }).pipe(Effect.scoped, onNetwork))

  it.effect("is delivered on return, each message once, and then each as it arrives", () =>
    Effect.gen(function*() {
      const all = yield* network.build(24)
      const { back, bodies: written } = yield* away(all.slice(0, 20), 48)
      const node = yield* back
      const arrived: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(node.mail.messages, (message) => Effect.sync(() => arrived.push(...bodies([message])))),
        { startImmediately: true }
      )
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(arrived.toSorted(), written.toSorted())
      yield* network.dht(all[21]).mail.send(text(node.address, "late"))
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(arrived.slice(written.length), ["late"])
    }).pipe(Effect.scoped, onNetwork), 60_000)
})

describe("a mailbox of many messages", () => {
  it.effect("is decrypted four messages a turn, so that a flood of them does not hold up the node", () =>
    Effect.gen(function*() {
      const reader = network.identity("reader")
      const records = Array.from({ length: 30 }, (_, i) => {
        const sender = network.identity(`sender ${i}`)
        const payload = Mail.seal({
          sender: sender.address,
          recipient: reader.address,
          recipientPublicKey: reader.publicKey,
          type: Mail.MessageType.text,
          body: Uint8Array.of(i),
          ephemeralSeed: new Uint8Array(32).fill(i + 1),
          nonce: new Uint8Array(12)
        })
        return Result.getOrThrow(Record.sign({
          signer: sender,
          address: sender.address,
          type: Record.RecordType.mailbox,
          payload: Result.getOrThrow(payload),
          seq: 1n,
          timestamp: BigInt(i),
          ttl: 3600
        }))
      })
      let inThisTurn = 0
      let most = 0
      const counting: Crypto.Provider = {
        ...Crypto.noble,
        decrypt: (...args) => {
          most = Math.max(most, ++inThisTurn)
          return Crypto.noble.decrypt(...args)
        }
      }
      const completeness = { answered: 0, holders: 0, seen: 0, held: 0 }
      const mail = yield* Layer.build(Mail.layer.pipe(Layer.provide([
        Layer.mock(Query)({
          lookup: () => Effect.succeed({ records, completeness, closest: [], dual: [], isSurrounded: false, trace: [] })
        }),
        Layer.mock(Publisher)({}),
        Layer.mock(Watch)({
          records: () => Stream.make({ records, completeness }),
          deliverUnsafe: () => assert.fail()
        }),
        Identity.layer(reader),
        network.layerRandom("reader"),
        Layer.succeed(Crypto.Crypto, counting)
      ])))
      const { messages, read } = Context.get(mail, Mail.Mail)
      yield* Effect.forkScoped(Effect.forever(Effect.sync(() => {
        inThisTurn = 0
      })))
      const expected = records.map((_, i) => i)
      assert.deepStrictEqual((yield* read).messages.map(({ body }) => body[0]), expected)
      yield* Effect.yieldNow
      assert.deepStrictEqual((yield* Stream.runCollect(messages)).map(({ body }) => body[0]), expected)
      assert.strictEqual(most, 4)
    }))
})
