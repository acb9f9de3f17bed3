import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import { join } from "node:path"
import * as OutputFile from "../../src/cli/OutputFile.ts"
import { directory } from "../utils/runningNode.ts"

describe("a new file", () => {
  it.effect("is given up when it is interrupted, even if its content does not end, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const { data } = yield* directory
      const before = Fs.readdirSync(data)
      const begun = yield* Latch.make()
      const content = Stream.concat(
        Stream.make(Uint8Array.of(1)),
        Stream.fromEffect(Effect.andThen(begun.open, Effect.never))
      )
      const writing = yield* Effect.forkChild(OutputFile.create("backup", join(data, "copy"), content))
      yield* begun.await
      assert.lengthOf(Fs.readdirSync(data), before.length + 1)
      yield* Fiber.interrupt(writing)
      assert.deepStrictEqual(Fs.readdirSync(data), before)
    }))
})
