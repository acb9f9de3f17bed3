/**
 * What is saved of hosted records, so that a restart neither signs nor stores
 * what is still good.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { type HostedEntry, Persistence } from "../Persistence.ts"
import * as Record from "../Record.ts"
import { slotOf } from "./drafts.ts"
import type { Entry } from "./entry.ts"

/**
 * A record of a hosted identity that is signed and stored, as one node leaves it
 * to another.
 *
 * @category models
 * @since 0.1.0
 */
export type Stored = HostedEntry

/**
 * What an earlier run, or another node, left of a record.
 *
 * @internal
 */
export type Kept = Omit<HostedEntry, "key" | "record"> & { readonly bytes: Uint8Array }

/**
 * What another node left of records, by slot.
 *
 * @internal
 */
export const leftBy = (left: ReadonlyArray<Stored>): ReadonlyMap<string, Kept & { readonly seq: bigint }> =>
  new Map(left.map(({ due, holders, key, record }) => [
    slotOf(key, record),
    { bytes: record.bytes, due, holders, seq: record.seq }
  ]))

/**
 * The later of what this node and another one left of a record.
 *
 * @internal
 */
export const latest = (own: Kept | undefined, other: Kept & { readonly seq: bigint } | undefined): Kept | undefined => {
  if (own === undefined || other === undefined) return other ?? own
  const record = Result.getOrUndefined(Record.decode(own.bytes))
  return record !== undefined && record.seq > other.seq ? own : other
}

/**
 * What the last run left of hosted records, each of which can be taken once, and
 * the saving of those of this run.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const persistence = yield* Persistence
  const bySlot = new Map<string, Kept>()
  yield* Stream.runForEach(persistence.kept.hosted, ({ due, holders, key, record }) =>
    Effect.sync(() => {
      bySlot.set(slotOf(key, record), { bytes: record.bytes, due, holders })
    }))
  return {
    take: (slot: string): Kept | undefined => {
      const kept = bySlot.get(slot)
      bySlot.delete(slot)
      return kept
    },
    save: ({ holders, key, record, slot }: Entry, due: number): void =>
      persistence.save({ _tag: "Hosted", key, record, slot, due, holders }),
    forget: ({ key, slot }: Entry): void => persistence.save({ _tag: "Unhosted", key, slot })
  }
})
