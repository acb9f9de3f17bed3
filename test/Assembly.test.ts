import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { background, inOrder, service } from "../src/Assembly.ts"

class Floor extends Context.Service<Floor, { readonly parts: ReadonlyArray<string> }>()("Floor") {}
class Walls extends Context.Service<Walls, { readonly parts: ReadonlyArray<string> }>()("Walls") {}
class Roof extends Context.Service<Roof, { readonly parts: ReadonlyArray<string> }>()("Roof") {}

/** What was made and released, in this order, and services that note it. */
const noting = () => {
  const notes: Array<string> = []
  const made = Effect.fnUntraced(function*(name: string, below: ReadonlyArray<string> = []) {
    notes.push(name)
    yield* Effect.addFinalizer(() => Effect.sync(() => void notes.push(`${name} released`)))
    return { parts: [...below, name] }
  })
  return {
    notes,
    floor: made("floor"),
    walls: Effect.flatMap(Floor, ({ parts }) => made("walls", parts)),
    roof: Effect.flatMap(Walls, ({ parts }) => made("roof", parts))
  }
}

describe("the parts of an assembly", () => {
  it.effect("are each built with the services before them, and released in reverse order", () =>
    Effect.gen(function*() {
      const { floor, notes, roof, walls } = noting()
      const house = inOrder(service(Floor, floor), service(Walls, walls), background(walls), Layer.effect(Roof, roof))
      const scope = yield* Scope.make()
      const built = yield* Layer.buildWithScope(house, scope)
      assert.deepStrictEqual(Context.get(built, Roof).parts, ["floor", "walls", "roof"])
      assert.deepStrictEqual(notes, ["floor", "walls", "walls", "roof"])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(notes.slice(4), ["roof released", "walls released", "walls released", "floor released"])
    }))

  it.effect("need what no part before them provides", () =>
    Effect.gen(function*() {
      const { floor, walls } = noting()
      // The walls stand on a floor that is built after them.
      const house = inOrder(service(Walls, walls), service(Floor, floor))
      expectTypeOf<Layer.Services<typeof house>>().toEqualTypeOf<Floor>()
      const missing = Layer.build(house) as Effect.Effect<unknown, never, Scope.Scope>
      assert.isTrue(Exit.hasDies(yield* Effect.exit(missing)))
    }))

  it.effect("provide their services and nothing of what they were built with", () =>
    Effect.gen(function*() {
      const { floor, walls } = noting()
      const built = yield* Layer.buildWithMemoMap(
        inOrder(service(Floor, floor), Layer.effect(Walls, walls)),
        Layer.makeMemoMapUnsafe(),
        yield* Effect.scope
      )
      assert.sameMembers(
        [...Context.omit(Layer.CurrentMemoMap)(built).mapUnsafe.keys()],
        [Floor.key, Walls.key]
      )
    }))

  it.effect("share a layer with the layers around them", () =>
    Effect.gen(function*() {
      const { floor, notes, walls } = noting()
      const layerFloor = Layer.effect(Floor, floor)
      const house = inOrder(layerFloor, service(Walls, walls))
      yield* Layer.build(Layer.merge(house, layerFloor))
      assert.deepStrictEqual(notes, ["floor", "walls"])
    }))

  it.effect("release those before one that fails, and build none after it", () =>
    Effect.gen(function*() {
      const { floor, notes, walls } = noting()
      const house = inOrder(service(Floor, floor), background(Effect.fail("collapsed")), service(Walls, walls))
      assert.strictEqual(yield* Effect.flip(Layer.build(house)), "collapsed")
      assert.deepStrictEqual(notes, ["floor", "floor released"])
    }))
})
