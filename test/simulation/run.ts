/** Runs stories with real signatures, and reports problems. */
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import type { Story } from "../../src/testing/internal/story.ts"
import * as storyRun from "../../src/testing/internal/storyRun.ts"

export type { Outcome } from "../../src/testing/internal/storyRun.ts"

export { runProgram } from "../../src/testing/internal/storyRun.ts"

export const runStory = (story: Story): storyRun.Outcome => storyRun.runStory(story, NodeCrypto.fastest)

/** The messages of the violations, or of the error that ended the run. */
export const problemsOf = (run: () => storyRun.Outcome): ReadonlyArray<string> => {
  try {
    return run().violations.map(({ message }) => message)
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)]
  }
}

/** The problems and the command that reproduces them; empty without problems. */
export const report = (problems: ReadonlyArray<string>, command: string): string =>
  problems.length === 0 ? "" : [...problems, replayHint(command)].join("\n")

export const replayHint = (command: string): string => `run it again: ${command}`
