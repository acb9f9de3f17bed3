/**
 * Processor time of a node for each request, all of its threads and its state on
 * disk included, as a multiple of that for a signed PING.
 *
 * The kinds of request run in turns, so a busy machine slows all of them alike.
 *
 * @since 0.1.0
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Form, FromLoad, Kind, ToLoad } from "./load.ts"
import { median, ratio } from "./measure.ts"
import { Process } from "./process.ts"
import type { Figure, Section } from "./report.ts"
import type { FromServer, ToServer } from "./server.ts"

const requests: ReadonlyArray<{ readonly kind: Kind; readonly form: Form; readonly atMost?: number }> = [
  { kind: "PING", form: "signed" },
  { kind: "FIND_NODE", form: "signed" },
  // The reference's ratio. There is one more signature to check.
  { kind: "STORE", form: "signed", atMost: 1.38 },
  { kind: "STORE again", form: "signed" },
  { kind: "PING", form: "session" },
  { kind: "STORE", form: "session" }
]

const nameOf = ({ form, kind }: typeof requests[number]): string => form === "signed" ? kind : `${kind}, in a session`

const window = 32

/** Requests of each kind before the first round: V8 compiles what runs often on threads of its own. */
const warmUp = 5000

/** Milliseconds after a run until all that it caused is done, such as writes to disk. */
const settleMillis = 300

export const cost = async (options: {
  readonly verifyThreads: number
  readonly rounds: number
  /** Requests of each kind per round. All new records must fit into the store, which has room for some 28 000. */
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
    const loads = requests.map((request) => ({
      ...request,
      load: new Process<ToLoad, FromLoad>("load.ts"),
      micros: Array.of<number>()
    }))
    for (const { form, kind, load } of loads) {
      await load.ask({ _tag: "Prepare", port: listening.port, kind, form, count: warmUp + count * rounds })
    }
    for (const { load } of loads) await load.ask({ _tag: "Run", window, count: warmUp })
    const checks: Array<number> = []
    for (let round = 0; round < rounds; round++) {
      for (const { load, micros } of loads) {
        const before = await used()
        const done = await load.ask({ _tag: "Run", window, count })
        if (done._tag === "Done") micros.push((await used() - before) / done.answered)
      }
      const checked = await server.ask({ _tag: "Check", count })
      if (checked._tag === "Checked") checks.push(checked.cpuMicros / count)
    }
    await Promise.all([...loads.map(({ load }) => load.end()), server.end()])
    const [pings, , stores] = loads.map(({ micros }) => micros)
    const row = (name: string, micros: ReadonlyArray<number>, atMost?: number) => {
      const figures: { [column: string]: Figure } = {
        "processor": { value: median(micros), unit: "µs" },
        "to PING": { value: ratio(micros, pings), unit: "×", atMost }
      }
      return { name, figures }
    }
    return {
      title: `Cost of requests with the state on disk, ${verifyThreads} threads for signatures`,
      note:
        `${rounds} rounds of ${count} requests of each kind, ${window} outstanding. All threads of the process count.`,
      rows: [
        ...loads.map((load) => row(nameOf(load), load.micros, load.atMost)),
        row("the check of a signature", checks),
        row("STORE without the second check", stores.map((store, i) => store - checks[i]))
      ]
    }
  } finally {
    rmSync(directory, { recursive: true })
  }
}
