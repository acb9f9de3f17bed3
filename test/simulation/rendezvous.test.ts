import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { Dht } from "../../src/Dht.ts"
import type { CannotConnect, Connection } from "../../src/Rendezvous.ts"
import * as Latency from "../../src/testing/Latency.ts"
import * as Nat from "../../src/testing/Nat.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import { Transport } from "../../src/Transport.ts"

type Node = SimWorld.SimNode<SimWorld.NodeServices, unknown>

/** One way, in milliseconds. */
const latency = 50

const kinds = {
  none: undefined,
  "full cone": Nat.fullCone,
  "restricted cone": Nat.restrictedCone,
  "port-restricted cone": Nat.portRestrictedCone,
  symmetric: Nat.symmetric,
  "symmetric with random ports": Nat.symmetricRandom
}

type Kind = keyof typeof kinds
const names = Object.keys(kinds) as Array<Kind>

const isOpen = (kind: Kind) => kinds[kind] === undefined || kinds[kind].filtering === "EndpointIndependent"
const isSymmetric = (kind: Kind) => kinds[kind]?.mapping === "AddressAndPortDependent"

/**
 * Whether two nodes can meet (RFC 5128, 3.3 and 5): one of them is open, or the port of neither
 * depends on the peer, or that of one does and the other filters by address only.
 */
const canMeet = (a: Kind, b: Kind): boolean => {
  if (isOpen(a) || isOpen(b)) return true
  if (isSymmetric(a) && isSymmetric(b)) return false
  return !isSymmetric(a) && !isSymmetric(b) || [a, b].includes("restricted cone")
}

interface Attempt {
  readonly from: Kind
  readonly to: Kind
  readonly result: Result.Result<Connection, CannotConnect>
  readonly millis: number
}

const run = (
  seed: number,
  loss: number,
  program: (world: SimWorld.World, callers: Map<Kind, Node>, callees: Map<Kind, Node>) => Effect.Effect<void, unknown>
) =>
  SimWorld.runSync(
    Effect.gen(function*() {
      const world = yield* SimWorld.SimWorld
      yield* world.startNodes(16)
      const start = Effect.fnUntraced(function*() {
        const nodes = new Map<Kind, Node>()
        for (const kind of names) {
          const [node] = yield* world.startNodes(1, { host: { behind: kinds[kind] } })
          nodes.set(kind, node)
        }
        return nodes
      })
      const [callers, callees] = [yield* start(), yield* start()]
      yield* Effect.sleep("4 minutes")
      world.network.conditions.loss = loss
      yield* program(world, callers, callees)
    }).pipe(Effect.provideService(References.MinimumLogLevel, "Error")),
    { seed, crypto: SimCrypto.simulated, network: { latency: Latency.constant(latency), jitterMillis: 0 } }
  )

const connectAll = Effect.fnUntraced(function*(callers: Map<Kind, Node>, callees: Map<Kind, Node>) {
  const attempts: Array<Attempt> = []
  for (const [from, caller] of callers) {
    for (const [to, callee] of callees) {
      // What an earlier attempt opened is closed again.
      yield* Effect.sleep("3 minutes")
      const startedAt = yield* Clock.currentTimeMillis
      const connecting = Dht.use((dht) => dht.connect(callee.identity.address))
      const result = yield* caller.run(Effect.result(Effect.scoped(connecting)))
      attempts.push({ from, to, result, millis: (yield* Clock.currentTimeMillis) - startedAt })
    }
  }
  return attempts
})

describe("two nodes behind routers of any two kinds", () => {
  it("meet within three round trips if their routers allow it, and are told why not within a second otherwise", () => {
    run(1, 0, (_, callers, callees) =>
      Effect.gen(function*() {
        for (const { from, millis, result, to } of yield* connectAll(callers, callees)) {
          const name = `${from} to ${to}: ${Result.isSuccess(result) ? result.success.how : result.failure.reason}`
          if (canMeet(from, to)) {
            assert.isTrue(Result.isSuccess(result), name)
            assert.isAtMost(millis, 3 * 2 * latency, name)
          } else {
            if (Result.isSuccess(result)) return assert.fail(name)
            const isBoth = isSymmetric(from) && isSymmetric(to)
            assert.strictEqual(result.failure.reason, isBoth ? "BothSymmetric" : "NothingCameThrough", name)
            assert.isAtMost(millis, 1000, name)
            assert.isNotEmpty(result.failure.relays)
          }
        }
      }))
  })

  it("meet in at least 95 % of the cases although 5 % of the datagrams are lost", () => {
    let tried = 0
    let met = 0
    for (const seed of [2, 3, 4]) {
      run(seed, 0.05, (_, callers, callees) =>
        Effect.gen(function*() {
          for (const { from, result, to } of yield* connectAll(callers, callees)) {
            if (!canMeet(from, to)) continue
            tried++
            if (Result.isSuccess(result)) met++
          }
        }))
    }
    assert.isAtLeast(met / tried, 0.95)
  })
})

describe("a connection", () => {
  const message = (text: string) => new TextEncoder().encode(text)

  it("carries datagrams of another protocol both ways, and lasts as long as its scope", () => {
    run(5, 0, (_, callers, callees) =>
      Effect.gen(function*() {
        const [caller, callee] = [callers, callees].map((nodes) => nodes.get("port-restricted cone")!)
        const incoming = yield* Effect.forkScoped(
          callee.run(Effect.flatMap(Dht, ({ incoming }) => Stream.runHead(incoming))),
          { startImmediately: true }
        )
        yield* caller.run(Effect.gen(function*() {
          const { how, peer } = yield* Dht.use((dht) => dht.connect(callee.identity.address))
          assert.strictEqual(how, "Punched")
          const { foreign } = yield* Transport
          yield* Effect.sleep("1 hour")
          yield* foreign.send(message("Hello"), peer)
        }))
        const met = yield* Fiber.join(incoming)
        if (met._tag === "None") return assert.fail("no node came")
        assert.strictEqual(met.value.peer.id, caller.identity.nodeId)
        yield* callee.run(Effect.gen(function*() {
          const { foreign } = yield* Transport
          const [{ from, payload }] = yield* foreign.receive
          assert.deepStrictEqual(payload, message("Hello"))
          assert.deepStrictEqual(from, { host: met.value.peer.host, port: met.value.peer.port })
          yield* foreign.send(message("Good day"), from)
        }))
        yield* caller.run(Effect.gen(function*() {
          const [{ payload }] = yield* (yield* Transport).foreign.receive
          assert.deepStrictEqual(payload, message("Good day"))
        }))
      }).pipe(Effect.scoped))
  })

  it("to a node that is not running is refused", () => {
    run(6, 0, (_, callers, callees) =>
      Effect.gen(function*() {
        const caller = callers.get("symmetric")!
        const callee = callees.get("port-restricted cone")!
        yield* callee.crash()
        yield* Effect.sleep("10 minutes")
        const failed = yield* caller.run(
          Effect.flip(Effect.scoped(Dht.use((dht) => dht.connect(callee.identity.address))))
        )
        assert.strictEqual((failed as CannotConnect).reason, "Unknown")
      }))
  })
})

describe("a node behind a router", () => {
  it("sends at most one datagram in 20 seconds at rest, by which it can be met", () => {
    SimWorld.runSync(
      Effect.gen(function*() {
        const world = yield* SimWorld.SimWorld
        yield* world.startNodes(40)
        const [client] = yield* world.startNodes(1, { host: { behind: Nat.portRestrictedCone } })
        yield* Effect.sleep("30 minutes")
        let sent = 0
        world.network.observe({
          delivered: ({ source }) => {
            if (source === client.host) sent++
          }
        })
        yield* Effect.sleep("1 hour")
        assert.isAtMost(sent, 3600 / 20)
      }).pipe(Effect.provideService(References.MinimumLogLevel, "Error")),
      { seed: 1, crypto: SimCrypto.simulated }
    )
  })
})
