import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as WakeUp from "../src/WakeUp.ts"

describe("WakeUp", () => {
  it.effect("ends a sleep when its time has passed", () =>
    Effect.gen(function*() {
      const { sleep } = yield* WakeUp.make
      const sleeper = yield* Effect.forkChild(sleep(1000), { startImmediately: true })
      yield* TestClock.adjust(999)
      assert.isUndefined(sleeper.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* Fiber.join(sleeper)
    }))

  it.effect("ends a sleep when it is woken, and the next one at once if it is woken in between", () =>
    Effect.gen(function*() {
      const { sleep, wakeUnsafe } = yield* WakeUp.make
      const sleeper = yield* Effect.forkChild(sleep(Infinity), { startImmediately: true })
      yield* TestClock.adjust("1 day")
      assert.isUndefined(sleeper.pollUnsafe())
      wakeUnsafe()
      yield* Fiber.join(sleeper)
      wakeUnsafe()
      yield* sleep(Infinity)
      // It is asleep again after that.
      const last = yield* Effect.forkChild(sleep(1000), { startImmediately: true })
      yield* TestClock.adjust(999)
      assert.isUndefined(last.pollUnsafe())
    }))
})
