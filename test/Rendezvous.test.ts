import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as TestClock from "effect/testing/TestClock"
import * as DhtMetrics from "../src/DhtMetrics.ts"
import * as Features from "../src/Features.ts"
import * as Message from "../src/Message.ts"
import { Rendezvous } from "../src/Rendezvous.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const features = Features.own({ client: false, sessions: false })

/** The next message of a type to a puppet, which answers the pings before it if it is to prove its address. */
const next = Effect.fnUntraced(function*(puppet: network.Puppet, tag: Message.Body["_tag"], proves = true) {
  while (true) {
    const { from, message } = yield* puppet.receive
    if (message.body._tag === tag) return message
    if (message.body._tag === "Ping" && proves) {
      const observed = SocketAddress.encodeObserved(from)
      yield* puppet.send(from, { _tag: "Pong", address: puppet.address, observed }, message.transactionId, features)
    }
  }
})

/** A node, and a puppet that attends at it. */
const setUp = Effect.gen(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const node = yield* network.node("node", network.socketOf(1), { passive: true })
  const at = network.socketOf(1)
  const attendant = yield* network.puppet("attendant", network.socketOf(2))
  yield* network.introduce(attendant, at, features)
  yield* attendant.send(at, { _tag: "Attend", mapping: 2 }, "a0".repeat(20), features)
  yield* next(attendant, "Pong")
  const requester = yield* network.puppet("requester", network.socketOf(3))
  const meet = (id: string, mapping = 1) =>
    requester.send(at, { _tag: "Meet", callee: attendant.id, mapping }, id.repeat(20), features)
  return { node, at, attendant, requester, meet }
})

describe("a node in the middle", () => {
  it.effect("tells an attendant of a requester, and the requester of it, once the requester has proved its address", () =>
    Effect.gen(function*() {
      const { at, attendant, meet, node, requester } = yield* setUp
      const invited = yield* Effect.forkScoped(next(attendant, "Invite"), { startImmediately: true })
      yield* meet("01")
      const { from, message } = yield* requester.receive
      assert.strictEqual(message.body._tag, "Ping")
      yield* TestClock.adjust(100)
      assert.isUndefined(invited.pollUnsafe())
      const observed = SocketAddress.encodeObserved(from)
      yield* requester.send(
        from,
        { _tag: "Pong", address: requester.address, observed },
        message.transactionId,
        features
      )
      const response = (yield* next(requester, "MeetResponse")).body
      const contact = ({ address, host, id, port }: network.Puppet) => ({ address, host, id, port })
      assert.deepStrictEqual(response, {
        _tag: "MeetResponse",
        outcome: Message.meeting.introduced,
        observed: SocketAddress.encodeObserved(requester),
        callee: contact(attendant),
        mapping: 2
      })
      assert.deepStrictEqual((yield* Fiber.join(invited)).body, { _tag: "Invite", caller: contact(requester) })
      assert.strictEqual(yield* Context.get(node, Rendezvous).introduced, 1)
      assert.deepStrictEqual(at, network.socketOf(1))
    }).pipe(Effect.scoped, onNetwork))

  it.effect("tells no attendant of a requester that proves nothing, which is told to try again", () =>
    Effect.gen(function*() {
      const { attendant, meet, node, requester } = yield* setUp
      const invited = yield* Effect.forkScoped(next(attendant, "Invite"), { startImmediately: true })
      for (const id of ["01", "02", "03"]) {
        yield* meet(id)
        yield* TestClock.adjust("5 seconds")
      }
      assert.isUndefined(invited.pollUnsafe())
      assert.strictEqual(yield* Context.get(node, Rendezvous).introduced, 0)
      const { body } = yield* next(requester, "MeetResponse", false)
      assert.strictEqual(body._tag === "MeetResponse" ? body.outcome : body._tag, Message.meeting.busy)
    }).pipe(Effect.scoped, onNetwork))

  it.effect("refuses at once what cannot succeed, also before a proof", () =>
    Effect.gen(function*() {
      const { at, meet, requester } = yield* setUp
      yield* meet("01", 2)
      const outcomeOf = (body: Message.Body) => body._tag === "MeetResponse" ? body.outcome : assert.fail(body._tag)
      assert.strictEqual(outcomeOf((yield* next(requester, "MeetResponse", false)).body), Message.meeting.bothSymmetric)
      const stranger = network.identity("stranger").nodeId
      yield* requester.send(at, { _tag: "Meet", callee: stranger, mapping: 1 }, "02".repeat(20), features)
      assert.strictEqual(outcomeOf((yield* next(requester, "MeetResponse", false)).body), Message.meeting.unknown)
    }).pipe(Effect.scoped, onNetwork))
})

describe("a node", () => {
  it.effect("sends nothing to a node that a peer invites it to meet, unless it attends there", () =>
    Effect.gen(function*() {
      const { at, attendant, requester } = yield* setUp
      const reached = yield* Effect.forkScoped(requester.receive, { startImmediately: true })
      const { address, host, id, port } = requester
      yield* attendant.send(at, { _tag: "Invite", caller: { address, host, id, port } }, "b0".repeat(20), features)
      yield* TestClock.adjust("10 seconds")
      assert.isUndefined(reached.pollUnsafe())
    }).pipe(Effect.scoped, onNetwork))

  it.effect("counts its attempts by their outcome and the mappings of both routers", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      const node = yield* network.node("node", network.socketOf(1), { passive: true })
      const middle = yield* network.puppet("middle", network.socketOf(2))
      yield* network.introduce(middle, network.socketOf(1), features)
      const { connect, punches } = Context.get(node, Rendezvous)
      const callee = network.identity("callee")
      const trying = yield* Effect.forkScoped(Effect.flip(Effect.scoped(connect(callee.address))), {
        startImmediately: true
      })
      const asked = yield* next(middle, "Meet")
      const observed = SocketAddress.encodeObserved(network.socketOf(1))
      const { bothSymmetric: outcome } = Message.meeting
      yield* middle.send(
        network.socketOf(1),
        { _tag: "MeetResponse", outcome, observed },
        asked.transactionId,
        features
      )
      const { reason, relays } = yield* Fiber.join(trying)
      assert.strictEqual(reason, "BothSymmetric")
      assert.deepStrictEqual(relays.map(({ id }) => id), [middle.id])
      assert.deepStrictEqual(yield* punches, [
        { own: "Unknown", peer: "EndpointDependent", outcome: "BothSymmetric", count: 1 }
      ])
      const registry = Context.make(Metric.MetricRegistry, new Map())
      yield* Effect.provideContext(Layer.build(DhtMetrics.layer), Context.merge(node, registry))
      const counted = Metric.snapshotUnsafe(registry).filter((series) =>
        series.id === "dht.punches" && series.type === "Counter" && Number(series.state.count) > 0
      )
      assert.deepStrictEqual(counted.map(({ attributes }) => attributes), [{
        "dht.outcome": "refused",
        "dht.mapping.own": "unknown",
        "dht.mapping.peer": "endpoint_dependent",
        unit: "{attempt}"
      }])
    }).pipe(Effect.scoped, onNetwork))
})

describe("a node that strangers may not reach", () => {
  const attends = Effect.fnUntraced(function*(own: string, other: string) {
    yield* TestClock.setTime(network.now * 1000)
    const at = { host: own, port: 4121 }
    const node = yield* network.node("node", at)
    const contact = yield* network.puppet("contact", { host: other, port: 4121 })
    yield* Effect.forkScoped(network.dht(node).ping(contact), { startImmediately: true })
    yield* contact.answer(
      () => ({ _tag: "Pong", address: contact.address, observed: SocketAddress.encodeObserved(at) }),
      features
    )
    const attend = yield* Effect.forkScoped(next(contact, "Attend"), { startImmediately: true })
    yield* TestClock.adjust("5 minutes")
    return attend.pollUnsafe() !== undefined
  })

  it.effect("attends at a contact, unless that is in its own private network, where no router is between them", () =>
    Effect.gen(function*() {
      assert.isTrue(yield* attends("9.0.1.1", "9.0.2.1"))
      assert.isFalse(yield* attends("192.168.1.1", "192.168.1.2"))
    }).pipe(Effect.scoped, onNetwork))
})
