import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as Features from "../src/Features.ts"
import * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import type { SocketAddress } from "../src/SocketAddress.ts"
import { layerMemoryNetwork, MemoryNetwork, Transport } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { serve } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const ours = Features.own({ client: false, sessions: false })
const dual = Features.own({ client: false, sessions: false, dual: true })
const target = NodeId.fromTopic("families")

const inIpv6 = (n: number): SocketAddress => ({ host: `2400:${n}::1`, port: 4121 })

const setUp = Effect.gen(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const node = yield* network.node("node", network.socketOf(1), { passive: true })
  const self = network.contactOf(node)
  const ask = Effect.fnUntraced(function*(peer: network.Puppet, body: Message.Body, features: Features.Features) {
    yield* network.introduce(peer, self, features)
    yield* peer.send(self, body, "00".repeat(20), features)
    while (true) {
      const { message } = yield* peer.receive
      if (Message.isResponse(Message.Type[message.body._tag])) return message.body
    }
  })
  return { node, self, ask, dht: network.dht(node), table: network.tableOf(node) }
})

const find: Message.Body = { _tag: "FindNode", target }

describe("nodes that are reachable over both families", () => {
  it.effect("are named first and counted, to a peer that shows that it reads this, and to no other", () =>
    Effect.gen(function*() {
      const { ask, self } = yield* setUp
      for (const [i, features] of [dual, ours, 0].entries()) {
        yield* network.introduce(yield* network.puppet(`known ${i}`, network.socketOf(10 + i)), self, features)
      }
      const known = network.identity("known 0").nodeId
      const asker = yield* network.puppet("asker", network.socketOf(60))
      const findValue: Message.Body = { _tag: "FindValue", target, recordType: 0, subscribe: false }
      for (const [i, body] of [find, findValue].entries()) {
        const told = yield* ask(asker, body, ours)
        if (!("nodes" in told)) return assert.fail(told._tag)
        assert.strictEqual(told.dual, 1)
        assert.strictEqual(told.nodes?.[0].id, known)
        assert.strictEqual(new Set(told.nodes?.map(({ id }) => id)).size, told.nodes?.length)
        const plain = yield* ask(yield* network.puppet(`plain ${i}`, network.socketOf(61 + i)), body, 0)
        if (!("nodes" in plain)) return assert.fail(plain._tag)
        assert.isFalse("dual" in plain)
      }
    }).pipe(Effect.scoped, onNetwork))

  it.effect("are not mentioned where none is known", () =>
    Effect.gen(function*() {
      const { ask } = yield* setUp
      const told = yield* ask(yield* network.puppet("asker", network.socketOf(60)), find, ours)
      assert.isFalse("dual" in told)
    }).pipe(onNetwork))
})

describe("a node of one family", () => {
  it.effect("keeps no node that it cannot send to, and asks as a node of the reference does", () =>
    Effect.gen(function*() {
      const { dht, table } = yield* setUp
      const teller = yield* network.puppet("teller", network.socketOf(61))
      const { address, id } = yield* network.puppet("other", network.socketOf(62))
      const asked: Array<Message.Body> = []
      yield* serve(teller, (body) => {
        asked.push(body)
        return {
          _tag: "FindNodeResponse",
          nodes: [{ address, id, ...inIpv6(5) }],
          observed: undefined,
          dual: 1
        }
      }, ours)
      yield* dht.addContact(teller)
      assert.deepStrictEqual((yield* dht.findNode(target)).map(({ id }) => id), [teller.id])
      assert.isFalse(table.contains(id))
      yield* dht.findNode(target)
      for (const body of asked) assert.deepStrictEqual(body, find)
    }).pipe(onNetwork))
})

describe("a node of both families", () => {
  it.effect("says so in a lookup, to a peer that shows that it reads this and to no other", () =>
    Effect.forEach([ours, Features.Bit["v0.2"], 0], (features) =>
      Effect.gen(function*() {
        const transport = yield* MemoryNetwork.use((memory) => memory.join(network.socketOf(1)))
        const both = Context.make(Transport, Transport.of({ ...transport, reaches: () => true }))
        const node = yield* network.nodeOn(`node ${features}`, both, { passive: true })
        const peer = yield* network.puppet(`peer ${features}`, network.socketOf(61))
        const asked: Array<Message.Body> = []
        yield* network.introduce(peer, network.socketOf(1), features)
        yield* serve(peer, (body) => {
          asked.push(body)
          return { _tag: "FindNodeResponse", nodes: null, observed: undefined }
        }, features)
        yield* network.dht(node).findNode(target)
        assert.deepStrictEqual(asked, [features === ours ? { ...find, both: true } : find])
      }).pipe(Effect.scoped)).pipe(onNetwork))
})
