import { assert, describe, it } from "@effect/vitest"
import { Turns } from "../../src/internal/turns.ts"

/** A task that logs its runs, each of which says whether there is more to do, and a turn of the event loop. */
const make = (...more: ReadonlyArray<boolean>) => {
  const scheduled: Array<() => void> = []
  const dispatcher = { scheduleTask: (task: () => void) => void scheduled.push(task), flush: () => {} }
  const run = { count: 0, during: () => {} }
  const turns: Turns = new Turns(dispatcher, () => {
    run.during()
    return more[run.count++] ?? false
  })
  const turn = () => {
    for (const task of scheduled.splice(0)) task()
  }
  return { run, scheduled, turn, turns }
}

describe("Turns", () => {
  it("run the task at once when it is woken after a pause, and otherwise in the next turn", () => {
    const { run, scheduled, turn, turns } = make()
    turns.start()
    turn()
    turns.wake()
    assert.strictEqual(run.count, 1)
    turns.wake()
    turns.wake()
    assert.strictEqual(run.count, 1)
    turn()
    assert.strictEqual(run.count, 2)
    turn()
    assert.strictEqual(run.count, 2)
    assert.isEmpty(scheduled)
    turns.wake()
    assert.strictEqual(run.count, 3)
  })

  it("run the task once in each turn while there is more to do", () => {
    const { run, turn, turns } = make(true, true)
    turns.start()
    turn()
    turns.wake()
    for (let count = 1; count <= 3; count++) {
      assert.strictEqual(run.count, count)
      turn()
    }
    assert.strictEqual(run.count, 3)
  })

  it("never run the task within itself, nor for what woke it meanwhile if it says that nothing is left", () => {
    const { run, turn, turns } = make()
    run.during = () => turns.wake()
    turns.start()
    turn()
    turns.wake()
    turn()
    assert.strictEqual(run.count, 1)
  })

  it("begin with the turn after the start, and run the task only if it was woken", () => {
    const [woken, quiet] = [make(), make()]
    woken.turns.wake()
    woken.turn()
    for (const { turns } of [woken, quiet]) {
      turns.start()
      turns.start()
    }
    assert.strictEqual(woken.run.count, 0)
    for (const { turn } of [woken, quiet]) turn()
    assert.deepStrictEqual([woken.run.count, quiet.run.count], [1, 0])
  })

  it("end when they are closed, also within the task", () => {
    const { run, turn, turns } = make(true)
    run.during = () => turns.close()
    turns.start()
    turn()
    turns.wake()
    turn()
    turns.wake()
    turns.start()
    assert.strictEqual(run.count, 1)
  })
})
