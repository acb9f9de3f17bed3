import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type * as Message from "../src/Message.ts"
import { Reachability } from "../src/Reachability.ts"
import type * as Rpc from "../src/Rpc.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { helpful, serve, settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)
const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

const outside: SocketAddress.SocketAddress = { host: "9.99.0.1", port: 7000 }

const setUp = Effect.gen(function*() {
  yield* TestClock.setTime(network.now * 1000)
  const node = yield* network.node("node", network.socketOf(1), { passive: true })
  const dht = network.dht(node)
  /** A peer that reports where it sees us. */
  const reporter = Effect.fnUntraced(function*(socket: SocketAddress.SocketAddress, seen = outside) {
    const puppet = yield* network.puppet(SocketAddress.format(socket), socket)
    yield* serve(puppet, (body): Message.Body | undefined =>
      body._tag === "Ping"
        ? { _tag: "Pong", address: puppet.address, observed: SocketAddress.encodeObserved(seen) }
        : helpful(puppet)(body, seen))
    return puppet
  })
  const hear = Effect.fnUntraced(function*(socket: SocketAddress.SocketAddress, seen = outside) {
    return yield* dht.ping(yield* reporter(socket, seen))
  })
  return { node, dht, reporter, hear, reachability: Context.get(node, Reachability) }
})

describe("our own public IP", () => {
  it.effect("is what three reporters of different networks agree on", () =>
    Effect.gen(function*() {
      const { dht, hear, reachability } = yield* setUp
      for (const n of [60, 61]) yield* hear(network.socketOf(n))
      assert.isUndefined(yield* dht.publicHost)
      yield* hear(network.socketOf(62))
      assert.strictEqual(yield* dht.publicHost, outside.host)
      assert.deepStrictEqual(yield* reachability.observed, outside)
      assert.strictEqual(yield* reachability.mapping, "consistent")
    }).pipe(onNetwork))

  it.effect("is asked of no peer once five networks have reported it in their responses", () =>
    Effect.gen(function*() {
      const { hear, reachability } = yield* setUp
      const next = () => reachability.nextUnsafe(network.now * 1000)
      for (const n of [60, 61, 62, 63]) yield* hear(network.socketOf(n))
      assert.deepStrictEqual(next(), { _tag: "Ask", peers: 5 })
      yield* hear(network.socketOf(64))
      assert.deepStrictEqual(next(), { _tag: "DialBack", claimed: outside })
    }).pipe(onNetwork))

  it.effect("is not decided by reporters of one network, however many", () =>
    Effect.gen(function*() {
      const { dht, hear } = yield* setUp
      for (let i = 1; i <= 20; i++) yield* hear({ host: `9.0.60.${i}`, port: 4121 })
      assert.isUndefined(yield* dht.publicHost)
    }).pipe(onNetwork))

  it.effect("is unknown while the reporters disagree, and follows a majority", () =>
    Effect.gen(function*() {
      const { dht, hear } = yield* setUp
      for (const n of [60, 61, 62]) yield* hear(network.socketOf(n), { host: `9.99.0.${n}`, port: 7000 })
      assert.isUndefined(yield* dht.publicHost)
      for (const n of [63, 64, 65]) yield* hear(network.socketOf(n))
      assert.isUndefined(yield* dht.publicHost)
      yield* hear(network.socketOf(66))
      assert.strictEqual(yield* dht.publicHost, outside.host)
    }).pipe(onNetwork))

  it.effect("is known without the port if a router maps another port for each peer", () =>
    Effect.gen(function*() {
      const { dht, hear, reachability } = yield* setUp
      for (const n of [60, 61, 62, 63]) yield* hear(network.socketOf(n), { ...outside, port: 7000 + n })
      assert.strictEqual(yield* dht.publicHost, outside.host)
      assert.isUndefined(yield* reachability.observed)
      assert.strictEqual(yield* reachability.mapping, "symmetric")
    }).pipe(onNetwork))

  it.effect("is not learned from a response that comes from another address than the request's", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      for (const n of [60, 61, 62]) {
        const puppet = yield* network.puppet(`peer ${n}`, network.socketOf(n))
        const elsewhere = yield* network.puppet(`peer ${n}`, network.socketOf(n + 100))
        const asking = yield* start(dht.ping(puppet))
        const { from, message } = yield* puppet.receive
        yield* elsewhere.send(
          from,
          { _tag: "Pong", address: puppet.address, observed: SocketAddress.encodeObserved(outside) },
          message.transactionId
        )
        yield* Fiber.join(asking)
      }
      assert.isUndefined(yield* dht.publicHost)
    }).pipe(onNetwork))

  it.effect("excludes peers behind it from queries and copies once it is agreed on", () =>
    Effect.gen(function*() {
      const { dht, hear } = yield* setUp
      const neighbour = yield* network.puppet("neighbour", { host: outside.host, port: 5000 })
      const heard = yield* serve(neighbour, helpful(neighbour))
      yield* dht.addContact(neighbour)
      for (const n of [60, 61, 62]) yield* hear(network.socketOf(n))
      assert.strictEqual((yield* dht.findNode(neighbour.id)).length, 3)
      const published = yield* dht.publishEndpoint({ endpoints: [] })
      yield* settled
      assert.strictEqual((yield* published.confirmed).length, 3)
      assert.deepStrictEqual(heard, [])
      // After a contrary declaration, it asks them.
      yield* dht.setPublicHost("9.98.0.1")
      assert.strictEqual((yield* dht.findNode(neighbour.id)).length, 4)
    }).pipe(onNetwork))

  it.effect("excludes reported contacts behind it from a query", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      yield* dht.setPublicHost(outside.host)
      const neighbour = yield* network.puppet("neighbour", { host: outside.host, port: 5000 })
      const heard = yield* serve(neighbour, helpful(neighbour))
      const referrer = yield* network.puppet("referrer", network.socketOf(60))
      yield* serve(referrer, () => ({ _tag: "FindNodeResponse", nodes: [neighbour], observed: undefined }))
      yield* dht.addContact(referrer)
      assert.deepStrictEqual((yield* dht.findNode(neighbour.id)).map(({ id }) => id), [referrer.id])
      assert.deepStrictEqual(heard, [])
    }).pipe(onNetwork))
})

describe("observations", () => {
  it.effect("give every reader each response's sender and how it sees us", () =>
    Effect.gen(function*() {
      const { dht, hear } = yield* setUp
      const readers: Array<Array<Rpc.Observation>> = [[], []]
      for (const said of readers) {
        yield* Effect.forkScoped(
          Stream.runForEach(dht.observations, (observation) => Effect.sync(() => said.push(observation))),
          { startImmediately: true }
        )
      }
      yield* settled
      yield* hear(network.socketOf(60))
      yield* hear(network.socketOf(61), { ...outside, port: 7001 })
      yield* settled
      for (const said of readers) {
        assert.deepStrictEqual(said.map(({ address, reporter }) => [reporter.host, address.port]), [
          [network.socketOf(60).host, 7000],
          [network.socketOf(61).host, 7001]
        ])
      }
    }).pipe(onNetwork))

  it.effect("include the responses of a query", () =>
    Effect.gen(function*() {
      const { dht } = yield* setUp
      const peer = yield* network.puppet("peer", network.socketOf(60))
      yield* serve(peer, () => ({
        _tag: "FindNodeResponse",
        nodes: null,
        observed: SocketAddress.encodeObserved(outside)
      }))
      yield* dht.addContact(peer)
      const observing = yield* start(Stream.runHead(dht.observations))
      yield* dht.findNode(peer.id)
      const seen = yield* Fiber.join(observing)
      assert.deepStrictEqual(seen._tag === "Some" ? seen.value.address : undefined, outside)
    }).pipe(onNetwork))
})

describe("a NAT probe", () => {
  const probing = Effect.gen(function*() {
    const world = yield* setUp
    const via = yield* network.puppet("via", network.socketOf(60))
    const running = yield* start(world.dht.natProbe(via, outside, { deadline: "6 seconds", attempts: 3 }))
    return { ...world, via, running }
  })

  it.effect("requests an echo to the claimed address, which may come from any address", () =>
    Effect.gen(function*() {
      const { running, via } = yield* probing
      const { from, message: { body } } = yield* via.receive
      if (body._tag !== "NatProbe") return assert.fail(body._tag)
      assert.deepStrictEqual(SocketAddress.decodeObserved(body.claimed), outside)
      const stranger = yield* network.puppet("stranger", network.socketOf(61))
      yield* stranger.send(from, { _tag: "NatProbeEcho", token: body.token }, "00".repeat(20))
      assert.isTrue(yield* Fiber.join(running))
    }).pipe(onNetwork))

  it.effect("is repeated with its token, and returns false at its deadline", () =>
    Effect.gen(function*() {
      const { running, via } = yield* probing
      const heard = yield* serve(via, () => undefined)
      yield* settled
      yield* TestClock.adjust("5900 millis")
      assert.isUndefined(running.pollUnsafe())
      yield* TestClock.adjust("100 millis")
      assert.isFalse(yield* Fiber.join(running))
      const tokens = heard.map(({ body }) => body._tag === "NatProbe" ? body.token : assert.fail(body._tag))
      assert.strictEqual(tokens.length, 3)
      assert.deepStrictEqual(tokens, [tokens[0], tokens[0], tokens[0]])
    }).pipe(onNetwork))

  it.effect("ignores an echo with another token", () =>
    Effect.gen(function*() {
      const { running, via } = yield* probing
      yield* via.receive
      yield* via.send(network.socketOf(1), { _tag: "NatProbeEcho", token: new Uint8Array(8) }, "00".repeat(20))
      yield* settled
      yield* TestClock.adjust("6 seconds")
      assert.isFalse(yield* Fiber.join(running))
    }).pipe(onNetwork))
})
