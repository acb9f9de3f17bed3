/** Runs programs of the project with the source of a mutant. */
import { execFile } from "node:child_process"
import { join } from "node:path"
import type { Found } from "./mutantStory.ts"

export interface Ended {
  readonly code: number | string | undefined
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program of the project in a process with the source of a mutant. */
export const run = (mutant: string, program: string, ...args: ReadonlyArray<string>): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      ["--import", join(import.meta.dirname, "mutantHook.ts"), join(import.meta.dirname, "../..", program), ...args],
      { env: { ...process.env, MUTANT: mutant }, timeout: 240_000, maxBuffer: 1 << 24 },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : error.code ?? undefined, stdout, stderr })
    )
  })

/** The story that shows a mutant, from those of the seeds from `seed` on; null without one. */
export const storyOf = async (mutant: string, seed: number): Promise<Found | null> => {
  const { code, stderr, stdout } = await run(mutant, "test/simulation/mutantStory.ts", String(seed))
  if (code !== 0) throw new Error(`The process of the mutant that ${mutant} ended with ${code}: ${stderr}`)
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "null")
}

/** Most steps of the story of a mutant. */
const maxSteps = 15

/** What is wrong with the story of a mutant; undefined if nothing is. */
export const wrongWith = (found: Found | null): string | undefined => {
  if (found === null) return "no story shows it"
  const { hash, hashAgain, steps } = found
  if (steps > maxSteps) return `the story has ${steps} steps, more than ${maxSteps}`
  return hash !== undefined && hash === hashAgain
    ? undefined
    : `the text of the story gives the hash ${hashAgain}, not ${hash}`
}
