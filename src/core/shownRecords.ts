/**
 * The newest versions of records that one source has shown or accepted. A source
 * that shows an older one later has forgotten the newer, or hides it.
 *
 * @since 0.1.0
 */
import { RecencyMap } from "../internal/recencyMap.ts"
import type * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import * as Withdrawal from "../Withdrawal.ts"
import { slotOf } from "./recordMerge.ts"

/** Records remembered, each of a kilobyte at most. */
const maxRemembered = 1024

/**
 * Judges the records of one source against what it has shown before.
 *
 * @internal
 */
export class ShownRecords {
  private readonly newest = new RecencyMap<string, { record: Record.SignedRecord; at: number }>(maxRemembered)
  private time = 0

  /** Notes that a request begins, and returns when: what it must have in view has been shown before. */
  begin(): number {
    return ++this.time
  }

  /** Takes a valid record that the source has shown or accepted. */
  put(key: NodeId.NodeId, record: Record.SignedRecord): void {
    const category = Record.category(record.type)
    // The payload is part of a letter's slot, so it has one version.
    if (category === "mailbox") return
    const entry = this.newest.use(`${key} ${category} ${slotOf(category, record)}`, () => ({ record, at: this.time }))
    if (!Record.isNewer(record, entry.record)) return
    entry.record = record
    entry.at = this.time
  }

  /**
   * Takes a valid record that the source shows in response to a request that
   * began at `since`. Returns the version to use, if any; or why the source is
   * not to be trusted. `now` is in Unix seconds.
   */
  judge(
    key: NodeId.NodeId,
    record: Record.SignedRecord,
    since: number,
    now: number
  ): Record.SignedRecord | Record.StaleRecord | undefined {
    this.put(key, record)
    const category = Record.category(record.type)
    const entry = this.newest.get(`${key} ${category} ${slotOf(category, record)}`)
    if (entry === undefined || !Record.isNewer(entry.record, record)) return record
    // Holders that missed a version may have the one before it for longer.
    if (entry.record.expiresAt < now) return undefined
    if (entry.at < since) return Record.stale(record, entry.record)
    return Withdrawal.isStanding(entry.record) ? entry.record : undefined
  }
}
