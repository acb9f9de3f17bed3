import { describe, it } from "@effect/vitest"
import { assertHolds } from "./assertHolds.ts"
import { replayWorld, worlds } from "./worlds.ts"

describe("worlds", () => {
  for (const [name, run] of Object.entries(worlds)) {
    it(`${name}: all properties hold`, () => {
      assertHolds(run, replayWorld(name))
    })
  }
})
