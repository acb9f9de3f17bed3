// What a stranger's program sees of the package: run.ts type-checks and runs
// it in a project that has nothing but the tarball.
import { NodeId } from "effect-dht"
import type * as Node from "effect-dht/node"
import * as Module from "effect-dht/NodeId"
import * as Result from "effect/Result"
import assert from "node:assert/strict"

const id: NodeId.NodeId = Result.getOrThrow(NodeId.fromString("00".repeat(32)))
assert.equal(id, Module.zero)

// @ts-expect-error: names are branded, so the types have arrived as well.
const text: NodeId.NodeId = "00".repeat(32)
assert.equal(text, id)

// @ts-expect-error: the same of the Node part, whose module is no `any`.
type Missing = typeof Node.thereIsNoSuchExport
const missing: Missing | undefined = undefined
assert.equal(missing, undefined)

await import("effect-dht/node")

const hidden = ["index", "bin", "cli/Cli", "internal/hex", "node/internal/nativeEd25519"]
for (const name of hidden) {
  await assert.rejects(import(`effect-dht/${name}`), { code: "ERR_PACKAGE_PATH_NOT_EXPORTED" })
}
