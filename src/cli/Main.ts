/**
 * The command as a process: its output, its exit code and its signals.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { main } from "./Cli.ts"

// Whoever read our output may have left; a node lives on.
process.stdout.on("error", () => {})
process.stderr.on("error", () => {})

/** Whether some output could not be written, though its reader is there. */
const isLost = (): boolean =>
  [process.stdout, process.stderr].some(({ errored }: { readonly errored: NodeJS.ErrnoException | null }) =>
    errored !== null && errored.code !== "EPIPE"
  )

main(process.argv.slice(2)).pipe(
  Effect.tap((code) =>
    Effect.sync(() => {
      process.exitCode = code
    })
  ),
  Effect.provide(NodeServices.layer),
  NodeRuntime.runMain({
    disableErrorReporting: true,
    // An interrupted command has not done its work, unless it says otherwise.
    teardown: (exit, onExit) => {
      const code = Number(process.exitCode ?? (Exit.isSuccess(exit) ? 0 : 130))
      onExit(code === 0 && isLost() ? 1 : code)
    }
  })
)
