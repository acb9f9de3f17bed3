import { assert, describe, it } from "@effect/vitest"
import { Verdicts } from "../../src/internal/verdicts.ts"

describe("Verdicts", () => {
  it("are known until more recent ones of the same kind take their room", () => {
    const verdicts = new Verdicts({ valid: 2, invalid: 2 })
    assert.isUndefined(verdicts.of("a"))
    verdicts.remember("a", true)
    verdicts.remember("b", true)
    assert.isTrue(verdicts.of("a"))
    verdicts.remember("c", true)
    assert.deepStrictEqual(["a", "b", "c"].map((id) => verdicts.of(id)), [true, undefined, true])
  })

  it("that are bad, which are free to make up, take no room of good ones", () => {
    const verdicts = new Verdicts({ valid: 2, invalid: 2 })
    verdicts.remember("good", true)
    for (let i = 0; i < 10; i++) verdicts.remember(`bad ${i}`, false)
    assert.isTrue(verdicts.of("good"))
    assert.deepStrictEqual(["bad 7", "bad 8", "bad 9"].map((id) => verdicts.of(id)), [undefined, false, false])
  })
})
