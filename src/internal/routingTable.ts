/**
 * The routing table of Kademlia (Maymounkov and Mazières, 2002): 256 buckets
 * by common prefix with our own id, each a short list of contacts with the
 * least recently seen first, and a waiting list of contacts known from others only
 * only. Times are Unix milliseconds.
 *
 * It never asks anybody anything. Where a peer has to be asked, it says so and
 * is told the outcome, so nothing in here can wait.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import * as NodeId from "../NodeId.ts"
import type * as Routing from "../Routing.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as Density from "./density.ts"

/**
 * What became of a contact. `Inserted` and `Updated`: it is in the table.
 * `Queued`: its bucket is full, it waits for its turn. `Probe`: its bucket is
 * full, and whether it comes in depends on whether `oldest` still answers; the
 * caller asks, and reports with `probed`.
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
  /** Whether contacts are left waiting as long as the one whose place they would get was heard from lately. */
  readonly spareTaken: boolean
  readonly staleProbes: number
  readonly refills: number
}

/**
 * @internal
 */
export interface MaintenanceWork {
  /** Unverified contacts that wait for room: report with `pendingVerified` or `pendingFailed`. */
  readonly pendingToProbe: ReadonlyArray<Contact>
  /** Unverified contacts that were not confirmed for long: `remove` the silent ones. */
  readonly staleToProbe: ReadonlyArray<Contact>
  /** Thin buckets, in ascending order: look up an id in each, then `recordRefill`. */
  readonly bucketsToRefill: ReadonlyArray<number>
}

/**
 * Work for one heartbeat.
 *
 * @internal
 */
export const heartbeatLimits: MaintenanceLimits = { pendingProbes: 5, spareTaken: true, staleProbes: 10, refills: 2 }

const minuteMillis = 60_000

/**
 * A contact heard from in this time is fresh: preferred in answers and in lookups.
 *
 * @internal
 */
export const freshMillis = 30 * minuteMillis

const pendingLifetimeMillis = 120 * minuteMillis

/** Pauses between refills of one bucket, by the number of futile ones in a row. */
const refillPauses = [minuteMillis / 2, 2 * minuteMillis, 10 * minuteMillis, 15 * minuteMillis]

/** A silent contact that may only seem so is left alone for so long. */
const quietPauseMillis = 5 * minuteMillis

/** Fresh contacts that a full bucket is kept at beyond the half of it below which it is refilled. */
const spareFresh = 2

/** A probe whose outcome nobody reported in this time is given up. */
const probeLifetimeMillis = 30_000

/** After its oldest peer proved alive, a full bucket leaves its peers in peace for so long. */
const probePauseMillis = 1_000

const estimateBuckets = 5

/**
 * With fewer of these buckets the size of the network is little more than a guess.
 *
 * @internal
 */
const minConfidence = 0.6

/** Contacts heard from within so many milliseconds count for what is believed of the size of the network. */
const estimateMillis = 30 * 60_000

/** Keeps the figure of a bucket far deeper than any real network within 64 bits. */
const maxEstimateExponent = 62

const never = -Infinity

class Entry {
  readonly id: NodeId.NodeId
  /** The first 32 bits of the id, which nearly always decide which of two is closer. */
  readonly prefix: number
  readonly bucket: Bucket
  readonly learnedFrom: NodeId.NodeId | undefined
  contact: Contact
  scope: SocketAddress.Scope
  addedAt: number
  verifiedAt: number
  /** When it was last to be probed for its silence. */
  probedAt = never

  constructor(bucket: Bucket, candidate: Candidate, addedAt: number) {
    this.id = candidate.contact.id
    this.prefix = NodeId.prefix(this.id)
    this.bucket = bucket
    this.addedAt = addedAt
    this.learnedFrom = candidate.learnedFrom
    this.contact = candidate.contact
    this.scope = SocketAddress.scope(candidate.contact.host)
    this.verifiedAt = candidate.verifiedAt
  }

  moveTo(contact: Contact): void {
    this.contact = contact
    this.scope = SocketAddress.scope(contact.host)
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
  readonly oldest: Entry
  /** Who gets the place if the oldest is silent. */
  readonly newcomer: Candidate
  /** The oldest made contact by itself meanwhile. */
  heard: boolean
}

interface Bucket {
  readonly index: number
  /** Least recently seen first. */
  readonly entries: Array<Entry>
  /** First in, first out. */
  readonly pending: Array<Pending>
  /** The one probe in flight. */
  probe: Probe | undefined
  noProbeBefore: number
  refilledAt: number
  futileRefills: number
  /** Of its entries as they were; undefined once others came, left, or were heard from for the first time. */
  summary: Summary | undefined
}

/**
 * What spares a beat the look at every entry of a bucket. Peers are heard from
 * again and again meanwhile, so the times are the earliest that they can be.
 */
interface Summary {
  /** Those that were never heard from were added at this time or later. */
  readonly unverifiedSince: number
  /** Half a bucket was heard from at this time or later. */
  readonly halfSince: number
  /** All that were ever heard from were at this time or later. */
  readonly allSince: number
}

const inserted: AddResult = { _tag: "Inserted" }
const updated: AddResult = { _tag: "Updated" }
const queued: AddResult = { _tag: "Queued" }
const ownId: AddResult = { _tag: "Refused", reason: "OwnId" }
const malformedId: AddResult = { _tag: "Refused", reason: "MalformedId" }
const notAdmitted: AddResult = { _tag: "Refused", reason: "NotAdmitted" }
const bucketFull: AddResult = { _tag: "Refused", reason: "BucketFull" }
const notPending: AddResult = { _tag: "Refused", reason: "NotPending" }

/**
 * Is told of contacts that came into a bucket, or left it.
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
  /** Whether a peer may be a contact at all. A table by itself, as the reference's, takes everyone. */
  admits: (contact: Contact) => boolean = anyone
  readonly self: NodeId.NodeId
  readonly k: number
  private readonly pendingCapacity: number
  private readonly buckets: Array<Bucket | undefined> = Array.from({ length: 256 }, () => undefined)
  /** Those there are, in ascending order. */
  private readonly existing: Array<Bucket> = []
  /** The buckets that have entries, in ascending order. */
  private readonly occupied: Array<Bucket> = []
  private readonly samples = new Density.SizeSamples()
  private readonly entriesById = new Map<NodeId.NodeId, Entry>()
  private maintainedAt = never

  constructor(options: Routing.Options & { readonly self: NodeId.NodeId }) {
    this.self = options.self
    this.k = options.k ?? 16
    this.pendingCapacity = options.pendingCapacity ?? 5
  }

  // --- Learning --------------------------------------------------------------

  /**
   * A contact was heard of, or (`verifiedAt`) heard from: it sent a verified
   * request, or answered one of ours.
   */
  add(contact: Contact, verifiedAt: number | undefined, now: number, learnedFrom?: NodeId.NodeId): AddResult {
    const known = this.entriesById.get(contact.id)
    const isThere = known !== undefined && known.contact.host === contact.host && known.contact.port === contact.port
    if (!isThere && !this.admits(contact)) return notAdmitted
    if (known !== undefined) return this.heardAgain(known, contact, verifiedAt)
    if (contact.id === this.self) return ownId
    if (!/^[0-9a-f]{64}$/.test(contact.id)) return malformedId
    const bucket = this.bucketFor(contact.id)
    const candidate = { contact, verifiedAt: verifiedAt ?? never, learnedFrom }
    if (bucket.entries.length < this.k) return this.insert(bucket, candidate, now)
    return verifiedAt === undefined
      ? this.queue(bucket, { contact, learnedFrom, addedAt: now })
      : this.challenge(bucket, candidate, now)
  }

  private heardAgain(entry: Entry, contact: Contact, verifiedAt: number | undefined): AddResult {
    const { bucket } = entry
    const { entries } = bucket
    const last = entries.length - 1
    if (entries[last] !== entry) {
      for (let i = entries.indexOf(entry); i < last; i++) entries[i] = entries[i + 1]
      entries[last] = entry
    }
    if (verifiedAt !== undefined) {
      heardFrom(entry, verifiedAt)
      // What others say must never move a peer: one liar could point us anywhere.
      if (contact.host !== entry.contact.host || contact.port !== entry.contact.port) entry.moveTo(contact)
      if (bucket.probe?.oldest === entry) bucket.probe.heard = true
    }
    return updated
  }

  private insert(bucket: Bucket, candidate: Candidate, now: number): AddResult {
    this.dropPending(bucket, candidate.contact.id)
    const entry = new Entry(bucket, candidate, now)
    this.entriesById.set(entry.id, entry)
    bucket.summary = undefined
    if (bucket.entries.push(entry) === 1) {
      const at = this.occupied.findIndex((other) => other.index > bucket.index)
      this.occupied.splice(at === -1 ? this.occupied.length : at, 0, bucket)
    }
    this.watcher?.added(entry.contact, bucket.index)
    return inserted
  }

  private queue(bucket: Bucket, pending: Pending): AddResult {
    if (!bucket.pending.some((other) => other.contact.id === pending.contact.id)) {
      bucket.pending.push(pending)
      if (bucket.pending.length > this.pendingCapacity) bucket.pending.shift()
    }
    return queued
  }

  /** Fresh identities cost nothing, so a live old peer is worth more than any number of them. */
  private challenge(bucket: Bucket, newcomer: Candidate, now: number): AddResult {
    if (now < bucket.noProbeBefore) return bucketFull
    const oldest = bucket.entries[0]
    bucket.probe = { oldest, newcomer, heard: false }
    bucket.noProbeBefore = now + probeLifetimeMillis
    return { _tag: "Probe", oldest: oldest.contact }
  }

  /**
   * The outcome of a probe that `add` asked for; `id` is the peer that was
   * asked. Alive, it stays where it is: its answer, a direct contact like any
   * other, is what makes it the most recent. Silent, and not heard from in any
   * other way meanwhile, it makes room for the newcomer that caused the probe.
   * Outcomes nobody waits for change nothing.
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

  /** A waiting contact answered: from now on it is a direct contact like any other. */
  pendingVerified(id: NodeId.NodeId, verifiedAt: number, now: number): AddResult {
    const bucket = this.existingBucket(id)
    const pending = bucket === undefined ? undefined : this.dropPending(bucket, id)
    return pending === undefined ? notPending : this.add(pending.contact, verifiedAt, now, pending.learnedFrom)
  }

  /** A waiting contact was silent. */
  pendingFailed(id: NodeId.NodeId): void {
    const bucket = this.existingBucket(id)
    if (bucket !== undefined) this.dropPending(bucket, id)
  }

  /** Raises the time of the last direct contact, and leaves the place in the bucket as it is. */
  updateVerifiedAt(id: NodeId.NodeId, verifiedAt: number): void {
    const entry = this.entriesById.get(id)
    if (entry !== undefined) heardFrom(entry, verifiedAt)
  }

  /** Takes a contact out of the table. One that waits for a place goes on waiting: whether it answers was not asked. */
  remove(id: NodeId.NodeId): void {
    const entry = this.entriesById.get(id)
    if (entry !== undefined) this.removeEntry(entry)
  }

  /** Takes a peer out of the table, or out of the line before it. */
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

  /** The last direct contact; undefined for unverified and unknown ones. */
  verifiedAt(id: NodeId.NodeId): number | undefined {
    const entry = this.entriesById.get(id)
    return entry === undefined ? undefined : verifiedTime(entry)
  }

  bucketLength(index: number): number {
    return this.buckets[index]?.entries.length ?? 0
  }

  /** How many of a bucket's contacts were ever heard from. */
  bucketVerified(index: number): number {
    const bucket = this.buckets[index]
    return bucket === undefined ? 0 : countVerifiedIn(bucket, never)
  }

  /** Those of a bucket's contacts that were never heard from, by when they were heard of last. */
  unverified(index: number): ReadonlyArray<Contact> {
    const entries = this.buckets[index]?.entries ?? []
    return entries.filter(({ verifiedAt }) => verifiedAt === never).map(({ contact }) => contact)
  }

  pendingLength(index: number): number {
    return this.buckets[index]?.pending.length ?? 0
  }

  oldestInBucket(index: number): Contact | undefined {
    return this.buckets[index]?.entries[0]?.contact
  }

  /** By bucket, least recently seen first. */
  entries(): ReadonlyArray<Routing.Entry> {
    return this.occupied.flatMap((bucket) =>
      bucket.entries.map((entry) => ({
        bucket: bucket.index,
        contact: entry.contact,
        verifiedAt: verifiedTime(entry),
        addedAt: entry.addedAt,
        learnedFrom: entry.learnedFrom
      }))
    )
  }

  /** The `n` contacts closest to `target`, the closest first. */
  nearest(target: NodeId.NodeId, n: number): Array<Contact> {
    const found: Array<Contact> = []
    this.collect(target, n, anyone, found)
    return found
  }

  /** As `nearest`, of direct contacts only: first those after `cutoff`, then the others. */
  nearestVerified(target: NodeId.NodeId, n: number, cutoff: number): Array<Contact> {
    const found: Array<Contact> = []
    this.collect(target, n, (entry) => entry.verifiedAt > cutoff, found)
    this.collect(target, n, (entry) => entry.verifiedAt <= cutoff && entry.verifiedAt !== never, found)
    return found
  }

  /**
   * The contacts that answer a FIND: as `nearestVerified`, over half an hour
   * and without peers in bad health, who come in only where fewer than half a
   * bucket would remain. An unverified contact is never passed on: that is how lies spread.
   * Neither is a contact that the requester could not reach, because its address
   * is of a narrower scope than the requester's.
   */
  answer(
    target: NodeId.NodeId,
    n: number,
    now: number,
    isBad: (id: NodeId.NodeId) => boolean,
    scope: SocketAddress.Scope = SocketAddress.Scope.loopback
  ): Array<Contact> {
    const cutoff = now - freshMillis
    const found: Array<Contact> = []
    const isTold = (entry: Entry) => entry.scope >= scope && entry.scope !== SocketAddress.Scope.host
    const isWell = (entry: Entry) => isTold(entry) && !isBad(entry.id)
    this.collect(target, n, (entry) => entry.verifiedAt > cutoff && isWell(entry), found)
    this.collect(target, n, (entry) => entry.verifiedAt <= cutoff && entry.verifiedAt !== never && isWell(entry), found)
    if (found.length < Math.min(n, this.k / 2)) {
      this.collect(target, n, (entry) => entry.verifiedAt !== never && isTold(entry) && isBad(entry.id), found)
    }
    return found
  }

  /**
   * Appends wanted contacts by distance until there are `n`.
   *
   * Which bucket is closer is known without looking at its contacts. Those of
   * bucket i share our first i bits and differ in bit i, so as seen from the
   * target they stand on the near side where we and the target differ in bit
   * i, and the shallower such a bucket, the closer; the other buckets follow,
   * the deepest first.
   */
  private collect(
    target: NodeId.NodeId,
    n: number,
    wanted: (entry: Entry) => boolean,
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

  /** How many were heard from after `cutoff`. */
  countVerified(cutoff: number): number {
    let count = 0
    for (const entry of this.entriesById.values()) if (entry.verifiedAt > cutoff) count++
    return count
  }

  /** Whether anybody was heard from after `cutoff`. */
  hasVerified(cutoff: number): boolean {
    return this.occupied.some(({ entries }) => entries.some(({ verifiedAt }) => verifiedAt > cutoff))
  }

  /**
   * How many nodes the network must have for the deepest buckets to hold as
   * many contacts, heard from after `cutoff`, as they do.
   */
  estimate(cutoff: number): Routing.NetworkSize {
    const figures: Array<number> = []
    for (let i = this.occupied.length - 1; i >= 0 && figures.length < estimateBuckets; i--) {
      const bucket = this.occupied[i]
      const count = countVerifiedIn(bucket, cutoff)
      if (count > 0) figures.push(figure(bucket, count))
    }
    figures.sort((a, b) => a - b)
    return { size: figures[figures.length >> 1] ?? 0, confidence: figures.length / estimateBuckets }
  }

  /** Takes note of what a lookup found: the nodes closest to a target, nearest first, of `wanted` at most. */
  sampled(target: NodeId.NodeId, ids: ReadonlyArray<NodeId.NodeId>, wanted: number, now: number): void {
    this.samples.add(target, ids, wanted, now)
  }

  /** The size of the network as lookups show it; undefined until there were enough. */
  sampledSize(now: number): number | undefined {
    return this.samples.size(now)
  }

  /**
   * The size of the network as lookups show it, or else the estimate of half an
   * hour, which nodes with ids near to ours make as large as they like; 0 where
   * neither is known well.
   */
  plausibleSize(now: number): number {
    const { confidence, size } = this.estimate(now - estimateMillis)
    return this.samples.size(now) ?? (confidence < minConfidence ? 0 : size)
  }

  /** The smallest size that any bucket with room speaks for, which nodes that come do not make larger. */
  leastSize(): number {
    const figures = this.occupied.filter(({ entries }) => entries.length < this.k)
      .map((bucket) => figure(bucket, bucket.entries.length))
    return figures.length === 0 ? 0 : Math.min(...figures)
  }

  /**
   * How many nodes are closer to a key than we are, as the size of the network
   * has it; 0 where that is not known well.
   */
  closerNodes(key: NodeId.NodeId, now: number): number {
    return this.plausibleSize(now) * Density.distance(key, this.self)
  }

  /** The estimate over all direct contacts ever; where there are none, the figure of the deepest bucket. */
  estimateAll(): number {
    const deepest = this.occupied.at(-1)
    return this.estimate(never).size || (deepest === undefined ? 0 : figure(deepest, deepest.entries.length))
  }

  // --- Maintenance ----------------------------------------------------------------

  /**
   * What is due, within `limits`. A bucket that is handed out for a refill is
   * not handed out again before its pause is over; the deepest go first.
   */
  maintenance(now: number, freshCutoff: number, staleCutoff: number, limits: MaintenanceLimits): MaintenanceWork {
    if (now < this.maintainedAt) this.setBack(now)
    this.maintainedAt = now
    const pendingToProbe: Array<Contact> = []
    const staleToProbe: Array<Contact> = []
    const due: Array<Bucket> = []
    for (const bucket of this.existing) {
      const { entries, pending } = bucket
      // In order of age, so that the expired ones are the first.
      while (pending.length > 0 && now - pending[0].addedAt > pendingLifetimeMillis) pending.shift()
      if (!limits.spareTaken || !this.isTakenIn(bucket, freshCutoff)) {
        for (let i = 0; i < pending.length && pendingToProbe.length < limits.pendingProbes; i++) {
          pendingToProbe.push(pending[i].contact)
        }
      }
      if (entries.length === 0) continue
      let summary = bucket.summary ?? this.summarize(bucket)
      if (summary.unverifiedSince < staleCutoff) {
        for (const entry of entries) {
          if (entry.verifiedAt === never && entry.addedAt < staleCutoff) staleToProbe.push(entry.contact)
        }
      }
      if (summary.halfSince <= freshCutoff) summary = this.summarize(bucket)
      if (summary.halfSince > freshCutoff) bucket.futileRefills = 0
      else if (now - bucket.refilledAt >= refillPauses[bucket.futileRefills]) due.push(bucket)
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
   * Up to `n` contacts to probe, because they were heard from once, but not
   * after `cutoff`: those silent the longest first. Of a full bucket no more
   * than it takes for some more than half of it to have been heard from: the
   * others are asked when a newcomer wants their place. None is handed out
   * again within five minutes.
   */
  quiet(now: number, cutoff: number, n: number): ReadonlyArray<Contact> {
    const chosen: Array<Entry> = []
    for (const bucket of this.occupied) {
      const { entries } = bucket
      const { allSince } = bucket.summary ?? this.summarize(bucket)
      if (allSince > cutoff || this.summarize(bucket).allSince > cutoff) continue
      const quiet: Array<Entry> = []
      let heard = 0
      for (const entry of entries) {
        if (entry.verifiedAt > cutoff) heard++
        else if (entry.verifiedAt !== never && entry.probedAt <= now - quietPauseMillis) quiet.push(entry)
      }
      if (quiet.length === 0) continue
      const wanted = entries.length < this.k ? quiet.length : Math.max(this.k / 2 + spareFresh - heard, 0)
      chosen.push(...quiet.sort(bySilence).slice(0, wanted))
    }
    const probed = chosen.sort(bySilence).slice(0, n)
    for (const entry of probed) entry.probedAt = now
    return probed.map(({ contact }) => contact)
  }

  /** The clock was set back: what it has yet to reach would be young for as long as that takes. */
  private setBack(now: number): void {
    for (const bucket of this.existing) {
      for (const entry of bucket.entries) {
        entry.addedAt = Math.min(entry.addedAt, now)
        entry.verifiedAt = Math.min(entry.verifiedAt, now)
        entry.probedAt = Math.min(entry.probedAt, now)
      }
      for (const pending of bucket.pending) pending.addedAt = Math.min(pending.addedAt, now)
      bucket.noProbeBefore = Math.min(bucket.noProbeBefore, now + probeLifetimeMillis)
      bucket.refilledAt = Math.min(bucket.refilledAt, now)
      bucket.summary = undefined
    }
  }

  private summarize(bucket: Bucket): Summary {
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
      allSince: times.at(-1) ?? Infinity
    }
    return bucket.summary
  }

  /** The contact that was heard from last. */
  freshest(): Contact | undefined {
    let freshest: Entry | undefined
    for (const entry of this.entriesById.values()) {
      if (entry.verifiedAt > (freshest?.verifiedAt ?? never)) freshest = entry
    }
    return freshest?.contact
  }

  /** Whether a refill left the bucket with more contacts, waiting ones included, than before. */
  recordRefill(index: number, improved: boolean): void {
    const bucket = this.buckets[index]
    if (bucket === undefined) return
    bucket.futileRefills = improved ? 0 : Math.min(bucket.futileRefills + 1, refillPauses.length - 1)
  }

  /**
   * A lookup of an id in the given bucket, or of our own (256), brought these
   * nodes, the closest there are; returns the buckets all of whose nodes are
   * among them. To look again soon would bring nothing more, so these have the
   * longest pause before them. If the lookup found fewer than k nodes, they may
   * be all there are, or all that somebody let us see: it counts as a futile
   * refill of the other buckets. Nodes that a lookup leaves out because it has
   * enough of their subnet are not missed.
   */
  lookedUp(index: number, closest: ReadonlyArray<Contact>, now: number): ReadonlyArray<number> {
    if (closest.length === 0) return []
    const isAll = closest.length < this.k
    const places = closest.map(({ id }) => NodeId.bucketIndex(this.self, id))
    // Seen from a target in bucket i, the deeper buckets come after i, and the
    // shallower ones after those.
    const shallowest = isAll ? -1 : Math.min(...places)
    const whole = this.occupied.filter((bucket) =>
      bucket.index === index
        ? !isAll && places.some((place) => place !== index)
        : shallowest < index && bucket.index > shallowest
    )
    for (const bucket of whole) {
      bucket.refilledAt = now
      if (isAll) this.recordRefill(bucket.index, false)
      else bucket.futileRefills = refillPauses.length - 1
    }
    return whole.map((bucket) => bucket.index)
  }

  /** Whether the contact's bucket is full, and the one whose place a newcomer would get was heard from after `cutoff`. */
  isTaken(id: NodeId.NodeId, cutoff: number): boolean {
    const bucket = this.existingBucket(id)
    return bucket !== undefined && this.isTakenIn(bucket, cutoff)
  }

  private isTakenIn({ entries }: Bucket, cutoff: number): boolean {
    return entries.length >= this.k && entries[0].verifiedAt > cutoff
  }

  // --- Buckets ---------------------------------------------------------------

  private existingBucket(id: NodeId.NodeId): Bucket | undefined {
    return this.buckets[NodeId.bucketIndex(this.self, id)]
  }

  private bucketFor(id: NodeId.NodeId): Bucket {
    const index = NodeId.bucketIndex(this.self, id)
    return this.buckets[index] ?? this.makeBucket(index)
  }

  private makeBucket(index: number): Bucket {
    const bucket: Bucket = {
      index,
      entries: [],
      pending: [],
      probe: undefined,
      noProbeBefore: 0,
      refilledAt: never,
      futileRefills: 0,
      summary: undefined
    }
    this.buckets[index] = bucket
    const at = this.existing.findIndex((other) => other.index > index)
    this.existing.splice(at === -1 ? this.existing.length : at, 0, bucket)
    return bucket
  }

  /** The contact that waited; undefined if it did not. */
  private dropPending(bucket: Bucket, id: NodeId.NodeId): Pending | undefined {
    const at = bucket.pending.findIndex((pending) => pending.contact.id === id)
    return at === -1 ? undefined : bucket.pending.splice(at, 1)[0]
  }

  /** Nothing happens if it has left already. */
  private removeEntry(entry: Entry): void {
    if (this.entriesById.get(entry.id) !== entry) return
    this.entriesById.delete(entry.id)
    const { bucket } = entry
    bucket.summary = undefined
    bucket.entries.splice(bucket.entries.indexOf(entry), 1)
    if (bucket.entries.length === 0) this.occupied.splice(this.occupied.indexOf(bucket), 1)
    this.watcher?.removed(entry.contact, bucket.index)
  }
}

/** It was heard from, perhaps for the first time. */
const heardFrom = (entry: Entry, at: number): void => {
  if (at <= entry.verifiedAt) return
  if (entry.verifiedAt === never) entry.bucket.summary = undefined
  entry.verifiedAt = at
}

const latestFirst = (a: number, b: number): number => b - a

const bySilence = (a: Entry, b: Entry): number => a.verifiedAt - b.verifiedAt

const anyone = (): boolean => true

const verifiedTime = (entry: Entry): number | undefined => entry.verifiedAt === never ? undefined : entry.verifiedAt

const countVerifiedIn = (bucket: Bucket, cutoff: number): number => {
  let count = 0
  for (const entry of bucket.entries) if (entry.verifiedAt > cutoff) count++
  return count
}

const figure = (bucket: Bucket, count: number): number => count * 2 ** Math.min(bucket.index + 1, maxEstimateExponent)

/** Whether two ids differ in bit `index`, counted from the most significant. */
const differ = (a: NodeId.NodeId, b: NodeId.NodeId, index: number): boolean =>
  ((digit(a.charCodeAt(index >> 2)) ^ digit(b.charCodeAt(index >> 2))) >> (3 - (index & 3)) & 1) === 1

const digit = (code: number): number => code < 58 ? code - 48 : code - 87

/** Appends the wanted contacts of one bucket by distance until there are `n`. */
const nearestOf = (
  bucket: Bucket,
  target: NodeId.NodeId,
  prefix: number,
  n: number,
  wanted: (entry: Entry) => boolean,
  found: Array<Contact>
): void => {
  const sorted: Array<Entry> = []
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

// Two of one bucket have the same first bit, so their signs do not matter.
const closer = (a: Entry, b: Entry, target: NodeId.NodeId, prefix: number): boolean =>
  a.prefix === b.prefix
    ? NodeId.compareDistance(target, a.id, b.id) < 0
    : (a.prefix ^ prefix) < (b.prefix ^ prefix)
