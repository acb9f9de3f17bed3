import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as TestConsole from "effect/testing/TestConsole"
import * as Fs from "node:fs"
import { join } from "node:path"
import * as Address from "../../src/Address.ts"
import { Dht } from "../../src/Dht.ts"
import * as NodeId from "../../src/NodeId.ts"
import { StandingAnnouncements } from "../../src/StandingAnnouncements.ts"
import { Store } from "../../src/Store.ts"
import * as commandLine from "../utils/commandLine.ts"
import { directory, running, startNode } from "../utils/runningNode.ts"

const run = (...args: ReadonlyArray<string>) => commandLine.run(args)

const captured = Effect.provide(TestConsole.layer)

describe("backup", () => {
  it.live("copies the state of a running node, from which another start continues", () =>
    Effect.gen(function*() {
      const { address, data } = yield* running
      const { data: other } = yield* directory
      const file = join(other, "backup.sqlite")
      yield* run("announce", "topic", "translate", "--name", "Ann", "--data", data)
      const { error, exitCode, out } = yield* run("backup", file, "--json", "--data", data)
      assert.deepStrictEqual({ error, exitCode }, { error: [], exitCode: 0 })
      const { mode, size } = Fs.statSync(file)
      assert.deepStrictEqual(JSON.parse(out.join()), { file, bytes: size })
      assert.strictEqual(mode & 0o777, 0o600)

      Fs.renameSync(file, join(other, "state.sqlite"))
      Fs.copyFileSync(join(data, "identity.ed25519"), join(other, "identity.ed25519"))
      const restored = yield* startNode({ data: other })
      const { all } = Context.get(restored, StandingAnnouncements)
      assert.deepStrictEqual((yield* all).map(({ content }) => content._tag), ["Topic"])
      assert.strictEqual(Address.format(Context.get(restored, Dht).address), address)
      assert.lengthOf(yield* Context.get(restored, Store).getAll(NodeId.fromTopic("translate"), 0), 1)
    }).pipe(captured))

  it.live("overwrites no file, and needs a running node", () =>
    Effect.gen(function*() {
      const { data } = yield* running
      const file = join(data, "state.sqlite")
      const before = Fs.statSync(file).ino
      const existing = yield* run("backup", file, "--data", data)
      assert.deepStrictEqual(existing, {
        error: [`effect-dht: The backup cannot be written to ${file}: the file exists already`],
        exitCode: 1,
        out: []
      })
      assert.strictEqual(Fs.statSync(file).ino, before)
      const nowhere = yield* run("backup", join(data, "none", "file"), "--data", data)
      assert.include(nowhere.error.join(), "the directory does not exist")
      const { data: idle } = yield* directory
      const { error, exitCode } = yield* run("backup", join(idle, "copy"), "--data", idle)
      assert.strictEqual(exitCode, 1)
      assert.include(error.join(), `No node that serves HTTP runs in ${idle}`)
      assert.isFalse(Fs.existsSync(join(idle, "copy")))
    }).pipe(captured))
})
