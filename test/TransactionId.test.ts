import { assert, describe, it } from "@effect/vitest"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Hex from "../src/internal/hex.ts"
import { Prng } from "../src/testing/internal/prng.ts"
import * as SeededRandom from "../src/testing/SeededRandom.ts"
import * as TransactionId from "../src/TransactionId.ts"

/** Enough for several batches, the last one partly used. */
const many = 1000

const draw = (seed: number): Array<string> => {
  const next = TransactionId.generator(SeededRandom.makeSecure(seed, "transactions"))
  return Array.from({ length: many }, next)
}

/** A source of randomness that records its output. */
const source = () => {
  const prng = new Prng(1, "transactions")
  const given: Array<Uint8Array> = []
  const random = SecureRandom.make((size) => {
    const bytes = prng.bytes(size)
    given.push(bytes)
    return bytes
  })
  return { given, random }
}

describe("TransactionId", () => {
  it("is 40 hexadecimal digits", () => {
    for (const id of draw(1)) assert.match(id, /^[0-9a-f]{40}$/)
  })

  it("is never drawn twice", () => {
    assert.strictEqual(new Set(draw(1)).size, many)
  })

  it("depends on the given source only", () => {
    assert.deepStrictEqual(draw(1), draw(1))
    assert.strictEqual(new Set([...draw(1), ...draw(2)]).size, 2 * many)
  })

  it("consists of the source's bytes in order, each used once", () => {
    const { given, random } = source()
    const next = TransactionId.generator(random)
    const ids = Array.from({ length: many }, next).join("")
    assert.strictEqual(given.map(Hex.encode).join("").slice(0, ids.length), ids)
  })

  it("is drawn on demand, many at a time", () => {
    const { given, random } = source()
    const next = TransactionId.generator(random)
    assert.strictEqual(given.length, 0)
    for (let i = 0; i < many; i++) next()
    assert.isAtMost(given.length, many / 50)
    assert.isAtLeast(given.reduce((sum, { length }) => sum + length, 0), many * 20)
  })
})
