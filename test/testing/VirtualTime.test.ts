import { assert, describe, it } from "@effect/vitest"
import * as Cache from "effect/Cache"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberMap from "effect/FiberMap"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as VirtualTime from "../../src/testing/VirtualTime.ts"

const error = <A, E>(exit: Exit.Exit<A, E>): E | undefined => {
  const failure = Exit.findErrorOption(exit)
  return failure._tag === "Some" ? failure.value : undefined
}

/** The order in which runnable fibers ran. */
const interleaving = (scheduleSeed?: number) =>
  VirtualTime.runSync(
    Effect.gen(function*() {
      const order: Array<string> = []
      yield* Effect.forEach(
        ["a", "b", "c", "d"],
        Effect.fnUntraced(function*(name) {
          for (let i = 0; i < 3; i++) {
            order.push(`${name}${i}`)
            yield* Effect.yieldNow
          }
        }),
        { concurrency: "unbounded" }
      )
      return order.join(" ")
    }),
    { scheduleSeed }
  )

describe("VirtualTime", () => {
  describe("time", () => {
    it("passes only by sleeping, by exactly that duration", () => {
      const [before, after, elapsed] = VirtualTime.runSync(
        Effect.gen(function*() {
          const before = yield* Clock.currentTimeMillis
          const monotonic = yield* Clock.monotonicTimeNanos
          yield* Effect.sleep("36 hours")
          const after = yield* Clock.currentTimeMillis
          return [before, after, (yield* Clock.monotonicTimeNanos) - monotonic]
        }),
        { within: "2 days" }
      )
      assert.strictEqual(after - before, 36 * 3_600_000)
      assert.strictEqual(elapsed, 36n * 3_600_000_000_000n)
    })

    it("starts at `startMillis`", () => {
      assert.strictEqual(VirtualTime.runSync(Clock.currentTimeMillis, { startMillis: 86_400_000 }), 86_400_000)
    })

    it("wakes sleepers in the order of their times, and then in the order in which they went to sleep", () => {
      const woken = VirtualTime.runSync(Effect.gen(function*() {
        const woken: Array<number> = []
        yield* Effect.forEach(
          [30, 10, 20, 10, 0, 30],
          (millis, i) => Effect.andThen(Effect.sleep(millis), Effect.sync(() => woken.push(i))),
          { concurrency: "unbounded" }
        )
        return woken
      }))
      assert.deepStrictEqual(woken, [4, 1, 3, 2, 0, 5])
    })

    it("drives timeouts, retries, schedules, streams, caches and fiber maps", () => {
      const log = VirtualTime.runSync(
        Effect.gen(function*() {
          const log: Array<string> = []
          const started = yield* Clock.currentTimeMillis
          const note = (what: string) =>
            Effect.map(Clock.currentTimeMillis, (now) => void log.push(`${now - started} ${what}`))
          yield* Effect.ignore(Effect.retry(
            Effect.andThen(note("try"), Effect.fail("no")),
            Schedule.max([Schedule.exponential(100), Schedule.recurs(2)])
          ))
          yield* Effect.ignore(Effect.timeout(Effect.never, "1 minute"))
          yield* note("timed out")
          yield* Stream.runForEach(Stream.take(Stream.fromSchedule(Schedule.spaced("1 second")), 2), () => note("tick"))
          const cache = yield* Cache.make({ capacity: 1, timeToLive: "1 hour", lookup: note })
          yield* Cache.get(cache, "look up")
          yield* Effect.sleep("59 minutes")
          yield* Cache.get(cache, "look up")
          yield* Effect.sleep("2 minutes")
          yield* Cache.get(cache, "look up")
          const fibers = yield* FiberMap.make<string>()
          yield* FiberMap.run(fibers, "a", Effect.andThen(Effect.sleep(5), note("fiber")))
          yield* Effect.sleep(10)
          return log
        }).pipe(Effect.scoped)
      )
      assert.deepStrictEqual(log, [
        "0 try",
        "100 try",
        "300 try",
        "60300 timed out",
        "61300 tick",
        "62300 tick",
        "62300 look up",
        "3722300 look up",
        "3722305 fiber"
      ])
    })

    it("does not use the time, timers or randomness of the host", () => {
      const asked: Array<string> = []
      const hosts: ReadonlyArray<readonly [object: object, name: string]> = [
        [Date, "now"],
        [Math, "random"],
        [performance, "now"],
        [process.hrtime, "bigint"],
        [process, "nextTick"],
        [globalThis, "setTimeout"],
        [globalThis, "setInterval"],
        [globalThis, "setImmediate"],
        [globalThis, "queueMicrotask"]
      ]
      const originals = hosts.map(([object, name]) => Reflect.get(object, name) as (...args: Array<unknown>) => unknown)
      for (const [i, [object, name]] of hosts.entries()) {
        Reflect.set(object, name, (...args: Array<unknown>) => {
          asked.push(name)
          return originals[i].apply(object, args)
        })
      }
      try {
        VirtualTime.runSync(Effect.gen(function*() {
          yield* Effect.timeoutOption(Effect.never, "1 second")
          yield* Effect.retry(
            Effect.flatMap(Random.next, (n) => n < 0.9 ? Effect.fail("no") : Effect.void),
            Schedule.jittered(Schedule.spaced("1 second"))
          )
          yield* Effect.withSpan(Effect.sleep("1 hour"), "span")
        }))
      } finally {
        for (const [i, [object, name]] of hosts.entries()) Reflect.set(object, name, originals[i])
      }
      assert.deepStrictEqual(asked, [])
    })
  })

  describe("a run", () => {
    it("draws the same random numbers each time, and different ones with another seed", () => {
      const drawn = (seed: number) => VirtualTime.runSync(Effect.all([Random.next, Random.nextInt]), { seed })
      assert.deepStrictEqual(drawn(1), drawn(1))
      assert.notDeepEqual(drawn(1), drawn(2))
    })

    it("is a deadlock when every fiber is suspended and no timer is set", () => {
      const waiting = Effect.andThen(Effect.sleep("1 minute"), Effect.flatMap(Deferred.make<void>(), Deferred.await))
      const failure = error(VirtualTime.runSyncExit(waiting))
      assert.instanceOf(failure, VirtualTime.Deadlock)
      assert.match(failure.message, /Deadlock after 1m: /)
    })

    it("is a deadlock when a fiber awaits a promise", () => {
      const exit = VirtualTime.runSyncExit(Effect.promise(() => Promise.resolve(1)))
      assert.instanceOf(error(exit), VirtualTime.Deadlock)
    })

    it("is not finished when it exceeds its virtual time", () => {
      const failure = error(VirtualTime.runSyncExit(Effect.sleep("2 hours"), { within: "1 hour" }))
      assert.instanceOf(failure, VirtualTime.NotFinished)
      assert.strictEqual(failure.elapsedMillis, 3_600_000)
      assert.isTrue(Exit.isSuccess(VirtualTime.runSyncExit(Effect.sleep("1 hour"), { within: "1 hour" })))
    })

    it("is a livelock when fibers wake each other without any time passing", () => {
      assert.instanceOf(error(VirtualTime.runSyncExit(Effect.forever(Effect.yieldNow))), VirtualTime.Livelock)
    })

    it("runs the finalizers of a program that did not end", () => {
      for (const program of [Effect.never, Effect.sleep("2 days"), Effect.forever(Effect.yieldNow)]) {
        const log: Array<string> = []
        VirtualTime.runSyncExit(Effect.ensuring(
          program,
          Effect.andThen(Effect.sleep("1 second"), Effect.sync(() => log.push("closed")))
        ))
        assert.deepStrictEqual(log, ["closed"])
      }
    })

    it("throws the error or defect of a program that failed", () => {
      assert.throws(() => VirtualTime.runSync(new VirtualTime.Deadlock({ elapsedMillis: 1000 })), "Deadlock after 1s")
      assert.throws(() => VirtualTime.runSync(Effect.die(new Error("no luck"))), "no luck")
    })
  })

  describe("a schedule seed", () => {
    it("gives a different interleaving, the same each time", () => {
      const seeds = Array.from({ length: 20 }, (_, seed) => seed)
      assert.deepStrictEqual(seeds.map(interleaving), seeds.map(interleaving))
      assert.isAbove(new Set(seeds.map(interleaving)).size, 15)
    })

    it("is not needed for a fixed order, which is first in, first out", () => {
      assert.strictEqual(interleaving(), "a0 b0 c0 d0 a1 b1 c1 d1 a2 b2 c2 d2 a3 b3 c3 d3".replace(/ .3/g, ""))
    })

    it("exposes a race that the fixed order hides", () => {
      const racy = Effect.gen(function*() {
        let balance = 0
        const deposit = Effect.gen(function*() {
          const read = yield* Effect.sync(() => balance)
          yield* Effect.sync(() => {
            balance = read + 1
          })
        })
        yield* Effect.forEach(Array.from({ length: 20 }), () => deposit, { concurrency: "unbounded", discard: true })
        return balance
      })
      assert.strictEqual(VirtualTime.runSync(racy), 20)
      const balances = Array.from({ length: 20 }, (_, scheduleSeed) => VirtualTime.runSync(racy, { scheduleSeed }))
      assert.isTrue(balances.some((balance) => balance < 20))
    })

    it("fires timers of the same instant in any order, but no timer early", () => {
      const woken = (scheduleSeed: number) =>
        VirtualTime.runSync(
          Effect.gen(function*() {
            const woken: Array<number> = []
            yield* Effect.forEach(
              [2, 1, 1, 1, 1, 2],
              (seconds) => Effect.andThen(Effect.sleep(seconds * 1000), Effect.sync(() => woken.push(seconds))),
              { concurrency: "unbounded" }
            )
            return woken
          }),
          { scheduleSeed }
        )
      for (let seed = 0; seed < 20; seed++) assert.deepStrictEqual(woken(seed), [1, 1, 1, 1, 2, 2])
      const order = (scheduleSeed: number) => {
        const timeline = new VirtualTime.Timeline({ scheduleSeed })
        const fired: Array<number> = []
        for (let i = 0; i < 4; i++) timeline.after(1000, () => fired.push(i))
        timeline.advance("1 second")
        return fired.join("")
      }
      assert.isAbove(new Set(Array.from({ length: 20 }, (_, seed) => order(seed))).size, 5)
    })
  })

  describe("a timeline", () => {
    it("is provided to the program that runs on it", () => {
      const program = Effect.gen(function*() {
        const timeline = yield* VirtualTime.VirtualTime
        yield* Effect.sleep("3 seconds")
        return timeline.elapsedMillis
      })
      assert.strictEqual(VirtualTime.runSync(program), 3000)
    })

    it("can be driven from outside, step by step", () => {
      const timeline = new VirtualTime.Timeline()
      const ticks: Array<number> = []
      const fiber = timeline.fork(
        Effect.repeat(Effect.sync(() => ticks.push(timeline.elapsedMillis)), Schedule.spaced("1 second"))
      )
      assert.isTrue(Exit.isSuccess(timeline.advance("2500 millis")))
      assert.deepStrictEqual(ticks, [0, 1000, 2000])
      assert.strictEqual(timeline.elapsedMillis, 2500)
      assert.instanceOf(error(timeline.await(fiber, { within: "1 second" })), VirtualTime.NotFinished)
      assert.deepStrictEqual(ticks, [0, 1000, 2000, 3000])
      assert.strictEqual(timeline.timers, 0)
    })

    it("fires timers without a fiber, unless they are cancelled", () => {
      const timeline = new VirtualTime.Timeline()
      const fired: Array<string> = []
      timeline.after(20, () => fired.push("b"))
      timeline.after(10, () => fired.push("a"))
      const cancel = timeline.after(15, () => fired.push("cancelled"))
      cancel()
      timeline.advance("1 second")
      assert.deepStrictEqual(fired, ["a", "b"])
    })

    it("keeps no timer of a sleeper that was interrupted", () => {
      const timeline = new VirtualTime.Timeline()
      timeline.fork(Effect.timeoutOption(Effect.sleep("1 second"), "1 hour"))
      timeline.advance(0)
      assert.strictEqual(timeline.timers, 2)
      timeline.advance("1 second")
      assert.strictEqual(timeline.timers, 0)
    })

    it("cannot be driven from within", () => {
      const timeline = new VirtualTime.Timeline()
      const exit = timeline.await(timeline.fork(Effect.sleep(1).pipe(Effect.map(() => timeline.advance(1)))), {
        within: "1 second"
      })
      assert.match(String(exit), /runs already/)
    })

    it("runs tasks of the same priority in order", () => {
      const received = VirtualTime.runSync(Effect.gen(function*() {
        const queue = yield* Queue.unbounded<number>()
        yield* Effect.forkChild(
          Effect.forEach([1, 2, 3], (n) => Effect.andThen(Effect.sleep(n), Queue.offer(queue, n)))
        )
        return yield* Effect.all([Queue.take(queue), Queue.take(queue), Queue.take(queue)])
      }))
      assert.deepStrictEqual(received, [1, 2, 3])
    })
  })
})
