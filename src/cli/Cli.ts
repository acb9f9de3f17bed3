/**
 * The command `effect-dht`.
 *
 * @since 0.1.0
 */
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as References from "effect/References"
import { version } from "../internal/version.ts"
import { settings } from "../node/internal/settings.ts"
import { announce, announcements, withdraw } from "./declarations/Announcements.ts"
import { mcp } from "./declarations/Assistants.ts"
import { identity, record } from "./declarations/Files.ts"
import { hosted } from "./declarations/HostedIdentities.ts"
import { mailbox } from "./declarations/Messages.ts"
import { backup, demo, reachability, top } from "./declarations/Operation.ts"
import { publish } from "./declarations/Publishing.ts"
import { discover, findNode, network, ping, resolve } from "./declarations/Queries.ts"
import { host, node } from "./declarations/Running.ts"
import { replay, simulate, soak } from "./declarations/Simulations.ts"
import * as Output from "./Output.ts"
import * as Parameter from "./Parameter.ts"

/**
 * The `effect-dht` command with all subcommands.
 *
 * @category commands
 * @since 0.1.0
 */
export const command = Command.make("effect-dht").pipe(
  Command.withDescription(
    "A distributed hash table of signed records, in which agents find each other by cryptographic address. " +
      "Exit codes: 0 done, 1 not found, no answer or failed, 2 wrong usage, 130 interrupted before it was done"
  ),
  Command.withExamples([
    { command: "effect-dht demo", description: "A small network in this process, with a page to watch it" },
    { command: "effect-dht node", description: "The first node of a network" },
    { command: "effect-dht node --help", description: "All options of a node, and their environment variables" }
  ]),
  Command.withSubcommands([
    node,
    host,
    ping,
    resolve,
    findNode,
    network,
    reachability,
    discover,
    publish,
    announce,
    announcements,
    withdraw,
    hosted,
    mailbox,
    mcp,
    identity,
    backup,
    record,
    simulate,
    soak,
    replay,
    demo,
    top
  ])
)

/** The flag for shell completions, without `sh`, for which Effect would print the script of Bash. */
const completions: typeof GlobalFlag.Completions = GlobalFlag.Action({
  flag: Flag.ChoiceWithValue("completions", [
    ["bash", "bash"],
    ["zsh", "zsh"],
    ["fish", "fish"],
    ["powershell", "powershell"],
    ["pwsh", "powershell"]
  ]).pipe(
    Flag.optional,
    Flag.withMetavar("shell"),
    Flag.withDescription("Print shell completion script")
  ),
  run: GlobalFlag.Completions.run
})

const services = Layer.mergeAll(
  CliConfig.layer({
    builtIns: CliConfig.defaults.builtIns.map((flag) => flag === GlobalFlag.Completions ? completions : flag)
  }),
  CliOutput.layerPresenter(Output.presenter),
  Logger.layer([Output.logger])
)

/** The log level of the environment, used without `--log-level`. */
const logLevel = Effect.flatMap(
  Config.option(Config.String(settings.logLevel.variable)),
  Option.match({
    onNone: () => References.MinimumLogLevel,
    onSome: Parameter.decode(settings.logLevel.codec, settings.logLevel.variable)
  })
)

/**
 * Runs a command line (without the program's name) and succeeds with the exit
 * code. A code other than 0 comes with one line on the standard error. Fails
 * only by interruption.
 *
 * @category running
 * @since 0.1.0
 */
export const main = (args: ReadonlyArray<string>): Effect.Effect<number, never, Command.Environment> =>
  logLevel.pipe(
    Effect.flatMap((level) =>
      Effect.provideService(Command.runWith(command, { version })(args), References.MinimumLogLevel, level)
    ),
    Effect.as(0),
    Effect.catch((error) => {
      // The parser has already printed what is wrong.
      if (error._tag === "ShowHelp") return Effect.succeed(Output.usageCode)
      return Effect.as(Output.warn(error.message), error._tag === "Failure" ? error.exitCode : Output.usageCode)
    }),
    Effect.catchDefect((defect) => Effect.as(Output.warn(`Internal error: ${String(defect)}`), Output.failedCode)),
    Effect.provide(services)
  )
