import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { Timer, TimerQueue } from "../../src/internal/timerQueue.ts"

class Numbered extends Timer {
  readonly id: number
  constructor(id: number) {
    super()
    this.id = id
  }
  fire(): void {}
}

const drain = (queue: TimerQueue): Array<number> => {
  const ids: Array<number> = []
  for (let event = queue.pop(); event !== undefined; event = queue.pop()) ids.push((event as Numbered).id)
  return ids
}

describe("timerQueue", () => {
  it("returns each timer that was not cancelled once, by time, then by order", () => {
    const steps = fc.array(
      fc.oneof(
        fc.record({ _tag: fc.constant("push" as const), at: fc.integer({ min: 0, max: 20 }) }),
        fc.record({
          _tag: fc.constant("push again" as const),
          which: fc.nat(200),
          at: fc.integer({ min: 0, max: 20 })
        }),
        fc.record({ _tag: fc.constant("cancel" as const), which: fc.nat(200) }),
        fc.record({ _tag: fc.constant("pop" as const) }),
        fc.record({ _tag: fc.constant("remove" as const), at: fc.integer({ min: 0, max: 20 }) })
      ),
      { maxLength: 300 }
    )
    fc.assert(fc.property(steps, (steps) => {
      const queue = new TimerQueue()
      const all: Array<Numbered> = []
      let model: Array<Numbered> = []
      let order = 0
      const sort = () => model.sort((a, b) => a.at - b.at || a.order - b.order)
      for (const step of steps) {
        if (step._tag === "push") {
          const event = new Numbered(all.length)
          queue.push(event, step.at, order++)
          all.push(event)
          model.push(event)
        } else if (step._tag === "push again" && all.length > 0) {
          const event = all[step.which % all.length]
          queue.push(event, step.at, order++)
          model = [...model.filter((other) => other !== event), event]
        } else if (step._tag === "cancel" && all.length > 0) {
          const event = all[step.which % all.length]
          queue.cancel(event)
          model = model.filter((other) => other !== event)
        } else if (step._tag === "pop") {
          sort()
          assert.strictEqual(queue.pop(), model.shift())
        } else if (step._tag === "remove") {
          queue.removeWhere((event) => event.at === step.at)
          model = model.filter((event) => event.at !== step.at)
        }
        assert.strictEqual(queue.size, model.length)
      }
      sort()
      assert.deepStrictEqual(drain(queue), model.map(({ id }) => id))
    }))
  })

  it("does not grow with timers that are set and cancelled again and again", () => {
    const queue = new TimerQueue()
    for (let i = 0; i < 10; i++) queue.push(new Numbered(i), 1e9, i)
    for (let i = 10; i < 10_000; i++) {
      const event = new Numbered(i)
      queue.push(event, i, i)
      queue.cancel(event)
    }
    assert.isBelow(queue.length, 200)
    assert.strictEqual(queue.size, 10)
  })

  it("ignores a timer that is cancelled twice or too late", () => {
    const queue = new TimerQueue()
    const [a, b] = [new Numbered(1), new Numbered(2)]
    queue.push(a, 1, 1)
    queue.push(b, 2, 2)
    queue.pop()
    queue.cancel(a)
    queue.cancel(b)
    queue.cancel(b)
    assert.strictEqual(queue.size, 0)
    assert.strictEqual(queue.pop(), undefined)
  })
})
