/** Searches for a story that violates a property, and shrinks it. */
import * as Campaign from "../../src/testing/internal/campaign.ts"
import type { Story } from "../../src/testing/internal/story.ts"
import { draw } from "../../src/testing/internal/storyDraw.ts"
import { runStory } from "./run.ts"

/**
 * Runs the stories drawn from consecutive seeds and stops at the first that fails,
 * shrunk. Shrinking takes at most `shrinkMillis` of real time.
 */
export const explore = (options: {
  readonly seed: number
  readonly runs: number
  readonly failureOf?: ((story: Story) => Campaign.Failure | undefined) | undefined
  readonly shrinkMillis?: number | undefined
}): Campaign.Failure | undefined => {
  const { failureOf = (story) => Campaign.judge(story, runStory).failure, runs, seed, shrinkMillis = 60_000 } = options
  for (let i = 0; i < runs; i++) {
    const failure = failureOf(draw(seed + i))
    if (failure === undefined) continue
    const until = Date.now() + shrinkMillis
    return Campaign.shrink(failure, failureOf, () => Date.now() > until)
  }
  return undefined
}
