import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Measurement from "../../src/testing/Measurement.ts"
import type * as Scenario from "../../src/testing/Scenario.ts"
import * as Simulation from "../../src/testing/Simulation.ts"

/** Half an hour of a few nodes with many faults. */
const eventful: Partial<Scenario.Scenario> = {
  nodes: 10,
  hours: 0.5,
  loss: 0.05,
  churnPerHour: 0.5,
  byzantine: 0.2,
  partition: { atHours: 0.2, forHours: 0.1, share: 0.4 }
}

const small: Partial<Scenario.Scenario> = { nodes: 12, hours: 0.5 }

const sum = (values: ReadonlyArray<number>) => values.reduce((sum, value) => sum + value, 0)

describe("Simulation", () => {
  it.effect("gives the same measurements again, apart from real time", () =>
    Effect.gen(function*() {
      const measured = yield* Simulation.run(eventful)
      const again = yield* Simulation.run(measured.scenario)
      assert.deepStrictEqual({ ...again, realSeconds: 0 }, { ...measured, realSeconds: 0 })
    }))

  it.effect("gives a different run with another seed", () =>
    Effect.gen(function*() {
      const hashes = yield* Effect.forEach([1, 2], (seed) => Simulation.run({ nodes: 4, hours: 0.1, seed }))
      assert.notStrictEqual(hashes[0].traceHash, hashes[1].traceHash)
    }))

  it.effect("gives a different run with another schedule seed, and the same with the same", () =>
    Effect.gen(function*() {
      const few = { nodes: 4, hours: 0.1 }
      const hashes = yield* Effect.forEach(
        [null, 1, 2, 1],
        (scheduleSeed) => Effect.map(Simulation.run({ ...few, scheduleSeed }), ({ traceHash }) => traceHash)
      )
      assert.strictEqual(new Set(hashes).size, 3)
      assert.strictEqual(hashes[1], hashes[3])
    }))

  it.effect("returns plain data", () =>
    Effect.gen(function*() {
      const measured = yield* Simulation.run(eventful)
      assert.deepStrictEqual(JSON.parse(JSON.stringify(measured)), measured)
    }))

  it.effect("finds all announced records without faults", () =>
    Effect.gen(function*() {
      const { expectations, intervals, scenario, totals, warnings } = yield* Simulation.run({ ...small, hours: 1 })
      for (const answers of [totals.resolve, totals.discover, totals.probes]) {
        assert.isAbove(answers.asked, 10)
        assert.strictEqual(answers.found, answers.asked)
      }
      // The totals are the sums over the intervals.
      assert.strictEqual(sum(intervals.map(({ resolve }) => resolve.asked)), totals.resolve.asked)
      assert.strictEqual(sum(intervals.map(({ probes }) => probes.asked)), totals.probes.asked)
      assert.strictEqual(sum(totals.hops), totals.resolve.found)
      assert.strictEqual(intervals.length, 60 / scenario.intervalMinutes)
      assert.strictEqual(intervals.at(-1)?.atHours, 1)
      // A node maintains eight copies; there are eleven other nodes.
      assert.isAtLeast(totals.copies.min ?? 0, 7)
      assert.deepStrictEqual([totals.tables.contacts, totals.tables.live, totals.tables.filled], [11, 1, 1])
      assert.isAbove(totals.resolve.p50Millis ?? 0, 2 * 5)
      assert.deepStrictEqual(expectations.filter(({ holds }) => !holds), [])
      assert.deepStrictEqual(warnings, [])
    }))

  it.effect("replaces a crashed node by a new one with the same kinds of announcements", () =>
    Effect.gen(function*() {
      const { intervals, totals } = yield* Simulation.run({ ...small, hours: 1, churnPerHour: 2, topics: 0 })
      assert.isAbove(totals.replaced, 12)
      assert.isBelow(totals.tables.live ?? 1, 1)
      assert.isAtLeast(intervals.at(-1)?.nodes ?? 0, 10)
      assert.isAtLeast(intervals.at(-1)?.probes.asked ?? 0, 8)
    }))

  it.effect("partitions the network, with no expectations during that time", () =>
    Effect.gen(function*() {
      const partition = { atHours: 0.5, forHours: 0.25, share: 0.5 }
      // Records of nodes that start during the partition are on one side only.
      const { intervals } = yield* Simulation.run({ ...small, hours: 2, partition, churnPerHour: 3, topics: 0 })
      const during = intervals.filter(({ atHours }) => atHours > 0.5 && atHours <= 0.75)
      assert.isBelow(sum(during.map(({ probes }) => probes.found)), sum(during.map(({ probes }) => probes.asked)))
      const calm = intervals.filter(({ calm }) => calm).map(({ atHours }) => atHours)
      assert.isTrue(calm.every((end) => end > 1 / 6 && (end <= 0.5 || end > 1.75)), calm.join())
      assert.isAtLeast(calm.length, 4)
    }))

  it.effect("runs Byzantine nodes, and does not count them", () =>
    Effect.gen(function*() {
      const { intervals, scenario, totals } = yield* Simulation.run({ ...small, byzantine: 0.25 })
      assert.strictEqual(intervals.at(-1)?.nodes, 9)
      assert.strictEqual(scenario.endpoints, 9)
      assert.isAtMost(totals.copies.max ?? 9, 8)
    }))

  it.effect("watches its nodes on request, without changing the run", () =>
    Effect.gen(function*() {
      const violationsOf = ({ expectations }: Measurement.Measured) =>
        expectations.find(({ what }) => what.startsWith("Violations"))?.measured
      const unseen = yield* Simulation.run(eventful)
      const watched = yield* Simulation.run({ ...eventful, watched: true })
      assert.deepStrictEqual([violationsOf(unseen), violationsOf(watched)], [null, 0])
      assert.strictEqual(watched.traceHash, unseen.traceHash)
    }))

  it.effect("loses datagrams at the configured rate", () =>
    Effect.gen(function*() {
      const { totals } = yield* Simulation.run({ ...small, loss: 0.2 })
      assert.closeTo(totals.lost / totals.datagrams, 0.2, 0.02)
    }))

  it.effect("looks up and announces nothing if so configured, and judges nothing then", () =>
    Effect.gen(function*() {
      const { expectations, totals } = yield* Simulation.run({ ...small, endpoints: 0, topics: 0 })
      assert.deepStrictEqual([totals.resolve.asked, totals.discover.asked, totals.probes.asked], [0, 0, 0])
      assert.deepStrictEqual(expectations.map(({ measured }) => measured), [null, null, null, null, null, null])
      const idle = yield* Simulation.run({ ...small, lookupsPerNodeHour: 0 })
      assert.strictEqual(idle.totals.resolve.asked, 0)
      assert.isAbove(idle.totals.probes.found, 0)
    }))

  it.effect("reports the expectations that do not hold", () =>
    Effect.gen(function*() {
      // Responses arrive after the two seconds for which a lookup waits.
      const { expectations } = yield* Simulation.run({ ...small, latencyMillis: 2500 })
      assert.include(expectations.filter(({ holds }) => !holds).map(({ what }) => what).join(), "found by lookups")
    }))

  it.effect("reports its progress until the end", () =>
    Effect.gen(function*() {
      const seen: Array<Simulation.Progress> = []
      yield* Simulation.run(small, {
        onProgress: (progress) =>
          Effect.sync(() => {
            seen.push(progress)
          })
      })
      assert.deepStrictEqual(new Set(seen.map(({ phase }) => phase)), new Set(["Starting", "Running"]))
      assert.isTrue(
        seen.every(({ hours, joined }, i) => i === 0 || hours >= seen[i - 1].hours && joined >= seen[i - 1].joined)
      )
      assert.deepStrictEqual(seen.at(-1), { phase: "Running", joined: 12, nodes: 12, hours: 0.5, ofHours: 0.5 })
    }))

  it.live("yields to other fibers and can be interrupted", () =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Simulation.run({ nodes: 50, hours: 10_000 }))
      yield* Effect.sleep(50)
      yield* Fiber.interrupt(fiber)
    }))

  it.effect("that does not end reports when it was stopped", () =>
    Effect.gen(function*() {
      // A response takes twice as long as the longest timeout.
      const endless = { nodes: 2, hours: 1, latencyMillis: 10_000, topics: 0 }
      const error = yield* Effect.flip(Simulation.run(endless))
      assert.strictEqual(error._tag, "RunFailed")
      assert.match(error.message, /seed 1 .*Not finished/)
      const drawn = yield* Effect.flip(Simulation.run({ ...endless, scheduleSeed: 3 }))
      assert.match(drawn.message, /seed 1, schedule seed 3 .*Not finished/)
    }))

  const wrong: ReadonlyArray<readonly [Partial<Scenario.Scenario>, keyof Scenario.Scenario]> = [
    [{ nodes: 1 }, "nodes"],
    [{ nodes: 2.5 }, "nodes"],
    [{ nodes: 4, byzantine: 0.9 }, "nodes"],
    [{ seed: 0.5 }, "seed"],
    [{ scheduleSeed: 0.5 }, "scheduleSeed"],
    [{ hours: 0 }, "hours"],
    [{ hours: NaN }, "hours"],
    [{ latencyMillis: -1 }, "latencyMillis"],
    [{ loss: 1 }, "loss"],
    [{ churnPerHour: -1 }, "churnPerHour"],
    [{ byzantine: 1 }, "byzantine"],
    [{ partition: { atHours: -1, forHours: 1, share: 0.5 } }, "partition"],
    [{ partition: { atHours: 0, forHours: 0, share: 0.5 } }, "partition"],
    [{ partition: { atHours: 1, forHours: 2, share: 0.5 } }, "partition"],
    [{ partition: { atHours: 0, forHours: 1, share: 1 } }, "partition"],
    [{ lookupsPerNodeHour: Infinity }, "lookupsPerNodeHour"],
    [{ nodes: 10, endpoints: 11 }, "endpoints"],
    [{ nodes: 3, topics: 1 }, "topics"],
    [{ intervalMinutes: 0 }, "intervalMinutes"]
  ]
  for (const [given, field] of wrong) {
    it.effect(`refuses ${JSON.stringify(given)}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(Simulation.run(given))
        assert.strictEqual(error._tag === "InvalidScenario" ? error.field : error._tag, field)
      }))
  }
})
