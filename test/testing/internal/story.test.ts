import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { format, parse, simpler, type Story } from "../../../src/testing/internal/story.ts"
import { draw } from "../../../src/testing/internal/storyDraw.ts"

const seeds = Array.from({ length: 1000 }, (_, seed) => seed)

const kinds = ({ happenings }: Story) => new Set(happenings.map(({ deed }) => deed.do))

describe("story", () => {
  it("is a function of its seed", () => {
    assert.deepStrictEqual(seeds.map(draw), seeds.map(draw))
    assert.strictEqual(new Set(seeds.map((seed) => JSON.stringify({ ...draw(seed), seed: 0 }))).size, seeds.length)
  })

  it("has each kind of event, router, liar, setting and schedule in some worlds, and lacks each in others", () => {
    const features = (story: Story): ReadonlyArray<string> => [
      ...kinds(story),
      ...(["signing", "families", "old", "maxBytes"] as const).filter((setting) => story[setting] !== undefined),
      ...(story.households ?? []).map(({ router }) => router),
      ...(story.liars ?? []),
      `${story.scheduleSeed}`.replace(/:.*|\d+$/, "")
    ]
    const counts = new Map<string, number>()
    for (const seed of seeds) {
      for (const what of new Set(features(draw(seed)))) counts.set(what, (counts.get(what) ?? 0) + 1)
    }
    assert.strictEqual(counts.size, 34 + 4 + 4 + 8 + 3)
    for (const [what, count] of counts) assert.isTrue(count > 5 && count < 900, `${what}: ${count}`)
  })

  it("is the same after it was written and parsed", () => {
    for (const seed of seeds) {
      const story = draw(seed)
      assert.deepStrictEqual(parse(JSON.stringify(story)), Result.succeed(JSON.parse(JSON.stringify(story))))
    }
  })

  it("is not parsed from other JSON", () => {
    const story = JSON.stringify({ ...draw(1), happenings: [{ at: 1, deed: { do: "crash", node: 1 } }] })
    for (const text of ["", "{}", story.replace("crash", "sing"), story.replace(`"at":1`, `"at":-1`)]) {
      assert.isTrue(Result.isFailure(parse(text)), text)
    }
  })

  it("has simpler ones, of which each can be parsed and none is equal", () => {
    for (const seed of seeds.slice(0, 50)) {
      const story = draw(seed)
      for (const candidate of simpler(story)) {
        assert.notStrictEqual(JSON.stringify(candidate), JSON.stringify(story))
        assert.isTrue(Result.isSuccess(parse(JSON.stringify(candidate))))
        assert.isAtLeast(candidate.nodes, 3)
      }
    }
  })

  it("names only nodes that exist at the time of a fault", () => {
    const happenings: Story["happenings"] = [
      { at: 1, deed: { do: "partition", nodes: 9 } },
      { at: 2, deed: { do: "join" } },
      { at: 3, deed: { do: "partition", nodes: 9 } },
      { at: 4, deed: { do: "clock", node: 9, seconds: 30 } }
    ]
    assert.deepStrictEqual(format({ ...draw(1), nodes: 3, households: [], happenings }).split("\n").slice(1, -1), [
      "  at 00:00:01 the first node is separated from the others",
      "  at 00:00:02 a new node joins",
      "  at 00:00:03 the first 3 nodes are separated from the others",
      "  at 00:00:04 the clock of node 1 jumps to 30 s ahead"
    ])
  })

  it("has at most fourteen events, and is at most twenty lines", () => {
    for (const seed of seeds) {
      const story = draw(seed)
      assert.isAtMost(story.happenings.length, 14)
      assert.isAtMost(format(story).split("\n").length, 20)
    }
  })
})
