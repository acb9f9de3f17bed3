import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Call, type Options } from "../../src/internal/call.ts"

class TestCall extends Call {
  fire(): void {}
}

const defaults: Options = {
  startedAt: 1000,
  maxAttempts: 3,
  patience: 15_000,
  firstWait: 400,
  isHasty: false
}

/** Tries whenever the last wait is over, and says how long each was. */
const waits = (options: Partial<Options>): Array<number> => {
  const call = new TestCall({ ...defaults, ...options })
  const waits: Array<number> = []
  let now = call.startedAt
  while (call.mayTry(now)) {
    const until = call.try(`${waits.length}`, { sentAt: now, isPlain: false })
    waits.push(until - now)
    now = until
  }
  return waits
}

describe("call", () => {
  it("waits half as long again with each attempt, and with the last for 5 seconds", () => {
    assert.deepStrictEqual(waits({ maxAttempts: 4 }), [400, 600, 900, 5000])
  })

  it("waits at most 5 seconds for any attempt after the first", () => {
    assert.deepStrictEqual(waits({ maxAttempts: 5, firstWait: 3000, patience: 60_000 }), [
      3000,
      4500,
      5000,
      5000,
      5000
    ])
  })

  it("waits at most a fifth of its patience for the first attempt", () => {
    assert.strictEqual(waits({ firstWait: 5000, patience: 2000 })[0], 400)
    assert.strictEqual(waits({ firstWait: 399, patience: 2000 })[0], 399)
  })

  it("gives the last attempt the rest of the time, if it is less than 5 seconds", () => {
    assert.deepStrictEqual(waits({ maxAttempts: 3, patience: 3000 }), [400, 600, 2000])
    assert.deepStrictEqual(waits({ maxAttempts: 1, patience: 3000 }), [3000])
    assert.deepStrictEqual(waits({ maxAttempts: 1 }), [5000])
  })

  it("gives the last attempt no more than its turn when it is hasty", () => {
    assert.deepStrictEqual(waits({ isHasty: true }), [400, 600, 900])
    assert.deepStrictEqual(waits({ isHasty: true, maxAttempts: 1 }), [400])
    assert.deepStrictEqual(waits({ isHasty: true, patience: 1500, firstWait: 300 }), [300, 450, 675])
  })

  it("cuts short a wait that would go beyond the deadline, and tries no more", () => {
    assert.deepStrictEqual(waits({ maxAttempts: 100, patience: 2000 }), [400, 600, 900, 100])
  })

  it("counts an attempt's wait from when it was sent, however late that was", () => {
    const call = new TestCall(defaults)
    assert.strictEqual(call.try("a", { sentAt: 1000, isPlain: false }), 1400)
    assert.strictEqual(call.try("b", { sentAt: 9000, isPlain: false }), 9600)
    assert.strictEqual(call.try("c", { sentAt: 15_500, isPlain: false }), 16_000)
  })

  it("tries no more when its attempts are used up", () => {
    const call = new TestCall({ ...defaults, maxAttempts: 2 })
    call.try("a", { sentAt: 1000, isPlain: false })
    assert.isTrue(call.mayTry(1000))
    call.try("b", { sentAt: 1000, isPlain: false })
    assert.isFalse(call.mayTry(1000))
  })

  it("tries no more from its deadline on", () => {
    const call = new TestCall(defaults)
    assert.isTrue(call.mayTry(15_999.9))
    assert.isFalse(call.mayTry(16_000))
    assert.isFalse(call.mayTry(16_001))
    assert.isFalse(new TestCall({ ...defaults, patience: 0 }).mayTry(defaults.startedAt))
  })

  it("remembers each attempt under its transaction", () => {
    const call = new TestCall(defaults)
    call.try("a", { sentAt: 1000, isPlain: false })
    call.try("b", { sentAt: 1400, isPlain: true })
    assert.deepStrictEqual([...call.attempts], [
      ["a", { sentAt: 1000, isPlain: false }],
      ["b", { sentAt: 1400, isPlain: true }]
    ])
  })

  it("uses up its attempts or its time, and never more, whatever it is given", () => {
    const options = fc.record({
      maxAttempts: fc.integer({ min: 1, max: 12 }),
      patience: fc.integer({ min: 1, max: 60_000 }),
      firstWait: fc.integer({ min: 1, max: 5000 }),
      isHasty: fc.boolean()
    })
    fc.assert(fc.property(options, (options) => {
      const all = waits(options)
      const total = all.reduce((sum, wait) => sum + wait, 0)
      assert.isAtLeast(all.length, 1)
      assert.isAtMost(all.length, options.maxAttempts)
      assert.isAtMost(total, options.patience + 1e-6)
      for (const wait of all) {
        assert.isAbove(wait, 0)
        assert.isAtMost(wait, 5000 + 1e-6)
      }
      let turn = Math.min(options.firstWait, options.patience / 5)
      let passed = 0
      for (const [i, wait] of all.entries()) {
        const hasRest = i === options.maxAttempts - 1 && !options.isHasty
        assert.closeTo(wait, Math.min(hasRest ? 5000 : turn, options.patience - passed), 1e-6)
        turn = Math.min(turn * 1.5, 5000)
        passed += wait
      }
      // Time is left only to those who have no attempt left.
      if (total < options.patience - 1e-6) assert.strictEqual(all.length, options.maxAttempts)
    }))
  })
})
