/** Searches for a story that violates a property, and shrinks it. */
import * as fc from "fast-check"
import { problemsOf, runStory } from "./run.ts"
import { format, type Story, story } from "./Story.ts"

export interface Failure {
  /** The shortest story found. */
  readonly story: Story
  readonly problems: ReadonlyArray<string>
}

/**
 * Runs the stories generated from a seed and stops at the first with a problem.
 * Shrinking it takes at most `shrinkMillis` of real time.
 */
export const explore = (options: {
  readonly seed: number
  readonly runs: number
  readonly problems?: ((story: Story) => ReadonlyArray<string>) | undefined
  readonly shrinkMillis?: number | undefined
}): Failure | undefined => {
  const { problems = (story) => problemsOf(() => runStory(story)), runs, seed, shrinkMillis = 60_000 } = options
  let failed: Failure | undefined
  let until = Infinity
  fc.check(
    fc.property(story, (story) => {
      // After the time limit, all stories pass, which ends the shrinking.
      if (Date.now() > until) return true
      const found = problems(story)
      if (found.length === 0) return true
      if (failed === undefined) until = Date.now() + shrinkMillis
      failed = { story, problems: found }
      return false
    }),
    { seed, numRuns: runs }
  )
  return failed
}

export const describeFailure = ({ problems, story }: Failure): string =>
  [format(story), ...problems.map((problem) => `  ${problem}`)].join("\n")
