import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { SkewedClock } from "../../src/testing/SkewedClock.ts"
import * as VirtualTime from "../../src/testing/VirtualTime.ts"

describe("SkewedClock", () => {
  it("shows an offset time, and sleeps and measures like the world's clock", () => {
    VirtualTime.runSync(Effect.gen(function*() {
      const world = yield* Clock.Clock
      const clock = new SkewedClock(world)
      clock.setUnsafe("2 hours")
      yield* Effect.gen(function*() {
        const shown = yield* Clock.currentTimeMillis
        const measured = yield* Clock.monotonicTimeNanos
        assert.strictEqual(shown, world.currentTimeMillisUnsafe() + 7_200_000)
        assert.strictEqual(yield* Clock.currentTimeNanos, world.currentTimeNanosUnsafe() + 7_200_000_000_000n)
        assert.strictEqual(measured, world.monotonicTimeNanosUnsafe())
        yield* Effect.sleep("1 second")
        assert.strictEqual((yield* Clock.currentTimeMillis) - shown, 1000)
      }).pipe(Effect.provideService(Clock.Clock, clock))
    }))
  })

  it("can be set without affecting sleeping fibers", () => {
    const elapsed = VirtualTime.runSync(Effect.gen(function*() {
      const timeline = yield* VirtualTime.VirtualTime
      const clock = new SkewedClock(timeline)
      timeline.after(500, () => clock.setUnsafe("-1 days"))
      const [before, after] = yield* Effect.gen(function*() {
        const before = yield* Clock.currentTimeMillis
        yield* Effect.sleep("1 second")
        return [before, yield* Clock.currentTimeMillis]
      }).pipe(Effect.provideService(Clock.Clock, clock))
      assert.strictEqual(after - before, 1000 - 86_400_000)
      return timeline.elapsedMillis
    }))
    assert.strictEqual(elapsed, 1000)
  })
})
