import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Rpc } from "../../src/Rpc.ts"
import { clockTime, Violation } from "../../src/testing/Properties.ts"
import * as Liveness from "../../src/testing/PropertiesLiveness.ts"
import * as Safety from "../../src/testing/PropertiesSafety.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import * as VirtualTime from "../../src/testing/VirtualTime.ts"

describe("Properties", () => {
  it("a violation names the property, the node, the time and the seeds", () => {
    const facts = {
      property: "OneReply",
      node: "node 3",
      atMillis: 3_723_004,
      facts: { requests: 1, replies: 2 },
      seed: 7
    } as const
    assert.strictEqual(
      new Violation({ ...facts, scheduleSeed: 11 }).message,
      "01:02:03.004 node 3: OneReply, that a request has at most one reply, does not hold: " +
        "requests 1, replies 2 (seed 7, schedule seed 11)"
    )
    assert.match(new Violation({ ...facts, scheduleSeed: undefined }).message, / \(seed 7\)$/)
    assert.strictEqual(clockTime(59_999.9), "00:00:59.999")
    assert.strictEqual(clockTime(3_600_000), "01:00:00")
  })

  it("watching does not change the behaviour of the nodes", () => {
    const run = (isWatched: boolean) =>
      SimWorld.runSync(
        Effect.gen(function*() {
          const world = yield* SimWorld.SimWorld
          const safety = yield* Safety.watch(world)
          yield* world.startNodes(10, isWatched ? { app: safety.probe } : {})
          yield* Effect.sleep("5 minutes")
          return world.trace.hash
        }),
        { seed: 1, crypto: SimCrypto.simulated }
      )
    assert.strictEqual(run(true), run(false))
  })

  /** What is reported of a node that needs ten seconds to close, with requests that end at the end of these or never. */
  const reported = (how: { readonly requestsEnd: boolean; readonly leaves: boolean }) => {
    let violations: ReadonlyArray<Violation> = []
    const layerRpc = Layer.effect(
      Rpc,
      Effect.gen(function*() {
        let pending = 2
        const end = Effect.sync(() => {
          if (how.requestsEnd) pending = 0
        })
        yield* Effect.addFinalizer(() => Effect.delay(end, "10 seconds"))
        return { ...(yield* Rpc), pending: Effect.sync(() => pending) }
      })
    )
    SimWorld.runSync(
      Effect.gen(function*() {
        const world = yield* SimWorld.SimWorld
        const safety = yield* Safety.watch(world, { interval: "3 seconds" })
        violations = safety.violations
        const node = world.node("node 0", { app: Layer.provide(safety.probe, layerRpc) })
        yield* node.start
        if (how.leaves) yield* node.leave
      }),
      { seed: 1, crypto: SimCrypto.simulated }
    )
    return violations.map(({ facts, node, property }) => [property, node, facts.pending])
  }

  it("a node has no pending requests once all of it has closed, whether it leaves or its world ends", () => {
    for (const leaves of [true, false]) {
      assert.deepStrictEqual(reported({ requestsEnd: true, leaves }), [])
      assert.deepStrictEqual(reported({ requestsEnd: false, leaves }), [["NothingIsLeft", "node 0", 2]])
    }
  })

  it("missing and duplicate messages are reported", () => {
    const found = SimWorld.runSync(
      SimWorld.SimWorld.use((world) =>
        Liveness.check(world, [], {
          sent: [{ recipient: "node 1", id: "a" }, { recipient: "node 1", id: "b" }],
          received: [{ recipient: "node 1", id: "b" }, { recipient: "node 1", id: "b" }]
        })
      ),
      { seed: 1 }
    )
    assert.deepStrictEqual(found.map(({ facts, property }) => [property, facts.message, facts.arrived]), [
      ["MessagesArriveOnce", "a", 0],
      ["MessagesArriveOnce", "b", 2]
    ])
  })

  it("fibers and timers that a program leaves behind are counted", () => {
    const left = (program: Effect.Effect<unknown>) =>
      VirtualTime.runSyncExit(Safety.leavesNothing(program, { seed: 1 }))
    assert.strictEqual(left(Effect.sleep("1 second"))._tag, "Success")
    assert.match(
      String(left(Effect.forkDetach(Effect.sleep("1 hour"), { startImmediately: true }))),
      /fibers 1, timers 1/
    )
  })
})
