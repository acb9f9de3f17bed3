import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import type * as LogLevel from "effect/LogLevel"
import * as References from "effect/References"
import * as TestClock from "effect/testing/TestClock"
import { NodeIdentity } from "../src/Identity.ts"
import * as Message from "../src/Message.ts"
import { NodeEvents } from "../src/NodeEvents.ts"
import * as SocketAddress from "../src/SocketAddress.ts"
import { layerMemoryNetwork, Transport } from "../src/Transport.ts"
import * as network from "./utils/network.ts"

interface Line {
  readonly level: LogLevel.LogLevel
  readonly what: string
  readonly facts: Readonly<Record<string, unknown>>
}

/** The log lines of this level and above while an effect runs. */
const logged = <A, E, R>(level: LogLevel.LogLevel, effect: (lines: ReadonlyArray<Line>) => Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<Line> = []
    const logger = Logger.make<unknown, void>(({ fiber, logLevel, message }) => {
      const facts = fiber.getRef(References.CurrentLogAnnotations)
      lines.push({ level: logLevel, what: [message].flat().join(" "), facts })
    })
    return effect(lines).pipe(
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(References.MinimumLogLevel, level)
    )
  })

/** A node that joins through another one, started before. */
const joined = Effect.gen(function*() {
  const other = yield* Effect.provideService(
    network.node("other", network.socketOf(1)),
    References.MinimumLogLevel,
    "Info"
  )
  const node = yield* network.node("node", network.socketOf(2))
  yield* network.dht(node).bootstrap([network.socketOf(1)])
  return { node, other }
})

const words = (lines: ReadonlyArray<Line>) => lines.map(({ what }) => what)

const find = (lines: ReadonlyArray<Line>, what: string): Line["facts"] => {
  const line = lines.find((line) => line.what === what)
  assert.isDefined(line, `${what} is not among ${words(lines).join(", ")}`)
  return line?.facts ?? {}
}

const onNetwork = Effect.provide(layerMemoryNetwork)

describe("NodeLog", () => {
  it.effect("logs a join at Debug: the bound address, the pings and responses, and the lookups", () =>
    logged("Debug", (lines) =>
      Effect.gen(function*() {
        const { node, other } = yield* joined
        assert.strictEqual(find(lines, "Node started").listen, SocketAddress.format(network.socketOf(2)))
        assert.strictEqual(find(lines, "Ping sent").peer, SocketAddress.format(network.socketOf(1)))
        assert.strictEqual(find(lines, "Ping answered").id, network.contactOf(other).id)
        assert.strictEqual(find(lines, "Peer added").id, network.contactOf(other).id)
        assert.deepInclude(find(lines, "Lookup started"), { kind: "FindNode", target: network.dht(node).nodeId })
        assert.deepInclude(find(lines, "Lookup ended"), { outcome: "Done", asked: 1, answered: 1, closest: 1 })
        assert.deepInclude(find(lines, "Network joined"), { contacts: 1 })
        assert.isTrue(lines.every(({ level }) => level === "Debug"))
        const order = ["Node started", "Ping sent", "Ping answered", "Lookup started", "Lookup ended"]
        assert.deepStrictEqual(words(lines).filter((what, i, all) => order.includes(what) && all.indexOf(what) === i), [
          ...order
        ])
      }).pipe(onNetwork)))

  it.effect("logs at Debug an address that does not answer", () =>
    logged("Debug", (lines) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(network.now * 1000)
        yield* network.puppet("silent", network.socketOf(7))
        const node = yield* network.node("node", network.socketOf(2))
        const joining = yield* Effect.forkChild(Effect.flip(network.dht(node).bootstrap([network.socketOf(7)])))
        yield* TestClock.adjust("20 seconds")
        assert.strictEqual((yield* Fiber.join(joining))._tag, "CannotJoin")
        const { peer, reason } = find(lines, "Ping failed")
        assert.strictEqual(peer, SocketAddress.format(network.socketOf(7)))
        assert.include(reason, "did not answer")
        assert.deepInclude(find(lines, "Network not joined"), { answered: 0, failed: 1 })
      }).pipe(onNetwork)))

  it.effect("logs publications, their copies, and records stored or refused here with the reason", () =>
    logged("Debug", (lines) =>
      Effect.gen(function*() {
        yield* TestClock.setTime(network.now * 1000)
        const { node, other } = yield* joined
        yield* network.dht(node).announceEndpoint({ endpoints: [] })
        yield* TestClock.adjust("5 seconds")
        for (
          const what of ["Publication started", "Announcement started", "Record stored", "Replica reported stored"]
        ) {
          assert.deepInclude(find(lines, what), { key: network.dht(node).nodeId, type: 1 })
        }
        const { record } = yield* network.dht(other).publishEndpoint({ endpoints: [], ttl: 1 })
        yield* TestClock.adjust("5 seconds")
        yield* network.dht(other).storeAt(network.contactOf(node), record)
        assert.include(find(lines, "Record refused").reason, "expired")
        assert.strictEqual(find(lines, "Record refused").id, network.contactOf(other).id)
      }).pipe(onNetwork)))

  it.effect("logs refused datagrams and the reason", () =>
    logged("Debug", (lines) =>
      Effect.gen(function*() {
        const { node, other } = yield* joined
        const to = Context.get(node, Transport).address
        const sendTo = (payload: Uint8Array) => Context.get(other, Transport).send(payload, to)
        yield* sendTo(new Uint8Array(30))
        const { address } = network.dht(other)
        const late = { signer: Context.get(other, NodeIdentity), transactionId: "00".repeat(20) }
        yield* sendTo(Message.encode({ _tag: "Pong", address, observed: new Uint8Array(6) }, late))
        yield* TestClock.adjust("1 second")
        const refused = lines.filter(({ what }) => what === "Datagram refused").map(({ facts }) => facts)
        assert.lengthOf(refused, 2)
        assert.deepInclude(refused[0], { reason: "malformed", bytes: 30 })
        assert.deepInclude(refused[1], { reason: "unawaited" })
        assert.isTrue(
          refused.every(({ from, reason }) =>
            from === SocketAddress.format(network.socketOf(1)) && typeof reason === "string" && reason !== ""
          )
        )
      }).pipe(onNetwork)))

  it.effect("logs every request at Trace", () =>
    logged("Trace", (lines) =>
      Effect.gen(function*() {
        yield* joined
        const traced = words(lines.filter(({ level }) => level === "Trace"))
        assert.includeMembers(traced, ["FindNode sent", "FindNode answered", "Lookup asked", "Lookup step answered"])
      }).pipe(onNetwork)))

  it.effect("listens to nothing if neither level is logged", () =>
    logged("Info", (lines) =>
      Effect.gen(function*() {
        const { node } = yield* joined
        const events = Context.get(node, NodeEvents)
        assert.deepStrictEqual([events.hasListeners, events.explainUnsafe, lines], [false, undefined, []])
      }).pipe(onNetwork)))
})
