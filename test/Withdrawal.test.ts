import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Endpoint from "../src/Endpoint.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Profile from "../src/Profile.ts"
import * as Record from "../src/Record.ts"
import * as Topic from "../src/Topic.ts"
import * as Withdrawal from "../src/Withdrawal.ts"
import { crypto } from "./utils/arbitraries.ts"
import * as network from "./utils/network.ts"

const { now } = network
const signer = network.identity("signer")
const stamp = { signer, address: signer.address, seq: 7n, timestamp: BigInt(now), ttl: 3600 }

const records = {
  endpoint: Result.getOrThrow(
    Endpoint.sign({ ...stamp, payload: Endpoint.make({ endpoints: ["tcp://192.0.2.1:1"] }) })
  ),
  topic: Result.getOrThrow(Topic.sign({ ...stamp, payload: Topic.make({ topic: "translate", name: "Ann" }) })),
  profile: Result.getOrThrow(Profile.sign({ ...stamp, payload: Profile.make({ name: "Ann" }) })),
  "a custom type": Result.getOrThrow(Record.sign({ ...stamp, type: 0x05, payload: new Uint8Array([1]) })),
  "a custom type like topics": Result.getOrThrow(Record.sign({ ...stamp, type: 0x11, payload: new Uint8Array([1]) }))
}

const withdraw = (record: Record.SignedRecord) => Withdrawal.sign({ signer, record, now })

describe("Withdrawal", () => {
  for (const [kind, record] of Object.entries(records)) {
    const withdrawal = Result.getOrThrow(withdraw(record))

    it(`of ${kind} has no content, is marked, and supersedes that record but no later one`, () => {
      assert.isTrue(Withdrawal.isWithdrawal(withdrawal))
      assert.isFalse(Withdrawal.isWithdrawal(record))
      assert.isTrue(Record.isNewer(withdrawal, record))
      assert.strictEqual(withdrawal.seq, record.seq + 1n)
      assert.deepInclude({ ...withdrawal }, { address: record.address, type: record.type })
    })

    it(`of ${kind} is valid for holders whose clock is up to half a minute off, and no longer`, () => {
      for (const off of [-30, 0, 30]) {
        assert.isTrue(Result.isSuccess(Record.verify(withdrawal, { crypto, now: now + off })))
        // v0.1 holders accept nothing from the future.
        assert.isAtMost(Number(withdrawal.timestamp), now + off)
      }
      assert.isTrue(Result.isFailure(Record.verify(withdrawal, { crypto, now: now + 32 })))
    })
  }

  it("of a topic belongs to that topic", () => {
    const payload = Result.getOrThrow(Topic.decode(Result.getOrThrow(withdraw(records.topic)).payload))
    assert.isTrue(Topic.belongsTo(payload, NodeId.fromTopic("translate")))
  })

  it("is not a record with content, or with the lifetime of others", () => {
    const sign = (options: { readonly ttl: number; readonly endpoints: ReadonlyArray<string> }) =>
      Result.getOrThrow(Endpoint.sign({ ...stamp, ttl: options.ttl, payload: Endpoint.make(options) }))
    assert.isFalse(Withdrawal.isWithdrawal(sign({ ttl: Withdrawal.ttl, endpoints: ["tcp://192.0.2.1:1"] })))
    const custom = { ...stamp, type: 0x05, ttl: Withdrawal.ttl }
    for (const payload of [Uint8Array.of(0xa0), Uint8Array.of(0xf6)]) {
      assert.isFalse(Withdrawal.isWithdrawal(Result.getOrThrow(Record.sign({ ...custom, payload }))))
    }
    for (const ttl of [1, 30, 60, 120, 3600]) assert.isFalse(Withdrawal.isWithdrawal(sign({ ttl, endpoints: [] })))
  })

  it("is not signed for mail or a reserved type, or by another key", () => {
    const custom = Result.getOrThrow(Record.sign({ ...stamp, type: 0x85, payload: new Uint8Array([1]) }))
    for (const type of [0x80, 0x85, 0x00, 0x42, 0xff]) {
      assert.isTrue(Result.isFailure(withdraw({ ...custom, type })))
      assert.isFalse(Withdrawal.isPossible({ ...custom, type }))
    }
    const stranger = network.identity("stranger")
    assert.isTrue(Result.isFailure(Withdrawal.sign({ signer: stranger, record: records.topic, now })))
  })
})
