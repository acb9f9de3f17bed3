import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Attempts, type Options } from "../../src/core/attempts.ts"

class TestAttempts extends Attempts {
  fire(): void {}
}

const defaults: Options = {
  startedAt: 1000,
  maxAttempts: 3,
  timeout: 15_000,
  firstWait: 400,
  failsFast: false
}

/** Makes each attempt when the last one times out; returns the waits. */
const waits = (options: Partial<Options>): Array<number> => {
  const attempts = new TestAttempts({ ...defaults, ...options })
  const waits: Array<number> = []
  let now = attempts.startedAt
  while (attempts.mayTry(now)) {
    const until = attempts.try(`${waits.length}`, { sentAt: now, isPlain: false, session: undefined })
    waits.push(until - now)
    now = until
  }
  return waits
}

describe("attempts", () => {
  it("waits half as long again with each attempt, and 5 seconds with the last", () => {
    assert.deepStrictEqual(waits({ maxAttempts: 4 }), [400, 600, 900, 5000])
  })

  it("waits at most 5 seconds for any attempt after the first", () => {
    assert.deepStrictEqual(waits({ maxAttempts: 5, firstWait: 3000, timeout: 60_000 }), [
      3000,
      4500,
      5000,
      5000,
      5000
    ])
  })

  it("waits at most a fifth of its timeout for the first attempt", () => {
    assert.strictEqual(waits({ firstWait: 5000, timeout: 2000 })[0], 400)
    assert.strictEqual(waits({ firstWait: 399, timeout: 2000 })[0], 399)
  })

  it("gives the last attempt the rest of the time if that is less than 5 seconds", () => {
    assert.deepStrictEqual(waits({ maxAttempts: 3, timeout: 3000 }), [400, 600, 2000])
    assert.deepStrictEqual(waits({ maxAttempts: 1, timeout: 3000 }), [3000])
    assert.deepStrictEqual(waits({ maxAttempts: 1 }), [5000])
  })

  it("waits for another round trip at most as long as the first, and until the deadline", () => {
    const attempts = new TestAttempts({ ...defaults, failsFast: true, timeout: 2000 })
    attempts.try("first", { sentAt: 1000, isPlain: false, session: undefined })
    assert.strictEqual(attempts.prolong(1300), 1300 + 300 + 400)
    assert.strictEqual(attempts.prolong(1050), 2000)
    assert.strictEqual(attempts.prolong(2900), 3000)
  })

  it("gives the last attempt only its own timeout with failFast", () => {
    assert.deepStrictEqual(waits({ failsFast: true }), [400, 600, 900])
    assert.deepStrictEqual(waits({ failsFast: true, maxAttempts: 1 }), [400])
    assert.deepStrictEqual(waits({ failsFast: true, timeout: 1500, firstWait: 300 }), [300, 450, 675])
  })

  it("gives the last attempt a shortest timeout on request", () => {
    assert.deepStrictEqual(waits({ failsFast: true, firstWait: 40, minLast: 250 }), [40, 60, 250])
    assert.deepStrictEqual(waits({ failsFast: true, firstWait: 40, minLast: 250, timeout: 300 }), [40, 60, 200])
    assert.deepStrictEqual(waits({ failsFast: true, minLast: 250 }), [400, 600, 900])
  })

  it("waits on after a pause of the process for as long as the pause, once for each attempt", () => {
    const attempts = new TestAttempts({ ...defaults, maxAttempts: 2, failsFast: true })
    assert.strictEqual(attempts.try("a", { sentAt: 1000, isPlain: false, session: undefined }), 1400)
    assert.isUndefined(attempts.resume(1409))
    assert.strictEqual(attempts.resume(1700), 1700 + 300)
    assert.isUndefined(attempts.resume(2100))
    assert.strictEqual(attempts.try("b", { sentAt: 2100, isPlain: false, session: undefined }), 2700)
    assert.strictEqual(attempts.resume(60_000), 61_000)
    assert.isUndefined(attempts.resume(61_010))
  })

  it("cuts a wait at the deadline and makes no further attempt", () => {
    assert.deepStrictEqual(waits({ maxAttempts: 100, timeout: 2000 }), [400, 600, 900, 100])
  })

  it("measures the wait of an attempt from when it was sent, however late", () => {
    const attempts = new TestAttempts(defaults)
    assert.strictEqual(attempts.try("a", { sentAt: 1000, isPlain: false, session: undefined }), 1400)
    assert.strictEqual(attempts.try("b", { sentAt: 9000, isPlain: false, session: undefined }), 9600)
    assert.strictEqual(attempts.try("c", { sentAt: 15_500, isPlain: false, session: undefined }), 16_000)
  })

  it("makes no further attempt when all are used", () => {
    const attempts = new TestAttempts({ ...defaults, maxAttempts: 2 })
    attempts.try("a", { sentAt: 1000, isPlain: false, session: undefined })
    assert.isTrue(attempts.mayTry(1000))
    attempts.try("b", { sentAt: 1000, isPlain: false, session: undefined })
    assert.isFalse(attempts.mayTry(1000))
  })

  it("makes no attempt from its deadline on", () => {
    const attempts = new TestAttempts(defaults)
    assert.isTrue(attempts.mayTry(15_999.9))
    assert.isFalse(attempts.mayTry(16_000))
    assert.isFalse(attempts.mayTry(16_001))
    assert.isFalse(new TestAttempts({ ...defaults, timeout: 0 }).mayTry(defaults.startedAt))
  })

  it("remembers each attempt under its transaction", () => {
    const attempts = new TestAttempts(defaults)
    attempts.try("a", { sentAt: 1000, isPlain: false, session: undefined })
    attempts.try("b", { sentAt: 1400, isPlain: true, session: undefined })
    assert.deepStrictEqual([...attempts.attempts], [
      ["a", { sentAt: 1000, isPlain: false, session: undefined }],
      ["b", { sentAt: 1400, isPlain: true, session: undefined }]
    ])
  })

  it("uses all of its attempts or its time, and never more, for any options", () => {
    const options = fc.record({
      maxAttempts: fc.integer({ min: 1, max: 12 }),
      timeout: fc.integer({ min: 1, max: 60_000 }),
      firstWait: fc.integer({ min: 1, max: 5000 }),
      failsFast: fc.boolean()
    })
    fc.assert(fc.property(options, (options) => {
      const all = waits(options)
      const total = all.reduce((sum, wait) => sum + wait, 0)
      assert.isAtLeast(all.length, 1)
      assert.isAtMost(all.length, options.maxAttempts)
      assert.isAtMost(total, options.timeout + 1e-6)
      for (const wait of all) {
        assert.isAbove(wait, 0)
        assert.isAtMost(wait, 5000 + 1e-6)
      }
      let turn = Math.min(options.firstWait, options.timeout / 5)
      let passed = 0
      for (const [i, wait] of all.entries()) {
        const hasRest = i === options.maxAttempts - 1 && !options.failsFast
        assert.closeTo(wait, Math.min(hasRest ? 5000 : turn, options.timeout - passed), 1e-6)
        turn = Math.min(turn * 1.5, 5000)
        passed += wait
      }
      // Time is left only when no attempt is.
      if (total < options.timeout - 1e-6) assert.strictEqual(all.length, options.maxAttempts)
    }))
  })
})
