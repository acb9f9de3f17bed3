/**
 * What the routing table needs to stay useful: pings of contacts that wait for a
 * place, of unverified and of silent ones, and lookups in buckets with few fresh
 * contacts. Nothing is sent here: the caller makes the checks and reports their
 * outcomes. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import * as NodeId from "../NodeId.ts"
import { type Buckets, freshIn, never, type Summary, type TableBucket, type TableEntry } from "./buckets.ts"

/**
 * @internal
 */
export interface Limits {
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
export interface Periods {
  readonly fresh: number
  readonly stale: number
  readonly quiet: number
}

/**
 * @internal
 */
export interface Work {
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
export const heartbeatLimits: Limits = { pendingProbes: 5, spareFull: true, staleProbes: 10, refills: 2 }

const minuteMillis = 60_000

const pendingLifetimeMillis = 120 * minuteMillis

/** Pauses between refills of one bucket, by the number of futile ones in a row. */
const refillPauses = [minuteMillis / 2, 2 * minuteMillis, 10 * minuteMillis, 15 * minuteMillis]

/** Pause of a bucket that a lookup covered completely (Maymounkov and Mazières, 2002, §2.3): newcomers make themselves known. */
const coveredPauseMillis = 60 * minuteMillis

/** Time between probes of one silent contact. */
const quietPauseMillis = 5 * minuteMillis

/** Fresh contacts to keep in a full bucket above k/2, below which it is refilled. */
const spareFresh = 2

/**
 * @internal
 */
export class TableMaintenance {
  /** Called when work may be due earlier than `dueAt` said. */
  hurry: () => void = ignore
  private readonly buckets: Buckets
  private readonly k: number
  /** Verified entries that left a request unanswered. Those heard from since leave when they are next looked at. */
  private readonly doubted = new Set<TableEntry>()
  private maintainedAt = never

  /** `k` contacts fill a bucket. */
  constructor(buckets: Buckets, k: number) {
    this.buckets = buckets
    this.k = k
  }

  /**
   * Returns the work that is due, within `limits`. A bucket that is returned for
   * a refill is not returned again until its pause ends. The deepest buckets take
   * precedence.
   */
  work(now: number, freshCutoff: number, staleCutoff: number, limits: Limits): Work {
    if (now < this.maintainedAt) this.buckets.setBack(now)
    this.maintainedAt = now
    const pendingToProbe: Array<Contact> = []
    const staleToProbe: Array<Contact> = []
    const due: Array<TableBucket> = []
    for (const bucket of this.buckets.existing) {
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
    for (const bucket of this.buckets.occupied) {
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
   * A time before which `work` and `quiet` return nothing more, unless
   * `hurry` is called. To hear from contacts can only delay it.
   */
  dueAt(now: number, limits: Limits, { fresh, quiet, stale }: Periods): number {
    let due = Infinity
    for (const bucket of this.buckets.existing) {
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

  /** Records that a verified contact left a request unanswered. It is probed soon. */
  unanswered(entry: TableEntry, now: number): void {
    entry.doubtedAt = now
    this.doubted.add(entry)
    this.hurry()
  }

  /** Records that an entry was removed from the table. */
  removed(entry: TableEntry): void {
    this.doubted.delete(entry)
    this.hurry()
  }

  /** Whether a contact left a request unanswered and has not been heard from since. */
  isDoubted(id: NodeId.NodeId): boolean {
    const entry = this.buckets.entry(id)
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

  /** Records a refill; `improved` if the bucket has more contacts, pending ones included, than before. */
  recordRefill(index: number, improved: boolean): void {
    const bucket = this.buckets.at(index)
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
    const places = closest.map(({ id }) => NodeId.bucketIndex(this.buckets.self, id))
    // By distance from a target in bucket i, bucket i is followed by the deeper
    // buckets and then by the shallower ones.
    const shallowest = isAll ? -1 : Math.min(...places)
    const whole = this.buckets.occupied.filter((bucket) =>
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

const refillPause = ({ futileRefills, isCovered }: TableBucket): number =>
  isCovered ? coveredPauseMillis : refillPauses[futileRefills]

const ignore = (): void => {}
