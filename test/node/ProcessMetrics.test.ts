import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { version } from "../../src/internal/version.ts"
import * as ProcessMetrics from "../../src/node/ProcessMetrics.ts"

const registered = Effect.gen(function*() {
  const registry = Context.make(Metric.MetricRegistry, new Map())
  yield* Effect.provideContext(Layer.build(ProcessMetrics.layer), registry)
  return registry
})

const valueOf = (registry: Context.Context<never>, name: string) => {
  const series = Metric.snapshotUnsafe(registry).find(({ id }) => id === name)
  switch (series?.type) {
    case "Counter":
      return Number(series.state.count)
    case "Gauge":
      return Number(series.state.value)
    default:
      return NaN
  }
}

describe("ProcessMetrics", () => {
  it.live("has a series for each listed name, with unit and description", () =>
    Effect.gen(function*() {
      const snapshot = Metric.snapshotUnsafe(yield* registered)
      const files = process.platform === "linux" ? [] : ["process_open_fds", "process_max_fds"]
      assert.sameMembers(
        [...snapshot.map(({ id }) => id), ...files],
        Object.keys(ProcessMetrics.instruments)
      )
      for (const { attributes, description, id, type } of snapshot) {
        const { kind, ...instrument } = ProcessMetrics.instruments[id as keyof typeof ProcessMetrics.instruments]
        assert.strictEqual(type.toLowerCase(), kind)
        assert.deepStrictEqual({ unit: attributes?.unit, description }, instrument)
      }
    }))

  it.live("reports what the process has used when it is read", () =>
    Effect.gen(function*() {
      const registry = yield* registered
      const value = (name: keyof typeof ProcessMetrics.instruments) => valueOf(registry, name)
      const before = value("process_cpu_seconds_total")
      const end = process.cpuUsage().user + 20_000
      while (process.cpuUsage().user < end);
      assert.isAtLeast(value("process_cpu_seconds_total") - before, 0.015)
      assert.isAbove(value("process_resident_memory_bytes"), value("process_heap_bytes"))
      assert.isAbove(value("process_heap_bytes"), 1_000_000)
      assert.approximately(value("process_start_time_seconds"), Date.now() / 1000 - process.uptime(), 5)
      if (process.platform !== "linux") return
      assert.isAbove(value("process_open_fds"), 2)
      assert.isAbove(value("process_max_fds"), value("process_open_fds"))
    }))

  it.live("names the version of the package and of the runtime", () =>
    Effect.gen(function*() {
      const { attributes } = Metric.snapshotUnsafe(yield* registered).find(({ id }) => id === "dht.build.info")!
      assert.deepInclude(attributes, { version, runtime: "node", runtime_version: process.versions.node })
      const { version: published } = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8"))
      assert.strictEqual(version, published)
    }))

  it.live("leaves nothing in the registry", () =>
    Effect.gen(function*() {
      assert.isEmpty(Metric.snapshotUnsafe(yield* Effect.scoped(registered)))
    }))
})
