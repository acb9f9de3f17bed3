/**
 * Random simulated worlds, on all cores: `soak`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Fs from "node:fs/promises"
import { availableParallelism } from "node:os"
import { Worker } from "node:worker_threads"
import * as YoungGeneration from "../../node/internal/youngGeneration.ts"
import * as Campaign from "../../testing/internal/campaign.ts"
import * as Output from "../Output.ts"
import * as OutputFile from "../OutputFile.ts"

interface Options {
  readonly minutes: number
  readonly worlds: Option.Option<number>
  readonly workers: Option.Option<number>
  readonly from: Option.Option<number>
  readonly seed: Option.Option<number>
  readonly all: boolean
  readonly state: Option.Option<string>
  readonly junit: Option.Option<string>
  readonly json: boolean
}

// --- Workers ---------------------------------------------------------------------

// The file is TypeScript in the source tree and JavaScript in the package.
const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js"
const program = new URL(`../SoakWorker${extension}`, import.meta.url)

const startWorker: Effect.Effect<Worker, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => new Worker(program, { name: "effect-dht soak" })),
  (worker) => Effect.promise(() => worker.terminate())
)

/** Runs the story of a seed on a worker. */
const ask = (worker: Worker, seed: number): Effect.Effect<Campaign.Result, Output.Failure> =>
  Effect.callback<Campaign.Result, Output.Failure>((resume) => {
    const stopListening = () => {
      worker.off("message", onMessage).off("error", onError).off("exit", onExit)
    }
    const died = (reason: string) => {
      stopListening()
      resume(
        Effect.fail(
          Output.failed(`The worker died in the world of seed ${seed}: ${reason}. Run it with --seed ${seed}`)
        )
      )
    }
    const onError = (error: unknown) => died(error instanceof Error ? error.stack ?? error.message : String(error))
    const onExit = (code: number) => died(`exit code ${code}`)
    const onMessage = (result: Campaign.Result) => {
      stopListening()
      resume(Effect.succeed(result))
    }
    worker.on("message", onMessage).on("error", onError).on("exit", onExit)
    worker.postMessage(seed)
    return Effect.sync(stopListening)
  })

// --- State -----------------------------------------------------------------------

const State = Schema.fromJsonString(Campaign.schema)

/** The campaign of a file that an earlier run saved, or undefined. */
const load = Effect.fnUntraced(function*(path: string) {
  const text = yield* Effect.tryPromise({
    try: () =>
      Fs.readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return undefined
        throw error
      }),
    catch: (error) => Output.failed(`The state cannot be read: ${(error as Error).message}`)
  })
  if (text === undefined) return undefined
  return yield* Effect.mapError(
    Schema.decodeEffect(State)(text),
    () => Output.failed(`${path} is not the state of a soak. Name another file with --state`)
  )
})

const save = (path: string, campaign: Campaign.Campaign) =>
  OutputFile.replace("state", path, Schema.encodeSync(State)(campaign))

// --- The campaign ------------------------------------------------------------------

/** Results between two saves of the state. */
const savedEvery = 100

const run = Effect.fnUntraced(function*(options: Options, start: Campaign.Campaign) {
  const clock = yield* Clock.Clock
  const until = clock.currentTimeMillisUnsafe() + options.minutes * 60_000
  const limit = Option.getOrElse(options.worlds, () => Infinity)
  const state = Option.getOrUndefined(options.state)
  const junit = Option.getOrUndefined(options.junit)
  if (state !== undefined) yield* save(state, start)
  if (junit !== undefined) yield* OutputFile.prepare("JUnit report", junit)
  const seeds = Campaign.seedsOf(start)
  let campaign = start
  let handedOut = 0
  let failures = 0
  const isOver = () => handedOut >= limit || clock.currentTimeMillisUnsafe() >= until || (!options.all && failures > 0)

  const work = Effect.gen(function*() {
    const worker = yield* startWorker
    while (!isOver()) {
      handedOut++
      const result = yield* ask(worker, seeds.next().value)
      if (result.failure !== undefined) failures++
      const known = campaign.kinds.length
      campaign = Campaign.add(campaign, result)
      if (campaign.kinds.length > known && !options.json) {
        yield* Console.log(`seed ${result.seed}: ${Campaign.describe(campaign.kinds[known].failure)}\n`)
      }
      if (state !== undefined && Campaign.worldsOf(campaign) % savedEvery === 0) yield* save(state, campaign)
    }
  }).pipe(Effect.scoped)

  // The results are printed first, so that they are not lost with a file, nor is one file with the other.
  const report = Effect.gen(function*() {
    const failed = campaign.kinds.reduce((sum, { count }) => sum + count, 0)
    yield* Output.print(options.json, Campaign.document(campaign), [
      `${Campaign.worldsOf(campaign)} worlds from seed ${campaign.from} on: ${failed} failed` +
      (failed === 0 ? "" : `, in ${campaign.kinds.length} kinds`),
      ...Campaign.coverage(campaign)
    ])
    const saved = state === undefined ? Effect.void : save(state, campaign)
    const written = junit === undefined
      ? Effect.void
      : OutputFile.write("JUnit report", junit, Campaign.junit(campaign))
    yield* Effect.onExit(saved, () => written)
  })

  const workers = Option.getOrElse(options.workers, availableParallelism)
  yield* Effect.all(Array.from({ length: Math.min(workers, limit) }, () => work), {
    concurrency: "unbounded",
    discard: true
  }).pipe(Effect.onExit(() => report))
  if (campaign.kinds.length > 0) {
    return yield* Output.failed(`Worlds fail: ${campaign.kinds.map(({ failure }) => failure.kind).join(", ")}`)
  }
})

/**
 * Runs random worlds, or that of one seed, and prints those that fail. Fails if one does.
 *
 * @category commands
 * @since 0.1.0
 */
export const soak = Effect.fnUntraced(function*(options: Options) {
  const { from, seed, state } = options
  YoungGeneration.letGrow()
  if (Option.isSome(seed)) {
    if (Option.isSome(state)) {
      return yield* Output.usage("--seed runs one world and saves no progress. Leave out --state")
    }
    return yield* run({ ...options, worlds: Option.some(1) }, Campaign.make(seed.value))
  }
  const saved = Option.isSome(state) ? yield* load(state.value) : undefined
  if (saved !== undefined && Option.isSome(from) && from.value !== saved.from) {
    return yield* Output.usage(
      `--from ${from.value} is not the first seed of ${Option.getOrThrow(state)}, ${saved.from}`
    )
  }
  const first = Option.isSome(from) ? from.value : yield* Random.nextIntBetween(0, 1_000_000_000)
  return yield* run(options, saved ?? Campaign.make(first))
})
