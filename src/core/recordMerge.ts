/**
 * A merge of records from many holders: a last-writer-wins register per slot. It
 * is commutative, associative and idempotent, so the same records in any order
 * give the same result (Shapiro et al., Conflict-free Replicated Data Types,
 * 2011).
 *
 * @since 0.1.0
 */
import * as Hex from "../internal/hex.ts"
import { sha256Hex } from "../internal/sha256.ts"
import * as Record from "../Record.ts"

/**
 * The slot of a record within its category at its key. A slot holds one record,
 * the newest.
 *
 * @internal
 */
export const slotOf = (category: Record.Category, record: Record.SignedRecord): string => {
  switch (category) {
    case "sovereign":
      return `${record.address}${record.type}`
    case "topic":
      return Hex.encode(record.publicKey)
    case "mailbox":
      return `${Hex.encode(record.publicKey)}${record.type}/${sha256Hex(record.payload)}`
  }
}

/**
 * Most records that a reader merges. A key has at most 16 holders with 158
 * records each. A new slot beyond that is ignored, except that a message takes
 * the place of the oldest one: the reader has already been given it.
 */
const maxRecords = 4096

const nameOf = (record: Record.SignedRecord): string => {
  const category = Record.category(record.type)
  return `${category} ${slotOf(category, record)}`
}

/**
 * The records of one key as a reader collects them. All times are Unix seconds.
 *
 * @internal
 */
export class RecordMerge {
  private readonly slots = new Map<string, Record.SignedRecord>()

  /** Number of slots, those of expired records included. */
  get size(): number {
    return this.slots.size
  }

  /** Merges a record; returns whether it is newer than the one in its slot and was taken. */
  put(record: Record.SignedRecord): boolean {
    const slot = nameOf(record)
    const held = this.slots.get(slot)
    if (held === undefined ? !this.makesRoom(record) : !Record.isNewer(record, held)) return false
    this.slots.set(slot, record)
    return true
  }

  private makesRoom(record: Record.SignedRecord): boolean {
    if (this.slots.size < maxRecords) return true
    if (Record.category(record.type) !== "mailbox") return false
    for (const [slot, { type }] of this.slots) {
      if (Record.category(type) !== "mailbox") continue
      this.slots.delete(slot)
      return true
    }
    return false
  }

  /** The newest record in the slot of a record. */
  newest(record: Record.SignedRecord): Record.SignedRecord | undefined {
    return this.slots.get(nameOf(record))
  }

  /** Drops expired records and returns the others, in the order in which their slots were first filled. */
  live(now: number): Array<Record.SignedRecord> {
    for (const [slot, { expiresAt }] of this.slots) if (expiresAt < now) this.slots.delete(slot)
    return Array.from(this.slots.values())
  }
}
