/**
 * A process that saves numbered records in a directory as fast as it can,
 * starting at a given number, and prints each durable number, until killed.
 */
import * as Effect from "effect/Effect"
import { writeSync } from "node:fs"
import * as SqlitePersistence from "../../src/node/SqlitePersistence.ts"
import { Persistence } from "../../src/Persistence.ts"
import { changesOf } from "../utils/numbered.ts"

const [directory, from] = process.argv.slice(2)

await Effect.runPromise(
  Effect.gen(function*() {
    const { flush, save } = yield* Persistence
    for (let n = Number(from);; n++) {
      changesOf(n).forEach(save)
      // Some wait for others, as in a node.
      if (n % 7 !== 0) continue
      yield* flush
      writeSync(1, `${n}\n`)
    }
  }).pipe(Effect.provide(SqlitePersistence.layer({ directory })))
)
