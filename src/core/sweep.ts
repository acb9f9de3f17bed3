/**
 * The renewal of many records, in the order of their keys: a sweep over the key
 * space that takes one renewal interval (as *Reprovide Sweep* of IPFS does).
 *
 * - The position of a key decides when in the interval its records are renewed,
 *   so renewals are spread evenly, and those of one region follow one another.
 * - One lookup finds the holders of a region. It serves every record of which
 *   it found the closest nodes for certain, see {@link leastBeyond}.
 * - Requests and signatures are limited to so many per second. What does not fit
 *   waits, and the record whose copies expire first goes first.
 * - A node that is new, or back after it was absent, gets the records that belong
 *   there and were stored without it: as they are, once nothing else is due.
 *
 * The caller carries out what `poll` says and reports the outcome. Times are
 * milliseconds.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import { type HeapItem, IndexedHeap } from "../internal/indexedHeap.ts"
import * as NodeId from "../NodeId.ts"
import { isSurrounded } from "./density.ts"
import { type Held, KnownNodes, lacking } from "./knownNodes.ts"
import { dualWanted } from "./lookup.ts"

/**
 * Datagrams that a lookup is counted as.
 *
 * @internal
 */
export const lookupCost = 24

/** Factor by which a network may be smaller than estimated. */
const slack = 4

/** Maximum number of lookups at a time. */
const maxLookups = 4

/** Maximum number of records that are signed or stored at a time. */
const maxBusy = 512

/**
 * Of these, the records that failed before. A signer that hangs must not keep the
 * records of others waiting.
 */
const maxRetrying = 64

/** Maximum number of records that wait for lookups, in all. */
const maxParked = 1024

/** Maximum number of records that one `poll` looks at. */
const maxMoved = 1024
const maxTried = 64

/** Maximum number of regions whose nodes are remembered, and of the nodes of one, with those that arrived later. */
const maxRegions = 1024
const maxRegionNodes = 64

/** Maximum number of records that are handed to nodes at a time, and of absent nodes that are asked. */
const maxHandoffs = 64
const maxProbes = 64

/** Maximum number of nodes that have arrived and wait for their records. */
const maxArrivals = 1024

const secondMillis = 1000
const minuteMillis = 60 * secondMillis

/** How long the nodes of a region are used, by the interval of the record. */
const minRegionMillis = 10 * minuteMillis
const maxRegionMillis = 60 * minuteMillis
const regionsPerInterval = 16

/** How long they are used at least, even if some do not answer: there is a limit to the lookups. */
const leastRegionMillis = minuteMillis

/**
 * How long nodes that have arrived wait for their records: what ends a partition
 * brings back many, and a record should go to the closest of them.
 */
const gatherMillis = minuteMillis

/** A record goes before new ones once its copies expire within this time. */
const graceMillis = 5 * minuteMillis

/** Pauses after a failure: the first, which doubles, and the longest. */
const firstPauseMillis = 10 * secondMillis
const maxPauseMillis = 10 * minuteMillis

/** Longest pause of the whole sweep after a lookup that found no node: the network is out of reach. */
const maxOutagePauseMillis = minuteMillis

// --- The schedule ----------------------------------------------------------------

/** The first 32 bits of a key, as fractions of the key space. */
const space = 2 ** 32

/**
 * When a record that is renewed now is due again: at the time of its position in
 * the interval, which is half its lifetime. That is at least a quarter and less
 * than three quarters of the lifetime from now; exactly one half once the record
 * is in step.
 *
 * @internal
 */
export const nextDue = (position: number, lifetime: number, now: number): number => {
  const interval = lifetime / 2
  const earliest = now + interval / 2
  const phase = position / space * interval
  return Math.ceil(earliest + ((phase - earliest) % interval + interval) % interval)
}

// --- Regions ---------------------------------------------------------------------

/**
 * The smallest `x ^ delta` of all `x` of 32 bits that are at least `reach`: how
 * close an unknown node can be to a key, if all unknown nodes are at least
 * `reach` away from another key that is `delta` away from it.
 *
 * @internal
 */
export const leastBeyond = (reach: number, delta: number): number => {
  // Above the first bit where the delta can cancel a bit that makes x larger
  // than `reach`, x equals it; below, x equals the delta.
  const bits = ~reach & delta
  const kept = bits === 0 ? -1 : -(2 ** (32 - Math.clz32(bits)))
  return ((reach ^ delta) & kept) >>> 0
}

/** The nodes that a lookup found. */
interface Region {
  readonly target: NodeId.NodeId
  readonly position: number
  readonly nodes: ReadonlyArray<Contact>
  readonly dual: ReadonlyArray<Contact>
  /** First 32 bits of the distance up to which all nodes are known; Infinity if all nodes of the network are. */
  readonly reach: number
  readonly isSurrounded: boolean
  readonly networkSize: number
  readonly at: number
}

/** Whether a lookup found the `wanted` nodes closest to the key of an item. */
const covers = (region: Region, { key, position, wanted }: SweepItem): boolean => {
  if (region.reach === Infinity || region.target === key) return true
  const limit = leastBeyond(region.reach, region.position ^ position)
  let closer = 0
  for (const { id } of region.nodes) if (((NodeId.prefix(id) ^ position) >>> 0) < limit) closer++
  return closer >= wanted
}

// --- Items -----------------------------------------------------------------------

/**
 * A record to renew.
 *
 * @internal
 */
export abstract class SweepItem implements HeapItem, Held {
  readonly key: NodeId.NodeId
  /** The first 32 bits of the key. */
  readonly position: number
  /** Milliseconds from its signature until a record expires. */
  readonly lifetime: number
  /** Number of nodes that should hold a copy. */
  readonly wanted: number
  /** When it is to be renewed, and when its copies expire; while no node has any, when it was added. */
  due = 0
  deadline = 0
  /** Whether no node holds it yet. */
  isNew = true
  /** Failures since the last success. */
  failures = 0
  /** Datagrams that its renewal was counted as. */
  counted = 0
  place = -1
  state: "Idle" | "Waiting" | "Due" | "Parked" | "Busy" = "Idle"

  constructor(options: Pick<SweepItem, "key" | "lifetime" | "wanted">) {
    this.key = options.key
    this.position = NodeId.prefix(options.key)
    this.lifetime = options.lifetime
    this.wanted = options.wanted
  }

  /** The first 32 bits of the ids of the nodes that hold it. */
  abstract readonly holders: ReadonlyArray<number>

  /** Whether the record must be signed before it can be stored. */
  abstract needsSignature(now: number): boolean

  /** Number of nodes that the record is still to be stored at. */
  abstract missing(now: number): number
}

const minuteOf = (time: number): number => Math.floor(time / minuteMillis)

/** Ties within a minute go by key, so that records that were added together are swept as well. */
const isMoreUrgent = (a: SweepItem, b: SweepItem): boolean => {
  const [minute, other] = [minuteOf(a.deadline), minuteOf(b.deadline)]
  return minute < other || minute === other && a.position < b.position
}

/** A rate with a reserve of one second. */
class Allowance {
  readonly perSecond: number
  /** All that was spent. */
  spent = 0
  private left: number
  private at = -Infinity

  constructor(perSecond: number) {
    this.perSecond = perSecond
    this.left = perSecond
  }

  /** Milliseconds until something may be spent; 0 if it may be now. */
  wait(now: number): number {
    if (now > this.at) {
      this.left = Math.min(Math.max(this.perSecond, 1), this.left + (now - this.at) / 1000 * this.perSecond)
      this.at = now
    }
    return this.left >= 1 ? 0 : Math.ceil((1 - this.left) / this.perSecond * 1000)
  }

  spend(count: number): void {
    this.left -= count
    this.spent += count
  }
}

// --- The sweep -------------------------------------------------------------------

/**
 * Where an item belongs.
 *
 * @internal
 */
export interface Placement {
  /** Nearest first. */
  readonly nodes: ReadonlyArray<Contact>
  /** How many of them should hold it. */
  readonly wanted: number
  /** The closest of those that are reachable over both address families, unless they should hold it anyway. All should. */
  readonly dual: ReadonlyArray<Contact>
}

/**
 * What to do next.
 *
 * - `Lookup`: find the nodes close to `target`, then call `found`.
 * - `Renew`: sign the record if it needs that, and store it at `wanted` of the
 *   nodes, nearest first, and at all of `dual`; then call `renewed`, `failed` or
 *   `ended`.
 * - `Withdraw`: sign a withdrawal, and store it where the record is.
 * - `Handoff`: store the record as it is at the nodes, then call `handedOff`, or
 *   `again` if it must be renewed first.
 * - `Probe`: ask the node whether it is back, then call `probed`.
 * - `Wait`: nothing until then, or until the next outcome.
 *
 * @internal
 */
export type Step<T extends SweepItem> =
  | { readonly _tag: "Lookup"; readonly target: NodeId.NodeId }
  | { readonly _tag: "Renew"; readonly item: T } & Placement
  | { readonly _tag: "Withdraw"; readonly item: T }
  | { readonly _tag: "Handoff"; readonly item: T; readonly nodes: ReadonlyArray<Contact> }
  | { readonly _tag: "Probe"; readonly contact: Contact }
  | { readonly _tag: "Wait"; readonly until: number | undefined }

/**
 * What a lookup found: the closest nodes, nearest first.
 *
 * @internal
 */
export interface Found {
  readonly closest: ReadonlyArray<Contact>
  /**
   * Those of the nodes that are reachable over both address families, and the
   * closest others that are. Among them are those closest to any key of the region.
   */
  readonly dual: ReadonlyArray<Contact>
  /** Whether the network may have nodes that are farther away. */
  readonly isFull: boolean
  /** Whether the nodes are closer than chance allows; then `region` are others around them. */
  readonly isSurrounded: boolean
  readonly region: ReadonlyArray<Contact>
  /** Estimated number of nodes in the network; 0 if unknown. */
  readonly networkSize: number
}

/**
 * @internal
 */
export class Sweep<T extends SweepItem> {
  private readonly waiting = new IndexedHeap<T>((a, b) => a.due < b.due)
  /** Records that are due: those that nodes hold, and new ones. */
  private readonly held = new IndexedHeap<T>(isMoreUrgent)
  private readonly fresh = new IndexedHeap<T>(isMoreUrgent)
  /** Records that failed, and were not renewed since. */
  private readonly failing = new Set<T>()
  /** Records to withdraw, and whether the next turn is theirs: they take turns with renewals. */
  private readonly leaving = new IndexedHeap<T>((a, b) => a.due < b.due)
  private leavesNext = false
  private readonly lookups = new Map<NodeId.NodeId, Array<T>>()
  /** By position. */
  private regions: Array<Region> = []
  private readonly known = new KnownNodes()
  private probing = 0
  /** Nodes that are new or back, by id, and when their records are handed to them. */
  private readonly arrivals = new Map<NodeId.NodeId, Contact>()
  private handoffAt = Infinity
  /** The nodes to which records are being handed, and the records that are still to be looked at. */
  private receivers: ReadonlyArray<Contact> = []
  private unseen: Array<T> = []
  /** Records that are being renewed or handed over, and those of them that are handed over. */
  private readonly busy = new Set<T>()
  private readonly handing = new Set<T>()
  /** Records that were busy already when it was decided which nodes are the receivers, so that these may lack them. */
  private overtaken = new Set<T>()
  private readonly datagrams: Allowance
  private readonly signatures: Allowance
  private parked = 0
  private retrying = 0
  /** Bits that two keys share if one lookup probably serves both. */
  private depth = 0
  private outages = 0
  private pausedUntil = -Infinity
  private lastNow = -Infinity
  private setBack = 0

  constructor(options: { readonly datagramsPerSecond: number; readonly signaturesPerSecond: number }) {
    this.datagrams = new Allowance(options.datagramsPerSecond)
    this.signatures = new Allowance(options.signaturesPerSecond)
  }

  /** Number of records that are due and not renewed yet. */
  get dueCount(): number {
    return this.queued + this.parked + this.busy.size - this.handing.size
  }

  /** Number of records, without those that `ended`. */
  get size(): number {
    return this.waiting.size + this.dueCount + this.handing.size
  }

  /** Datagrams that were counted so far. */
  get spent(): number {
    return this.datagrams.spent
  }

  /** Number of records that are not renewed although their copies expire within five minutes, or have expired. */
  lateCount(now: number): number {
    const limit = minuteOf(this.steady(now) + graceMillis)
    const isLate = ({ deadline }: SweepItem) => minuteOf(deadline) <= limit
    const isWaiting = (item: T, state: T["state"]) => item.state === state && !item.isNew && isLate(item)
    let count = this.held.countFirst(isLate)
    for (const parked of this.lookups.values()) for (const item of parked) if (isWaiting(item, "Parked")) count++
    for (const item of this.failing) if (isWaiting(item, "Waiting")) count++
    return count
  }

  /** Whether the last lookup found any node. */
  get isReachable(): boolean {
    return this.outages === 0
  }

  /** Adds a record that no node holds yet, to be stored as soon as possible. */
  add(item: T, now: number): void {
    const time = this.steady(now)
    item.deadline = time
    this.schedule(item, time)
  }

  /** Adds a record that was stored before: when it is due, and when its copies expire. */
  restore(item: T, { deadline, due }: { readonly due: number; readonly deadline: number }, now: number): void {
    this.steady(now)
    item.deadline = deadline + this.setBack
    item.isNew = false
    this.schedule(item, due + this.setBack)
  }

  /** Removes a record. Outcomes that are reported for it later are ignored. */
  remove(item: T): void {
    switch (item.state) {
      case "Waiting":
        this.waiting.remove(item)
        break
      case "Due":
        this.queueOf(item).remove(item)
        break
      case "Parked":
        this.parked--
        break
      case "Busy":
        this.release(item)
    }
    item.state = "Idle"
    this.failing.delete(item)
  }

  /** Returns what to do next. The work of a call is bounded, however many records there are. */
  poll(now: number): Step<T> {
    const time = this.steady(now)
    // The most urgent record is known once all that are due have been compared.
    if (!this.advance(time)) return { _tag: "Wait", until: now }
    if (this.pausedUntil > time) return this.wait(this.pausedUntil)
    const wait = this.datagrams.wait(time)
    const isProbeDue = this.nextProbe <= time
    const hasWork = this.queued + this.leaving.size + this.unseen.length > 0 || isProbeDue || this.handoffAt <= time
    if (hasWork && wait > 0) return this.wait(time + wait)
    const probe = isProbeDue ? this.probe(time) : undefined
    if (probe !== undefined) return probe
    const turn = this.leavesNext ? this.leave(time) : undefined
    if (turn !== undefined) return turn
    for (let tried = 0; tried < maxTried; tried++) {
      const item = this.mostUrgent(time)
      if (item === undefined || this.busy.size >= maxBusy) break
      if (item.failures > 0 && this.retrying >= maxRetrying) {
        this.queueOf(item).remove(item)
        this.schedule(item, time + firstPauseMillis)
        continue
      }
      const served = this.serve(item, time)
      if (served !== undefined) return served
      if (this.parked >= maxParked) break
      const started = this.park(item)
      if (started !== undefined) return started
    }
    const isCut = this.queued > 0 && this.busy.size < maxBusy && this.parked < maxParked
    const leave = this.leave(time)
    if (leave !== undefined) return leave
    if (isCut) return { _tag: "Wait", until: now }
    // The others have no fewer copies than they should.
    const handoff = this.queued === 0 ? this.handOff(time) : undefined
    if (handoff !== undefined) return handoff
    const next = Math.min(
      this.waiting.peek()?.due ?? Infinity,
      this.leaving.peek()?.due ?? Infinity,
      this.nextProbe,
      // While it is held up, the next outcome continues it.
      this.handoffAt > time ? this.handoffAt : Infinity
    )
    return this.wait(next === Infinity ? undefined : next)
  }

  /** Has a record withdrawn, which `remove` removed before, as soon as the budget allows. */
  withdraw(item: T, now: number): void {
    item.failures = 0
    item.due = this.steady(now)
    this.leaving.push(item)
  }

  /** Reports that too few nodes could be told of a withdrawal. It is tried again after a pause that doubles. */
  notWithdrawn(item: T, now: number): void {
    item.due = this.steady(now) + Math.min(firstPauseMillis * 2 ** item.failures++, maxOutagePauseMillis)
    this.leaving.push(item)
  }

  /** Reports the nodes that a lookup found; none if the network is out of reach. */
  found(target: NodeId.NodeId, { closest, dual, isFull, isSurrounded, networkSize, region }: Found, now: number): void {
    const time = this.steady(now)
    for (const item of this.lookups.get(target) ?? []) {
      if (item.state !== "Parked") continue
      this.parked--
      this.queue(item)
    }
    this.lookups.delete(target)
    const farthest = closest.at(-1)
    if (farthest === undefined) {
      this.outages++
      this.pausedUntil = time + Math.min(firstPauseMillis * 2 ** (this.outages - 1), maxOutagePauseMillis)
      return
    }
    this.outages = 0
    const position = NodeId.prefix(target)
    // Few nodes of a large network are what a broken lookup finds, and are right for no other key.
    const isBroken = !isFull && networkSize > slack * closest.length
    const reach = isFull ? (position ^ NodeId.prefix(farthest.id)) >>> 0 : isBroken ? 0 : Infinity
    if (!isBroken) this.depth = reach === Infinity ? 0 : Math.min(Math.clz32(reach) + 1, 32)
    const others = this.regions.filter((other) => time - other.at <= maxRegionMillis && other.target !== target)
    if (others.length >= maxRegions) others.splice(oldestOf(others), 1)
    const found: Region = {
      target,
      position,
      nodes: [...closest, ...region],
      dual,
      reach,
      isSurrounded,
      networkSize,
      at: time
    }
    others.splice(placeOf(others, position), 0, found)
    this.regions = others
    const isExpected = (prefix: number) => (prefix ^ position) >>> 0 < reach
    this.arrive(this.known.found([...closest, ...region, ...dual], isExpected, time), time)
  }

  /**
   * Reports that some of the nodes that were found for an item do not answer: the
   * network has changed, and the next item there has a lookup.
   */
  unanswered(item: T, contacts: ReadonlyArray<Contact>, now: number): void {
    const time = this.steady(now)
    this.known.silent(contacts, time)
    this.regions = this.regions.filter((region) => time - region.at < leastRegionMillis || !covers(region, item))
  }

  /** Reports whether a node is back. */
  probed(contact: Contact, isBack: boolean, now: number): void {
    const time = this.steady(now)
    this.probing--
    if (isBack && this.known.answered(contact, time)) this.arrive([contact], time)
  }

  /** Reports that a record is stored at the nodes that arrived, or those of them that take it. It stays due when it was. */
  handedOff(item: T, now: number): void {
    this.steady(now)
    if (!this.end(item)) return
    this.known.expect(item)
    this.schedule(item, item.due)
    if (this.overtaken.delete(item)) this.unseen.push(item)
  }

  /**
   * Reports that a record is stored. Returns when it is due again, or `until` if
   * that is sooner. `expires` is when its copies do.
   */
  renewed(item: T, options: { readonly expires: number; readonly until?: number | undefined }, now: number): number {
    const time = this.steady(now)
    const due = Math.min(nextDue(item.position, item.lifetime, now), options.until ?? Infinity)
    if (!this.end(item)) return due
    item.failures = 0
    this.failing.delete(item)
    item.isNew = false
    item.deadline = options.expires + this.setBack
    if (item.holders.length > 0) this.known.expect(item)
    // Never at once: a record that has no more time must not keep the sweep busy.
    this.schedule(item, Math.max(due + this.setBack, time + secondMillis))
    if (this.overtaken.delete(item)) this.unseen.push(item)
    return due
  }

  /**
   * Reports that a record could not be signed, or stored at enough nodes. It is
   * tried again after a pause that doubles. `expires` is when its copies do, if
   * there are new ones. Returns when it is tried again.
   */
  failed(item: T, options: { readonly expires?: number | undefined }, now: number): number {
    const time = this.steady(now)
    const longest = Math.min(maxPauseMillis, item.lifetime / 8)
    const pause = Math.min(firstPauseMillis * 2 ** Math.min(item.failures, 16), longest)
    if (!this.end(item)) return now + pause
    item.failures++
    this.failing.add(item)
    if (options.expires !== undefined) {
      item.isNew = false
      item.deadline = options.expires + this.setBack
    }
    this.schedule(item, time + pause)
    return now + pause
  }

  /** Reports that a record is to be tried again at once. */
  again(item: T, now: number): void {
    const time = this.steady(now)
    if (this.end(item)) this.schedule(item, time)
  }

  /** Reports that a record cannot be renewed any more. */
  ended(item: T): void {
    this.end(item)
    this.failing.delete(item)
  }

  /** Where a record belongs, if a lookup has found that lately. */
  placementOf(item: T, now: number): Placement | undefined {
    return this.placement(item, this.steady(now))
  }

  /** When a record is due by the clock of the caller. */
  dueOf(item: T): number {
    return item.due - this.setBack
  }

  /** Counts datagrams: of the renewal or withdrawal of an item, instead of what it was counted as, or others. */
  sent(count: number, item?: T): void {
    this.datagrams.spend(count - (item?.counted ?? 0))
  }

  // --- Steps -----------------------------------------------------------------------

  /** Moves records that are due to the urgent ones. Returns false if there are more. */
  private advance(time: number): boolean {
    for (let moved = 0;; moved++) {
      const item = this.waiting.peek()
      if (item === undefined || item.due > time) return true
      if (moved === maxMoved) return false
      this.waiting.remove(item)
      this.queue(item)
    }
  }

  private get queued(): number {
    return this.held.size + this.fresh.size
  }

  private queueOf({ isNew }: T): IndexedHeap<T> {
    return isNew ? this.fresh : this.held
  }

  private queue(item: T): void {
    item.state = "Due"
    this.queueOf(item).push(item)
  }

  /** The record that expires first, if that is soon; else the one that has waited longest to be stored at all. */
  private mostUrgent(time: number): T | undefined {
    const held = this.held.peek()
    return held !== undefined && held.deadline <= time + graceMillis ? held : this.fresh.peek() ?? held
  }

  /** The renewal of an item in a known region; a wait if a signature is not allowed yet. */
  private serve(item: T, time: number): Step<T> | undefined {
    const place = this.placement(item, time)
    if (place === undefined) return undefined
    const wait = item.needsSignature(time - this.setBack) ? this.sign(time) : undefined
    if (wait !== undefined) return wait
    this.queueOf(item).remove(item)
    item.state = "Busy"
    this.busy.add(item)
    if (item.failures > 0) this.retrying++
    this.leavesNext = true
    item.counted = item.missing(time - this.setBack)
    this.datagrams.spend(item.counted)
    return { _tag: "Renew", item, ...place }
  }

  /** The withdrawal whose turn it is; a wait if a signature is not allowed yet. */
  private leave(time: number): Step<T> | undefined {
    const item = this.leaving.peek()
    if (item === undefined || item.due > time) return undefined
    const wait = this.sign(time)
    if (wait !== undefined) return wait
    this.leaving.remove(item)
    this.leavesNext = false
    item.counted = item.wanted
    this.datagrams.spend(item.counted)
    return { _tag: "Withdraw", item }
  }

  /** When an absent node is to be asked whether it is back. */
  private get nextProbe(): number {
    return this.probing < maxProbes ? this.known.nextProbe ?? Infinity : Infinity
  }

  private probe(time: number): Step<T> | undefined {
    const contact = this.known.probe(time)
    if (contact === undefined) return undefined
    this.probing++
    this.datagrams.spend(1)
    return { _tag: "Probe", contact }
  }

  /** The next record that nodes lack that have arrived. */
  private handOff(time: number): Step<T> | undefined {
    if (this.unseen.length === 0) {
      if (time < this.handoffAt) return undefined
      this.receivers = Array.from(this.arrivals.values())
      this.arrivals.clear()
      this.handoffAt = Infinity
      // What is due is stored at them when it is renewed.
      this.unseen = this.waiting.toArray()
      this.overtaken = new Set(this.busy)
    }
    if (this.handing.size >= maxHandoffs) return undefined
    for (let seen = 0; seen < maxMoved; seen++) {
      const item = this.unseen.pop()
      if (item === undefined) return undefined
      // What failed has no good copy, and is tried again soon.
      if (item.state !== "Waiting" || item.failures > 0 || item.holders.length === 0 || item.deadline <= time) continue
      const nodes = lacking(item, this.receivers)
      if (nodes.length === 0) continue
      this.waiting.remove(item)
      this.handing.add(item)
      item.state = "Busy"
      this.busy.add(item)
      item.counted = nodes.length
      this.datagrams.spend(item.counted)
      return { _tag: "Handoff", item, nodes }
    }
    return { _tag: "Wait", until: time - this.setBack }
  }

  /** Has nodes that are new or back counted among those of their regions, and records handed to them. */
  private arrive(contacts: ReadonlyArray<Contact>, time: number): void {
    for (const contact of contacts) {
      if (this.arrivals.size < maxArrivals) this.arrivals.set(contact.id, contact)
    }
    if (contacts.length === 0) return
    this.handoffAt = Math.min(this.handoffAt, time + gatherMillis)
    this.regions = this.regions.map((region) => {
      const nodes = contacts.filter(({ id }) =>
        (NodeId.prefix(id) ^ region.position) >>> 0 < region.reach && !region.nodes.some((node) => node.id === id)
      )
      return nodes.length === 0 ? region : { ...region, nodes: [...region.nodes, ...nodes].slice(0, maxRegionNodes) }
    })
  }

  /** Counts a signature; a wait if it is not allowed yet. */
  private sign(time: number): Step<T> | undefined {
    const wait = this.signatures.wait(time)
    if (wait > 0) return this.wait(time + wait)
    this.signatures.spend(1)
    return undefined
  }

  /** Where an item belongs; undefined if a lookup must find it. */
  private placement(item: T, time: number): Placement | undefined {
    const lasts = Math.min(Math.max(item.lifetime / 2 / regionsPerInterval, minRegionMillis), maxRegionMillis)
    const at = placeOf(this.regions, item.position)
    for (let i = Math.max(at - 2, 0); i < Math.min(at + 2, this.regions.length); i++) {
      const region = this.regions[i]
      if (time - region.at > lasts || !covers(region, item)) continue
      const nodes = nearestTo(item.key, region.nodes)
      const isOwn = region.target === item.key
      if (isOwn) return withDual(item.key, nodes, region.isSurrounded ? nodes.length : item.wanted, region.dual)
      // The lookup of its own judges whether it really is surrounded.
      if (isSurrounded(item.key, nodes.map(({ id }) => id), region.networkSize)) continue
      return withDual(item.key, nodes, item.wanted, region.dual)
    }
    return undefined
  }

  /** Lets an item wait for a lookup, and starts one unless another probably serves it, or there are enough. */
  private park(item: T): Step<T> | undefined {
    let chosen: Array<T> | undefined
    for (const [target, parked] of this.lookups) {
      const isShared = NodeId.commonPrefixLength(target, item.key) >= this.depth
      if (isShared || this.lookups.size >= maxLookups) chosen = parked
      if (isShared) break
    }
    this.queueOf(item).remove(item)
    item.state = "Parked"
    this.parked++
    if (chosen !== undefined) {
      chosen.push(item)
      return undefined
    }
    this.lookups.set(item.key, [item])
    this.datagrams.spend(lookupCost)
    return { _tag: "Lookup", target: item.key }
  }

  private wait(time: number | undefined): Step<T> {
    return { _tag: "Wait", until: time === undefined ? undefined : time - this.setBack }
  }

  private schedule(item: T, due: number): void {
    item.due = due
    item.state = "Waiting"
    this.waiting.push(item)
  }

  private end(item: T): boolean {
    if (item.state !== "Busy") return false
    item.state = "Idle"
    this.release(item)
    return true
  }

  private release(item: T): void {
    this.busy.delete(item)
    this.handing.delete(item)
    if (item.failures > 0) this.retrying--
  }

  /** Converts a clock reading to time that never goes back, so that a clock that is set back does not stall the sweep. */
  private steady(now: number): number {
    if (now < this.lastNow) this.setBack += this.lastNow - now
    this.lastNow = now
    return now + this.setBack
  }
}

const nearestTo = (key: NodeId.NodeId, nodes: ReadonlyArray<Contact>): ReadonlyArray<Contact> =>
  nodes.toSorted((a, b) => NodeId.compareDistance(key, a.id, b.id))

/** The placement at `wanted` of the nodes, nearest first, and at the dual ones that are closest to the key. */
const withDual = (
  key: NodeId.NodeId,
  nodes: ReadonlyArray<Contact>,
  wanted: number,
  known: ReadonlyArray<Contact>
): Placement => {
  if (known.length === 0) return { nodes, wanted, dual: [] }
  const first = new Set(nodes.slice(0, wanted).map(({ id }) => id))
  const dual = nearestTo(key, known).slice(0, dualWanted).filter(({ id }) => !first.has(id))
  const others = new Set(dual.map(({ id }) => id))
  return { nodes: nodes.filter(({ id }) => !others.has(id)), wanted, dual }
}

const oldestOf = (regions: ReadonlyArray<Region>): number =>
  regions.reduce((oldest, { at }, i) => at < regions[oldest].at ? i : oldest, 0)

/** The index of the first region at or after a position. */
const placeOf = (regions: ReadonlyArray<Region>, position: number): number => {
  let [low, high] = [0, regions.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if (regions[middle].position < position) low = middle + 1
    else high = middle
  }
  return low
}
