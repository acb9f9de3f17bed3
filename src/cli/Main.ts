/**
 * The command as a process: its output, its exit code and its signals.
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import { main } from "./Cli.ts"

// Whoever read our output may have left; a node lives on.
process.stdout.on("error", () => {})
process.stderr.on("error", () => {})

/** Codes of a write whose reader has left: the other end of a pipe, or a terminal that was closed. */
const isGone = (code: string | undefined, isTerminal: boolean) => code === "EPIPE" || (code === "EIO" && isTerminal)

/** Whether some output could not be written, though its reader is there. */
const isLost = (): boolean =>
  [process.stdout, process.stderr].some((
    { errored, isTTY }: { readonly errored: NodeJS.ErrnoException | null; readonly isTTY?: boolean }
  ) => errored !== null && !isGone(errored.code, isTTY === true))

/** Ctrl-C, the end of the process as a supervisor asks for it, and the end of the terminal. */
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const

/** Nanoseconds in which a further signal is the same request: npm passes on what the terminal sent to all. */
const repeated = 1_000_000_000n

/**
 * Interrupts the command at the first signal, which then stops in order. At
 * another one the process exits at once, for the stop may hang.
 */
const run = Runtime.makeRunMain(({ fiber, teardown }) => {
  const clock = fiber.getRef(Clock.Clock)
  let since: bigint | undefined
  const stop = (_: NodeJS.Signals, number: number) => {
    const now = clock.monotonicTimeNanosUnsafe()
    if (since === undefined) {
      since = now
      fiber.interruptUnsafe(fiber.id)
    } else if (now - since > repeated) {
      process.exit(128 + number)
    }
  }
  for (const signal of signals) process.on(signal, stop)
  fiber.addObserver((exit) =>
    teardown(exit, (code) => {
      // Without a signal the process ends by itself when its output is written.
      if (since !== undefined || code !== 0) process.exit(code)
    })
  )
})

main(process.argv.slice(2)).pipe(
  Effect.tap((code) =>
    Effect.sync(() => {
      process.exitCode = code
    })
  ),
  Effect.provide(NodeServices.layer),
  run({
    disableErrorReporting: true,
    // An interrupted command has not done its work, unless it says otherwise.
    teardown: (exit, onExit) => {
      const code = Number(process.exitCode ?? (Exit.isSuccess(exit) ? 0 : 130))
      onExit(code === 0 && isLost() ? 1 : code)
    }
  })
)
