import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestConsole from "effect/testing/TestConsole"
import * as Fs from "node:fs"
import { join } from "node:path"
import * as commandLine from "../utils/commandLine.ts"
import { story } from "../utils/story.ts"
import { temporary } from "../utils/temporary.ts"

const run = (...args: ReadonlyArray<string>) => commandLine.run(["soak", ...args])

describe("effect-dht soak", () => {
  it.effect(
    "runs the worlds of consecutive seeds on threads, and continues from its state",
    () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const [state, junit] = [join(directory, "state.json"), join(directory, "junit.xml")]
        const limits = ["--workers", "2", "--minutes", "60", "--state", state]
        const first = yield* run("--from", "5", "--worlds", "3", ...limits, "--junit", junit)
        assert.deepStrictEqual([first.exitCode, first.error], [0, []])
        assert.strictEqual(first.out[0], "3 worlds from seed 5 on: 0 failed")
        assert.match(first.out.join("\n"), /\nnetwork: .*delivered 3/)
        assert.include(Fs.readFileSync(junit, "utf8"), "3 of 3 worlds from seed 5 pass")
        const second = yield* run("--worlds", "1", ...limits, "--json")
        assert.deepStrictEqual([second.exitCode, second.error], [0, []])
        const then = JSON.parse(second.out[0])
        assert.deepStrictEqual([then.from, then.worlds, then.kinds], [5, 4, []])
        const other = yield* run("--from", "6", ...limits)
        assert.strictEqual(other.exitCode, 2)
        assert.include(other.error.join(), "--from 6 is not the first seed")
      }),
    180_000
  )

  it.effect("fails with one line before any world runs if a file cannot be written", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const path = join(directory, "none", "file")
      for (const [flag, what] of [["--state", "state"], ["--junit", "JUnit report"]]) {
        const { error, exitCode, out } = yield* run("--minutes", "60", flag, path)
        assert.deepStrictEqual({ error, exitCode, out }, {
          error: [`effect-dht: The ${what} cannot be written to ${path}: the directory does not exist`],
          exitCode: 1,
          out: []
        })
      }
      assert.deepStrictEqual(Fs.readdirSync(directory), [])
    }))

  it.live(
    "prints the results and writes the report even if the state can no longer be written",
    () =>
      Effect.gen(function*() {
        const directory = yield* temporary
        const inside = join(directory, "inside")
        Fs.mkdirSync(inside)
        const [state, junit] = [join(inside, "state.json"), join(directory, "junit.xml")]
        const limits = ["--workers", "1", "--worlds", "1", "--from", "5"]
        const soaking = yield* Effect.forkChild(run(...limits, "--state", state, "--junit", junit))
        yield* Effect.suspend(() => Fs.existsSync(state) ? Effect.void : Effect.fail("not yet")).pipe(
          Effect.retry({ times: 6000, schedule: Schedule.spaced("10 millis") })
        )
        Fs.rmSync(inside, { recursive: true })
        const { error, exitCode, out } = yield* Fiber.join(soaking)
        assert.strictEqual(exitCode, 1)
        assert.deepStrictEqual(error, [
          `effect-dht: The state cannot be written to ${state}: the directory does not exist`
        ])
        assert.strictEqual(out[0], "1 worlds from seed 5 on: 0 failed")
        assert.include(Fs.readFileSync(junit, "utf8"), "1 of 1 worlds from seed 5 pass")
      }).pipe(Effect.provide(TestConsole.layer)),
    120_000
  )

  it.effect(
    "continues a campaign in which a world failed, until a world fails in this run",
    () =>
      Effect.gen(function*() {
        const state = join(yield* temporary, "state.json")
        const failure = { story, kind: "OneReply", problems: ["two replies"] }
        const kinds = [{ failure, seeds: [5], count: 1 }]
        Fs.writeFileSync(state, JSON.stringify({ from: 5, next: 6, ahead: [], reached: {}, kinds }))
        const { exitCode, out } = yield* run("--worlds", "1", "--workers", "1", "--state", state, "--json")
        const then = JSON.parse(out[0])
        assert.deepStrictEqual([exitCode, then.worlds, then.kinds.length], [1, 2, 1])
      }),
    60_000
  )

  it.effect("rejects a state to save for a single world, and leaves the state as it was", () =>
    Effect.gen(function*() {
      const state = join(yield* temporary, "state.json")
      Fs.writeFileSync(state, "a campaign")
      const { error, exitCode } = yield* run("--seed", "1", "--state", state)
      assert.strictEqual(exitCode, 2)
      assert.include(error.join(), "Leave out --state")
      assert.strictEqual(Fs.readFileSync(state, "utf8"), "a campaign")
    }))

  it.effect("rejects a file that is not its state", () =>
    Effect.gen(function*() {
      const state = join(yield* temporary, "state.json")
      Fs.writeFileSync(state, "{}")
      const { error, exitCode } = yield* run("--state", state)
      assert.strictEqual(exitCode, 1)
      assert.include(error.join(), "is not the state of a soak")
    }))
})
