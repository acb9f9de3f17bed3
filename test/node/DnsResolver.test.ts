import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NameResolver from "../../src/NameResolver.ts"
import * as DnsResolver from "../../src/node/DnsResolver.ts"

const addressesOf = (host: string) =>
  NameResolver.addressesOf({ host, port: 4121 }).pipe(Effect.provide(DnsResolver.layer))

describe("DnsResolver", () => {
  it.live("resolves localhost to the loopback address of both families, regardless of the hosts file", () =>
    Effect.gen(function*() {
      for (const name of ["localhost", "LOCALHOST", "node.localhost", "localhost."]) {
        assert.deepStrictEqual((yield* addressesOf(name)).map(({ host }) => host), ["127.0.0.1", "::1"])
      }
    }))

  it.live("reports a nonexistent name", () =>
    Effect.gen(function*() {
      const { name, reason } = yield* Effect.flip(addressesOf("nowhere.invalid"))
      assert.strictEqual(name, "nowhere.invalid")
      // Without a network, no name service answers.
      assert.match(reason, /name does not exist|name service does not answer/)
    }))

  it.live("fails, and does not throw, for an invalid name", () =>
    Effect.gen(function*() {
      for (const name of ["", " ", "a b", "\0", "x".repeat(300), "-", "."]) {
        assert.strictEqual((yield* Effect.flip(addressesOf(name)))._tag, "CannotResolve")
      }
    }), 60_000)
})
