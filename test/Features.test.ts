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
      ["dialBack", 64],
      ["families", 128]
    ])
  })

  it("finds a bit among any others, unknown ones included", () => {
    assert.isTrue(Features.has(0xffff, Features.Bit.client))
    assert.isFalse(Features.has(0xffff & ~Features.Bit.client, Features.Bit.client))
    assert.isFalse(Features.has(0, Features.Bit["v0.2"]))
  })

  it("announces v0.2, paging, rendezvous, dialBack and families for a node, and client, sessions and dual for what is so", () => {
    assert.strictEqual(Features.own({ client: false, sessions: false }), 229)
    assert.strictEqual(Features.own({ client: true, sessions: false }), 231)
    assert.strictEqual(Features.own({ client: false, sessions: true }), 237)
    assert.strictEqual(Features.own({ client: true, sessions: true }), 239)
    assert.strictEqual(Features.own({ client: false, sessions: true, dual: true }), 253)
  })
})
