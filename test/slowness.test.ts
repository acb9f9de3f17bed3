import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Dht } from "../src/Dht.ts"
import { PeerHealth } from "../src/PeerHealth.ts"
import * as Latency from "../src/testing/Latency.ts"
import * as SimCrypto from "../src/testing/SimCrypto.ts"
import * as SimWorld from "../src/testing/SimWorld.ts"
import type * as VirtualTime from "../src/testing/VirtualTime.ts"

type Program = (
  world: SimWorld.World
) => Effect.Effect<void, unknown, SimWorld.SimWorld | VirtualTime.VirtualTime | Scope.Scope>

type DhtNode = SimWorld.SimNode<SimWorld.NodeServices, unknown>

const run = (program: Program): void =>
  SimWorld.runSync(Effect.flatMap(SimWorld.SimWorld, program), { seed: 1, crypto: SimCrypto.simulated })

/** The names of the nodes that a node does not find by their ids. */
const missed = (node: DhtNode, others: ReadonlyArray<DhtNode>) =>
  Effect.map(
    Effect.forEach(others, (other) =>
      Effect.map(
        node.run(Dht.use((dht) => dht.findNode(other.identity.nodeId))),
        ([nearest]) => nearest?.id === other.identity.nodeId || other === node ? [] : [other.name]
      )),
    (names) => names.flat()
  )

/** The names of the nodes that a node counts as bad. */
const bad = (node: DhtNode, others: ReadonlyArray<DhtNode>) =>
  node.run(
    PeerHealth.use((health) =>
      Effect.sync(() => others.filter(({ identity }) => health.isBadUnsafe(identity.nodeId)).map(({ name }) => name))
    )
  )

/** Milliseconds one way. */
const slow = [60, 150, 600]

/** Time in which late responses arrive. */
const settled = Effect.sleep("3 seconds")

describe("a node that is slower than it was", () => {
  for (const millis of slow) {
    it(`is found again and not given up, ${millis} ms away`, () =>
      run(Effect.fnUntraced(function*(world) {
        world.network.conditions.latency = Latency.constant(0.5)
        const nodes = yield* world.startNodes(16)
        for (const node of nodes) assert.deepStrictEqual(yield* missed(node, nodes), [])
        world.network.conditions.latency = Latency.constant(millis)
        // Its first lookup measures how long the others take now.
        yield* Effect.forEach(nodes, (node) => node.run(Dht.use((dht) => dht.findNode(node.identity.nodeId))))
        yield* settled
        for (const node of nodes) {
          assert.deepStrictEqual(yield* missed(node, nodes), [], `${node.name} misses`)
          assert.deepStrictEqual(yield* bad(node, nodes), [], `${node.name} counts as bad`)
        }
      })))
  }
})

describe("a node that joins", () => {
  for (const millis of slow) {
    it(`is found at once by nodes that used to be quick, ${millis} ms away`, () =>
      run(Effect.fnUntraced(function*(world) {
        world.network.conditions.latency = Latency.constant(0.5)
        const nodes = yield* world.startNodes(16)
        for (const node of nodes) assert.deepStrictEqual(yield* missed(node, nodes), [])
        world.network.conditions.latency = Latency.constant(millis)
        const [newcomer] = yield* world.startNodes(1)
        yield* settled
        assert.deepStrictEqual(yield* missed(newcomer, nodes), [])
        yield* settled
        for (const node of nodes) {
          // The first lookup may measure only how long the others take now.
          yield* missed(node, [newcomer])
          yield* settled
          assert.deepStrictEqual(yield* missed(node, [newcomer]), [], node.name)
        }
      })))

    it(`far from some, is found by all, ${millis} ms away`, () =>
      run(Effect.fnUntraced(function*(world) {
        world.network.conditions.latency = (from, to) => from.x < 0.5 && to.x < 0.5 ? 0.5 : millis
        const nodes = yield* world.startNodes(16)
        for (const node of nodes) assert.deepStrictEqual(yield* missed(node, nodes), [], node.name)
      })))
  }
})
