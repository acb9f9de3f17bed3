import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import { join } from "node:path"
import { DhtLive } from "../../src/node/DhtLive.ts"
import * as PeerFiles from "../../src/node/PeerFiles.ts"
import { SeenPeers } from "../../src/SeenPeers.ts"
import { layerMemoryNetwork } from "../../src/Transport.ts"
import * as network from "../utils/network.ts"

const node = (directory?: string): Effect.Effect<network.Node, never, Scope.Scope> => {
  const live = DhtLive({ listen: { host: "127.0.0.1", port: 0 } })
  const layer = directory === undefined ? live : Layer.provideMerge(PeerFiles.layer(directory), live)
  return Effect.orDie(Layer.build(Layer.fresh(layer)))
}

/** A node that met another one, and closed. */
const meet = (directory: string, other: network.Node) =>
  Effect.scoped(Effect.gen(function*() {
    const dht = network.dht(yield* node(directory))
    yield* dht.bootstrap([network.dht(other).localAddress])
  }))

const files = FileSystem.FileSystem

describe("PeerFiles", () => {
  it.live("remembers peers and sightings when the node closes, for the owner's eyes only", () =>
    Effect.gen(function*() {
      const fs = yield* files
      const directory = yield* fs.makeTempDirectoryScoped()
      const other = yield* node()
      yield* meet(directory, other)
      assert.deepStrictEqual(yield* PeerFiles.addresses(directory), [network.dht(other).localAddress])
      const again = yield* node(directory)
      assert.strictEqual((yield* Context.get(again, SeenPeers).counts).week, 1)
      for (const name of ["peers", "seen-peers"]) {
        assert.strictEqual((yield* fs.stat(join(directory, name))).mode & 0o777, 0o600)
      }
    }).pipe(Effect.provide(NodeServices.layer)))

  it.effect("saves every hour, so that a node that is killed has lost little", () =>
    Effect.gen(function*() {
      const fs = yield* files
      const directory = yield* fs.makeTempDirectoryScoped()
      const [first, second] = yield* network.build(2)
      yield* Layer.build(PeerFiles.layer(directory).pipe(Layer.provide(Layer.succeedContext(second))))
      const saved = PeerFiles.addresses(directory)
      yield* TestClock.adjust("59 minutes")
      assert.deepStrictEqual(yield* saved, [])
      yield* TestClock.adjust("1 minute")
      // Writing takes as long as the disk takes.
      while ((yield* saved).length === 0) yield* TestClock.withLive(Effect.sleep(1))
      assert.deepStrictEqual(yield* saved, [network.dht(first).localAddress])
    }).pipe(Effect.provide([NodeServices.layer, layerMemoryNetwork])))

  it.live("says where it listens while it runs, and no longer", () =>
    Effect.gen(function*() {
      const directory = yield* (yield* files).makeTempDirectoryScoped()
      yield* Effect.scoped(Effect.gen(function*() {
        const { localAddress } = network.dht(yield* node(directory))
        assert.deepStrictEqual(yield* PeerFiles.listening(directory), localAddress)
      }))
      assert.isUndefined(yield* PeerFiles.listening(directory))
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("skips damaged lines, and is fine with no files at all", () =>
    Effect.gen(function*() {
      const fs = yield* files
      const directory = yield* fs.makeTempDirectoryScoped()
      assert.deepStrictEqual(yield* PeerFiles.addresses(directory), [])
      yield* fs.writeFileString(join(directory, "peers"), "127.0.0.1:4121\nnonsense\n[::1]:5\n\u0000")
      yield* fs.writeFileString(join(directory, "seen-peers"), "nonsense\n")
      assert.deepStrictEqual(yield* PeerFiles.addresses(directory), [
        { host: "127.0.0.1", port: 4121 },
        { host: "::1", port: 5 }
      ])
      yield* node(directory)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("keeps what it remembers when the next run meets nobody", () =>
    Effect.gen(function*() {
      const directory = yield* (yield* files).makeTempDirectoryScoped()
      const other = yield* node()
      yield* meet(directory, other)
      yield* Effect.scoped(node(directory))
      assert.lengthOf(yield* PeerFiles.addresses(directory), 1)
    }).pipe(Effect.provide(NodeServices.layer)))

  it.live("closes all the same where nothing can be written", () =>
    Effect.gen(function*() {
      const other = yield* node()
      yield* meet("/proc/nowhere", other)
    }))
})
