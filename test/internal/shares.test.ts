import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type Item, Shares } from "../../src/internal/shares.ts"

interface Piece extends Item {
  readonly party: string
}

const steps = fc.array(
  fc.record({ party: fc.nat(5).map(String), weight: fc.integer({ min: 1, max: 9 }), removes: fc.nat(3) }),
  { maxLength: 60 }
)

describe("Shares", () => {
  it("knows the weight of each party, the heaviest, and what the heaviest brought last", () => {
    fc.assert(fc.property(steps, (steps) => {
      const shares = new Shares<Piece>()
      let held: Array<Piece> = []
      const weightOf = (party: string) =>
        held.filter((piece) => piece.party === party).reduce((sum, { weight }) => sum + weight, 0)
      for (const { party, removes, weight } of steps) {
        const piece: Piece = { party, weight, isHeld: true }
        shares.add(party, piece)
        held.push(piece)
        for (const gone of held.slice(0, removes)) {
          gone.isHeld = false
          shares.remove(gone.party, gone)
        }
        held = held.filter(({ isHeld }) => isHeld)
        const parties = Array.from(new Set(held.map((piece) => piece.party)))
        const heaviest = Math.max(0, ...parties.map(weightOf))
        assert.strictEqual(shares.size, parties.length)
        assert.strictEqual(shares.heaviest, heaviest)
        for (const party of parties) assert.strictEqual(shares.weight(party), weightOf(party))
        const newest = shares.newestOfHeaviest(undefined)
        if (held.length === 0) assert.isUndefined(newest)
        else {
          assert.strictEqual(weightOf(newest!.party), heaviest)
          assert.strictEqual(newest, held.findLast((piece) => piece.party === newest!.party))
          assert.notStrictEqual(shares.newestOfHeaviest(newest), newest)
        }
      }
    }))
  })

  it("holds on to nothing that was removed", () => {
    const shares = new Shares<Piece>()
    const pieces = Array.from({ length: 1000 }, (): Piece => ({ party: "a", weight: 1, isHeld: true }))
    for (const piece of pieces) shares.add("a", piece)
    for (const piece of pieces) {
      piece.isHeld = false
      shares.remove("a", piece)
    }
    assert.strictEqual(shares.size, 0)
    assert.strictEqual(shares.heaviest, 0)
    assert.isUndefined(shares.newestOfHeaviest(undefined))
  })
})
