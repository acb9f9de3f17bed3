import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { ChangeQueue } from "../../src/internal/changeQueue.ts"

interface Item {
  readonly n: number
  readonly important: boolean
}

const make = (capacity: number) => new ChangeQueue<Item>({ capacity, isImportant: ({ important }) => important })

const fill = (queue: ChangeQueue<Item>, items: string) => {
  for (const [n, letter] of Array.from(items).entries()) queue.offer({ n, important: letter === "!" })
}

const numbers = (items: ReadonlyArray<Item>) => items.map(({ n }) => n)

const operation = fc.oneof(
  { weight: 6, arbitrary: fc.record({ offer: fc.boolean() }) },
  {
    weight: 1,
    arbitrary: fc.record({ take: fc.integer({ min: 1, max: 8 }), succeeds: fc.boolean(), meanwhile: fc.nat(12) })
  }
)

describe("ChangeQueue", () => {
  it("returns changes in order", () => {
    const queue = make(10)
    fill(queue, "..!..")
    assert.deepStrictEqual(numbers(queue.take(3)), [0, 1, 2])
    queue.done()
    assert.deepStrictEqual(numbers(queue.take(3)), [3, 4])
  })

  it("returns changes that were not written again, before later ones", () => {
    const queue = make(10)
    fill(queue, "....")
    queue.take(2)
    queue.offer({ n: 4, important: false })
    queue.failed()
    assert.deepStrictEqual(numbers(queue.take(9)), [0, 1, 2, 3, 4])
  })

  it("drops the oldest unimportant changes, a quarter of the capacity at once, when it is full", () => {
    const queue = make(8)
    fill(queue, ".!..!....")
    assert.strictEqual(queue.dropped, 2)
    assert.deepStrictEqual(numbers(queue.take(9)), [1, 3, 4, 5, 6, 7, 8])
  })

  it("drops the oldest important changes only when no others are left", () => {
    const queue = make(4)
    fill(queue, "!!!!!.!")
    assert.deepStrictEqual(numbers(queue.take(9)), [2, 3, 4, 6])
    assert.strictEqual(queue.dropped, 3)
  })

  it("never exceeds its capacity, keeps the order, counts what it drops, and loses nothing else", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
        const capacity = 12
        const queue = make(capacity)
        const written: Array<number> = []
        let n = 0
        const offer = (important: boolean) => {
          queue.offer({ n: n++, important })
          assert.isAtMost(queue.length, capacity)
        }
        for (const operation of operations) {
          if ("offer" in operation) {
            offer(operation.offer)
            continue
          }
          const batch = numbers(queue.take(operation.take))
          for (let i = 0; i < operation.meanwhile; i++) offer(i % 2 === 0)
          if (operation.succeeds) {
            written.push(...batch)
            queue.done()
          } else {
            queue.failed()
          }
          assert.isAtMost(queue.length, capacity)
        }
        written.push(...numbers(queue.take(capacity)))
        queue.done()
        assert.strictEqual(queue.length, 0)
        assert.deepStrictEqual(written, written.toSorted((a, b) => a - b))
        assert.strictEqual(new Set(written).size, written.length)
        assert.deepStrictEqual([queue.offered, queue.written, queue.dropped], [n, written.length, n - written.length])
      })
    )
  })
})
