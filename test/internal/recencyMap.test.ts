import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { RecencyMap } from "../../src/internal/recencyMap.ts"

describe("RecencyMap", () => {
  const opArb = fc.oneof(
    fc.record({
      op: fc.constantFrom("use" as const, "set" as const, "get" as const),
      key: fc.integer({ min: 0, max: 9 })
    }),
    fc.record({ op: fc.constantFrom("dropOldest" as const, "clear" as const) })
  )

  it("keeps the most recently used entries, in that order, up to its capacity", () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 6 }), fc.array(opArb, { maxLength: 60 }), (capacity, ops) => {
      const map = new RecencyMap<number, { readonly made: number }>(capacity)
      // A reference model: a list, the most recent first.
      let model: ReadonlyArray<{ readonly key: number; readonly value: { readonly made: number } }> = []
      ops.forEach((op, made) => {
        if (op.op === "use") {
          const known = model.find((entry) => entry.key === op.key)
          const value = map.use(op.key, () => ({ made }))
          assert.deepStrictEqual(value, known?.value ?? { made })
          model = [{ key: op.key, value }, ...model.filter((entry) => entry !== known)].slice(0, capacity)
        } else if (op.op === "set") {
          const value = { made }
          map.set(op.key, value)
          model = [{ key: op.key, value }, ...model.filter(({ key }) => key !== op.key)].slice(0, capacity)
        } else if (op.op === "get") {
          assert.strictEqual(map.get(op.key), model.find((entry) => entry.key === op.key)?.value)
        } else if (op.op === "dropOldest") {
          map.dropOldest()
          model = model.slice(0, -1)
        } else {
          map.clear()
          model = []
        }
        assert.deepStrictEqual(Array.from(map, ({ key, value }) => ({ key, value })), model)
        assert.strictEqual(map.oldest?.key, model.at(-1)?.key)
        assert.strictEqual(map.size, model.length)
      })
    }))
  })
})
