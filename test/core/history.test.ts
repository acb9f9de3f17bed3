import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { History, intervalMillis, keptMillis, maxSamples, type Reading } from "../../src/core/history.ts"

const start = 1_700_000_000_000
const bounds = [0.01, 0.1, 1]

const reading = (at: number, more: Partial<Reading> = {}): Reading => ({
  at,
  received: 0,
  sent: 0,
  refused: 0,
  answered: { bounds, counts: [0, 0, 0, 0], max: 0 },
  contacts: 0,
  size: 0,
  keys: 0,
  ...more
})

describe("History", () => {
  it("turns counters into rates per second, and keeps the other figures as they are", () => {
    const history = new History()
    assert.isUndefined(history.take(reading(start, { received: 100, sent: 50, refused: 3 })))
    const sample = history.take(
      reading(start + 4000, { received: 140, sent: 52, refused: 3, contacts: 7, size: 12.5, keys: 4 })
    )
    assert(sample !== undefined)
    assert.deepStrictEqual(sample, {
      at: start + 4000,
      received: 10,
      sent: 0.5,
      refused: 0,
      p50: undefined,
      p95: undefined,
      contacts: 7,
      size: 12.5,
      keys: 4
    })
    assert.deepStrictEqual(history.samples, [sample])
  })

  it("has the response times of the last half minute, and none if no request was answered in it", () => {
    const history = new History()
    const slow = [0, 0, 100, 0]
    const answered = (counts: ReadonlyArray<number>) => ({ answered: { bounds, counts, max: 0.9 } })
    history.take(reading(start, answered([0, 0, 0, 0])))
    const times = Array.from({ length: 20 }, (_, i) => {
      const at = start + (i + 1) * intervalMillis
      // A hundred slow requests at once, and fast ones later.
      const counts = i < 10 ? slow : [10, 0, 100, 0]
      const { p50, p95 } = history.take(reading(at, answered(counts)))!
      return [p50, p95]
    })
    assert.deepStrictEqual(times[0], [0.55, 0.9])
    assert.deepStrictEqual(times[5], [0.55, 0.9])
    assert.deepStrictEqual(times[6], [undefined, undefined])
    assert.deepStrictEqual(times[10], [0.005, 0.0095])
    assert.deepStrictEqual(times[19], [undefined, undefined])
  })

  it("keeps at most an hour and a named number of samples, whatever the clock does", () => {
    const steps = fc.array(
      fc.oneof(
        { weight: 20, arbitrary: fc.integer({ min: 1, max: 2 * intervalMillis }) },
        { weight: 1, arbitrary: fc.integer({ min: -keptMillis, max: 2 * keptMillis }) }
      ),
      { minLength: 1, maxLength: 1500 }
    )
    fc.assert(
      fc.property(steps, (steps) => {
        const history = new History()
        let at = start
        for (const step of steps) {
          at += step
          history.take(reading(at))
          const times = history.samples.map((sample) => sample.at)
          assert.isAtMost(times.length, maxSamples)
          assert.isTrue(
            times.every((time, i) => time > at - keptMillis && time <= at && (i === 0 || time > times[i - 1]))
          )
        }
      }),
      { numRuns: 20 }
    )
  })

  it("begins again after the clock was set back, without a rate across the gap", () => {
    const history = new History()
    history.take(reading(start, { received: 10 }))
    history.take(reading(start + 5000, { received: 20 }))
    assert.isUndefined(history.take(reading(start + 1000, { received: 30 })))
    assert.deepStrictEqual(history.samples, [])
    assert.strictEqual(history.take(reading(start + 2000, { received: 31 }))?.received, 1)
  })
})
