/**
 * The application's own behaviour in a bad network: `Phonebook.ts`, as it runs
 * in production, on simulated machines under virtual time. Hours take seconds,
 * and a seed repeats the run to the last byte.
 *
 *     npx vitest run examples/phonebook.test.ts
 */
import { NodeCrypto } from "effect-dht/node"
import { SimWorld } from "effect-dht/testing"
import * as Effect from "effect/Effect"
import { assert, describe, it } from "vitest"
import { Phonebook } from "./Phonebook.ts"

/** Twelve nodes that carry the network, and two with the application on them. */
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

/** Real signatures, checked by the fastest code there is. */
const crypto = NodeCrypto.fastest

describe("Phonebook", () => {
  // A different network for each seed: other ids, other places, other datagrams that get lost.
  it.each([1, 2, 3])("finds somebody in network %i, which loses every fifth datagram", (seed) => {
    const program = Effect.gen(function*() {
      const { bobFindsAnn, world } = yield* start
      world.network.conditions.loss = 0.2
      return yield* bobFindsAnn
    })
    assert.deepStrictEqual(SimWorld.runSync(program, { seed, crypto }), { url: "https://ann.example", isFresh: true })
  })

  it("says where somebody last was while it is cut off, and knows better afterwards", () => {
    const program = Effect.gen(function*() {
      const { bob, bobFindsAnn, world } = yield* start
      const before = yield* bobFindsAnn
      world.network.partition([bob.host])
      // Longer than any copy of the record lives that Bob's own node may hold.
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

  it("lists nobody for more than an hour after the application ended", () => {
    const program = Effect.gen(function*() {
      const { ann, bobFindsAnn } = yield* start
      yield* ann.crash()
      yield* Effect.sleep("61 minutes")
      return yield* Effect.flip(bobFindsAnn)
    })
    assert.strictEqual(SimWorld.runSync(program, { seed: 1, crypto })._tag, "Unlisted")
  })
})
