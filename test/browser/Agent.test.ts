import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Delegation from "../../src/Delegation.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import * as Identity from "../../src/Identity.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as NodeId from "../../src/NodeId.ts"
import * as Record from "../../src/Record.ts"
import * as Transport from "../../src/Transport.ts"
import { crypto } from "../utils/arbitraries.ts"
import { agent, type Fetch, gateway, lying, pair } from "../utils/gateway.ts"
import * as network from "../utils/network.ts"
import { settled } from "../utils/served.ts"

const onNetwork = Effect.provide(Transport.layerMemoryNetwork)

const text = (body: Uint8Array) => new TextDecoder().decode(body)
const bytes = (text: string) => new TextEncoder().encode(text)

describe("Agent", () => {
  it.effect("announces, finds another through another gateway, and exchanges messages with it", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      const ann = yield* agent("ann", a)
      const ben = yield* agent("ben", b)
      yield* ann.announceEndpoint({ endpoints: ["https://ann.example"], natType: Endpoint.NatType.fullCone })
      yield* ann.announceTopic({ topic: "translate", name: "Ann", protocols: ["note"] })
      yield* ann.announceProfile({ name: "Ann", skills: ["translation"] })
      yield* settled

      const [offer, ...others] = yield* ben.discover("translate", { protocols: ["note"] })
      assert.deepStrictEqual([offer.name, offer.address, others.length], ["Ann", ann.address, 0])
      assert.deepStrictEqual(yield* ben.discover("translate", { protocols: ["mcp"] }), [])
      assert.deepStrictEqual((yield* ben.resolve(offer.address))?.endpoints, ["https://ann.example"])
      assert.deepStrictEqual((yield* ben.profile(offer.address))?.skills, ["translation"])
      assert.isUndefined(yield* ann.profile(ben.address))

      yield* ben.mail.send({ recipient: ann.address, body: bytes("Good morning") })
      yield* settled
      const [note] = yield* ann.mail.read
      assert.deepStrictEqual([text(note.body), note.type, note.sender], ["Good morning", 3, ben.address])
      // Ben shows no key but that of his message.
      yield* ann.mail.send({ recipient: note.sender, body: bytes("And to you") })
      yield* settled
      assert.deepStrictEqual((yield* ben.mail.read).map(({ body }) => text(body)), ["And to you"])
    }).pipe(onNetwork))

  it.effect("is found and written to by nodes, and writes to them", () =>
    Effect.gen(function*() {
      const { a, nodes: [, node] } = yield* pair
      const dht = network.dht(node)
      const ann = yield* agent("ann", a)
      yield* ann.announceTopic({ topic: "translate", name: "Ann" })
      yield* ann.announceProfile({ name: "Ann" })
      yield* dht.publishEndpoint({ endpoints: [] })
      yield* settled
      const { offers: [{ address }] } = yield* dht.discover("translate")
      yield* dht.mail.send({ recipient: address, type: 3, body: bytes("From a node") })
      yield* ann.mail.send({ recipient: dht.agent, body: bytes("From a page") })
      yield* settled
      assert.deepStrictEqual((yield* ann.mail.read).map(({ body }) => text(body)), ["From a node"])
      assert.deepStrictEqual((yield* dht.mail.read).messages.map(({ body }) => text(body)), ["From a page"])
    }).pipe(onNetwork))

  it.effect("keeps what it announces alive until the scope closes, and withdraws it then", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      const ann = yield* agent("ann", a)
      const ben = yield* agent("ben", b)
      const scope = yield* Scope.make()
      const { current } = yield* Scope.provide(ann.announceTopic({ topic: "chess", name: "Ann", ttl: 120 }), scope)
      const first = yield* current
      for (let i = 0; i < 20; i++) {
        yield* TestClock.adjust("30 seconds")
        yield* settled
        assert.strictEqual((yield* ben.discover("chess")).length, 1)
      }
      assert.isTrue(Record.isNewer(yield* current, first))
      yield* Scope.close(scope, Exit.void)
      yield* settled
      assert.deepStrictEqual(yield* ben.discover("chess"), [])
    }).pipe(onNetwork))

  it.effect("leaves an announcement to expire if it is to be kept", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      const ann = yield* agent("ann", a)
      const ben = yield* agent("ben", b)
      yield* Effect.scoped(ann.announceTopic({ topic: "chess", name: "Ann", ttl: 120, keepOnClose: true }))
      yield* settled
      assert.strictEqual((yield* ben.discover("chess")).length, 1)
      yield* TestClock.adjust("3 minutes")
      yield* settled
      assert.deepStrictEqual(yield* ben.discover("chess"), [])
    }).pipe(onNetwork))

  it.effect("renews later what the gateway refuses for a while", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      let isDown = false
      const ann = yield* agent("ann", (input, init) => isDown ? Promise.reject(new Error("down")) : a(input, init))
      yield* ann.announceTopic({ topic: "chess", name: "Ann", ttl: 120 })
      isDown = true
      yield* TestClock.adjust("3 minutes")
      yield* settled
      const ben = yield* agent("ben", b)
      assert.deepStrictEqual(yield* ben.discover("chess"), [])
      isDown = false
      yield* TestClock.adjust("1 minute")
      yield* settled
      assert.strictEqual((yield* ben.discover("chess")).length, 1)
    }).pipe(onNetwork))

  it.effect("signs over a record of its own from a device whose clock is ahead", () =>
    Effect.gen(function*() {
      const { a } = yield* pair
      const signer = network.identity("ann")
      const ahead = BigInt(network.now + 86_400) * 1_000_000_000n
      const near = yield* gateway(a)
      yield* near.publish(Result.getOrThrow(Endpoint.sign({
        signer,
        address: signer.address,
        payload: Endpoint.make({ endpoints: ["tcp://203.0.113.5:1"] }),
        seq: ahead,
        timestamp: BigInt(network.now),
        ttl: 3600
      })))
      const ann = yield* agent("ann", a)
      const { current } = yield* ann.announceEndpoint({ endpoints: ["tcp://203.0.113.5:2"] })
      assert.strictEqual((yield* current).seq, ahead + 1n)
    }).pipe(onNetwork))

  it.effect("signs no larger seq on the word of a gateway that shows no record with it", () =>
    Effect.gen(function*() {
      const stale = { _tag: "StaleRecord", detail: "held", seq: "1", held_seq: "18446744073709551614" }
      const sent: Array<bigint> = []
      const ann = yield* agent("ann", async (_, init) => {
        if (init?.method !== "POST") return Response.json({ records: [], next: null })
        const { signed_hex } = JSON.parse(String(init.body))
        sent.push(Result.getOrThrow(Record.decode(Hex.decode(signed_hex))).seq)
        return Response.json(stale, { status: 409 })
      })
      yield* TestClock.setTime(network.now * 1000)
      const error = yield* Effect.flip(ann.announceEndpoint({ endpoints: [] }))
      assert.strictEqual(error._tag === "GatewayRefused" && error.problem, "StaleRecord")
      assert.deepStrictEqual(sent, [BigInt(network.now) * 1_000_000_000n])
    }))

  it.effect("refuses the results of a gateway that changes or exchanges records", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      const ann = yield* agent("ann", a)
      const mallory = yield* agent("mallory", a)
      yield* ann.announceEndpoint({ endpoints: ["https://ann.example"] })
      yield* ann.announceTopic({ topic: "translate", name: "Ann" })
      yield* mallory.announceEndpoint({ endpoints: ["https://mallory.example"] })
      yield* settled

      const changing = yield* agent(
        "ben",
        lying(b, ({ next, records }) => ({
          records: records.map(({ signed_hex }) => ({
            signed_hex: signed_hex.replace(Hex.encode(bytes("Ann")), Hex.encode(bytes("Eve")))
          })),
          next
        }))
      )
      assert.strictEqual((yield* Effect.flip(changing.discover("translate")))._tag, "FalseRecord")

      // Shows mallory's records wherever ann's are requested.
      const exchanging: Fetch = (input, init) =>
        b(String(input).replace(NodeId.fromAddress(ann.address), NodeId.fromAddress(mallory.address)), init)
      const ben = yield* agent("ben", exchanging)
      assert.strictEqual((yield* Effect.flip(ben.resolve(ann.address)))._tag, "FalseRecord")
      const letter = { recipient: ann.address, body: bytes("For Ann only") }
      assert.strictEqual((yield* Effect.flip(ben.mail.send(letter)))._tag, "FalseRecord")
    }).pipe(onNetwork))

  it.effect("does not send to an address that shows no key, and sends no longer text than fits", () =>
    Effect.gen(function*() {
      const { a } = yield* pair
      const ann = yield* agent("ann", a)
      const recipient = network.identity("ben").address
      assert.strictEqual(
        (yield* Effect.flip(ann.mail.send({ recipient, body: bytes("Hello") })))._tag,
        "NoRecipientKey"
      )
      yield* ann.announceProfile({ name: "Ann" })
      const tooLong = yield* Effect.flip(ann.mail.send({ recipient: ann.address, body: new Uint8Array(390) }))
      assert.strictEqual(tooLong._tag === "InvalidRecord" && tooLong.excess?.field, "body")
      const topic = yield* Effect.flip(ann.announceTopic({ topic: "" }))
      assert.strictEqual(topic._tag, "InvalidRecord")
      assert.strictEqual((yield* Effect.flip(ann.discover("")))._tag, "InvalidTopic")
    }).pipe(onNetwork))

  it.effect("acts for the address that delegated to its key, until the delegation ends", () =>
    Effect.gen(function*() {
      const { a, b } = yield* pair
      const master = network.identity("master")
      const key = network.identity("page")
      const delegation = Delegation.delegate({
        master,
        operationalPublicKey: key.publicKey,
        issuedAt: BigInt(network.now),
        expiresAt: BigInt(network.now + 600)
      })
      const ann = yield* agent(Result.getOrThrow(Identity.withDelegation(key, delegation, crypto)), a)
      const ben = yield* agent("ben", b)
      assert.strictEqual(ann.address, master.address)
      yield* ann.announceProfile({ name: "Ann" })
      yield* settled
      assert.strictEqual((yield* ben.profile(master.address))?.name, "Ann")
      yield* ben.mail.send({ recipient: master.address, body: bytes("Hello") })
      yield* settled
      assert.deepStrictEqual((yield* ann.mail.read).map(({ body }) => text(body)), ["Hello"])
      yield* TestClock.adjust("10 minutes")
      const error = yield* Effect.flip(ann.announceEndpoint({ endpoints: [] }))
      assert.strictEqual(error._tag, "DelegationExpired")
    }).pipe(onNetwork))
})
