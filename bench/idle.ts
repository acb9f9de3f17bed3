/**
 * Memory per node of many idle nodes in one process.
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

/** Measured with one node, and with all. */
export type FromIdle = readonly [Memory, Memory]

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

const count = Number(process.argv[2])
await startNode()
const one = await measure()
for (let i = 1; i < count; i++) await startNode()
const all: FromIdle = [one, await measure()]
process.send?.(all, () => process.exit())
