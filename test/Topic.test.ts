import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as fc from "fast-check"
import * as Address from "../src/Address.ts"
import { noble } from "../src/Crypto.ts"
import * as NodeId from "../src/NodeId.ts"
import * as Record from "../src/Record.ts"
import * as Topic from "../src/Topic.ts"
import * as Cbor from "../src/wire/cbor.ts"

const now = 1_700_000_000
const signer = noble.signingKey(new Uint8Array(32).fill(1))
const address = Address.fromPublicKey(signer.publicKey)
const options = { signer, address, seq: 1n, timestamp: BigInt(now) }

const text = fc.string({ unit: "binary", maxLength: 10 })
const texts = fc.option(fc.array(text, { maxLength: 4 }), { nil: null })

const { value } = fc.letrec<{ value: Topic.Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.maxSafeInteger(),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
    fc.bigInt({ min: -(2n ** 64n), max: -(2n ** 53n) }),
    text,
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 6 }),
    fc.double().map((float) => ({ float })),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.uniqueArray(fc.tuple(fc.oneof(text, fc.maxSafeInteger()), tie("value")), {
      maxLength: 3,
      selector: ([key]) => key
    }).map((pairs) => new Map<Topic.Value, Topic.Value>(pairs))
  )
}))

const payloads: fc.Arbitrary<Topic.TopicPayload> = fc.record({
  version: fc.nat(255),
  topic: fc.string({ unit: "binary", minLength: 1, maxLength: 20 }),
  name: text,
  protocols: texts,
  tags: texts,
  brief: text,
  meta: fc.uniqueArray(fc.tuple(text, value), { maxLength: 3, selector: ([key]) => key }).map((pairs) => new Map(pairs))
}).filter((payload) => Topic.encode(payload).length <= 512)

const isValid = (payload: Uint8Array): boolean => Result.isSuccess(Topic.decode(payload))

const encoded = (...pairs: ReadonlyArray<readonly [Cbor.Value, Cbor.Value]>): Uint8Array => Cbor.encode(new Map(pairs))

const minimal = Topic.make({ topic: "translate" })

/** Whether a node keeps a topic record with this payload. */
const isKept = (payload: Uint8Array): boolean => {
  const fields = Result.getOrThrow(Topic.sign({ ...options, payload: minimal }))
  const record = Result.getOrThrow(Record.decode(Record.encode({ ...fields, payload })))
  return Record.fault(record, now) === undefined
}

describe("Topic", () => {
  describe("payload", () => {
    it("decodes what it encoded, for all values of the fields", () => {
      fc.assert(fc.property(payloads, (payload) => {
        assert.deepStrictEqual(Topic.decode(Topic.encode(payload)), Result.succeed(payload))
      }))
    })

    it("never throws on bytes from a stranger, and refuses all but maps", () => {
      fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        if (isKept(bytes) || isValid(bytes)) assert.strictEqual(bytes[0] >> 5, Cbor.Major.map)
      }))
    })

    it("never throws on a payload in which bytes were changed, and decodes only what nodes keep", () => {
      const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 })
      fc.assert(fc.property(payloads.map(Topic.encode), edits, (bytes, edits) => {
        for (const [at, value] of edits) bytes[at % bytes.length] = value
        const kept = isKept(bytes)
        if (isValid(bytes)) assert.isTrue(kept)
      }))
    })

    it("has at most 512 bytes, a topic, and a brief of at most 140 code points", () => {
      const accepts = (payload: Partial<Topic.TopicPayload>) => isValid(Topic.encode({ ...minimal, ...payload }))
      const room = 512 - Topic.encode(minimal).length - 2
      assert.isTrue(accepts({ name: "x".repeat(room) }))
      assert.isFalse(accepts({ name: "x".repeat(room + 1) }))
      assert.isFalse(accepts({ topic: "" }))
      assert.isTrue(accepts({ brief: "u".repeat(140) }))
      assert.isFalse(accepts({ brief: "u".repeat(141) }))
      // 280 bytes; then one code point in two UTF-16 units and four bytes.
      assert.isTrue(accepts({ brief: "ü".repeat(140) }))
      assert.isTrue(accepts({ brief: "u".repeat(80) + "😀".repeat(60) }))
      assert.isFalse(accepts({ brief: "u".repeat(81) + "😀".repeat(60) }))
    })

    it("has meta of a schema, which comes back as it was in the same form as any other meta", () => {
      const Price = Topic.meta(Schema.Struct({
        amount: Schema.Finite,
        per: Schema.optionalKey(Schema.String),
        limits: Schema.Record(Schema.String, Schema.Int),
        key: Schema.Uint8Array
      }))
      fc.assert(
        fc.property(fc.double({ noDefaultInfinity: true, noNaN: true }), text, fc.maxSafeInteger(), (a, b, c) => {
          const value = { amount: a + 0, per: b, limits: { day: c + 0 }, key: Uint8Array.of(1) }
          fc.pre(b.isWellFormed())
          const meta = Result.getOrThrow(Price.encode(value))
          const payload = { ...minimal, meta }
          assert.deepStrictEqual(Topic.decode(Topic.encode(payload)), Result.succeed(payload))
          assert.deepStrictEqual(Price.decode(meta), Result.succeed(value))
        })
      )
      const wrong = Price.decode(new Map<string, Topic.Value>([["amount", "1"]]))
      assert.strictEqual(Result.getOrThrow(Result.flip(wrong)).message, "Invalid meta: Expected number at [\"amount\"]")
      assert.isTrue(Result.isFailure(Price.decode(new Map([["amount", 2n ** 64n]]))))
      assert.isTrue(Result.isFailure(Topic.meta(Schema.Any).encode([1])))
    })

    it("treats a missing field as empty and ignores an unknown one", () => {
      const expected = { ...minimal, version: 0 }
      assert.deepStrictEqual(Topic.decode(encoded([2, "translate"])), Result.succeed(expected))
      assert.deepStrictEqual(Topic.decode(encoded([2, "translate"], [8, [1]])), Result.succeed(expected))
      assert.deepStrictEqual(Topic.decode(encoded([2, "translate"], [7, null])), Result.succeed(expected))
    })

    it("refuses a repeated field, a wrong kind and trailing bytes", () => {
      // {2: "t", 2: "t"}, and {2: "t"} with a trailing byte.
      assert.isFalse(isValid(Uint8Array.of(0xa2, 2, 0x61, 0x74, 2, 0x61, 0x74)))
      assert.isFalse(isValid(Uint8Array.of(0xa1, 2, 0x61, 0x74, 0)))
      const wrong: ReadonlyArray<readonly [number, Cbor.Value]> = [
        [1, 256],
        [3, 1],
        [4, "mcp"],
        [5, [1]],
        [6, null],
        [7, []],
        [7, new Map([[1, 1]])]
      ]
      for (const pair of wrong) assert.isFalse(isValid(encoded([2, "t"], pair)), `field ${pair[0]}`)
    })

    it("is stored by nodes with kinds of meta that it does not decode", () => {
      // {2: "t", 7: {"a": 0(1)}}: a tagged item.
      const tagged = Uint8Array.of(0xa2, 2, 0x61, 0x74, 7, 0xa1, 0x61, 0x61, 0xc0, 1)
      assert.isTrue(isKept(tagged))
      assert.isFalse(isValid(tagged))
    })
  })

  describe("sign", () => {
    const sign = (changes: Partial<Parameters<typeof Topic.sign>[0]> = {}) =>
      Topic.sign({ ...options, payload: minimal, ...changes })

    it("makes a topic record that verifies and has the given content", () => {
      fc.assert(
        fc.property(payloads, (payload) => {
          const record = Result.getOrThrow(sign({ payload }))
          assert.strictEqual(record.type, Record.RecordType.topic)
          assert.isTrue(Result.isSuccess(Record.verify(record, { crypto: noble, now })))
          assert.deepStrictEqual(Topic.decode(record.payload), Result.succeed(payload))
        }),
        { numRuns: 20 }
      )
    })

    it("sets a lifetime of an hour by default, two at most", () => {
      assert.strictEqual(Result.getOrThrow(sign()).ttl, 3600)
      assert.strictEqual(Result.getOrThrow(sign({ ttl: 7200 })).ttl, 7200)
      assert.isTrue(Result.isFailure(sign({ ttl: 7201 })))
      assert.isTrue(Result.isFailure(sign({ ttl: 0 })))
    })

    it("refuses a payload beyond the limits", () => {
      assert.isTrue(Result.isFailure(sign({ payload: { ...minimal, topic: "" } })))
      assert.isTrue(Result.isFailure(sign({ payload: { ...minimal, version: 256 } })))
      assert.isTrue(Result.isFailure(sign({ payload: { ...minimal, name: "x".repeat(512) } })))
    })
  })

  describe("belongsTo", () => {
    it("is true if the payload's own topic hashes to the key", () => {
      fc.assert(fc.property(text, text, (topic, other) => {
        assert.strictEqual(Topic.belongsTo({ ...minimal, topic }, NodeId.fromTopic(other)), topic === other)
        assert.isTrue(Topic.belongsTo({ ...minimal, topic }, NodeId.fromTopic(topic)))
      }))
    })
  })

  describe("matches", () => {
    const payload = Topic.make({ topic: "t", protocols: ["mcp", "http"], tags: ["en", "de"] })

    it("requires at least one of the protocols", () => {
      assert.isTrue(Topic.matches(payload, { protocols: ["a2a", "http"] }))
      assert.isFalse(Topic.matches(payload, { protocols: ["a2a"] }))
      assert.isFalse(Topic.matches(minimal, { protocols: ["a2a"] }))
    })

    it("requires all of the tags", () => {
      assert.isTrue(Topic.matches(payload, { tags: ["de", "en"] }))
      assert.isFalse(Topic.matches(payload, { tags: ["de", "fr"] }))
      assert.isFalse(Topic.matches(minimal, { tags: ["de"] }))
    })

    it("requires both if both are given, and nothing if none is", () => {
      assert.isTrue(Topic.matches(payload, { protocols: ["mcp"], tags: ["de"] }))
      assert.isFalse(Topic.matches(payload, { protocols: ["a2a"], tags: ["de"] }))
      assert.isFalse(Topic.matches(payload, { protocols: ["mcp"], tags: ["fr"] }))
      for (const filter of [{}, { protocols: [], tags: [] }]) {
        assert.isTrue(Topic.matches(payload, filter))
        assert.isTrue(Topic.matches(minimal, filter))
      }
    })
  })
})
