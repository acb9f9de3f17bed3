import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { type HeapItem, IndexedHeap } from "../../src/internal/indexedHeap.ts"

interface Item extends HeapItem {
  readonly value: number
}

describe("IndexedHeap", () => {
  it("has the first of its items on top, whatever was added and removed", () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(50))), (operations) => {
      const heap = new IndexedHeap<Item>((a, b) => a.value < b.value)
      const held: Array<Item> = []
      for (const [adds, value] of operations) {
        if (adds || held.length === 0) {
          const item = { value, place: -1 }
          held.push(item)
          heap.push(item)
        } else {
          const [item] = held.splice(value % held.length, 1)
          heap.remove(item)
          assert.strictEqual(item.place, -1)
        }
        assert.strictEqual(heap.size, held.length)
        assert.strictEqual(
          heap.peek()?.value,
          held.length === 0 ? undefined : Math.min(...held.map((item) => item.value))
        )
        const isFirst = (item: Item) => item.value < 20
        assert.strictEqual(heap.countFirst(isFirst), held.filter(isFirst).length)
      }
    }))
  })
})
