import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { RecordMerge } from "../../src/core/recordMerge.ts"
import * as Identity from "../../src/Identity.ts"
import * as Record from "../../src/Record.ts"
import { SimCrypto } from "../../src/testing/index.ts"

const record = (type: number, n: number): Record.SignedRecord => {
  const seed = new Uint8Array(32)
  new DataView(seed.buffer).setUint32(0, n)
  const signer = Identity.fromSeed(SimCrypto.simulated, seed)
  return Result.getOrThrow(Record.sign({
    signer,
    address: signer.address,
    type,
    payload: seed,
    seq: 1n,
    timestamp: 0n,
    ttl: 3600
  }))
}

const full = (type: number): RecordMerge => {
  const merge = new RecordMerge()
  for (let n = 0; n < 4096; n++) merge.put(record(type, n))
  return merge
}

describe("a merge of as many records as it takes", () => {
  it("takes a new message in the place of the oldest: a flood cannot keep later messages from their reader", () => {
    const merge = full(0x81)
    const later = record(0x81, 5000)
    assert.isTrue(merge.put(later))
    const live = merge.live(0)
    assert.strictEqual(live.length, 4096)
    assert.strictEqual(live.at(-1), later)
    assert.deepStrictEqual(live[0], record(0x81, 1))
  })

  it("ignores further records of other kinds, so that a flood displaces none that are known", () => {
    const merge = full(0x11)
    assert.isFalse(merge.put(record(0x11, 5000)))
    assert.isFalse(merge.put(record(0x81, 5000)))
    assert.strictEqual(merge.live(0).length, 4096)
  })
})
