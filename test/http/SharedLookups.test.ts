import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { SharedLookups } from "../../src/http/SharedLookups.ts"
import * as Shared from "../../src/http/SharedLookups.ts"
import * as NodeId from "../../src/NodeId.ts"
import { Publisher } from "../../src/Publisher.ts"
import * as Transport from "../../src/Transport.ts"
import * as network from "../utils/network.ts"
import { settled } from "../utils/served.ts"

const onNetwork = Effect.provide(Transport.layerMemoryNetwork)

const key = NodeId.fromTopic("translate")

/** Lookups that end when the test says so, each with its number. */
const setUp = Effect.gen(function*() {
  const node = yield* network.node("node", network.socketOf(1))
  const built = yield* Layer.build(Shared.layer).pipe(Effect.provideContext(node))
  const { renew, share } = Context.get(built, SharedLookups)
  const ends: Array<Deferred.Deferred<void, string>> = []
  let interrupted = 0
  const lookup = Effect.suspend(() => {
    const end = Deferred.makeUnsafe<void, string>()
    const number = ends.push(end)
    return Effect.as(Deferred.await(end), number).pipe(
      Effect.onInterrupt(() => Effect.sync(() => interrupted++))
    )
  })
  const ask = (name = "topic", at = key) =>
    Effect.tap(Effect.forkScoped(share(at, name, lookup), { startImmediately: true }), settled)
  return {
    node,
    renew,
    share,
    ask,
    ends,
    end: (number: number) => Effect.andThen(Deferred.succeed(ends[number - 1], undefined), settled),
    get interrupted() {
      return interrupted
    }
  }
})

describe("lookups that clients share", () => {
  it.effect("are one for all who ask for the same meanwhile", () =>
    Effect.gen(function*() {
      const { ask, end, ends } = yield* setUp
      const clients = [yield* ask(), yield* ask(), yield* ask()]
      yield* ask("other")
      yield* ask("topic", NodeId.fromTopic("chess"))
      assert.lengthOf(ends, 3)
      yield* end(1)
      assert.deepStrictEqual(yield* Fiber.joinAll(clients), [1, 1, 1])
    }).pipe(onNetwork))

  it.effect("are not joined after they ended, nor after another of the key did", () =>
    Effect.gen(function*() {
      const { ask, end, ends } = yield* setUp
      yield* ask()
      yield* ask("other")
      yield* end(2)
      const later = yield* ask()
      assert.lengthOf(ends, 3)
      yield* end(3)
      assert.strictEqual(yield* Fiber.join(later), 3)
    }).pipe(onNetwork))

  it.effect("are not joined after a record of the key was stored here, or published through the gateway", () =>
    Effect.gen(function*() {
      const { ask, ends, node, renew } = yield* setUp
      yield* ask()
      yield* Context.get(node, Publisher).publishTopic({ topic: "translate", name: "Ann" })
      yield* ask()
      assert.lengthOf(ends, 2)
      yield* renew(key)
      yield* ask()
      assert.lengthOf(ends, 3)
    }).pipe(onNetwork))

  it.effect("go on as long as one client waits, and no longer", () =>
    Effect.gen(function*() {
      const world = yield* setUp
      const { ask, end, ends } = world
      const [first, second] = [yield* ask(), yield* ask()]
      yield* Fiber.interrupt(first)
      assert.strictEqual(world.interrupted, 0)
      yield* end(1)
      assert.strictEqual(yield* Fiber.join(second), 1)
      yield* Fiber.interrupt(yield* ask())
      assert.strictEqual(world.interrupted, 1)
      const next = yield* ask()
      yield* end(ends.length)
      assert.strictEqual(yield* Fiber.join(next), 3)
    }).pipe(onNetwork))

  it.effect("fail for all who wait, and begin anew for the next", () =>
    Effect.gen(function*() {
      const { ask, ends } = yield* setUp
      const clients = [yield* ask(), yield* ask()]
      yield* Deferred.fail(ends[0], "lost")
      for (const client of clients) assert.strictEqual(yield* Effect.flip(Fiber.join(client)), "lost")
      yield* ask()
      assert.lengthOf(ends, 2)
    }).pipe(onNetwork))
})
