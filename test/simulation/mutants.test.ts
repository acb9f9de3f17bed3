import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { join } from "node:path"
import { properties } from "../../src/testing/Properties.ts"
import { type Mutant, mutants, mutate, sourceOf } from "./mutants.ts"
import { worlds } from "./worlds.ts"

interface Ended {
  readonly code: number | string | undefined
  readonly stdout: string
  readonly stderr: string
}

/** Runs the mutant's world in a process whose source is the mutant's. */
const run = (mutant: string, world: string): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(
      process.execPath,
      ["--import", join(import.meta.dirname, "mutantHook.ts"), join(import.meta.dirname, "world.ts"), world],
      { env: { ...process.env, MUTANT: mutant }, timeout: 120_000, maxBuffer: 1 << 24 },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : error.code ?? undefined, stdout, stderr })
    )
  })

/** The names of the properties that did not hold; the log goes to the same stream. */
const violated = ({ stdout }: Ended): ReadonlyArray<string> =>
  stdout.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line).property)

describe("mutants", () => {
  for (const { name, property, world } of mutants) {
    it.concurrent(`a node that ${name} violates ${property}`, async () => {
      const ended = await run(name, world)
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.include(violated(ended), property)
    })
  }

  it("there is one for each property", () => {
    assert.deepStrictEqual(
      Object.keys(properties).filter((name) => !mutants.some(({ property }) => property === name)),
      []
    )
  })

  it("each has its place in the source, and its world", () => {
    for (const mutant of mutants) {
      assert.notStrictEqual(mutate(mutant, sourceOf(mutant)), sourceOf(mutant))
      assert.property(worlds, mutant.world)
    }
  })

  it("one whose place is gone fails", () => {
    const gone: Mutant = { ...mutants[0], text: "this is nowhere in the source" }
    assert.throws(() => mutate(gone, sourceOf(gone)), /has 0 places, not one/)
  })

  it("one that nobody knows fails", async () => {
    const ended = await run("sings", "small")
    assert.notStrictEqual(ended.code, 0)
    assert.include(ended.stderr, "There is no mutant that sings")
  })
})
