import { assert, describe, it } from "@effect/vitest"
import { describeFailure, explore } from "./explore.ts"
import { complaint, type Outcome, problemsOf, runStory } from "./run.ts"
import { format, replayCommand, type Story } from "./Story.ts"
import { eventful, replayWorld, small, worlds } from "./worlds.ts"

/** Fails with what did not hold, and the command that shows it again. */
const assertHolds = (run: () => Outcome, command: string) => assert.strictEqual(complaint(problemsOf(run), command), "")

describe("worlds", () => {
  for (const [name, run] of Object.entries(worlds)) {
    it(`${name}: all properties hold`, () => {
      assertHolds(run, replayWorld(name))
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
      assertHolds(() => {
        const outcome = runStory(story)
        hashes.add(outcome.hash)
        return outcome
      }, replayCommand(story))
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
      households: [{ router: "fullCone", nodes: 1 }, { router: "symmetric", nodes: 2 }],
      liars: ["floods"],
      happenings: [
        { at: 190, deed: { do: "crash", node: 8 } },
        { at: 200, deed: { do: "join" } },
        { at: 201, deed: { do: "cut", from: 8, to: 6 } },
        { at: 10, deed: { do: "announce", node: 1 } },
        { at: 20, deed: { do: "speak", node: 3, master: "Ann", seconds: 60 } },
        { at: 30, deed: { do: "speak", node: 3, master: "Eve", seconds: 0 } },
        { at: 40, deed: { do: "ask", node: 4, master: "Eve" } }
      ]
    }
    assert.strictEqual(
      format(story),
      "seed 4, schedule seed 5: 3 nodes, liars: floods, 20 ms apart, 1.5 % lost, 0 % twice\n" +
        "  node 3 is behind a full cone NAT\n" +
        "  node 4 and node 5 are behind a symmetric NAT\n" +
        "  at 00:00:10 node 1 announces its endpoint\n" +
        "  at 00:00:20 node 3 publishes an endpoint as Ann, who lets it for 60 s\n" +
        "  at 00:00:30 node 3 publishes an endpoint as Eve, who lets it for ever\n" +
        "  at 00:00:40 node 4 resolves Eve\n" +
        "  at 00:03:10 node 2 crashes\n" +
        "  at 00:03:20 a new node joins\n" +
        "  at 00:03:21 nothing from node 1 reaches node 6 any more\n" +
        `run it again: npm run soak -- --story '${JSON.stringify(story)}'`
    )
  })
})
