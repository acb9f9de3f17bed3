/**
 * The contacts of a routing table in buckets by common prefix with our own id,
 * found by id, by socket address and by distance from a target. Who enters and
 * who leaves is decided by `core/routingTable.ts`. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import * as NodeId from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"

/**
 * The time of what has not happened yet.
 *
 * @internal
 */
export const never = -Infinity

/**
 * Time without further probes in a full bucket after its oldest contact proved alive.
 * Most of its contacts are, and a ping for each newcomer would find them so again.
 *
 * @internal
 */
export const probePauseMillis = 5 * 60_000

/**
 * A contact that may get a place. It is unverified if it was `never` heard from.
 *
 * @internal
 */
export interface Candidate {
  readonly contact: Contact
  readonly verifiedAt: number
  readonly learnedFrom: NodeId.NodeId | undefined
}

/**
 * A contact in its bucket.
 *
 * @internal
 */
export class TableEntry {
  readonly id: NodeId.NodeId
  /** The first 32 bits of the id as a signed integer, which is kept in place; they nearly always decide which of two is closer. */
  readonly prefix: number
  readonly bucket: TableBucket
  readonly learnedFrom: NodeId.NodeId | undefined
  contact: Contact
  scope: SocketAddress.Scope
  family: SocketAddress.Family
  addedAt: number
  verifiedAt: number
  /** When it was last handed out to be probed for its silence. */
  probedAt = never
  /** When a request to it was last reported to be unanswered. */
  doubtedAt = never
  /** The next entry at its socket address. */
  nextThere: TableEntry | undefined = undefined

  constructor(bucket: TableBucket, candidate: Candidate, addedAt: number) {
    this.id = candidate.contact.id
    this.prefix = NodeId.prefix(this.id) | 0
    this.bucket = bucket
    this.addedAt = addedAt
    this.learnedFrom = candidate.learnedFrom
    this.contact = candidate.contact
    this.scope = SocketAddress.scope(candidate.contact.host)
    this.family = SocketAddress.family(candidate.contact.host)
    this.verifiedAt = candidate.verifiedAt
  }

  moveTo(contact: Contact): void {
    this.contact = contact
    this.scope = SocketAddress.scope(contact.host)
    this.family = SocketAddress.family(contact.host)
  }
}

/**
 * A contact that waits for a free place.
 *
 * @internal
 */
export interface Pending {
  readonly contact: Contact
  readonly learnedFrom: NodeId.NodeId | undefined
  addedAt: number
}

interface Probe {
  readonly oldest: TableEntry
  /** The contact that gets the place if the oldest is silent. */
  readonly newcomer: Candidate
  /** Whether the oldest was heard from while the probe was in flight. */
  heard: boolean
}

/**
 * @internal
 */
export interface TableBucket {
  readonly index: number
  /** Least recently seen first. */
  readonly entries: Array<TableEntry>
  /** First in, first out. */
  readonly pending: Array<Pending>
  /** The one probe in flight. */
  probe: Probe | undefined
  noProbeBefore: number
  refilledAt: number
  futileRefills: number
  /** Whether the last lookup there found all of its nodes. */
  isCovered: boolean
  /** Undefined after an entry was added, removed, or heard from for the first time. */
  summary: Summary | undefined
}

/**
 * Lower bounds on the times of a bucket's entries, which save maintenance a scan
 * of them. The actual times can be later: hearing from a verified entry again
 * does not invalidate the summary.
 *
 * @internal
 */
export interface Summary {
  /** All unverified entries were added at this time or later. */
  readonly unverifiedSince: number
  /** At least k/2 entries were heard from at this time or later. */
  readonly halfSince: number
  /** As many entries as a full bucket keeps fresh were heard from at this time or later. */
  readonly wantedSince: number
  /** All verified entries were heard from at this time or later. */
  readonly allSince: number
}

/**
 * @internal
 */
export class Buckets {
  readonly self: NodeId.NodeId
  /** The buckets that were created, in ascending order. */
  readonly existing: Array<TableBucket> = []
  /** The buckets that have entries, in ascending order. */
  readonly occupied: Array<TableBucket> = []
  /** By index, as far as they were created: the deep ones are never needed. */
  private readonly byIndex: Array<TableBucket | undefined> = []
  private readonly byId = new Map<NodeId.NodeId, TableEntry>()
  /** The first entry at each socket address. There are several where nodes share one, or claim to. */
  private readonly byAddress = new Map<string, TableEntry>()

  constructor(self: NodeId.NodeId) {
    this.self = self
  }

  // --- Reading ---------------------------------------------------------------

  /** Number of entries in all buckets. */
  get size(): number {
    return this.byId.size
  }

  entry(id: NodeId.NodeId): TableEntry | undefined {
    return this.byId.get(id)
  }

  entries(): Iterable<TableEntry> {
    return this.byId.values()
  }

  /** Whether an entry at this socket address satisfies a condition. */
  hasAt(address: SocketAddress.SocketAddress, wanted: (id: NodeId.NodeId) => boolean): boolean {
    let entry = this.byAddress.get(SocketAddress.key(address))
    while (entry !== undefined && !wanted(entry.id)) entry = entry.nextThere
    return entry !== undefined
  }

  /** The bucket of an index, if it was created. */
  at(index: number): TableBucket | undefined {
    return this.byIndex[index]
  }

  /** The bucket of an id, if it was created. */
  of(id: NodeId.NodeId): TableBucket | undefined {
    return this.byIndex[NodeId.bucketIndex(this.self, id)]
  }

  /**
   * Appends wanted contacts by distance until there are `n`.
   *
   * Buckets are visited in order of distance. Contacts of bucket i share our
   * first i bits and differ in bit i. Where the target differs from us in bit i,
   * they agree with the target there, so those buckets come first, the shallowest
   * first; the others follow, the deepest first.
   */
  collect(
    target: NodeId.NodeId,
    n: number,
    wanted: (entry: TableEntry) => boolean,
    found: Array<Contact>
  ): void {
    const { occupied } = this
    const prefix = NodeId.prefix(target)
    for (let i = 0; i < occupied.length && found.length < n; i++) {
      if (differ(this.self, target, occupied[i].index)) nearestOf(occupied[i], target, prefix, n, wanted, found)
    }
    for (let i = occupied.length - 1; i >= 0 && found.length < n; i--) {
      if (!differ(this.self, target, occupied[i].index)) nearestOf(occupied[i], target, prefix, n, wanted, found)
    }
  }

  // --- Changing --------------------------------------------------------------

  /** The bucket of an id, which is created if necessary. */
  make(id: NodeId.NodeId): TableBucket {
    const index = NodeId.bucketIndex(this.self, id)
    const known = this.byIndex[index]
    if (known !== undefined) return known
    const bucket: TableBucket = {
      index,
      entries: [],
      pending: [],
      probe: undefined,
      noProbeBefore: 0,
      refilledAt: never,
      futileRefills: 0,
      isCovered: false,
      summary: undefined
    }
    this.byIndex[index] = bucket
    insertInOrder(this.existing, bucket)
    return bucket
  }

  /** Adds a contact as the most recently seen one of its bucket. */
  insert(bucket: TableBucket, candidate: Candidate, now: number): TableEntry {
    const entry = new TableEntry(bucket, candidate, now)
    this.byId.set(entry.id, entry)
    this.arrive(entry)
    bucket.summary = undefined
    if (bucket.entries.push(entry) === 1) insertInOrder(this.occupied, bucket)
    return entry
  }

  /** Removes an entry. Returns whether it was there. */
  remove(entry: TableEntry): boolean {
    if (this.byId.get(entry.id) !== entry) return false
    this.byId.delete(entry.id)
    this.leave(entry)
    const { bucket } = entry
    bucket.summary = undefined
    bucket.entries.splice(bucket.entries.indexOf(entry), 1)
    if (bucket.entries.length === 0) this.occupied.splice(this.occupied.indexOf(bucket), 1)
    return true
  }

  /** Gives an entry another socket address. */
  move(entry: TableEntry, contact: Contact): void {
    this.leave(entry)
    entry.moveTo(contact)
    this.arrive(entry)
  }

  /** Clamps all times to `now` after the clock was set back; a time in the future would look fresh until then. */
  setBack(now: number): void {
    for (const bucket of this.existing) {
      for (const entry of bucket.entries) {
        entry.addedAt = Math.min(entry.addedAt, now)
        entry.verifiedAt = Math.min(entry.verifiedAt, now)
        entry.probedAt = Math.min(entry.probedAt, now)
        entry.doubtedAt = Math.min(entry.doubtedAt, now)
      }
      for (const pending of bucket.pending) pending.addedAt = Math.min(pending.addedAt, now)
      bucket.noProbeBefore = Math.min(bucket.noProbeBefore, now + probePauseMillis)
      bucket.refilledAt = Math.min(bucket.refilledAt, now)
      bucket.summary = undefined
    }
  }

  /** Indexes an entry by its socket address. */
  private arrive(entry: TableEntry): void {
    const address = SocketAddress.key(entry.contact)
    entry.nextThere = this.byAddress.get(address)
    this.byAddress.set(address, entry)
  }

  private leave(entry: TableEntry): void {
    const address = SocketAddress.key(entry.contact)
    const first = this.byAddress.get(address)
    if (first === undefined) return
    if (first !== entry) {
      let before = first
      while (before.nextThere !== undefined && before.nextThere !== entry) before = before.nextThere
      before.nextThere = entry.nextThere
    } else if (entry.nextThere === undefined) this.byAddress.delete(address)
    else this.byAddress.set(address, entry.nextThere)
  }
}

/**
 * Raises the time of the last direct contact.
 *
 * @internal
 */
export const heardFrom = (entry: TableEntry, at: number): void => {
  if (at <= entry.verifiedAt) return
  if (entry.verifiedAt === never) entry.bucket.summary = undefined
  entry.verifiedAt = at
}

/**
 * Removes and returns a pending contact; undefined if it was not pending.
 *
 * @internal
 */
export const dropPending = (bucket: TableBucket, id: NodeId.NodeId): Pending | undefined => {
  const at = bucket.pending.findIndex((pending) => pending.contact.id === id)
  return at === -1 ? undefined : bucket.pending.splice(at, 1)[0]
}

/**
 * Number of contacts in a bucket that were heard from after `cutoff`.
 *
 * @internal
 */
export const freshIn = ({ entries }: TableBucket, cutoff: number): number => {
  let fresh = 0
  for (const { verifiedAt } of entries) if (verifiedAt > cutoff) fresh++
  return fresh
}

const insertInOrder = (buckets: Array<TableBucket>, bucket: TableBucket): void => {
  const at = buckets.findIndex((other) => other.index > bucket.index)
  buckets.splice(at === -1 ? buckets.length : at, 0, bucket)
}

/** Whether two ids differ in bit `index`, counted from the most significant. */
const differ = (a: NodeId.NodeId, b: NodeId.NodeId, index: number): boolean =>
  ((digit(a.charCodeAt(index >> 2)) ^ digit(b.charCodeAt(index >> 2))) >> (3 - (index & 3)) & 1) === 1

const digit = (code: number): number => code < 58 ? code - 48 : code - 87

/** Appends the wanted contacts of one bucket by distance until there are `n`. */
const nearestOf = (
  bucket: TableBucket,
  target: NodeId.NodeId,
  prefix: number,
  n: number,
  wanted: (entry: TableEntry) => boolean,
  found: Array<Contact>
): void => {
  const sorted: Array<TableEntry> = []
  for (const entry of bucket.entries) {
    if (!wanted(entry)) continue
    let at = sorted.length
    while (at > 0 && closer(entry, sorted[at - 1], target, prefix)) {
      sorted[at] = sorted[at - 1]
      at--
    }
    sorted[at] = entry
  }
  for (let i = 0; i < sorted.length && found.length < n; i++) found.push(sorted[i].contact)
}

// Two ids of one bucket share their first bit, so the sign of the XOR does not matter.
const closer = (a: TableEntry, b: TableEntry, target: NodeId.NodeId, prefix: number): boolean =>
  a.prefix === b.prefix
    ? NodeId.compareDistance(target, a.id, b.id) < 0
    : (a.prefix ^ prefix) < (b.prefix ^ prefix)
