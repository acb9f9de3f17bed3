/**
 * Cost of persistence: for the node's responses, on its own thread, and at the
 * next start.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { monitorEventLoopDelay } from "node:perf_hooks"
import * as NodeCrypto from "../src/node/NodeCrypto.ts"
import * as SqlitePersistence from "../src/node/SqlitePersistence.ts"
import * as NodeEvents from "../src/NodeEvents.ts"
import * as Persistence from "../src/Persistence.ts"
import * as Store from "../src/Store.ts"
import { endpointRecord, identity, nodeId, topicRecord, unixSeconds } from "./fixtures.ts"
import type { FromLoad, ToLoad } from "./load.ts"
import { Process } from "./process.ts"
import type { Figure, Row, Section } from "./report.ts"
import type { FromServer, ToServer } from "./server.ts"

const crypto = NodeCrypto.fastest

/** Changes between two waits, few enough that none is dropped. */
const together = 4096

/** Saves `count` records as fast as they become durable. */
const save = (count: number) =>
  Effect.gen(function*() {
    const { flush, save, status } = yield* Persistence.Persistence
    const now = unixSeconds()
    const records = [endpointRecord(identity(crypto, "a"), now), topicRecord(identity(crypto, "b"), now)]
    const keys = Array.from({ length: count }, (_, i) => nodeId(`key ${i}`))
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    const idle = performance.eventLoopUtilization()
    const started = performance.now()
    for (let at = 0; at < count; at += together) {
      for (let i = at; i < Math.min(count, at + together); i++) {
        save({ _tag: "Stored", network: undefined, key: keys[i], record: records[i % 2], replaced: undefined })
      }
      yield* flush
    }
    const millis = performance.now() - started
    const { active } = performance.eventLoopUtilization(idle)
    delay.disable()
    if ((yield* status).dropped > 0) throw new Error("changes were dropped")
    return {
      "durable": { value: count * 1000 / millis, unit: "/s" },
      "node's thread, each": { value: active * 1000 / count, unit: "µs" },
      "its longest pause": { value: delay.max / 1e6, unit: "ms" }
    } satisfies Row["figures"]
  })

/** STORE requests that a node answers. */
const stores = async (args: ReadonlyArray<string>, count: number): Promise<Row["figures"]> => {
  const server = new Process<ToServer, FromServer>("server.ts", args)
  const load = new Process<ToLoad, FromLoad>("load.ts")
  const listening = await server.next()
  if (listening._tag !== "Listening") throw new Error("the server did not start")
  await load.ask({ _tag: "Prepare", port: listening.port, kind: "STORE", form: "signed", count })
  const done = await load.ask({ _tag: "Run", window: 32, count })
  await Promise.all([load.end(), server.end()])
  if (done._tag !== "Done") throw new Error("the load was not run")
  return {
    "requests": { value: done.answered / done.seconds, unit: "/s" },
    "p50": { value: done.p50Millis, unit: "ms" },
    "p99": { value: done.p99Millis, unit: "ms" }
  }
}

export async function* persistence(count: number): AsyncGenerator<Section> {
  const directory = mkdtempSync(join(tmpdir(), "effect-dht-bench-"))
  try {
    const sqlite = Layer.orDie(SqlitePersistence.layer({ directory }))
    const memory = Persistence.layerMemory(Persistence.makeMemory())
    const run = <A, E>(
      effect: Effect.Effect<A, E, Persistence.Persistence>,
      layer: Layer.Layer<Persistence.Persistence>
    ) => Effect.runPromise(Effect.provide(effect, Layer.fresh(layer)))

    const rows: Array<Row> = [
      { name: "in memory", figures: await run(save(count), memory) },
      { name: "SQLite", figures: await run(save(count), sqlite) }
    ]
    yield { title: `State of ${count} records`, rows }

    const started = performance.now()
    const size = await Effect.runPromise(
      Store.Store.use(({ size }) => size).pipe(
        Effect.provide(Store.layer().pipe(Layer.provide([NodeCrypto.layer, NodeEvents.layer, Layer.fresh(sqlite)])))
      )
    )
    const loading: Figure = { value: performance.now() - started, unit: "ms" }
    if (size !== Math.min(count, 100_000)) throw new Error(`${size} records were loaded`)
    const bytes = statSync(join(directory, "state.sqlite")).size
    yield {
      title: "The next start",
      rows: [{
        name: `SQLite, ${count} records`,
        figures: { "until they are served": loading, "on disk, each": { value: bytes / count / 1024, unit: "KiB" } }
      }]
    }

    const turns: Array<Row> = []
    for (let turn = 0; turn < 2; turn++) {
      turns.push({ name: "keeps nothing", figures: await stores([], count / 10) })
      turns.push({ name: "SQLite", figures: await stores(["--data", join(directory, `${turn}`)], count / 10) })
    }
    yield { title: "STORE over UDP loopback, 32 outstanding", rows: turns }
  } finally {
    rmSync(directory, { recursive: true })
  }
}
