import { assert, describe, it } from "@effect/vitest"
import * as Seq from "../../src/core/seq.ts"

const max = 0xffff_ffff_ffff_ffffn

const day = 86_400_000_000_000n

describe("seq", () => {
  it("is the time, and grows while the clock stands still or was set back by up to a day", () => {
    assert.strictEqual(Seq.after(5n, 7n), 7n)
    assert.strictEqual(Seq.after(7n, 7n), 8n)
    assert.strictEqual(Seq.after(day + 7n, 7n), day + 8n)
    assert.strictEqual(Seq.after(day + 8n, 7n), 7n)
  })

  it("is one above that of a held record that is not smaller, up to the largest", () => {
    assert.strictEqual(Seq.over(7n, -1n), 7n)
    assert.strictEqual(Seq.over(7n, 7n), 8n)
    assert.strictEqual(Seq.over(7n, max), max)
  })

  it("helps only if it was too small", () => {
    assert.isTrue(Seq.helps({ seq: 7n, heldSeq: 7n }))
    assert.isFalse(Seq.helps({ seq: 8n, heldSeq: 7n }))
    assert.isFalse(Seq.helps({ seq: max, heldSeq: max }))
  })
})
