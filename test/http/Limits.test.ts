import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as TestClock from "effect/testing/TestClock"
import * as Limits from "../../src/http/Limits.ts"

const { inAll, perNetwork } = Limits.rates.records

const from = (host: string) => ({ remoteAddress: Option.some(host) })

/** The host of the `n`th network. */
const hostOf = (n: number): string => `9.${n >> 8}.${n & 255}.1`

describe("turns", () => {
  it.effect("admit at most so many of one network, whichever of its hosts they are of", () =>
    Effect.gen(function*() {
      const turn = yield* Limits.turns("records")
      for (let i = 0; i < perNetwork; i++) yield* turn(from(`192.0.2.${i}`))
      const refused = yield* Effect.flip(turn(from("192.0.2.200")))
      assert.strictEqual(refused._tag, "RateLimited")
      assert.include(refused.detail, "192.0.2.0/24")
      yield* turn(from("198.51.100.1"))
      yield* TestClock.adjust("10 seconds")
      yield* turn(from("192.0.2.200"))
    }))

  it.effect("admit at most so many of all networks, also if there are more of them than are remembered", () =>
    Effect.gen(function*() {
      const turn = yield* Limits.turns("records")
      let admitted = 0
      for (let second = 0; second < 10; second++) {
        for (let i = 0; i < 600; i++) {
          yield* Effect.forkScoped(
            Effect.exit(Effect.tap(turn(from(hostOf(second * 600 + i))), () => Effect.sync(() => admitted++)))
          )
        }
        yield* TestClock.adjust("1 second")
      }
      // Besides those that come at once after a pause.
      assert.isAtLeast(admitted, inAll)
      assert.isAtMost(admitted, inAll * 1.1 + 1)
    }))

  it.effect("are taken by networks one after the other, so that a flood from many does not exclude one", () =>
    Effect.gen(function*() {
      const turn = yield* Limits.turns("records")
      const flood = Effect.gen(function*() {
        for (let i = 0; i < 30; i++) {
          for (let n = 0; n < 3; n++) yield* Effect.forkScoped(Effect.exit(turn(from(hostOf(i)))))
        }
        yield* Effect.sleep("1 second")
      })
      yield* Effect.forkScoped(Effect.forever(flood))
      yield* TestClock.adjust("2 seconds")
      for (let i = 0; i < 5; i++) {
        const page = yield* Effect.forkScoped(turn(from("198.51.100.1")))
        yield* TestClock.adjust("4 seconds")
        assert.isDefined(page.pollUnsafe(), "its turn did not come")
        yield* Fiber.join(page)
      }
    }))

  it.effect("are left out for clients that do not wait for theirs", () =>
    Effect.gen(function*() {
      const turn = yield* Limits.turns("records")
      for (let i = 0; i < 24; i++) yield* turn(from(hostOf(i)))
      const gone = []
      for (let i = 0; i < 40; i++) gone.push(yield* Effect.forkScoped(turn(from(hostOf(i)))))
      yield* TestClock.adjust(1)
      yield* Fiber.interruptAll(gone)
      const next = yield* Effect.forkScoped(turn(from("198.51.100.1")))
      yield* TestClock.adjust("100 millis")
      yield* Fiber.join(next)
    }))

  it.effect("come also after the clock was set back", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(1_700_000_000_000)
      const turn = yield* Limits.turns("records")
      for (let i = 0; i < 24; i++) yield* turn(from(hostOf(i)))
      yield* TestClock.setTime(1_600_000_000_000)
      const next = yield* Effect.forkScoped(turn(from("198.51.100.1")))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(next)
    }))
})
