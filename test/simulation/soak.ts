/**
 * `npm run soak -- --minutes M`: random worlds until the time is up. Prints
 * each seed whose world fails, the shortest story of it and how to run that
 * again; the exit code is 1 if there was one.
 *
 * `--seed S` runs the world of that seed only, `--from S` begins there, and
 * `--story JSON` runs a story that was printed.
 */
import { parseArgs } from "node:util"
import { describeFailure, explore } from "./explore.ts"
import { again, problemsOf, runStory } from "./run.ts"
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
  throw new Error(`--${name} is a number, not ${JSON.stringify(text)}`)
}

/** Runs the world of one seed; returns whether all held. */
const runSeed = (seed: number): boolean => {
  const failure = explore({ seed, runs: 1 })
  if (failure === undefined) return true
  console.log(`Seed ${seed} fails; ${again(`npm run soak -- --seed ${seed}`)}\nThe shortest story of it:`)
  console.log(`${describeFailure(failure)}\n`)
  return false
}

const replay = (story: Story): boolean => {
  const problems = problemsOf(() => runStory(story))
  console.log(
    problems.length === 0
      ? `${format(story)}\nholds, trace ${runStory(story).hash}`
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

const held = values.story !== undefined
  ? replay(JSON.parse(values.story))
  : values.seed !== undefined
  ? runSeed(number("seed", values.seed))
  : soak(
    number("minutes", values.minutes),
    values.from === undefined ? Math.floor(Math.random() * 1_000_000_000) : number("from", values.from)
  )
process.exitCode = held ? 0 : 1
