/**
 * Output of commands: results on the standard output, everything else on the
 * standard error.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as CliError from "effect/cli/CliError"
import * as CliOutput from "effect/cli/CliOutput"
import type { HelpDoc } from "effect/cli/HelpDoc"
import { TerminalCapabilities } from "effect/cli/TerminalCapabilities"
import * as Console from "effect/Console"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as Json from "../internal/json.ts"
import * as Shell from "../internal/shell.ts"
import type { Completeness } from "../Query.ts"
import * as Help from "./Help.ts"

/**
 * A command's failure: one line for the user, and the exit code.
 *
 * @category errors
 * @since 0.1.0
 */
export class Failure extends Data.TaggedError("Failure")<{
  readonly message: string
  readonly exitCode: typeof failedCode | typeof usageCode
}> {}

/**
 * Exit code for not found, no answer, or failed.
 *
 * @category constants
 * @since 0.1.0
 */
export const failedCode = 1

/**
 * Exit code for an invalid command line.
 *
 * @category constants
 * @since 0.1.0
 */
export const usageCode = 2

/**
 * @category constructors
 * @since 0.1.0
 */
export const failed = (message: string): Failure => new Failure({ message, exitCode: failedCode })

/**
 * @category constructors
 * @since 0.1.0
 */
export const usage = (message: string): Failure => new Failure({ message, exitCode: usageCode })

/**
 * Replaces control characters in untrusted text, which a terminal would obey.
 *
 * @category conversions
 * @since 0.1.0
 */
export const printable = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]/gu, (char) => `\\u{${char.codePointAt(0)?.toString(16)}}`)

/**
 * Prints a result: one line of JSON, or lines of text.
 *
 * @category output
 * @since 0.1.0
 */
export const print = (
  json: boolean,
  document: Json.Json,
  lines: ReadonlyArray<string>
): Effect.Effect<void> =>
  json
    ? Console.log(Json.stringify(document))
    : Effect.forEach(lines, (line) => Console.log(printable(line)), { discard: true })

/**
 * Aligns names and values in two columns.
 *
 * @category output
 * @since 0.1.0
 */
export const table = (rows: ReadonlyArray<readonly [name: string, value: string | number | bigint]>): Array<string> => {
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`)
}

/**
 * A command line of `effect-dht` to be copied into a shell.
 *
 * @category formatting
 * @since 0.1.0
 */
export const command = (...args: ReadonlyArray<string>): string => ["effect-dht", ...args].map(Shell.word).join(" ")

/**
 * Prints one line on the standard error.
 *
 * @category output
 * @since 0.1.0
 */
export const warn = (message: string): Effect.Effect<void> =>
  Console.error(`effect-dht: ${printable(message.replace(/\s*\n\s*/g, " "))}`)

/**
 * Formats a time given in Unix seconds.
 *
 * @category output
 * @since 0.1.0
 */
export const time = (seconds: number | bigint): string => {
  const date = DateTime.make(Number(seconds) * 1000)
  return Option.isSome(date)
    ? DateTime.formatIso(date.value).replace(".000Z", "Z")
    : `${seconds} s after 1970-01-01`
}

/**
 * Prints help and usage errors.
 *
 * @category services
 * @since 0.1.0
 */
export const presenter: CliOutput.Presenter = {
  present: (event) => {
    switch (event._tag) {
      case "InvalidInvocation": {
        const help = `see ${event.commandPath.join(" ")} --help`
        return warn(`${event.errors.map(inOneLine).join("; ")} (${help})`)
      }
      case "Help":
        // Help for a missing subcommand was not requested, so it is not a result.
        return event.reason === "Implicit" ? help(event.helpDoc, process.stderr) : help(event.helpDoc, process.stdout)
      case "Version":
        return CliOutput.defaultPresenter.present(event)
    }
  }
}

const inOneLine = (error: CliError.NonShowHelpErrors): string => {
  const [message] = error.message.replace(/[.?]$/, "").split(/\s*Did you mean this\?\s*/)
  const near = error._tag === "UnknownSubcommand"
    ? error.suggestions.filter((name) => Help.isSlip(error.subcommand, name))
    : error._tag === "UnrecognizedOption"
    ? error.suggestions.filter((flag) => Help.isSlip(nameOf(error.option), nameOf(flag)))
    : []
  return near.length === 0 ? message : `${message}; did you mean ${near.join(" or ")}?`
}

const nameOf = (flag: string): string => flag.replace(/^-+|=.*$/g, "")

/** Cells per line of help: the terminal's width up to 100, 80 without a terminal. */
const columnsOf = ({ columns, isTTY }: NodeJS.WriteStream): number => isTTY && columns > 0 ? Math.min(columns, 100) : 80

const help = Effect.fnUntraced(function*(doc: HelpDoc, stream: NodeJS.WriteStream) {
  const { canColor } = yield* TerminalCapabilities
  // Color support is detected for the standard output only.
  const colors = canColor && (stream.isTTY || !process.stdout.isTTY)
  const text = Help.format(doc, { columns: columnsOf(stream), colors })
  yield* stream === process.stderr ? Console.error(text) : Console.log(text)
})

/**
 * A logger of one line per message on the standard error, with stacks of
 * defects only at log level `debug`.
 *
 * @category services
 * @since 0.1.0
 */
export const logger: Logger.Logger<unknown, void> = Logger.withConsoleError(
  Logger.make<unknown, string>(({ cause, date, fiber, logLevel, message }) => {
    const debug = LogLevel.isLessThanOrEqualTo(fiber.getRef(References.MinimumLogLevel), "Debug")
    const parts = [message].flat().map(String)
    if (cause.reasons.length > 0 && !debug) parts.push(String(Cause.squash(cause)))
    const facts = Object.entries(fiber.getRef(References.CurrentLogAnnotations)).map(([name, value]) =>
      `${name}=${/[\s"]/.test(String(value)) ? JSON.stringify(String(value)) : String(value)}`
    )
    const line = printable([`${date.toISOString()} ${logLevel.toUpperCase()} ${parts.join(": ")}`, ...facts].join(" "))
    return debug && cause.reasons.length > 0 ? `${line}\n${Cause.pretty(cause)}` : line
  })
)

/**
 * A sentence on how much of the network's records were read.
 *
 * @category formatting
 * @since 0.1.0
 */
export const completeness = ({ answered, held, holders, seen }: Completeness): string =>
  `Read ${seen} of ${held} records that ${holders} of ${answered} nodes hold`
