import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as fc from "fast-check"
import * as Custom from "../src/Custom.ts"
import * as Record from "../src/Record.ts"

class Job extends Schema.Class<Job>("Job")({ name: Schema.NonEmptyString, runs: Schema.optionalKey(Schema.Int) }) {}

const Status = Custom.make({
  type: 0x07,
  schema: Schema.Struct({
    jobs: Schema.Array(Job),
    since: Schema.DateFromString,
    key: Schema.Uint8Array,
    total: Custom.BigInt,
    load: Schema.Finite,
    note: Schema.optional(Schema.String)
  })
})

const status = {
  jobs: [new Job({ name: "a", runs: 2 }), new Job({ name: "b" })],
  since: new Date(1_700_000_000_000),
  key: Uint8Array.of(1, 2),
  total: 5n,
  load: 0.5
}

const read = <A>(custom: Custom.Custom<A>, payload: Uint8Array) => custom.decode({ type: custom.type, payload })
const reasonOf = <A>(result: Result.Result<A, { readonly reason: string }>) =>
  Result.isFailure(result) ? result.failure.reason : undefined

describe("Custom", () => {
  it("decodes the values that it encoded, of every form that a schema encodes to", () => {
    assert.deepStrictEqual(read(Status, Result.getOrThrow(Status.encode(status))), Result.succeed(status))
  })

  it("encodes integers of up to 64 bits as what they are, whether they fit into a number or not", () => {
    const Total = Custom.make({ type: 0x07, schema: Custom.BigInt })
    fc.assert(fc.property(fc.bigInt({ min: -(2n ** 64n) + 1n, max: 2n ** 64n - 1n }), (total) => {
      assert.deepStrictEqual(read(Total, Result.getOrThrow(Total.encode(total))), Result.succeed(total))
    }))
    assert.deepStrictEqual(Result.getOrThrow(Total.encode(5n)), Uint8Array.of(5))
  })

  it("carries the JSON form of a schema that encodes to something else", () => {
    const schema = Schema.Struct({ at: Schema.Date, tags: Schema.ReadonlySet(Schema.String) })
    const Event = Custom.make({ type: 0x07, schema: Schema.toCodecJson(schema) })
    const event = { at: new Date(0), tags: new Set(["a"]) }
    assert.deepStrictEqual(read(Event, Result.getOrThrow(Event.encode(event))), Result.succeed(event))
  })

  it("does not compile with a schema whose values would not come back as they were", () => {
    // @ts-expect-error: a date
    Custom.make({ type: 0x07, schema: Schema.Date })
    // @ts-expect-error: an integer of which CBOR does not say that it was a bigint
    Custom.make({ type: 0x07, schema: Schema.BigInt })
    // @ts-expect-error: a map, which an object would be read as
    Custom.make({ type: 0x07, schema: Schema.ReadonlyMap(Schema.String, Schema.String) })
  })

  it("refuses a value that does not fit the schema or CBOR, and says which", () => {
    const wrong = { ...status, load: NaN }
    assert.strictEqual(reasonOf(Status.encode(wrong)), "Expected a finite number at [\"load\"]")
    assert.strictEqual(
      reasonOf(Status.encode({ ...status, total: 2n ** 64n })),
      "an integer of more than 64 bits at .total"
    )
    const error = Result.getOrThrow(Result.flip(Status.encode({ ...status, note: "a".repeat(1025) })))
    assert.strictEqual(error.message, "Invalid payload of type 0x07: longer than 1025 bytes")
    assert.deepInclude({ ...error }, { _tag: "InvalidPayload", type: 7 })
  })

  it("refuses a payload that does not fit the schema, and a record of another type", () => {
    assert.strictEqual(reasonOf(read(Status, Uint8Array.of(0xa0))), "Missing key at [\"jobs\"]")
    const payload = Result.getOrThrow(Status.encode(status))
    assert.strictEqual(reasonOf(Status.decode({ type: 0x08, payload })), "the record has type 0x08")
  })

  it("never throws on bytes from a stranger, not even if the schema does", () => {
    const Fragile = Custom.make({
      type: 0x07,
      schema: Schema.Any.pipe(Schema.decodeTo(Schema.String, {
        decode: SchemaGetter.transform((value) => value.name.first),
        encode: SchemaGetter.transform((first) => ({ name: { first } }))
      }))
    })
    assert.include(reasonOf(read(Fragile, Uint8Array.of(0xf6))), "the schema failed")
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        read(Status, bytes)
        read(Fragile, bytes)
      }),
      { numRuns: 500 }
    )
  })

  it("is made for the types that are left to applications only", () => {
    const types = Array.from({ length: 256 }, (_, type) => type)
    const between = (first: number, last: number) => types.slice(first, last + 1)
    const expected = [...between(0x03, 0x0f), ...between(0x11, 0x1f), ...between(0x81, 0x8f)]
    assert.deepStrictEqual(types.filter(Record.isCustom), expected)
    for (const type of [0, 1, 2, 0x10, 0x20, 0x80, 0x90, 256, -1, 3.5, NaN]) {
      assert.isFalse(Record.isCustom(type))
      assert.throws(() => Custom.make({ type, schema: Schema.String }), RangeError, String(type))
    }
  })

  it("fits a record up to the size that can be resolved", () => {
    const Bytes = Custom.make({ type: 0x07, schema: Schema.Uint8Array })
    assert.lengthOf(Result.getOrThrow(Bytes.encode(new Uint8Array(1022))), Record.maxResolvableSize)
    assert.isString(reasonOf(Bytes.encode(new Uint8Array(1023))))
  })
})
