import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../../src/Address.ts"
import * as Answer from "../../src/internal/answer.ts"
import * as Message from "../../src/Message.ts"
import * as Record from "../../src/Record.ts"
import * as arbitraries from "../utils/arbitraries.ts"

const contacts = fc.array(arbitraries.contact, { maxLength: 20 })
const observed = fc.option(arbitraries.bytes(18), { nil: undefined })
const records = fc.array(arbitraries.record, { maxLength: 8 })
const size = (body: Message.Body) => Message.encodeBody(body).length

describe("FIND_NODE answers", () => {
  it("are at most 1050 bytes, and lose only the farthest nodes", () => {
    fc.assert(fc.property(contacts, observed, (nodes, observed) => {
      const body = Answer.findNodeResponse(nodes, observed)
      assert.isAtMost(size(body), Message.maxAnswerBody)
      assert.strictEqual(body._tag, "FindNodeResponse")
      assert.deepStrictEqual(body.nodes, nodes.length === 0 ? null : nodes.slice(0, body.nodes?.length))
    }))
  })

  it("leave out no node that would fit", () => {
    fc.assert(fc.property(contacts, observed, (nodes, observed) => {
      const body = Answer.findNodeResponse(nodes, observed)
      const more = nodes.slice(0, (body.nodes?.length ?? 0) + 1)
      if (more.length > (body.nodes?.length ?? 0)) {
        assert.isAbove(size({ ...body, nodes: more }), Message.maxAnswerBody)
      }
    }))
  })
})

describe("FIND_VALUE answers", () => {
  const answer = fc.record({ nodes: contacts, records, observed, legacy: fc.boolean() })

  it("are at most 1050 bytes, and never without a record while there is one that can be carried", () => {
    fc.assert(fc.property(answer, (options) => {
      const body = Answer.findValueResponse(options)
      assert.isAtMost(size(body), Message.maxAnswerBody)
      assert.strictEqual(body.records === undefined, options.records.length === 0)
    }))
  })

  it("keep the newest records, in their order", () => {
    fc.assert(fc.property(answer, (options) => {
      const kept = Answer.findValueResponse(options).records ?? []
      assert.deepStrictEqual(kept, options.records.filter((record) => kept.includes(record)))
      const oldestKept = kept.reduce((oldest, { timestamp }) => timestamp < oldest ? timestamp : oldest, 2n ** 64n)
      for (const record of options.records) {
        if (!kept.includes(record)) assert.isTrue(record.timestamp <= oldestKept)
      }
    }))
  })

  it("lose nodes before records, and the nearest node last", () => {
    fc.assert(fc.property(answer, (options) => {
      const body = Answer.findValueResponse(options)
      const [nodes, kept] = [body.nodes ?? [], body.records ?? []]
      const nearest = options.nodes.slice(0, 1)
      assert.deepStrictEqual(nodes, options.nodes.slice(0, nodes.length))
      if (kept.length > 1) assert.isAtLeast(nodes.length, nearest.length)
      if (kept.length === options.records.length - 1) {
        assert.isAbove(size({ ...body, nodes: nearest, records: options.records }), Message.maxAnswerBody)
      }
    }))
  })

  it("carry any record alone that may be published", () => {
    const signer = arbitraries.crypto.signingKey(new Uint8Array(32))
    const recordOfSize = (wanted: number) => {
      const withPayload = (length: number) =>
        Result.getOrThrow(Record.sign({ ...fields, payload: new Uint8Array(length) }))
      return withPayload(300 + wanted - withPayload(300).bytes.length)
    }
    const fields = {
      signer,
      address: Address.fromPublicKey(signer.publicKey),
      type: 0x03,
      seq: 1n,
      timestamp: 1_700_000_000n,
      ttl: 3600
    }
    const observed = new Uint8Array(18)
    const largest = recordOfSize(Record.maxResolvableSize)
    assert.strictEqual(largest.bytes.length, Record.maxResolvableSize)
    const nodes = fc.sample(arbitraries.contact, 16)
    const body = Answer.findValueResponse({ nodes, records: [largest], observed, legacy: true })
    assert.deepStrictEqual(body.records, [largest])
    assert.isAtMost(size(body), Message.maxAnswerBody)

    const tooLarge = recordOfSize(Record.maxResolvableSize + 1)
    const without = Answer.findValueResponse({ nodes, records: [tooLarge], observed, legacy: true })
    assert.isUndefined(without.records)
    assert.isNotNull(without.nodes)
    // It does not hide what can be carried either.
    const small = recordOfSize(300)
    assert.deepStrictEqual(
      Answer.findValueResponse({ nodes, records: [small, tooLarge], observed, legacy: true }).records,
      [small]
    )
  })
})
