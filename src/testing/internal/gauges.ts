/**
 * Measurements that need a global view of a simulation: copies of records and
 * the accuracy of routing tables.
 *
 * @since 0.1.0
 */
import * as NodeId from "../../NodeId.ts"
import type { Tables } from "../Measurement.ts"
import { pick } from "./draw.ts"
import type { Announced, Population } from "./population.ts"
import type { Prng } from "./prng.ts"
import { Spread } from "./tally.ts"

/** Number of tables in a sample. */
const tablesAtOnce = 32

const slotOf = ({ address, key, type }: Pick<Announced, "address" | "key" | "type">): string =>
  `${key} ${type} ${address}`

/**
 * The number of copies of each record outside its publisher, counted in one pass
 * over all stores.
 *
 * @internal
 */
export const copies = (
  { members }: Population,
  records: ReadonlyArray<Announced>
): ReadonlyArray<number> => {
  const counts = new Map(records.map((record) => [slotOf(record), 0]))
  for (const { node, stored } of members) {
    const own = node.identity.address
    for (const row of stored()) {
      const slot = slotOf(row)
      const count = counts.get(slot)
      if (count !== undefined && row.address !== own) counts.set(slot, count + 1)
    }
  }
  return Array.from(counts.values())
}

/**
 * Statistics of the routing tables of a sample of members.
 *
 * @internal
 */
export const tables = (population: Population, samples: Prng): Tables => {
  const { isUp, members } = population
  const ids = members.map(({ id }) => id)
  const contacts = new Spread()
  const live = new Spread()
  const filled = new Spread()
  for (const { id, routing } of pick(samples, members, Math.min(tablesAtOnce, members.length))) {
    const entries = routing.entriesUnsafe()
    contacts.add(entries.length)
    live.add(entries.filter(({ contact }) => isUp(contact)).length / entries.length, entries.length)
    const possible = new Map<number, number>()
    for (const other of ids) {
      if (other === id) continue
      const bucket = NodeId.commonPrefixLength(id, other)
      possible.set(bucket, Math.min(routing.k, (possible.get(bucket) ?? 0) + 1))
    }
    const most = Array.from(possible.values()).reduce((sum, count) => sum + count, 0)
    const held = Array.from(possible).reduce(
      (sum, [bucket, count]) => sum + Math.min(count, routing.bucketUnsafe(bucket).entries.length),
      0
    )
    filled.add(held / most, most)
  }
  return { contacts: contacts.mean, live: live.mean, filled: filled.mean }
}
