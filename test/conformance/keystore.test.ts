import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Address from "../../src/Address.ts"
import * as Identity from "../../src/Identity.ts"
import * as Hex from "../../src/internal/hex.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import { vectors } from "./vectors.ts"

const { address, blob, passphrase, seed } = vectors<{
  readonly address: string
  readonly blob: string
  readonly passphrase: string
  readonly seed: string
}>("keystore.json")

describe("keystore.json", () => {
  it.effect("opens the encrypted identity with its passphrase", () =>
    Effect.gen(function*() {
      const identity = yield* Identity.unseal(Hex.decode(blob), Redacted.make(passphrase))
      assert.strictEqual(Hex.encode(Redacted.value(identity.seed)), seed)
      assert.strictEqual(Address.format(identity.address), address)
    }).pipe(Effect.provide(NodeCrypto.layer)), 60_000)

  it.effect("does not open it with another passphrase", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Identity.unseal(Hex.decode(blob), Redacted.make(`${passphrase} `)))
      assert.strictEqual(error._tag, "CannotUnlock")
    }).pipe(Effect.provide(NodeCrypto.layer)), 60_000)
})
