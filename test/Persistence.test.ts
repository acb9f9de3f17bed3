import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Persistence from "../src/Persistence.ts"
import { changesOf, entryOf, storedOf } from "./utils/numbered.ts"
import { settled } from "./utils/served.ts"

const signed = (n: number): Persistence.Change => ({ _tag: "Signed", seq: BigInt(n) })
const stored = (n: number): Persistence.Change => ({ _tag: "Stored", ...storedOf(n), replaced: undefined })

/** A medium that a test can stall and break, with its writes recorded. */
const setUp = Effect.gen(function*() {
  const memory = Persistence.makeMemory()
  const batches: Array<ReadonlyArray<Persistence.Change>> = []
  const gate = Latch.makeUnsafe(true)
  const logged: Array<string> = []
  const state = { failure: undefined as string | undefined }
  const medium: Persistence.Medium = {
    ...memory,
    write: (batch, now) =>
      Effect.gen(function*() {
        yield* gate.await
        if (state.failure !== undefined) return yield* new Persistence.WriteFailed({ reason: state.failure })
        batches.push(batch)
        yield* memory.write(batch, now)
      })
  }
  const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const logger = Logger.make(({ message }) => void logged.push(String(message)))
  const inside = Effect.provide(Logger.layer([logger]))
  const metrics = new Map()
  const measured = Effect.provideService(Metric.MetricRegistry, metrics)
  const persistence = yield* Persistence.make(medium).pipe(Scope.provide(scope), inside, measured)
  const metric = (metric: Metric.Metric<any, Metric.CounterState<number> | Metric.GaugeState<number>>) =>
    Effect.map(Metric.value(metric), (state) => "count" in state ? state.count : state.value).pipe(measured)
  return { ...persistence, memory, batches, gate, logged, state, metric, close: Scope.close(scope, Exit.void) }
})

const start = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forkChild(effect, { startImmediately: true })

describe("Persistence", () => {
  it.effect("writes changes of 10 ms together, or at once if a caller waits for them", () =>
    Effect.gen(function*() {
      const { batches, flush, save } = yield* setUp
      save(signed(1))
      yield* settled
      save(signed(2))
      yield* settled
      assert.lengthOf(batches, 0)
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(batches, [[signed(1), signed(2)]])
      save(signed(3))
      yield* flush
      assert.deepStrictEqual(batches[1], [signed(3)])
    }))

  it.effect("writes changes that peers cause after 250 ms, or with one of our own", () =>
    Effect.gen(function*() {
      const { batches, save } = yield* setUp
      save(stored(1))
      yield* TestClock.adjust("240 millis")
      save(stored(2))
      yield* TestClock.adjust("9 millis")
      assert.lengthOf(batches, 0)
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(batches, [[stored(1), stored(2)]])
      save(stored(3))
      yield* settled
      save(signed(1))
      yield* TestClock.adjust("10 millis")
      assert.deepStrictEqual(batches[1], [stored(3), signed(1)])
    }))

  it.effect("writes changes that peers cause at once when they are many", () =>
    Effect.gen(function*() {
      const { batches, save } = yield* setUp
      for (let n = 0; n < 1500; n++) save(stored(n))
      yield* TestClock.adjust("10 millis")
      assert.strictEqual(batches.flat().length, 1500)
    }))

  it.effect("reports durability when everything is written, and not before", () =>
    Effect.gen(function*() {
      const { flush, gate, memory, save } = yield* setUp
      yield* flush
      gate.closeUnsafe()
      save(signed(1))
      const flushing = yield* start(flush)
      yield* settled
      save(signed(2))
      assert.isUndefined(flushing.pollUnsafe())
      gate.openUnsafe()
      yield* Fiber.join(flushing)
      assert.isTrue((yield* memory.seq) >= 1n)
    }))

  it.effect("queues a bounded number of changes while the disk stalls, and drops those caused by peers first", () =>
    Effect.gen(function*() {
      const { flush, gate, logged, memory, metric, save, status } = yield* setUp
      gate.closeUnsafe()
      // As in a full store, where each new key replaces another.
      const flood = () => {
        for (let n = 0; n < 10_000; n++) {
          save(stored(n % 50))
          save({ _tag: "Removed", ...entryOf(n % 50) })
        }
      }
      save({ _tag: "Published", ...entryOf(0), replaced: undefined })
      flood()
      const flushing = yield* start(Effect.exit(flush))
      save(signed(7))
      flood()
      const { dropped, queued } = yield* status
      assert.isAtMost(queued, 8192)
      assert.strictEqual(queued + dropped, 40_002)
      gate.openUnsafe()
      assert.isTrue(Exit.isFailure(yield* Fiber.join(flushing)))
      yield* settled
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* memory.publications, [entryOf(0)])
      assert.strictEqual(yield* memory.seq, 7n)
      assert.deepStrictEqual(yield* status, { degraded: undefined, queued: 0, written: 40_002 - dropped, dropped })
      assert.strictEqual(yield* metric(Persistence.changesDropped), dropped)
      assert.strictEqual(yield* metric(Persistence.changesWritten), 40_002 - dropped)
      assert.strictEqual(yield* metric(Persistence.queueLength), 0)
      assert.lengthOf(logged, 1)
      assert.match(logged[0], /^State is saved too slowly: the first \d+ changes had to be dropped$/)
    }))

  it.effect("reports changes dropped earlier as not durable", () =>
    Effect.gen(function*() {
      const { flush, gate, memory, save, status } = yield* setUp
      gate.closeUnsafe()
      save(stored(1000))
      for (let n = 0; n < 9000; n++) save(stored(n % 50))
      gate.openUnsafe()
      const { reason } = yield* Effect.flip(flush)
      assert.strictEqual(reason, `${(yield* status).dropped} changes were dropped`)
      yield* settled
      yield* TestClock.adjust("1 second")
      assert.notDeepInclude(yield* Stream.runCollect(memory.records), storedOf(1000))
    }))

  it.effect("warns once when nothing can be written, and writes everything once that works again", () =>
    Effect.gen(function*() {
      const { flush, logged, memory, metric, save, state, status } = yield* setUp
      state.failure = "the disk is full"
      save(signed(1))
      const error = yield* Effect.flip(flush)
      assert.strictEqual(error.message, "Not everything would survive a restart: the disk is full")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* status).degraded, "the disk is full")
      assert.strictEqual(yield* metric(Persistence.isDegraded), 1)
      assert.deepStrictEqual(logged, ["State cannot be saved, and is kept in memory only for now: the disk is full"])
      // A caller does not wait for a write that may never happen.
      save(signed(2))
      assert.strictEqual((yield* Effect.flip(flush)).reason, "the disk is full")
      state.failure = undefined
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* memory.seq, 2n)
      assert.isUndefined((yield* status).degraded)
      assert.strictEqual(yield* metric(Persistence.isDegraded), 0)
      assert.lengthOf(logged, 2)
      yield* flush
    }))

  it.effect("writes the remaining changes when its scope closes", () =>
    Effect.gen(function*() {
      const { close, flush, memory, save } = yield* setUp
      for (let n = 0; n < 1000; n++) save(signed(n))
      yield* close
      assert.strictEqual(yield* memory.seq, 999n)
      save(signed(1000))
      assert.strictEqual((yield* Effect.flip(flush)).reason, "the node is closed")
    }))

  it.effect("closes in 5 seconds if the disk stalls, even in the middle of a batch", () =>
    Effect.gen(function*() {
      const { close, gate, logged, save } = yield* setUp
      gate.closeUnsafe()
      save(signed(1))
      yield* TestClock.adjust("10 millis")
      save(signed(2))
      const closing = yield* start(close)
      yield* settled
      yield* TestClock.adjust("5 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(logged, ["2 changes could not be saved before the node closed"])
    }))

  it.effect("writes again the batch that was interrupted by closing", () =>
    Effect.gen(function*() {
      const { close, gate, memory, save } = yield* setUp
      gate.closeUnsafe()
      save(signed(1))
      yield* TestClock.adjust("10 millis")
      const closing = yield* start(close)
      yield* settled
      gate.openUnsafe()
      yield* Fiber.join(closing)
      assert.strictEqual(yield* memory.seq, 1n)
    }))

  it.effect("survives a defect of the medium", () =>
    Effect.gen(function*() {
      const memory = Persistence.makeMemory()
      let writes = 0
      const { flush, save } = yield* Persistence.make({
        ...memory,
        write: (batch, now) => writes++ === 0 ? Effect.die("a bug") : memory.write(batch, now)
      }).pipe(Effect.provide(Logger.layer([])))
      save(signed(1))
      const flushing = yield* start(flush)
      yield* settled
      yield* TestClock.adjust("11 seconds")
      yield* Fiber.join(flushing)
      assert.strictEqual(yield* memory.seq, 1n)
    }))

  it.effect("keeps nothing without a medium", () =>
    Effect.gen(function*() {
      const { flush, isLasting, kept, save, status } = yield* Persistence.Persistence
      changesOf(1).forEach(save)
      assert.isFalse(isLasting)
      assert.strictEqual((yield* Effect.flip(flush))._tag, "NotDurable")
      assert.deepStrictEqual(yield* Stream.runCollect(kept.records), [])
      assert.deepStrictEqual(yield* status, { degraded: undefined, queued: 0, written: 0, dropped: 0 })
    }).pipe(Effect.provide(Persistence.layerNone)))
})
