import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import type { Contact } from "../src/Contact.ts"
import { Dht } from "../src/Dht.ts"
import * as NodeId from "../src/NodeId.ts"
import * as PeerHealth from "../src/PeerHealth.ts"
import * as Routing from "../src/Routing.ts"
import * as Rpc from "../src/Rpc.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import * as Liveness from "../src/testing/PropertiesLiveness.ts"
import * as SimCrypto from "../src/testing/SimCrypto.ts"
import * as SimWorld from "../src/testing/SimWorld.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { helpful, serve } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const now = 1_700_000_000_000

const table = network.tableOf

/** A contact without a node. */
const invented = (name: string): Contact => {
  const { address, nodeId } = network.identity(name)
  return { id: nodeId, address, ...network.socketOf(900) }
}

const build = Effect.fnUntraced(function*(count: number) {
  yield* TestClock.setTime(now)
  const nodes: Array<network.Node> = []
  const services = { reachability: network.layerReachability }
  for (let i = 0; i < count; i++) nodes.push(yield* network.node(`node ${i}`, network.socketOf(i + 1), { services }))
  return nodes
})

describe("Maintenance", () => {
  it.effect("verifies unverified contacts that answer, and evicts silent ones", () =>
    Effect.gen(function*() {
      const [node, other] = yield* build(2)
      yield* network.puppet("mute", network.socketOf(900))
      // Passive, so that no lookup verifies them first.
      yield* network.dht(node).setPassive(true)
      const [real, fake] = [network.contactOf(other), invented("missing")]
      for (const contact of [real, fake]) table(node).add(contact, undefined, now)
      yield* TestClock.adjust("9 minutes")
      assert.isUndefined(table(node).verifiedAt(real.id))
      yield* TestClock.adjust("2 minutes")
      assert.isDefined(table(node).verifiedAt(real.id))
      assert.isFalse(table(node).contains(fake.id))
    }).pipe(onNetwork))

  it.effect("evicts a contact that fell silent while others are heard from", () =>
    Effect.gen(function*() {
      const [node, other] = yield* build(2)
      yield* network.puppet("mute", network.socketOf(900))
      const gone = invented("gone")
      for (const contact of [network.contactOf(other), gone]) table(node).add(contact, now, now)
      yield* TestClock.adjust("26 minutes")
      assert.isFalse(table(node).contains(gone.id))
      assert.isTrue(table(node).contains(network.contactOf(other).id))
    }).pipe(onNetwork))

  it.effect("checks a contact that left the request of a lookup unanswered, however fresh, with one ping in the next beat", () =>
    Effect.gen(function*() {
      const [node, other] = yield* build(2)
      const mute = yield* network.puppet("mute", network.socketOf(900))
      const heard: Array<string> = []
      yield* Effect.forkScoped(Effect.forever(Effect.map(mute.receive, ({ message }) => {
        heard.push(message.body._tag)
      })))
      for (const contact of [network.contactOf(other), mute]) table(node).add(contact, now, now)
      yield* TestClock.adjust("45 seconds")
      assert.isFalse(table(node).contains(mute.id))
      assert.isTrue(table(node).contains(network.contactOf(other).id))
      assert.include(heard, "FindNode")
      assert.deepStrictEqual(heard.filter((request) => request === "Ping"), ["Ping"])
    }).pipe(onNetwork))

  it.effect("probes one witness once for all contacts that are found silent together", () =>
    Effect.gen(function*() {
      const [node] = yield* build(1)
      yield* network.puppet("mute", network.socketOf(900))
      const witness = yield* network.puppet("witness", network.socketOf(600))
      const pinged: Array<number> = []
      yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
        const { from, message } = yield* witness.receive
        if (message.body._tag !== "Ping") return
        pinged.push(yield* Clock.currentTimeMillis)
        yield* Effect.sleep(50)
        yield* witness.send(
          from,
          { _tag: "Pong", address: witness.address, observed: SocketAddress.encodeObserved(from) },
          message.transactionId
        )
      })))
      const silent = ["a", "b", "c", "d", "e"].map(invented)
      for (const contact of silent) table(node).add(contact, now, now)
      table(node).add(witness, now + 25 * 60_000, now)
      yield* TestClock.adjust("27 minutes")
      assert.isTrue(silent.every(({ id }) => !table(node).contains(id)))
      // Three of them are asked by the first refill, the others by the next.
      assert.lengthOf(pinged, 2)
    }).pipe(onNetwork))

  it.effect("rejoins through the given addresses while it has no contact", () =>
    Effect.gen(function*() {
      const [node] = yield* build(1)
      assert.isTrue(Result.isFailure(yield* Effect.result(network.dht(node).bootstrap([network.socketOf(2)]))))
      const late = yield* network.node("late", network.socketOf(2))
      yield* TestClock.adjust("1 minute")
      assert.isTrue(table(node).contains(network.contactOf(late).id))
      assert.isTrue(table(late).contains(network.contactOf(node).id))
    }).pipe(onNetwork))

  it.effect("keeps its contacts while no peer at all is heard from", () =>
    Effect.gen(function*() {
      const [node] = yield* build(1)
      yield* network.puppet("mute", network.socketOf(900))
      const contacts = [invented("one"), invented("two")]
      for (const contact of contacts) table(node).add(contact, now, now)
      yield* TestClock.adjust("3 hours")
      for (const { id } of contacts) assert.isTrue(table(node).contains(id))
    }).pipe(onNetwork))

  it.effect("fills a sparse bucket with contacts of its contacts", () =>
    Effect.gen(function*() {
      const nodes = yield* build(20)
      const [first, ...others] = nodes
      // Every node knows the first; the first knows only one of them.
      for (const node of others) yield* network.dht(node).addContact(network.contactOf(first))
      for (const node of others) yield* network.dht(others[0]).addContact(network.contactOf(node))
      yield* network.dht(first).addContact(network.contactOf(others[0]))
      yield* TestClock.adjust("5 minutes")
      assert.isAbove(table(first).size, 10)
    }).pipe(onNetwork))

  it.effect("starts no lookup while the node is passive", () =>
    Effect.gen(function*() {
      const [node, other] = yield* build(2)
      yield* network.dht(node).setPassive(true)
      yield* network.dht(node).addContact(network.contactOf(other))
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* Context.get(node, Rpc.Rpc).traffic).sent, 0)
      yield* network.dht(node).setPassive(false)
      yield* TestClock.adjust("1 hour")
      assert.isAbove((yield* Context.get(node, Rpc.Rpc).traffic).sent, 0)
    }).pipe(onNetwork))

  it.effect("costs almost nothing in an idle network", () =>
    Effect.gen(function*() {
      const nodes = yield* build(12)
      for (const node of nodes.slice(1)) yield* network.dht(node).bootstrap([network.socketOf(1)])
      const sent = Effect.map(
        Effect.forEach(nodes, (node) => Context.get(node, Rpc.Rpc).traffic),
        (traffic) => traffic.reduce((sum, { sent }) => sum + sent, 0)
      )
      yield* TestClock.adjust("1 hour")
      const before = yield* sent
      yield* TestClock.adjust("1 hour")
      assert.isBelow(((yield* sent) - before) / nodes.length / 3600, 0.5)
    }).pipe(onNetwork))

  it.effect("does not count a silent probe against a peer", () =>
    Effect.gen(function*() {
      const [node] = yield* build(1)
      yield* network.puppet("mute", network.socketOf(900))
      yield* network.dht(node).setPassive(true)
      const fake = invented("missing")
      table(node).add(fake, undefined, now)
      yield* TestClock.adjust("1 hour")
      assert.isFalse(table(node).contains(fake.id))
      assert.strictEqual(yield* Context.get(node, PeerHealth.PeerHealth).state(fake.id), "unknown")
      assert.isTrue(yield* Context.get(node, PeerHealth.PeerHealth).allowContact(fake.id))
    }).pipe(onNetwork))
})

describe("a split network", () => {
  it("merges again through the addresses that its nodes were given, although its parts had forgotten each other", () => {
    SimWorld.runSync(
      SimWorld.SimWorld.use((world) =>
        Effect.gen(function*() {
          const nodes = yield* world.startNodes(12)
          yield* Effect.sleep("30 minutes")
          const parts = [nodes.slice(0, 6), nodes.slice(6)]
          /** Number of contacts that each node has in the other part. */
          const across = Effect.forEach(nodes, (node) =>
            Effect.map(node.run(Routing.Routing), (routing) =>
              parts.find((part) =>
                !part.includes(node)
              )!.filter(({ identity }) =>
                routing.entryUnsafe(identity.nodeId) !== undefined
              ).length))
          world.network.partition(parts[0].map(({ host }) => host))
          yield* Effect.sleep("1 hour")
          assert.deepStrictEqual(yield* across, nodes.map(() => 0))
          world.network.heal()
          yield* Effect.sleep("1 hour")
          assert.deepStrictEqual(yield* across, nodes.map(() => 6))
        })
      ),
      { seed: 1, crypto: SimCrypto.simulated, within: "1 day" }
    )
  })
})

describe("a node that was cut off", () => {
  const announce = (node: SimWorld.SimNode<SimWorld.NodeServices, unknown>) =>
    node.run(Effect.gen(function*() {
      const dht = yield* Dht
      return [
        yield* dht.announceTopic({ topic: "water", ttl: 1200 }),
        yield* dht.announceEndpoint({ endpoints: ["tcp://192.0.2.1:1"], ttl: 1200 })
      ]
    }))

  /**
   * Cuts a node off for a time, with `companions` that stop after forty seconds. After the
   * heal it hears from others within 75 seconds, and a minute later its records are stored.
   */
  const cutOff = (options: {
    readonly companions: number
    readonly nodes?: number
    /** Which of the nodes is cut off. Node 0 was given no address. */
    readonly who?: number
    readonly seconds: number
    readonly at: "Before" | "During"
    /** How long the network is up before the cut. */
    readonly settled?: number
    /** Nodes of the other part that stop during the cut. */
    readonly gone?: ReadonlyArray<number>
    readonly seed?: number
  }) =>
    SimWorld.runSync(
      SimWorld.SimWorld.use((world) =>
        Effect.gen(function*() {
          const { companions, gone = [], nodes: count = 8, seconds, settled = 5, who = 0 } = options
          const nodes = yield* world.startNodes(count)
          const node = nodes[who]
          const leaving = nodes.filter((other) => other !== node).slice(0, companions)
          yield* Effect.sleep(settled * 1000)
          const before = options.at === "Before" ? yield* announce(node) : []
          world.network.partition([node, ...leaving].map(({ host }) => host))
          const during = options.at === "During" ? yield* announce(node) : []
          yield* Effect.sleep("40 seconds")
          yield* Effect.forEach(leaving, ({ leave }) => leave)
          yield* Effect.sleep(`${seconds - 40} seconds`)
          for (const i of gone) yield* nodes[i].leave
          world.network.heal()
          const healedAt = yield* Clock.currentTimeMillis
          yield* Effect.sleep("75 seconds")
          const entries = yield* node.run(Routing.Routing.use(({ entries }) => entries))
          assert.isAbove(
            Math.max(...entries.map(({ verifiedAt }) => verifiedAt ?? 0)),
            healedAt,
            JSON.stringify(options)
          )
          yield* Effect.sleep("1 minute")
          const announced = yield* Effect.forEach(
            [...before, ...during],
            ({ current, key }) => Effect.map(current, ({ record }) => ({ publisher: node.name, key, record }))
          )
          const found = yield* Liveness.check(world, nodes, { announced })
          assert.deepStrictEqual(found.map(({ message }) => message), [], JSON.stringify(options))
        })
      ),
      { seed: options.seed ?? 1, crypto: SimCrypto.simulated, within: "1 day" }
    )

  for (const at of ["Before", "During"] as const) {
    for (const seconds of [60, 170, 2000]) {
      it(`alone for ${seconds} s is back a minute after, with the records that it announced ${at.toLowerCase()}`, () => {
        cutOff({ companions: 0, seconds, at })
        cutOff({ companions: 0, seconds, at, who: 3, settled: 600 })
      })
      it(`for ${seconds} s with peers that leave is back a minute after, with the records that it announced ${at.toLowerCase()}`, () => {
        cutOff({ companions: 1, seconds, at })
        cutOff({ companions: 4, seconds, at, nodes: 14 })
        cutOff({ companions: 3, seconds, at, nodes: 12, who: 5, settled: 600 })
      })
    }
  }

  it("is back a minute after, although the nodes that it joined through are gone", () => {
    cutOff({ companions: 3, seconds: 170, at: "During", nodes: 10, who: 4, gone: [3] })
    cutOff({ companions: 0, seconds: 170, at: "During", nodes: 10, who: 3, gone: [0, 1, 2], settled: 600 })
  })
})

describe("a beat", () => {
  /** A contact without a node, in the given bucket of a node. */
  const dead = (self: NodeId.NodeId, bucket: number, skip: number): Contact => {
    const { address, nodeId } = network.identityInBucket(self, bucket, skip)
    return { id: nodeId, address, ...network.socketOf(2000 + 100 * bucket + skip) }
  }
  const range = (count: number) => Array.from({ length: count }, (_, i) => i)
  /** The values of a count over the given seconds, and when it changed. */
  const changes = Effect.fnUntraced(function*(seconds: number, count: () => number) {
    const steps = [{ at: 0, count: count() }]
    for (let at = 1; at <= seconds; at++) {
      yield* TestClock.adjust("1 second")
      if (count() !== steps[steps.length - 1].count) steps.push({ at, count: count() })
    }
    return steps
  })
  /** Silence that is too long for a fresh contact, and too short for a probe. */
  const longAgo = now - 31 * 60_000
  const passiveNode = Effect.gen(function*() {
    const [node] = yield* build(1)
    yield* network.dht(node).setPassive(true)
    return { node, self: network.contactOf(node), core: table(node) }
  })

  it.effect("comes every 15 seconds, and probes at most ten unverified contacts", () =>
    Effect.gen(function*() {
      const { core, self } = yield* passiveNode
      for (const bucket of [0, 1]) {
        for (const i of range(12)) core.add(dead(self.id, bucket, i), undefined, now - 3_600_000)
      }
      const steps = yield* changes(60, () => core.size)
      assert.deepStrictEqual(steps.map(({ count }) => count), [24, 14, 4, 0])
      assert.deepStrictEqual(steps.slice(2).map(({ at }, i) => at - steps[i + 1].at), [15, 15])
    }).pipe(onNetwork))

  it.effect("probes at most five contacts that wait for a place", () =>
    Effect.gen(function*() {
      const { core, self } = yield* passiveNode
      for (const bucket of [0, 1]) {
        for (const i of range(16)) core.add(dead(self.id, bucket, i), longAgo, now)
        for (const i of range(5)) core.add(dead(self.id, bucket, 16 + i), undefined, now)
      }
      const steps = yield* changes(60, () => core.pendingLength(0) + core.pendingLength(1))
      assert.deepStrictEqual(steps.map(({ count }) => count), [10, 5, 0])
      assert.strictEqual(core.size, 32)
    }).pipe(onNetwork))

  it.effect("probes no waiting contact whose bucket is full of contacts heard from within half an hour", () =>
    Effect.gen(function*() {
      const { core, node, self } = yield* passiveNode
      for (const i of range(16)) core.add(dead(self.id, 0, i), now, now)
      for (const i of range(5)) core.add(dead(self.id, 0, 16 + i), undefined, now)
      yield* TestClock.adjust("24 minutes")
      assert.strictEqual((yield* Context.get(node, Rpc.Rpc).traffic).sent, 0)
      assert.strictEqual(core.pendingLength(0), 5)
    }).pipe(onNetwork))

  it.effect("evicts a silent contact without a witness where another one answers in the meantime", () =>
    Effect.gen(function*() {
      // Passive, so that only this test has silent contacts checked.
      const { core, node } = yield* passiveNode
      yield* network.puppet("mute", network.socketOf(900))
      const alive = yield* network.puppet("alive", network.socketOf(600))
      const heard = yield* serve(alive, helpful(alive))
      const gone = invented("gone")
      for (const contact of [alive, gone]) core.add(contact, now, now)
      yield* TestClock.adjust("26 minutes")
      Context.get(node, Routing.Routing).maintainUnsafe(false, yield* Clock.currentTimeMillis)
      yield* TestClock.adjust("20 seconds")
      assert.isFalse(core.contains(gone.id))
      assert.deepStrictEqual(heard.map(({ body }) => body._tag), ["Ping"])
    }).pipe(onNetwork))

  it.effect("asks a neighbour for our own id if no bucket was refilled for twenty minutes", () =>
    Effect.gen(function*() {
      const [node] = yield* build(1)
      const self = network.contactOf(node)
      const names = range(1000).map((i) => `bucket ${i}`)
        .filter((name) => NodeId.bucketIndex(self.id, network.identity(name).nodeId) === 0)
      const heard = yield* Effect.forEach(names.slice(0, 16), (name, i) =>
        Effect.gen(function*() {
          const peer = yield* network.puppet(name, network.socketOf(600 + i))
          yield* network.dht(node).addContact(peer)
          return yield* serve(peer, helpful(peer))
        }))
      const asked = () => heard.flat().map(({ body }) => body).filter(({ _tag }) => _tag !== "Ping")
      yield* TestClock.adjust("19 minutes")
      assert.deepStrictEqual(asked(), [])
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(asked(), [{ _tag: "FindNode", target: self.id }])
    }).pipe(onNetwork))

  it.effect("gives a waiting contact that answers the place of the oldest, if that one is silent", () =>
    Effect.gen(function*() {
      for (const isSilent of [true, false]) {
        yield* Effect.scoped(Effect.gen(function*() {
          const { core, self } = yield* passiveNode
          const peers = yield* Effect.forEach([0, 16], (skip) =>
            Effect.gen(function*() {
              const { address, nodeId } = network.identityInBucket(self.id, 0, skip)
              const name = range(1000).map((i) => `bucket ${i}`).find((name) =>
                network.identity(name).nodeId === nodeId
              )
              const puppet = yield* network.puppet(name ?? "", network.socketOf(600 + skip))
              yield* serve(puppet, (body, from) => isSilent && skip === 0 ? undefined : helpful(puppet)(body, from))
              return { ...puppet, address, id: nodeId }
            }))
          core.add(peers[0], longAgo, now)
          for (const i of range(15)) core.add(dead(self.id, 0, i + 1), longAgo, now)
          core.add(peers[1], undefined, now)
          assert.strictEqual(core.pendingLength(0), 1)
          yield* TestClock.adjust("20 seconds")
          assert.strictEqual(core.contains(peers[1].id), isSilent)
          assert.strictEqual(core.contains(peers[0].id), !isSilent)
          assert.strictEqual(core.pendingLength(0), 0)
        }))
      }
    }).pipe(onNetwork))

  it.effect("refills a bucket after 2, 10 and then 15 minutes while that brings nothing", () =>
    Effect.gen(function*() {
      const [node] = yield* build(1)
      const peer = yield* network.puppet("peer", network.socketOf(600))
      const heard = yield* serve(peer, helpful(peer))
      yield* network.dht(node).addContact(peer)
      yield* TestClock.adjust("1 hour")
      const at = heard.flatMap(({ at, body }) => body._tag === "FindNode" ? [at / 1000] : [])
      const pauses = at.slice(1).map((time, i) => time - at[i])
      // The end of a pause is noticed at the next beat. The first refill has no
      // failures before it.
      const expected = [120, 600, 900, 900]
      assert.isAtLeast(pauses.length, expected.length)
      for (const [i, pause] of expected.entries()) {
        assert.isTrue(pauses[i] >= pause && pauses[i] < pause + 15, `${pauses}`)
      }
    }).pipe(onNetwork))

  it.effect("limits a refill to 15 seconds", () =>
    Effect.gen(function*() {
      const [node] = yield* build(1)
      const peers = yield* Effect.forEach(range(40), (i) => network.puppet(`peer ${i}`, network.socketOf(600 + i)))
      const heard: Array<number> = []
      // Each node knows the next one, and responds slowly.
      for (const [i, peer] of peers.entries()) {
        yield* Effect.forkScoped(Effect.forever(Effect.gen(function*() {
          const { from, message } = yield* peer.receive
          heard.push(yield* Clock.currentTimeMillis)
          yield* Effect.sleep(1500)
          yield* peer.send(
            from,
            { _tag: "FindNodeResponse", nodes: peers.slice(i + 1, i + 2), observed: undefined },
            message.transactionId
          )
        })))
      }
      yield* network.dht(node).addContact(peers[0])
      yield* TestClock.adjust("15 seconds")
      const [first] = heard
      yield* TestClock.adjust("1 minute")
      const one = heard.filter((at) => at < first + 29_000)
      assert.isAbove(one[one.length - 1] - first, 10_000)
      // Datagrams that arrived while a peer took its time are handled
      // afterwards.
      assert.isAtMost(one[one.length - 1] - first, 15_000 + 1500)
    }).pipe(onNetwork))

  it.effect("delays no response, however many probes are unanswered", () =>
    Effect.gen(function*() {
      const { core, node, self } = yield* passiveNode
      for (const i of range(10)) {
        const mute = yield* network.puppet(`mute ${i}`, network.socketOf(600 + i))
        core.add(mute, undefined, now - 3_600_000)
      }
      const { pending } = Context.get(node, Rpc.Rpc)
      while ((yield* pending) === 0) yield* TestClock.adjust("1 second")
      const peer = yield* network.puppet("peer", network.socketOf(700))
      yield* peer.send(self, { _tag: "Ping", address: peer.address }, "00".repeat(20))
      // No time passes.
      assert.strictEqual((yield* peer.receive).message.body._tag, "Pong")
      assert.isAtLeast(yield* pending, 10)
    }).pipe(onNetwork))
})
