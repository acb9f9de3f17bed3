import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import * as DataDirectory from "../../src/node/DataDirectory.ts"
import * as SqlitePersistence from "../../src/node/SqlitePersistence.ts"
import * as Processes from "../utils/processes.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(join(tmpdir(), "effect-dht-directory-"))),
  (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true }))
)

const take = (directory: string) => Layer.build(Layer.fresh(DataDirectory.layer(directory)))

const node = (data: string, ...before: ReadonlyArray<string>) =>
  Processes.startUnder(before, "node", "--json", "--listen", "0.0.0.0:0", "--no-http", "--data", data)

describe("a data directory", () => {
  it.live(
    "belongs to one node of a process at a time, by any path, and is free when that node stops",
    () =>
      Effect.gen(function*() {
        const parent = yield* temporary
        const directory = join(parent, "new", "data")
        yield* Effect.scoped(Effect.gen(function*() {
          yield* take(directory)
          Fs.symlinkSync(directory, join(parent, "link"))
          for (const path of [directory, join(parent, "link"), join(parent, "new", "..", "new", "data")]) {
            const error = yield* Effect.flip(Effect.scoped(take(path)))
            assert.deepStrictEqual({ ...error }, {
              _tag: "DirectoryInUse",
              directory: path,
              pid: process.pid,
              host: hostname()
            })
            assert.include(error.message, `process ${process.pid} on ${hostname()}`)
          }
          const state = yield* Effect.flip(Effect.scoped(Layer.build(SqlitePersistence.layer({ directory }))))
          assert.strictEqual(state._tag, "DirectoryInUse")
          yield* take(join(parent, "other"))
        }))
        yield* Effect.scoped(take(directory))
        assert.deepStrictEqual(Fs.readdirSync(directory), ["lock.sqlite"])
        assert.strictEqual(Fs.statSync(directory).mode & 0o777, 0o700)
      }),
    30_000
  )

  it.live("is handed over by a stopping node", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      const ending = yield* Scope.make()
      yield* Scope.provide(take(directory), ending)
      const next = yield* Effect.forkChild(Effect.scoped(take(directory)), { startImmediately: true })
      // Some attempts fail in the meantime.
      yield* Effect.sleep("300 millis")
      assert.isUndefined(next.pollUnsafe())
      yield* Scope.close(ending, Exit.void)
      yield* Fiber.join(next)
    }))

  it.live("is reported in use without a holder if the holder cannot be read", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      yield* take(directory)
      for (const text of ["", "{", "null", "{\"pid\":\"1\",\"host\":2}", "x".repeat(1 << 20)]) {
        Fs.writeFileSync(join(directory, "lock.json"), text)
        const { host, message, pid } = yield* Effect.flip(Effect.scoped(take(directory)))
        assert.deepStrictEqual([pid, host], [undefined, undefined])
        assert.include(message, "another process")
      }
    }), 60_000)

  it.live("works without a lock where none is possible, and warns if a second node could run there", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.layer([Logger.make(({ message }) => void logged.push(String(message)))])
      yield* Effect.scoped(Effect.provide(take("/proc/nowhere"), logger))
      assert.deepStrictEqual(logged, [])
      const directory = yield* temporary
      Fs.writeFileSync(join(directory, "lock.sqlite"), "no database".repeat(1000))
      yield* Effect.scoped(Effect.provide(take(directory), logger))
      assert.lengthOf(logged, 1)
      assert.match(logged[0], /cannot be locked.*not a database/)
    }))

  it.live(
    "belongs to one of two processes that start together, and to the next one after that is killed",
    () =>
      Effect.gen(function*() {
        const data = yield* temporary
        const both = [yield* node(data), yield* node(data)]
        const outcomes = yield* Effect.forEach(
          both,
          (one) => Effect.raceFirst(one.ended, Effect.as(one.event("ready"), "ready" as const)),
          { concurrency: "unbounded" }
        )
        const refused = outcomes.filter((outcome) => outcome !== "ready")
        assert.lengthOf(refused, 1)
        assert.strictEqual(refused[0].code, 1)
        assert.lengthOf(refused[0].error, 1)
        const holder = both[outcomes.indexOf("ready")]
        assert.include(refused[0].error[0], `A node already runs in ${data}`)
        assert.include(refused[0].error[0], `(process ${holder.pid} on ${hostname()})`)

        const { address } = yield* holder.event("ready")
        yield* holder.kill("SIGKILL")
        yield* holder.ended
        const next = yield* node(data)
        assert.strictEqual((yield* next.event("ready")).address, address)
      }).pipe(Effect.scoped),
    120_000
  )

  const canUnshare = spawnSync("unshare", ["--net", "true"]).status === 0

  it.live.skipIf(!canUnshare)(
    "belongs to one node across network namespaces",
    () =>
      Effect.gen(function*() {
        const data = yield* temporary
        const first = yield* node(data, "unshare", "--net")
        yield* first.event("ready")
        const { code, error } = yield* (yield* node(data)).ended
        assert.strictEqual(code, 1)
        assert.include(error.join("\n"), `A node already runs in ${data}`)
      }).pipe(Effect.scoped),
    120_000
  )
})
