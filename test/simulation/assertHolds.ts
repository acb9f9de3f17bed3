/** Fails with the problems of a run and the command that reproduces them. */
import { assert } from "@effect/vitest"
import { type Outcome, replayHint } from "./run.ts"

/** The messages of the violations, or of the error that ended the run. */
const problemsOf = (run: () => Outcome): ReadonlyArray<string> => {
  try {
    return run().violations.map(({ message }) => message)
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)]
  }
}

export const assertHolds = (run: () => Outcome, command: string): void => {
  const problems = problemsOf(run)
  assert.strictEqual(problems.length === 0 ? "" : [...problems, replayHint(command)].join("\n"), "")
}
