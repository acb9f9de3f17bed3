import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import { announceAll, resolve, start } from "./families.ts"

const median = (values: ReadonlyArray<number>): number => values[values.length >> 1]

describe("nodes of one address family each, and five of both", () => {
  it("find each other's records, half as fast at least as those of their own family", () => {
    const program = Effect.gen(function*() {
      const world = yield* SimWorld.SimWorld
      const nodes = yield* start(world, { ipv4: 40, ipv6: 40, dual: 5 })
      yield* announceAll(nodes)
      yield* Effect.sleep("5 minutes")
      const own = yield* resolve(nodes.ipv4, nodes.ipv4, 40, "own")
      for (const [readers, publishers] of [[nodes.ipv4, nodes.ipv6], [nodes.ipv6, nodes.ipv4]]) {
        const { millis, missed } = yield* resolve(readers, publishers, 40, "other")
        assert.deepStrictEqual(missed, [])
        assert.isAtMost(median(millis), 2 * median(own.millis))
      }
    })
    SimWorld.runSync(program, { seed: 1, crypto: SimCrypto.simulated, within: "1 hour" })
  })
})
