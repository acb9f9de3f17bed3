/**
 * The handler of a command.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Stdio } from "effect/Stdio"
import type { Terminal } from "effect/Terminal"
import * as Output from "../Output.ts"

/** Defers loading a command's implementation until the command runs. */
export const handler = <Input>(
  load: () => Promise<(input: Input) => Effect.Effect<void, Error, Stdio | Terminal>>
) =>
(input: Input) =>
  Effect.promise(load).pipe(
    Effect.flatMap((run) => run(input)),
    Effect.mapError((error) => error instanceof Output.Failure ? error : Output.failed(error.message)),
    Effect.catchDefect((defect) =>
      Effect.andThen(
        Effect.logDebug("Internal error", Cause.die(defect)),
        Output.failed(`Internal error: ${String(defect)} (use --log-level debug for details)`)
      )
    )
  )
