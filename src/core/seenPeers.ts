/**
 * The peers that we heard from directly in the last seven days, and when. The
 * counts are a measure of the node's reach. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import { RecencyList, Recent } from "../internal/recencyList.ts"
import type { NodeId } from "../NodeId.ts"

/**
 * Numbers of different peers heard from within an hour, a day and a week.
 *
 * @category models
 * @since 0.1.0
 */
export interface SeenCounts {
  readonly hour: number
  readonly day: number
  readonly week: number
}

/**
 * Bounds of the memory.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface Options {
  /** Maximum number of node ids, by default 100 000. The one not heard from for the longest is forgotten first. */
  readonly capacity?: number | undefined
}

class Sighting extends Recent {
  readonly id: NodeId
  lastSeen: number
  sinceStart = false
  isSaved: boolean

  constructor(id: NodeId, lastSeen: number, isSaved: boolean) {
    super()
    this.id = id
    this.lastSeen = lastSeen
    this.isSaved = isSaved
  }
}

const hourMillis = 3_600_000
const dayMillis = 24 * hourMillis
const weekMillis = 7 * dayMillis

/** A repeated sighting within this time is not recorded: the finest count is per hour. */
const resolutionMillis = 60_000

/**
 * @internal
 */
export class SeenPeers {
  private readonly sightings = new Map<NodeId, Sighting>()
  private readonly order = new RecencyList<Sighting>()
  private readonly capacity: number
  private unique = 0

  constructor(options?: Options) {
    this.capacity = options?.capacity ?? 100_000
  }

  get size(): number {
    return this.sightings.size
  }

  /** Number of ids seen since the start. An id that was evicted or expired and seen again counts as new. */
  get uniqueSinceStart(): number {
    return this.unique
  }

  seen(id: NodeId, now: number): void {
    this.forgetOld(now)
    const known = this.sightings.get(id)
    if (known?.sinceStart && now >= known.lastSeen && now - known.lastSeen < resolutionMillis) return
    const sighting = known ?? new Sighting(id, now, false)
    if (known === undefined) this.insert(sighting)
    else this.order.use(known)
    sighting.isSaved = false
    // A clock that was set back must not make a peer look older than it is.
    if (now > sighting.lastSeen) sighting.lastSeen = now
    if (!sighting.sinceStart) {
      sighting.sinceStart = true
      this.unique++
    }
  }

  counts(now: number): SeenCounts {
    let hour = 0
    let day = 0
    let week = 0
    for (const { lastSeen } of this.order) {
      const age = now - lastSeen
      if (age < hourMillis) hour++
      if (age < dayMillis) day++
      if (age < weekMillis) week++
    }
    return { hour, day, week }
  }

  /** The sightings as text: one line `hex-id unix-seconds` each, the most recent first. */
  format(): string {
    let text = ""
    for (const { id, lastSeen } of this.order) text += `${id} ${Math.floor(lastSeen / 1000)}\n`
    return text
  }

  /** Adds the sightings that an earlier run saved with {@link format}; they do not count as seen since the start. */
  parse(text: string, now: number): void {
    const sightings: Array<{ readonly id: NodeId; readonly lastSeen: number }> = []
    for (const line of text.split("\n")) {
      const match = /^\s*([0-9a-fA-F]{64})\s+(\d{1,12})\s*$/.exec(line)
      if (match !== null) sightings.push({ id: match[1].toLowerCase() as NodeId, lastSeen: Number(match[2]) * 1000 })
    }
    this.add(sightings, now, false)
  }

  /** The sightings recorded since the last call, the most recent first. */
  takeUnsaved(): Array<{ readonly id: NodeId; readonly lastSeen: number }> {
    const unsaved: Array<{ readonly id: NodeId; readonly lastSeen: number }> = []
    for (const sighting of this.order) {
      // A recorded sighting moves to the front, so the unsaved ones come first.
      if (sighting.isSaved) break
      sighting.isSaved = true
      unsaved.push({ id: sighting.id, lastSeen: sighting.lastSeen })
    }
    return unsaved
  }

  /** Adds sightings of an earlier run. */
  add(
    sightings: ReadonlyArray<{ readonly id: NodeId; readonly lastSeen: number }>,
    now: number,
    isSaved: boolean
  ): void {
    const merged = new Map(this.sightings)
    for (const sighting of sightings) {
      // A time in the future was written while the clock was ahead.
      const lastSeen = Math.min(sighting.lastSeen, now)
      const known = merged.get(sighting.id)
      if (known === undefined) merged.set(sighting.id, new Sighting(sighting.id, lastSeen, isSaved))
      else if (lastSeen > known.lastSeen) known.lastSeen = lastSeen
    }
    // `takeUnsaved` stops at the first saved one, so no unsaved one may follow a saved one.
    if (!isSaved) { for (const sighting of merged.values()) sighting.isSaved = false }
    this.sightings.clear()
    this.order.clear()
    for (const sighting of Array.from(merged.values()).sort((a, b) => a.lastSeen - b.lastSeen)) this.insert(sighting)
    this.forgetOld(now)
  }

  private insert(sighting: Sighting): void {
    this.sightings.set(sighting.id, sighting)
    this.order.add(sighting)
    if (this.order.oldest !== undefined && this.sightings.size > this.capacity) this.forget(this.order.oldest)
  }

  private forget(sighting: Sighting): void {
    this.order.delete(sighting)
    this.sightings.delete(sighting.id)
  }

  private forgetOld(now: number): void {
    let { oldest } = this.order
    while (oldest !== undefined && now - oldest.lastSeen >= weekMillis) {
      this.forget(oldest)
      oldest = this.order.oldest
    }
  }
}
