import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fault from "../../src/testing/Fault.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"

const options = { seed: 1, crypto: SimCrypto.simulated }

describe("Fault", () => {
  it("separates at least one node from at least one other, and describes it so", () => {
    SimWorld.runSync(
      Effect.gen(function*() {
        const world = yield* SimWorld.SimWorld
        const nodes = Array.from({ length: 4 }, (_, i) => world.node(`node ${i}`))
        for (let number = 0; number <= 16; number++) {
          const fault: Fault.Fault = { do: "partition", nodes: number }
          yield* Fault.inject(world, nodes, fault)
          const groups = nodes.map(({ host }) => host.group)
          const separated = groups.filter((group) => group === groups[0]).length
          assert.isTrue(separated >= 1 && separated <= 3, `${number}: ${groups}`)
          assert.strictEqual(groups.lastIndexOf(groups[0]), separated - 1)
          if (number >= 1 && number <= 3) assert.strictEqual(separated, number)
          assert.strictEqual(
            Fault.describe(Fault.reduced(fault, nodes.length)),
            separated === 1
              ? "the first node is separated from the others"
              : `the first ${separated} nodes are separated from the others`
          )
        }
      }),
      options
    )
  })

  it("hits the nodes that it names once it is reduced", () => {
    const faults: ReadonlyArray<Fault.Fault> = [
      { do: "crash", node: 7 },
      { do: "clock", node: 5, seconds: 30 },
      { do: "cut", from: 6, to: 8 },
      { do: "heal" }
    ]
    const hashOf = (reduce: boolean) =>
      SimWorld.runSync(
        Effect.gen(function*() {
          const world = yield* SimWorld.SimWorld
          const nodes = yield* world.startNodes(3)
          for (const fault of faults) {
            yield* Fault.inject(world, nodes, reduce ? Fault.reduced(fault, nodes.length) : fault)
          }
          assert.deepStrictEqual(nodes.map(({ isUp }) => isUp), [true, false, true])
          assert.deepStrictEqual(nodes.map(({ clock }) => clock.offsetMillis), [0, 0, 30_000])
          return world.trace.hash
        }),
        options
      )
    assert.strictEqual(hashOf(true), hashOf(false))
    assert.deepStrictEqual(faults.map((fault) => Fault.describe(Fault.reduced(fault, 3))), [
      "node 1 crashes",
      "the clock of node 2 jumps to 30 s ahead",
      "datagrams from node 0 to node 2 are blocked",
      "the network heals"
    ])
  })
})
