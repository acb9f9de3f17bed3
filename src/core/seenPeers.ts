/**
 * The peers that we heard from directly in the last seven days, and when. The
 * counts are a measure of the node's reach. Times are Unix milliseconds.
 *
 * @since 0.1.0
 */
import { RecencyMap } from "../internal/recencyMap.ts"
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

interface Sighting {
  lastSeen: number
  sinceStart: boolean
  isSaved: boolean
}

const hourMillis = 3_600_000
const dayMillis = 24 * hourMillis
const weekMillis = 7 * dayMillis

/** A repeated sighting within this time is not recorded: the finest count is per hour. */
const resolutionMillis = 60_000

const makeSighting = (): Sighting => ({ lastSeen: 0, sinceStart: false, isSaved: false })

/**
 * @internal
 */
export class SeenPeers {
  private readonly sightings: RecencyMap<NodeId, Sighting>
  private unique = 0

  constructor(options?: Options) {
    this.sightings = new RecencyMap(options?.capacity ?? 100_000)
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
    const sighting = this.sightings.use(id, makeSighting)
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
    for (const { value } of this.sightings) {
      const age = now - value.lastSeen
      if (age < hourMillis) hour++
      if (age < dayMillis) day++
      if (age < weekMillis) week++
    }
    return { hour, day, week }
  }

  /** The sightings as text: one line `hex-id unix-seconds` each, the most recent first. */
  format(): string {
    let text = ""
    for (const { key, value } of this.sightings) text += `${key} ${Math.floor(value.lastSeen / 1000)}\n`
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
    for (const { key, value } of this.sightings) {
      // A recorded sighting moves to the front, so the unsaved ones come first.
      if (value.isSaved) break
      value.isSaved = true
      unsaved.push({ id: key, lastSeen: value.lastSeen })
    }
    return unsaved
  }

  /** Adds sightings of an earlier run. */
  add(
    sightings: ReadonlyArray<{ readonly id: NodeId; readonly lastSeen: number }>,
    now: number,
    isSaved: boolean
  ): void {
    const merged = new Map<NodeId, Sighting>()
    for (const { key, value } of this.sightings) merged.set(key, value)
    for (const sighting of sightings) {
      // A time in the future was written while the clock was ahead.
      const lastSeen = Math.min(sighting.lastSeen, now)
      const known = merged.get(sighting.id)
      if (known === undefined) merged.set(sighting.id, { lastSeen, sinceStart: false, isSaved })
      else if (lastSeen > known.lastSeen) known.lastSeen = lastSeen
    }
    // `takeUnsaved` stops at the first saved one, so no unsaved one may follow a saved one.
    if (!isSaved) { for (const sighting of merged.values()) sighting.isSaved = false }
    this.sightings.clear()
    for (const [id, sighting] of Array.from(merged).sort((a, b) => a[1].lastSeen - b[1].lastSeen)) {
      this.sightings.use(id, () => sighting)
    }
    this.forgetOld(now)
  }

  private forgetOld(now: number): void {
    for (
      let oldest = this.sightings.oldest;
      oldest !== undefined && now - oldest.value.lastSeen >= weekMillis;
      oldest = this.sightings.oldest
    ) {
      this.sightings.dropOldest()
    }
  }
}
