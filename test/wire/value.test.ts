import { assert, describe, it } from "@effect/vitest"
import { setSizeLimits } from "cbor-x/decode"
import * as Result from "effect/Result"
import * as fc from "fast-check"
import * as Cbor from "../../src/wire/cbor.ts"
import * as Value from "../../src/wire/value.ts"

const max = 1025
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")
const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, "hex"))

const written = (value: unknown) => Result.getOrThrow(Value.encode(value, max))
const read = (bytes: Uint8Array) => Result.getOrThrow(Value.decode(bytes, max))
const fault = <A>(result: Result.Result<A, string>) => Result.isFailure(result) ? result.failure : undefined

const integer = fc.oneof(
  fc.maxSafeInteger(),
  fc.integer().map((n) => n === 0 ? 0 : n),
  fc.constantFrom(2 ** 32, 2 ** 32 - 1, -(2 ** 32), -(2 ** 32) - 1, 2 ** 31, -(2 ** 31) - 1),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: -(2n ** 64n) + 1n, max: -(2n ** 53n) })
)
const text = fc.string({ unit: "grapheme", maxLength: 12 })
const { value } = fc.letrec<{ readonly value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    integer,
    fc.double().map((number) => Object.is(number, -0) ? 0 : number),
    text,
    fc.uint8Array({ maxLength: 12 }).map((bytes) => Uint8Array.from(bytes)),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(text, fc.constant("__proto__")), tie("value"), { maxKeys: 4, noNullPrototype: true }),
    // A map whose keys are all text is read as an object.
    fc.array(fc.tuple(fc.oneof(text, integer, fc.boolean()), tie("value")), { maxLength: 3 })
      .map((pairs) => new Map([[1, null] as const, ...pairs]))
  )
}))
const fitting = value.filter((value) => Result.isSuccess(Value.encode(value, max)))

describe("values of an application", () => {
  it("come back as they were", () => {
    fc.assert(fc.property(fitting, (value) => {
      assert.deepStrictEqual(read(written(value)), value)
    }))
  })

  it("are written so that the strict reader accepts them, and never in two ways", () => {
    fc.assert(fc.property(fitting, (value) => {
      const bytes = written(value)
      const reader = new Cbor.Reader(bytes)
      reader.check()
      assert.strictEqual(reader.finish(), undefined)
      // Floating-point numbers alone may be longer than the canonical writer's.
      const again = new Cbor.Reader(bytes).value()
      if (!hex(bytes).includes("fb")) assert.strictEqual(hex(bytes), hex(Cbor.encode(again)))
    }))
  })

  it("have the same bytes in any order of an object's members", () => {
    const members = { b: 1, aa: 2, a: 3, absent: undefined }
    assert.strictEqual(hex(written(members)), "a3" + "616103" + "616201" + "62616102")
    fc.assert(fc.property(fc.dictionary(text, integer, { maxKeys: 6 }), (object) => {
      const reversed = Object.fromEntries(Object.entries(object).toReversed())
      assert.strictEqual(hex(written(reversed)), hex(written(object)))
    }))
  })

  it.each<readonly [unknown, string]>([
    [0, "00"],
    [-0, "00"],
    [23, "17"],
    [-25, "3818"],
    [2 ** 32 - 1, "1affffffff"],
    [2 ** 32, "1b0000000100000000"],
    [-(2 ** 32), "3affffffff"],
    [-(2 ** 32) - 1, "3b0000000100000000"],
    [Number.MAX_SAFE_INTEGER, "1b001fffffffffffff"],
    [2 ** 53, "fb4340000000000000"],
    [5n, "05"],
    [2n ** 64n - 1n, "1bffffffffffffffff"],
    [1.5, "fb3ff8000000000000"],
    ["ü", "62c3bc"],
    [Uint8Array.of(1, 2), "420102"],
    [Buffer.from([1, 2]), "420102"],
    [null, "f6"],
    [[true, false], "82f5f4"],
    [new Map<unknown, unknown>([["a", 1], [2, 3]]), "a20203616101"]
  ])("are written in the shortest form: %s", (value, expected) => {
    assert.strictEqual(hex(written(value)), expected)
  })

  const cyclic: Array<unknown> = []
  cyclic.push(cyclic)
  const wide: Array<unknown> = []
  for (let i = 0; i < 1000; i++) wide.push(wide)

  it.each<readonly [string, unknown, string]>([
    ["a date", { at: [new Date(0)] }, "Date has no form in CBOR at .at[0]"],
    ["a set", new Set([1]), "Set has no form in CBOR"],
    ["a member of another class", { a: new URL("tcp://a") }, "URL has no form in CBOR at .a"],
    ["an undefined element", [1, undefined], "undefined has no form in CBOR at [1]"],
    ["a hole", new Array(1), "undefined has no form in CBOR at [0]"],
    ["a function", () => 1, "function has no form in CBOR"],
    ["a symbol", Symbol("a"), "symbol has no form in CBOR"],
    ["an integer beyond 64 bits", 2n ** 64n, "an integer of more than 64 bits"],
    ["a negative integer beyond 64 bits", -(2n ** 64n), "an integer of more than 64 bits"],
    ["short text with a lone surrogate", "\ud800", "text with a lone surrogate"],
    ["long text with a lone surrogate", "a".repeat(100) + "\udc00", "text with a lone surrogate"],
    ["a name with a lone surrogate", { "\ud800": 1 }, "text with a lone surrogate"],
    ["a map key that is a list", new Map([[[], 1]]), "a map key is neither text nor an integer"],
    ["a map key that is a fraction", new Map([[1.5, 1]]), "a map key is neither text nor an integer"],
    ["two keys that are one in CBOR", new Map<unknown, number>([[1, 1], [1n, 2]]), "two keys of a map are the same"],
    ["more levels than 16", JSON.parse("[".repeat(17) + "0" + "]".repeat(17)), "nested too deep"],
    ["a cycle", cyclic, "nested too deep"],
    ["a thousand cycles", wide, "longer than 1025 bytes"],
    ["more bytes than fit", new Uint8Array(1024), "longer than 1025 bytes"],
    ["more text than fits", "a".repeat(1024), "longer than 1025 bytes"],
    ["text that is longer in UTF-8", "ü".repeat(512), "longer than 1025 bytes"],
    ["a list that is longer than it can be", new Array(2 ** 32 - 1), "longer than 1025 bytes"]
  ])("are refused if they contain %s", (_what, value, reason) => {
    assert.include(fault(Value.encode(value, max)), reason)
  })

  it("fit up to the last byte, and to the last level", () => {
    assert.lengthOf(written(new Uint8Array(1022)), max)
    assert.strictEqual(fault(Value.encode(new Uint8Array(1023), max)), "longer than 1025 bytes")
    assert.isUndefined(fault(Value.encode(JSON.parse("[".repeat(16) + "0" + "]".repeat(16)), max)))
  })

  it("fail and do not throw where an accessor throws", () => {
    const value = {
      get a() {
        throw new Error("no a")
      }
    }
    assert.strictEqual(fault(Value.encode(value, max)), "no a")
  })
})

describe("bytes from a stranger", () => {
  it("never throw, and are read only if the strict reader accepts them", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
        const reader = new Cbor.Reader(bytes)
        reader.check()
        const isAccepted = reader.finish() === undefined
        assert.strictEqual(Result.isSuccess(Value.decode(bytes, max)), isAccepted)
        assert.strictEqual(Value.toJson(bytes, max) !== undefined, isAccepted)
      }),
      { numRuns: 3000 }
    )
  })

  it("never throw if they are a value in which bytes were changed", () => {
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(fitting, edits, (value, edits) => {
        const bytes = written(value)
        for (const [at, byte] of edits) bytes[at % bytes.length] = byte
        const result = Value.decode(bytes, max)
        // What is read can be written.
        if (Result.isSuccess(result)) written(result.success)
      }),
      { numRuns: 1000 }
    )
  })

  it.each([
    ["nothing", "", "truncated"],
    ["two values", "0000", "bytes after the end"],
    ["an integer in two bytes instead of one", "1817", "shortest form"],
    ["an integer in three bytes instead of two", "1900ff", "shortest form"],
    ["an integer in five bytes instead of three", "1a0000ffff", "shortest form"],
    ["an integer in nine bytes instead of five", "1b00000000ffffffff", "shortest form"],
    ["a negative integer in two bytes instead of one", "3800", "shortest form"],
    ["a text with a longer length", "780161", "shortest form"],
    ["bytes with a longer length", "580101", "shortest form"],
    ["a list with a longer length", "980101", "shortest form"],
    ["a map with a longer length", "b8010101", "shortest form"],
    ["a map key in two bytes instead of one", "a1180101", "shortest form"],
    ["a key twice", "a2616101616102", "duplicate map key"],
    ["a key twice, deep inside", "81a1616181a201020102", "duplicate map key"],
    ["a key of bytes", "a1416101", "neither a number nor text"],
    ["a key that is a list", "a18001", "neither a number nor text"],
    ["a key that is a fraction", "a1f93e0001", "neither a number nor text"],
    ["a date", "c11a00000000", "unsupported item"],
    ["a big number", "c249010000000000000000", "unsupported item"],
    ["a record definition of cbor-x", "d9dfff8319e00081616101", "unsupported item"],
    ["a shared value of cbor-x", "d81c80", "unsupported item"],
    ["a set", "d9010280", "unsupported item"],
    ["an unassigned simple value", "e0", "unsupported simple value"],
    ["a list of indefinite length", "9f01ff", "indefinite"],
    ["a map of indefinite length", "bf0101ff", "indefinite"],
    ["text of indefinite length", "7f6161ff", "indefinite"],
    ["text that is not UTF-8", "62fffe", "not UTF-8"],
    ["a key that is not UTF-8", "a161ff01", "not UTF-8"],
    ["half a surrogate pair in UTF-8", "63eda080", "not UTF-8"],
    ["a length beyond the input", "8200", "longer than the input"],
    ["17 levels", "81".repeat(17) + "00", "nested too deep"],
    ["17 levels of maps", "a100".repeat(17) + "00", "nested too deep"]
  ])("are refused if they are %s", (_what, bytes, reason) => {
    assert.include(fault(Value.decode(bytesOf(bytes), max)), reason)
    assert.isUndefined(Value.toJson(bytesOf(bytes), max))
  })

  it("are refused if they are longer than the bound, before they are read", () => {
    const bytes = written(new Uint8Array(1022))
    assert.isUndefined(fault(Value.decode(bytes, max)))
    assert.strictEqual(fault(Value.decode(bytes, max - 1)), "longer than 1024 bytes")
  })

  it.each<readonly [string, string, unknown]>([
    ["16 levels", "81".repeat(16) + "00", JSON.parse("[".repeat(16) + "0" + "]".repeat(16))],
    ["a number of 16 bits", "f93e00", 1.5],
    ["a number of 32 bits", "fa3fc00000", 1.5],
    ["members in any order", "a2616201616102", { b: 1, a: 2 }],
    ["undefined", "81f7", [null]],
    ["a member with the name of the prototype", "a1695f5f70726f746f5f5f01", JSON.parse("{\"__proto__\":1}")],
    ["an empty map", "a0", {}],
    ["keys that are integers", "a1016161", new Map([[1, "a"]])]
  ])("are read if they are %s", (_what, bytes, expected) => {
    assert.deepStrictEqual(read(bytesOf(bytes)), expected)
  })

  it("are copied, and not written to", () => {
    const bytes = Buffer.from("43010203", "hex")
    const value = read(bytes) as Uint8Array
    bytes.fill(0)
    assert.deepStrictEqual(value, Uint8Array.of(1, 2, 3))
    assert.deepStrictEqual(Object.keys(bytes), ["0", "1", "2", "3"])
  })

  it("fail and do not throw where the application has lowered the limits of cbor-x", () => {
    setSizeLimits({ maxArraySize: 1 })
    try {
      assert.isString(fault(Value.decode(bytesOf("820102"), max)))
    } finally {
      setSizeLimits({ maxArraySize: 112_810_000 })
    }
  })

  it("are shown as JSON with bytes, large integers and other numbers as text", () => {
    const value = {
      bytes: Uint8Array.of(0xab),
      large: 2n ** 60n,
      infinite: Infinity,
      list: [1, 1.5, null, true],
      keys: new Map([[1, "a"]])
    }
    assert.deepStrictEqual(Value.toJson(written(value), max), {
      bytes: "ab",
      large: "1152921504606846976",
      infinite: "Infinity",
      list: [1, 1.5, null, true],
      keys: { "1": "a" }
    })
  })
})
