import * as Effect from "effect/Effect"
import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Readable, Writable } from "node:stream"

/** How a process ended, and its output. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly out: ReadonlyArray<string>
  readonly error: ReadonlyArray<string>
}

/** Longer than any step takes on a slow machine, and short enough to detect a hang. */
const timeout = "1 minute"

const root = join(import.meta.dirname, "../..")

/** Starts a program, whose input is empty if it is ignored; the scope kills it if it still runs. */
export const program = (command: string, args: ReadonlyArray<string>, input: "ignore" | "pipe" = "ignore") =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        // Settings of the environment for other nodes must not apply here.
        const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("DHT_")))
        const child = spawn(command, args, { cwd: root, env, stdio: [input, "pipe", "pipe"] }) as ChildProcessByStdio<
          Writable | null,
          Readable,
          Readable
        >
        // It may end before it has read all of its input.
        child.stdin?.on("error", () => {})
        return child
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

      /** Waits until `find` returns a value; dies if the process ends or the timeout passes before. */
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
        /** Writes to its input, if that is a pipe. */
        write: (text: string) => Effect.sync(() => child.stdin?.write(text)),
        /** Ends its input, after a last text. */
        endInput: (text = "") => Effect.sync(() => child.stdin?.end(text)),
        isAlive: () => isAlive(child),
        kill: (signal: NodeJS.Signals) => Effect.sync(() => child.kill(signal)),
        /** The first event with that name in its past or future output. */
        event: (name: string) =>
          until(`event "${name}"`, () =>
            out.map((line): { readonly [field: string]: string } => JSON.parse(line))
              .find(({ event }) => event === name)),
        /** The last event in its output so far for which a condition holds. */
        latest: <A extends object>(isMeant: (event: { readonly event: string }) => boolean): A | undefined =>
          out.map((line): { readonly event: string } => JSON.parse(line)).findLast(isMeant) as A | undefined,
        /** The first matching line in its past or future output. */
        line: (pattern: RegExp) => until(`line ${pattern}`, () => out.find((line) => pattern.test(line))),
        ended: until("end", () => ended)
      }
    }
  )

/** Starts the command-line program. */
export const start = (...args: ReadonlyArray<string>) => startUnder([], ...args)

/** Starts the command-line program with a pipe as its input. */
export const startWithInput = (...args: ReadonlyArray<string>) =>
  program(process.execPath, [join(root, "src/bin.ts"), ...args], "pipe")

/** Starts the command-line program through another one, which must replace itself by it (`exec`). */
export const startUnder = (by: ReadonlyArray<string>, ...args: ReadonlyArray<string>) => {
  const [command, ...rest] = [...by, process.execPath, join(root, "src/bin.ts"), ...args]
  return program(command, rest)
}

/** Starts a script of this package through npm. */
export const script = (name: string, ...args: ReadonlyArray<string>) =>
  program("npm", ["run", "--silent", name, "--", ...args])

const isAlive = (child: ChildProcess) => child.exitCode === null && child.signalCode === null

/** Runs the command-line program to its end. */
export const run = (...args: ReadonlyArray<string>) =>
  Effect.scoped(Effect.flatMap(start(...args), ({ ended }) => ended))
