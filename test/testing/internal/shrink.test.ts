import { assert, describe, it } from "@effect/vitest"
import { fewer, lower, smallest } from "../../../src/testing/internal/shrink.ts"

const never = () => false

describe("shrink", () => {
  it("finds the items that matter", () => {
    const items = Array.from({ length: 40 }, (_, i) => i)
    const needed = [3, 17, 18, 39]
    const found = smallest<ReadonlyArray<number>>(items, {
      simpler: fewer,
      fails: (items) => needed.every((item) => items.includes(item)),
      isOver: never
    })
    assert.deepStrictEqual(found, needed)
  })

  it("finds the lowest number that matters", () => {
    for (const limit of [0, 1, 7, 500, 999, 1000]) {
      const fails = (number: number) => number >= limit
      assert.strictEqual(smallest<number>(1000, { simpler: (number) => lower(number), fails, isOver: never }), limit)
    }
    assert.deepStrictEqual([...lower(3, 3)], [])
  })

  it("stops with the best so far when its time is over", () => {
    let left = 3
    const found = smallest<number>(1000, {
      *simpler(n) {
        yield n - 1
      },
      fails: () => true,
      isOver: () => left-- === 0
    })
    assert.strictEqual(found, 997)
  })

  it("goes on from a value that fails, and tries none twice", () => {
    const items = Array.from({ length: 16 }, (_, i) => i)
    const tried: Array<string> = []
    const found = smallest<ReadonlyArray<number>>(items, {
      simpler: fewer,
      fails: (items) => {
        tried.push(items.join())
        return items.includes(3)
      },
      isOver: never
    })
    assert.deepStrictEqual(found, [3])
    assert.strictEqual(new Set(tried).size, tried.length)
    assert.isAtMost(tried.length, 10)
  })

  it("finds a number up to its precision", () => {
    const found = smallest<number>(1000, {
      simpler: (number) => lower(number, 0, 100),
      fails: (number) => number >= 500,
      isOver: never
    })
    assert.isAtLeast(found, 500)
    assert.isAtMost(found, 600)
  })

  it("tries the empty list first", () => {
    assert.deepStrictEqual([...fewer([1, 2])], [[], [2], [1]])
    assert.deepStrictEqual([...fewer([])], [])
  })
})
