/**
 * Nodes of IPv4, of IPv6 and of both in a simulated world: how long it takes to
 * resolve what nodes of the same and of the other family publish.
 *
 *     node bench/families.ts 200 200 10
 */
import * as Effect from "effect/Effect"
import * as SimCrypto from "../src/testing/SimCrypto.ts"
import * as SimWorld from "../src/testing/SimWorld.ts"
import { announceAll, resolve, start } from "../test/simulation/families.ts"

const [ipv4 = 40, ipv6 = 40, dual = 5, times = 200] = process.argv.slice(2).map(Number)

const at = (values: ReadonlyArray<number>, share: number): string =>
  (values[Math.min(values.length - 1, Math.floor(values.length * share))] ?? NaN).toFixed(0)

const program = Effect.gen(function*() {
  const world = yield* SimWorld.SimWorld
  const nodes = yield* start(world, { ipv4, ipv6, dual })
  yield* Effect.sleep("2 minutes")
  yield* announceAll(nodes)
  yield* Effect.sleep("5 minutes")
  for (const [reader, publisher] of [["ipv4", "ipv4"], ["ipv4", "ipv6"], ["ipv6", "ipv4"]] as const) {
    if (nodes[reader].length === 0 || nodes[publisher].length === 0) continue
    const before = world.network.counts.sent
    const { millis, missed } = yield* resolve(nodes[reader], nodes[publisher], times, `${reader} ${publisher}`)
    const each = (world.network.counts.sent - before) / times
    console.log(
      `${ipv4} + ${ipv6} + ${dual}: ${reader} resolves ${publisher}: ${missed.length} of ${times} not found, ` +
        `p50 / p95 ${at(millis, 0.5)} / ${at(millis, 0.95)} ms, ${each.toFixed(0)} datagrams each`
    )
  }
})

SimWorld.runSync(program, { seed: 1, crypto: SimCrypto.simulated, within: "1 day" })
