import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import { InFlight } from "../src/InFlight.ts"
import * as Timers from "../src/Timers.ts"
import * as alive from "./utils/alive.ts"

const start = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

/** Requests by name: the test completes them, and sees which were given up. */
const setUp = Effect.gen(function*() {
  const inFlight = new InFlight<string>(yield* Timers.Timers)
  const asked = new Map<string, (outcome: string) => void>()
  const givenUp: Array<string> = []
  return {
    inFlight,
    givenUp,
    ask: (name: string) =>
      inFlight.start((done) => {
        asked.set(name, done)
        return () => givenUp.push(name)
      }),
    /** Its outcome is its name. */
    done: (name: string) => asked.get(name)?.(name)
  }
})

const withTimers = Effect.provide(Timers.layer)

/** The number of sleeping timer fibers that a test has started. */
const countingSleeps = <A, E>(test: (sleeps: () => number) => Effect.Effect<A, E, Timers.Timers>) =>
  alive.counting((now) => withTimers(test(() => now().sleeps)))

describe("InFlight", () => {
  describe("take", () => {
    it.effect("returns earlier outcomes at once, in order, and once", () =>
      Effect.gen(function*() {
        const { ask, done, inFlight } = yield* setUp
        for (const name of ["a", "b", "c"]) ask(name)
        done("c")
        done("a")
        const taking = yield* start(inFlight.take(undefined))
        assert.deepStrictEqual(yield* Fiber.join(taking), ["c", "a"])
        done("b")
        assert.deepStrictEqual(yield* inFlight.take(undefined), ["b"])
      }).pipe(withTimers))

    it.effect("sets no timer if an outcome is waiting", () =>
      countingSleeps((sleeps) =>
        Effect.gen(function*() {
          const { ask, done, inFlight } = yield* setUp
          ask("a")
          done("a")
          assert.deepStrictEqual(yield* inFlight.take(100), ["a"])
          assert.strictEqual(sleeps(), 0)
        })
      ))

    it.effect("waits for the next outcome if there is none", () =>
      Effect.gen(function*() {
        const { ask, done, inFlight } = yield* setUp
        ask("a")
        const taking = yield* start(inFlight.take(undefined))
        yield* TestClock.adjust("1 hour")
        assert.isUndefined(taking.pollUnsafe())
        done("a")
        assert.deepStrictEqual(yield* Fiber.join(taking), ["a"])
      }).pipe(withTimers))

    it.effect("returns an outcome that arrives while the request starts", () =>
      Effect.gen(function*() {
        const { inFlight } = yield* setUp
        inFlight.start((done) => {
          done("at once")
          return () => {}
        })
        assert.deepStrictEqual(yield* inFlight.take(undefined), ["at once"])
        const taking = yield* start(inFlight.take(undefined))
        inFlight.start((done) => {
          done("at once again")
          return () => {}
        })
        assert.deepStrictEqual(yield* Fiber.join(taking), ["at once again"])
      }).pipe(withTimers))

    it.effect("returns none at the given time, and not before", () =>
      Effect.gen(function*() {
        const { ask, done, inFlight } = yield* setUp
        ask("a")
        const taking = yield* start(inFlight.take(100))
        yield* TestClock.adjust(99)
        assert.isUndefined(taking.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* Fiber.join(taking), [])
        done("a")
        assert.deepStrictEqual(yield* inFlight.take(200), ["a"])
      }).pipe(withTimers))

    it.effect("returns none at once if the given time is past", () =>
      Effect.gen(function*() {
        const { ask, inFlight } = yield* setUp
        ask("a")
        yield* TestClock.adjust(100)
        const taking = yield* start(inFlight.take(50))
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(taking.pollUnsafe()?._tag, "Success")
        assert.deepStrictEqual(yield* Fiber.join(taking), [])
      }).pipe(withTimers))

    it.effect("leaves no timer when an outcome arrives in time", () =>
      countingSleeps((sleeps) =>
        Effect.gen(function*() {
          const { ask, done, inFlight } = yield* setUp
          ask("a")
          ask("b")
          const taking = yield* start(inFlight.take(100))
          assert.strictEqual(sleeps(), 1)
          done("a")
          assert.deepStrictEqual(yield* Fiber.join(taking), ["a"])
          assert.strictEqual(sleeps(), 0)
          const next = yield* start(inFlight.take(undefined))
          yield* TestClock.adjust(200)
          assert.isUndefined(next.pollUnsafe())
          yield* Fiber.interrupt(next)
        })
      ))

    it.effect("leaves no timer and loses no outcome when it is interrupted", () =>
      countingSleeps((sleeps) =>
        Effect.gen(function*() {
          const { ask, done, inFlight } = yield* setUp
          ask("a")
          const taking = yield* start(inFlight.take(100))
          assert.strictEqual(sleeps(), 1)
          yield* Fiber.interrupt(taking)
          assert.strictEqual(sleeps(), 0)
          done("a")
          assert.deepStrictEqual(yield* inFlight.take(100), ["a"])
        })
      ))
  })

  describe("takeAll", () => {
    it.effect("returns the outcomes so far, possibly none, and once", () =>
      Effect.gen(function*() {
        const { ask, done, inFlight } = yield* setUp
        ask("a")
        ask("b")
        assert.deepStrictEqual(inFlight.takeAll(), [])
        done("b")
        done("a")
        assert.deepStrictEqual(inFlight.takeAll(), ["b", "a"])
        assert.deepStrictEqual(inFlight.takeAll(), [])
      }).pipe(withTimers))
  })

  describe("giveUp", () => {
    it.effect("cancels each request in flight, once", () =>
      Effect.gen(function*() {
        const { ask, givenUp, inFlight } = yield* setUp
        for (const name of ["a", "b", "c"]) ask(name)
        inFlight.giveUp()
        assert.deepStrictEqual(givenUp, ["a", "b", "c"])
        inFlight.giveUp()
        assert.strictEqual(givenUp.length, 3)
        ask("d")
        inFlight.giveUp()
        assert.deepStrictEqual(givenUp, ["a", "b", "c", "d"])
      }).pipe(withTimers))

    it.effect("does not cancel a request that has an outcome, taken or not", () =>
      Effect.gen(function*() {
        const { ask, done, givenUp, inFlight } = yield* setUp
        for (const name of ["taken", "waiting", "in flight"]) ask(name)
        done("taken")
        assert.deepStrictEqual(yield* inFlight.take(undefined), ["taken"])
        done("waiting")
        inFlight.start((done) => {
          done("at once")
          return () => givenUp.push("at once")
        })
        inFlight.giveUp()
        assert.deepStrictEqual(givenUp, ["in flight"])
      }).pipe(withTimers))

    it.effect("resumes no caller: a later take waits until the given time", () =>
      Effect.gen(function*() {
        const { ask, inFlight } = yield* setUp
        ask("a")
        const taking = yield* start(inFlight.take(100))
        inFlight.giveUp()
        yield* TestClock.adjust(99)
        assert.isUndefined(taking.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(yield* Fiber.join(taking), [])
      }).pipe(withTimers))
  })
})
