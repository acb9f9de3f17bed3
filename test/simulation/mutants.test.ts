import { assert, describe, it } from "@effect/vitest"
import { replayCommand } from "../../src/testing/internal/story.ts"
import { properties } from "../../src/testing/Properties.ts"
import { type Ended, run, storyOf, wrongWith } from "./mutantRun.ts"
import { type Mutant, mutants, mutate, sourceOf } from "./mutants.ts"
import { small, worlds } from "./worlds.ts"

/** A seed whose story has a delegation that ends. A change to the generation of stories needs another such seed. */
const seedOfDelegation = 3

const worldProgram = "test/simulation/world.ts"

/** The names of the violated properties; the log goes to the same stream. */
const violated = ({ stdout }: Ended): ReadonlyArray<string> =>
  stdout.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line).property)

/** The first mutant of each property, which shows that the property can fail; `npm run test:mutants` runs all. */
const tried = process.env.MUTANTS === "all"
  ? mutants
  : mutants.filter(({ property }, i) => mutants.findIndex((other) => other.property === property) === i)

describe("mutants", () => {
  for (const { name, property, world } of tried) {
    it.concurrent(`a node that ${name} violates ${property}`, async () => {
      const ended = await run(name, worldProgram, world)
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.include(violated(ended), property)
    })
  }

  // Of all mutants, as many as are found and shrunk fast. `stories.ts` prints the stories.
  const fast = new Set(["replies twice", "names unverified contacts", "does not learn requesters"])
  const shown = process.env.MUTANTS === "all"
    ? mutants.filter(({ story }) => typeof story === "number")
    : mutants.filter(({ name }) => fast.has(name))
  for (const { name, story } of shown) {
    it.concurrent(`a story of a few steps, which its text repeats, shows a node that ${name}`, async () => {
      assert.isNumber(story)
      assert.isUndefined(wrongWith(await storyOf(name, Number(story))))
    })
  }

  it("are not shown by a story that is missing, too long, or another when its text is run", () => {
    assert.strictEqual(wrongWith(null), "no story shows it")
    const found = { seed: 1, kind: "OneReply", steps: 15, hash: "a", hashAgain: "a", description: "" }
    assert.isUndefined(wrongWith(found))
    assert.match(wrongWith({ ...found, steps: 16 }) ?? "", /16 steps, more than 15/)
    assert.match(wrongWith({ ...found, hashAgain: "b" }) ?? "", /gives the hash b, not a/)
  })

  it("exist for each property", () => {
    assert.deepStrictEqual(
      Object.keys(properties).filter((name) => !mutants.some(({ property }) => property === name)),
      []
    )
  })

  it("match exactly one place in the source and name a world", () => {
    for (const mutant of mutants) {
      assert.notStrictEqual(mutate(mutant, sourceOf(mutant)), sourceOf(mutant))
      assert.property(worlds, mutant.world)
    }
  })

  it("fail if their place in the source is missing", () => {
    const gone: Mutant = { ...mutants[0], text: "this is nowhere in the source" }
    assert.throws(() => mutate(gone, sourceOf(gone)), /has 0 places, not one/)
  })

  it("fail if their name is unknown", async () => {
    const ended = await run("sings", worldProgram, "small")
    assert.notStrictEqual(ended.code, 0)
    assert.include(ended.stderr, "Unknown mutant: sings")
  })
})

describe("a run with a violation prints its seeds and the command that runs it again:", () => {
  const chatty = "replies twice"

  it.concurrent("a world", async () => {
    const { stdout } = await run(chatty, worldProgram, "small")
    assert.match(stdout, /OneReply.* \(seed 1\)/)
    assert.include(stdout, "run it again: node test/simulation/world.ts small")
  })

  it.concurrent("a story", async () => {
    const story = { ...small, seed: 3, scheduleSeed: 7 }
    const ended = await run(chatty, "src/bin.ts", "replay", JSON.stringify(story))
    assert.strictEqual(ended.code, 1, ended.stderr)
    assert.match(ended.stdout, /OneReply.* \(seed 3, schedule seed 7\)/)
    assert.include(ended.stdout, `run it again: ${replayCommand(story)}`)
  })

  it.concurrent("a world of a soak, shrunk to a short story", async () => {
    const ended = await run(
      "keeps a record longer than its delegation",
      "src/bin.ts",
      "soak",
      "--seed",
      String(seedOfDelegation)
    )
    assert.strictEqual(ended.code, 1, ended.stderr)
    assert.include(ended.stdout, `seed ${seedOfDelegation}: `)
    assert.match(
      ended.stdout,
      /3 nodes, 20 ms apart, 0 % lost, 0 % twice\n.* for (Ann|Eve) with a delegation of \d+ s\nrun it again: effect-dht replay/
    )
    assert.match(ended.stdout, /AuthorityEnds.* \(seed \d+\)/)
  })

  it.concurrent("a simulation", async () => {
    const ended = await run(
      chatty,
      "src/bin.ts",
      ..."simulate --nodes 4 --hours 0.1 --seed 5 --schedule-seed 9 --watch".split(" ")
    )
    assert.strictEqual(ended.code, 1, ended.stderr)
    assert.match(ended.stdout, /violation: .*OneReply.* \(seed 5, schedule seed 9\)/)
    assert.match(ended.stdout, /Again: {2}effect-dht simulate .*--seed 5 --schedule-seed 9 .*--watch/)
  })
})
