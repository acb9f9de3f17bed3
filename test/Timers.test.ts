import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as TestClock from "effect/testing/TestClock"
import * as fc from "fast-check"
import { Timer } from "../src/internal/timerQueue.ts"
import * as Timers from "../src/Timers.ts"
import * as alive from "./utils/alive.ts"

class TestTimer extends Timer {
  readonly fire: () => void

  constructor(fire: () => void) {
    super()
    this.fire = fire
  }
}

interface Rung {
  readonly name: string | number
  readonly at: number
}

/** Timers that record their names and when they fire. */
const recorder = Effect.gen(function*() {
  const timers = yield* Timers.Timers
  const fired: Array<Rung> = []
  return {
    timers,
    fired,
    set: (name: string | number, at: number, then: () => void = () => {}): TestTimer => {
      const timer = new TestTimer(() => {
        fired.push({ name, at: timers.now() })
        then()
      })
      timers.set(timer, at)
      return timer
    },
    names: () => fired.map(({ name }) => name)
  }
})

const withTimers = Effect.provide(Timers.layer)

/** The fibers alive of those a test started; the test clock's own warnings have ended before. */
const counting = <A, E>(test: (now: () => alive.Alive) => Effect.Effect<A, E, Timers.Timers>) =>
  Effect.andThen(TestClock.adjust(0), alive.counting((now) => withTimers(test(now))))

describe("Timers", () => {
  it.effect("counts milliseconds with fractions, from an arbitrary origin", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_700_000_000_000)
      yield* Effect.gen(function*() {
        const { now } = yield* Timers.Timers
        const began = now()
        yield* TestClock.adjust("1500 micros")
        assert.closeTo(now() - began, 1.5, 1e-6)
      }).pipe(withTimers)
    }))

  describe("a timer", () => {
    it.effect("fires at its time, not before, and once", () =>
      Effect.gen(function*() {
        const { fired, set } = yield* recorder
        set("a", 10)
        yield* TestClock.adjust(9)
        assert.deepStrictEqual(fired, [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(fired, [{ name: "a", at: 10 }])
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(fired.length, 1)
      }).pipe(withTimers))

    it.effect("fires again when it is set again", () =>
      Effect.gen(function*() {
        const { timers, fired, set } = yield* recorder
        const timer = set("a", 10)
        yield* TestClock.adjust(15)
        timers.set(timer, 20)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(fired, [{ name: "a", at: 10 }, { name: "a", at: 20 }])
      }).pipe(withTimers))

    it.effect("fires before timers that were set earlier for a later time", () =>
      Effect.gen(function*() {
        const { fired, set } = yield* recorder
        set("late", 100)
        yield* TestClock.adjust(20)
        set("middle", 50)
        set("soon", 30)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(fired, [{ name: "soon", at: 30 }, { name: "middle", at: 50 }, { name: "late", at: 100 }])
      }).pipe(withTimers))

    it.effect("fires after timers of the same time that were set before it", () =>
      Effect.gen(function*() {
        const { names, set } = yield* recorder
        const expected = Array.from({ length: 20 }, (_, i) => i)
        for (const name of expected) set(name, 10)
        yield* TestClock.adjust(10)
        assert.deepStrictEqual(names(), expected)
      }).pipe(withTimers))

    it.effect("does not fire when it is cancelled, while the others do", () =>
      Effect.gen(function*() {
        const { timers, fired, set } = yield* recorder
        const first = set("first", 10)
        set("second", 20)
        const third = set("third", 30)
        set("fourth", 40)
        timers.cancel(first)
        yield* TestClock.adjust(25)
        timers.cancel(third)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(fired, [{ name: "second", at: 20 }, { name: "fourth", at: 40 }])
      }).pipe(withTimers))

    it.effect("does not fire when a timer of the same time cancels it", () =>
      Effect.gen(function*() {
        const { timers, names, set } = yield* recorder
        set("first", 10, () => timers.cancel(second))
        const second = set("second", 10)
        set("third", 10)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(names(), ["first", "third"])
      }).pipe(withTimers))

    it.effect("can be cancelled if it was never set or has fired", () =>
      Effect.gen(function*() {
        const { timers, names, set } = yield* recorder
        const fired = set("fired", 10)
        yield* TestClock.adjust(10)
        timers.cancel(fired)
        timers.cancel(new TestTimer(() => assert.fail("It was never set")))
        set("next", 20)
        yield* TestClock.adjust(10)
        assert.deepStrictEqual(names(), ["fired", "next"])
      }).pipe(withTimers))

    it.effect("with a fractional time fires less than a millisecond after it", () =>
      Effect.gen(function*() {
        const { fired, set } = yield* recorder
        set("a", 10.25)
        yield* TestClock.adjust(10)
        assert.deepStrictEqual(fired, [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(fired, [{ name: "a", at: 11 }])
        yield* TestClock.adjust("500 micros")
        set("b", 20.5)
        yield* TestClock.adjust(8)
        assert.strictEqual(fired.length, 1)
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(fired[1], { name: "b", at: 20.5 })
      }).pipe(withTimers))

    it.effect("with a past time fires at once, and later timers fire at theirs", () =>
      Effect.gen(function*() {
        const { fired, set } = yield* recorder
        yield* TestClock.adjust(10)
        set("past", 5)
        yield* TestClock.adjust(0)
        set("now", 10)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(fired, [{ name: "past", at: 10 }, { name: "now", at: 10 }])
        set("later", 20)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(fired[2], { name: "later", at: 20 })
      }).pipe(withTimers))

    it.effect("can set others while it fires: those that are due fire with it", () =>
      Effect.gen(function*() {
        const { fired, set } = yield* recorder
        set("first", 10, () => {
          set("soon", 15)
          set("past", 5)
          set("now", 10)
        })
        set("late", 20)
        yield* TestClock.adjust(10)
        assert.deepStrictEqual(fired, ["first", "past", "now"].map((name) => ({ name, at: 10 })))
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(fired.slice(3), [{ name: "soon", at: 15 }, { name: "late", at: 20 }])
      }).pipe(withTimers))

    it.effect("can set itself again repeatedly", () =>
      Effect.gen(function*() {
        const timers = yield* Timers.Timers
        const times: Array<number> = []
        const timer: TestTimer = new TestTimer(() => {
          times.push(timers.now())
          timers.set(timer, timers.now() + 10)
        })
        timers.set(timer, 10)
        yield* TestClock.adjust(45)
        assert.deepStrictEqual(times, [10, 20, 30, 40])
      }).pipe(withTimers))

    it.effect("that throws is logged as an error, and stops none of the others", () => {
      const logged: Array<string> = []
      const logger = Logger.make(({ logLevel }) => {
        logged.push(logLevel)
      })
      return Effect.gen(function*() {
        const { fired, set } = yield* recorder
        const fail = () => {
          throw new Error("a timer that fails")
        }
        set("broken", 10, fail)
        set("broken too", 10, fail)
        set("same time", 10)
        set("later", 20)
        yield* TestClock.adjust(20)
        assert.deepStrictEqual(fired, [
          { name: "broken", at: 10 },
          { name: "broken too", at: 10 },
          { name: "same time", at: 10 },
          { name: "later", at: 20 }
        ])
        assert.deepStrictEqual(logged, ["Error", "Error"])
        set("set afterwards", 30)
        yield* TestClock.adjust(10)
        assert.deepStrictEqual(fired[4], { name: "set afterwards", at: 30 })
      }).pipe(withTimers, Effect.provide(Logger.layer([logger])))
    })
  })

  describe("sleeping fibers", () => {
    it.effect("are one for many timers", () =>
      counting((now) =>
        Effect.gen(function*() {
          const { names, set } = yield* recorder
          const before = now()
          for (let i = 1; i <= 1000; i++) set(i, i)
          assert.deepStrictEqual(now(), { fibers: before.fibers + 1, sleeps: 1 })
          yield* TestClock.adjust(500)
          assert.strictEqual(names().length, 500)
          assert.deepStrictEqual(now(), { fibers: before.fibers + 1, sleeps: 1 })
        })
      ))

    it.effect("are none before a timer is set, and after all have fired", () =>
      counting((now) =>
        Effect.gen(function*() {
          const { names, set } = yield* recorder
          const before = now()
          assert.strictEqual(before.sleeps, 0)
          set("a", 10)
          set("b", 20)
          assert.strictEqual(now().sleeps, 1)
          yield* TestClock.adjust(20)
          assert.deepStrictEqual(names(), ["a", "b"])
          assert.deepStrictEqual(now(), before)
        })
      ))

    it.effect("are none after all timers are cancelled", () =>
      counting((now) =>
        Effect.gen(function*() {
          const { timers, set } = yield* recorder
          const before = now()
          const alarmed = [set("a", 30), set("b", 20), set("c", 10)]
          assert.isAbove(now().sleeps, 0)
          for (const timer of alarmed) timers.cancel(timer)
          yield* Effect.yieldNow
          assert.deepStrictEqual(now(), before)
        })
      ))

    it.effect("are none after some timers are cancelled and the others have fired", () =>
      counting((now) =>
        Effect.gen(function*() {
          const { timers, names, set } = yield* recorder
          const before = now()
          const late = set("late", 100)
          set("soon", 10)
          timers.cancel(late)
          yield* TestClock.adjust(10)
          assert.deepStrictEqual(names(), ["soon"])
          assert.deepStrictEqual(now(), before)
        })
      ))

    it.effect("are none after all timers are cancelled, also if the one that was started last has not woken first", () =>
      counting((now) =>
        Effect.gen(function*() {
          const { timers, names, set } = yield* recorder
          const before = now()
          // It wakes at 12, and the other one at 12.5.
          set("a", 11.8)
          yield* TestClock.adjust("500 micros")
          set("b", 11.6)
          const late = set("late", 60_000)
          yield* TestClock.adjust("11500 micros")
          assert.deepStrictEqual(names(), ["b", "a"])
          timers.cancel(late)
          yield* Effect.yieldNow
          assert.deepStrictEqual(now(), before)
        })
      ))

    it.effect("are started for a timer that is set after all were cancelled", () =>
      Effect.gen(function*() {
        const { timers, fired, set } = yield* recorder
        timers.cancel(set("cancelled", 10))
        set("kept", 20)
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(fired, [{ name: "kept", at: 20 }])
      }).pipe(withTimers))
  })

  it.effect("do not fire timers after the layer's scope is closed, and end with it", () =>
    Effect.andThen(
      TestClock.adjust(0),
      alive.counting((now) =>
        Effect.gen(function*() {
          const before = now()
          const { names, set } = yield* Effect.gen(function*() {
            const recorded = yield* recorder
            recorded.set("in time", 10)
            recorded.set("too late", 20)
            yield* TestClock.adjust(10)
            return recorded
          }).pipe(withTimers)
          assert.deepStrictEqual(now(), before)
          set("after the end", 30)
          yield* TestClock.adjust("1 hour")
          assert.deepStrictEqual(names(), ["in time"])
          assert.deepStrictEqual(now(), before)
        })
      )
    ))

  describe("timers that are set and cancelled as time passes", () => {
    const steps = fc.array(
      fc.oneof(
        { weight: 4, arbitrary: fc.record({ _tag: fc.constant("set" as const), after: fc.nat(20) }) },
        { weight: 2, arbitrary: fc.record({ _tag: fc.constant("cancel" as const), which: fc.nat(100) }) },
        { weight: 3, arbitrary: fc.record({ _tag: fc.constant("pass" as const), time: fc.nat(10) }) }
      ),
      { maxLength: 60 }
    )

    interface Modelled {
      readonly name: number
      readonly at: number
      readonly timer: TestTimer
    }

    /** All times are multiples of a unit in milliseconds; a timer may fire later than its time by less than `late`. */
    const holds = (unit: number, late: number) =>
      Effect.promise(() =>
        fc.assert(fc.asyncProperty(steps, (steps) =>
          Effect.gen(function*() {
            const { timers, fired, set } = yield* recorder
            const all: Array<Modelled> = []
            let waiting: Array<Modelled> = []
            const expected: Array<Modelled> = []
            const pass = Effect.fnUntraced(function*(millis: number) {
              yield* TestClock.adjust(millis)
              const now = timers.now()
              waiting.sort((a, b) => a.at - b.at || a.name - b.name)
              // Timers whose time was a moment ago may have fired or not.
              while (waiting.length > 0 && waiting[0].at <= now) {
                if (waiting[0].at > now - late && fired.length <= expected.length) break
                expected.push(...waiting.splice(0, 1))
              }
              assert.deepStrictEqual(fired.map(({ name }) => name), expected.map(({ name }) => name))
            })
            for (const step of [...steps, { _tag: "pass" as const, time: 1000 }]) {
              if (step._tag === "set") {
                const at = timers.now() + step.after * unit
                const modelled = { name: all.length, at, timer: set(all.length, at) }
                all.push(modelled)
                waiting.push(modelled)
                // A timer set for now may fire after others.
                if (step.after === 0) yield* pass(0)
              } else if (step._tag === "cancel" && all.length > 0) {
                const cancelled = all[step.which % all.length]
                timers.cancel(cancelled.timer)
                waiting = waiting.filter((modelled) => modelled !== cancelled)
              } else if (step._tag === "pass") {
                yield* pass(step.time * unit)
              }
            }
            assert.deepStrictEqual(waiting, [])
            for (const { at, name } of fired) {
              assert.isAtLeast(at, all[Number(name)].at)
              assert.isAtMost(at - all[Number(name)].at, late)
            }
          }).pipe(withTimers, Effect.provide(TestClock.layer()), Effect.runPromise)))
      )

    it.live("fire at the same times as a searched list", () => holds(1, 0))

    it.live("fire in the same order as a searched list, less than a millisecond late, at fractional times", () =>
      holds(0.25, 0.75))
  })
})
