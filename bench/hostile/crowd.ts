/**
 * More publishers of one topic than a key has room for.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import * as Plot from "../../src/cli/Plot.ts"
import * as NodeId from "../../src/NodeId.ts"
import { RecordType } from "../../src/Record.ts"
import type { Publication } from "../../src/Replication.ts"
import type { Row, Section } from "../report.ts"
import {
  contactOf,
  dhtOf,
  discovered,
  holds,
  identity,
  mean,
  network,
  type Node,
  offersUnder,
  shareOf,
  some
} from "./network.ts"
import { Stranger } from "./Stranger.ts"

const topic = "crowd"
const readerCount = 10

/** A copy is first asked for half a minute after it was made, and again a minute later. */
const probedMillis = 100_000

interface Step {
  readonly publishers: number
  readonly seen: ReadonlyArray<number>
  readonly plain: number
}

/** What a reader without our bit sees in one try. */
const seenWithoutBit = (nodes: ReadonlyArray<Node>) =>
  Effect.promise(async () => {
    const stranger = await Stranger.open(identity("reader"), "127.99.0.1")
    const table = await stranger.join(contactOf(nodes[0]))
    const records = await stranger.collect(table, NodeId.fromTopic(topic), RecordType.topic)
    stranger.close()
    return new Set(records.map(({ address }) => address)).size
  })

const plotted = (steps: ReadonlyArray<Step>, results: string): string => {
  const svg = Plot.lines({
    title: "Publishers of one topic that a reader sees",
    x: steps.map(({ publishers }) => publishers),
    xName: "publishers",
    lines: [
      { name: "published", values: steps.map(({ publishers }) => publishers) },
      { name: "seen", values: steps.map(({ seen }) => mean(seen)) },
      { name: "seen without the paging bit, in one try", values: steps.map(({ plain }) => plain) }
    ],
    format: (value) => value.toFixed(0),
    from: 0
  })
  const path = join(results, "crowd.html")
  mkdirSync(results, { recursive: true })
  writeFileSync(
    path,
    `<!doctype html><meta charset="utf-8"><title>A crowded topic</title><style>${style}</style>${svg}`
  )
  return path
}

const style = "svg{width:720px;font:10px sans-serif}.grid{stroke:#ddd}.y{text-anchor:end}.x{text-anchor:middle}" +
  ".line{fill:none;stroke-width:2}.s0{stroke:#bbb}.s1{stroke:#06c}.s2{stroke:#c60}"

/** How many publishers believe in copies although no other node holds their record; and what they were told. */
const told = Effect.fnUntraced(function*(nodes: ReadonlyArray<Node>, publications: ReadonlyArray<Publication>) {
  const counts = { enough: 0, full: 0, other: 0, deceived: 0, leastConfirmed: Infinity }
  for (const publication of publications) {
    const confirmed = yield* publication.confirmed
    const ids = new Set<string>(confirmed.map(({ id }) => id))
    const held = nodes.some((node) => ids.has(dhtOf(node).nodeId) && holds(node, publication.key, publication.record))
    if (confirmed.length > 0 && !held) counts.deceived++
    counts.leastConfirmed = Math.min(counts.leastConfirmed, confirmed.length)
    const result = yield* Effect.result(publication.replicas(8, { within: 0 }))
    if (Result.isSuccess(result)) counts.enough++
    else if (result.failure._tag === "KeyFull") counts.full++
    else counts.other++
  }
  return counts
})

export const crowd = (options: {
  readonly nodes: number
  readonly publishers: ReadonlyArray<number>
  readonly results: string
}) =>
  Effect.gen(function*() {
    const nodes = yield* network(options.nodes)
    const publications: Array<Publication> = []
    const steps: Array<Step> = []
    for (const publishers of options.publishers) {
      publications.push(...yield* offersUnder(nodes, topic, publishers - publications.length, publications.length))
      const names = publications.map(({ record }) => record.address)
      const seen: Array<number> = []
      for (const reader of some(nodes, readerCount)) {
        seen.push(names.length * shareOf(names, yield* discovered(reader, topic)))
      }
      steps.push({ publishers, seen, plain: yield* seenWithoutBit(nodes) })
    }
    yield* Effect.sleep(probedMillis)
    const { deceived, enough, full, leastConfirmed, other } = yield* told(nodes, publications)
    const rows = steps.map(({ plain, publishers, seen }): Row => ({
      name: `${publishers} publishers`,
      figures: {
        "seen, mean": { value: mean(seen), unit: "" },
        "seen, least": { value: Math.min(...seen), unit: "", atLeast: Math.min(publishers, 100) },
        "without our bit, once": { value: plain, unit: "" }
      }
    }))
    rows.push({
      name: "publishers, at the end",
      figures: {
        "have 8 copies": { value: enough, unit: "" },
        "are told KeyFull": { value: full, unit: "" },
        "NotEnoughReplicas": { value: other, unit: "" },
        "deceived": { value: deceived, unit: "", atMost: 0 },
        "least confirmed": { value: leastConfirmed, unit: "" }
      }
    })
    const section: Section = {
      title: `Publishers of one topic, ${options.nodes} nodes`,
      note: `Each publishes through one of ${options.nodes} nodes. Plot: ${plotted(steps, options.results)}`,
      rows
    }
    return section
  }).pipe(Effect.scoped)
