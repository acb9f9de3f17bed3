/** The programs behind real routers: those of the kernel, in network namespaces. */
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe } from "vitest"
import * as Processes from "../utils/processes.ts"
import * as Internet from "./internet.ts"

const port = 4121
const bootstrap = ["--bootstrap", `11.0.1.2:${port}`]

/** Runs a command to its end at a place, and succeeds with the document that it prints. */
const run = Effect.fnUntraced(function*({ run }: Internet.Place, ...args: ReadonlyArray<string>) {
  const { ended } = yield* Processes.startUnder(run, ...args, "--json")
  const { code, error, out } = yield* ended
  if (code !== 0) return yield* Effect.fail(error.join("\n"))
  return JSON.parse(out[0])
}, Effect.scoped)

/** Tries a check again for at least three minutes: a node behind a router attends every 110 seconds. */
const eventually = <A, E>(check: Effect.Effect<A, E>) =>
  Effect.retry(check, { schedule: Schedule.spaced("2 seconds"), times: 90 })

const world = Effect.gen(function*() {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-dht-"))),
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
  )
  const internet = yield* Internet.make
  const node = Effect.fnUntraced(function*<P extends Internet.Place>(name: string, place: P) {
    const data = join(directory, name)
    const process = yield* Processes.startUnder(
      place.run,
      "node",
      "--json",
      "--data",
      data,
      "--listen",
      `0.0.0.0:${port}`,
      "--http",
      "127.0.0.1:8080",
      ...(name === "first" ? [] : bootstrap)
    )
    const { address } = yield* process.event("ready")
    if (name !== "first") yield* process.event("joined")
    return { place, data, address }
  })
  return {
    first: yield* node("first", yield* internet.open(1)),
    second: yield* node("second", yield* internet.open(2)),
    third: yield* node("third", yield* internet.open(3)),
    ann: yield* node("ann", yield* internet.behind(11, "Preserving")),
    bob: yield* node("bob", yield* internet.behind(12, "Preserving")),
    eve: yield* node("eve", yield* internet.behind(13, "Random"))
  }
})

class World extends Context.Service<World, Effect.Success<typeof world>>()("test/nat/World") {}

const missing = Internet.missing()
if (missing !== undefined) {
  console.log(`NOTHING IS TESTED: ${missing}. Run as root, with iproute2 and nftables.`)
}

describe.skipIf(missing !== undefined)("processes behind routers", () => {
  layer(Layer.effect(World, world), { excludeTestServices: true, timeout: "2 minutes" })((it) => {
    it.effect("find out whether strangers reach them", () =>
      Effect.gen(function*() {
        const { ann, bob, eve, first, second, third } = yield* World
        const expect = (nodes: ReadonlyArray<typeof ann | typeof first>, expected: string) =>
          Effect.forEach(nodes, ({ data, place }) =>
            eventually(Effect.flatMap(
              run(place, "reachability", "--data", data),
              ({ reachable }) => reachable === expected ? Effect.void : Effect.fail(`${data} is ${reachable}`)
            )), { discard: true })
        yield* expect([first, second, third], "open")
        yield* expect([ann, bob, eve], "closed")
      }))

    it.effect("publish what others find", () =>
      Effect.gen(function*() {
        const { ann, eve } = yield* World
        const endpoint = "https://ann.example/"
        yield* run(ann.place, "announce", "endpoint", "--endpoint", endpoint, "--data", ann.data)
        const { endpoints } = yield* run(eve.place, "resolve", ann.address, ...bootstrap)
        assert.deepStrictEqual(endpoints, [endpoint])
      }))

    it.effect("get mail that is pushed through the router", () =>
      Effect.gen(function*() {
        const { ann, bob } = yield* World
        const reading = yield* Processes.startUnder(
          ann.place.run,
          "mailbox",
          "read",
          "--watch",
          "--json",
          "--data",
          ann.data,
          ...bootstrap
        )
        yield* Effect.sleep("5 seconds")
        yield* run(bob.place, "mailbox", "send", ann.address, "hello", "--data", bob.data, ...bootstrap)
        yield* reading.line(/"hello"/)
      }))

    it.effect("meet each other if their routers let them, and are told why not otherwise", () =>
      Effect.gen(function*() {
        const { ann, bob, eve, first } = yield* World
        const direct = yield* run(ann.place, "ping", first.address, ...bootstrap)
        assert.strictEqual(direct.reached, "direct")
        const punched = yield* run(ann.place, "ping", bob.address, ...bootstrap)
        assert.deepInclude(punched, { reached: "punched", address: bob.address })
        const refused = yield* Effect.flip(run(ann.place, "ping", eve.address, ...bootstrap))
        assert.include(refused, "no datagram came through the routers")
      }))

    it.effect("are met again after their router has forgotten them, and at another address", () =>
      Effect.gen(function*() {
        const { ann, bob } = yield* World
        const meet = eventually(run(ann.place, "ping", bob.address, ...bootstrap))
        const rebooted = yield* bob.place.reboot(12)
        assert.match((yield* meet).endpoint, /^11\.0\.12\.2:/)
        yield* rebooted.reboot(14)
        assert.match((yield* meet).endpoint, /^11\.0\.14\.2:/)
      }))
  })
})
