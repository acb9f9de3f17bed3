/**
 * The application in a bad network: `Phonebook.ts`, as in production, on
 * simulated machines under virtual time. Hours take seconds, and a run is
 * reproducible from its seed.
 *
 *     npx vitest run examples/phonebook.test.ts
 */
import { NodeCrypto } from "effect-dht/node"
import { SimWorld } from "effect-dht/testing"
import * as Effect from "effect/Effect"
import { assert, describe, it } from "vitest"
import { Phonebook } from "./Phonebook.ts"

/** Twelve plain nodes that make up the network, and two with the application. */
const start = Effect.gen(function*() {
  const world = yield* SimWorld.SimWorld
  const others = yield* world.startNodes(12)
  const [ann, bob] = ["ann", "bob"].map((name) =>
    world.node(name, { app: Phonebook.layer(`https://${name}.example`), through: others.slice(0, 3) })
  )
  yield* ann.start
  yield* bob.start
  const bobFindsAnn = bob.run(Phonebook.use(({ find }) => find(ann.identity.address)))
  return { world, ann, bob, bobFindsAnn }
})

/** Real signatures, by the fastest available implementation. */
const crypto = NodeCrypto.fastest

describe("Phonebook", () => {
  // Each seed gives a different network: other ids, places and lost datagrams.
  it.each([1, 2, 3])("finds an address in network %i, which loses one datagram in five", (seed) => {
    const program = Effect.gen(function*() {
      const { bobFindsAnn, world } = yield* start
      // By then each node knows its neighbours.
      yield* Effect.sleep("1 minute")
      world.network.conditions.loss = 0.2
      return yield* bobFindsAnn
    })
    assert.deepStrictEqual(SimWorld.runSync(program, { seed, crypto }), { url: "https://ann.example", isFresh: true })
  })

  it("returns the last known endpoint while it is cut off, and the current one afterwards", () => {
    const program = Effect.gen(function*() {
      const { bob, bobFindsAnn, world } = yield* start
      const before = yield* bobFindsAnn
      world.network.partition([bob.host])
      // Longer than the lifetime of any copy that Bob's own node may hold.
      yield* Effect.sleep("2 hours")
      const during = yield* bobFindsAnn
      world.network.heal()
      yield* Effect.sleep("10 minutes")
      return [before, during, yield* bobFindsAnn]
    })
    assert.deepStrictEqual(
      SimWorld.runSync(program, { seed: 1, crypto }).map(({ isFresh }) => isFresh),
      [true, false, true]
    )
  })

  it("no longer lists the application an hour after it ended", () => {
    const program = Effect.gen(function*() {
      const { ann, bobFindsAnn } = yield* start
      yield* ann.crash()
      yield* Effect.sleep("61 minutes")
      return yield* Effect.flip(bobFindsAnn)
    })
    assert.strictEqual(SimWorld.runSync(program, { seed: 1, crypto })._tag, "Unlisted")
  })
})
