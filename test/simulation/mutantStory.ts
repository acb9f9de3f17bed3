/**
 * Searches for a story that shows the mutant in `MUTANT`, as `effect-dht soak` does,
 * shrinks it, and runs its text again:
 *
 *     MUTANT='replies twice' node --import ./test/simulation/mutantHook.ts test/simulation/mutantStory.ts [SEED [RUNS]]
 *
 * Prints a line of JSON: `Found`, or null if none of the stories from `SEED` on shows
 * it.
 */
import * as Result from "effect/Result"
import type { Failure } from "../../src/testing/internal/campaign.ts"
import * as Campaign from "../../src/testing/internal/campaign.ts"
import { parse, type Story } from "../../src/testing/internal/story.ts"
import { draw } from "../../src/testing/internal/storyDraw.ts"
import { runStory } from "./run.ts"

export interface Found {
  readonly seed: number
  /** The violated property. */
  readonly kind: string
  readonly steps: number
  readonly hash: string | undefined
  /** Of a run of the text of the story. */
  readonly hashAgain: string | undefined
  readonly description: string
}

/** Milliseconds of real time for shrinking. */
const shrinkMillis = 60_000

const judged = (story: Story) => Campaign.judge(story, runStory)

const told = (seed: number, failure: Failure): Found => {
  const until = Date.now() + shrinkMillis
  const least = Campaign.shrink(failure, (story) => judged(story).failure, () => Date.now() > until)
  return {
    seed,
    kind: least.kind,
    steps: least.story.happenings.length,
    hash: judged(least.story).hash,
    hashAgain: judged(Result.getOrThrow(parse(JSON.stringify(least.story)))).hash,
    description: Campaign.describe(least)
  }
}

const search = (from: number, runs: number): Found | null => {
  for (let seed = from; seed < from + runs; seed++) {
    const { failure } = judged(draw(seed))
    if (failure !== undefined) return told(seed, failure)
  }
  return null
}

const [seed = "0", runs = "40"] = process.argv.slice(2)
console.log(JSON.stringify(search(Number(seed), Number(runs))))
