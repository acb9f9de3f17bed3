/**
 * Memory and processor time per node of many idle nodes in one process.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import { DhtLive } from "../src/node/DhtLive.ts"

export interface Memory {
  /** Resident bytes of the process. */
  readonly resident: number
  /** Bytes used by JavaScript, on its heap and in buffers. */
  readonly held: number
}

export interface FromIdle {
  /** With one node, and with all. */
  readonly one: Memory
  readonly all: Memory
  /** Microseconds of the processor that all nodes take in a second in which nothing happens. */
  readonly microsPerSecond: number
}

const scope = Scope.makeUnsafe()

const startNode = () =>
  Effect.runPromise(Layer.buildWithScope(Layer.fresh(DhtLive({ listen: { host: "127.0.0.1", port: 0 } })), scope))

const measure = async (): Promise<Memory> => {
  for (let i = 0; i < 3; i++) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    globalThis.gc?.()
  }
  const { external, heapUsed, rss } = process.memoryUsage()
  return { resident: rss, held: heapUsed + external }
}

/** Seconds after the start, when a node looks around, and those that are measured. */
const settleSeconds = 15
const restSeconds = 60

const seconds = (count: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, count * 1000))

const rest = async (): Promise<number> => {
  await seconds(settleSeconds)
  const before = process.cpuUsage()
  await seconds(restSeconds)
  const { system, user } = process.cpuUsage(before)
  return (system + user) / restSeconds
}

const count = Number(process.argv[2])
await startNode()
const one = await measure()
for (let i = 1; i < count; i++) await startNode()
const all = await measure()
const measured: FromIdle = { one, all, microsPerSecond: await rest() }
process.send?.(measured, () => process.exit())
