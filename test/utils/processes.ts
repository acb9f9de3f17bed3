import * as Effect from "effect/Effect"
import { type ChildProcess, spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"

/** How a process ended, and all it said. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: ReadonlyArray<string>
  readonly error: ReadonlyArray<string>
}

/** Longer than anything here takes on a slow machine, and short enough to see that it hangs. */
const timeout = "30 seconds"

const root = join(import.meta.dirname, "../..")

/** A program as a process of its own, which is killed with the scope if it still runs. */
export const program = (command: string, args: ReadonlyArray<string>) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        // Whatever the surroundings set for other nodes is not for these.
        const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("DHT_")))
        return spawn(command, args, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] })
      }),
      (child) =>
        Effect.promise(async () => {
          if (isAlive(child)) {
            child.kill("SIGKILL")
            await new Promise((resolve) => child.once("close", resolve))
          }
        })
    ),
    (child) => {
      const out: Array<string> = []
      const error: Array<string> = []
      const watchers = new Set<() => void>()
      createInterface(child.stdout).on("line", (line) => {
        out.push(line)
        watchers.forEach((check) => check())
      })
      createInterface(child.stderr).on("line", (line) => error.push(line))
      let ended: Ended | undefined
      child.once("close", (code, signal) => {
        ended = { code, signal, out, error }
        watchers.forEach((check) => check())
      })

      /** Waits for something to be there; dies if it is still missing when the process has ended or time is over. */
      const until = <A>(what: string, find: () => A | undefined): Effect.Effect<A> =>
        Effect.callback<A>((resume) => {
          const check = () => {
            const found = find()
            if (found !== undefined) resume(Effect.succeed(found))
            else if (ended !== undefined) resume(Effect.die(new Error(`No ${what}: ${JSON.stringify(ended)}`)))
          }
          watchers.add(check)
          check()
          return Effect.sync(() => watchers.delete(check))
        }).pipe(
          Effect.timeoutOrElse({
            duration: timeout,
            orElse: () => Effect.die(new Error(`No ${what} in ${timeout}: ${JSON.stringify({ out, error })}`))
          })
        )

      return {
        pid: child.pid,
        isAlive: () => isAlive(child),
        kill: (signal: NodeJS.Signals) => Effect.sync(() => child.kill(signal)),
        /** The first event of that name that it has printed or will print. */
        event: (name: string) =>
          until(`event "${name}"`, () =>
            out.map((line): { readonly [field: string]: string } => JSON.parse(line))
              .find(({ event }) => event === name)),
        /** The first line that it has printed or will print and that matches. */
        line: (pattern: RegExp) => until(`line ${pattern}`, () => out.find((line) => pattern.test(line))),
        ended: until("end", () => ended)
      }
    }
  )

/** The command. */
export const start = (...args: ReadonlyArray<string>) => startUnder([], ...args)

/** The same, run by another program, which must become it (`exec`). */
export const startUnder = (by: ReadonlyArray<string>, ...args: ReadonlyArray<string>) => {
  const [command, ...rest] = [...by, process.execPath, join(root, "src/bin.ts"), ...args]
  return program(command, rest)
}

/** A script of this package, as npm runs it. */
export const script = (name: string, ...args: ReadonlyArray<string>) =>
  program("npm", ["run", "--silent", name, "--", ...args])

const isAlive = (child: ChildProcess) => child.exitCode === null && child.signalCode === null

/** Runs a command to its end. */
export const run = (...args: ReadonlyArray<string>) =>
  Effect.scoped(Effect.flatMap(start(...args), ({ ended }) => ended))
