import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NameResolver from "../../src/NameResolver.ts"
import * as DnsResolver from "../../src/node/DnsResolver.ts"

const addressesOf = (host: string) =>
  NameResolver.addressesOf({ host, port: 4121 }).pipe(Effect.provide(DnsResolver.layer))

describe("DnsResolver", () => {
  it.live("finds localhost at the loopback address of both families, whatever the hosts file says", () =>
    Effect.gen(function*() {
      for (const name of ["localhost", "LOCALHOST", "node.localhost", "localhost."]) {
        assert.deepStrictEqual((yield* addressesOf(name)).map(({ host }) => host), ["127.0.0.1", "::1"])
      }
    }))

  it.live("says that there is no such name", () =>
    Effect.gen(function*() {
      const { name, reason } = yield* Effect.flip(addressesOf("nowhere.invalid"))
      assert.strictEqual(name, "nowhere.invalid")
      // Where there is no network, no name service answers.
      assert.match(reason, /no such name|name service does not answer/)
    }))

  it.live("fails, and does not throw, for what can be no name", () =>
    Effect.gen(function*() {
      for (const name of ["", " ", "a b", "\0", "x".repeat(300), "-", "."]) {
        assert.strictEqual((yield* Effect.flip(addressesOf(name)))._tag, "CannotResolve")
      }
    }), 60_000)
})
