import { assert, describe, it } from "@effect/vitest"
import { FailedSignatures } from "../../src/core/failedSignatures.ts"

const key = (n: number): Uint8Array => new Uint8Array(32).fill(n)
const minute = 60_000

describe("FailedSignatures", () => {
  it("suspects a signer at the host from which its signature failed, and there alone", () => {
    const failures = new FailedSignatures()
    failures.failed(key(1), "192.0.2.1", 0)
    assert.isTrue(failures.isSuspect(key(1), "192.0.2.1", 1))
    assert.isFalse(failures.isSuspect(key(1), "192.0.2.2", 1))
  })

  it("does not suspect the neighbours of one signer that fails, however often", () => {
    const failures = new FailedSignatures()
    for (let i = 0; i < 100; i++) failures.failed(key(1), "192.0.2.1", i)
    assert.isFalse(failures.isSuspect(key(2), "192.0.2.1", 100))
  })

  it("suspects a host from which the signatures of two keys failed, whatever key comes next", () => {
    const failures = new FailedSignatures()
    failures.failed(key(1), "192.0.2.1", 0)
    failures.failed(key(2), "192.0.2.1", 0)
    assert.isTrue(failures.isSuspect(key(3), "192.0.2.1", 1))
    assert.isFalse(failures.isSuspect(key(3), "192.0.2.2", 1))
  })

  it("forgets a failure after a minute, also if the clock is set back", () => {
    for (const later of [minute, -minute]) {
      const failures = new FailedSignatures()
      for (const n of [1, 2]) failures.failed(key(n), "192.0.2.1", 0)
      assert.isTrue(failures.isSuspect(key(1), "192.0.2.1", later - Math.sign(later)))
      assert.isFalse(failures.isSuspect(key(1), "192.0.2.1", later))
      failures.failed(key(3), "192.0.2.1", later)
      assert.isFalse(failures.isSuspect(key(4), "192.0.2.1", later))
    }
  })

  it("clears a signer whose signature is good", () => {
    const failures = new FailedSignatures()
    failures.failed(key(1), "192.0.2.1", 0)
    failures.succeeded(key(1), "192.0.2.1")
    assert.isFalse(failures.isSuspect(key(1), "192.0.2.1", 1))
  })

  it("remembers 10 000 sources, and forgets the earliest of 30 000", () => {
    const failures = new FailedSignatures()
    const host = (i: number) => `9.${i >> 16}.${(i >> 8) & 255}.${i & 255}`
    for (let i = 0; i < 10_000; i++) failures.failed(key(1), host(i), 0)
    assert.isTrue(failures.isSuspect(key(1), host(0), 0))
    for (let i = 0; i < 20_000; i++) failures.failed(key(2), host(10_000 + i), 0)
    assert.isFalse(failures.isSuspect(key(1), host(0), 0))
  })
})
