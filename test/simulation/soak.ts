/**
 * `npm run soak -- --minutes M` runs random worlds for M minutes. For each seed
 * whose world fails, it prints the shortest failing story and the command that
 * runs it replayHint. The exit code is 1 if a world failed.
 *
 * `--seed S` runs only the world of that seed, `--from S` starts with that seed,
 * and `--story JSON` runs a story that was printed.
 */
import { parseArgs } from "node:util"
import { describeFailure, explore } from "./explore.ts"
import { problemsOf, replayHint, runStory } from "./run.ts"
import { format, type Story } from "./Story.ts"

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string" },
    from: { type: "string" },
    story: { type: "string" }
  }
})

const number = (name: string, text: string): number => {
  const parsed = Number(text)
  if (text.trim() !== "" && Number.isFinite(parsed)) return parsed
  throw new Error(`--${name} must be a number, not ${JSON.stringify(text)}`)
}

/** Runs the world of one seed; returns whether it passed. */
const runSeed = (seed: number): boolean => {
  const failure = explore({ seed, runs: 1 })
  if (failure === undefined) return true
  console.log(`Seed ${seed} fails; ${replayHint(`npm run soak -- --seed ${seed}`)}\nIts shortest story:`)
  console.log(`${describeFailure(failure)}\n`)
  return false
}

const replay = (story: Story): boolean => {
  const problems = problemsOf(() => runStory(story))
  console.log(
    problems.length === 0
      ? `${format(story)}\npasses, trace ${runStory(story).hash}`
      : describeFailure({ story, problems })
  )
  return problems.length === 0
}

const soak = (minutes: number, from: number): boolean => {
  const until = Date.now() + minutes * 60_000
  let seed = from
  let failures = 0
  for (; Date.now() < until; seed++) if (!runSeed(seed)) failures++
  console.log(`${seed - from} worlds of the seeds ${from} to ${seed - 1}: ${failures} failed`)
  return failures === 0
}

const passed = values.story !== undefined
  ? replay(JSON.parse(values.story))
  : values.seed !== undefined
  ? runSeed(number("seed", values.seed))
  : soak(
    number("minutes", values.minutes),
    values.from === undefined ? Math.floor(Math.random() * 1_000_000_000) : number("from", values.from)
  )
process.exitCode = passed ? 0 : 1
