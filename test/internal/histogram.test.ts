import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Histogram } from "../../src/internal/histogram.ts"

const bounds = [1, 2, 5]

describe("Histogram", () => {
  it("counts the values up to each bound, and all values", () => {
    fc.assert(fc.property(fc.array(fc.double({ min: 0, max: 10, noNaN: true })), (values) => {
      const histogram = new Histogram(bounds)
      for (const value of values) histogram.add(value)
      const { buckets, count, max, min, sum } = histogram.read()
      assert.deepStrictEqual(
        buckets,
        bounds.map((bound): [number, number] => [bound, values.filter((value) => value <= bound).length])
      )
      assert.strictEqual(count, values.length)
      assert.strictEqual(min, values.length === 0 ? 0 : Math.min(...values))
      assert.strictEqual(max, values.length === 0 ? 0 : Math.max(...values))
      assert.strictEqual(sum, values.reduce((sum, value) => sum + value, 0))
    }))
  })
})
