/**
 * Statistics and pages of the maintained records.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { Contact } from "../Contact.ts"
import type { Replica } from "../core/replicaSet.ts"
import type { NodeId } from "../NodeId.ts"
import * as Record from "../Record.ts"
import { type Job, replicas } from "./job.ts"

/**
 * State of a record whose copies are maintained.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReplicatedRecord {
  readonly key: NodeId
  readonly record: Record.SignedRecord
  /** Nearest first. */
  readonly replicas: ReadonlyArray<Replica>
  /** Nodes close to the key that have no room for it there, as far as we know; at most 32. */
  readonly full: ReadonlyArray<Contact>
  /** See `Replication.Publication`. */
  readonly isSurrounded: boolean
}

/**
 * Statistics of the maintained records.
 *
 * @category models
 * @since 0.1.0
 */
export interface Summary {
  readonly records: number
  /** Records that at least {@link replicas} nodes hold. */
  readonly complete: number
  /** Records that no other node holds, as far as we know. */
  readonly uncopied: number
  /** Nodes that hold the current record, of all records together. */
  readonly confirmed: number
  /**
   * The same, counting at most {@link replicas} per record: surplus copies of
   * one record do not offset the lack of another.
   */
  readonly confirmedOfWanted: number
  /** Nodes that have yet to receive the current record, or to show their copy. */
  readonly unconfirmed: number
  /** Records with fewer than {@link replicas} copies, while nodes close to their keys have no room. */
  readonly full: number
  /** Records whose keys are surrounded, see `Replication.Publication`. */
  readonly surrounded: number
  /** Messages, and those of them that are complete. */
  readonly messages: { readonly records: number; readonly complete: number }
}

/**
 * Which records to list: `after` a position, and only messages or only others.
 *
 * @category models
 * @since 0.1.0
 */
export interface PageOptions {
  readonly limit: number
  readonly after?: Place | undefined
  readonly messages?: "only" | "none" | undefined
}

/**
 * Position of a record in the order of {@link ReplicatedPage}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly confirmed: number
  /** Number of the record in the order of publication. */
  readonly job: number
}

/**
 * A page of the maintained records: those with fewer copies first, those with
 * enough last.
 *
 * @category models
 * @since 0.1.0
 */
export interface ReplicatedPage {
  readonly replicated: ReadonlyArray<ReplicatedRecord>
  /** Position after which the next page begins, if there is more. */
  readonly next: Place | undefined
}

/** Jobs that are processed without a pause. */
const jobsAtOnce = 1024

const replicatedOf = ({ edition: { record }, full, isSurrounded, key, set }: Job): ReplicatedRecord => ({
  key,
  record,
  replicas: set.replicas,
  full: Array.from(full.values()),
  isSurrounded
})

/** The jobs whose records are not withdrawals. */
const standing = (jobs: Iterable<Job>): ReadonlyArray<Job> =>
  Array.from(jobs).filter(({ edition }) => !edition.isWithdrawal)

const isMessage = ({ edition }: Job): boolean => edition.record.type === Record.RecordType.mailbox

const enough = ({ set }: Job): number => Math.min(set.confirmedCount, replicas)

/**
 * Returns the statistics of the jobs.
 *
 * @internal
 */
export const summary = (jobs: Iterable<Job>): Summary => {
  let [complete, uncopied, confirmed, confirmedOfWanted, unconfirmed, full, surrounded] = [0, 0, 0, 0, 0, 0, 0]
  const messages = { records: 0, complete: 0 }
  const counted = standing(jobs)
  for (const job of counted) {
    const { full: withoutRoom, isSurrounded, set } = job
    const count = set.confirmedCount
    if (isMessage(job)) {
      messages.records++
      if (count >= replicas) messages.complete++
    }
    if (count >= replicas) complete++
    if (count === 0) uncopied++
    confirmed += count
    confirmedOfWanted += Math.min(count, replicas)
    unconfirmed += set.size - count
    if (count < replicas && withoutRoom.size > 0) full++
    if (isSurrounded) surrounded++
  }
  const records = counted.length
  return { records, complete, uncopied, confirmed, confirmedOfWanted, unconfirmed, full, surrounded, messages }
}

/**
 * Returns all records that are not withdrawals.
 *
 * @internal
 */
export const replicated = (jobs: Iterable<Job>): ReadonlyArray<ReplicatedRecord> => standing(jobs).map(replicatedOf)

/**
 * Returns a page of the records. Pauses between many jobs.
 *
 * @internal
 */
export const page = Effect.fnUntraced(function*(
  jobs: Iterable<Job>,
  { after, limit, messages }: PageOptions
): Effect.fn.Return<ReplicatedPage> {
  const byConfirmed = Array.from({ length: replicas + 1 }, (): Array<Job> => [])
  let looked = 0
  for (const job of standing(jobs)) {
    if (++looked % jobsAtOnce === 0) yield* Effect.yieldNow
    if (messages !== undefined && isMessage(job) !== (messages === "only")) continue
    const confirmed = enough(job)
    const isAfter = after === undefined || confirmed > after.confirmed ||
      confirmed === after.confirmed && job.number > after.job
    if (isAfter) byConfirmed[confirmed].push(job)
  }
  const found = byConfirmed.flat()
  const shown = found.slice(0, limit)
  const last = shown.at(-1)
  return {
    replicated: shown.map(replicatedOf),
    next: last === undefined || shown.length === found.length
      ? undefined
      : { confirmed: enough(last), job: last.number }
  }
})
