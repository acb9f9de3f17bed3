import { assert, describe, it } from "@effect/vitest"
import * as Features from "../src/Features.ts"

describe("Features", () => {
  it("has the bits of the documented table, lowest first", () => {
    assert.deepStrictEqual(Object.entries(Features.Bit), [
      ["v0.2", 1],
      ["client", 2],
      ["paging", 4],
      ["sessions", 8],
      ["dual", 16],
      ["rendezvous", 32],
      ["dialBack", 64]
    ])
  })

  it("finds a bit among any others, unknown ones included", () => {
    assert.isTrue(Features.has(0xffff, Features.Bit.client))
    assert.isFalse(Features.has(0xffff & ~Features.Bit.client, Features.Bit.client))
    assert.isFalse(Features.has(0, Features.Bit["v0.2"]))
  })

  it("announces v0.2, paging, rendezvous and dialBack for a node, and client and sessions as well for what has them", () => {
    assert.strictEqual(Features.own({ client: false, sessions: false }), 101)
    assert.strictEqual(Features.own({ client: true, sessions: false }), 103)
    assert.strictEqual(Features.own({ client: false, sessions: true }), 109)
    assert.strictEqual(Features.own({ client: true, sessions: true }), 111)
  })
})
