import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { Prng } from "../../src/testing/internal/prng.ts"
import * as SeededRandom from "../../src/testing/SeededRandom.ts"

const drawn = (seed: number | string, name: string) =>
  Effect.runSync(
    Effect.gen(function*() {
      const secure = yield* SecureRandom.SecureRandom
      return [
        yield* Random.next,
        yield* Random.nextInt,
        Array.from(yield* secure.randomBytes(20)).join(),
        yield* secure.intBetween(1, 1_000_000),
        yield* secure.uuidV4()
      ]
    }).pipe(Effect.provide(SeededRandom.layer(seed, name)))
  )

describe("SeededRandom", () => {
  it("is the same for the same seed and name, and different for others", () => {
    assert.deepStrictEqual(drawn(1, "a"), drawn(1, "a"))
    const all = [drawn(1, "a"), drawn(2, "a"), drawn(1, "b"), drawn("1 a", ""), drawn(11, "a")]
    for (let i = 0; i < 5; i++) assert.strictEqual(new Set(all.map((values) => values[i])).size, all.length)
  })

  it("draws the same numbers on every machine", () => {
    const prng = new Prng(1, "fixed")
    assert.deepStrictEqual([prng.uint32(), prng.uint32(), prng.double(), prng.below(1000)], [
      3089802461,
      1364811323,
      0.9368635702658876,
      180
    ])
  })

  it("is approximately uniform", () => {
    const prng = new Prng(1, "fair")
    const counts = Array.from({ length: 16 }, () => 0)
    let sum = 0
    for (let i = 0; i < 160_000; i++) counts[prng.below(16)]++
    for (let i = 0; i < 100_000; i++) sum += prng.double()
    for (const count of counts) assert.closeTo(count, 10_000, 500)
    assert.closeTo(sum / 100_000, 0.5, 0.005)
    const bits = Array.from({ length: 8 }, () => 0)
    for (const byte of prng.bytes(80_001)) for (let bit = 0; bit < 8; bit++) bits[bit] += byte >> bit & 1
    for (const count of bits) assert.closeTo(count, 40_000, 1000)
  })
})
