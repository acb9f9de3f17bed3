import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import * as commandLine from "../utils/commandLine.ts"
import { story } from "../utils/story.ts"
import { temporary } from "../utils/temporary.ts"

const run = (...args: ReadonlyArray<string>) => commandLine.run(["replay", ...args])

describe("effect-dht replay", () => {
  it.effect("repeats a story from its text alone, with the same trace", () =>
    Effect.gen(function*() {
      const first = yield* run(JSON.stringify(story))
      assert.deepStrictEqual([first.exitCode, first.error], [0, []])
      assert.strictEqual(first.out[0], "seed 1, schedule pct:2:3:5000: 3 nodes, 20 ms apart, 0 % lost, 0 % twice")
      assert.strictEqual(first.out[1], "  at 00:00:01 node 1 crashes")
      assert.match(first.out.slice(-2).join(), /^trace [0-9a-f]{16,},passes$/)
      assert.deepStrictEqual((yield* run(JSON.stringify(story))).out, first.out)
      const other = yield* run(JSON.stringify({ ...story, seed: 2 }))
      assert.notStrictEqual(other.out.at(-2), first.out.at(-2))
    }))

  it.effect("writes a page of the same run, with the steps of the story", () =>
    Effect.gen(function*() {
      const path = join(yield* temporary, "replay.html")
      const { out: [plain] } = yield* run("--json", JSON.stringify(story))
      const { error, exitCode, out } = yield* run("--json", "--html", path, JSON.stringify(story))
      assert.deepStrictEqual([exitCode, error, JSON.parse(out[0])], [0, [], JSON.parse(plain)])
      const [, json] = /<script type="application\/json" id="recording">(.*?)<\/script>/s.exec(
        Fs.readFileSync(path, "utf8")
      )!
      const { events, failures, machines, title } = JSON.parse(json)
      assert.deepStrictEqual([title, failures, machines.length], ["seed 1", [], 3])
      assert.deepStrictEqual(
        events.filter(({ kind }: { kind: string }) => kind === "step").map(({ what }: { what: string }) => what),
        ["node 1 crashes", "the faults end, and the network recovers", "the network is checked", "all nodes leave"]
      )
    }))

  it.effect("fails before the run if the page cannot be written", () =>
    Effect.gen(function*() {
      const path = join(yield* temporary, "none", "replay.html")
      const { error, exitCode, out } = yield* run("--html", path, JSON.stringify(story))
      assert.deepStrictEqual({ error, exitCode, out }, {
        error: [`effect-dht: The page cannot be written to ${path}: the directory does not exist`],
        exitCode: 1,
        out: []
      })
    }))

  it.effect("rejects what is not a story", () =>
    Effect.gen(function*() {
      for (const text of ["", "{}", JSON.stringify({ ...story, nodes: 0 })]) {
        const { error, exitCode } = yield* run(text)
        assert.strictEqual(exitCode, 2, text)
        assert.match(error.join(), /The story is not valid/)
      }
    }))
})
