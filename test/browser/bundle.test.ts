import { assert, describe, it } from "@effect/vitest"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { bundle } from "../../examples/browser/bundle.ts"

/** Maximum bytes of all that a page loads, compressed. */
const limit = 80_000

describe("effect-dht/browser", () => {
  it("has, with all that it imports, at most 80 kB compressed, and needs nothing of Node", async () => {
    const code = await bundle(join(import.meta.dirname, "../../src/browser/index.ts"))
    const { length } = gzipSync(code, { level: 9 })
    assert.isBelow(length, limit)
    // Above half of the limit: a bundle that lacks what it is for would be smaller.
    assert.isAbove(length, limit / 2)
    assert.deepStrictEqual(code.match(/\b(?:from|import|require)\s*\(?\s*["'][^"']*["']/g), null)
    assert.notInclude(code, "node:fs")
  })
})
