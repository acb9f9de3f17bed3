/**
 * The routing table of Kademlia (Maymounkov and Mazières, 2002): 256 buckets
 * by common prefix with our own id. Each has a list of contacts, the least
 * recently seen first, and a queue of pending ones that wait for a free place.
 * A contact is unverified when others reported it and we have not heard from it.
 * Times are Unix milliseconds.
 *
 * This module decides who is in it. `core/buckets.ts` holds the contacts,
 * `core/tableMaintenance.ts` says which of them to probe and where to look for
 * more, and `core/networkSize.ts` how many nodes they are a sample of.
 *
 * The table sends nothing. Where a peer must be probed, a result says so, and
 * the caller reports the outcome.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import type * as NodeId from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"
import {
  Buckets,
  type Candidate,
  dropPending,
  freshIn,
  heardFrom,
  never,
  type Pending,
  probePauseMillis,
  type TableBucket,
  type TableEntry
} from "./buckets.ts"
import { SizeEstimates } from "./networkSize.ts"
import { TableMaintenance } from "./tableMaintenance.ts"

/**
 * An entry of the table.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  /** Number of leading bits that its id shares with ours, 0 to 255. */
  readonly bucket: number
  readonly contact: Contact
  /** When it last sent a message itself, in Unix milliseconds; undefined for an unverified contact. */
  readonly verifiedAt: number | undefined
  /** When it entered the table, in Unix milliseconds. */
  readonly addedAt: number
  /** The node that reported it; undefined if it contacted us first. */
  readonly learnedFrom: NodeId.NodeId | undefined
}

/**
 * A bucket at one moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bucket {
  /** Number of leading bits that the ids of its contacts share with ours, 0 to 255. */
  readonly index: number
  /** The least recently seen first. */
  readonly entries: ReadonlyArray<Entry>
  /** Number of contacts that wait for a place. */
  readonly pending: number
}

/**
 * Bounds of the table.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface Options {
  /** Contacts per bucket: Kademlia's K, by default 16. */
  readonly k?: number | undefined
  /** Contacts that wait for a place in a full bucket, by default 5. */
  readonly pendingCapacity?: number | undefined
}

/**
 * The outcome of adding a contact.
 *
 * - `Inserted`, `Updated`: the contact is in the table.
 * - `Queued`: its bucket is full and it is pending.
 * - `Probe`: its bucket is full and it is inserted if `oldest` does not answer;
 *   the caller probes `oldest` and reports the outcome with `probed`.
 *
 * @internal
 */
export type AddResult =
  | { readonly _tag: "Inserted" }
  | { readonly _tag: "Updated" }
  | { readonly _tag: "Queued" }
  | { readonly _tag: "Probe"; readonly oldest: Contact }
  | {
    readonly _tag: "Refused"
    readonly reason: "OwnId" | "MalformedId" | "NotAdmitted" | "BucketFull" | "NotPending"
  }

/**
 * A contact heard from within this time is fresh: preferred in responses and in lookups.
 *
 * @internal
 */
export const freshMillis = 30 * 60_000

/** A probe without a reported outcome expires after this time. */
const probeLifetimeMillis = 30_000

/** Factor by which the estimated number of nodes closer to a newcomer may exceed k. */
const wantedMargin = 1.5

/**
 * Whether a requester can reach a contact.
 *
 * @internal
 */
export type Reaches = (entry: { readonly id: NodeId.NodeId; readonly family: SocketAddress.Family }) => boolean

const inserted: AddResult = { _tag: "Inserted" }
const updated: AddResult = { _tag: "Updated" }
const queued: AddResult = { _tag: "Queued" }
const ownId: AddResult = { _tag: "Refused", reason: "OwnId" }
const malformedId: AddResult = { _tag: "Refused", reason: "MalformedId" }
const notAdmitted: AddResult = { _tag: "Refused", reason: "NotAdmitted" }
const bucketFull: AddResult = { _tag: "Refused", reason: "BucketFull" }
const notPending: AddResult = { _tag: "Refused", reason: "NotPending" }

/**
 * Callbacks for contacts that are added to or removed from a bucket.
 *
 * @internal
 */
export interface Watcher {
  readonly added: (contact: Contact, bucket: number) => void
  readonly removed: (contact: Contact, bucket: number) => void
}

/**
 * @internal
 */
export class RoutingTable {
  watcher: Watcher | undefined = undefined
  /** Whether a peer may be a contact at all. By default, as in the reference, every peer may. */
  admits: (contact: Contact) => boolean = always
  readonly self: NodeId.NodeId
  readonly k: number
  readonly maintenance: TableMaintenance
  readonly networkSize: SizeEstimates
  private readonly pendingCapacity: number
  private readonly buckets: Buckets

  constructor(options: Options & { readonly self: NodeId.NodeId }) {
    this.self = options.self
    this.k = options.k ?? 16
    this.pendingCapacity = options.pendingCapacity ?? 5
    this.buckets = new Buckets(this.self)
    this.maintenance = new TableMaintenance(this.buckets, this.k)
    this.networkSize = new SizeEstimates(this.buckets, this.k)
  }

  // --- Learning --------------------------------------------------------------

  /**
   * Adds or updates a contact. With `verifiedAt`, we heard from it: it sent a
   * verified request or answered one of ours. Without, others reported it.
   */
  add(contact: Contact, verifiedAt: number | undefined, now: number, learnedFrom?: NodeId.NodeId): AddResult {
    const known = this.buckets.entry(contact.id)
    const isThere = known !== undefined && SocketAddress.isSame(known.contact, contact)
    if (!isThere && !this.admits(contact)) return notAdmitted
    if (known !== undefined) return this.update(known, contact, verifiedAt)
    if (contact.id === this.self) return ownId
    if (!/^[0-9a-f]{64}$/.test(contact.id)) return malformedId
    const bucket = this.buckets.make(contact.id)
    const candidate = { contact, verifiedAt: verifiedAt ?? never, learnedFrom }
    if (bucket.entries.length < this.k) return this.insert(bucket, candidate, now)
    return verifiedAt === undefined
      ? this.queue(bucket, { contact, learnedFrom, addedAt: now })
      : this.challenge(bucket, candidate, now)
  }

  private update(entry: TableEntry, contact: Contact, verifiedAt: number | undefined): AddResult {
    const { bucket } = entry
    const { entries } = bucket
    const last = entries.length - 1
    if (entries[last] !== entry) {
      for (let i = entries.indexOf(entry); i < last; i++) entries[i] = entries[i + 1]
      entries[last] = entry
    }
    if (verifiedAt !== undefined) {
      heardFrom(entry, verifiedAt)
      // A report by others must never change an address: one lying peer could redirect us.
      if (contact.host !== entry.contact.host || contact.port !== entry.contact.port) this.buckets.move(entry, contact)
      if (bucket.probe?.oldest === entry) bucket.probe.heard = true
    }
    return updated
  }

  private insert(bucket: TableBucket, candidate: Candidate, now: number): AddResult {
    dropPending(bucket, candidate.contact.id)
    const entry = this.buckets.insert(bucket, candidate, now)
    this.maintenance.hurry()
    this.watcher?.added(entry.contact, bucket.index)
    return inserted
  }

  private queue(bucket: TableBucket, pending: Pending): AddResult {
    if (!bucket.pending.some((other) => other.contact.id === pending.contact.id)) {
      bucket.pending.push(pending)
      this.maintenance.hurry()
      if (bucket.pending.length > this.pendingCapacity) bucket.pending.shift()
    }
    return queued
  }

  /** Requests a probe of the oldest contact. New identities cost nothing, so they never replace a live one. */
  private challenge(bucket: TableBucket, newcomer: Candidate, now: number): AddResult {
    if (now < bucket.noProbeBefore) return bucketFull
    const oldest = bucket.entries[0]
    bucket.probe = { oldest, newcomer, heard: false }
    bucket.noProbeBefore = now + probeLifetimeMillis
    return { _tag: "Probe", oldest: oldest.contact }
  }

  /**
   * Reports the outcome of a probe that `add` requested; `id` is the probed peer.
   * A live peer keeps its position; `add` for its response makes it the most
   * recent. A silent peer that was not heard from otherwise since is replaced by
   * the newcomer. Does nothing if no such probe is in flight.
   */
  probed(id: NodeId.NodeId, alive: boolean, now: number): void {
    const bucket = this.buckets.of(id)
    const probe = bucket?.probe
    if (bucket === undefined || probe?.oldest.id !== id) return
    bucket.probe = undefined
    if (alive || probe.heard) {
      bucket.noProbeBefore = now + probePauseMillis
      return
    }
    bucket.noProbeBefore = now
    this.removeEntry(probe.oldest)
    const { contact: newcomer } = probe.newcomer
    if (bucket.entries.length < this.k && this.buckets.entry(newcomer.id) === undefined && this.admits(newcomer)) {
      this.insert(bucket, probe.newcomer, now)
    }
  }

  /** Reports that a pending contact answered, which adds it as a verified one. */
  pendingVerified(id: NodeId.NodeId, verifiedAt: number, now: number): AddResult {
    const bucket = this.buckets.of(id)
    const pending = bucket === undefined ? undefined : dropPending(bucket, id)
    return pending === undefined ? notPending : this.add(pending.contact, verifiedAt, now, pending.learnedFrom)
  }

  /** Drops a pending contact that did not answer. */
  pendingFailed(id: NodeId.NodeId): void {
    const bucket = this.buckets.of(id)
    if (bucket !== undefined) dropPending(bucket, id)
  }

  /** Raises the time of the last direct contact; the position in the bucket stays. */
  updateVerifiedAt(id: NodeId.NodeId, verifiedAt: number): void {
    const entry = this.buckets.entry(id)
    if (entry !== undefined) heardFrom(entry, verifiedAt)
  }

  /** Reports that a contact left a request unanswered: an unverified one is removed, another is probed soon. */
  unanswered(id: NodeId.NodeId, now: number): void {
    const entry = this.buckets.entry(id)
    if (entry === undefined) return
    if (entry.verifiedAt === never) return this.removeEntry(entry)
    this.maintenance.unanswered(entry, now)
  }

  /** Removes a contact from the table. A pending contact stays pending, because it was not probed. */
  remove(id: NodeId.NodeId): void {
    const entry = this.buckets.entry(id)
    if (entry !== undefined) this.removeEntry(entry)
  }

  /** Removes a peer from the table and from the pending contacts. */
  forget(id: NodeId.NodeId): void {
    this.remove(id)
    this.pendingFailed(id)
  }

  /** Removes an entry; does nothing if it was removed before. */
  private removeEntry(entry: TableEntry): void {
    if (!this.buckets.remove(entry)) return
    this.maintenance.removed(entry)
    this.watcher?.removed(entry.contact, entry.bucket.index)
  }

  // --- Looking up ------------------------------------------------------------

  get size(): number {
    return this.buckets.size
  }

  contains(id: NodeId.NodeId): boolean {
    return this.buckets.entry(id) !== undefined
  }

  get(id: NodeId.NodeId): Contact | undefined {
    return this.buckets.entry(id)?.contact
  }

  /** Whether a contact with this socket address satisfies a condition. */
  hasAt(address: SocketAddress.SocketAddress, wanted: (id: NodeId.NodeId) => boolean): boolean {
    return this.buckets.hasAt(address, wanted)
  }

  /** Whether the bucket of an id has room for one more contact. */
  hasRoom(id: NodeId.NodeId): boolean {
    return (this.buckets.of(id)?.entries.length ?? 0) < this.k
  }

  /**
   * Whether a newcomer's address is worth a check: it is a contact elsewhere, or
   * it may get a place, and either we may be one of its k closest nodes, which
   * must all know it (with a margin for the estimate), or fewer than half of its bucket were heard from
   * after `cutoff`.
   */
  isWanted({ id }: Contact, now: number, cutoff: number): boolean {
    const known = this.buckets.entry(id)
    if (known !== undefined && known.verifiedAt !== never) return true
    const bucket = this.buckets.of(id)
    if (bucket === undefined) return true
    const mayEnter = known !== undefined || bucket.entries.length < this.k ||
      now >= bucket.noProbeBefore && !this.isTakenIn(bucket, cutoff)
    return mayEnter &&
      (freshIn(bucket, cutoff) < this.k / 2 || this.networkSize.closerNodes(id, now) < wantedMargin * this.k)
  }

  /** Whether the contact's bucket is full and its oldest contact was heard from after `cutoff`. */
  isTaken(id: NodeId.NodeId, cutoff: number): boolean {
    const bucket = this.buckets.of(id)
    return bucket !== undefined && this.isTakenIn(bucket, cutoff)
  }

  private isTakenIn({ entries }: TableBucket, cutoff: number): boolean {
    return entries.length >= this.k && entries[0].verifiedAt > cutoff
  }

  /** The contact with this id, if it is verified. */
  verified(id: NodeId.NodeId): Contact | undefined {
    const entry = this.buckets.entry(id)
    return entry === undefined || entry.verifiedAt === never ? undefined : entry.contact
  }

  bucketLength(index: number): number {
    return this.buckets.at(index)?.entries.length ?? 0
  }

  pendingLength(index: number): number {
    return this.buckets.at(index)?.pending.length ?? 0
  }

  oldestInBucket(index: number): Contact | undefined {
    return this.buckets.at(index)?.entries[0]?.contact
  }

  /** All entries by bucket, least recently seen first. */
  entries(): ReadonlyArray<Entry> {
    return this.buckets.occupied.flatMap(({ entries }) => entries.map(entryOf))
  }

  entry(id: NodeId.NodeId): Entry | undefined {
    const entry = this.buckets.entry(id)
    return entry === undefined ? undefined : entryOf(entry)
  }

  bucket(index: number): Bucket {
    const bucket = this.buckets.at(index)
    return { index, entries: bucket?.entries.map(entryOf) ?? [], pending: bucket?.pending.length ?? 0 }
  }

  /** The `n` contacts closest to `target`, the closest first. */
  nearest(target: NodeId.NodeId, n: number): Array<Contact> {
    const found: Array<Contact> = []
    this.buckets.collect(target, n, always, found)
    return found
  }

  /** The `n` closest verified contacts: first those heard from after `cutoff`, then the others. */
  nearestVerified(target: NodeId.NodeId, n: number, cutoff: number): Array<Contact> {
    const found: Array<Contact> = []
    this.buckets.collect(target, n, (entry) => entry.verifiedAt > cutoff, found)
    this.buckets.collect(target, n, (entry) => entry.verifiedAt <= cutoff && entry.verifiedAt !== never, found)
    return found
  }

  /**
   * The contacts for the response to a FIND request: as `nearestVerified` with
   * {@link freshMillis}, without bad peers, which are included only where fewer
   * than k/2 contacts would remain. Unverified contacts are never passed on,
   * because that would spread false ones. Neither are contacts that the requester
   * cannot reach, because their address has a narrower scope than the requester's,
   * or because `reaches` says so.
   */
  answer(
    target: NodeId.NodeId,
    n: number,
    now: number,
    isBad: (id: NodeId.NodeId) => boolean,
    scope: SocketAddress.Scope = SocketAddress.Scope.loopback,
    reaches: Reaches = always
  ): Array<Contact> {
    const cutoff = now - freshMillis
    const found: Array<Contact> = []
    const isShareable = (entry: TableEntry) =>
      entry.scope >= scope && entry.scope !== SocketAddress.Scope.host && reaches(entry)
    const isWell = (entry: TableEntry) => isShareable(entry) && !isBad(entry.id)
    this.buckets.collect(target, n, (entry) => entry.verifiedAt > cutoff && isWell(entry), found)
    this.buckets.collect(
      target,
      n,
      (entry) => entry.verifiedAt <= cutoff && entry.verifiedAt !== never && isWell(entry),
      found
    )
    if (found.length < Math.min(n, this.k / 2)) {
      this.buckets.collect(
        target,
        n,
        (entry) => entry.verifiedAt !== never && isShareable(entry) && isBad(entry.id),
        found
      )
    }
    return found
  }

  /** Number of contacts heard from after `cutoff`. */
  countVerified(cutoff: number): number {
    let count = 0
    for (const entry of this.buckets.entries()) if (entry.verifiedAt > cutoff) count++
    return count
  }

  /** When a contact was last heard from that has left no request unanswered since; -Infinity if there is none. */
  heardAt(): number {
    let latest = never
    for (const { doubtedAt, verifiedAt } of this.buckets.entries()) {
      if (verifiedAt > latest && verifiedAt > doubtedAt) latest = verifiedAt
    }
    return latest
  }

  /** The contact that was heard from last. */
  freshest(): Contact | undefined {
    let freshest: TableEntry | undefined
    for (const entry of this.buckets.entries()) {
      if (entry.verifiedAt > (freshest?.verifiedAt ?? never)) freshest = entry
    }
    return freshest?.contact
  }
}

const always = (): boolean => true

const verifiedTime = (entry: TableEntry): number | undefined =>
  entry.verifiedAt === never ? undefined : entry.verifiedAt

const entryOf = (entry: TableEntry): Entry => ({
  bucket: entry.bucket.index,
  contact: entry.contact,
  verifiedAt: verifiedTime(entry),
  addedAt: entry.addedAt,
  learnedFrom: entry.learnedFrom
})
