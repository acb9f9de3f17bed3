import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type Item, Shares } from "../../src/core/shares.ts"

interface Piece extends Item {
  readonly party: string
}

const steps = fc.array(
  fc.record({ party: fc.nat(11).map(String), weight: fc.integer({ min: 1, max: 9 }), removed: fc.array(fc.nat(9)) }),
  { maxLength: 60 }
)

describe("Shares", () => {
  it("knows the weight of each party, the heaviest, and what the heaviest brought last, whenever it is asked first", () => {
    fc.assert(fc.property(steps, fc.nat(40), (steps, first) => {
      const shares = new Shares<Piece>()
      let held: Array<Piece> = []
      const weightOf = (party: string) =>
        held.filter((piece) => piece.party === party).reduce((sum, { weight }) => sum + weight, 0)
      steps.forEach(({ party, removed, weight }, number) => {
        const added: Piece = { party, weight, number }
        shares.add(party, added)
        held.push(added)
        const gone = held.filter((_, i) => removed.includes(i))
        for (const piece of gone) shares.remove(piece.party, piece)
        held = held.filter((piece) => !gone.includes(piece))
        const parties = Array.from(new Set(held.map((piece) => piece.party)))
        assert.strictEqual(shares.size, parties.length)
        for (const party of parties) assert.strictEqual(shares.weight(party), weightOf(party))
        for (const except of number < first ? [] : [undefined, ...held]) {
          const found = shares.heaviest(except)
          const others = held.filter((piece) => piece !== except)
          const heaviest = Math.max(0, ...others.map((piece) => weightOf(piece.party)))
          assert.strictEqual(found?.weight ?? 0, heaviest)
          const newest = others.findLast((piece) => piece.party === found?.newest.party)
          assert.strictEqual(found?.newest, newest)
        }
      })
    }))
  })

  it("is as before when what was taken away comes back, in whatever order", () => {
    const order = fc.shuffledSubarray([0, 1, 2, 3, 4, 5], { minLength: 6 })
    fc.assert(fc.property(order, order, (away, back) => {
      const shares = new Shares<Piece>()
      const pieces = away.map((_, number): Piece => ({ party: "a", weight: 1, number })).sort((a, b) =>
        a.number - b.number
      )
      for (const piece of pieces) shares.add("a", piece)
      for (const i of away.slice(0, 4)) shares.remove("a", pieces[i])
      for (const i of back) if (away.indexOf(i) < 4) shares.add("a", pieces[i])
      for (const piece of pieces.toReversed()) {
        assert.strictEqual(shares.heaviest()?.newest, piece)
        shares.remove("a", piece)
      }
      assert.strictEqual(shares.size, 0)
    }))
  })
})
