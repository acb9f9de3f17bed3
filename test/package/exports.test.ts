import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { modules } from "../utils/exports.ts"

/** The modules of a directory that its barrel names. */
const named = (directory: string): ReadonlyArray<string> =>
  [
    ...readFileSync(join(import.meta.dirname, "../../src", directory, "index.ts"), "utf8")
      .matchAll(/^export .* from "\.\/(\w+)\.ts"$/gm)
  ].map(([, name]) => directory + name)

describe("the package", () => {
  it("lets programs import the modules that its entry points name, those that serve HTTP, and no others", () => {
    const http = ["Api", "Checks", "Client", "Dashboard", "EventStreams", "Guard", "Problem", "Routes"].map((name) =>
      `http/${name}`
    )
    assert.deepStrictEqual(
      modules,
      [...["", "browser/", "cluster/", "node/", "testing/"].flatMap(named), ...http].toSorted()
    )
  })
})
