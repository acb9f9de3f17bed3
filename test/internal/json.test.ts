import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { stringify } from "../../src/internal/json.ts"

describe("JSON text", () => {
  it("says what JSON.stringify says of values without a bigint", () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => {
      // The generator's type is a mutable twin of ours.
      assert.strictEqual(stringify(value as Parameters<typeof stringify>[0]), JSON.stringify(value))
    }))
  })

  it("writes every bigint in full, as text", () => {
    fc.assert(fc.property(fc.bigInt(), (seq) => {
      assert.strictEqual(stringify({ a: [seq] }), `{"a":["${seq}"]}`)
    }))
  })

  it("leaves out a field that is undefined", () => {
    assert.strictEqual(stringify({ a: undefined, b: null }), "{\"b\":null}")
  })
})
