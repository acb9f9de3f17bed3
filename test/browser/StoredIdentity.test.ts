import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as StoredIdentity from "../../src/browser/StoredIdentity.ts"
import * as Crypto from "../../src/Crypto.ts"
import { layerRandom } from "../utils/network.ts"

/** A storage as browsers have it. */
const storage = (...entries: ReadonlyArray<readonly [string, string]>) => {
  const texts = new Map(entries)
  return {
    texts,
    getItem: (name: string) => texts.get(name) ?? null,
    setItem: (name: string, text: string) => void texts.set(name, text)
  }
}

const provided = Effect.provide(Layer.merge(Crypto.layerNoble, layerRandom("storage")))

describe("StoredIdentity", () => {
  it.effect("makes an identity once, and another under another name", () =>
    Effect.gen(function*() {
      const kept = storage()
      const { address } = yield* StoredIdentity.loadOrCreate(kept)
      assert.strictEqual((yield* StoredIdentity.loadOrCreate(kept)).address, address)
      assert.notStrictEqual((yield* StoredIdentity.loadOrCreate(kept, "other")).address, address)
      assert.deepStrictEqual(Array.from(kept.texts.keys()), [StoredIdentity.defaultName, "other"])
    }).pipe(provided))

  it.effect("uses the identity that another tab has stored at the same time", () =>
    Effect.gen(function*() {
      const kept = storage()
      const { address } = yield* StoredIdentity.loadOrCreate(kept)
      let isFirst = true
      const racing = {
        ...kept,
        getItem: (name: string) => {
          const text = isFirst ? null : kept.getItem(name)
          isFirst = false
          return text
        },
        // The other tab is later.
        setItem: () => {}
      }
      assert.strictEqual((yield* StoredIdentity.loadOrCreate(racing)).address, address)
    }).pipe(provided))

  it.effect("overwrites nothing that is not a key, and tells why a storage cannot be used", () =>
    Effect.gen(function*() {
      for (const text of ["", "00", "Z".repeat(64)]) {
        const kept = storage([StoredIdentity.defaultName, text])
        const error = yield* Effect.flip(StoredIdentity.loadOrCreate(kept))
        assert.strictEqual(error._tag, "UnusableStorage")
        assert.strictEqual(kept.getItem(StoredIdentity.defaultName), text)
      }
      const full = {
        getItem: () => null,
        setItem: () => {
          throw new Error("the quota has been exceeded")
        }
      }
      assert.include((yield* Effect.flip(StoredIdentity.loadOrCreate(full))).message, "quota")
    }).pipe(provided))
})
