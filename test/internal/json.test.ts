import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { stringify } from "../../src/internal/json.ts"

describe("JSON text", () => {
  it("writes the same as JSON.stringify for values without a bigint", () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => {
      // The generator's type is a mutable twin of ours.
      assert.strictEqual(stringify(value as Parameters<typeof stringify>[0]), JSON.stringify(value))
    }))
  })

  it("writes every bigint exactly, as a string", () => {
    fc.assert(fc.property(fc.bigInt(), (seq) => {
      assert.strictEqual(stringify({ a: [seq] }), `{"a":["${seq}"]}`)
    }))
  })

  it("omits an undefined field", () => {
    assert.strictEqual(stringify({ a: undefined, b: null }), "{\"b\":null}")
  })
})
