import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as InFlight from "../src/InFlight.ts"
import * as Interleavings from "../src/testing/Interleavings.ts"
import * as Timers from "../src/Timers.ts"
import * as alive from "./utils/alive.ts"

const start = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Effects by name: the test completes them, and sees which were interrupted. */
const setUp = Effect.gen(function*() {
  const timers = Context.get(yield* Layer.build(Timers.layer), Timers.Timers)
  const inFlight = yield* InFlight.make<string>(timers)
  const asked = new Map<string, Deferred.Deferred<string>>()
  const interrupted: Array<string> = []
  return {
    inFlight,
    interrupted,
    ask: (name: string) => {
      const outcome = Deferred.makeUnsafe<string>()
      asked.set(name, outcome)
      return inFlight.start(
        Effect.onInterrupt(Deferred.await(outcome), () => Effect.sync(() => interrupted.push(name)))
      )
    },
    /** Its outcome is its name. */
    done: (...names: ReadonlyArray<string>) =>
      Effect.sync(() => {
        for (const name of names) Deferred.doneUnsafe(asked.get(name)!, Effect.succeed(name))
      })
  }
})

describe("InFlight", () => {
  describe("start", () => {
    it.effect("begins the effect at once", () =>
      Effect.gen(function*() {
        const { inFlight } = yield* setUp
        let hasBegun = false
        yield* inFlight.start(Effect.sync(() => {
          hasBegun = true
          return "a"
        }))
        assert.isTrue(hasBegun)
        assert.deepStrictEqual(yield* inFlight.take(), ["a"])
      }))

    it.effect("gives the effect the span of the caller as its parent", () =>
      Effect.gen(function*() {
        const { inFlight } = yield* setUp
        yield* Effect.withSpan(
          inFlight.start(Effect.orDie(Effect.map(Effect.currentSpan, ({ name }) => name))),
          "Lookup"
        )
        assert.deepStrictEqual(yield* inFlight.take(), ["Lookup"])
      }))
  })

  describe("take", () => {
    it.effect("returns earlier outcomes at once, in order, and once", () =>
      Effect.gen(function*() {
        const { ask, done, inFlight } = yield* setUp
        for (const name of ["a", "b", "c"]) yield* ask(name)
        yield* done("c", "a")
        yield* Effect.yieldNow
        const taking = yield* start(inFlight.take())
        assert.deepStrictEqual(yield* Fiber.join(taking), ["c", "a"])
        yield* done("b")
        assert.deepStrictEqual(yield* inFlight.take(), ["b"])
      }))

    it.effect("sets no timer if an outcome is waiting", () =>
      alive.counting((now) =>
        Effect.gen(function*() {
          const { ask, done, inFlight } = yield* setUp
          yield* ask("a")
          yield* done("a")
          yield* Effect.yieldNow
          assert.deepStrictEqual(yield* inFlight.take(100), ["a"])
          assert.strictEqual(now().sleeps, 0)
        })
      ))

    it.effect("waits for the next outcome if there is none", () =>
      Effect.gen(function*() {
        const { ask, done, inFlight } = yield* setUp
        yield* ask("a")
        const taking = yield* start(inFlight.take())
        yield* TestClock.adjust("1 hour")
        assert.isUndefined(taking.pollUnsafe())
        yield* done("a")
        assert.deepStrictEqual(yield* Fiber.join(taking), ["a"])
      }))

    it.effect("returns an outcome of something else", () =>
      Effect.gen(function*() {
        const { ask, inFlight } = yield* setUp
        yield* ask("a")
        const taking = yield* start(inFlight.take())
        inFlight.offerUnsafe("b")
        assert.deepStrictEqual(yield* Fiber.join(taking), ["b"])
      }))

    it("misses no outcome that arrives just before it waits, in whatever order fibers run and yield", () => {
      const program = Effect.gen(function*() {
        const timers = Context.get(yield* Layer.build(Timers.layer), Timers.Timers)
        const inFlight = yield* InFlight.make<string>(timers)
        for (const name of ["a", "b", "c"]) yield* inFlight.start(Effect.as(Effect.sleep(10), name))
        const taken: Array<string> = []
        while (taken.length < 3) taken.push(...yield* inFlight.take())
      })
      const { failure } = Interleavings.search(Effect.scoped(program), { depth: 2, runs: 200 })
      assert.isUndefined(failure)
    })

    it.effect("returns none once the given time has passed, and not before", () =>
      Effect.gen(function*() {
        const { ask, done, inFlight } = yield* setUp
        yield* ask("a")
        const taking = yield* start(inFlight.take(100))
        yield* TestClock.adjust(99)
        assert.isUndefined(taking.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* Fiber.join(taking), [])
        yield* done("a")
        assert.deepStrictEqual(yield* inFlight.take(100), ["a"])
      }))

    it.effect("returns none at once if the given time is past", () =>
      Effect.gen(function*() {
        const { ask, inFlight } = yield* setUp
        yield* ask("a")
        const taking = yield* start(inFlight.take(-50))
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(taking.pollUnsafe()?._tag, "Success")
        assert.deepStrictEqual(yield* Fiber.join(taking), [])
      }))

    it.effect("returns an outcome that arrives at the deadline, at once or next", () =>
      Effect.gen(function*() {
        const { inFlight } = yield* setUp
        yield* inFlight.start(Effect.as(Effect.sleep(100), "a"))
        const taking = yield* start(inFlight.take(100))
        yield* TestClock.adjust(100)
        assert.deepStrictEqual([...yield* Fiber.join(taking), ...yield* inFlight.takeAll], ["a"])
      }))

    it.effect("leaves no timer when an outcome arrives in time", () =>
      alive.counting((now) =>
        Effect.gen(function*() {
          const { ask, done, inFlight } = yield* setUp
          yield* ask("a")
          yield* ask("b")
          const taking = yield* start(inFlight.take(100))
          assert.strictEqual(now().sleeps, 1)
          yield* done("a")
          assert.deepStrictEqual(yield* Fiber.join(taking), ["a"])
          assert.strictEqual(now().sleeps, 0)
          const next = yield* start(inFlight.take())
          yield* TestClock.adjust(200)
          assert.isUndefined(next.pollUnsafe())
          yield* Fiber.interrupt(next)
        })
      ))

    it.effect("leaves no timer and loses no outcome when it is interrupted", () =>
      alive.counting((now) =>
        Effect.gen(function*() {
          const { ask, done, inFlight } = yield* setUp
          yield* ask("a")
          const taking = yield* start(inFlight.take(100))
          assert.strictEqual(now().sleeps, 1)
          yield* Fiber.interrupt(taking)
          assert.strictEqual(now().sleeps, 0)
          yield* done("a")
          assert.deepStrictEqual(yield* inFlight.take(100), ["a"])
        })
      ))

    it.effect("fails with the defect of an effect, after the outcomes before it", () =>
      Effect.gen(function*() {
        const { ask, done, inFlight } = yield* setUp
        yield* ask("a")
        yield* ask("never")
        yield* done("a")
        yield* inFlight.start(Effect.die("broken"))
        assert.deepStrictEqual(yield* inFlight.take(), ["a"])
        const exit = yield* Effect.exit(inFlight.take())
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) === "broken")
      }))
  })

  describe("takeAll", () => {
    it.effect("returns the outcomes so far, possibly none, and once", () =>
      Effect.gen(function*() {
        const { ask, done, inFlight } = yield* setUp
        yield* ask("a")
        yield* ask("b")
        assert.deepStrictEqual(yield* inFlight.takeAll, [])
        yield* done("b", "a")
        yield* Effect.yieldNow
        assert.deepStrictEqual(yield* inFlight.takeAll, ["b", "a"])
        assert.deepStrictEqual(yield* inFlight.takeAll, [])
      }))
  })

  describe("the end of the scope", () => {
    it.effect("interrupts the effects in flight, and no others", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { ask, done, inFlight, interrupted } = yield* Scope.provide(setUp, scope)
        for (const name of ["taken", "waiting", "in flight"]) yield* ask(name)
        yield* done("taken")
        assert.deepStrictEqual(yield* inFlight.take(), ["taken"])
        yield* done("waiting")
        yield* Effect.yieldNow
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(interrupted, ["in flight"])
        let hasBegun = false
        yield* inFlight.start(Effect.sync(() => {
          hasBegun = true
          return "too late"
        }))
        yield* Effect.yieldNow
        assert.isFalse(hasBegun)
        assert.deepStrictEqual(interrupted, ["in flight"])
      }))

    it.effect("leaves no fiber", () =>
      alive.counting((now) =>
        Effect.gen(function*() {
          const before = now()
          const scope = yield* Scope.make()
          const { ask, done, inFlight } = yield* Scope.provide(setUp, scope)
          yield* ask("a")
          yield* ask("b")
          const taking = yield* start(inFlight.take(100))
          yield* done("a")
          yield* Fiber.join(taking)
          assert.isAbove(now().fibers, before.fibers)
          yield* Scope.close(scope, Exit.void)
          assert.deepStrictEqual(now(), before)
        })
      ))
  })
})
