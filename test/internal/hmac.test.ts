import { assert, describe, it } from "@effect/vitest"
import { hmac } from "@noble/hashes/hmac.js"
import { sha256 } from "@noble/hashes/sha2.js"
import * as fc from "fast-check"
import * as Hex from "../../src/internal/hex.ts"
import * as Hmac from "../../src/internal/hmac.ts"

describe("Hmac", () => {
  it("is the first half of HMAC-SHA-256", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), fc.uint8Array({ maxLength: 1200 }), (key, message) => {
      const prepared = Hmac.prepare(key)
      for (let i = 0; i < 2; i++) {
        const mac = Hmac.mac(prepared, Uint8Array.from([...Hmac.inner(prepared), ...message]))
        assert.strictEqual(mac, Hex.encode(hmac(sha256, key, message)).slice(0, 32))
      }
    }))
  })

  it("is equal to itself only", () => {
    const mac = "0123456789abcdef0123456789abcdef"
    assert.isTrue(Hmac.isEqual(mac, mac))
    for (let i = 0; i < mac.length; i++) {
      assert.isFalse(Hmac.isEqual(mac, `${mac.slice(0, i)}x${mac.slice(i + 1)}`))
    }
    assert.isFalse(Hmac.isEqual(mac, mac.slice(1)))
    assert.isFalse(Hmac.isEqual(mac, `${mac}0`))
  })
})
