import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as NameResolver from "../src/NameResolver.ts"
import { settled } from "./utils/served.ts"

const names = NameResolver.layerTable({
  "both.example": ["2001:db8::1", "2001:DB8:0::2", "2001:db8::3", "192.0.2.1", "192.0.2.2"],
  "mapped.example": ["::ffff:192.0.2.1", "192.0.2.1"],
  "large.example": Array.from({ length: 1500 }, (_, i) => i < 1400 ? `10.0.${i >> 8}.${i & 255}` : `2001:db8::${i}`),
  "empty.example": [],
  "odd.example": ["fe80::1%eth0", "nonsense"]
})

const hostsOf = (host: string, max?: number) =>
  NameResolver.addressesOf({ host, port: 4121 }, max).pipe(
    Effect.map((addresses) => addresses.map(({ host }) => host)),
    Effect.provide(names)
  )

describe("the addresses of a host", () => {
  it.effect("alternate their families, and begin with the one that the resolver prefers", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* hostsOf("both.example"), [
        "2001:db8::1",
        "192.0.2.1",
        "2001:db8::2",
        "192.0.2.2",
        "2001:db8::3"
      ])
    }))

  it.effect("are listed once each", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* hostsOf("mapped.example"), ["192.0.2.1"])
    }))

  it.effect("are at most eight, both families among them", () =>
    Effect.gen(function*() {
      const found = yield* hostsOf("large.example")
      assert.lengthOf(found, NameResolver.maxAddresses)
      assert.lengthOf(found.filter((host) => host.includes(":")), 4)
      assert.lengthOf(yield* hostsOf("large.example", 2), 2)
    }))

  it.effect("are an IP address itself, in canonical text, without a lookup", () =>
    Effect.gen(function*() {
      for (const [ip, canonical] of [["192.0.2.1", "192.0.2.1"], ["2001:DB8:0:0::1", "2001:db8::1"]]) {
        assert.deepStrictEqual(yield* NameResolver.addressesOf({ host: ip, port: 1 }), [{ host: canonical, port: 1 }])
      }
    }))

  it.effect("are the name itself on a network without IPs", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* NameResolver.addressesOf({ host: "alice", port: 0 }), [{ host: "alice", port: 0 }])
    }))

  const unusable: ReadonlyArray<readonly [host: string, reason: RegExp]> = [
    ["unknown.example", /no such name/],
    ["toString", /no such name/],
    ["empty.example", /no address/],
    ["odd.example", /no address/],
    ["fe80::1%eth0", /zone ids are not supported.*%eth0/],
    ["1:2", /neither an IP address nor a name/]
  ]
  for (const [host, reason] of unusable) {
    it.effect(`cannot be resolved, with the name and the reason: ${host}`, () =>
      Effect.gen(function*() {
        const error = yield* Effect.flip(hostsOf(host))
        assert.strictEqual(error.name, host)
        assert.match(error.reason, reason)
        assert.include(error.message, `"${host}"`)
      }))
  }

  it.effect("fail to resolve if the name service is silent", () =>
    Effect.gen(function*() {
      const silent = Layer.succeed(NameResolver.NameResolver, { lookup: () => Effect.never })
      const looking = yield* Effect.forkChild(
        Effect.flip(NameResolver.addressesOf({ host: "a.example", port: 1 })).pipe(Effect.provide(silent))
      )
      yield* TestClock.adjust("10 seconds")
      assert.match((yield* Fiber.join(looking)).reason, /did not answer/)
    }))
})

describe("a race", () => {
  /** An attempt that ends after some milliseconds, with a log of its outcome. */
  const attempts = () => {
    const log: Array<string> = []
    const attempt = (name: string, millis: number, succeeds: boolean): Effect.Effect<string, string> =>
      Effect.sync(() => void log.push(`begin ${name}`)).pipe(
        Effect.andThen(Effect.sleep(millis)),
        Effect.andThen(succeeds ? Effect.succeed(name) : Effect.fail(name)),
        Effect.onInterrupt(() => Effect.sync(() => void log.push(`interrupt ${name}`)))
      )
    return { log, attempt }
  }
  const start = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

  it.effect("starts an attempt every 250 ms, and interrupts the others when one succeeds", () =>
    Effect.gen(function*() {
      const { attempt, log } = attempts()
      const racing = yield* start(
        NameResolver.race([attempt("a", 10_000, true), attempt("b", 300, true), attempt("c", 10_000, true)])
      )
      yield* settled
      yield* TestClock.adjust(249)
      assert.deepStrictEqual(log, ["begin a"])
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(log, ["begin a", "begin b"])
      yield* TestClock.adjust(300)
      assert.strictEqual(yield* Fiber.join(racing), "b")
      assert.sameMembers(log, ["begin a", "begin b", "begin c", "interrupt a", "interrupt c"])
      yield* TestClock.adjust("1 minute")
      assert.lengthOf(log, 5)
    }))

  it.effect("starts the next attempt at once when one fails", () =>
    Effect.gen(function*() {
      const { attempt, log } = attempts()
      const racing = yield* start(NameResolver.race([attempt("a", 10, false), attempt("b", 10, true)]))
      yield* settled
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(log, ["begin a", "begin b"])
      yield* TestClock.adjust(10)
      assert.strictEqual(yield* Fiber.join(racing), "b")
    }))

  it.effect("starts only one attempt if the first succeeds in time", () =>
    Effect.gen(function*() {
      const { attempt, log } = attempts()
      const racing = yield* start(NameResolver.race([attempt("a", 200, true), attempt("b", 0, true)]))
      yield* settled
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* Fiber.join(racing), "a")
      assert.deepStrictEqual(log, ["begin a"])
    }))

  it.effect("fails with all errors, in the order of the attempts", () =>
    Effect.gen(function*() {
      const { attempt } = attempts()
      const racing = yield* start(
        Effect.flip(NameResolver.race([attempt("a", 900, false), attempt("b", 0, false), attempt("c", 100, false)]))
      )
      yield* settled
      for (let i = 0; i < 4; i++) yield* TestClock.adjust(250)
      assert.deepStrictEqual(yield* Fiber.join(racing), ["a", "b", "c"])
    }))

  it.effect("leaves nothing behind when it is interrupted", () =>
    Effect.gen(function*() {
      const { attempt, log } = attempts()
      const racing = yield* start(NameResolver.race([attempt("a", 900, true), attempt("b", 900, true)]))
      yield* settled
      yield* TestClock.adjust(300)
      yield* Fiber.interrupt(racing)
      yield* TestClock.adjust("1 minute")
      assert.sameMembers(log, ["begin a", "begin b", "interrupt a", "interrupt b"])
    }))
})
