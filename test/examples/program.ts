import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

/** Time limit, longer than any step takes on a slow machine. */
const timeout = "30 seconds"

/** An example in a process of its own, started as by `npm run example` and killed with the scope. */
export const start = (file: string, ...args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const path = fileURLToPath(new URL(`../../examples/${file}`, import.meta.url))
      const child = spawn(process.execPath, ["--conditions=effect-dht-source", path, ...args], { stdio: "pipe" })
      const closed = new Promise<{ readonly code: number | null; readonly error: string }>((resolve) => {
        child.once("close", (code) => resolve({ code, error }))
      })
      let error = ""
      child.stderr.setEncoding("utf8").on("data", (text: string) => error += text)
      let out = ""
      child.stdout.setEncoding("utf8").on("data", (text: string) => out += text)

      /** Waits for text that the program has printed or will print, and succeeds with the match's groups. */
      const prints = (pattern: RegExp) =>
        Effect.callback<ReadonlyArray<string>>((resume) => {
          const look = () => {
            const match = pattern.exec(out)
            if (match !== null) resume(Effect.succeed(match.slice(1)))
          }
          const ended = () => resume(Effect.die(new Error(`${file} ended without ${pattern}: ${out}${error}`)))
          child.stdout.on("data", look)
          child.once("close", ended)
          look()
          return Effect.sync(() => child.stdout.off("data", look).off("close", ended))
        }).pipe(
          Effect.timeoutOrElse({
            duration: timeout,
            orElse: () => Effect.die(new Error(`${file} did not print ${pattern}: ${out}${error}`))
          })
        )

      return {
        child,
        closed,
        prints,
        /** Types one line of input. */
        type: (line: string) => Effect.sync(() => child.stdin.write(`${line}\n`)),
        /** Ends the input. */
        hangUp: Effect.sync(() => child.stdin.end()),
        kill: Effect.sync(() => child.kill("SIGTERM")),
        ended: Effect.promise(() => closed).pipe(
          Effect.timeoutOrElse({
            duration: timeout,
            orElse: () => Effect.die(new Error(`${file} does not end: ${out}${error}`))
          })
        )
      }
    }),
    ({ child, closed }) =>
      Effect.promise(() => {
        child.kill("SIGKILL")
        return closed
      })
  )
