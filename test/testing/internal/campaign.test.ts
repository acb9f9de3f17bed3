import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Campaign from "../../../src/testing/internal/campaign.ts"
import type { Story } from "../../../src/testing/internal/story.ts"
import { draw } from "../../../src/testing/internal/storyDraw.ts"
import { Violation } from "../../../src/testing/Properties.ts"

const story: Story = { seed: 1, nodes: 3, latency: 20, loss: 0, duplication: 0, happenings: [] }

const violation = (seed: number) =>
  new Violation({
    property: "OneReply",
    node: "node 1",
    atMillis: 5,
    facts: { times: 2 },
    seed,
    scheduleSeed: undefined
  })

const failing = (seed: number, deeds: Story["happenings"] = []): Campaign.Result => ({
  seed,
  reached: ["event: crash"],
  failure: { story: { ...story, seed, happenings: deeds }, kind: "OneReply", problems: [violation(seed).message] }
})

const passing = (seed: number): Campaign.Result => ({ seed, reached: ["event: crash"], failure: undefined })

const after = (results: ReadonlyArray<Campaign.Result>) => results.reduce(Campaign.add, Campaign.make(10))

const firstSeeds = (campaign: Campaign.Campaign, count: number) => {
  const seeds = Campaign.seedsOf(campaign)
  return Array.from({ length: count }, () => seeds.next().value)
}

describe("campaign", () => {
  it("judges a story by the first violation, or by the error that ended the run", () => {
    const outcome = { hash: "h", reached: [], violations: [] }
    assert.deepStrictEqual(Campaign.judge(story, () => outcome), { hash: "h", reached: [], failure: undefined })
    const violated = Campaign.judge(story, () => ({ ...outcome, violations: [violation(1)] }))
    assert.strictEqual(violated.failure?.kind, "OneReply")
    const broken = Campaign.judge(story, () => {
      throw new Error("no luck")
    })
    assert.deepStrictEqual(broken.failure, { story, kind: "Defect", problems: ["no luck"] })
  })

  it("hands out each seed once, and continues after those that have run", () => {
    assert.deepStrictEqual(firstSeeds(Campaign.make(10), 3), [10, 11, 12])
    const campaign = after([passing(10), passing(12), passing(14)])
    assert.strictEqual(Campaign.worldsOf(campaign), 3)
    assert.deepStrictEqual(firstSeeds(campaign, 3), [11, 13, 15])
    assert.strictEqual(Campaign.add(campaign, passing(11)).next, 13)
  })

  it("collects failures with the same property and events as one kind", () => {
    const crash = [{ at: 1, deed: { do: "crash", node: 0 } }] as const
    const { kinds } = after([failing(10), passing(11), failing(12), failing(13, crash)])
    assert.deepStrictEqual(kinds.map(({ count, seeds }) => [count, seeds]), [[2, [10, 12]], [1, [13]]])
  })

  it("counts the worlds that reached each thing", () => {
    const { reached } = after([passing(10), passing(11), {
      ...passing(12),
      reached: ["event: heal", "error: NodeDown"]
    }])
    assert.deepStrictEqual(Campaign.coverage({ ...Campaign.make(1), reached }), [
      "error: NodeDown 1",
      "event: crash 2, heal 1"
    ])
  })

  it("is the same after it was saved and read", () => {
    const campaign = after([failing(10), passing(12)])
    const text = Schema.encodeSync(Schema.fromJsonString(Campaign.schema))(campaign)
    assert.deepStrictEqual(Schema.decodeSync(Schema.fromJsonString(Campaign.schema))(text), campaign)
  })

  it("is reported in the format of JUnit, in which no text is taken for markup", () => {
    const { failure, ...rest } = failing(10)
    const hostile = { ...rest, failure: { ...failure!, problems: ["a < b & \"c\"\u0000"] } }
    const xml = Campaign.junit(after([passing(11), hostile]))
    assert.include(xml, `<testsuite name="effect-dht soak" tests="2" failures="1">`)
    assert.include(xml, `name="1 of 2 worlds from seed 10 pass"`)
    assert.include(xml, `<failure message="a &lt; b &amp; &quot;c&quot;">`)
    assert.notInclude(xml, "\u0000")
  })

  it("shrinks a failure to a story that fails in the same kind", () => {
    const failureOf = (story: Story): Campaign.Failure | undefined => {
      const has = (what: string) => story.happenings.some(({ deed }) => deed.do === what)
      if (!has("crash")) return undefined
      return { story, kind: has("announce") ? "both" : "crash", problems: [] }
    }
    const seed = Array.from({ length: 1000 }, (_, i) => i).find((seed) => failureOf(draw(seed))?.kind === "both")
    assert.isDefined(seed)
    const shrunk = Campaign.shrink(failureOf(draw(seed))!, failureOf, () => false)
    assert.deepStrictEqual(shrunk.story, {
      ...story,
      seed: 0,
      scheduleSeed: undefined,
      households: [],
      liars: [],
      happenings: shrunk.story.happenings
    })
    assert.deepStrictEqual(shrunk.story.happenings.map(({ at, deed }) => [at, deed.do]).toSorted(), [
      [0, "announce"],
      [0, "crash"]
    ])
  })
})
