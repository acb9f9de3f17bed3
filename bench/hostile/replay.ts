/**
 * An old endpoint record put back at every node, the one that asks included.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Endpoint from "../../src/Endpoint.ts"
import type { Identity } from "../../src/Identity.ts"
import type * as Record from "../../src/Record.ts"
import { unixSeconds } from "../fixtures.ts"
import { quantile } from "../measure.ts"
import type { Row, Section } from "../report.ts"
import { contactOf, dhtOf, identity, network, type Node, placed, publishers, some } from "./network.ts"
import { inParallel, Stranger } from "./Stranger.ts"

const signed = (owner: Identity, version: number): Record.SignedRecord =>
  Result.getOrThrow(Endpoint.sign({
    signer: owner,
    address: owner.address,
    seq: BigInt(version),
    timestamp: BigInt(unixSeconds() - 60 + version),
    ttl: 3600,
    payload: Endpoint.make({ endpoints: [`tcp://192.0.2.1:${version}`] })
  }))

/** What resolving brings at some nodes. */
const resolved = Effect.fnUntraced(function*(
  nodes: ReadonlyArray<Node>,
  owners: ReadonlyArray<Identity>,
  readers: number
) {
  const counts = { current: 0, stale: 0, none: 0 }
  const times: Array<number> = []
  for (const { address } of owners) {
    for (const reader of some(nodes, readers)) {
      const started = performance.now()
      const result = yield* Effect.result(dhtOf(reader).resolve(address))
      times.push(performance.now() - started)
      if (Result.isFailure(result)) counts.none++
      else if (result.success.record.seq === 2n) counts.current++
      else counts.stale++
    }
  }
  return { ...counts, p50: quantile(times, 0.5) }
})

export const replay = (options: { readonly nodes: number; readonly owners: number; readonly readers: number }) =>
  Effect.gen(function*() {
    const nodes = yield* network(options.nodes)
    const stranger = yield* Effect.promise(() => Stranger.open(identity("replay"), "127.66.0.1"))
    const measured = Effect.fnUntraced(function*(name: string, isAttacked: boolean, isFirst: boolean) {
      const owners = Array.from({ length: options.owners }, (_, i) => identity(`${name} ${i}`))
      const publish = (version: number) =>
        Effect.forEach(
          owners,
          (owner, i) => placed(dhtOf(nodes[i % nodes.length]).publish(signed(owner, version))),
          publishers
        )
      const attack = Effect.promise(() =>
        inParallel(
          owners.flatMap((owner) => nodes.map((node) => ({ record: signed(owner, 1), node: contactOf(node) }))),
          16,
          ({ node, record }) => stranger.ask(node, { _tag: "Store", record, key: undefined })
        )
      )
      yield* publish(1)
      if (isAttacked && isFirst) yield* attack
      yield* publish(2)
      if (isAttacked && !isFirst) yield* attack
      const { current, none, p50, stale } = yield* resolved(nodes, owners, options.readers)
      const row: Row = {
        name,
        figures: {
          "current": { value: current, unit: "" },
          "stale": { value: stale, unit: "", atMost: 0 },
          "none": { value: none, unit: "", atMost: 0 },
          "p50": { value: p50, unit: "ms" }
        }
      }
      return row
    })
    const rows = [
      yield* measured("in peace", false, false),
      yield* measured("replayed before the new one is published", true, true),
      yield* measured("replayed after", true, false)
    ]
    stranger.close()
    const section: Section = {
      title: `An old record of each of ${options.owners} addresses, replayed to all ${options.nodes} nodes`,
      note: `${Math.min(options.readers, options.nodes)} nodes resolve each of them once.`,
      rows
    }
    return section
  }).pipe(Effect.scoped)
