/**
 * One node with its HTTP server in a process of its own, the target of
 * `bench/http.ts`. Does on command what the gateway does for its clients, without
 * HTTP.
 *
 * @since 0.1.0
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Result from "effect/Result"
import { parseArgs } from "node:util"
import type { Address } from "../src/Address.ts"
import { Dht } from "../src/Dht.ts"
import * as Hex from "../src/internal/hex.ts"
import { DhtLive } from "../src/node/DhtLive.ts"
import * as NodeHttp from "../src/node/NodeHttp.ts"
import * as Record from "../src/Record.ts"
import { topic } from "./fixtures.ts"

/** What the node does without HTTP. */
export type Work =
  | { readonly _tag: "Agent"; readonly address: Address }
  | { readonly _tag: "Topic" }
  | { readonly _tag: "Publish"; readonly records: ReadonlyArray<string> }

/** Commands of the parent process: what the node used so far, or work `times` times. */
export type ToGateway =
  | { readonly _tag: "Usage" }
  | { readonly _tag: "Do"; readonly work: Work; readonly times: number; readonly concurrency: number }

/** Messages to the parent process: first the URL, then a reply to each command. */
export type FromGateway =
  | { readonly _tag: "Serving"; readonly url: string }
  | { readonly _tag: "Used"; readonly cpuMicros: number; readonly residentBytes: number }
  /** Milliseconds of each piece of work, and of all. */
  | { readonly _tag: "Done"; readonly millis: ReadonlyArray<number>; readonly allMillis: number }

const { values: options } = parseArgs({
  options: { "bootstrap": { type: "string", default: "" }, "token": { type: "string", default: "" } }
})

const say = (message: FromGateway): void => {
  process.send?.(message)
}

process.on("disconnect", () => process.exit())

const gateway = Effect.gen(function*() {
  const dht = yield* Dht
  const fork = Effect.runForkWith(yield* Effect.context<never>())

  const once = (work: Work, i: number): Effect.Effect<unknown> => {
    switch (work._tag) {
      case "Agent":
        return Effect.orDie(dht.resolveAll(work.address))
      case "Topic":
        return Effect.orDie(dht.discover(topic))
      case "Publish":
        return Effect.orDie(
          dht.publish(Result.getOrThrow(Record.decode(Hex.decode(work.records[i]))))
        )
    }
  }

  process.on("message", (command: ToGateway) => {
    if (command._tag === "Usage") {
      const { system, user } = process.cpuUsage()
      say({ _tag: "Used", cpuMicros: system + user, residentBytes: process.memoryUsage().rss })
      return
    }
    const { concurrency, times, work } = command
    const started = performance.now()
    fork(Effect.map(
      Effect.forEach(
        Array.from({ length: times }),
        (_, i) =>
          Effect.suspend(() => {
            const since = performance.now()
            return Effect.map(once(work, i), () => performance.now() - since)
          }),
        { concurrency }
      ),
      (millis) => say({ _tag: "Done", millis, allMillis: performance.now() - started })
    ))
  })

  const { host, port } = yield* NodeHttp.localAddress
  say({ _tag: "Serving", url: `http://${host}:${port}` })
  return yield* Effect.never
}).pipe(Effect.provideService(References.MinimumLogLevel, "Error"))

NodeRuntime.runMain(Effect.provide(
  gateway,
  NodeHttp.layer({ port: 0, token: Redacted.make(options.token), readable: true }).pipe(
    Layer.provideMerge(DhtLive({ listen: { host: "127.0.0.1", port: 0 }, bootstrap: [options.bootstrap] }))
  )
))
