import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { FairQueue } from "../../src/core/fairQueue.ts"

const operation = fc.oneof(
  { weight: 3, arbitrary: fc.record({ sender: fc.constantFrom("a", "b", "c", "d") }) },
  { weight: 1, arbitrary: fc.record({ take: fc.integer({ min: 0, max: 6 }) }) }
)

describe("FairQueue", () => {
  it("serves its senders in turn", () => {
    const queue = new FairQueue<string>({ capacity: 100, perSender: 100 })
    for (const item of ["a1", "a2", "a3", "b1", "c1", "b2"]) queue.offer(item[0], item)
    assert.deepStrictEqual(queue.take(4), ["a1", "b1", "c1", "a2"])
    queue.offer("c", "c2")
    assert.deepStrictEqual(queue.take(9), ["b2", "a3", "c2"])
  })

  it("serves a new sender after one item of each other sender, however long their queues are", () => {
    const queue = new FairQueue<string>({ capacity: 1000, perSender: 500 })
    for (let i = 0; i < 900; i++) queue.offer(i % 2 === 0 ? "flood" : "flood 2", "x")
    queue.offer("honest", "!")
    assert.strictEqual(queue.take(1000).indexOf("!"), 2)
  })

  it("leaves room for others when one sender has reached its limit", () => {
    const queue = new FairQueue<number>({ capacity: 10, perSender: 3 })
    assert.deepStrictEqual([1, 2, 3, 4].map((item) => queue.offer("a", item)), [true, true, true, false])
    assert.isTrue(queue.offer("b", 5))
  })

  it("keeps the order of each sender, loses no accepted item, and never exceeds its capacity", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
        const queue = new FairQueue<{ readonly sender: string; readonly n: number }>({ capacity: 12, perSender: 5 })
        const accepted: Array<{ readonly sender: string; readonly n: number }> = []
        const taken: typeof accepted = []
        for (const [n, operation] of operations.entries()) {
          if ("sender" in operation) {
            const item = { ...operation, n }
            if (queue.offer(operation.sender, item)) accepted.push(item)
          } else taken.push(...queue.take(operation.take))
          assert.strictEqual(queue.size, accepted.length - taken.length)
          assert.isAtMost(queue.size, 12)
        }
        taken.push(...queue.take(Infinity))
        for (const sender of ["a", "b", "c", "d"]) {
          const of = (items: typeof accepted) => items.filter((item) => item.sender === sender)
          assert.deepStrictEqual(of(taken), of(accepted))
        }
      })
    )
  })
})
