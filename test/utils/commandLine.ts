import * as NodeServices from "@effect/platform-node/NodeServices"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as TestConsole from "effect/testing/TestConsole"
import * as Cli from "../../src/cli/Cli.ts"

/** Runs a command line with these environment variables, and returns only what it printed itself. */
export const run = Effect.fnUntraced(function*(
  args: ReadonlyArray<string>,
  env: { readonly [name: string]: string } = {}
) {
  const before = [(yield* TestConsole.logLines).length, (yield* TestConsole.errorLines).length]
  const exitCode = yield* Cli.main(args).pipe(
    Effect.provide([NodeServices.layer, ConfigProvider.layer(ConfigProvider.fromEnv({ env }))])
  )
  const out = (yield* TestConsole.logLines).slice(before[0]).map(String)
  const error = (yield* TestConsole.errorLines).slice(before[1]).map(String)
  return { exitCode, out, error }
})

export type Ran = Effect.Success<ReturnType<typeof run>>
