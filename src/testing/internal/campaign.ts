/**
 * Campaigns: many stories, what they reached, and what failed, by kind.
 *
 * A campaign hands out seeds in order. Its state is plain data, so that it can be
 * saved, and continued later from where it was.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import type * as Crypto from "../../Crypto.ts"
import type { Json } from "../../internal/json.ts"
import { smallest } from "./shrink.ts"
import { format, schema as storySchema, simpler, type Story } from "./story.ts"
import { draw } from "./storyDraw.ts"
import { type Outcome, runStory } from "./storyRun.ts"

// --- One story -------------------------------------------------------------------

/**
 * A story that failed: its violated property, or the tag of the error that ended
 * the run, and the messages of all problems.
 *
 * @internal
 */
export interface Failure {
  readonly story: Story
  readonly kind: string
  readonly problems: ReadonlyArray<string>
}

/**
 * How the story of a seed went.
 *
 * @internal
 */
export interface Result {
  readonly seed: number
  readonly reached: ReadonlyArray<string>
  /** Shrunk. */
  readonly failure: Failure | undefined
}

/** Runs stories; throws if a run fails. */
type Run = (story: Story) => Outcome

/**
 * The failure of a story and what the run reached.
 *
 * @internal
 */
export const judge = (story: Story, run: Run): Omit<Result, "seed"> & { readonly hash: string | undefined } => {
  try {
    const { hash, reached, violations } = run(story)
    const [first] = violations
    const problems = violations.map(({ message }) => message)
    return { hash, reached, failure: first && { story, kind: first.property, problems } }
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
    const kind = typeof cause === "object" && cause !== null && "_tag" in cause ? String(cause._tag) : "Defect"
    const problems = [error instanceof Error ? error.message : String(error)]
    return { hash: undefined, reached: [], failure: { story, kind, problems } }
  }
}

/**
 * Shrinks a failure to a simpler story that fails in the same kind.
 *
 * @internal
 */
export const shrink = (
  failure: Failure,
  failureOf: (story: Story) => Failure | undefined,
  isOver: () => boolean
): Failure => {
  let best = failure
  smallest(failure.story, {
    simpler,
    fails: (story) => {
      const found = failureOf(story)
      if (found?.kind !== failure.kind) return false
      best = found
      return true
    },
    isOver
  })
  return best
}

/**
 * Runs the story of a seed, and shrinks it if it fails.
 *
 * @internal
 */
export const runSeed = (seed: number, crypto: Crypto.Provider, startShrinking: () => () => boolean): Result => {
  const judged = (story: Story) => judge(story, (story) => runStory(story, crypto))
  const { failure, reached } = judged(draw(seed))
  return {
    seed,
    reached,
    failure: failure && shrink(failure, (story) => judged(story).failure, startShrinking())
  }
}

/**
 * The text of a failure: the story line by line, then the problems.
 *
 * @internal
 */
export const describe = ({ problems, story }: Failure): string =>
  [format(story), ...problems.map((problem) => `  ${problem}`)].join("\n")

// --- Many stories ----------------------------------------------------------------

/**
 * Failures of one kind; the story is that of the first.
 *
 * @internal
 */
export interface Kind {
  readonly failure: Failure
  /** Seeds whose stories fail in this kind, at most 100. */
  readonly seeds: ReadonlyArray<number>
  readonly count: number
}

/**
 * The state of a campaign.
 *
 * @internal
 */
export interface Campaign {
  /** The first seed. */
  readonly from: number
  /** All seeds before this one have run. */
  readonly next: number
  /** Seeds from `next` on that have run. */
  readonly ahead: ReadonlyArray<number>
  readonly kinds: ReadonlyArray<Kind>
  /** Number of stories that reached each thing. */
  readonly reached: { readonly [what: string]: number }
}

/**
 * The form of the state as JSON.
 *
 * @internal
 */
export const schema: Schema.Codec<Campaign> = Schema.Struct({
  from: Schema.Int,
  next: Schema.Int,
  ahead: Schema.Array(Schema.Int),
  reached: Schema.Record(Schema.String, Schema.Int),
  kinds: Schema.Array(Schema.Struct({
    failure: Schema.Struct({ story: storySchema, kind: Schema.String, problems: Schema.Array(Schema.String) }),
    seeds: Schema.Array(Schema.Int),
    count: Schema.Int
  }))
})

const maxSeeds = 100

/**
 * A campaign whose first seed is `from`.
 *
 * @internal
 */
export const make = (from: number): Campaign => ({ from, next: from, ahead: [], kinds: [], reached: {} })

/**
 * Number of stories that have run.
 *
 * @internal
 */
export const worldsOf = ({ ahead, from, next }: Campaign): number => next - from + ahead.length

/** What failures of one kind have in common: the property and the sequence of events. */
const fingerprint = ({ kind, story }: Failure): string =>
  [kind, ...story.happenings.map(({ deed }) => deed.do), ...(story.liars ?? [])].join(" ")

/**
 * Adds the result of a seed.
 *
 * @internal
 */
export const add = (campaign: Campaign, { failure, reached, seed }: Result): Campaign => {
  const ahead = new Set([...campaign.ahead, seed])
  let { next } = campaign
  while (ahead.delete(next)) next++
  const counts = { ...campaign.reached }
  for (const what of reached) counts[what] = (counts[what] ?? 0) + 1
  return {
    ...campaign,
    next,
    ahead: [...ahead].toSorted((a, b) => a - b),
    reached: counts,
    kinds: failure === undefined ? campaign.kinds : withFailure(campaign.kinds, failure, seed)
  }
}

const withFailure = (kinds: ReadonlyArray<Kind>, failure: Failure, seed: number): ReadonlyArray<Kind> => {
  const at = kinds.findIndex((kind) => fingerprint(kind.failure) === fingerprint(failure))
  if (at < 0) return [...kinds, { failure, seeds: [seed], count: 1 }]
  const { count, failure: first, seeds } = kinds[at]
  return kinds.with(at, { failure: first, seeds: [...seeds, seed].slice(0, maxSeeds), count: count + 1 })
}

/**
 * The seeds that have not run yet, in order.
 *
 * @internal
 */
export function* seedsOf({ ahead, next }: Campaign): Generator<number, never> {
  const done = new Set(ahead)
  for (let seed = next;; seed++) if (!done.has(seed)) yield seed
}

// --- Reports ---------------------------------------------------------------------

/**
 * What the stories reached, in lines by category, with the number of stories.
 *
 * @internal
 */
export const coverage = ({ reached }: Campaign): ReadonlyArray<string> => {
  const categories = new Map<string, Array<string>>()
  for (const [what, count] of Object.entries(reached).toSorted(([a], [b]) => a < b ? -1 : 1)) {
    const [category, name] = what.split(/: (.*)/s)
    categories.set(category, [...categories.get(category) ?? [], `${name} ${count}`])
  }
  return Array.from(categories, ([category, names]) => `${category}: ${names.join(", ")}`)
}

/**
 * The report as JSON.
 *
 * @internal
 */
export const document = (campaign: Campaign): Json => ({
  from: campaign.from,
  worlds: worldsOf(campaign),
  kinds: campaign.kinds.map(({ count, failure, seeds }) => ({
    kind: failure.kind,
    count,
    seeds,
    story: JSON.stringify(failure.story),
    problems: failure.problems
  })),
  reached: campaign.reached
})

/** Characters that XML does not allow are removed. */
const escaped = (text: string): string =>
  text
    // eslint-disable-next-line no-control-regex
    .replaceAll(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "")
    .replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\"", "&quot;")

/**
 * The report in the format of JUnit: a test case for each kind of failure, and one
 * for the stories that passed.
 *
 * @internal
 */
export const junit = (campaign: Campaign): string => {
  const { from, kinds } = campaign
  const worlds = worldsOf(campaign)
  const failed = kinds.reduce((sum, { count }) => sum + count, 0)
  return [
    `<?xml version="1.0" encoding="UTF-8"?>`,
    `<testsuites><testsuite name="effect-dht soak" tests="${kinds.length + 1}" failures="${kinds.length}">`,
    `<testcase classname="soak" name="${worlds - failed} of ${worlds} worlds from seed ${from} pass"/>`,
    ...kinds.map(({ count, failure, seeds }) =>
      `<testcase classname="soak" name="${escaped(failure.kind)}, seed ${seeds[0]}, ${count} times">` +
      `<failure message="${escaped(failure.problems[0] ?? failure.kind)}">${escaped(describe(failure))}</failure>` +
      "</testcase>"
    ),
    "</testsuite></testsuites>",
    ""
  ].join("\n")
}
