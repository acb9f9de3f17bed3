/**
 * Requests per second of a node over UDP loopback, with the load generator in
 * another process on the same machine.
 *
 * @since 0.1.0
 */
import { type Form, type FromLoad, type Kind, kinds, type Outcome, type ToLoad } from "./load.ts"
import { Process } from "./process.ts"
import type { Figure, Row, Section } from "./report.ts"
import type { FromServer, ToServer } from "./server.ts"

const windows = [32, 128]

/**
 * Goals with 32 outstanding requests: a multiple of the throughput of the Go
 * reference (0.1.7), at no higher a 99th percentile. The reference was measured
 * on a machine where verifying a signature takes 51 µs.
 */
const goals: { readonly [kind in Kind]?: { readonly perSecond?: number; readonly p99Millis: number } } = {
  "PING": { perSecond: 1.5 * 8560, p99Millis: 6.6 },
  "FIND_NODE": { perSecond: 3 * 3020, p99Millis: 16.4 },
  "FIND_VALUE hit": { perSecond: 5 * 1550, p99Millis: 30 },
  "FIND_VALUE miss": { p99Millis: 17.6 },
  "FIND_VALUE topic": { perSecond: 100 * 49, p99Millis: 660 },
  "STORE": { perSecond: 1.5 * 5240, p99Millis: 10.7 }
}
const verifyMicrosOfGoals = 51

/** What the node answers in a session is measured for these. */
const formsOf = (kind: Kind): ReadonlyArray<Form> =>
  kind === "PING" || kind === "FIND_NODE" || kind === "FIND_VALUE hit" ? ["signed", "session"] : ["signed"]

const measured = (outcome: Outcome, cpuMicros: number, kind: Kind, window: number, slowness: number): Row => {
  const goal = window === 32 ? goals[kind] : undefined
  const figures: { [column: string]: Figure } = {
    "requests": {
      value: outcome.answered / outcome.seconds,
      unit: "/s",
      atLeast: goal?.perSecond && goal.perSecond / slowness
    },
    "p50": { value: outcome.p50Millis, unit: "ms" },
    "p99": { value: outcome.p99Millis, unit: "ms", atMost: goal && goal.p99Millis * slowness },
    "server CPU": { value: cpuMicros / outcome.answered, unit: "µs" },
    "lost": { value: outcome.lost, unit: "" }
  }
  return { name: `${kind}, ${window} outstanding`, figures }
}

/** The row of a session beside the one of signed messages, from the same run. */
const inSession = ({ figures, name }: Row, signed: Row | undefined): Row => {
  const { "server CPU": cpu, p50, p99, lost, requests } = figures
  const before = signed?.figures
  return {
    name: `${name}, in a session`,
    figures: {
      requests: { value: requests.value, unit: requests.unit },
      p50,
      p99: { value: p99.value, unit: p99.unit },
      "server CPU": cpu,
      lost,
      "CPU of signed": { value: cpu.value / (before?.["server CPU"].value ?? NaN), unit: "×", atMost: 1 / 3 },
      "requests of signed": { value: requests.value / (before?.requests.value ?? NaN), unit: "×" }
    }
  }
}

export const throughput = async (options: {
  readonly verifyThreads: number
  /** Requests of each kind per window. */
  readonly count: number
  /** Time of a signature verification on this machine. */
  readonly verifyMicros: number
}): Promise<Section> => {
  const slowness = options.verifyMicros / verifyMicrosOfGoals
  const server = new Process<ToServer, FromServer>("server.ts", ["--verify-threads", `${options.verifyThreads}`])
  const load = new Process<ToLoad, FromLoad>("load.ts")
  const listening = await server.next()
  if (listening._tag !== "Listening") throw new Error("the server did not start")
  const used = async () => {
    const said = await server.ask({ _tag: "Usage" })
    return said._tag === "Used" ? said.cpuMicros : 0
  }
  const rows: Array<Row> = []
  for (const kind of kinds) {
    // A STORE costs two verifications, and more to prepare.
    const count = kind.startsWith("STORE") ? Math.ceil(options.count / 2) : options.count
    const signed = new Map<number, Row>()
    for (const form of formsOf(kind)) {
      await load.ask({ _tag: "Prepare", port: listening.port, kind, form, count: count * windows.length })
      for (const window of windows) {
        const before = await used()
        const done = await load.ask({ _tag: "Run", window, count })
        const cpuMicros = await used() - before
        if (done._tag !== "Done") continue
        const row = measured(done, cpuMicros, kind, window, slowness)
        rows.push(form === "signed" ? row : inSession(row, signed.get(window)))
        signed.set(window, row)
      }
    }
  }
  await Promise.all([load.end(), server.end()])
  return {
    title: `A node over UDP loopback, verifyThreads: ${options.verifyThreads}`,
    note: "8 sources, a table of 200 contacts. Goals are scaled by what checking a signature takes here.",
    rows
  }
}
