import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import type { Contact } from "../../src/Contact.ts"
import * as Core from "../../src/core/contactReachability.ts"
import * as network from "../utils/network.ts"

const minute = 60_000
const start = 1_700_000_000_000

const contact = (n: number, port = 4121): Contact => {
  const { address, nodeId: id } = network.identity(`contact ${n}`)
  return { id, address, ...network.socketOf(n), port }
}
const peer = contact(1)

describe("a peer that does not find out whether strangers reach it", () => {
  it("is open if it answers before it sent us anything, and is not tried", () => {
    const core = new Core.ContactReachability()
    assert.isTrue(core.heard(peer, true, start))
    assert.strictEqual(core.state(peer), "open")
    assert.isFalse(core.isDue(peer, start + 29 * minute))
  })

  it("is open if it answers after a silence in which routers forget, not if it sent us something before", () => {
    const core = new Core.ContactReachability()
    core.heard(peer, false, start)
    assert.isFalse(core.heard(peer, true, start + 10 * minute - 1))
    assert.isUndefined(core.state(peer))
    assert.isTrue(core.heard(peer, true, start + 20 * minute - 1))
    assert.strictEqual(core.state(peer), "open")
  })

  it("is open at one address, and unknown at another", () => {
    const core = new Core.ContactReachability()
    const elsewhere = { ...peer, port: 5000 }
    core.heard(peer, true, start)
    core.heard(elsewhere, false, start)
    assert.isUndefined(core.state(elsewhere))
    assert.isTrue(core.isDue(elsewhere, start + 5000))
  })

  it("is open once a stranger reached it, and closed once strangers of two networks did not", () => {
    const core = new Core.ContactReachability()
    core.heard(peer, false, start)
    assert.isFalse(core.tried(peer, "network", false, start))
    assert.isFalse(core.tried(peer, "network", false, start))
    assert.isUndefined(core.state(peer))
    assert.isTrue(core.tried(peer, "another", false, start))
    assert.strictEqual(core.state(peer), "closed")
    assert.isTrue(core.tried(peer, "network", true, start))
    assert.strictEqual(core.state(peer), "open")
  })

  it("is not closed by failures before and after a success", () => {
    const core = new Core.ContactReachability()
    core.heard(peer, false, start)
    core.tried(peer, "network", false, start)
    core.tried(peer, "third", true, start)
    assert.isFalse(core.tried(peer, "another", false, start))
    assert.strictEqual(core.state(peer), "open")
  })

  it("is tried five seconds after it was first heard from, again half an hour after it was decided, and after longer and longer pauses until then", () => {
    const core = new Core.ContactReachability()
    core.heard(peer, false, start)
    const tries: Array<number> = []
    for (let now = start; now < start + 60 * minute; now += 1000) {
      if (!core.isDue(peer, now)) continue
      tries.push(now - start)
      core.ended(peer, now)
    }
    assert.deepStrictEqual(tries, [5000, 35_000, 155_000, 755_000, 2_555_000])
    const now = start + 60 * minute
    for (const name of ["network", "another"]) core.tried(peer, name, false, now)
    assert.isFalse(core.isDue(peer, now + 30 * minute - 1))
    assert.isTrue(core.isDue(peer, now + 30 * minute))
  })

  it("names the time from which it is due, and none before it is heard from", () => {
    const core = new Core.ContactReachability()
    assert.strictEqual(core.dueAt(peer), Infinity)
    core.heard(peer, false, start)
    for (let i = 0; i < 8; i++) {
      const due = core.dueAt(peer)
      assert.isFalse(core.isDue(peer, due - 1))
      assert.isTrue(core.isDue(peer, due))
      if (i === 4) core.tried(peer, "network", true, due)
      core.ended(peer, due)
    }
  })

  it("that was forgotten for lack of room counts as heard from when the others were", () => {
    const core = new Core.ContactReachability({ capacity: 4 })
    core.heard(peer, false, start)
    for (let n = 2; n < 10; n++) core.heard(contact(n), false, start + n)
    assert.isFalse(core.heard(peer, true, start + minute))
    assert.isUndefined(core.state(peer))
  })
})

describe("whatever happens", () => {
  it("a peer is closed only after failures in two networks, and open only by a stranger or an answer after silence", () => {
    const event = fc.oneof(
      fc.record({ _tag: fc.constant("heard"), isAnswer: fc.boolean() }),
      fc.record({ _tag: fc.constant("tried"), network: fc.nat({ max: 3 }), isReached: fc.boolean() }),
      fc.record({ _tag: fc.constant("ended") }),
      fc.record({ _tag: fc.constant("passed"), millis: fc.integer({ min: -60_000, max: 20 * minute }) })
    )
    fc.assert(fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const core = new Core.ContactReachability()
      let now = start
      let heardAt = -Infinity
      let failed = new Set<number>()
      for (const event of events) {
        const before = core.state(peer)
        const silence = now - heardAt
        switch (event._tag) {
          case "heard":
            core.heard(peer, event.isAnswer, now)
            heardAt = now
            break
          case "tried":
            if (event.isReached) failed = new Set()
            else failed.add(event.network)
            core.tried(peer, `network ${event.network}`, event.isReached, now)
            break
          case "ended":
            core.ended(peer, now)
            break
          case "passed":
            now += event.millis
        }
        const after = core.state(peer)
        if (after === before) continue
        if (after === "closed") assert.isAtLeast(failed.size, 2)
        else if (event._tag === "heard") assert.isTrue(event.isAnswer && silence >= 10 * minute)
        else assert.isTrue(event._tag === "tried" && event.isReached)
      }
    }))
  })
})
