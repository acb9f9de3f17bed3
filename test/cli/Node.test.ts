import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestConsole from "effect/testing/TestConsole"
import { run } from "../utils/commandLine.ts"
import { temporary } from "../utils/temporary.ts"

/** Starts a node with these options, and returns how to wait for an event that it prints. */
const start = Effect.fnUntraced(function*(...args: ReadonlyArray<string>) {
  const data = yield* temporary
  const fixed = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", data, "--json"]
  const exitCode = process.exitCode
  const command = yield* Effect.forkScoped(run(["node", ...fixed, "--verify-threads", "0", ...args]))
  yield* Effect.addFinalizer(() =>
    Effect.andThen(
      Fiber.interrupt(command),
      Effect.sync(() => {
        process.exitCode = exitCode
      })
    )
  )
  return (event: string): Effect.Effect<{ readonly [name: string]: unknown }> =>
    TestConsole.logLines.pipe(
      Effect.map((lines) => lines.map((line) => JSON.parse(String(line))).find((line) => line.event === event)),
      Effect.repeat({
        until: (found) => found !== undefined,
        schedule: Schedule.spaced("20 millis"),
        times: 1000
      })
    )
})

describe("effect-dht node", () => {
  it.live("exchanges no datagrams with a denied network", () =>
    Effect.gen(function*() {
      const printed = yield* start(
        "--deny-from",
        "203.0.113.0/24",
        "--deny-from",
        "127.0.0.2",
        "--bootstrap",
        "127.0.0.2:9"
      )
      assert.deepStrictEqual((yield* printed("bootstrap-failed")).failures, [
        { address: "127.0.0.2:9", reason: "its network is excluded by --allow-from or --deny-from" }
      ])
    }).pipe(Effect.provide(TestConsole.layer)))

  it.live("listens on several addresses, and shows all of them", () =>
    Effect.gen(function*() {
      const printed = yield* start("--listen", "127.0.0.2:0,127.0.0.3:0")
      const { http, listen } = yield* printed("ready")
      const addresses = String(listen).split(",")
      assert.deepStrictEqual(addresses.map((text) => text.split(":")[0]), ["127.0.0.1", "127.0.0.2", "127.0.0.3"])
      const read = (path: string) =>
        Effect.promise(() => fetch(`http://${http}${path}`).then((response) => response.text()))
      // The first node of its network is ready.
      assert.deepStrictEqual(JSON.parse(yield* read("/health")).local_addrs, addresses)
      assert.deepStrictEqual(JSON.parse(yield* read("/v1/overview")).reachability.local_addrs, addresses)
      const metrics = yield* read("/metrics")
      for (const address of addresses) {
        assert.include(metrics, `dht_transport_bound{dht_local_address="${address}"} 1\n`)
        const { error } = yield* run(["ping", address])
        assert.deepStrictEqual(error, [])
      }
    }).pipe(Effect.provide(TestConsole.layer)), 30_000)

  it.live("names the address that it cannot listen on", () =>
    Effect.gen(function*() {
      const data = yield* temporary
      const { error } = yield* run(["node", "--listen", "127.0.0.1:0,192.0.2.1:4121", "--no-http", "--data", data])
      assert.include(error.join(), "Cannot listen on 192.0.2.1:4121: this machine does not have that address")
    }).pipe(Effect.provide(TestConsole.layer)))

  it.live("tells Prometheus of its process, its state on disk and its version", () =>
    Effect.gen(function*() {
      const printed = yield* start()
      const { http } = yield* printed("ready")
      const text = yield* Effect.promise(() => fetch(`http://${http}/metrics`).then((response) => response.text()))
      for (const name of ["process_cpu_seconds_total", "process_resident_memory_bytes", "dht_persistence_degraded"]) {
        assert.match(text, new RegExp(`^${name} \\d`, "m"))
      }
      assert.match(text, /^dht_build_info\{version="[\d.]+",runtime="node",runtime_version="[\d.]+"\} 1$/m)
    }).pipe(Effect.provide(TestConsole.layer)))
})
