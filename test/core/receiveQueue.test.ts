import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { ReceiveQueue, Standing } from "../../src/core/receiveQueue.ts"

const from = (i: number) => ({ host: `9.${i >> 8}.${i & 255}.1`, port: 4121 })
const standings = Object.values(Standing)

/** A queue in which so many items of each standing wait, each of a source of its own. */
const filled = (counts: ReadonlyArray<number>): ReceiveQueue<Standing> => {
  const queue = new ReceiveQueue<Standing>()
  for (const standing of standings) for (let i = 0; i < counts[standing]; i++) queue.offer(standing, from(i), standing)
  return queue
}

const takeAll = (queue: ReceiveQueue<Standing>, n = Infinity): ReadonlyArray<Standing> => {
  const taken: Array<Standing> = []
  for (let next = queue.take(Standing.suspect); next !== undefined; next = queue.take(Standing.suspect)) {
    taken.push(next)
    if (taken.length === n) break
  }
  return taken
}

const waiting = fc.tuple(...standings.map(() => fc.integer({ min: 0, max: 40 })))

describe("ReceiveQueue", () => {
  it("serves the best standing first while others have not waited for long", () => {
    const taken = takeAll(filled([1, 1, 1, 2, 3]))
    assert.deepStrictEqual(taken, [0, 1, 2, 3, 3, 4, 4, 4])
  })

  it("gives sessions a quarter of the turns, contacts a third, strangers an eighth and suspects a sixteenth while all wait", () => {
    const taken = takeAll(filled([400, 400, 400, 400, 200]), 480)
    const counts = standings.map((standing) => taken.filter((other) => other === standing).length)
    for (
      const [standing, share] of [
        [Standing.session, 1 / 4],
        [Standing.known, 1 / 3],
        [Standing.stranger, 1 / 8],
        [Standing.suspect, 1 / 16]
      ]
    ) {
      assert.closeTo(counts[standing] / 480, share, 0.04)
    }
  })

  it("serves a session within 7 turns, a contact within 5, a stranger within 10, and a suspect within 16, whatever else waits", () => {
    fc.assert(fc.property(waiting, (counts) => {
      const taken = takeAll(filled(counts))
      for (
        const [standing, most] of [
          [Standing.session, 7],
          [Standing.known, 5],
          [Standing.stranger, 10],
          [Standing.suspect, 16]
        ] as const
      ) {
        let last = -1
        for (const [i, served] of taken.entries()) {
          if (served !== standing) continue
          assert.isAtMost(i - last, most)
          last = i
        }
      }
    }))
  })

  it("serves all that waits, each once", () => {
    fc.assert(fc.property(waiting, (counts) => {
      const queue = filled(counts)
      const all = counts.reduce((sum, count) => sum + count)
      assert.strictEqual(queue.size, all)
      const taken = takeAll(queue)
      assert.deepStrictEqual(standings.map((standing) => taken.filter((other) => other === standing).length), counts)
      assert.strictEqual(queue.size, 0)
    }))
  })

  it("takes nothing worse than wanted", () => {
    fc.assert(fc.property(waiting, fc.constantFrom(...standings), (counts, worst) => {
      const queue = filled(counts)
      const wanted = counts.slice(0, worst + 1).reduce((sum, count) => sum + count)
      for (let i = 0; i < wanted; i++) assert.isAtMost(queue.take(worst) ?? Infinity, worst)
      assert.isUndefined(queue.take(worst))
    }))
  })

  it("loses nothing of another standing, however much of one arrives", () => {
    for (const flood of standings) {
      const queue = filled(standings.map((standing) => standing === flood ? 0 : 40))
      for (let i = 0; i < 2000; i++) {
        const lost = queue.offer(flood, from(i), flood)
        if (lost !== undefined) assert.strictEqual(lost, flood)
      }
      assert.isAtMost(queue.size, 4 * 40 + 1024)
      const taken = takeAll(queue)
      for (const standing of standings) {
        if (standing !== flood) assert.strictEqual(taken.filter((other) => other === standing).length, 40)
      }
    }
  })
})
