import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { SeenPeers } from "../../src/core/seenPeers.ts"
import type { NodeId } from "../../src/NodeId.ts"

const peer = (i: number) => i.toString(16).padStart(64, "0") as NodeId
const hourMillis = 3_600_000
const now = 1_700_000_000_000

const sightingsArb = fc.array(
  fc.record({ peer: fc.integer({ min: 0, max: 20 }), after: fc.integer({ min: 0, max: 40 * hourMillis }) }),
  { maxLength: 60 }
)

/** Has seen all of it by the time it returns. */
const watch = (sightings: ReadonlyArray<{ readonly peer: number; readonly after: number }>) => {
  const seen = new SeenPeers()
  const last = new Map<number, number>()
  let time = now
  for (const sighting of sightings) {
    time += sighting.after
    seen.seen(peer(sighting.peer), time)
    last.set(sighting.peer, time)
  }
  return { seen, last, time }
}

describe("SeenPeers", () => {
  it("counts the distinct peers of the last hour, day and week", () => {
    fc.assert(fc.property(sightingsArb, fc.integer({ min: 0, max: 200 * hourMillis }), (sightings, later) => {
      const { last, seen, time } = watch(sightings)
      const within = (window: number) =>
        Array.from(last.values()).filter((at) => time + later - at < window * hourMillis).length
      const { day, hour, week } = seen.counts(time + later)
      assert.deepStrictEqual([hour, day, week], [within(1), within(24), within(7 * 24)])
    }))
  })

  it("counts every peer once since the start", () => {
    const seen = new SeenPeers()
    for (const i of [1, 2, 1, 3, 2]) seen.seen(peer(i), now)
    assert.strictEqual(seen.uniqueSinceStart, 3)
  })

  it("forgets peers after a week", () => {
    const seen = new SeenPeers()
    seen.seen(peer(1), now)
    seen.seen(peer(2), now + 7 * 24 * hourMillis - 1)
    assert.strictEqual(seen.size, 2)
    seen.seen(peer(2), now + 7 * 24 * hourMillis)
    assert.strictEqual(seen.size, 1)
  })

  it("forgets the peers not heard from for the longest when it is full", () => {
    const seen = new SeenPeers({ capacity: 2 })
    for (const [at, i] of [1, 2, 1, 3].entries()) seen.seen(peer(i), now + at * 60_000)
    assert.strictEqual(seen.format(), `${peer(3)} 1700000180\n${peer(1)} 1700000120\n`)
  })

  it("records a peer at most once per minute", () => {
    const seen = new SeenPeers()
    for (const seconds of [0, 59, 61, 120]) seen.seen(peer(1), now + seconds * 1000)
    assert.strictEqual(seen.format(), `${peer(1)} 1700000061\n`)
  })

  it("does not make a peer look older when the clock was set back", () => {
    const seen = new SeenPeers()
    seen.seen(peer(1), now)
    seen.seen(peer(1), now - 2 * hourMillis)
    assert.strictEqual(seen.counts(now).hour, 1)
  })

  it("reads back the text that it wrote", () => {
    fc.assert(fc.property(sightingsArb, (sightings) => {
      const { seen, time } = watch(
        sightings.map((sighting) => ({ ...sighting, after: sighting.after * 1000 % hourMillis }))
      )
      const copy = new SeenPeers()
      copy.parse(seen.format(), time)
      assert.sameMembers(copy.format().split("\n"), seen.format().split("\n"))
    }))
  })

  it("skips comments and damaged lines", () => {
    const seen = new SeenPeers()
    seen.parse(
      [
        "# peers of the last week",
        "",
        `${peer(1)} 1699999999`,
        `  ${peer(0xabc).toUpperCase()}\t1699999998\r`,
        `# ${peer(2)} 1699999999`,
        `${peer(3)}`,
        `${peer(4)} yesterday`,
        `${peer(5)} -1699999999`,
        `${peer(6)} 1699999999 again`,
        `${peer(7).slice(1)} 1699999999`,
        `${peer(8).slice(1)}g 1699999999`,
        `${peer(9)} 9999999999999`
      ].join("\n"),
      now
    )
    assert.strictEqual(seen.format(), `${peer(1)} 1699999999\n${peer(0xabc)} 1699999998\n`)
  })

  it("reads any text without failing, and uses only whole lines", () => {
    const piece = fc.constantFrom(peer(1), peer(2), " ", "\t", "\n", "\r\n", "#", "1699999999", "-1", "e3", "\0", "é")
    fc.assert(fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
      const seen = new SeenPeers()
      const text = pieces.join("")
      seen.parse(text, now)
      for (const line of seen.format().trim().split("\n").filter((line) => line !== "")) {
        const [id = "", time = ""] = line.split(" ")
        assert.isTrue(text.split("\n").some((own) => own.trim().startsWith(id) && own.trim().endsWith(time)))
      }
    }))
  })

  it("keeps the later time of each peer from the file and this run", () => {
    const seen = new SeenPeers()
    seen.seen(peer(1), now)
    seen.seen(peer(2), now - 1000)
    seen.parse(`${peer(1)} 1699999000\n${peer(2)} 1700000000\n${peer(3)} 1699999500\n${peer(3)} 1699999400\n`, now)
    assert.sameMembers(seen.format().trim().split("\n"), [
      `${peer(1)} 1700000000`,
      `${peer(2)} 1700000000`,
      `${peer(3)} 1699999500`
    ])
  })

  it("counts a peer of an earlier run as seen since the start only once it is seen again", () => {
    const seen = new SeenPeers()
    seen.seen(peer(1), now)
    seen.parse(`${peer(1)} 1699999000\n${peer(2)} 1699999000\n`, now)
    assert.deepStrictEqual(seen.counts(now), { hour: 2, day: 2, week: 2 })
    assert.strictEqual(seen.uniqueSinceStart, 1)
    seen.seen(peer(2), now)
    assert.strictEqual(seen.uniqueSinceStart, 2)
  })

  it("keeps the most recent lines of a file that is too large, and none older than a week or in the future", () => {
    const seen = new SeenPeers({ capacity: 2 })
    seen.parse(`${peer(1)} 1699999000\n${peer(2)} 1800000000\n${peer(3)} 1699998000\n`, now)
    assert.strictEqual(seen.format(), `${peer(2)} 1700000000\n${peer(1)} 1699999000\n`)
    const late = new SeenPeers()
    late.parse(`${peer(1)} ${1_700_000_000 - 7 * 24 * 3600}\n${peer(2)} 1699999000\n`, now)
    assert.strictEqual(late.format(), `${peer(2)} 1699999000\n`)
  })

  it("returns each sighting once to be saved, until it is recorded again", () => {
    const seen = new SeenPeers()
    const minute = 60_000
    seen.add([{ id: peer(1), lastSeen: minute }], minute, true)
    seen.seen(peer(2), 2 * minute)
    seen.seen(peer(3), 3 * minute)
    assert.deepStrictEqual(seen.takeUnsaved(), [
      { id: peer(3), lastSeen: 3 * minute },
      { id: peer(2), lastSeen: 2 * minute }
    ])
    assert.deepStrictEqual(seen.takeUnsaved(), [])
    seen.seen(peer(2), 5 * minute)
    assert.deepStrictEqual(seen.takeUnsaved(), [{ id: peer(2), lastSeen: 5 * minute }])
    // Sightings read from text are unsaved, wherever they belong in the order.
    seen.parse(`${peer(4)} 180\n`, 5 * minute)
    assert.includeDeepMembers(seen.takeUnsaved(), [{ id: peer(4), lastSeen: 3 * minute }])
  })
})
