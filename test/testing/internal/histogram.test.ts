import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Histogram } from "../../../src/testing/internal/histogram.ts"

const of = (values: ReadonlyArray<number>) => {
  const histogram = new Histogram()
  for (const value of values) histogram.add(value)
  return histogram
}

describe("Histogram", () => {
  it("returns null without values, also after it was cleared", () => {
    const histogram = of([1, 2])
    histogram.clear()
    for (const empty of [new Histogram(), histogram]) {
      assert.deepStrictEqual([empty.count, empty.mean(), empty.quantile(0.5)], [0, null, null])
    }
  })

  it("has the exact mean", () => {
    assert.strictEqual(of([1, 2, 6000]).mean(), 2001)
  })

  it("has small values exact to a tenth", () => {
    const histogram = of([0, 0.1, 0.2, 1, 6.3])
    assert.deepStrictEqual([0, 0.4, 0.6, 0.8, 1].map((share) => histogram.quantile(share)), [0, 0.1, 0.2, 1, 6.3])
  })

  it("has every quantile exact to a tenth or 3 %, whichever is more", () => {
    const values = fc.array(fc.double({ min: 0, max: 1e8, noNaN: true }), { minLength: 1, maxLength: 200 })
    fc.assert(fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (values, share) => {
      const exact = values.toSorted((a, b) => a - b)[Math.max(1, Math.ceil(share * values.length)) - 1]
      const measured = of(values).quantile(share) ?? NaN
      assert.isAtMost(Math.abs(measured - exact), Math.max(0.1, exact / 32), `${measured} for ${exact}`)
    }))
  })

  it("has the integers up to 12 exactly", () => {
    for (let i = 0; i <= 12; i++) assert.strictEqual(of([i]).quantile(1), i)
  })

  it("accepts values of any size", () => {
    assert.strictEqual(of([Infinity, 1e300, -1]).count, 3)
    assert.strictEqual(of([-1]).quantile(1), 0)
  })
})
