/**
 * Processor time of a node for each request, all of its threads and its state on
 * disk included, as a multiple of that for a PING.
 *
 * The kinds of request run in turns, so a busy machine slows all of them alike.
 *
 * @since 0.1.0
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { FromLoad, Kind, ToLoad } from "./load.ts"
import { median, ratio } from "./measure.ts"
import { Process } from "./process.ts"
import type { Section } from "./report.ts"
import type { FromServer, ToServer } from "./server.ts"

const kinds = ["PING", "FIND_NODE", "STORE", "STORE again"] as const satisfies ReadonlyArray<Kind>

/** Goals: the cost in PINGs. A STORE has one more signature to check, which is a third of the cost of a PING. */
const atMost: { readonly [kind in typeof kinds[number]]?: number } = { STORE: 1.38 }

const window = 32

/** Milliseconds after a run until all that it caused is done, such as writes to disk. */
const settleMillis = 300

export const cost = async (options: {
  readonly verifyThreads: number
  readonly rounds: number
  /** Requests of each kind per round. */
  readonly count: number
}): Promise<Section> => {
  const { count, rounds, verifyThreads } = options
  const directory = mkdtempSync(join(tmpdir(), "effect-dht-bench-"))
  try {
    const server = new Process<ToServer, FromServer>("server.ts", [
      "--verify-threads",
      `${verifyThreads}`,
      "--data",
      directory
    ])
    const listening = await server.next()
    if (listening._tag !== "Listening") throw new Error("the server did not start")
    const used = async () => {
      await new Promise((resolve) => setTimeout(resolve, settleMillis))
      const said = await server.ask({ _tag: "Usage" })
      return said._tag === "Used" ? said.cpuMicros : 0
    }
    const loads = kinds.map((kind) => ({ kind, load: new Process<ToLoad, FromLoad>("load.ts") }))
    const micros = new Map<Kind, Array<number>>()
    for (const { kind, load } of loads) {
      micros.set(kind, [])
      await load.ask({ _tag: "Prepare", port: listening.port, kind, form: "signed", count: count * rounds })
    }
    for (let round = 0; round < rounds; round++) {
      for (const { kind, load } of loads) {
        const before = await used()
        const done = await load.ask({ _tag: "Run", window, count })
        if (done._tag === "Done") micros.get(kind)?.push((await used() - before) / done.answered)
      }
    }
    await Promise.all([...loads.map(({ load }) => load.end()), server.end()])
    const pings = micros.get("PING") ?? []
    return {
      title: `Cost of requests with the state on disk, ${verifyThreads} threads for signatures`,
      note:
        `${rounds} rounds of ${count} requests of each kind, ${window} outstanding. All threads of the process count.`,
      rows: kinds.map((kind) => ({
        name: kind,
        figures: {
          "processor": { value: median(micros.get(kind) ?? []), unit: "µs" },
          "to PING": { value: ratio(micros.get(kind) ?? [], pings), unit: "×", atMost: atMost[kind] }
        }
      }))
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}
