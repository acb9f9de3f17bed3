import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Address from "../../src/Address.ts"
import * as Answer from "../../src/core/answer.ts"
import * as Message from "../../src/Message.ts"
import * as Record from "../../src/Record.ts"
import * as arbitraries from "../utils/arbitraries.ts"

const contacts = fc.array(arbitraries.contact, { maxLength: 20 })
const observed = fc.option(arbitraries.bytes(18), { nil: undefined })
const records = fc.array(arbitraries.record, { maxLength: 8 })
const size = (body: Message.Body) => Message.encodeBody(body).length

describe("FIND_NODE responses", () => {
  it("are at most 1050 bytes, and omit only the farthest nodes", () => {
    fc.assert(fc.property(contacts, observed, (nodes, observed) => {
      const body = Answer.findNodeResponse(nodes, observed)
      assert.isAtMost(size(body), Message.maxAnswerBody)
      assert.strictEqual(body._tag, "FindNodeResponse")
      assert.deepStrictEqual(body.nodes, nodes.length === 0 ? null : nodes.slice(0, body.nodes?.length))
    }))
  })

  it("omit no node that would fit", () => {
    fc.assert(fc.property(contacts, observed, (nodes, observed) => {
      const body = Answer.findNodeResponse(nodes, observed)
      const more = nodes.slice(0, (body.nodes?.length ?? 0) + 1)
      if (more.length > (body.nodes?.length ?? 0)) {
        assert.isAbove(size({ ...body, nodes: more }), Message.maxAnswerBody)
      }
    }))
  })
})

describe("FIND_VALUE responses", () => {
  const answer = fc.record({ nodes: contacts, records, observed, legacy: fc.boolean(), lists: fc.boolean() })
  /** More records than fit, as at a full key. */
  const crowd = fc.record({
    nodes: contacts,
    records: fc.array(arbitraries.record, { minLength: 20, maxLength: 158, size: "max" }),
    observed,
    legacy: fc.boolean(),
    lists: fc.boolean()
  })
  const bodyOf = (options: Parameters<typeof Answer.findValueResponse>[0]) => Answer.findValueResponse(options).body
  const plain = answer.map((options) => ({ ...options, lists: false }))

  it("are at most 1050 bytes, and contain a record or its digest if any record fits alone", () => {
    fc.assert(fc.property(fc.oneof(answer, crowd), (options) => {
      const body = bodyOf(options)
      assert.isAtMost(size(body), Message.maxAnswerBody)
      assert.strictEqual(body.records === undefined && body.listed === undefined, options.records.length === 0)
    }))
  })

  it("contain the most preferred record, and every later one that still fits", () => {
    fc.assert(fc.property(plain, (options) => {
      const body = bodyOf(options)
      const kept = body.records ?? []
      assert.deepStrictEqual(kept, options.records.filter((record) => kept.includes(record)))
      assert.deepStrictEqual(kept.slice(0, 1), options.records.slice(0, 1))
      for (const record of options.records) {
        if (kept.includes(record)) continue
        const more = { ...body, nodes: options.nodes.slice(0, 1), records: [...kept, record] }
        assert.isAbove(size(more), Message.maxAnswerBody)
      }
    }))
  })

  it("count the records before the first that was omitted", () => {
    fc.assert(fc.property(fc.oneof(answer, crowd), (options) => {
      const { body, served } = Answer.findValueResponse(options)
      const missing = options.records.findIndex((record) => !(body.records ?? []).includes(record))
      assert.strictEqual(served, missing === -1 ? options.records.length : missing)
      if (!options.lists && options.records.length > 0) assert.isAtLeast(served, 1)
    }))
  })

  it("omit nodes before records, and the nearest node last", () => {
    fc.assert(fc.property(plain, (options) => {
      const body = bodyOf(options)
      const [nodes, kept] = [body.nodes ?? [], body.records ?? []]
      const nearest = options.nodes.slice(0, 1)
      assert.deepStrictEqual(nodes, options.nodes.slice(0, nodes.length))
      if (kept.length > 1) assert.isAtLeast(nodes.length, nearest.length)
      if (kept.length === options.records.length - 1) {
        assert.isAbove(size({ ...body, nodes: nearest, records: options.records }), Message.maxAnswerBody)
      }
    }))
  })

  it("list the digests of all omitted records for a requester that reads digests", () => {
    const reader = fc.oneof(answer, crowd).map((options) => ({ ...options, lists: true }))
    fc.assert(fc.property(reader, (options) => {
      const body = bodyOf(options)
      const known = new Set([...(body.records ?? []).map(Message.digest), ...body.listed ?? []])
      const all = options.records.map(Message.digest)
      // Where a key is full in every category and a node has an IPv6 address, a few digests do not fit.
      if (all.length > 150) assert.isAtLeast(known.size, 150)
      else assert.sameMembers(Array.from(known), Array.from(new Set(all)))
      if (body.listed === undefined) assert.deepStrictEqual(body.records ?? [], options.records)
      else assert.deepStrictEqual(body.nodes ?? [], options.nodes.slice(0, body.nodes?.length ?? 0))
    }))
  })

  it("list no digests for a requester that does not read them", () => {
    fc.assert(fc.property(crowd, (options) => assert.isUndefined(bodyOf({ ...options, lists: false }).listed)))
  })

  it("can contain any valid record alone", () => {
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
    const body = bodyOf({ nodes, records: [largest], observed, legacy: true, lists: false })
    assert.deepStrictEqual(body.records, [largest])
    assert.isAtMost(size(body), Message.maxAnswerBody)

    const tooLarge = recordOfSize(Record.maxResolvableSize + 1)
    const without = bodyOf({ nodes, records: [tooLarge], observed, legacy: true, lists: false })
    assert.isUndefined(without.records)
    assert.isNotNull(without.nodes)
    // It does not hide records that fit.
    const small = recordOfSize(300)
    assert.deepStrictEqual(
      bodyOf({ nodes, records: [small, tooLarge], observed, legacy: true, lists: false }).records,
      [small]
    )
  })
})
