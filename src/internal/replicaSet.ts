/**
 * The replicas of one published record: keeps it on the nodes closest to its
 * key for as long as it is wanted. Kademlia makes up for lost replicas when it
 * republishes, every hour (Maymounkov and Mazières, 2002, §2.5); here each
 * replica is asked in between whether it still holds the record.
 *
 * A plain state machine: time comes in as Unix milliseconds, requests come out
 * of {@link ReplicaSet.poll}, and what becomes of them goes back in.
 *
 * One idea is behind all its decisions. A node *stands* when it holds the
 * record as far as we know, or is being asked to. Whoever would be among the
 * closest `wanted` that stand is asked next, be it for the first copy, in the
 * place of a node that failed, or because it joined closer to the key. A
 * replica that failed twice in a row is suspect and no longer stands, which
 * makes room for a replacement; it keeps its own place until the grace is over.
 *
 * A replica fails when it is silent, and when it lost the record: one that
 * takes every copy and keeps none is worth no more than a dead one.
 *
 * A withdrawal is the last version of a record. It goes to every node that may
 * hold an earlier one, those included that were let go, for each would show
 * the record until that expires, and to no other.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import * as NodeId from "../NodeId.ts"
import { RecencyMap } from "./recencyMap.ts"

/**
 * @internal
 */
export interface Options {
  /** Where the record lives. */
  readonly key: NodeId.NodeId
  /** How many replicas are wanted, 8. Twice as many are tracked at most, those that do not stand included. */
  readonly wanted?: number | undefined
  /** Stores and probes in flight, 8. */
  readonly maxInFlight?: number | undefined
}

/**
 * What to do next.
 *
 * `Lookup`: look the key up, and hand the closest nodes to `found`. `Store`:
 * give this contact the record, and report `stored`, `refused`, `superseded` or
 * `failed`. `Probe`: ask this contact for the record, and report `kept`, `lost`,
 * `superseded` or `failed`. `Wait`: for an outcome, at most until the given time.
 *
 * @internal
 */
export type Action =
  | { readonly _tag: "Lookup" }
  | { readonly _tag: "Store"; readonly contact: Contact }
  | { readonly _tag: "Probe"; readonly contact: Contact }
  | { readonly _tag: "Wait"; readonly until: number | undefined }

/**
 * A node that took a copy, of this record or of the one it renews.
 *
 * @internal
 */
export interface Replica {
  readonly contact: Contact
  /** It holds the current record, as far as we know. */
  readonly isConfirmed: boolean
  /** It failed twice in a row, and did not prove better since. */
  readonly isSuspect: boolean
}

const secondMillis = 1000
const minuteMillis = 60 * secondMillis
const hourMillis = 60 * minuteMillis

/** From a confirmation to the first probe; each answer doubles it. */
const firstPauseMillis = 30 * secondMillis
const maxPauseMillis = hourMillis

/** So many failures in a row make a replica suspect. */
const suspectAfter = 2

/** A suspect that fails after this time is given up. */
const graceMillis = 30 * minuteMillis

/** Between lookups for want of nodes, doubled while they do not help. */
const firstLookupPauseMillis = 5 * secondMillis
const maxLookupPauseMillis = 5 * minuteMillis

/** Between lookups when there are enough replicas: other nodes may have come closer. */
const refreshPauseMillis = hourMillis

/** How long a node that does not want the record is left alone. */
const refusalMillis = hourMillis

const maxRefusals = 64

/** Most nodes remembered that may hold a copy and are no replicas any more. */
const maxFormer = 64

interface Candidate {
  readonly contact: Contact
  /** From the key, as hex digits: their order as text is that of the numbers. */
  readonly distance: string
}

interface Request extends Candidate {
  readonly kind: "Store" | "Probe"
  readonly version: number
}

/** `Newer`: a record that supersedes this one, which it cannot take. */
type Copy = "Current" | "Older" | "Newer" | "Lost"

interface Tracked {
  contact: Contact
  readonly distance: string
  /** What it holds as far as we know. */
  copy: Copy
  failures: number
  suspectSince: number | undefined
  pause: number
  /** When it is to be asked again: for the record if it holds it, otherwise to take it. */
  due: number
}

/**
 * The replicas of one record. Poll it until it says `Wait`, and again after
 * every outcome, after `renew`, and at the time it names. Outcomes nobody
 * waits for change nothing.
 *
 * @internal
 */
export class ReplicaSet {
  private readonly key: NodeId.NodeId
  private wanted: number
  private readonly maxInFlight: number
  /** Nearest first. */
  private readonly tracked: Array<Tracked> = []
  /** Not asked since the last lookup, nearest first. */
  private candidates: Array<Candidate> = []
  private readonly inFlight = new Map<NodeId.NodeId, Request>()
  /** Who does not want the record, and until when it is left alone. */
  private readonly refusals = new RecencyMap<NodeId.NodeId, { until: number }>(maxRefusals)
  /** Who may hold a copy without being tracked: let go, or silent when it was given one. */
  private readonly former = new RecencyMap<NodeId.NodeId, { candidate: Candidate }>(maxFormer)
  private isWithdrawn = false
  /** Who is expected to answer to the withdrawal, and has yet to. */
  private readonly awaited = new Set<NodeId.NodeId>()
  /** Counts the records of which each renewed the one before. */
  private version = 0
  private isLookingUp = false
  /** No lookup ended since the set was made or renewed. */
  private isLookupOwed = true
  private lookedUpAt = -Infinity
  /** Lookups in a row that were made for want of nodes, without one of them taking a copy. */
  private futileLookups = 0
  private lastNow = -Infinity
  private setBack = 0

  constructor(options: Options) {
    this.key = options.key
    this.wanted = options.wanted ?? 8
    this.maxInFlight = options.maxInFlight ?? 8
  }

  /** Who holds the current record as far as we know, nearest first. */
  get confirmed(): ReadonlyArray<Contact> {
    return this.tracked.filter(({ copy }) => copy === "Current").map(({ contact }) => contact)
  }

  /** How many hold the current record as far as we know. */
  get confirmedCount(): number {
    let count = 0
    for (const { copy } of this.tracked) if (copy === "Current") count++
    return count
  }

  /** How many replicas are looked after. */
  get size(): number {
    return this.tracked.length
  }

  /** All replicas that are looked after, nearest first. */
  get replicas(): ReadonlyArray<Replica> {
    return this.tracked.map(({ contact, copy, suspectSince }) => ({
      contact,
      isConfirmed: copy === "Current",
      isSuspect: suspectSince !== undefined
    }))
  }

  /**
   * Whether the record is where it should be, or everybody was asked and only
   * a later lookup or attempt can bring another replica.
   */
  settled(now: number): boolean {
    const time = this.steady(now)
    if (this.tracked.filter(isHealthy).length >= this.wanted) return true
    const candidate = this.candidates.at(0)
    if (candidate !== undefined && this.isAmongClosest(candidate)) return false
    return !this.isLookingUp && !this.isLookupOwed &&
      Array.from(this.inFlight.values()).every(({ kind }) => kind === "Probe") &&
      this.tracked.every((replica) => isKeeping(replica) || !this.isAsked(replica) && replica.due > time)
  }

  /** So many replicas are wanted from now on. */
  want(wanted: number): void {
    this.wanted = wanted
  }

  /** A newer record takes the place of the one that was spread so far. */
  renew(now: number): void {
    const time = this.steady(now)
    this.version++
    this.isWithdrawn = false
    this.awaited.clear()
    this.isLookupOwed = true
    for (const replica of this.tracked) {
      if (isKeeping(replica)) replica.copy = "Older"
      replica.due = time
    }
  }

  /**
   * A newer record withdraws all before it: from now on it goes to the replicas
   * and to nobody else. Returns the others that may hold a copy: they were let
   * go, or have not answered whether they took one. They are told once.
   */
  withdraw(now: number): ReadonlyArray<Contact> {
    this.renew(now)
    this.isWithdrawn = true
    this.isLookupOwed = false
    this.candidates = []
    for (const replica of this.tracked) if (replica.suspectSince === undefined) this.awaited.add(replica.contact.id)
    for (const request of Array.from(this.inFlight.values())) {
      if (this.replica(request.contact.id) !== undefined) continue
      this.inFlight.delete(request.contact.id)
      if (request.kind === "Store") this.remember(request)
    }
    return Array.from(this.former, ({ value }) => value.candidate.contact).filter(({ id }) =>
      this.replica(id) === undefined
    )
  }

  /** Whether all replicas that were well have answered to the withdrawal, or failed to. */
  get isTold(): boolean {
    return this.awaited.size === 0
  }

  /** Whether a withdrawal is where it should be; nothing is left to do then. */
  get isDone(): boolean {
    return this.isWithdrawn && this.tracked.every(isKeeping) &&
      Array.from(this.inFlight.values()).every(({ kind }) => kind === "Probe")
  }

  /** Says what to do next. */
  poll(now: number): Action {
    const time = this.steady(now)
    if (this.isWithdrawn) {
      const behind = this.tracked.find((other) => !isKeeping(other) && other.due <= time && !this.isAsked(other))
      return behind === undefined ? { _tag: "Wait", until: this.wakeAt(time) } : this.ask("Store", behind)
    }
    if (this.inFlight.size < this.maxInFlight) {
      const due = this.tracked.filter((replica) => replica.due <= time && !this.isAsked(replica))
      const behind = due.find((replica) => !isKeeping(replica) && replica.suspectSince === undefined)
      if (behind !== undefined) return this.ask("Store", behind)
      const candidate = this.candidates.at(0)
      if (candidate !== undefined && this.isAmongClosest(candidate)) {
        this.candidates.shift()
        return this.ask("Store", candidate)
      }
      const other = due.at(0)
      if (other !== undefined) return this.ask(isKeeping(other) ? "Probe" : "Store", other)
    }
    if (!this.isLookingUp && this.lookupDue() <= time) {
      this.isLookingUp = true
      return { _tag: "Lookup" }
    }
    return { _tag: "Wait", until: this.wakeAt(time) }
  }

  // --- Outcomes --------------------------------------------------------------

  /** The lookup ended with these nodes: the closest that answered, none when the network is gone. */
  found(closest: ReadonlyArray<Contact>, now: number): void {
    const time = this.steady(now)
    if (!this.isLookingUp) return
    this.isLookingUp = false
    this.isLookupOwed = false
    this.lookedUpAt = time
    if (this.isWithdrawn) return
    const untried = new Map<NodeId.NodeId, Candidate>()
    for (const contact of closest) {
      const replica = this.replica(contact.id)
      if (replica !== undefined) {
        replica.contact = contact
        // It answered just now, so it is worth another try.
        if (replica.failures > 0) replica.due = time
      } else if (!this.inFlight.has(contact.id) && (this.refusals.get(contact.id)?.until ?? time) <= time) {
        untried.set(contact.id, { contact, distance: NodeId.distance(this.key, contact.id) })
      }
    }
    this.candidates = Array.from(untried.values()).sort(byDistance).slice(0, 2 * this.wanted)
    this.futileLookups = this.standing().length < this.wanted ? this.futileLookups + 1 : 0
  }

  /** It took the record, or had it already. */
  stored(id: NodeId.NodeId, now: number): void {
    const time = this.steady(now)
    const request = this.end(id, "Store")
    if (request === undefined) return
    const copy = request.version === this.version ? "Current" : "Older"
    if (copy === "Current") this.awaited.delete(id)
    const known = this.replica(id)
    const replica = known ?? this.track(request)
    // Who lost the record takes it again easily. Only a probe shows whether it
    // keeps it this time.
    if (known !== undefined && known.copy !== "Lost") answered(known)
    replica.copy = copy
    schedule(replica, time)
    if (copy === "Older") replica.due = time
    this.letGoOfSurplus()
  }

  /** It answered and did not take the record. `stable`: it is not asked again for an hour. */
  refused(id: NodeId.NodeId, now: number, options: { readonly stable: boolean }): void {
    const time = this.steady(now)
    if (this.end(id, "Store") === undefined) return
    this.awaited.delete(id)
    const replica = this.replica(id)
    if (replica !== undefined) this.letGo(replica)
    if (options.stable) this.leaveAlone(id, time)
  }

  /**
   * It answered that it holds a record that is newer than this one. It holds no
   * copy, and nobody else is sought in its place; a renewal may be newer still.
   */
  superseded(id: NodeId.NodeId, now: number): void {
    const time = this.steady(now)
    const request = this.end(id, "Store") ?? this.end(id, "Probe")
    if (request === undefined) return
    this.awaited.delete(id)
    const known = this.replica(id)
    if (known === undefined && request.kind === "Probe") return
    const replica = known ?? this.track(request)
    if (known !== undefined) answered(known)
    replica.copy = request.version === this.version ? "Newer" : "Older"
    schedule(replica, time)
    if (replica.copy === "Older") replica.due = time
    this.letGoOfSurplus()
  }

  /** It answered the probe with the record. */
  kept(id: NodeId.NodeId, now: number): void {
    const time = this.steady(now)
    const replica = this.end(id, "Probe") === undefined ? undefined : this.replica(id)
    if (replica === undefined) return
    answered(replica)
    if (isKeeping(replica)) schedule(replica, time)
    this.letGoOfSurplus()
  }

  /** It answered the probe without the record. */
  lost(id: NodeId.NodeId, now: number): void {
    const time = this.steady(now)
    const replica = this.end(id, "Probe") === undefined ? undefined : this.replica(id)
    if (replica === undefined) return
    if (isKeeping(replica)) {
      replica.copy = "Lost"
      this.fail(replica, time)
      replica.due = time
    } else {
      // The record asked for may be the one it is only now to be given.
      answered(replica)
    }
  }

  /** It did not answer. */
  failed(id: NodeId.NodeId, now: number): void {
    const time = this.steady(now)
    const request = this.end(id, "Store") ?? this.end(id, "Probe")
    if (request === undefined) return
    this.awaited.delete(id)
    const replica = this.replica(id)
    if (replica !== undefined) this.fail(replica, time)
    // Its answer may be what was lost.
    else if (request.kind === "Store") this.remember(request)
  }

  // --- Requests --------------------------------------------------------------

  private ask(kind: Request["kind"], { contact, distance }: Candidate): Action {
    this.inFlight.set(contact.id, { kind, contact, distance, version: this.version })
    return { _tag: kind, contact }
  }

  private isAsked({ contact }: Candidate): boolean {
    return this.inFlight.has(contact.id)
  }

  private end(id: NodeId.NodeId, kind: Request["kind"]): Request | undefined {
    const request = this.inFlight.get(id)
    if (request?.kind !== kind) return undefined
    this.inFlight.delete(id)
    return request
  }

  // --- Whom to ask -----------------------------------------------------------

  /** Those that hold the record as far as we know, or are being asked to. */
  private standing(): ReadonlyArray<Candidate> {
    const replicas = this.tracked.filter((replica) =>
      replica.suspectSince === undefined && (isKeeping(replica) || this.isAsked(replica))
    )
    const newcomers = Array.from(this.inFlight.values()).filter(({ contact, kind }) =>
      kind === "Store" && this.replica(contact.id) === undefined
    )
    return [...replicas, ...newcomers]
  }

  private isAmongClosest(candidate: Candidate): boolean {
    return this.standing().filter((other) => other.distance < candidate.distance).length < this.wanted
  }

  private lookupDue(): number {
    if (this.isLookupOwed) return this.lookedUpAt + firstLookupPauseMillis
    const isWanting = this.candidates.length === 0 && this.standing().length < this.wanted
    if (!isWanting) return this.lookedUpAt + refreshPauseMillis
    const pause = firstLookupPauseMillis * 2 ** Math.max(this.futileLookups - 1, 0)
    return this.lookedUpAt + Math.min(pause, maxLookupPauseMillis)
  }

  /** Undefined when only an outcome can change anything. */
  private wakeAt(time: number): number | undefined {
    const times = this.isWithdrawn
      ? this.tracked.filter((replica) => !isKeeping(replica)).map(({ due }) => due)
      : [this.lookupDue(), ...this.tracked.map(({ due }) => due)]
    const next = Math.min(...times.filter((due) => due > time))
    return next === Infinity ? undefined : next - this.setBack
  }

  // --- Replicas --------------------------------------------------------------

  private replica(id: NodeId.NodeId): Tracked | undefined {
    return this.tracked.find(({ contact }) => contact.id === id)
  }

  private track({ contact, distance }: Candidate): Tracked {
    const replica: Tracked = {
      contact,
      distance,
      copy: "Current",
      failures: 0,
      suspectSince: undefined,
      pause: firstPauseMillis,
      due: 0
    }
    this.tracked.push(replica)
    this.tracked.sort(byDistance)
    this.futileLookups = 0
    return replica
  }

  private fail(replica: Tracked, time: number): void {
    replica.failures++
    if (replica.failures >= suspectAfter) replica.suspectSince ??= time
    if (replica.suspectSince !== undefined && time >= replica.suspectSince + graceMillis) {
      this.letGo(replica)
      if (replica.copy === "Lost") this.leaveAlone(replica.contact.id, time)
      return
    }
    replica.pause = replica.failures === 1 ? firstPauseMillis : longer(replica.pause)
    schedule(replica, time)
  }

  /** The farthest go first. They are not told: their copy expires. */
  private letGoOfSurplus(): void {
    // Each of them has to hear of a withdrawal.
    if (this.isWithdrawn) return
    const healthy = this.tracked.filter(isHealthy)
    const others = this.tracked.filter((replica) => !isHealthy(replica))
    const room = 2 * this.wanted - Math.min(healthy.length, this.wanted)
    for (const replica of [...healthy.slice(this.wanted), ...others.slice(room)]) this.letGo(replica)
  }

  private letGo(replica: Tracked): void {
    this.tracked.splice(this.tracked.indexOf(replica), 1)
    this.remember(replica)
  }

  /** It may hold a copy, and is not looked after. */
  private remember({ contact, distance }: Candidate): void {
    this.former.use(contact.id, () => ({ candidate: { contact, distance } })).candidate = { contact, distance }
  }

  private leaveAlone(id: NodeId.NodeId, time: number): void {
    this.refusals.use(id, () => ({ until: time })).until = time + refusalMillis
  }

  // --- Time ------------------------------------------------------------------

  /**
   * A clock that is set back must not stall the schedule: time goes on from
   * where it was. One that jumps ahead makes everything due, which the limit
   * of requests in flight spreads out.
   */
  private steady(now: number): number {
    if (now < this.lastNow) this.setBack += this.lastNow - now
    this.lastNow = now
    return now + this.setBack
  }
}

const byDistance = (a: Candidate, b: Candidate): number => a.distance < b.distance ? -1 : 1

/** Whether it holds a record that is as new as this one. */
const isKeeping = ({ copy }: Tracked): boolean => copy === "Current" || copy === "Newer"

const isHealthy = ({ copy, suspectSince }: Tracked): boolean => copy === "Current" && suspectSince === undefined

const longer = (pause: number): number => Math.min(2 * pause, maxPauseMillis)

/** Whatever went wrong before is forgiven, and the pauses grow from where they are. */
const answered = (replica: Tracked): void => {
  replica.failures = 0
  replica.suspectSince = undefined
  replica.pause = longer(replica.pause)
}

/** A suspect is asked once more just when its grace ends. */
const schedule = (replica: Tracked, time: number): void => {
  const graceEnd = replica.suspectSince === undefined ? Infinity : replica.suspectSince + graceMillis
  replica.due = time + replica.pause
  if (time < graceEnd) replica.due = Math.min(replica.due, graceEnd)
}
