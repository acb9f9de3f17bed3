/**
 * What is saved of hosted records, so that a restart neither signs nor stores
 * what is still good.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Address } from "../Address.ts"
import { type HostedEntry, type HostedSlot, Persistence } from "../Persistence.ts"
import { fingerprintOf, slotOf } from "./drafts.ts"
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
 * What another node left of records, by slot.
 *
 * @internal
 */
export const leftBy = (left: ReadonlyArray<Stored>): ReadonlyMap<string, Stored> =>
  new Map(left.map((stored) => [slotOf(stored.key, stored.record), stored]))

/**
 * The later of what this node and another one left of a record.
 *
 * @internal
 */
export const latest = (own: Stored | undefined, other: Stored | undefined): Stored | undefined =>
  own === undefined || other === undefined ? other ?? own : own.record.seq > other.record.seq ? own : other

/**
 * What the last run left of hosted records, each of which can be taken once, and
 * the saving of those of this run.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const persistence = yield* Persistence
  const byAddress = new Map<Address, Array<HostedSlot>>()
  yield* Stream.runForEachArray(persistence.kept.hosted, (entries) =>
    Effect.sync(() => {
      for (const entry of entries) {
        const { address } = entry.record
        const others = byAddress.get(address)
        if (others === undefined) byAddress.set(address, [entry])
        else others.push(entry)
      }
    }))
  return {
    /** Takes what is left of a slot of an identity. */
    take: (address: Address, slot: string): Stored | undefined => {
      const left = byAddress.get(address)
      const at = left?.findIndex((entry) => entry.slot === slot) ?? -1
      return at < 0 ? undefined : left?.splice(at, 1)[0]
    },
    /** Takes all that is left of an identity, if it has this fingerprint. */
    takeAll: (address: Address, fingerprint: string): ReadonlyArray<HostedSlot> | undefined => {
      const left = byAddress.get(address)
      if (left === undefined || fingerprintOf(left) !== fingerprint) return undefined
      byAddress.delete(address)
      return left
    },
    save: ({ holders, key, record, slot }: Entry, due: number): void =>
      persistence.save({ _tag: "Hosted", key, record, slot, due, holders }),
    forget: ({ key, slot }: Entry): void => persistence.save({ _tag: "Unhosted", key, slot })
  }
})
