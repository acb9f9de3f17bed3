import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as TestClock from "effect/testing/TestClock"
import * as DelegationChecks from "../src/DelegationChecks.ts"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as Record from "../src/Record.ts"
import { Verifier } from "../src/Verifier.ts"
import { byWallet, now } from "./utils/wallets.ts"

const policy = Record.authority({ crypto: NodeCrypto.fastest })

/** The checks over a verifier that finds every signature of a wallet `valid`, and counts. */
const counting = Effect.fnUntraced(function*(options: { readonly valid: boolean; readonly policy?: Record.Policy }) {
  yield* TestClock.setTime(now * 1000)
  let checked = 0
  const verifier = Layer.succeed(Verifier, {
    check: () => assert.fail("checked a signature of a key"),
    checkWallet: (_address, _text, _signature, done) => {
      checked++
      done(options.valid)
      return true
    }
  })
  const services = yield* Layer.build(DelegationChecks.layer(options).pipe(Layer.provide(verifier)))
  const { prepareUnsafe } = Context.get(services, DelegationChecks.DelegationChecks)
  const prepare = (records: ReadonlyArray<Record.SignedRecord>, isAwaited = true) =>
    Effect.callback<ReadonlyArray<Record.SignedRecord>>((resume) =>
      prepareUnsafe(records, { network: "net", isAwaited }, (ready) => resume(Effect.succeed(ready)))
    )
  return { prepare, checked: () => checked }
})

const verdict = (record: Record.SignedRecord) => Result.isSuccess(policy(Record.ownKey(record), record, now))

describe("DelegationChecks", () => {
  for (const valid of [true, false]) {
    it.effect(`checks a delegation that is ${valid ? "good" : "forged"} once, however many records come with it`, () =>
      Effect.gen(function*() {
        const { checked, prepare } = yield* counting({ valid })
        for (let seq = 1n; seq <= 20n; seq++) {
          const record = byWallet({ seq, forgery: valid ? 0 : 1 })
          assert.deepStrictEqual(yield* prepare([record]), [record])
        }
        assert.strictEqual(checked(), 1)
      }))

    it.effect(`tells the policy a verdict, ${valid} here, so that it checks nothing itself`, () =>
      Effect.gen(function*() {
        const { prepare } = yield* counting({ valid })
        // The opposite of what the policy would find.
        const record = byWallet({ seq: 1n, forgery: valid ? 2 : 0 })
        yield* prepare([record])
        assert.strictEqual(verdict(record), valid)
        const other = byWallet({ seq: 2n, forgery: valid ? 2 : 0 })
        assert.strictEqual(verdict(other), !valid)
      }))
  }

  it.effect("returns the records of a request beyond its network's allowance as not ready, and all of a response", () =>
    Effect.gen(function*() {
      const { checked, prepare } = yield* counting({ valid: false })
      const records = Array.from({ length: 40 }, (_, i) => byWallet({ seq: 1n, forgery: i + 1 }))
      const ready = yield* prepare(records, false)
      assert.deepStrictEqual(ready, records.slice(0, 16))
      assert.strictEqual(checked(), 16)
      assert.deepStrictEqual(yield* prepare(records), records)
      assert.strictEqual(checked(), 40)
    }))

  it.effect("checks nothing for a store with a policy of its own", () =>
    Effect.gen(function*() {
      const { checked, prepare } = yield* counting({ valid: false, policy: Record.policyNone })
      const record = byWallet({ seq: 1n, forgery: 1 })
      assert.deepStrictEqual(yield* prepare([record]), [record])
      assert.strictEqual(checked(), 0)
    }))
})
