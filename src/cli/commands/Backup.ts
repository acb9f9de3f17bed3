/**
 * A copy of a running node's state: `backup`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fs from "node:fs/promises"
import * as Gateway from "../Gateway.ts"
import * as Output from "../Output.ts"
import * as OutputFile from "../OutputFile.ts"

interface Options extends Gateway.Options {
  readonly file: string
  readonly json: boolean
}

/**
 * Copies the state of the node that runs in the data directory to a new file.
 *
 * @category commands
 * @since 0.1.0
 */
export const backup = Effect.fnUntraced(function*({ file, json, ...options }: Options) {
  yield* OutputFile.prepareNew("backup", file)
  const client = yield* Gateway.get(options)
  const content = yield* Effect.mapError(client.node.backup(), Gateway.failureOf)
  yield* OutputFile.create("backup", file, content)
  const { size } = yield* Effect.promise(() => Fs.stat(file))
  yield* Output.print(json, { file, bytes: size }, [
    ...Output.table([["backup", file], ["size", `${size} bytes`]]),
    `The key of the identity is not in it: ${Output.command("identity", "export", "KEY-FILE", "--data", options.data)}`
  ])
})
