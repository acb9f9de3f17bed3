import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Interleavings from "../../src/testing/Interleavings.ts"
import * as VirtualTime from "../../src/testing/VirtualTime.ts"

/** A fiber of `steps` steps, each followed by a yield. */
const stepping = (steps: number, each: (step: number) => void = () => {}) =>
  Effect.forEach(
    Array.from({ length: steps }, (_, i) => i),
    (i) => Effect.andThen(Effect.sync(() => each(i)), Effect.yieldNow),
    { discard: true }
  )

const together = (fibers: ReadonlyArray<Effect.Effect<unknown>>) =>
  Effect.gen(function*() {
    const started = yield* Effect.forEach(fibers, (fiber) => Effect.forkChild(fiber))
    yield* Fiber.awaitAll(started)
  })

/** Reads, then writes what it read plus one, and loses an update if another fiber writes in between: depth 2. */
const lostUpdate = Effect.gen(function*() {
  let balance = 0
  const deposit = Effect.gen(function*() {
    const read = yield* Effect.sync(() => balance)
    yield* Effect.sync(() => {
      balance = read + 1
    })
  })
  yield* together([deposit, deposit, deposit])
  if (balance !== 3) return yield* Effect.fail("lost an update")
})

/** Uses what another fiber was to have set up first: depth 1. */
const tooEarly = Effect.gen(function*() {
  let isReady = false
  let wasUsed = true
  const setUp = stepping(4, () => {
    isReady = true
  })
  const use = stepping(4, (step) => {
    if (step === 3) wasUsed = isReady
  })
  yield* together([setUp, use, stepping(4)])
  if (!wasUsed) return yield* Effect.fail("used before it was ready")
})

/** Two fibers hand control to each other twice: depth 3. */
const pingPong = Effect.gen(function*() {
  let [x, y] = [0, 0]
  let failed = false
  const write = (action: () => void) => Effect.sync(action)
  const first = Effect.gen(function*() {
    yield* write(() => {
      x = 1
    })
    yield* write(() => {
      if (y === 1) x = 2
    })
  })
  const second = Effect.gen(function*() {
    yield* write(() => {
      if (x === 1) y = 1
    })
    yield* write(() => {
      failed = x === 2
    })
  })
  yield* together([first, second])
  if (failed) return yield* Effect.fail("handed over twice")
})

const median = (numbers: ReadonlyArray<number>): number => numbers.toSorted((a, b) => a - b)[numbers.length >> 1]

/** The median of the runs that each of twenty searches needs. */
const runsNeeded = (program: Effect.Effect<void, string>, depth: number | undefined, runs: number) =>
  median(
    Array.from({ length: 20 }, (_, i) => Interleavings.search(program, { depth, runs, from: i * 100_000 }).runs)
  )

describe("Interleavings", () => {
  describe("search", () => {
    for (
      const [name, program, depth, most] of [
        ["used too early", tooEarly, 1, 10],
        ["a lost update", lostUpdate, 2, 100],
        ["two hand-overs", pingPong, 3, 1000]
      ] as const
    ) {
      it(`finds a bug of depth ${depth}, ${name}, within ${most} runs and sooner than random schedules`, () => {
        const byPriorities = runsNeeded(program, depth, most * 2)
        const atRandom = runsNeeded(program, undefined, most * 2)
        assert.isAtMost(byPriorities, most)
        assert.isBelow(byPriorities, atRandom)
      })
    }

    it("does not find a bug that the schedule without preemption hides", () => {
      assert.strictEqual(Exit.isSuccess(VirtualTime.runSyncExit(lostUpdate)), true)
    })

    it("reports a schedule that repeats the failure", () => {
      for (const depth of [undefined, 2]) {
        const { failure } = Interleavings.search(lostUpdate, { depth, runs: 1000 })
        assert.isDefined(failure)
        for (let i = 0; i < 2; i++) {
          const exit = VirtualTime.runSyncExit(lostUpdate, { scheduleSeed: failure.schedule })
          assert.deepStrictEqual(exit, Exit.fail("lost an update"))
        }
      }
    })

    it("ends after its runs if none fails", () => {
      const { failure, runs } = Interleavings.search(stepping(3), { depth: 2, runs: 7 })
      assert.strictEqual(runs, 7)
      assert.isUndefined(failure)
    })
  })

  describe("explore", () => {
    const interleavings = (fibers: ReadonlyArray<Effect.Effect<unknown>>) => {
      const { interleavings, isComplete } = Interleavings.explore(together(fibers))
      assert.isTrue(isComplete)
      return interleavings
    }

    it("counts every order of the steps of fibers that share state", () => {
      // A fiber that yields n times has n + 1 steps.
      assert.strictEqual(interleavings([stepping(1)]), 1)
      assert.strictEqual(interleavings([stepping(1), stepping(1)]), 6)
      assert.strictEqual(interleavings([stepping(1), stepping(1), stepping(1)]), 90)
      assert.strictEqual(interleavings([stepping(2), stepping(2)]), 20)
    })

    it("runs each order once", () => {
      const orders: Array<string> = []
      const program = Effect.suspend(() => {
        const order: Array<string> = []
        return Effect.andThen(
          together(["a", "b", "c"].map((name) => stepping(2, (step) => order.push(name + step)))),
          Effect.sync(() => orders.push(order.join(" ")))
        )
      })
      const { interleavings } = Interleavings.explore(program)
      assert.strictEqual(orders.length, interleavings)
      // What follows the last yield of a fiber leaves no trace in the order.
      assert.strictEqual(new Set(orders).size, 90)
    })

    it("counts orders of steps that commute as one", () => {
      /** The number of orders of fibers with domains of their own, which nothing waits for. */
      const apart = (domains: ReadonlyArray<object>) => {
        const program = Effect.gen(function*() {
          for (const domain of domains) {
            yield* Interleavings.withDomain(domain)(Effect.forkChild(stepping(1)))
          }
          yield* Effect.sleep("1 second")
        })
        const { interleavings, isComplete } = Interleavings.explore(program)
        assert.isTrue(isComplete)
        return interleavings
      }
      const shared = {}
      assert.strictEqual(apart([shared, shared, shared]), 90)
      assert.strictEqual(apart([shared, shared, {}]), 6)
      assert.strictEqual(apart([{}, {}, {}]), 1)
    })

    it("finds the one order that fails, and the schedule that repeats it", () => {
      const racing = Effect.gen(function*() {
        const order: Array<string> = []
        yield* together(["a", "b", "c"].map((name) => stepping(1, () => order.push(name))))
        if (order.join("") === "cba") return yield* Effect.fail("cba")
      })
      const { failed, failures, isComplete } = Interleavings.explore(racing)
      assert.isTrue(isComplete)
      assert.isAbove(failed, 0)
      assert.deepStrictEqual(
        VirtualTime.runSyncExit(racing, { scheduleSeed: failures[0].schedule }),
        Exit.fail("cba")
      )
    })

    it("races timers of the same instant, interruption and responses", () => {
      const outcomes = new Set<string>()
      const program = Effect.gen(function*() {
        const response = yield* Deferred.make<string>()
        const request = yield* Effect.forkChild(
          Effect.timeoutOrElse(Deferred.await(response), {
            duration: "1 second",
            orElse: () => Effect.succeed("timeout")
          })
        )
        yield* Effect.forkChild(Effect.delay(Deferred.succeed(response, "response"), "1 second"))
        yield* Effect.forkChild(Effect.delay(Fiber.interrupt(request), "1 second"))
        const exit = yield* Fiber.await(request)
        outcomes.add(Exit.isSuccess(exit) ? exit.value : "interrupted")
      })
      assert.isTrue(Interleavings.explore(program).isComplete)
      assert.deepStrictEqual([...outcomes].toSorted(), ["interrupted", "response", "timeout"])
    })

    it("stops at its limit, and says that there are more", () => {
      const { interleavings, isComplete } = Interleavings.explore(together([stepping(3), stepping(3)]), { limit: 10 })
      assert.strictEqual(interleavings, 10)
      assert.isFalse(isComplete)
    })

    it("says so if the program differs from run to run", () => {
      let runs = 0
      const program = Effect.suspend(() => together(Array.from({ length: 2 + runs++ % 2 }, () => stepping(1))))
      assert.throws(() => Interleavings.explore(program), /differs from run to run/)
    })
  })

  it("rejects a text that is not a schedule", () => {
    for (const scheduleSeed of ["", "pct", "pct:0:1", "pct:1:2:0", "choices:a", "choices:1."]) {
      assert.throws(() => VirtualTime.runSync(Effect.void, { scheduleSeed }), /is not a schedule/)
    }
  })
})
