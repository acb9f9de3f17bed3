import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { PlatformError } from "effect/PlatformError"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimFileSystem from "../../src/testing/SimFileSystem.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import * as VirtualTime from "../../src/testing/VirtualTime.ts"

/** Runs with an empty file system under virtual time, in which a promise would not settle. */
const run = <A>(program: (fs: FileSystem.FileSystem) => Effect.Effect<A, PlatformError, Scope.Scope>): A =>
  VirtualTime.runSync(
    Effect.scoped(Effect.provide(Effect.flatMap(FileSystem.FileSystem, program), SimFileSystem.layer))
  )

/** The tag of the reason for which a program fails. */
const reason = (
  program: (fs: FileSystem.FileSystem) => Effect.Effect<unknown, PlatformError, Scope.Scope>
): string => run((fs) => Effect.map(Effect.orDie(Effect.flip(program(fs))), ({ reason }) => reason._tag))

const bytes = (...numbers: ReadonlyArray<number>) => Uint8Array.from(numbers)

describe("SimFileSystem", () => {
  it("reads what was written, in whole, in parts and as a stream", () => {
    run((fs) =>
      Effect.gen(function*() {
        yield* fs.writeFileString("/a", "hello")
        yield* fs.writeFileString("/a", " world", { flag: "a" })
        assert.strictEqual(yield* fs.readFileString("a"), "hello world")
        const file = yield* fs.open("/a", { flag: "r+" })
        yield* file.seek(6n, "start")
        yield* file.writeAll(new TextEncoder().encode("W"))
        assert.deepStrictEqual(yield* file.readAlloc(2), Option.some(new TextEncoder().encode("or")))
        const buffer = new Uint8Array(3)
        assert.strictEqual(yield* file.read(buffer, { position: 9n }), 2)
        assert.deepStrictEqual(buffer, new TextEncoder().encode("ld\0"))
        assert.deepStrictEqual(yield* file.readAlloc(9, { position: 99n }), Option.none())
        yield* Stream.run(Stream.make(bytes(1, 2), bytes(3)), fs.sink("/b"))
        const read = yield* Stream.runCollect(fs.stream("/b", { chunkSize: 2, offset: 1 }))
        assert.deepStrictEqual(Array.from(read), [bytes(2, 3)])
      })
    )
  })

  it("returns copies, which a later write does not change", () => {
    run((fs) =>
      Effect.gen(function*() {
        yield* fs.writeFile("/a", bytes(1, 2, 3))
        const before = yield* fs.readFile("/a")
        yield* fs.writeFile("/a", bytes(9), { flag: "r+" })
        assert.deepStrictEqual(before, bytes(1, 2, 3))
        assert.deepStrictEqual(yield* fs.readFile("/a"), bytes(9, 2, 3))
      })
    )
  })

  it("truncates, and fills a gap with zeros", () => {
    run((fs) =>
      Effect.gen(function*() {
        yield* fs.writeFile("/a", bytes(1, 2, 3))
        yield* fs.truncate("/a", 1)
        yield* fs.truncate("/a", 3)
        assert.deepStrictEqual(yield* fs.readFile("/a"), bytes(1, 0, 0))
      })
    )
  })

  it("has directories, which are listed in order", () => {
    run((fs) =>
      Effect.gen(function*() {
        yield* fs.makeDirectory("/x/y", { recursive: true })
        yield* fs.makeDirectory("/x/y", { recursive: true })
        yield* fs.writeFileString("/x/y/b", "")
        yield* fs.writeFileString("/x/a", "")
        assert.deepStrictEqual(yield* fs.readDirectory("/x"), ["a", "y"])
        assert.deepStrictEqual(yield* fs.readDirectory("/x", { recursive: true }), ["a", "y", "y/b"])
        assert.deepStrictEqual(yield* fs.readDirectoryEntries("/x"), [
          { name: "a", type: "File" },
          { name: "y", type: "Directory" }
        ])
        assert.deepStrictEqual((yield* fs.glob("**/b", { root: "/x" })).length, 1)
        yield* fs.copy("/x", "/z")
        yield* fs.remove("/x", { recursive: true })
        assert.isFalse(yield* fs.exists("/x"))
        assert.deepStrictEqual(yield* fs.readDirectory("/z", { recursive: true }), ["a", "y", "y/b"])
      })
    )
  })

  it("renames over another file at once", () => {
    run((fs) =>
      Effect.gen(function*() {
        yield* fs.writeFileString("/new", "new")
        yield* fs.writeFileString("/old", "old")
        yield* fs.rename("/new", "/old")
        assert.strictEqual(yield* fs.readFileString("/old"), "new")
        assert.deepStrictEqual(yield* fs.readDirectory("/"), ["old", "tmp"])
      })
    )
  })

  it("follows symbolic links, and shares the contents of hard links", () => {
    run((fs) =>
      Effect.gen(function*() {
        yield* fs.makeDirectory("/dir")
        yield* fs.writeFileString("/dir/file", "1")
        yield* fs.symlink("dir", "/link")
        yield* fs.symlink("../dir/file", "/dir/deep")
        assert.strictEqual(yield* fs.readFileString("/link/deep"), "1")
        assert.strictEqual(yield* fs.realPath("/link/../link/deep"), "/dir/file")
        assert.strictEqual(yield* fs.readLink("/link"), "dir")
        assert.strictEqual((yield* fs.lstat("/link")).type, "SymbolicLink")
        yield* fs.link("/dir/file", "/hard")
        yield* fs.writeFileString("/hard", "2")
        assert.strictEqual(yield* fs.readFileString("/dir/file"), "2")
        assert.deepStrictEqual((yield* fs.stat("/hard")).nlink, Option.some(2n))
      })
    )
  })

  it("has the times of the clock", () => {
    run((fs) =>
      Effect.gen(function*() {
        yield* fs.writeFileString("/a", "")
        const before = yield* fs.stat("/a")
        yield* Effect.sleep("1 hour")
        yield* fs.writeFileString("/a", "12")
        const after = yield* fs.stat("/a")
        const millis = ({ mtime }: FileSystem.File.Info) => Option.getOrThrow(mtime).getTime()
        assert.strictEqual(millis(after) - millis(before), 3_600_000)
        assert.deepStrictEqual(after.birthtime, before.birthtime)
        assert.strictEqual(Number(after.size), 2)
      })
    )
  })

  it("removes temporary files with their scope", () => {
    run((fs) =>
      Effect.gen(function*() {
        const paths = yield* Effect.scoped(Effect.gen(function*() {
          const made = [yield* fs.makeTempFileScoped({ suffix: ".txt" }), yield* fs.makeTempDirectoryScoped()]
          for (const path of made) assert.isTrue(yield* fs.exists(path))
          return made
        }))
        assert.match(paths[0], /^\/tmp\/.*\.txt$/)
        assert.deepStrictEqual(yield* fs.readDirectory("/tmp"), [])
      })
    )
  })

  it("tells watchers what changes", () => {
    const events = run((fs) =>
      Effect.gen(function*() {
        yield* fs.makeDirectory("/dir/sub", { recursive: true })
        const fiber = yield* fs.watch("/dir").pipe(Stream.take(3), Stream.runCollect, Effect.forkChild)
        yield* Effect.sleep("1 second")
        yield* fs.writeFileString("/dir/sub/unseen", "")
        yield* fs.writeFileString("/dir/a", "1")
        yield* fs.remove("/dir/a")
        return Array.from(yield* Fiber.join(fiber))
      })
    )
    assert.deepStrictEqual(events.map(({ _tag, path }) => `${_tag} ${path}`), ["Create a", "Update a", "Remove a"])
  })

  it("fails like the file system of the platform", () => {
    assert.strictEqual(reason((fs) => fs.readFile("/none")), "NotFound")
    assert.strictEqual(reason((fs) => fs.writeFileString("/none/a", "")), "NotFound")
    assert.strictEqual(reason((fs) => fs.remove("/none")), "NotFound")
    assert.strictEqual(reason((fs) => fs.makeDirectory("/tmp")), "AlreadyExists")
    assert.strictEqual(reason((fs) => fs.readFile("/tmp")), "BadResource")
    const there = (fs: FileSystem.FileSystem) => fs.writeFileString("/a", "")
    assert.strictEqual(reason((fs) => Effect.andThen(there(fs), fs.open("/a", { flag: "wx" }))), "AlreadyExists")
    assert.strictEqual(reason((fs) => Effect.andThen(there(fs), fs.readDirectory("/a"))), "BadResource")
    assert.strictEqual(reason((fs) => Effect.andThen(there(fs), fs.stat("/a/b"))), "BadResource")
    assert.strictEqual(reason((fs) => Effect.andThen(fs.symlink("/b", "/b"), fs.readFile("/b"))), "BadResource")
    assert.strictEqual(
      reason((fs) => Effect.andThen(fs.makeDirectory("/d"), fs.rename("/d", "/d/e"))),
      "Unknown"
    )
    assert.strictEqual(
      reason((fs) => Effect.flatMap(fs.open("/a", { flag: "w" }), (file) => file.readAlloc(1))),
      "BadResource"
    )
  })

  describe("of a node", () => {
    /** The contents of `/a` after a crash, of a node that had saved "old" and then writes "new". */
    const kept = (
      write: (fs: FileSystem.FileSystem) => Effect.Effect<unknown, PlatformError, Scope.Scope>,
      stop: (node: SimWorld.SimNode<SimWorld.NodeServices, unknown>) => Effect.Effect<void> = (node) => node.crash()
    ): string =>
      SimWorld.runSync(
        Effect.gen(function*() {
          const world = yield* SimWorld.SimWorld
          const node = world.node("ann")
          yield* node.start
          const onDisk = <A, E>(use: (fs: FileSystem.FileSystem) => Effect.Effect<A, E, Scope.Scope>) =>
            node.run(Effect.flatMap(FileSystem.FileSystem, use))
          yield* onDisk((fs) => fs.writeFileString("/a", "old"))
          yield* Effect.sleep("1 minute")
          yield* onDisk(write)
          yield* stop(node)
          yield* node.start
          return yield* onDisk((fs) => fs.readFileString("/a")).pipe(
            Effect.catchTag("PlatformError", () => Effect.succeed("none"))
          )
        }),
        { seed: 1, crypto: SimCrypto.simulated }
      )

    const writeNew = (fs: FileSystem.FileSystem) => fs.writeFileString("/a", "new")
    const synced = (path: string) => (fs: FileSystem.FileSystem) =>
      Effect.gen(function*() {
        const file = yield* fs.open(path, { flag: "w" })
        yield* file.writeAll(new TextEncoder().encode("new"))
        yield* file.sync
      })

    it("is the same after the node leaves", () => {
      assert.strictEqual(kept(writeNew, (node) => node.leave), "new")
    })

    it("loses in a crash what was not synced, unless half a minute has passed", () => {
      assert.strictEqual(kept(writeNew), "old")
      assert.strictEqual(kept(synced("/a")), "new")
      assert.strictEqual(kept((fs) => Effect.andThen(writeNew(fs), Effect.sleep("29 seconds"))), "old")
      assert.strictEqual(kept((fs) => Effect.andThen(writeNew(fs), Effect.sleep("30 seconds"))), "new")
    })

    it("keeps the names of files in a crash, so that a rename without a sync loses both contents", () => {
      const rename = (fs: FileSystem.FileSystem) => fs.rename("/b", "/a")
      assert.strictEqual(kept((fs) => Effect.andThen(fs.writeFileString("/b", "new"), rename(fs))), "")
      assert.strictEqual(kept((fs) => Effect.andThen(synced("/b")(fs), rename(fs))), "new")
    })

    it("is not changed by finalizers that run after a crash", () => {
      const finalizer = (fs: FileSystem.FileSystem) =>
        Effect.addFinalizer(() => Effect.orDie(Effect.andThen(synced("/a")(fs), fs.remove("/a"))).pipe(Effect.scoped))
      assert.strictEqual(kept(finalizer), "old")
      assert.strictEqual(kept(finalizer, (node) => node.leave), "none")
    })

    it("is empty after the node lost its state, and another for each node", () => {
      assert.strictEqual(kept(synced("/a"), (node) => node.crash({ state: "Lost" })), "none")
      const exit = SimWorld.runSyncExit(
        Effect.gen(function*() {
          const world = yield* SimWorld.SimWorld
          const [ann, bob] = yield* world.startNodes(2)
          yield* ann.run(Effect.flatMap(FileSystem.FileSystem, writeNew))
          return yield* bob.run(Effect.flatMap(FileSystem.FileSystem, (fs) => fs.readFileString("/a")))
        }),
        { seed: 1, crypto: SimCrypto.simulated }
      )
      assert.isTrue(Exit.isFailure(exit))
    })
  })
})
