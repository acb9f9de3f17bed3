/**
 * The conversation of `talk.ts` between two programs behind routers that let no
 * stranger in, in a simulated network.
 *
 *     npx vitest run examples/intercom.test.ts
 */
import { Dht } from "effect-dht"
import { NodeCrypto } from "effect-dht/node"
import { Nat, SimWorld } from "effect-dht/testing"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { assert, describe, it } from "vitest"
import { Intercom } from "./Intercom.ts"

/** Twelve nodes with public addresses, and two programs behind routers, after they had time to be found. */
const start = (ofAnn: Nat.Behaviour, ofBob: Nat.Behaviour) =>
  Effect.gen(function*() {
    const world = yield* SimWorld.SimWorld
    const others = yield* world.startNodes(12)
    const program = (name: string, behind: Nat.Behaviour) =>
      world.node(name, { app: Intercom.layer, host: { behind }, through: others.slice(0, 3) })
    const [ann, bob] = [program("ann", ofAnn), program("bob", ofBob)]
    yield* ann.start
    yield* bob.start
    yield* Effect.sleep("4 minutes")
    return { world, ann, bob, annCalls: Dht.Dht.use(({ connect }) => connect(bob.identity.address)) }
  })

const crypto = NodeCrypto.fastest

describe("Intercom", () => {
  it.each([0, 0.05])("carries lines both ways between two routers, with a loss of %d", (loss) => {
    const program = Effect.gen(function*() {
      const { ann, annCalls, bob, world } = yield* start(Nat.portRestrictedCone, Nat.portRestrictedCone)
      world.network.conditions.loss = loss
      // Bob answers each line where it came from.
      yield* Effect.forkScoped(
        bob.run(
          Intercom.use(({ lines, say }) =>
            Stream.runForEach(lines, ({ from, text }) => Effect.ignore(say(from, `${text} yourself`)))
          )
        ),
        { startImmediately: true }
      )
      return yield* ann.run(Effect.scoped(Effect.gen(function*() {
        const intercom = yield* Intercom
        const answer = yield* Effect.forkScoped(Stream.runHead(intercom.lines), { startImmediately: true })
        const { how, peer } = yield* annCalls
        yield* intercom.say(peer, "hello")
        return [how, Option.map(yield* Fiber.join(answer), ({ text }) => text)] as const
      })))
    })
    assert.deepStrictEqual(SimWorld.runSync(Effect.scoped(program), { seed: 1, crypto }), [
      "Punched",
      Option.some("hello yourself")
    ])
  })

  it("says at once why there is no way between two routers with a port for each peer", () => {
    const program = Effect.gen(function*() {
      const { ann, annCalls } = yield* start(Nat.symmetric, Nat.symmetric)
      return yield* ann.run(Effect.flip(Effect.scoped(annCalls)))
    })
    const error = SimWorld.runSync(program, { seed: 1, crypto })
    assert.strictEqual(error._tag === "CannotConnect" ? error.reason : error._tag, "BothSymmetric")
  })
})
