// A program that uses the package from outside: run.ts type-checks and runs it in
// a project that has only the tarball.
import { Dht, NodeId } from "effect-dht"
import type * as Node from "effect-dht/node"
import * as Module from "effect-dht/NodeId"
import { SimWorld } from "effect-dht/testing"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import assert from "node:assert/strict"

const id: NodeId.NodeId = Result.getOrThrow(NodeId.fromString("00".repeat(32)))
assert.equal(id, Module.zero)

// @ts-expect-error: names are branded, so the types have arrived as well.
const text: NodeId.NodeId = "00".repeat(32)
assert.equal(text, id)

// @ts-expect-error: the same for the Node part, whose types must not be `any`.
type Missing = typeof Node.thereIsNoSuchExport
const missing: Missing | undefined = undefined
assert.equal(missing, undefined)

await import("effect-dht/node")

// A network of three under virtual time, in which one node announces and another finds it.
const found = SimWorld.runSync(
  Effect.gen(function*() {
    const world = yield* SimWorld.SimWorld
    const [ann, , bob] = yield* world.startNodes(3)
    yield* ann.run(Dht.Dht.use((dht) => dht.publishEndpoint({ endpoints: ["tcp://192.0.2.1:4433"] })))
    return yield* bob.run(Dht.Dht.use((dht) => dht.resolve(ann.identity.address)))
  }),
  { seed: 1 }
)
assert.deepEqual(found.endpoints, ["tcp://192.0.2.1:4433"])

const hidden = [
  "index",
  "bin",
  "cli/Cli",
  "http/RecordDocuments",
  "internal/hex",
  "node/internal/nativeCrypto",
  "testing/internal/prng"
]
for (const name of hidden) {
  await assert.rejects(import(`effect-dht/${name}`), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" })
}
