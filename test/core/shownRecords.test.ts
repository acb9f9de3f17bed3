import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { ShownRecords } from "../../src/core/shownRecords.ts"
import * as Endpoint from "../../src/Endpoint.ts"
import { identity, now } from "../utils/network.ts"

const ann = identity("ann")

const record = (seq: bigint, ttl = 3600) =>
  Result.getOrThrow(Endpoint.sign({
    signer: ann,
    address: ann.address,
    payload: Endpoint.make({ endpoints: [] }),
    seq,
    timestamp: BigInt(now),
    ttl
  }))

describe("ShownRecords", () => {
  it("is no evidence against a source that was asked before the newer version was known", () => {
    const shown = new ShownRecords()
    const early = shown.begin()
    const newer = record(2n)
    shown.put(ann.nodeId, newer)
    assert.strictEqual(shown.judge(ann.nodeId, record(1n), early, now), newer)
    const later = shown.judge(ann.nodeId, record(1n), shown.begin(), now)
    assert.propertyVal(later, "_tag", "StaleRecord")
  })

  it("is no evidence for the time after the newer version has expired, and does not show the older one", () => {
    const shown = new ShownRecords()
    shown.put(ann.nodeId, record(2n, 60))
    assert.propertyVal(shown.judge(ann.nodeId, record(1n), shown.begin(), now + 60), "_tag", "StaleRecord")
    assert.isUndefined(shown.judge(ann.nodeId, record(1n), shown.begin(), now + 61))
  })

  it("remembers 1024 records", () => {
    const shown = new ShownRecords()
    const [old, current] = [record(1n), record(2n)]
    for (let i = 0; i <= 1024; i++) shown.put(identity(`key ${i}`).nodeId, current)
    const judge = (i: number) => shown.judge(identity(`key ${i}`).nodeId, old, shown.begin(), now)
    assert.propertyVal(judge(1), "_tag", "StaleRecord")
    assert.strictEqual(judge(0), old)
  })
})
