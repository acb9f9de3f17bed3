import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as IpNetwork from "effect/net/IpNetwork"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Transport from "../src/Transport.ts"

const alice = { host: "alice", port: 0 }
const bob = { host: "bob", port: 0 }
const bytes = (...values: Array<number>) => Uint8Array.from(values)

const join = (address: typeof alice) => Transport.MemoryNetwork.use((network) => network.join(address))
const receiveAll = Effect.fnUntraced(function*(receive: Transport.Transport["Service"]["receive"], count: number) {
  const received: Array<Transport.Datagram> = []
  while (received.length < count) received.push(...(yield* receive))
  return received
})
const onNetwork = Effect.provide(Transport.layerMemoryNetwork)

describe("Transport", () => {
  describe("in memory", () => {
    it.effect("delivers datagrams in order, with their sender", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const b = yield* join(bob)
        yield* a.send(bytes(0xa4, 1), bob)
        yield* a.send(bytes(0xa4, 2), bob)
        assert.deepStrictEqual(yield* b.receive, [
          { payload: bytes(0xa4, 1), from: alice },
          { payload: bytes(0xa4, 2), from: alice }
        ])
      }).pipe(onNetwork))

    it.effect("waits for a datagram that has not arrived yet", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const b = yield* join(bob)
        const received = yield* Effect.forkChild(b.receive, { startImmediately: true })
        yield* a.send(bytes(0xa4), bob)
        assert.strictEqual((yield* Fiber.join(received)).length, 1)
      }).pipe(onNetwork))

    it.effect("gives sender and receiver separate bytes", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const b = yield* join(bob)
        const payload = bytes(0xa4, 1)
        yield* a.send(payload, bob)
        payload[1] = 2
        assert.deepStrictEqual((yield* b.receive)[0].payload, bytes(0xa4, 1))
      }).pipe(onNetwork))

    it.effect("returns at most 32 at once, from each sender in turn", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const b = yield* join(bob)
        const c = yield* join({ host: "carol", port: 0 })
        for (let i = 0; i < 100; i++) yield* a.send(bytes(0xa4), bob)
        yield* c.send(bytes(0xa5), bob)
        const batch = yield* b.receive
        assert.strictEqual(batch.length, 32)
        assert.strictEqual(batch[1].from.host, "carol")
      }).pipe(onNetwork))

    it.effect("fails with UnknownPeer if no peer has that name", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const error = yield* Effect.flip(a.send(bytes(0xa4), bob))
        assert.strictEqual(error._tag, "UnknownPeer")
        assert.strictEqual(error.message, "No peer is at bob")
      }).pipe(onNetwork))

    it.effect("fails with DuplicatePeer if another peer has that name", () =>
      Effect.gen(function*() {
        yield* join(alice)
        assert.strictEqual((yield* Effect.flip(join(alice)))._tag, "DuplicatePeer")
      }).pipe(onNetwork))

    it.effect("fails with InboxFull after 256 unread datagrams, and counts the loss", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const b = yield* join(bob)
        for (let i = 0; i < 256; i++) yield* a.send(bytes(0xa4), bob)
        assert.strictEqual((yield* Effect.flip(a.send(bytes(0xa4), bob)))._tag, "InboxFull")
        assert.strictEqual(yield* b.dropped, 1)
        assert.strictEqual((yield* receiveAll(b.receive, 256)).length, 256)
        yield* a.send(bytes(0xa4), bob)
      }).pipe(onNetwork))

    it.effect("fails with DatagramTooLarge above 1200 bytes", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        yield* join(bob)
        yield* a.send(new Uint8Array(1200), bob)
        const error = yield* Effect.flip(a.send(new Uint8Array(1201), bob))
        assert.strictEqual(error.message, "The datagram has 1201 bytes, and at most 1200 can be sent")
      }).pipe(onNetwork))

    it.effect("closes with its scope: sending and receiving fail, and the name is available again", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const a = yield* Scope.provide(join(alice), scope)
        const b = yield* join(bob)
        const receiving = yield* Effect.forkChild(Effect.flip(a.receive), { startImmediately: true })
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Fiber.join(receiving))._tag, "TransportClosed")
        assert.strictEqual((yield* Effect.flip(a.send(bytes(0xa4), bob)))._tag, "TransportClosed")
        assert.strictEqual((yield* Effect.flip(b.send(bytes(0xa4), alice)))._tag, "UnknownPeer")
        yield* join(alice)
      }).pipe(onNetwork))
  })

  describe("a receiver", () => {
    const receiver = () => {
      const got: Array<number> = []
      return { got, deliver: (payload: Uint8Array) => got.push(payload[1]) < 4 }
    }

    it.effect("gets what waits and then each datagram as it arrives, until its scope closes", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const b = yield* join(bob)
        yield* a.send(bytes(0xa4, 1), bob)
        const { deliver, got } = receiver()
        yield* Effect.scoped(Effect.andThen(b.deliverTo(deliver), a.send(bytes(0xa4, 2), bob)))
        yield* a.send(bytes(0xa4, 3), bob)
        assert.deepStrictEqual(got, [1, 2])
        assert.deepStrictEqual(yield* b.receive, [{ payload: bytes(0xa4, 3), from: alice }])
      }).pipe(onNetwork))

    it.effect("does not get what belongs to the protocol that shares the port", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const b = yield* join(bob)
        const { deliver, got } = receiver()
        yield* b.deliverTo(deliver)
        yield* a.foreign.send(bytes(0x40, 1), bob)
        yield* a.send(bytes(0x00, 0xec), bob)
        assert.deepStrictEqual(got, [])
        assert.strictEqual((yield* b.foreign.receive).length, 1)
      }).pipe(onNetwork))

    it.effect("says where it has no room, which fails the sending with InboxFull", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const b = yield* join(bob)
        yield* b.deliverTo(receiver().deliver)
        for (let i = 0; i < 3; i++) yield* a.send(bytes(0xa4, i), bob)
        assert.strictEqual((yield* Effect.flip(a.send(bytes(0xa4, 3), bob)))._tag, "InboxFull")
        // The receiver counts what it loses.
        assert.strictEqual(yield* b.dropped, 0)
      }).pipe(onNetwork))

    it.effect("cannot be registered beside another, which stays", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const b = yield* join(bob)
        const first = receiver()
        yield* b.deliverTo(first.deliver)
        assert.isTrue(Exit.hasDies(yield* Effect.exit(Effect.scoped(b.deliverTo(receiver().deliver)))))
        yield* a.send(bytes(0xa4, 1), bob)
        assert.deepStrictEqual(first.got, [1])
      }).pipe(onNetwork))
  })

  describe("port sharing", () => {
    it.effect("passes datagrams whose first byte has bit 0x40 to the other protocol", () =>
      Effect.gen(function*() {
        const a = yield* join(alice)
        const b = yield* join(bob)
        for (let first = 0; first < 256; first++) yield* a.foreign.send(bytes(first, 0, 0), bob)
        const ours = (yield* receiveAll(b.receive, 128)).map(({ payload }) => payload[0])
        const foreign = (yield* receiveAll(b.foreign.receive, 128)).map(({ payload }) => payload[0])
        assert.isTrue(foreign.every((first) => (first & 0x40) !== 0))
        assert.isTrue(ours.every((first) => (first & 0x40) === 0))
      }).pipe(onNetwork))

    it.effect("stops two nodes from bouncing an echo forever", () =>
      Effect.gen(function*() {
        // Both answer echoes synchronously: without a limit the stack
        // overflows.
        const a = yield* join(alice)
        yield* join(bob)
        yield* a.send(bytes(0x00, 0xec), bob)
        yield* TestClock.adjust("10 seconds")
        yield* a.send(bytes(0x00, 0xec), bob)
      }).pipe(onNetwork))
  })

  describe("with rules for networks", () => {
    const from = (host: string) => ({ host, port: 4121 })

    /** A transport that admits 192.0.2.0/24 except 192.0.2.128/25, what arrives there, and what it sends. */
    const ruled = Effect.gen(function*() {
      const sent: Array<string> = []
      let arrive: Transport.Deliver = () => false
      const transport = yield* Transport.fromSocket(
        (deliver) =>
          Effect.sync((): Transport.Socket => {
            arrive = deliver
            return {
              address: from("192.0.2.1"),
              transmit: (_, { host }) => {
                sent.push(host)
                return undefined
              }
            }
          }),
        { capacity: 8, perSender: 8 },
        {
          allowFrom: [IpNetwork.fromStringUnsafe("192.0.2.0/24")],
          denyFrom: [IpNetwork.fromStringUnsafe("192.0.2.128/25")]
        }
      )
      return { transport, sent, arrive }
    })

    it.effect("drops and counts datagrams of other networks, whatever protocol they are of", () =>
      Effect.gen(function*() {
        const { arrive, sent, transport } = yield* ruled
        for (const payload of [bytes(0xa4, 1), bytes(0x00, 0xec), bytes(0x40), bytes()]) {
          for (const host of ["198.51.100.1", "192.0.2.200", "2001:db8::1"]) arrive(payload, from(host))
        }
        assert.strictEqual(yield* transport.denied, 12)
        arrive(bytes(0xa4, 2), from("192.0.2.2"))
        arrive(bytes(0x40, 2), from("192.0.2.2"))
        assert.deepStrictEqual((yield* transport.receive).map(({ payload }) => payload[1]), [2])
        assert.deepStrictEqual((yield* transport.foreign.receive).map(({ payload }) => payload[1]), [2])
        assert.deepStrictEqual(sent, [])
        assert.deepStrictEqual([yield* transport.denied, yield* transport.dropped], [12, 0])
      }))

    it.effect("sends nothing there", () =>
      Effect.gen(function*() {
        const { sent, transport } = yield* ruled
        for (const send of [transport.send, transport.foreign.send]) {
          const error = yield* Effect.flip(send(bytes(0xa4), from("198.51.100.1")))
          assert.deepInclude(error, { _tag: "Unroutable", reason: "Network" })
          assert.strictEqual(error.message, "No datagram goes to 198.51.100.1:4121, whose network is excluded")
          yield* send(bytes(0xa4), from("192.0.2.2"))
        }
        assert.deepStrictEqual(sent, ["192.0.2.2", "192.0.2.2"])
      }))
  })
})
