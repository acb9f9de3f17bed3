import { assert, describe, it } from "@effect/vitest"
import { describeFailure, explore } from "./explore.ts"
import { runStory } from "./run.ts"
import { format, type Story } from "./Story.ts"
import { eventful, small, worlds } from "./worlds.ts"

/** The violations, as somebody reads them. */
const messages = ({ violations }: ReturnType<typeof runStory>) => violations.map(({ message }) => message)

describe("worlds", () => {
  for (const [name, run] of Object.entries(worlds)) {
    it(`${name}: all properties hold`, () => {
      assert.deepStrictEqual(messages(run()), [])
    })
  }

  it("the same story gives the same trace", () => {
    for (const story of [small, { ...small, scheduleSeed: 7 }, eventful]) {
      assert.strictEqual(runStory(story).hash, runStory(story).hash)
    }
  })

  it("under the schedule seeds 1 to 100 a story goes differently, and all properties hold", () => {
    const hashes = new Set<string>()
    for (let scheduleSeed = 1; scheduleSeed <= 100; scheduleSeed++) {
      const story = { ...small, scheduleSeed }
      const outcome = runStory(story)
      assert.deepStrictEqual(messages(outcome), [], format(story))
      hashes.add(outcome.hash)
    }
    assert.strictEqual(hashes.size, 100)
  })

  it("in sixty stories that nobody thought of all properties hold", () => {
    const failure = explore({ seed: 1, runs: 60 })
    assert.isUndefined(failure, failure && describeFailure(failure))
  })
})

describe("a story", () => {
  /** As if nobody may crash while somebody announces. */
  const forbidden = ({ happenings }: Story) =>
    ["crash", "announce"].every((what) => happenings.some(({ deed }) => deed.do === what)) ? ["they did"] : []

  it("that fails is made as short as it gets", () => {
    const failure = explore({ seed: 1, runs: 1000, problems: forbidden })
    assert.isDefined(failure)
    assert.strictEqual(failure.story.happenings.length, 2)
    assert.strictEqual(failure.story.nodes, 3)
  })

  it("reads as one, and says how to run it again", () => {
    const story: Story = {
      seed: 4,
      scheduleSeed: 5,
      nodes: 3,
      latency: 20,
      loss: 0.015,
      duplication: 0,
      liars: ["floods"],
      happenings: [
        { at: 190, deed: { do: "crash", node: 2 } },
        { at: 10, deed: { do: "announce", node: 1 } }
      ]
    }
    assert.strictEqual(
      format(story),
      "seed 4, schedule seed 5: 3 nodes, liars: floods, 20 ms apart, 1.5 % lost, 0 % twice\n" +
        "  at 00:00:10 node 1 announces its endpoint\n" +
        "  at 00:03:10 node 2 crashes\n" +
        `run it again: npm run soak -- --story '${JSON.stringify(story)}'`
    )
  })
})
