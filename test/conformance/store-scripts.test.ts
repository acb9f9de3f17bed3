import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import type { Address } from "../../src/Address.ts"
import { defaultMaxKeys } from "../../src/core/recordSet.ts"
import { layerNoble } from "../../src/Crypto.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as NodeEvents from "../../src/NodeEvents.ts"
import type { NodeId } from "../../src/NodeId.ts"
import { layerNone } from "../../src/Persistence.ts"
import * as Record from "../../src/Record.ts"
import * as Store from "../../src/Store.ts"
import { vectors } from "./vectors.ts"

interface Script {
  /** 0: the usual bound. */
  readonly maxKeys: number
  /** Hex of records; operations and results name them by index. */
  readonly records: ReadonlyArray<string>
  readonly ops: ReadonlyArray<Operation & { readonly now: number; readonly len?: number }>
}

type Operation =
  | { readonly op: "put"; readonly key?: NodeId; readonly record: number; readonly result: string }
  | { readonly op: "getAll"; readonly key: NodeId; readonly recType: number; readonly result: ReadonlyArray<number> }
  | { readonly op: "get"; readonly key: NodeId; readonly result: number | null }
  | {
    readonly op: "getAllByAddress"
    readonly address: Address
    readonly recType: number
    readonly resultUnordered: ReadonlyArray<number>
  }
  | { readonly op: "invalidate"; readonly key: NodeId; readonly recType: number }
  | { readonly op: "setMaxKeys"; readonly maxKeys: number }

const hex = (record: Record.SignedRecord): string => Hex.encode(record.bytes)

const bound = (maxKeys: number): number => maxKeys === 0 ? defaultMaxKeys : maxKeys

const run = Effect.fnUntraced(function*(script: Script) {
  const store = yield* Store.Store
  const recorded = (index: number): string => script.records[index]
  for (const op of script.ops) {
    const context = JSON.stringify(op)
    yield* TestClock.setTime(op.now * 1000)
    switch (op.op) {
      case "put": {
        const result = yield* Effect.fromResult(Record.decode(Hex.decode(recorded(op.record)))).pipe(
          Effect.flatMap((record) => store.put(op.key, record)),
          Effect.result
        )
        // "Invalid" is a refusal for whatever reason.
        if (op.result === "Invalid") assert.isTrue(Result.isFailure(result), context)
        else assert.strictEqual(Result.isSuccess(result) ? "ok" : result.failure._tag, op.result, context)
        break
      }
      case "getAll":
        assert.deepStrictEqual((yield* store.getAll(op.key, op.recType)).map(hex), op.result.map(recorded), context)
        break
      case "get": {
        const found = yield* store.get(op.key)
        assert.strictEqual(found && hex(found), op.result === null ? undefined : recorded(op.result), context)
        break
      }
      case "getAllByAddress":
        assert.sameMembers(
          (yield* store.getAllByAddress(op.address, op.recType)).map(hex),
          op.resultUnordered.map(recorded),
          context
        )
        break
      case "invalidate":
        yield* store.invalidate(op.key, op.recType)
        break
      case "setMaxKeys":
        yield* store.setMaxKeys(bound(op.maxKeys))
        break
      default:
        assert.fail(`unknown operation: ${context}`)
    }
    if (op.len !== undefined) assert.strictEqual(yield* store.size, op.len, context)
  }
})

describe("store-scripts.json", () => {
  it.effect("gives the recorded result of every operation of every script", () =>
    Effect.gen(function*() {
      for (const script of vectors<{ readonly scripts: ReadonlyArray<Script> }>("store-scripts.json").scripts) {
        const store = Store.layer({ maxKeys: bound(script.maxKeys) }).pipe(
          Layer.provide([layerNoble, NodeEvents.layer, layerNone])
        )
        yield* Effect.gen(function*() {
          // Before the store starts to sweep by the minute.
          yield* TestClock.setTime((script.ops[0]?.now ?? 0) * 1000)
          yield* Effect.provide(run(script), store)
        }).pipe(Effect.provide(TestClock.layer(), { local: true }))
      }
    }))
})
