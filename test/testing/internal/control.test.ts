import { assert, describe, it } from "@effect/vitest"
import { Timer } from "../../../src/internal/timerQueue.ts"
import { Control } from "../../../src/testing/internal/control.ts"

class Due extends Timer {
  readonly fire = () => {}
}

/** A strategy that takes the oldest. */
const oldest = { choose: () => 0 }

describe("Control", () => {
  it("counts and removes due timers also while tasks of a lower level wait", () => {
    const control = new Control(oldest)
    const [kept, removed] = [new Due(), new Due()]
    for (const timer of [kept, removed]) {
      timer.order = control.set(timer)
      control.pushDue(timer)
    }
    const task = () => {}
    control.push(task, -1)
    assert.deepStrictEqual([control.size, control.timers], [3, 2])
    control.removeWhere((timer) => timer === removed)
    assert.deepStrictEqual([control.size, control.timers], [2, 1])
    assert.strictEqual(control.take(), task)
    assert.isFunction(control.take())
    assert.strictEqual(kept.state, "due")
    assert.strictEqual(removed.state, "idle")
    assert.isUndefined(control.take())
  })
})
