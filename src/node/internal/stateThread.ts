/**
 * The worker thread of a data directory, as the node calls it.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { Worker } from "node:worker_threads"
import type { Answer, Call, Calls } from "./stateWorker.ts"

/** Time for the thread to exit. */
const closeTimeout = "5 seconds"

/** Maximum number of calls waiting for a blocked disk, abandoned ones included. */
const maxUnanswered = 16

/**
 * The thread failed to do a call.
 *
 * @internal
 */
export class CallFailed extends Data.TaggedError("CallFailed")<{ readonly reason: string }> {
  override get message() {
    return this.reason
  }
}

/**
 * Makes a call to the thread, which does calls one at a time, in order.
 *
 * @internal
 */
export type Caller = <Name extends keyof Calls>(
  name: Name,
  ...args: Parameters<Calls[Name]>
) => Effect.Effect<ReturnType<Calls[Name]>, CallFailed>

// The file next to this one, which is TypeScript in the source tree and
// JavaScript in the package.
const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js"
const program = new URL(`./stateWorker${extension}`, import.meta.url)

/** Suppresses the warning that node:sqlite is experimental, in versions that print it. Deno rejects unknown flags. */
const quiet = process.allowedNodeEnvironmentFlags?.has("--disable-warning")
  ? ["--disable-warning=ExperimentalWarning"]
  : []

/**
 * Starts a thread that ends with the scope. It keeps the process alive only
 * while a call is in progress.
 *
 * @internal
 */
export const start: Effect.Effect<Caller, CallFailed, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        const worker = new Worker(program, {
          name: "effect-dht state",
          execArgv: quiet
        })
        worker.unref()
        return worker
      },
      catch: (cause) => new CallFailed({ reason: `the thread could not be started: ${String(cause)}` })
    }),
    (worker) => Effect.ignore(Effect.timeout(Effect.promise(() => worker.terminate()), closeTimeout))
  ),
  (worker): Caller => {
    const waiting = new Map<number, (answer: Answer) => void>()
    let calls = 0
    let answers = 0
    let death: string | undefined
    const settle = (answer: Answer) => {
      const resume = waiting.get(answer.number)
      waiting.delete(answer.number)
      if (waiting.size === 0) worker.unref()
      resume?.(answer)
    }
    const die = (reason: string) => {
      death ??= reason
      for (const number of Array.from(waiting.keys())) settle({ number, failure: death })
    }
    worker.on("message", (answer: Answer) => {
      answers++
      settle(answer)
    })
    worker.on("error", (error) => die(`the thread failed: ${error instanceof Error ? error.message : String(error)}`))
    worker.on("exit", () => die("the thread exited"))
    return (name, ...args) =>
      Effect.callback((resume) => {
        if (death !== undefined) return resume(new CallFailed({ reason: death }))
        if (calls - answers >= maxUnanswered) return resume(new CallFailed({ reason: "the disk does not respond" }))
        const call: Call = { number: calls++, name, args: args as ReadonlyArray<never> }
        waiting.set(call.number, ({ failure, result }) =>
          resume(
            failure === undefined
              ? Effect.succeed(result as ReturnType<Calls[typeof name]>)
              : new CallFailed({ reason: failure })
          ))
        worker.ref()
        worker.postMessage(call)
        return Effect.sync(() => settle({ number: call.number }))
      })
  }
)

/**
 * Limits the time of a call.
 *
 * @internal
 */
export const inTime = (duration: Duration.Input) =>
  Effect.timeoutOrElse({
    duration,
    orElse: () => new CallFailed({ reason: `the disk did not respond within ${duration}` })
  })
