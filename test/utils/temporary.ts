import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

/** A new directory, removed with the scope. */
export const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-dht-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
)
