import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as Features from "../src/Features.ts"
import * as Message from "../src/Message.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Record from "../src/Record.ts"
import { Rendezvous } from "../src/Rendezvous.ts"
import * as Rpc from "../src/Rpc.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork, MemoryNetwork } from "../src/Transport.ts"
import { crypto } from "./utils/arbitraries.ts"
import * as network from "./utils/network.ts"
import { offer } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const crowd = NodeId.fromTopic("crowd")
const none = { _tag: "FindValue", recordType: 0, subscribe: false } as const

/** A record at the key of its publisher, of about so many bytes. */
const sized = (owner: string, bytes: number) => {
  const signer = network.identity(owner)
  return Result.getOrThrow(Record.sign({
    signer,
    address: signer.address,
    type: 0x0f,
    payload: new Uint8Array(bytes),
    seq: 1n,
    timestamp: BigInt(network.now),
    ttl: 3600
  }))
}

/** The contacts nearest to the target of FIND_NODE. */
const nearest = Array.from({ length: 40 }, (_, i) => network.identity(`contact ${i}`).nodeId)
  .sort((a, b) => NodeId.compareDistance(NodeId.zero, a, b)).slice(0, 16)

/** A contact that attends at the node. */
const attendant = network.identity("contact 2")

const claimed = (port: number) => SocketAddress.encodeObserved({ host: network.socketOf(500).host, port })

const requests: { readonly [name: string]: Message.Body } = {
  "PING": { _tag: "Ping", address: network.identity("stranger").address },
  "FIND_NODE": { _tag: "FindNode", target: NodeId.zero },
  "FIND_VALUE of nothing": { ...none, target: NodeId.zero },
  "FIND_VALUE of a crowd": { ...none, target: crowd },
  "FIND_VALUE by digests": { ...none, target: crowd, wanted: ["00".repeat(6)] },
  "FIND_VALUE that subscribes": { ...none, target: crowd, subscribe: true },
  ...Object.fromEntries(
    [50, 150, 250, 350, 800].map((bytes): [string, Message.Body] => [
      `FIND_VALUE of ${bytes} bytes`,
      { ...none, target: Record.ownKey(sized(`owner of ${bytes}`, bytes)) }
    ])
  ),
  "STORE": { _tag: "Store", record: sized("small", 0), key: undefined },
  "STORE of much": { _tag: "Store", record: sized("large", 700), key: undefined },
  "STORE among a crowd": { _tag: "Store", record: offer("crowd", "late"), key: crowd },
  "STORE of nonsense": { _tag: "Store", record: offer("crowd", "late"), key: NodeId.zero },
  "NAT_PROBE": { _tag: "NatProbe", token: new Uint8Array(8), claimed: claimed(4121) },
  "NAT_PROBE of another port": { _tag: "NatProbe", token: new Uint8Array(8), claimed: claimed(5000) },
  "ATTEND": { _tag: "Attend", mapping: 1 },
  "MEET of a node that attends": { _tag: "Meet", callee: attendant.nodeId, mapping: 1 },
  "MEET of a node that is not known": { _tag: "Meet", callee: NodeId.zero, mapping: 1 },
  "MEET of the node itself": { _tag: "Meet", callee: network.identity("node").nodeId, mapping: 1 },
  "INVITE": {
    _tag: "Invite",
    caller: { id: attendant.nodeId, address: attendant.address, ...network.socketOf(500) }
  },
  "PUSH": { _tag: "Push", key: crowd, record: offer("crowd", "late") }
}

describe("a datagram whose source may be forged causes at most three times its bytes, pings and repetitions included:", () => {
  const setUp = Effect.gen(function*() {
    yield* TestClock.setTime(network.now * 1000)
    const node = yield* network.node("node", network.socketOf(1), { passive: true })
    const table = network.tableOf(node)
    for (let i = 0; i < 40; i++) {
      const { address, nodeId: id } = network.identity(`contact ${i}`)
      table.add({ id, address, ...network.socketOf(100 + i) }, network.now * 1000, network.now * 1000)
    }
    const store = Context.get(node, Store)
    for (let i = 0; i < 60; i++) {
      assert.strictEqual(
        store.admitUnsafe(crowd, offer("crowd", `agent ${i}`), network.now, `network ${i}`)._tag,
        "Stored"
      )
    }
    for (const bytes of [50, 150, 250, 350, 800]) yield* store.put(undefined, sized(`owner of ${bytes}`, bytes))
    Context.get(node, Rendezvous).serveUnsafe(
      { _tag: "Attend", mapping: 1 },
      {
        id: attendant.nodeId,
        address: attendant.address,
        ...network.socketOf(102),
        features: 0,
        bytes: 200,
        isInSession: false
      },
      network.now * 1000,
      () => {}
    )
    const memory = yield* MemoryNetwork
    /** Bytes received at an address, where nothing is answered. */
    const listen = Effect.fnUntraced(function*(at: SocketAddress.SocketAddress) {
      const transport = yield* memory.join(at)
      const heard: Array<Uint8Array> = []
      yield* Effect.forkScoped(Effect.forever(Effect.map(transport.receive, (datagrams) => {
        for (const { payload } of datagrams) heard.push(payload)
      })))
      return {
        heard,
        bytes: () => heard.reduce((sum, { length }) => sum + length, 0),
        send: (payload: Uint8Array) => Effect.orDie(transport.send(payload, network.socketOf(1)))
      }
    })
    return { node, listen, store }
  })

  for (const [name, body] of Object.entries(requests)) {
    for (
      const features of [
        0,
        Features.own({ client: false, sessions: true }),
        Features.own({ client: true, sessions: true })
      ]
    ) {
      for (const sender of ["stranger", "contact 1", "node"]) {
        if (sender !== "stranger" && features === 0) continue
        it.effect(`${name}, signed by ${sender}, with the features ${features}`, () =>
          Effect.gen(function*() {
            const { listen } = yield* setUp
            const victim = yield* listen(network.socketOf(500))
            const beside = yield* listen({ ...network.socketOf(500), port: 5000 })
            const attending = yield* listen(network.socketOf(102))
            const signer = network.identity(sender)
            const signed: Message.Body = body._tag === "Ping" ? { ...body, address: signer.address } : body
            let sent = 0
            for (let i = 0; i < 4; i++) {
              const transactionId = `${i}0`.repeat(20)
              const datagram = Message.encode(signed, { signer, transactionId, features })
              yield* victim.send(datagram)
              sent += datagram.length
              yield* TestClock.adjust(i === 0 ? 1 : i * 3000)
              const received = victim.bytes() + beside.bytes()
              assert.isAtMost(received, Rpc.amplification * sent)
            }
            yield* TestClock.adjust("1 minute")
            assert.isAtMost(victim.bytes() + beside.bytes(), Rpc.amplification * sent)
            assert.isTrue(victim.heard.every((bytes) => Result.isSuccess(Message.decode(bytes, crypto))))
            assert.isFalse(attending.heard.some((bytes) => {
              const header = Message.header(bytes)
              return typeof header === "object" && header.type === Message.Type.Invite
            }))
          }).pipe(onNetwork))
      }
    }
  }

  it.effect("a STORE at a key with forged subscribers", () =>
    Effect.gen(function*() {
      const { listen } = yield* setUp
      const victims = []
      for (let i = 0; i < 32; i++) {
        const victim = yield* listen(network.socketOf(600 + i))
        const signer = network.identity(`subscriber ${i}`)
        yield* victim.send(
          Message.encode(requests["FIND_VALUE that subscribes"], { signer, transactionId: "00".repeat(20) })
        )
        victims.push(victim)
      }
      yield* TestClock.adjust("10 seconds")
      for (const { heard } of victims) heard.splice(0)
      const storing = yield* listen(network.socketOf(500))
      const datagram = Message.encode(requests["STORE among a crowd"], {
        signer: network.identity("stranger"),
        transactionId: "00".repeat(20)
      })
      yield* storing.send(datagram)
      yield* TestClock.adjust("10 seconds")
      const sum = [storing, ...victims].reduce((sum, { bytes }) => sum + bytes(), 0)
      assert.isAbove(storing.heard.length, 0)
      assert.isAtMost(sum, Rpc.amplification * datagram.length)
    }).pipe(onNetwork))
})

describe("the answer to a stranger", () => {
  const asking = Effect.fnUntraced(function*(
    body: Message.Body,
    { at = 1, contacts = 400, name = "node" }: {
      readonly name?: string
      readonly at?: number
      readonly contacts?: number
    } = {}
  ) {
    yield* TestClock.setTime(network.now * 1000)
    const node = yield* network.node(name, network.socketOf(at), { passive: true })
    const table = network.tableOf(node)
    for (let i = 0; i < contacts; i++) {
      const { address, nodeId: id } = network.identity(`contact ${i}`)
      table.add({ id, address, ...network.socketOf(1000 + i) }, network.now * 1000, network.now * 1000)
    }
    const store = Context.get(node, Store)
    for (const bytes of [100, 800]) yield* store.put(undefined, sized(`owner of ${bytes}`, bytes))
    for (let i = 0; i < 20; i++) store.admitUnsafe(crowd, offer("crowd", `agent ${i}`), network.now, `network ${i}`)
    const peer = yield* network.puppet("stranger", network.socketOf(500 + at))
    const ask = (id: string) => peer.send(network.contactOf(node), body, id.repeat(20))
    const prove = Effect.gen(function*() {
      const { from, message } = yield* peer.receive
      assert.strictEqual(message.body._tag, "Ping")
      const observed = SocketAddress.encodeObserved(from)
      yield* peer.send(from, { _tag: "Pong", address: peer.address, observed }, message.transactionId)
    })
    const nodesOf = Effect.map(peer.receive, ({ message: { body } }) => "nodes" in body ? body.nodes ?? [] : [])
    return { peer, ask, prove, nodesOf }
  })

  it.effect("names some nodes at once, and as many as fit once it has asked again and its address is proved", () =>
    Effect.gen(function*() {
      const { ask, nodesOf, prove } = yield* asking(requests["FIND_NODE"])
      yield* ask("01")
      assert.strictEqual((yield* nodesOf).length, 5)
      yield* ask("02")
      assert.strictEqual((yield* nodesOf).length, 3)
      yield* prove
      yield* ask("03")
      assert.strictEqual((yield* nodesOf).length, 15)
    }).pipe(onNetwork))

  it.effect("names more nodes if an earlier request left room for them", () =>
    Effect.gen(function*() {
      const { ask, nodesOf, peer } = yield* asking(requests["FIND_NODE"])
      yield* peer.send(network.socketOf(1), { _tag: "Ping", address: peer.address }, "01".repeat(20))
      yield* peer.receive
      yield* ask("02")
      assert.strictEqual((yield* nodesOf).length, 9)
    }).pipe(onNetwork))

  it.effect("names the nearest node first and others by turns, so that the nodes around a target name all of them", () =>
    Effect.gen(function*() {
      const around = Array.from({ length: 500 }, (_, i) => `node ${i}`)
        .filter((name) => NodeId.compareDistance(NodeId.zero, network.identity(name).nodeId, nearest[15]) < 0)
      const found = new Set<NodeId.NodeId>()
      for (const [i, name] of around.slice(0, 24).entries()) {
        const { ask, peer } = yield* asking(requests["FIND_NODE"], { name, at: i + 1, contacts: 40 })
        yield* ask("01")
        const { body } = (yield* peer.receive).message
        // A few have the stranger prove its address.
        if (body._tag === "Ping") continue
        const ids = body._tag === "FindNodeResponse" ? body.nodes?.map(({ id }) => id) ?? [] : assert.fail(body._tag)
        assert.strictEqual(ids[0], nearest[0])
        for (const id of ids) found.add(id)
      }
      assert.isAtLeast(nearest.filter((id) => found.has(id)).length, 14)
    }).pipe(onNetwork))

  it.effect("is whole, after a proof, from the fourth and the sixth node of a target: two such responses complete a lookup", () =>
    Effect.gen(function*() {
      const rankOf = (name: string) => {
        const { nodeId } = network.identity(name)
        return nearest.filter((id) => NodeId.compareDistance(NodeId.zero, id, nodeId) < 0).length
      }
      for (const [at, rank] of [0, 1, 2, 3, 4, 5, 6].entries()) {
        const name = Array.from({ length: 2000 }, (_, i) => `node ${i}`).find((name) => rankOf(name) === rank) ??
          assert.fail("no node has that place")
        const { ask, nodesOf, prove } = yield* asking(requests["FIND_NODE"], { name, at: at + 1, contacts: 40 })
        yield* ask("01")
        const isWhole = rank === 3 || rank === 5
        if (isWhole) yield* prove
        assert.strictEqual((yield* nodesOf).length, isWhole ? 15 : 5)
      }
    }).pipe(onNetwork))

  it.effect("has a record that fits at once", () =>
    Effect.gen(function*() {
      const { ask, peer } = yield* asking({ ...none, target: Record.ownKey(sized("owner of 100", 100)) })
      yield* ask("01")
      const { body } = (yield* peer.receive).message
      assert.strictEqual(body._tag === "FindValueResponse" ? body.records?.length : body._tag, 1)
    }).pipe(onNetwork))

  it.effect("with a record that does not fit is sent without it a second later if the address is not proved", () =>
    Effect.gen(function*() {
      const { ask, peer } = yield* asking({ ...none, target: Record.ownKey(sized("owner of 800", 800)) })
      yield* ask("01")
      assert.strictEqual((yield* peer.receive).message.body._tag, "Ping")
      yield* TestClock.adjust("1 second")
      const { body, transactionId } = (yield* peer.receive).message
      assert.strictEqual(transactionId, "01".repeat(20))
      if (body._tag !== "FindValueResponse") return assert.fail(body._tag)
      assert.strictEqual(body.nodes?.length, 2)
      assert.isUndefined(body.records)
    }).pipe(onNetwork))

  it.effect("has those of many records that fit, and is no later for a requester that asks again and again", () =>
    Effect.gen(function*() {
      const { ask, peer } = yield* asking({ ...none, target: crowd })
      for (let i = 1; i <= 3; i++) {
        yield* ask(`0${i}`)
        yield* TestClock.adjust("900 millis")
      }
      const answers: Array<string> = []
      while (answers.length < 2) {
        const { body, transactionId } = (yield* peer.receive).message
        if (body._tag !== "FindValueResponse") continue
        assert.isAbove(body.records?.length ?? 0, 0)
        answers.push(transactionId.slice(0, 2))
      }
      assert.deepStrictEqual(answers, ["01", "02"])
    }).pipe(onNetwork))

  it.effect("with a record that does not fit waits for the proof, and is then whole", () =>
    Effect.gen(function*() {
      const { ask, peer, prove } = yield* asking({ ...none, target: Record.ownKey(sized("owner of 800", 800)) })
      yield* ask("01")
      yield* prove
      const { body, transactionId } = (yield* peer.receive).message
      assert.strictEqual(transactionId, "01".repeat(20))
      assert.strictEqual(body._tag === "FindValueResponse" ? body.records?.length : body._tag, 1)
    }).pipe(onNetwork))

  it.effect("is whole at once at another port of a host that it has proved, as of a router that forgot it, and at no other host", () =>
    Effect.gen(function*() {
      const body: Message.Body = { ...none, target: Record.ownKey(sized("owner of 800", 800)) }
      const { ask, peer, prove } = yield* asking(body)
      yield* ask("01")
      yield* prove
      yield* peer.receive
      const responseAt = Effect.fnUntraced(function*(socket: SocketAddress.SocketAddress) {
        const moved = yield* network.puppet("stranger", socket)
        yield* moved.send(network.socketOf(1), body, "02".repeat(20))
        return (yield* moved.receive).message.body
      })
      const response = yield* responseAt({ ...network.socketOf(501), port: 5000 })
      assert.strictEqual(response._tag === "FindValueResponse" ? response.records?.length : response._tag, 1)
      assert.strictEqual((yield* responseAt(network.socketOf(502)))._tag, "Ping")
    }).pipe(onNetwork))
})
