import { assert, describe, it } from "@effect/vitest"
import { Decoder, Encoder } from "cbor-x"
import * as fc from "fast-check"
import * as Hex from "../../src/internal/hex.ts"
import * as Cbor from "../../src/wire/cbor.ts"

/** An independent implementation for comparison. */
const oracle = {
  encoder: new Encoder({ mapsAsObjects: false, useRecords: false, variableMapSize: true }),
  decoder: new Decoder({ mapsAsObjects: false, useRecords: false })
}

const read = (bytes: Uint8Array): { readonly value: Cbor.Value; readonly fault: string | undefined } => {
  const reader = new Cbor.Reader(bytes)
  const value = reader.value()
  if (reader.fault === undefined && reader.at !== bytes.length) reader.fail("trailing bytes")
  return { value, fault: reader.fault }
}

const integer = fc.oneof(
  fc.integer(),
  fc.maxSafeInteger(),
  fc.bigInt({ min: BigInt(Number.MAX_SAFE_INTEGER) + 1n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: -(2n ** 64n), max: -BigInt(Number.MAX_SAFE_INTEGER) - 1n })
)
const text = fc.string({ unit: "grapheme" })
const { value } = fc.letrec<{ readonly value: Cbor.Value }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    integer,
    text,
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Uint8Array.from(bytes)),
    fc.boolean(),
    fc.constant(null),
    fc.double().map((float) => ({ float })),
    fc.array(tie("value"), { maxLength: 6 }),
    fc.array(fc.tuple(fc.oneof(text, integer), tie("value")), { maxLength: 6 }).map((pairs) => new Map(pairs))
  )
}))

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex")

describe("Writer", () => {
  it("writes what the reader reads back", () => {
    fc.assert(fc.property(value, (value) => {
      assert.deepStrictEqual(read(Cbor.encode(value)), { value, fault: undefined })
    }))
  })

  it("writes the same bytes for equal values, in any order of a map's entries", () => {
    fc.assert(fc.property(fc.array(fc.tuple(text, integer), { maxLength: 8 }), (pairs) => {
      const entries = [...new Map(pairs)]
      assert.strictEqual(hex(Cbor.encode(new Map(entries))), hex(Cbor.encode(new Map(entries.toReversed()))))
    }))
  })

  it("refuses every integer that it cannot represent exactly", () => {
    const writer = new Cbor.Writer()
    for (const wrong of [-1, 1.5, NaN, Infinity, 2 ** 53, -1n, 2n ** 64n, 2n ** 65n]) {
      assert.throws(() => writer.uint(wrong), RangeError)
    }
    assert.throws(() => writer.uint(256, 0xff), RangeError)
    assert.throws(() => writer.uint(256n, 0xff), RangeError)
    for (const wrong of [2n ** 64n, -(2n ** 64n) - 1n, [2n ** 64n], new Map([["a", 2n ** 64n]])]) {
      assert.throws(() => Cbor.encode(wrong), RangeError)
    }
    assert.strictEqual(writer.at, 0)
  })

  it("refuses text with a lone surrogate, and a map with two keys of the same encoding", () => {
    for (const wrong of ["\ud800", "a\udc00", "\udc00\ud800"]) assert.throws(() => Cbor.encode(wrong), RangeError)
    assert.throws(() => Cbor.encode(new Map<Cbor.Value, Cbor.Value>([[1, 2], [1n, 3]])), RangeError)
  })

  it("sorts map keys by length, then bytewise", () => {
    const map = new Map<Cbor.Value, Cbor.Value>([["b", 1], ["aa", 2], ["a", 3], [300, 4], [2, 5], [-1, 6]])
    assert.strictEqual(hex(Cbor.encode(map)), "a6" + "0205" + "2006" + "616103" + "616201" + "19012c04" + "62616102")
  })

  it.each([
    [0, "f90000"],
    [-0, "f98000"],
    [1, "f93c00"],
    [1.5, "f93e00"],
    [65504, "f97bff"],
    [65505, "fa477fe100"],
    [5.960464477539063e-8, "f90001"],
    [0.00006103515625, "f90400"],
    [100000, "fa47c35000"],
    [3.4028234663852886e38, "fa7f7fffff"],
    [1.1, "fb3ff199999999999a"],
    [1e300, "fb7e37e43c8800759c"],
    [Infinity, "f97c00"],
    [-Infinity, "f9fc00"],
    [NaN, "f97e00"]
  ])("writes the float %d in the shortest exact form", (float, expected) => {
    assert.strictEqual(hex(Cbor.encode({ float })), expected)
  })

  it("writes bytes that an independent decoder reads back", () => {
    fc.assert(fc.property(fc.array(fc.oneof(fc.maxSafeInteger(), text, fc.boolean(), fc.constant(null))), (items) => {
      assert.deepStrictEqual(oracle.decoder.decode(Buffer.from(Cbor.encode(items))).map(normal), items.map(normal))
    }))
  })
})

/** The other implementation returns some integers beyond 32 bits as bigint. */
const normal = (item: unknown) => typeof item === "bigint" ? Number(item) : item

describe("Reader", () => {
  it("reads the bytes of an independent encoder", () => {
    fc.assert(fc.property(fc.array(fc.oneof(fc.nat(), text, fc.boolean(), fc.constant(null))), (items) => {
      assert.deepStrictEqual(read(oracle.encoder.encode(items)).value, items)
    }))
  })

  it("never throws on arbitrary bytes, and returns no more items than there are bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const { value } = read(bytes)
        // Every item takes at least one byte of the input.
        assert.isAtMost(size(value), bytes.length + 1)
      }),
      { numRuns: 2000 }
    )
  })

  it.each([
    ["an indefinite byte string", "5f4101ff"],
    ["an indefinite array", "9f01ff"],
    ["an indefinite map", "bf0101ff"],
    ["a length beyond the input", "5b7fffffffffffffff00"],
    ["a map of 2^64 − 1 pairs", "bbffffffffffffffff"],
    ["an array of 2^32 items", "9b0000000100000000"],
    ["reserved additional information", "1c"],
    ["a truncated integer", "1a0000"],
    ["text that is not UTF-8", "61ff"],
    ["duplicate map keys", "a201020103"],
    ["a map as a map key", "a1a00102"],
    ["nothing", ""],
    ["nesting deeper than 16", "81".repeat(18) + "00"]
  ])("refuses %s", (_what, bytes) => {
    assert.isString(read(Buffer.from(bytes, "hex")).fault)
  })

  it("skips exactly the bytes that it would have read", () => {
    fc.assert(fc.property(value, fc.uint8Array({ maxLength: 5 }), (value, rest) => {
      const bytes = Cbor.encode(value)
      const reader = new Cbor.Reader(Uint8Array.from([...bytes, ...rest]))
      reader.skip()
      assert.strictEqual(reader.fault, undefined)
      assert.strictEqual(reader.at, bytes.length)
    }))
  })

  it("reads and skips exactly the texts that are UTF-8", () => {
    const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
    const expected = (bytes: Uint8Array): string | undefined => {
      try {
        return decoder.decode(bytes)
      } catch {
        return undefined
      }
    }
    // Bytes at the edges of what may follow each other.
    const edge = fc.constantFrom(...Hex.decode("00417f808f909fa0bbbfc0c1c2dfe0e1ecedeeeff0f1f3f4f5ff"))
    const prefix = fc.constantFrom("", "a", "é", "€", "🙂", "\ufeff", "twelve bytes")
    fc.assert(
      fc.property(prefix, fc.array(edge, { maxLength: 5 }), (prefix, tail) => {
        const bytes = Uint8Array.from([...new TextEncoder().encode(prefix), ...tail])
        const item = Uint8Array.from([0x60 | bytes.length, ...bytes])
        const reader = new Cbor.Reader(item)
        const text = reader.text()
        assert.strictEqual(reader.fault === undefined ? text : undefined, expected(bytes))
        const skipping = new Cbor.Reader(item)
        skipping.skip()
        assert.strictEqual(skipping.fault, reader.fault)
        assert.strictEqual(skipping.at, item.length)
      }),
      { numRuns: 5000 }
    )
  })

  it("refuses more than its limit of items, read or skipped, on any level", () => {
    const items = (value: Cbor.Value): number =>
      value instanceof Map
        ? [...value].reduce((sum, [key, item]) => sum + items(key) + items(item), 1)
        : Array.isArray(value)
        ? value.reduce<number>((sum, item) => sum + items(item), 1)
        : 1
    fc.assert(fc.property(value, fc.constantFrom("value", "skip"), (value, how) => {
      const bytes = Cbor.encode(value)
      const count = items(value)
      const faultOf = (maxItems: number) => {
        const reader = new Cbor.Reader(bytes, 0, bytes.length, maxItems)
        reader[how]()
        return reader.fault
      }
      assert.strictEqual(faultOf(count), undefined)
      assert.strictEqual(faultOf(count - 1), `more than ${count - 1} items`)
    }))
  })

  it("reads 64-bit integers exactly", () => {
    fc.assert(fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (n) => {
      const reader = new Cbor.Reader(Cbor.encode(n))
      assert.strictEqual(reader.uint64(), n)
      assert.strictEqual(reader.fault, undefined)
    }))
  })
})

const size = (value: Cbor.Value): number => {
  if (value instanceof Uint8Array) return 1 + value.length
  if (typeof value === "string") return 1
  if (value instanceof Map) {
    let sum = 1
    for (const [key, item] of value) sum += size(key) + size(item)
    return sum
  }
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + size(item), 1)
  return 1
}
