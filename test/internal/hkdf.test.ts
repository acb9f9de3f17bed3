import { assert, describe, it } from "@effect/vitest"
import * as Hex from "../../src/internal/hex.ts"
import * as Hkdf from "../../src/internal/hkdf.ts"

describe("Hkdf", () => {
  it("derives the first 32 bytes of the test vectors of RFC 5869", () => {
    for (const [secret, salt, info, okm] of rfc5869) {
      assert.strictEqual(Hex.encode(Hkdf.derive(Hex.decode(secret), Hex.decode(salt), Hex.decode(info))), okm)
    }
  })
})

const range = (from: number, to: number): string =>
  Hex.encode(Uint8Array.from({ length: to - from }, (_, i) => from + i))

/** Secret, salt and info, and the first 32 bytes of output. */
const rfc5869 = [
  [
    "0b".repeat(22),
    range(0x00, 0x0d),
    range(0xf0, 0xfa),
    "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
  ],
  [
    range(0x00, 0x50),
    range(0x60, 0xb0),
    range(0xb0, 0x100),
    "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
  ],
  ["0b".repeat(22), "", "", "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"]
] as const
