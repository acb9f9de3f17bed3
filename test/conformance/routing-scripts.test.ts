import { assert, describe, it } from "@effect/vitest"
import type { Address } from "../../src/Address.ts"
import type { Contact } from "../../src/Contact.ts"
import { RoutingTable } from "../../src/core/routingTable.ts"
import * as NodeId from "../../src/NodeId.ts"
import { vectors } from "./vectors.ts"

type Op =
  | {
    readonly op: "add"
    readonly nodeId: NodeId.NodeId
    readonly ip: string
    readonly port: number
    readonly verifiedAt?: number
    readonly now: number
    readonly result: boolean
    readonly len: number
  }
  | {
    readonly op: "markPendingVerified"
    readonly nodeId: NodeId.NodeId
    readonly verifiedAt: number
    readonly now: number
    readonly result: boolean
    readonly len: number
  }
  | { readonly op: "markPendingFailed"; readonly nodeId: NodeId.NodeId }
  | { readonly op: "updateVerifiedAt"; readonly nodeId: NodeId.NodeId; readonly verifiedAt: number }
  | { readonly op: "remove"; readonly nodeId: NodeId.NodeId; readonly len: number }
  | {
    readonly op: "oldestInBucket"
    readonly nodeId: NodeId.NodeId
    readonly result: string | null
    readonly bucketLength: number
    readonly contains: boolean
  }
  | {
    readonly op: "nearest"
    readonly target: NodeId.NodeId
    readonly n: number
    readonly result: ReadonlyArray<string> | null
  }
  | {
    readonly op: "nearestVerified"
    readonly target: NodeId.NodeId
    readonly n: number
    readonly cutoff: number
    readonly result: ReadonlyArray<string> | null
  }
  | {
    readonly op: "estimate"
    readonly cutoff: number
    readonly estimate: string
    readonly confidence: number
    readonly estimateAll: string
  }
  | {
    readonly op: "maintenance"
    readonly now: number
    readonly freshCutoff: number
    readonly staleCutoff: number
    readonly pendingToProbe: ReadonlyArray<string> | null
    readonly staleToProbe: ReadonlyArray<string> | null
    readonly bucketsToRefill: ReadonlyArray<number> | null
  }
  | { readonly op: "recordRefillOutcome"; readonly bucket: number; readonly improved: boolean }

interface Script {
  readonly self: NodeId.NodeId
  readonly ops: ReadonlyArray<Op>
}

const { k, scripts } = vectors("routing-scripts.json") as {
  readonly k: number
  readonly scripts: ReadonlyArray<Script>
}

// The scripts count in seconds, and give IPs in hex: as text they do as hosts.
const millis = (seconds: number): number => seconds * 1000
const contact = (id: NodeId.NodeId, host: string, port: number): Contact => ({
  id,
  address: id.slice(0, 42) as Address,
  host,
  port
})
const written = (contacts: ReadonlyArray<Contact>): ReadonlyArray<string> =>
  contacts.map((one) => `${one.id}@${one.host}:${one.port}`)

const unlimited = { pendingProbes: Infinity, spareFull: false, staleProbes: Infinity, refills: Infinity }

/** Runs one operation, and asserts all that the script says of it. */
const run = (table: RoutingTable, op: Op, where: string): void => {
  switch (op.op) {
    case "add": {
      const verifiedAt = op.verifiedAt === undefined ? undefined : millis(op.verifiedAt)
      const result = table.add(contact(op.nodeId, op.ip, op.port), verifiedAt, millis(op.now))
      if (result._tag === "Probe") table.probed(result.oldest.id, true, millis(op.now))
      assert.strictEqual(result._tag === "Inserted" || result._tag === "Updated", op.result, where)
      assert.strictEqual(table.contains(op.nodeId), op.result, where)
      return assert.strictEqual(table.size, op.len, where)
    }
    case "markPendingVerified": {
      const result = table.pendingVerified(op.nodeId, millis(op.verifiedAt), millis(op.now))
      if (result._tag === "Probe") table.probed(result.oldest.id, true, millis(op.now))
      assert.strictEqual(result._tag === "Inserted", op.result, where)
      return assert.strictEqual(table.size, op.len, where)
    }
    case "markPendingFailed":
      return table.pendingFailed(op.nodeId)
    case "updateVerifiedAt":
      return table.updateVerifiedAt(op.nodeId, millis(op.verifiedAt))
    case "remove":
      table.remove(op.nodeId)
      return assert.strictEqual(table.size, op.len, where)
    case "oldestInBucket": {
      const bucket = NodeId.bucketIndex(table.self, op.nodeId)
      assert.strictEqual(table.oldestInBucket(bucket)?.id ?? null, op.result, where)
      assert.strictEqual(table.bucketLength(bucket), op.bucketLength, where)
      return assert.strictEqual(table.contains(op.nodeId), op.contains, where)
    }
    case "nearest":
      return assert.deepStrictEqual(written(table.nearest(op.target, op.n)), op.result ?? [], where)
    case "nearestVerified":
      return assert.deepStrictEqual(
        written(table.nearestVerified(op.target, op.n, millis(op.cutoff))),
        op.result ?? [],
        where
      )
    case "estimate": {
      const { confidence, size } = table.networkSize.ofContacts(millis(op.cutoff))
      assert.strictEqual(BigInt(size), BigInt(op.estimate), where)
      assert.strictEqual(confidence, op.confidence, where)
      return assert.strictEqual(BigInt(table.networkSize.ofAllContacts()), BigInt(op.estimateAll), where)
    }
    case "maintenance": {
      const work = table.maintenance.work(millis(op.now), millis(op.freshCutoff), millis(op.staleCutoff), unlimited)
      assert.deepStrictEqual(written(work.pendingToProbe), op.pendingToProbe ?? [], where)
      assert.deepStrictEqual(written(work.staleToProbe), op.staleToProbe ?? [], where)
      return assert.deepStrictEqual(work.bucketsToRefill, op.bucketsToRefill ?? [], where)
    }
    case "recordRefillOutcome":
      return table.maintenance.recordRefill(op.bucket, op.improved)
  }
}

describe("the recorded routing scripts", () => {
  for (const [index, script] of scripts.entries()) {
    it(`holds the same contacts as the Go reference after every operation of script ${index}`, () => {
      const table = new RoutingTable({ self: script.self, k })
      script.ops.forEach((op, at) => run(table, op, `operation ${at}: ${op.op}`))
    })
  }
})
