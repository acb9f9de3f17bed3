/**
 * The routing table of Kademlia (Maymounkov and Mazières, 2002): 256 buckets
 * by common prefix with our own id. Each has a list of contacts, the least
 * recently seen first, and a queue of pending ones that wait for a free place.
 * A contact is unverified when others reported it and we have not heard from it.
 * Times are Unix milliseconds.
 *
 * The table sends nothing. Where a peer must be probed, a result says so, and
 * the caller reports the outcome.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import * as NodeId from "../NodeId.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as Density from "./density.ts"

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
 * An estimate of the network's size.
 *
 * @category models
 * @since 0.1.0
 */
export interface NetworkSize {
  /** Number of nodes; 0 if nothing is known. */
  readonly size: number
  /** Confidence from 0 to 1. */
  readonly confidence: number
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
 * @internal
 */
export interface MaintenanceLimits {
  readonly pendingProbes: number
  /** Whether to probe no more pending contacts than their bucket has room for, and few fresh ones in its way. */
  readonly spareFull: boolean
  readonly staleProbes: number
  readonly refills: number
}

/**
 * Milliseconds after which a contact is no longer fresh, an unverified one is
 * stale, and a silent one is quiet.
 *
 * @internal
 */
export interface MaintenancePeriods {
  readonly fresh: number
  readonly stale: number
  readonly quiet: number
}

/**
 * @internal
 */
export interface MaintenanceWork {
  /** Pending contacts: report with `pendingVerified` or `pendingFailed`. */
  readonly pendingToProbe: ReadonlyArray<Contact>
  /** Contacts that have been unverified for long: `remove` the silent ones. */
  readonly staleToProbe: ReadonlyArray<Contact>
  /** Buckets with too few fresh contacts, in ascending order: look up an id in each, then `recordRefill`. */
  readonly bucketsToRefill: ReadonlyArray<number>
}

/**
 * Limits of the work for one heartbeat.
 *
 * @internal
 */
export const heartbeatLimits: MaintenanceLimits = { pendingProbes: 5, spareFull: true, staleProbes: 10, refills: 2 }

const minuteMillis = 60_000

/**
 * A contact heard from within this time is fresh: preferred in responses and in lookups.
 *
 * @internal
 */
export const freshMillis = 30 * minuteMillis

const pendingLifetimeMillis = 120 * minuteMillis

/** Pauses between refills of one bucket, by the number of futile ones in a row. */
const refillPauses = [minuteMillis / 2, 2 * minuteMillis, 10 * minuteMillis, 15 * minuteMillis]

/** Pause of a bucket that a lookup covered completely (Maymounkov and Mazières, 2002, §2.3): newcomers make themselves known. */
const coveredPauseMillis = 60 * minuteMillis

/** Time between probes of one silent contact. */
const quietPauseMillis = 5 * minuteMillis

/** Fresh contacts to keep in a full bucket above k/2, below which it is refilled. */
const spareFresh = 2

/** A probe without a reported outcome expires after this time. */
const probeLifetimeMillis = 30_000

/**
 * Time without further probes in a full bucket after its oldest contact proved alive.
 * Most of its contacts are, and a ping for each newcomer would find them so again.
 */
const probePauseMillis = 5 * minuteMillis

/** Number of deepest buckets from which the network size is estimated. */
const estimateBuckets = 5

/**
 * Confidence below which the estimate of the network size is not used.
 *
 * @internal
 */
const minConfidence = 0.6

/** Contacts heard from within this time count for the estimate of the network size. */
const estimateMillis = 30 * 60_000

/** Bounds the estimate from a bucket that is deeper than any real network. */
const maxEstimateExponent = 62

/** Factor by which the estimated number of nodes closer to a newcomer may exceed k. */
const wantedMargin = 1.5

const never = -Infinity

class TableEntry {
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

interface Candidate {
  readonly contact: Contact
  readonly verifiedAt: number
  readonly learnedFrom: NodeId.NodeId | undefined
}

interface Pending {
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

interface TableBucket {
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
 */
interface Summary {
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
  /** Called when work may be due earlier than `dueAt` said. */
  hurry: () => void = ignore
  /** Whether a peer may be a contact at all. By default, as in the reference, every peer may. */
  admits: (contact: Contact) => boolean = always
  readonly self: NodeId.NodeId
  readonly k: number
  private readonly pendingCapacity: number
  /** By index, as far as they were created: the deep ones are never needed. */
  private readonly buckets: Array<TableBucket | undefined> = []
  /** The buckets that were created, in ascending order. */
  private readonly existing: Array<TableBucket> = []
  /** The buckets that have entries, in ascending order. */
  private readonly occupied: Array<TableBucket> = []
  private readonly samples = new Density.SizeSamples()
  private readonly entriesById = new Map<NodeId.NodeId, TableEntry>()
  /** The first entry at each socket address. There are several where nodes share one, or claim to. */
  private readonly entriesByAddress = new Map<string, TableEntry>()
  /** Verified entries that left a request unanswered. Those heard from since leave when they are next looked at. */
  private readonly doubted = new Set<TableEntry>()
  private maintainedAt = never

  constructor(options: Options & { readonly self: NodeId.NodeId }) {
    this.self = options.self
    this.k = options.k ?? 16
    this.pendingCapacity = options.pendingCapacity ?? 5
  }

  // --- Learning --------------------------------------------------------------

  /**
   * Adds or updates a contact. With `verifiedAt`, we heard from it: it sent a
   * verified request or answered one of ours. Without, others reported it.
   */
  add(contact: Contact, verifiedAt: number | undefined, now: number, learnedFrom?: NodeId.NodeId): AddResult {
    const known = this.entriesById.get(contact.id)
    const isThere = known !== undefined && SocketAddress.isSame(known.contact, contact)
    if (!isThere && !this.admits(contact)) return notAdmitted
    if (known !== undefined) return this.update(known, contact, verifiedAt)
    if (contact.id === this.self) return ownId
    if (!/^[0-9a-f]{64}$/.test(contact.id)) return malformedId
    const bucket = this.bucketFor(contact.id)
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
      if (contact.host !== entry.contact.host || contact.port !== entry.contact.port) {
        this.leave(entry)
        entry.moveTo(contact)
        this.arrive(entry)
      }
      if (bucket.probe?.oldest === entry) bucket.probe.heard = true
    }
    return updated
  }

  private insert(bucket: TableBucket, candidate: Candidate, now: number): AddResult {
    this.dropPending(bucket, candidate.contact.id)
    const entry = new TableEntry(bucket, candidate, now)
    this.entriesById.set(entry.id, entry)
    this.arrive(entry)
    bucket.summary = undefined
    this.hurry()
    if (bucket.entries.push(entry) === 1) {
      const at = this.occupied.findIndex((other) => other.index > bucket.index)
      this.occupied.splice(at === -1 ? this.occupied.length : at, 0, bucket)
    }
    this.watcher?.added(entry.contact, bucket.index)
    return inserted
  }

  private queue(bucket: TableBucket, pending: Pending): AddResult {
    if (!bucket.pending.some((other) => other.contact.id === pending.contact.id)) {
      bucket.pending.push(pending)
      this.hurry()
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
    const bucket = this.existingBucket(id)
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
    if (bucket.entries.length < this.k && !this.entriesById.has(newcomer.id) && this.admits(newcomer)) {
      this.insert(bucket, probe.newcomer, now)
    }
  }

  /** Reports that a pending contact answered, which adds it as a verified one. */
  pendingVerified(id: NodeId.NodeId, verifiedAt: number, now: number): AddResult {
    const bucket = this.existingBucket(id)
    const pending = bucket === undefined ? undefined : this.dropPending(bucket, id)
    return pending === undefined ? notPending : this.add(pending.contact, verifiedAt, now, pending.learnedFrom)
  }

  /** Drops a pending contact that did not answer. */
  pendingFailed(id: NodeId.NodeId): void {
    const bucket = this.existingBucket(id)
    if (bucket !== undefined) this.dropPending(bucket, id)
  }

  /** Raises the time of the last direct contact; the position in the bucket stays. */
  updateVerifiedAt(id: NodeId.NodeId, verifiedAt: number): void {
    const entry = this.entriesById.get(id)
    if (entry !== undefined) heardFrom(entry, verifiedAt)
  }

  /** Reports that a contact left a request unanswered: an unverified one is removed, another is probed soon. */
  unanswered(id: NodeId.NodeId, now: number): void {
    const entry = this.entriesById.get(id)
    if (entry === undefined) return
    if (entry.verifiedAt === never) return this.removeEntry(entry)
    entry.doubtedAt = now
    this.doubted.add(entry)
    this.hurry()
  }

  /** Removes a contact from the table. A pending contact stays pending, because it was not probed. */
  remove(id: NodeId.NodeId): void {
    const entry = this.entriesById.get(id)
    if (entry !== undefined) this.removeEntry(entry)
  }

  /** Removes a peer from the table and from the pending contacts. */
  forget(id: NodeId.NodeId): void {
    this.remove(id)
    this.pendingFailed(id)
  }

  // --- Looking up ------------------------------------------------------------

  get size(): number {
    return this.entriesById.size
  }

  contains(id: NodeId.NodeId): boolean {
    return this.entriesById.has(id)
  }

  get(id: NodeId.NodeId): Contact | undefined {
    return this.entriesById.get(id)?.contact
  }

  /** Whether a contact with this socket address satisfies a condition. */
  hasAt(address: SocketAddress.SocketAddress, wanted: (id: NodeId.NodeId) => boolean): boolean {
    let entry = this.entriesByAddress.get(SocketAddress.key(address))
    while (entry !== undefined && !wanted(entry.id)) entry = entry.nextThere
    return entry !== undefined
  }

  /** Whether the bucket of an id has room for one more contact. */
  hasRoom(id: NodeId.NodeId): boolean {
    return (this.existingBucket(id)?.entries.length ?? 0) < this.k
  }

  /**
   * Whether a newcomer's address is worth a check: it is a contact elsewhere, or
   * it may get a place, and either we may be one of its k closest nodes, which
   * must all know it (with a margin for the estimate), or fewer than half of its bucket were heard from
   * after `cutoff`.
   */
  isWanted({ id }: Contact, now: number, cutoff: number): boolean {
    const known = this.entriesById.get(id)
    if (known !== undefined && known.verifiedAt !== never) return true
    const bucket = this.existingBucket(id)
    if (bucket === undefined) return true
    const mayEnter = known !== undefined || bucket.entries.length < this.k ||
      now >= bucket.noProbeBefore && !this.isTakenIn(bucket, cutoff)
    return mayEnter && (freshIn(bucket, cutoff) < this.k / 2 || this.closerNodes(id, now) < wantedMargin * this.k)
  }

  /** The contact with this id, if it is verified. */
  verified(id: NodeId.NodeId): Contact | undefined {
    const entry = this.entriesById.get(id)
    return entry === undefined || entry.verifiedAt === never ? undefined : entry.contact
  }

  bucketLength(index: number): number {
    return this.buckets[index]?.entries.length ?? 0
  }

  pendingLength(index: number): number {
    return this.buckets[index]?.pending.length ?? 0
  }

  oldestInBucket(index: number): Contact | undefined {
    return this.buckets[index]?.entries[0]?.contact
  }

  /** All entries by bucket, least recently seen first. */
  entries(): ReadonlyArray<Entry> {
    return this.occupied.flatMap(({ entries }) => entries.map(entryOf))
  }

  entry(id: NodeId.NodeId): Entry | undefined {
    const entry = this.entriesById.get(id)
    return entry === undefined ? undefined : entryOf(entry)
  }

  bucket(index: number): Bucket {
    const bucket = this.buckets[index]
    return { index, entries: bucket?.entries.map(entryOf) ?? [], pending: bucket?.pending.length ?? 0 }
  }

  /** The `n` contacts closest to `target`, the closest first. */
  nearest(target: NodeId.NodeId, n: number): Array<Contact> {
    const found: Array<Contact> = []
    this.collect(target, n, always, found)
    return found
  }

  /** The `n` closest verified contacts: first those heard from after `cutoff`, then the others. */
  nearestVerified(target: NodeId.NodeId, n: number, cutoff: number): Array<Contact> {
    const found: Array<Contact> = []
    this.collect(target, n, (entry) => entry.verifiedAt > cutoff, found)
    this.collect(target, n, (entry) => entry.verifiedAt <= cutoff && entry.verifiedAt !== never, found)
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
    this.collect(target, n, (entry) => entry.verifiedAt > cutoff && isWell(entry), found)
    this.collect(target, n, (entry) => entry.verifiedAt <= cutoff && entry.verifiedAt !== never && isWell(entry), found)
    if (found.length < Math.min(n, this.k / 2)) {
      this.collect(target, n, (entry) => entry.verifiedAt !== never && isShareable(entry) && isBad(entry.id), found)
    }
    return found
  }

  /**
   * Appends wanted contacts by distance until there are `n`.
   *
   * Buckets are visited in order of distance. Contacts of bucket i share our
   * first i bits and differ in bit i. Where the target differs from us in bit i,
   * they agree with the target there, so those buckets come first, the shallowest
   * first; the others follow, the deepest first.
   */
  private collect(
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

  // --- Statistics ------------------------------------------------------------

  /** Number of contacts heard from after `cutoff`. */
  countVerified(cutoff: number): number {
    let count = 0
    for (const entry of this.entriesById.values()) if (entry.verifiedAt > cutoff) count++
    return count
  }

  /**
   * Estimates the number of nodes in the network from the number of contacts in
   * the deepest buckets that were heard from after `cutoff`.
   */
  estimate(cutoff: number): NetworkSize {
    const sizes: Array<number> = []
    for (let i = this.occupied.length - 1; i >= 0 && sizes.length < estimateBuckets; i--) {
      const bucket = this.occupied[i]
      const count = countVerifiedIn(bucket, cutoff)
      if (count > 0) sizes.push(impliedSize(bucket, count))
    }
    sizes.sort((a, b) => a - b)
    return { size: sizes[sizes.length >> 1] ?? 0, confidence: sizes.length / estimateBuckets }
  }

  /** Adds the result of a lookup of `wanted` nodes: the closest to a target, nearest first. */
  sampled(target: NodeId.NodeId, ids: ReadonlyArray<NodeId.NodeId>, wanted: number, now: number): void {
    this.samples.add(target, ids, wanted, now)
  }

  /** Replaces all samples of the network size by these results of lookups. */
  resampled(
    results: ReadonlyArray<readonly [target: NodeId.NodeId, ids: ReadonlyArray<NodeId.NodeId>]>,
    wanted: number,
    now: number
  ): void {
    this.samples.clear()
    for (const [target, ids] of results) this.samples.add(target, ids, wanted, now)
  }

  /** The network size estimated from lookups; undefined until there were enough. */
  sampledSize(now: number): number | undefined {
    return this.samples.size(now)
  }

  /**
   * The network size estimated from lookups, otherwise from the contacts of the
   * last half hour, which an attacker with ids near ours can inflate; 0 without a
   * confident estimate.
   */
  plausibleSize(now: number): number {
    const sampled = this.samples.size(now)
    if (sampled !== undefined) return sampled
    const { confidence, size } = this.estimate(now - estimateMillis)
    return confidence < minConfidence ? 0 : size
  }

  /** The smallest network size that a bucket with room implies. New nodes in other buckets cannot inflate it. */
  leastSize(): number {
    const sizes = this.occupied.filter(({ entries }) => entries.length < this.k)
      .map((bucket) => impliedSize(bucket, bucket.entries.length))
    return sizes.length === 0 ? 0 : Math.min(...sizes)
  }

  /**
   * Estimated number of nodes closer to a key than we are; 0 without a confident
   * estimate of the network size.
   */
  closerNodes(key: NodeId.NodeId, now: number): number {
    return this.plausibleSize(now) * Density.distance(key, this.self)
  }

  /** The estimate over all verified contacts; without any, that of the deepest bucket. */
  estimateAll(): number {
    const deepest = this.occupied.at(-1)
    return this.estimate(never).size || (deepest === undefined ? 0 : impliedSize(deepest, deepest.entries.length))
  }

  // --- Maintenance ----------------------------------------------------------------

  /**
   * Returns the work that is due, within `limits`. A bucket that is returned for
   * a refill is not returned again until its pause ends. The deepest buckets take
   * precedence.
   */
  maintenance(now: number, freshCutoff: number, staleCutoff: number, limits: MaintenanceLimits): MaintenanceWork {
    if (now < this.maintainedAt) this.setBack(now)
    this.maintainedAt = now
    const pendingToProbe: Array<Contact> = []
    const staleToProbe: Array<Contact> = []
    const due: Array<TableBucket> = []
    for (const bucket of this.existing) {
      const { entries, pending } = bucket
      // They are in order of age, so the expired ones come first.
      while (pending.length > 0 && now - pending[0].addedAt > pendingLifetimeMillis) pending.shift()
      if (pending.length > 0) {
        const places = limits.spareFull ? this.places(bucket, freshCutoff, now) : Infinity
        const room = Math.min(places, limits.pendingProbes - pendingToProbe.length)
        for (let i = 0; i < pending.length && i < room; i++) pendingToProbe.push(pending[i].contact)
      }
      if (entries.length === 0) continue
      let summary = bucket.summary ?? this.summarize(bucket)
      if (summary.unverifiedSince < staleCutoff) {
        for (const entry of entries) {
          if (entry.verifiedAt === never && entry.addedAt < staleCutoff) staleToProbe.push(entry.contact)
        }
      }
      if (summary.halfSince <= freshCutoff) summary = this.summarize(bucket)
      if (summary.halfSince > freshCutoff) {
        bucket.futileRefills = 0
        bucket.isCovered = false
      } else if (now - bucket.refilledAt >= refillPause(bucket)) due.push(bucket)
    }
    const toRefill = due.slice(Math.max(due.length - limits.refills, 0))
    for (const bucket of toRefill) bucket.refilledAt = now
    return {
      pendingToProbe,
      staleToProbe: staleToProbe.slice(0, limits.staleProbes),
      bucketsToRefill: toRefill.map((bucket) => bucket.index)
    }
  }

  /**
   * Up to `n` verified contacts to probe because they left a request unanswered,
   * or have been silent since `cutoff`; the longest silent first. Of a full bucket only enough to keep
   * slightly more than half of it fresh: the others are probed when a newcomer
   * needs their place. None is returned again within five minutes.
   */
  quiet(now: number, cutoff: number, n: number): ReadonlyArray<Contact> {
    const chosen = this.takeDoubted(now)
    for (const bucket of this.occupied) {
      const { entries } = bucket
      const { allSince } = bucket.summary ?? this.summarize(bucket)
      if (allSince > cutoff || this.summarize(bucket).allSince > cutoff) continue
      const quiet: Array<TableEntry> = []
      let heard = 0
      for (const entry of entries) {
        if (entry.verifiedAt > cutoff) heard++
        else if (entry.verifiedAt !== never && isDue(entry, now) && !this.doubted.has(entry)) quiet.push(entry)
      }
      if (quiet.length === 0) continue
      const wanted = entries.length < this.k ? quiet.length : Math.max(this.wantedFresh - heard, 0)
      chosen.push(...quiet.sort(bySilence).slice(0, wanted))
    }
    const probed = chosen.sort(bySilence).slice(0, n)
    for (const entry of probed) {
      entry.probedAt = now
      this.doubted.delete(entry)
    }
    return probed.map(({ contact }) => contact)
  }

  /**
   * A time before which `maintenance` and `quiet` return nothing more, unless
   * `hurry` is called. To hear from contacts can only delay it.
   */
  dueAt(now: number, limits: MaintenanceLimits, { fresh, quiet, stale }: MaintenancePeriods): number {
    let due = Infinity
    for (const bucket of this.existing) {
      const { entries, noProbeBefore, pending, refilledAt } = bucket
      const isFull = entries.length >= this.k
      const { allSince, halfSince, unverifiedSince, wantedSince } = bucket.summary ?? this.summarize(bucket)
      if (limits.pendingProbes > 0 && pending.length > 0) {
        due = Math.min(due, limits.spareFull && isFull ? Math.max(wantedSince + fresh, noProbeBefore) : now)
      }
      if (entries.length === 0) continue
      if (limits.staleProbes > 0) due = Math.min(due, unverifiedSince + stale + 1)
      if (limits.refills > 0) {
        due = Math.min(due, halfSince > now - fresh ? halfSince + fresh : refilledAt + refillPause(bucket))
      }
      const quietAt = (isFull ? wantedSince : allSince) + quiet
      due = Math.min(due, quietAt > now ? quietAt : nextQuiet(entries, quiet))
    }
    for (const entry of this.doubted) {
      if (entry.doubtedAt >= entry.verifiedAt) due = Math.min(due, entry.probedAt + quietPauseMillis)
    }
    return due
  }

  /** Whether a contact left a request unanswered and has not been heard from since. */
  isDoubted(id: NodeId.NodeId): boolean {
    const entry = this.entriesById.get(id)
    return entry !== undefined && entry.doubtedAt >= entry.verifiedAt
  }

  /** The entries that left a request unanswered and have not been heard from since, as far as they may be probed again. */
  private takeDoubted(now: number): Array<TableEntry> {
    const due: Array<TableEntry> = []
    for (const entry of this.doubted) {
      if (entry.verifiedAt > entry.doubtedAt || entry.verifiedAt === never) this.doubted.delete(entry)
      else if (isDue(entry, now)) due.push(entry)
    }
    return due
  }

  /** Clamps all times to `now` after the clock was set back; a time in the future would look fresh until then. */
  private setBack(now: number): void {
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

  private summarize(bucket: TableBucket): Summary {
    const times: Array<number> = []
    let unverifiedSince = Infinity
    for (const { addedAt, verifiedAt } of bucket.entries) {
      if (verifiedAt !== never) times.push(verifiedAt)
      else if (addedAt < unverifiedSince) unverifiedSince = addedAt
    }
    times.sort(latestFirst)
    bucket.summary = {
      unverifiedSince,
      halfSince: times[Math.ceil(this.k / 2) - 1] ?? never,
      wantedSince: times[Math.ceil(this.wantedFresh) - 1] ?? never,
      allSince: times.at(-1) ?? Infinity
    }
    return bucket.summary
  }

  /** When a contact was last heard from that has left no request unanswered since; -Infinity if there is none. */
  heardAt(): number {
    let latest = never
    for (const { doubtedAt, verifiedAt } of this.entriesById.values()) {
      if (verifiedAt > latest && verifiedAt > doubtedAt) latest = verifiedAt
    }
    return latest
  }

  /** The contact that was heard from last. */
  freshest(): Contact | undefined {
    let freshest: TableEntry | undefined
    for (const entry of this.entriesById.values()) {
      if (entry.verifiedAt > (freshest?.verifiedAt ?? never)) freshest = entry
    }
    return freshest?.contact
  }

  /** Records a refill; `improved` if the bucket has more contacts, pending ones included, than before. */
  recordRefill(index: number, improved: boolean): void {
    const bucket = this.buckets[index]
    if (bucket === undefined) return
    bucket.futileRefills = improved ? 0 : Math.min(bucket.futileRefills + 1, refillPauses.length - 1)
    this.hurry()
  }

  /**
   * Records the closest nodes that a lookup of an id in bucket `index`, or of our
   * own id (256), found. Returns the buckets that the lookup covered completely.
   * Another lookup there would find nothing new for an hour.
   * A lookup that found fewer than k nodes saw either the whole network or what
   * an attacker let us see: it counts as a futile refill of the other buckets.
   * Nodes that the lookup omitted because of their subnet do not count as missing.
   */
  lookedUp(index: number, closest: ReadonlyArray<Contact>, now: number): ReadonlyArray<number> {
    if (closest.length === 0) return []
    const isAll = closest.length < this.k
    const places = closest.map(({ id }) => NodeId.bucketIndex(this.self, id))
    // By distance from a target in bucket i, bucket i is followed by the deeper
    // buckets and then by the shallower ones.
    const shallowest = isAll ? -1 : Math.min(...places)
    const whole = this.occupied.filter((bucket) =>
      bucket.index === index
        ? !isAll && places.some((place) => place !== index)
        : shallowest < index && bucket.index > shallowest
    )
    for (const bucket of whole) {
      bucket.refilledAt = now
      if (isAll) this.recordRefill(bucket.index, false)
      else bucket.isCovered = true
    }
    return whole.map((bucket) => bucket.index)
  }

  /** Whether the contact's bucket is full and its oldest contact was heard from after `cutoff`. */
  isTaken(id: NodeId.NodeId, cutoff: number): boolean {
    const bucket = this.existingBucket(id)
    return bucket !== undefined && this.isTakenIn(bucket, cutoff)
  }

  /** Fresh contacts to keep in a full bucket. */
  private get wantedFresh(): number {
    return Math.min(this.k / 2 + spareFresh, this.k)
  }

  /**
   * Number of places for newcomers in a bucket: the free ones, and in a full one
   * as many of those not heard from after `cutoff` as it lacks fresh contacts, while
   * they may be probed.
   */
  private places(bucket: TableBucket, cutoff: number, now: number): number {
    const free = this.k - bucket.entries.length
    if (free > 0) return free
    return now < bucket.noProbeBefore ? 0 : Math.max(this.wantedFresh - freshIn(bucket, cutoff), 0)
  }

  private isTakenIn({ entries }: TableBucket, cutoff: number): boolean {
    return entries.length >= this.k && entries[0].verifiedAt > cutoff
  }

  // --- Buckets ---------------------------------------------------------------

  private existingBucket(id: NodeId.NodeId): TableBucket | undefined {
    return this.buckets[NodeId.bucketIndex(this.self, id)]
  }

  private bucketFor(id: NodeId.NodeId): TableBucket {
    const index = NodeId.bucketIndex(this.self, id)
    return this.buckets[index] ?? this.makeBucket(index)
  }

  private makeBucket(index: number): TableBucket {
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
    this.buckets[index] = bucket
    const at = this.existing.findIndex((other) => other.index > index)
    this.existing.splice(at === -1 ? this.existing.length : at, 0, bucket)
    return bucket
  }

  /** Removes and returns a pending contact; undefined if it was not pending. */
  private dropPending(bucket: TableBucket, id: NodeId.NodeId): Pending | undefined {
    const at = bucket.pending.findIndex((pending) => pending.contact.id === id)
    return at === -1 ? undefined : bucket.pending.splice(at, 1)[0]
  }

  /** Removes an entry; does nothing if it was removed before. */
  private removeEntry(entry: TableEntry): void {
    if (this.entriesById.get(entry.id) !== entry) return
    this.entriesById.delete(entry.id)
    this.doubted.delete(entry)
    this.leave(entry)
    const { bucket } = entry
    bucket.summary = undefined
    this.hurry()
    bucket.entries.splice(bucket.entries.indexOf(entry), 1)
    if (bucket.entries.length === 0) this.occupied.splice(this.occupied.indexOf(bucket), 1)
    this.watcher?.removed(entry.contact, bucket.index)
  }

  /** Indexes an entry by its socket address. */
  private arrive(entry: TableEntry): void {
    const address = SocketAddress.key(entry.contact)
    entry.nextThere = this.entriesByAddress.get(address)
    this.entriesByAddress.set(address, entry)
  }

  private leave(entry: TableEntry): void {
    const address = SocketAddress.key(entry.contact)
    const first = this.entriesByAddress.get(address)
    if (first === undefined) return
    if (first !== entry) {
      let before = first
      while (before.nextThere !== undefined && before.nextThere !== entry) before = before.nextThere
      before.nextThere = entry.nextThere
    } else if (entry.nextThere === undefined) this.entriesByAddress.delete(address)
    else this.entriesByAddress.set(address, entry.nextThere)
  }
}

/** Raises the time of the last direct contact. */
const heardFrom = (entry: TableEntry, at: number): void => {
  if (at <= entry.verifiedAt) return
  if (entry.verifiedAt === never) entry.bucket.summary = undefined
  entry.verifiedAt = at
}

/** Whether its last probe is long enough ago for another one. */
const isDue = ({ probedAt }: TableEntry, now: number): boolean => probedAt <= now - quietPauseMillis

/** When the next of these contacts is both quiet and due for another probe. */
const nextQuiet = (entries: ReadonlyArray<TableEntry>, quiet: number): number => {
  let next = Infinity
  for (const { probedAt, verifiedAt } of entries) {
    if (verifiedAt !== never) next = Math.min(next, Math.max(verifiedAt + quiet, probedAt + quietPauseMillis))
  }
  return next
}

const latestFirst = (a: number, b: number): number => b - a

const bySilence = (a: TableEntry, b: TableEntry): number => a.verifiedAt - b.verifiedAt

const always = (): boolean => true

const ignore = (): void => {}

const refillPause = ({ futileRefills, isCovered }: TableBucket): number =>
  isCovered ? coveredPauseMillis : refillPauses[futileRefills]

const freshIn = ({ entries }: TableBucket, cutoff: number): number => {
  let fresh = 0
  for (const { verifiedAt } of entries) if (verifiedAt > cutoff) fresh++
  return fresh
}

const verifiedTime = (entry: TableEntry): number | undefined =>
  entry.verifiedAt === never ? undefined : entry.verifiedAt

const entryOf = (entry: TableEntry): Entry => ({
  bucket: entry.bucket.index,
  contact: entry.contact,
  verifiedAt: verifiedTime(entry),
  addedAt: entry.addedAt,
  learnedFrom: entry.learnedFrom
})

const countVerifiedIn = (bucket: TableBucket, cutoff: number): number => {
  let count = 0
  for (const entry of bucket.entries) if (entry.verifiedAt > cutoff) count++
  return count
}

/** The network size that `count` contacts in a bucket imply. */
const impliedSize = (bucket: TableBucket, count: number): number =>
  count * 2 ** Math.min(bucket.index + 1, maxEstimateExponent)

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
