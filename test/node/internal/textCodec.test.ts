import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { boolean, hinted, integer, nonEmpty, number, oneOf, parsed } from "../../../src/node/internal/textCodec.ts"

const read = <A>(codec: Schema.Codec<A, string>, text: string): A | string =>
  Result.match(Schema.decodeResult(codec)(text), {
    onFailure: ({ message }) => message,
    onSuccess: (value) => value
  })

describe("A codec of texts", () => {
  it("quotes a text that it cannot decode, and says what to write", () => {
    const even = parsed(
      Schema.Int,
      (text) => text.length % 2 === 0 ? Result.succeed(text.length) : Result.fail("write an even number of letters"),
      (length) => "x".repeat(length)
    )
    assert.strictEqual(read(even, "xx"), 2)
    assert.strictEqual(read(even, "xxx"), "\"xxx\": write an even number of letters")
    assert.strictEqual(Schema.encodeSync(even)(2), "xx")
  })

  it("says the hint of the outermost codec only, whatever is wrong", () => {
    const share = number(Schema.isLessThan(1)).pipe(hinted("write a share"), hinted("write 0.5"))
    for (const text of ["", "x", "1", "-0.5", "NaN"]) assert.strictEqual(read(share, text), `"${text}": write 0.5`)
    assert.strictEqual(read(share, "0.25"), 0.25)
    assert.strictEqual(Schema.encodeSync(share)(0.25), "0.25")
  })

  it("reads integers within the bounds, in digits only", () => {
    const seconds = integer(1, 7200, "seconds")
    assert.strictEqual(read(seconds, "1"), 1)
    assert.strictEqual(read(seconds, " 7200 "), 7200)
    for (const text of ["", "0", "7201", "-1", "+1", "1.0", "1e3", "0x10", "1h", "Infinity", "٣", "9".repeat(400)]) {
      assert.strictEqual(read(seconds, text), `"${text}": write a whole number of seconds from 1 to 7200`)
    }
    const seed = integer(0, Number.MAX_SAFE_INTEGER)
    assert.strictEqual(read(seed, "9007199254740991"), Number.MAX_SAFE_INTEGER)
    assert.strictEqual(
      read(seed, "9007199254740993"),
      "\"9007199254740993\": write an integer from 0 to 9007199254740991"
    )
  })

  it("reads every number that it writes", () => {
    for (const value of [0, 0.1, 1 / 3, 1e-7, 5e-324, 1e20]) {
      const text = Schema.encodeSync(number(Schema.isFinite()))(value)
      assert.strictEqual(read(number(Schema.isFinite()), text), value)
    }
  })

  it("reads booleans in several words, in any case", () => {
    for (const text of ["true", "yes", "on", "1", " TRUE "]) assert.strictEqual(read(boolean, text), true)
    for (const text of ["false", "no", "off", "0", "Off"]) assert.strictEqual(read(boolean, text), false)
    for (const text of ["", "y", "constructor"]) {
      assert.strictEqual(read(boolean, text), `"${text}": write true or false`)
    }
  })

  it("reads one of several words", () => {
    const format = oneOf(["pretty", "json"])
    assert.strictEqual(read(format, "json"), "json")
    assert.strictEqual(read(format, "xml"), "\"xml\": write pretty, json")
  })

  it("refuses an empty text where one is needed", () => {
    assert.strictEqual(read(nonEmpty, " "), " ")
    assert.strictEqual(read(nonEmpty, ""), "\"\": the value is empty")
  })
})
