/**
 * A simulated network: `simulate`.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Path from "node:path"
import * as YoungGeneration from "../../node/internal/youngGeneration.ts"
import * as NodeCrypto from "../../node/NodeCrypto.ts"
import * as Simulation from "../../testing/Simulation.ts"
import * as Output from "../Output.ts"
import * as OutputFile from "../OutputFile.ts"
import * as Flags from "../SimulationFlags.ts"
import * as Page from "../SimulationPage.ts"
import * as Report from "../SimulationReport.ts"

interface Options extends Flags.Given {
  readonly report: Option.Option<string>
  readonly json: boolean
}

// --- Progress ------------------------------------------------------------------

const barWidth = 24

/**
 * One line of progress. The remaining time is shown once enough has passed to
 * estimate it.
 *
 * @category output
 * @since 0.1.0
 */
export const bar = (progress: Simulation.Progress, elapsedSeconds: number): string => {
  const { hours, joined, nodes, ofHours, phase } = progress
  const isStarting = phase === "Starting"
  const done = isStarting ? joined / nodes : hours / ofHours
  // Rounded down, so that incomplete work does not look complete.
  const full = Math.floor(done * barWidth)
  const what = isStarting
    ? `${joined} of ${nodes} nodes joined`
    : `${(Math.floor(hours * 10) / 10).toFixed(1)} of ${ofHours} virtual hours`
  const left = elapsedSeconds * (1 - done) / done
  const about = isStarting || done < 0.02 || elapsedSeconds < 3 ? "" : `, about ${Report.duration(left)} left`
  return `[${"#".repeat(full)}${".".repeat(barWidth - full)}] ${what}${about}`
}

/** Shows progress, on a terminal only. */
const onTerminal = Effect.fnUntraced(function*() {
  const { stderr } = process
  if (!stderr.isTTY) return undefined
  const clock = yield* Clock.Clock
  const seconds = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e9
  let since: number | undefined
  yield* Effect.addFinalizer(() => Effect.sync(() => stderr.write("\r\u001b[K")))
  return (progress: Simulation.Progress) =>
    Effect.sync(() => {
      // Timed from the start of the run proper: the joins before it are no basis for an estimate.
      if (progress.phase === "Running") since ??= seconds()
      const line = bar(progress, since === undefined ? 0 : seconds() - since)
      stderr.write(`\r${line.slice(0, stderr.columns - 1)}\u001b[K`)
    })
})

/**
 * Runs the scenario and prints the results; fails if an expectation of every run
 * does not hold.
 *
 * @category commands
 * @since 0.1.0
 */
export const simulate = Effect.fnUntraced(
  function*({ json, report, ...given }: Options) {
    const path = Option.getOrUndefined(report)
    if (path !== undefined) yield* OutputFile.prepare("report", path)
    YoungGeneration.letGrow()
    const measured = yield* Simulation.run(Flags.scenarioOf(given), {
      crypto: NodeCrypto.fastest,
      onProgress: yield* onTerminal()
    }).pipe(
      Effect.catchTags({
        InvalidScenario: (mistake) => Output.usage(Flags.mistakeOf(mistake)),
        RunFailed: ({ message, scenario }) => Output.failed(`${message}; again: ${Flags.commandOf(scenario)}`)
      })
    )
    const command = Flags.commandOf(measured.scenario)
    if (path !== undefined) yield* OutputFile.write("report", path, Page.page(measured, command))
    yield* Output.print(json, Report.document(measured, command), [
      ...Report.lines(measured),
      "",
      ...(path === undefined ? [] : [`Report: ${Path.resolve(path)}`]),
      `Again:  ${command}`
    ])
    const broken = measured.expectations.filter(({ holds }) => !holds)
    if (broken.length > 0) {
      return yield* Output.failed(
        broken.map(Report.judged).map(({ bound, measured, what }) => `${what}: ${measured}, ${bound}`).join("; ")
      )
    }
  },
  Effect.scoped
)
