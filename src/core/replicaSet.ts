/**
 * The replicas of one published record, kept on the nodes closest to its key
 * until it is withdrawn. Kademlia replaces lost replicas only when it
 * republishes, every hour (Maymounkov and Mazières, 2002, §2.5). Here each
 * replica is probed in between.
 *
 * It is a synchronous state machine. Time is a parameter in Unix milliseconds,
 * {@link ReplicaSet.poll} returns the next request, and the caller reports
 * outcomes.
 *
 * All decisions follow from one notion. A node is *standing* when it holds the
 * record as far as we know, or when a store to it is in flight. The next store
 * goes to a node that would be among the closest `wanted` standing ones. This
 * covers the first copies, the replacement of failed replicas, and nodes that
 * joined closer to the key. A replica that failed twice in a row is suspect and
 * stops standing, which makes room for a replacement; it is dropped only if it
 * still fails after a grace period.
 *
 * Nodes of one address family do not reach those of the other one. So the record is
 * also kept on the closest *dual* nodes, those reachable over both, if there are
 * any. A dual node is stored at if it would be among the closest standing ones of
 * these as well.
 *
 * A replica fails when it is silent and when it has lost the record: one that
 * accepts every copy and keeps none is as useless as a dead one.
 *
 * A withdrawal is the last version of a record. It goes to every node that may
 * hold an earlier version, dropped replicas included, because each would return
 * the record until it expires. It goes to no other node.
 *
 * @since 0.1.0
 */
import type { Contact } from "../Contact.ts"
import { RecencyMap } from "../internal/recencyMap.ts"
import * as NodeId from "../NodeId.ts"

/**
 * @internal
 */
export interface Options {
  /** The key of the record. */
  readonly key: NodeId.NodeId
  /**
   * Number of replicas to keep. Default 8. At most twice as many are tracked,
   * suspect ones included, besides dual ones.
   */
  readonly wanted?: number | undefined
  /** Number of replicas to keep on dual nodes, whether or not they are among the others. Default 3. */
  readonly wantedDual?: number | undefined
  /** Most stores and probes in flight. Default 8. */
  readonly maxInFlight?: number | undefined
}

/**
 * What to do next.
 *
 * - `Lookup`: look up the key and pass the closest nodes to `found`. Those of `known`
 *   hold the record and answered lately.
 * - `Store`: send this contact the record and report `stored`, `refused`,
 *   `superseded` or `failed`.
 * - `Probe`: ask this contact for the record and report `kept`, `lost`,
 *   `superseded` or `failed`.
 * - `Wait`: wait for an outcome, at most until the given time.
 *
 * @internal
 */
export type Action =
  | { readonly _tag: "Lookup"; readonly known: ReadonlyArray<Contact> }
  | { readonly _tag: "Store"; readonly contact: Contact }
  | { readonly _tag: "Probe"; readonly contact: Contact }
  | { readonly _tag: "Wait"; readonly until: number | undefined }

/**
 * A node that accepted a copy of a record or of an earlier version.
 *
 * @category models
 * @since 0.1.0
 */
export interface Replica {
  readonly contact: Contact
  /** Whether it holds the current record, as far as we know. */
  readonly isConfirmed: boolean
  /** Whether it failed twice in a row and has not answered since. */
  readonly isSuspect: boolean
}

const secondMillis = 1000
const minuteMillis = 60 * secondMillis
const hourMillis = 60 * minuteMillis

/**
 * Pause between a confirmation and the first probe, which finds the nodes that keep
 * no copy, and the factor by which each further confirmation lengthens it.
 */
const firstPauseMillis = 30 * secondMillis
const pauseFactor = 4
const maxPauseMillis = hourMillis

/** Consecutive failures that make a replica suspect. */
const suspectAfter = 2

/** A suspect replica that fails after this time is dropped. */
const graceMillis = 30 * minuteMillis

/** Pause between lookups while there are too few replicas, four times as long after each futile one. */
const firstLookupPauseMillis = 5 * secondMillis
const lookupPauseFactor = 4
const maxLookupPauseMillis = 5 * minuteMillis

/** Pause between lookups while there are enough replicas: nodes may have joined closer to the key. */
const refreshPauseMillis = hourMillis

/** Time without stores to a node that refused the record. */
const refusalMillis = hourMillis

const maxRefusals = 64

/** Most nodes remembered that may hold a copy but are no longer tracked. */
const maxFormer = 64

interface Candidate {
  readonly contact: Contact
  /** Distance from the key as hex digits, which sort as text like the numbers. */
  readonly distance: string
  readonly isDual: boolean
  /** Whether it was among the closest nodes of all, and not only of dual ones. */
  readonly isNear: boolean
}

/**
 * What a lookup found besides the closest nodes.
 *
 * @internal
 */
export interface FoundDual {
  /** The closest dual nodes. */
  readonly dual: ReadonlyArray<Contact>
  /** Whether a node is dual, as it last said. */
  readonly isDual: (id: NodeId.NodeId) => boolean
}

const noDual: FoundDual = { dual: [], isDual: () => false }

interface Request extends Candidate {
  readonly kind: "Store" | "Probe"
  readonly version: number
}

/** What a replica holds. `Newer`: a record that supersedes this one, which it therefore refuses. */
type Copy = "Current" | "Older" | "Newer" | "Lost"

interface Tracked extends Candidate {
  contact: Contact
  isDual: boolean
  isNear: boolean
  copy: Copy
  failures: number
  suspectSince: number | undefined
  pause: number
  /** When the next request is due: a probe if it holds the record, otherwise a store. */
  due: number
}

/**
 * The replicas of one record. Poll it until it returns `Wait`. Poll it again
 * after every outcome, after `renew`, and at the time that `Wait` names.
 * Outcomes without a request in flight are ignored.
 *
 * @internal
 */
export class ReplicaSet {
  private readonly key: NodeId.NodeId
  private wanted: number
  private readonly wantedDual: number
  private readonly maxInFlight: number
  /** Nearest first. */
  private readonly tracked: Array<Tracked> = []
  /** Nodes of the last lookup, and contacts offered since, that were not sent the record yet; nearest first. */
  private candidates: Array<Candidate> = []
  private readonly inFlight = new Map<NodeId.NodeId, Request>()
  /** Nodes that refused the record, and until when no store is sent to them. */
  private readonly refusals = new RecencyMap<NodeId.NodeId, number>(maxRefusals)
  /** Nodes stored at since the last lookup or renewal: those that took no copy are not tried again until the next. */
  private readonly tried = new Set<NodeId.NodeId>()
  /** Nodes that may hold a copy without being tracked: they were dropped, or did not answer a store. */
  private readonly former = new RecencyMap<NodeId.NodeId, Contact>(maxFormer)
  private isWithdrawn = false
  /** Replicas whose outcome of the withdrawal is pending. */
  private readonly awaited = new Set<NodeId.NodeId>()
  /** Number of renewals. */
  private version = 0
  private isLookingUp = false
  /** Whether no lookup has ended since the set was created, or since a renewal that needs one. */
  private isLookupOwed = true
  /** Whether the lookup in flight began before the network was reached again. */
  private isLookupOutdated = false
  private lookedUpAt = -Infinity
  /** Consecutive lookups for lack of nodes since a node last accepted a copy. */
  private futileLookups = 0
  private lastNow = -Infinity
  /** Total milliseconds by which the clock was set back. */
  private setBack = 0

  constructor(options: Options) {
    this.key = options.key
    this.wanted = options.wanted ?? 8
    this.wantedDual = options.wantedDual ?? 3
    this.maxInFlight = options.maxInFlight ?? 8
  }

  /** The nodes that hold the current record as far as we know, nearest first. */
  get confirmed(): ReadonlyArray<Contact> {
    return this.tracked.filter(({ copy }) => copy === "Current").map(({ contact }) => contact)
  }

  /** Number of nodes that hold the current record as far as we know. */
  get confirmedCount(): number {
    let count = 0
    for (const { copy } of this.tracked) if (copy === "Current") count++
    return count
  }

  /** Number of tracked replicas. */
  get size(): number {
    return this.tracked.length
  }

  /** Whether the last request to a replica failed. */
  hasFailed(id: NodeId.NodeId): boolean {
    return (this.replica(id)?.failures ?? 0) > 0
  }

  /** The tracked replicas, nearest first. */
  get replicas(): ReadonlyArray<Replica> {
    return this.tracked.map(({ contact, copy, suspectSince }) => ({
      contact,
      isConfirmed: copy === "Current",
      isSuspect: suspectSince !== undefined
    }))
  }

  /**
   * Whether there are enough replicas, or all candidates were tried and only a
   * later lookup or retry can add another replica.
   */
  settled(now: number): boolean {
    const time = this.steady(now)
    const next = this.nextCandidate()
    const isEnough = this.tracked.filter((replica) => replica.isNear && isHealthy(replica)).length >= this.wanted
    if (isEnough && next?.isDual !== true) return true
    if (next !== undefined) return false
    return !this.isLookingUp && !this.isLookupOwed &&
      Array.from(this.inFlight.values()).every(({ kind }) => kind === "Probe") &&
      this.tracked.every((replica) => isKeeping(replica) || !this.isAsked(replica) && replica.due > time)
  }

  /** Changes the number of replicas to keep. */
  want(wanted: number): void {
    this.wanted = wanted
  }

  /**
   * Replaces the record by a newer one, which goes to all replicas. Those of `known`,
   * contacts of the caller close to the key, that would take the place of a replica
   * are stored at as well: a record that is renewed every few minutes costs no
   * lookup each time. Without `known`, the key is looked up.
   */
  renew(now: number, known?: ReadonlyArray<Contact>): void {
    const time = this.steady(now)
    this.version++
    this.isWithdrawn = false
    this.awaited.clear()
    this.tried.clear()
    if (known === undefined) this.isLookupOwed = true
    else this.addCandidates(known, [], time, noDual.isDual)
    for (const replica of this.tracked) {
      if (isKeeping(replica)) replica.copy = "Older"
      replica.due = time
    }
  }

  /**
   * Offers contacts of the caller, which are stored at as far as they would be among
   * the closest and were not tried before. In a small network no lookup finds more
   * nodes than these.
   */
  offer(closest: ReadonlyArray<Contact>, now: number, { dual, isDual }: FoundDual = noDual): void {
    const time = this.steady(now)
    if (this.isWithdrawn) return
    for (const replica of this.tracked) replica.isDual = isDual(replica.contact.id)
    this.candidates = this.candidates.map((candidate) => ({ ...candidate, isDual: isDual(candidate.contact.id) }))
    this.addCandidates(closest, dual, time, isDual)
  }

  /**
   * Reports that the network is reached again after it was lost: others may be
   * the closest nodes now, and the copies of those that we knew may be gone. The
   * key is looked up and every replica asked at once.
   */
  reconnected(now: number): void {
    const time = this.steady(now)
    this.isLookupOwed = true
    this.isLookupOutdated = this.isLookingUp
    this.lookedUpAt = -Infinity
    this.futileLookups = 0
    for (const replica of this.tracked) {
      replica.due = time
      replica.pause = firstPauseMillis
    }
  }

  /**
   * Replaces the record by its withdrawal, which goes to the tracked replicas and
   * to no new nodes. Returns the other nodes that may hold a copy: they were
   * dropped, or did not answer a store. The caller sends them the withdrawal once.
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
      if (request.kind === "Store") this.rememberFormer(request)
    }
    return Array.from(this.former, ({ value }) => value).filter(({ id }) => this.replica(id) === undefined)
  }

  /** Whether the outcome of the withdrawal is known at every replica that was healthy before it. */
  get isWithdrawalAttempted(): boolean {
    return this.awaited.size === 0
  }

  /** Whether all tracked replicas hold the withdrawal, so that nothing is left to do. */
  get isDone(): boolean {
    return this.isWithdrawn && this.tracked.every(isKeeping) &&
      Array.from(this.inFlight.values()).every(({ kind }) => kind === "Probe")
  }

  /** Returns what to do next. */
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
      const next = this.nextCandidate()
      if (next !== undefined) {
        this.candidates.splice(this.candidates.indexOf(next), 1)
        return this.ask("Store", next)
      }
      const other = due.at(0)
      if (other !== undefined) return this.ask(isKeeping(other) ? "Probe" : "Store", other)
    }
    if (!this.isLookingUp && this.lookupDue() <= time) {
      this.isLookingUp = true
      return { _tag: "Lookup", known: this.isLookupOwed ? [] : this.heard() }
    }
    return { _tag: "Wait", until: this.wakeAt(time) }
  }

  // --- Outcomes --------------------------------------------------------------

  /** Reports the closest nodes that answered the lookup; none if the network is unreachable. */
  found(closest: ReadonlyArray<Contact>, now: number, { dual, isDual }: FoundDual = noDual): void {
    const time = this.steady(now)
    if (!this.isLookingUp) return
    this.isLookingUp = false
    this.isLookupOwed = this.isLookupOutdated
    this.isLookupOutdated = false
    this.lookedUpAt = time
    this.tried.clear()
    if (this.isWithdrawn) return
    for (const replica of this.tracked) replica.isDual = isDual(replica.contact.id)
    const untried = new Map<NodeId.NodeId, Candidate>()
    const near = new Set(closest.map(({ id }) => id))
    for (const contact of [...closest, ...dual.filter(({ id }) => !near.has(id))]) {
      const replica = this.replica(contact.id)
      const isNear = near.has(contact.id)
      if (replica !== undefined) {
        replica.contact = contact
        replica.isNear = isNear
        // It answered the lookup just now, so it is worth another try.
        if (replica.failures > 0) replica.due = time
      } else if (!this.inFlight.has(contact.id) && (this.refusals.get(contact.id) ?? time) <= time) {
        const distance = NodeId.distance(this.key, contact.id)
        untried.set(contact.id, { contact, distance, isDual: isDual(contact.id), isNear })
      }
    }
    this.candidates = Array.from(untried.values()).sort(byDistance).filter(({ isNear }, i) =>
      i < 2 * this.wanted || !isNear
    )
    this.futileLookups = this.lacksStanding ? this.futileLookups + 1 : 0
  }

  /** Reports that a node accepted the record or already had it. */
  stored(id: NodeId.NodeId, now: number): void {
    const time = this.steady(now)
    const request = this.end(id, "Store")
    if (request === undefined) return
    const copy = request.version === this.version ? "Current" : "Older"
    if (copy === "Current") this.awaited.delete(id)
    const known = this.replica(id)
    const replica = known ?? this.track(request)
    // A replica that lost the record will accept it again. Only a probe shows
    // whether it keeps it this time.
    if (known !== undefined && known.copy !== "Lost") answered(known)
    replica.copy = copy
    schedule(replica, time)
    if (copy === "Older") replica.due = time
    this.dropSurplus()
  }

  /** Reports that a node refused the record. `stable`: no store is sent to it for an hour. */
  refused(id: NodeId.NodeId, now: number, options: { readonly stable: boolean }): void {
    const time = this.steady(now)
    if (this.end(id, "Store") === undefined) return
    this.awaited.delete(id)
    const replica = this.replica(id)
    if (replica !== undefined) this.drop(replica)
    if (options.stable) this.recordRefusal(id, time)
  }

  /**
   * Reports that a node holds a newer record than this one. It counts as no
   * confirmed copy but keeps its place, since a renewal may be newer still.
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
    this.dropSurplus()
  }

  /** Reports that a replica answered the probe with the record. */
  kept(id: NodeId.NodeId, now: number): void {
    const time = this.steady(now)
    const replica = this.end(id, "Probe") === undefined ? undefined : this.replica(id)
    if (replica === undefined) return
    answered(replica)
    if (isKeeping(replica)) schedule(replica, time)
    this.dropSurplus()
  }

  /** Reports that a replica answered the probe without the record. */
  lost(id: NodeId.NodeId, now: number): void {
    const time = this.steady(now)
    const replica = this.end(id, "Probe") === undefined ? undefined : this.replica(id)
    if (replica === undefined) return
    if (isKeeping(replica)) {
      replica.copy = "Lost"
      this.fail(replica, time)
      replica.due = time
    } else {
      // The probe may have asked for a version that this replica is yet to receive.
      answered(replica)
    }
  }

  /** Reports that a node did not answer. */
  failed(id: NodeId.NodeId, now: number): void {
    const time = this.steady(now)
    const request = this.end(id, "Store") ?? this.end(id, "Probe")
    if (request === undefined) return
    this.awaited.delete(id)
    const replica = this.replica(id)
    if (replica !== undefined) this.fail(replica, time)
    // It may have accepted the record and only the response was lost.
    else if (request.kind === "Store") this.rememberFormer(request)
  }

  // --- Requests --------------------------------------------------------------

  private ask(kind: Request["kind"], { contact, distance, isDual, isNear }: Candidate): Action {
    if (kind === "Store") this.tried.add(contact.id)
    this.inFlight.set(contact.id, { kind, contact, distance, isDual, isNear, version: this.version })
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

  // --- Selection -------------------------------------------------------------

  /** The nodes that hold the record as far as we know, or to which a store is in flight. */
  private standing(): ReadonlyArray<Candidate> {
    const replicas = this.tracked.filter((replica) =>
      replica.suspectSince === undefined && (isKeeping(replica) || this.isAsked(replica))
    )
    const newcomers = Array.from(this.inFlight.values()).filter(({ contact, kind }) =>
      kind === "Store" && this.replica(contact.id) === undefined
    )
    return [...replicas, ...newcomers]
  }

  /** The replicas that answered the last request, nearest first. */
  private heard(): ReadonlyArray<Contact> {
    return this.tracked.filter((replica) => isHealthy(replica) && replica.failures === 0).map(({ contact }) => contact)
  }

  /** Whether it has too few replicas, and the lookup named no other node to store at. */
  get lacksNodes(): boolean {
    return !this.isWithdrawn && !this.isLookupOwed && this.candidates.length === 0 && this.lacksStanding
  }

  /** Whether fewer dual nodes stand than are wanted, as far as it knows. */
  get lacksDual(): boolean {
    return !this.isWithdrawn && !this.isLookupOwed &&
      this.standing().filter(({ isDual }) => isDual).length < this.wantedDual
  }

  /** Whether fewer nodes stand near the key than are wanted. */
  private get lacksStanding(): boolean {
    return this.standing().filter(({ isNear }) => isNear).length < this.wanted
  }

  /** The closest candidate to store at now. */
  private nextCandidate(): Candidate | undefined {
    const [first] = this.candidates
    // If the first is too far, only dual ones can be close enough.
    return first !== undefined && this.isAmongClosest(first)
      ? first
      : this.candidates.find((candidate) => candidate.isDual && this.isAmongClosest(candidate))
  }

  private addCandidates(
    closest: ReadonlyArray<Contact>,
    dual: ReadonlyArray<Contact>,
    time: number,
    isDual: FoundDual["isDual"]
  ): void {
    const near = new Set(closest.map(({ id }) => id))
    for (const contact of [...closest, ...dual.filter(({ id }) => !near.has(id))]) {
      const { id } = contact
      if (this.replica(id) !== undefined || this.tried.has(id)) continue
      const isWanted = isDual(id)
      // One that was dropped for closer ones may be wanted for being dual.
      if (!isWanted && this.former.get(id) !== undefined) continue
      if ((this.refusals.get(id) ?? time) > time || this.candidates.some((other) => other.contact.id === id)) continue
      const distance = NodeId.distance(this.key, id)
      const candidate = { contact, distance, isDual: isWanted, isNear: near.has(id) }
      if (this.isAmongClosest(candidate)) this.candidates.push(candidate)
    }
    this.candidates.sort(byDistance)
  }

  private isAmongClosest({ distance, isDual }: Candidate): boolean {
    const closer = this.standing().filter((other) => other.distance < distance)
    return closer.length < this.wanted || isDual && closer.filter((other) => other.isDual).length < this.wantedDual
  }

  private lookupDue(): number {
    if (this.isLookupOwed) return this.lookedUpAt + firstLookupPauseMillis
    if (!this.lacksNodes) return this.lookedUpAt + refreshPauseMillis
    const pause = firstLookupPauseMillis * lookupPauseFactor ** Math.max(this.futileLookups - 1, 0)
    return this.lookedUpAt + Math.min(pause, maxLookupPauseMillis)
  }

  /** The time of the next due request; undefined if only an outcome can cause one. */
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

  private track({ contact, distance, isDual, isNear }: Candidate): Tracked {
    const replica: Tracked = {
      contact,
      distance,
      isDual,
      isNear,
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
      this.drop(replica)
      if (replica.copy === "Lost") this.recordRefusal(replica.contact.id, time)
      return
    }
    replica.pause = firstPauseMillis
    schedule(replica, time)
  }

  /** Drops replicas beyond the limits, the farthest first. No request goes to them: their copy expires. */
  private dropSurplus(): void {
    // A withdrawal must reach all of them.
    if (this.isWithdrawn) return
    const healthy = this.tracked.filter(isHealthy)
    const others = this.tracked.filter((replica) => !isHealthy(replica))
    const dual = new Set(healthy.filter(({ isDual }) => isDual).slice(0, this.wantedDual))
    const surplus = healthy.slice(this.wanted).filter((replica) => !dual.has(replica))
    const room = 2 * this.wanted - Math.min(healthy.length, this.wanted)
    for (const replica of [...surplus, ...others.slice(room)]) this.drop(replica)
  }

  private drop(replica: Tracked): void {
    this.tracked.splice(this.tracked.indexOf(replica), 1)
    this.rememberFormer(replica)
  }

  /** Remembers a node that may hold a copy and is not tracked. */
  private rememberFormer({ contact }: Candidate): void {
    this.former.set(contact.id, contact)
  }

  private recordRefusal(id: NodeId.NodeId, time: number): void {
    this.refusals.set(id, time + refusalMillis)
  }

  // --- Time ------------------------------------------------------------------

  /**
   * Converts a clock reading to time that never goes back, so that a clock that
   * is set back does not stall the schedule. A clock that jumps ahead makes all
   * requests due, which the limit of requests in flight spreads out.
   */
  private steady(now: number): number {
    if (now < this.lastNow) this.setBack += this.lastNow - now
    this.lastNow = now
    return now + this.setBack
  }
}

const byDistance = (a: Candidate, b: Candidate): number => a.distance < b.distance ? -1 : 1

/** Whether a replica holds a record at least as new as this one. */
const isKeeping = ({ copy }: Tracked): boolean => copy === "Current" || copy === "Newer"

const isHealthy = ({ copy, suspectSince }: Tracked): boolean => copy === "Current" && suspectSince === undefined

/** Records an answer: clears the failures and lengthens the pause. */
const answered = (replica: Tracked): void => {
  replica.failures = 0
  replica.suspectSince = undefined
  replica.pause = Math.min(pauseFactor * replica.pause, maxPauseMillis)
}

/**
 * Schedules the next request. A suspect, which has been replaced, gets one exactly
 * when its grace period ends, or after a lookup that it answered.
 */
const schedule = (replica: Tracked, time: number): void => {
  const graceEnd = replica.suspectSince === undefined ? -Infinity : replica.suspectSince + graceMillis
  replica.due = time < graceEnd ? graceEnd : time + replica.pause
}
