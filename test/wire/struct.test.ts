import { assert, describe, it } from "@effect/vitest"
import * as Hex from "../../src/internal/hex.ts"
import * as Cbor from "../../src/wire/cbor.ts"
import { boolean, expected, extension, optional, required, Struct, text, uint8 } from "../../src/wire/struct.ts"

const struct = new Struct({
  id: required(1, uint8),
  name: expected(2, text, ""),
  flag: optional(4, boolean, false),
  later: extension(5, uint8),
  latest: extension(6, uint8)
}, { lacking: "no id", constants: { _tag: "Thing" } })

const read = (hex: string, how: "read" | "readKnown" = "read") => {
  const reader = new Cbor.Reader(Hex.decode(hex))
  const value = struct[how](reader)
  return reader.finish() ?? value
}

const written = (value: Parameters<typeof struct.write>[1]): string => Hex.encode(struct.encode(value))

describe("Struct", () => {
  it("writes the keys in ascending order, without optional fields that say no more than their absence", () => {
    assert.strictEqual(written({ id: 7, name: "", flag: false }), "a2" + "0107" + "0260")
    assert.strictEqual(
      written({ id: 7, name: "a", flag: true, latest: 3 }),
      "a4" + "0107" + "026161" + "04f5" + "0603"
    )
  })

  it("reads what it wrote", () => {
    const value = { id: 7, name: "a", flag: true, later: 0, latest: 3 }
    assert.deepStrictEqual(read(written(value)), { _tag: "Thing", ...value })
  })

  it("reads keys in any order, and skips unknown ones", () => {
    assert.deepStrictEqual(read("a4" + "026161" + "0340" + "182a8101" + "0107"), {
      _tag: "Thing",
      id: 7,
      name: "a",
      flag: false
    })
  })

  it("names extensions only where one of them is there, and then all", () => {
    assert.doesNotHaveAnyKeys(read("a1" + "0107"), ["later", "latest"])
    assert.deepInclude(read("a2" + "0107" + "0603"), { later: undefined, latest: 3 })
  })

  it.each([
    ["without a required field", "a1" + "0260", "no id"],
    ["with a key twice", "a2" + "0107" + "0107", "duplicate key"],
    ["with an unknown key twice", "a3" + "0107" + "182a00" + "182a00", "duplicate key"],
    ["with a value of another kind", "a1" + "0161", "expected an integer"],
    ["with a value out of range", "a1" + "01190100", "an integer out of range"]
  ])("refuses a map %s", (_what, bytes, fault) => {
    assert.strictEqual(read(bytes), fault)
  })

  it("can refuse unknown keys", () => {
    assert.deepInclude(read("a1" + "0107", "readKnown"), { id: 7 })
    assert.strictEqual(read("a2" + "0107" + "0300", "readKnown"), "unknown field")
    assert.strictEqual(read("a2" + "0107" + "0700", "readKnown"), "an integer out of range")
  })

  it("can read its first fields in the order of their keys only", () => {
    const inOrder = (hex: string) => {
      const reader = new Cbor.Reader(Hex.decode(hex))
      const { id, name } = struct.readInOrder(reader, 2, (key) => `no ${key}`)
      return reader.finish() ?? { id, name }
    }
    assert.deepStrictEqual(inOrder("0107" + "026161"), { id: 7, name: "a" })
    assert.strictEqual(inOrder("026161" + "0107"), "no 1")
    assert.strictEqual(inOrder("0107" + "04f5"), "no 2")
  })
})
