import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { RecencyList, Recent } from "../../src/internal/recencyList.ts"

class Item extends Recent {
  readonly name: number

  constructor(name: number) {
    super()
    this.name = name
  }
}

const opArb = fc.record({
  op: fc.constantFrom("use" as const, "delete" as const, "move" as const, "clear" as const),
  item: fc.integer({ min: 0, max: 5 })
})

describe("RecencyList", () => {
  it("has its items in the order of their last use, and items may change lists", () => {
    fc.assert(fc.property(fc.array(opArb, { maxLength: 60 }), (ops) => {
      const items = Array.from({ length: 6 }, (_, i) => new Item(i))
      const lists = [new RecencyList<Item>(), new RecencyList<Item>()]
      // A reference model: arrays, the most recent first.
      const models: Array<Array<number>> = [[], []]
      for (const { item, op } of ops) {
        const at = models.findIndex((model) => model.includes(item))
        const drop = (): void => {
          lists[at].delete(items[item])
          models[at].splice(models[at].indexOf(item), 1)
        }
        if (op === "clear") {
          lists[0].clear()
          models[0] = []
        } else if (at === -1) {
          lists[0].add(items[item])
          models[0].unshift(item)
        } else if (op === "use") {
          lists[at].use(items[item])
          models[at] = [item, ...models[at].filter((other) => other !== item)]
        } else {
          drop()
          if (op === "move") {
            lists[1 - at].add(items[item])
            models[1 - at].unshift(item)
          }
        }
        lists.forEach((list, i) => {
          assert.deepStrictEqual(Array.from(list, ({ name }) => name), models[i])
          assert.strictEqual(list.oldest?.name, models[i].at(-1))
          assert.strictEqual(list.size, models[i].length)
        })
      }
    }))
  })
})
