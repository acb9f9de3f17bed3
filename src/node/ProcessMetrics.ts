/**
 * Metrics of the process that a node runs in, under the names that Prometheus
 * gives them in every language, and the version of this library.
 *
 * They cost nothing until they are read.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Fs from "node:fs"
import { type Instrument, registering } from "../DhtMetrics.ts"
import { version } from "../internal/version.ts"

/**
 * The metrics by name. The attributes of `dht.build.info`, which is always 1,
 * are `version`, `runtime` and `runtime_version`. Files are counted on Linux
 * only.
 *
 * @category constants
 * @since 0.1.0
 */
export const instruments = {
  "process_cpu_seconds_total": {
    kind: "counter",
    unit: "s",
    description: "Processor time of the process, its threads and the kernel's work for it included"
  },
  "process_resident_memory_bytes": {
    kind: "gauge",
    unit: "By",
    description: "Memory of the process that is not swapped out"
  },
  "process_heap_bytes": { kind: "gauge", unit: "By", description: "Memory of JavaScript objects on the main thread" },
  "process_start_time_seconds": {
    kind: "gauge",
    unit: "s",
    description: "When the process started, in Unix seconds"
  },
  "process_open_fds": { kind: "gauge", unit: "{file}", description: "Open file descriptors" },
  "process_max_fds": { kind: "gauge", unit: "{file}", description: "Maximum number of open file descriptors" },
  "dht.build.info": { kind: "gauge", unit: "1", description: "The version of effect-dht and of its runtime" }
} as const satisfies Record<string, Instrument>

const fileDirectory = "/proc/self/fd"

/** The soft limit of open files; undefined where the system does not tell, or has none. */
const maxFiles = (): number | undefined => {
  try {
    const [, limit] = /^Max open files +(\d+)/m.exec(Fs.readFileSync("/proc/self/limits", "utf8")) ?? []
    return limit === undefined ? undefined : Number(limit)
  } catch {
    return undefined
  }
}

const runtimeOf = (): { readonly runtime: string; readonly runtime_version: string } => {
  const { bun, deno, node } = process.versions
  return bun !== undefined
    ? { runtime: "bun", runtime_version: bun }
    : deno !== undefined
    ? { runtime: "deno", runtime_version: deno }
    : { runtime: "node", runtime_version: node }
}

const make = Effect.gen(function*() {
  const { counter, gauge } = yield* registering(instruments)
  counter("process_cpu_seconds_total", () => {
    const { system, user } = process.cpuUsage()
    return (user + system) / 1e6
  })
  gauge("process_resident_memory_bytes", () => process.memoryUsage.rss())
  gauge("process_heap_bytes", () => process.memoryUsage().heapUsed)
  const startedAt = Math.round((yield* Clock.currentTimeMillis) / 1000 - process.uptime())
  gauge("process_start_time_seconds", () => startedAt)
  const limit = maxFiles()
  if (limit !== undefined) {
    // The listing itself opens one.
    gauge("process_open_fds", () => Fs.readdirSync(fileDirectory).length - 1)
    gauge("process_max_fds", () => limit)
  }
  gauge("dht.build.info", () => 1, { version, ...runtimeOf() })
})

/**
 * Registers the metrics of the process with the metric registry of the context,
 * until the layer's scope closes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Layer.effectDiscard(make)
