/**
 * The command as a process: output, exit code and signals.
 *
 * @since 0.1.0
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Runtime from "effect/Runtime"
import { main } from "./Cli.ts"

// The reader of our output may have exited; a node keeps running.
process.stdout.on("error", () => {})
process.stderr.on("error", () => {})

/** Error codes of a write whose reader has gone: the other end of a pipe, or a closed terminal. */
const isGone = (code: string | undefined, isTerminal: boolean) => code === "EPIPE" || (code === "EIO" && isTerminal)

/** Whether output was lost although its reader is still there. */
const isLost = (): boolean =>
  [process.stdout, process.stderr].some((
    { errored, isTTY }: { readonly errored: NodeJS.ErrnoException | null; readonly isTTY?: boolean }
  ) => errored !== null && !isGone(errored.code, isTTY === true))

/** Ctrl-C, a supervisor's request to stop, and the closing of the terminal. */
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const

/** Nanoseconds within which a further signal counts as the same: npm forwards signals that the terminal sent to it and us. */
const repeated = 1_000_000_000n

/**
 * Interrupts the command at the first signal, for an orderly stop. At a second
 * one the process exits at once, because the stop may hang.
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
      // Otherwise the process ends by itself once its output is written.
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
    // An interrupted command counts as failed, unless it reports otherwise.
    teardown: (exit, onExit) => {
      const code = Number(process.exitCode ?? (Exit.isSuccess(exit) ? 0 : 130))
      onExit(code === 0 && isLost() ? 1 : code)
    }
  })
)
