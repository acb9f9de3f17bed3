import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Endpoint from "../../src/Endpoint.ts"
import * as Mail from "../../src/Mail.ts"
import * as Profile from "../../src/Profile.ts"
import type { Excess } from "../../src/Record.ts"
import * as Topic from "../../src/Topic.ts"
import * as Network from "../utils/network.ts"

const signer = Network.identity("signer")
const stamp = { signer, address: signer.address, seq: 1n, timestamp: 1000n, ttl: 60 }

const excessOf = (signed: ReturnType<typeof Topic.sign>): Excess | undefined =>
  Result.isFailure(signed) ? signed.failure.excess : undefined

const text = (length: number) => "x".repeat(length)

type TopicFields = Omit<Parameters<typeof Topic.make>[0], "topic">

const topic = (fields: TopicFields & { readonly topic?: string }) =>
  Topic.sign({ ...stamp, payload: Topic.make({ topic: "t", ...fields }) })
const profile = (fields: Parameters<typeof Profile.make>[0]) =>
  Profile.sign({ ...stamp, payload: Profile.make(fields) })
const endpoint = (fields: Omit<Parameters<typeof Endpoint.make>[0], "endpoints">) =>
  Endpoint.sign({ ...stamp, payload: Endpoint.make({ endpoints: [], ...fields }) })

describe("a payload that does not fit", () => {
  const oneText: ReadonlyArray<
    readonly [what: string, field: string, unit: Excess["unit"], sign: (length: number) => ReturnType<typeof topic>]
  > = [
    ["a topic's name", "topic", "bytes", (length) => topic({ topic: text(length) })],
    ["the name of an offer", "name", "bytes", (length) => topic({ name: text(length) })],
    ["the name beside a brief", "name", "bytes", (length) => topic({ name: text(length), brief: text(140) })],
    ["the brief of an offer", "brief", "characters", (length) => topic({ brief: text(length) })],
    ["the only tag", "tags", "bytes", (length) => topic({ tags: [text(length)] })],
    ["the only protocol", "protocols", "bytes", (length) => topic({ protocols: [text(length)] })],
    ["the name of a profile", "name", "bytes", (length) => profile({ name: text(length) })],
    ["the brief of a profile", "brief", "bytes", (length) => profile({ brief: text(length) })],
    ["the only skill", "skills", "bytes", (length) => profile({ skills: [text(length)] })],
    ["the signal of an endpoint", "signals", "bytes", (length) => endpoint({ signals: [text(length)] })],
    ["a relay", "turns", "bytes", (length) => endpoint({ turns: ["turn:a", text(length)] })]
  ]
  for (const [what, field, unit, sign] of oneText) {
    it(`reports the field and exactly how much of it fits: ${what}`, () => {
      const excess = excessOf(sign(3000))
      assert.deepInclude(excess, { field, unit, size: 3000 })
      const { limit } = excess as Excess
      assert.isTrue(Result.isSuccess(sign(limit)))
      assert.strictEqual(excessOf(sign(limit + 1))?.limit, limit)
    })
  }

  it("counts bytes of UTF-8, and characters of a brief", () => {
    assert.deepInclude(excessOf(topic({ name: "€".repeat(300) })), { field: "name", size: 900 })
    assert.isTrue(Result.isSuccess(topic({ brief: "🙂".repeat(120) })))
    assert.deepInclude(excessOf(topic({ brief: "🙂".repeat(141) })), { size: 141, limit: 140, unit: "characters" })
  })

  it("reports the largest field, with its encoded size where it has several parts", () => {
    const tags = Array.from({ length: 100 }, (_, i) => `tag number ${i}`)
    assert.deepInclude(excessOf(topic({ name: "Ann", tags })), { field: "tags", unit: "bytes" })
    const meta = new Map([["note", text(900)]])
    assert.deepInclude(excessOf(profile({ name: "Ann", meta })), { field: "meta", unit: "bytes" })
    assert.isAtMost(excessOf(topic({ name: text(600), tags: [text(590)] }))?.limit ?? -1, 0)
  })

  it("reports how many entries a list may have", () => {
    const texts = (count: number) => Array.from({ length: count }, (_, i) => `turn:${i}`)
    assert.deepStrictEqual(excessOf(endpoint({ turns: texts(17) })), {
      field: "turns",
      size: 17,
      limit: 16,
      unit: "entries"
    })
    assert.deepInclude(excessOf(endpoint({ signals: texts(9) })), { field: "signals", limit: 8 })
  })

  it("reports how long the body of a message may be", () => {
    const options = {
      sender: signer.address,
      recipient: signer.address,
      recipientPublicKey: signer.publicKey,
      ephemeralSeed: new Uint8Array(32).fill(1),
      nonce: new Uint8Array(12)
    }
    for (const [type, limit] of [[3, Mail.maxBody], [23, 389], [24, 388], [255, 388]]) {
      const seal = (length: number) => Mail.seal({ ...options, type, body: new Uint8Array(length) })
      assert.strictEqual(Result.getOrThrow(seal(limit)).length, Mail.maxPayload)
      const refused = seal(limit + 1)
      assert.deepStrictEqual(Result.isFailure(refused) ? refused.failure.excess : undefined, {
        field: "body",
        size: limit + 1,
        limit,
        unit: "bytes"
      })
    }
  })
})
