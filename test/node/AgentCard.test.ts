import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as AgentCard from "../../src/node/AgentCard.ts"
import * as Profile from "../../src/Profile.ts"
import { webServer } from "../utils/webServer.ts"

const allowPrivate = { allowPrivate: true }

const serving = Effect.gen(function*() {
  const state = { card: JSON.stringify({ name: "Ann", url: "https://ann.example/a2a" }) }
  const server = yield* webServer((_, response) => response.end(state.card))
  return { ...server, state }
})

describe("AgentCard", () => {
  it.effect("names a card in a profile, from which readers verify it", () =>
    Effect.gen(function*() {
      const { close, state, url } = yield* serving
      const reference = yield* AgentCard.refer(url, allowPrivate)
      const profile = Profile.make({ name: "Ann", ...AgentCard.fields(reference) })
      assert.deepStrictEqual(AgentCard.referenceOf(profile), reference)
      const { hash } = reference
      const verify = AgentCard.verify(reference, allowPrivate)
      assert.deepStrictEqual(yield* verify, { _tag: "Matches", url, hash })
      // The bytes count, not what they mean.
      state.card += "\n"
      const changed = yield* verify
      assert.strictEqual(changed._tag, "Changed")
      assert.deepStrictEqual(
        changed._tag === "Changed" ? changed.found : undefined,
        (yield* AgentCard.refer(url, allowPrivate)).hash
      )
      yield* close
      assert.deepStrictEqual(yield* verify, { _tag: "Unreachable", url, hash, reason: "no server answers there" })
    }))

  it.effect("is fetched from private addresses only if that is allowed", () =>
    Effect.gen(function*() {
      const { requested, url } = yield* serving
      const reason = "its address is private or special, which is not allowed"
      assert.deepInclude(yield* Effect.flip(AgentCard.refer(url)), { _tag: "NoCard", url, reason })
      const hash = new Uint8Array(32)
      assert.deepStrictEqual(yield* AgentCard.verify({ url, hash }), { _tag: "Unreachable", url, hash, reason })
      assert.deepStrictEqual(requested, [])
    }))

  it.effect("is a JSON object", () =>
    Effect.gen(function*() {
      const { state, url } = yield* serving
      for (const card of ["", "<html></html>", "[]", "null", "\"card\""]) {
        state.card = card
        const { message } = yield* Effect.flip(AgentCard.refer(url, allowPrivate))
        assert.strictEqual(message, `There is no agent card at ${url}: the document is not a JSON object`)
      }
    }))

  it("is not named by a profile without its URL or its hash", () => {
    const meta = new Map([[AgentCard.metaName, "https://ann.example"]])
    assert.isUndefined(AgentCard.referenceOf(Profile.make({ meta })))
    assert.isUndefined(AgentCard.referenceOf(Profile.make({ meta, cardHash: new Uint8Array(31) })))
    assert.isUndefined(AgentCard.referenceOf(Profile.make({ cardHash: new Uint8Array(32) })))
    const other = new Map([[AgentCard.metaName, 5n]])
    assert.isUndefined(AgentCard.referenceOf(Profile.make({ meta: other, cardHash: new Uint8Array(32) })))
  })
})
