/**
 * The records a node holds: a bounded map from key to live records, kept in
 * the order of use.
 *
 * Each category of record has its slots, and a slot holds the newest record
 * put into it. That merge is commutative, associative and idempotent, so nodes
 * that saw the same records in different orders hold the same.
 *
 * Nothing here takes longer the more keys there are, except where a method
 * says so: the order of use is a ring of links, and what expires in the same
 * minute waits in one list.
 *
 * @since 0.1.0
 */
import type { Address } from "../Address.ts"
import * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import type { Crowded, Place, Row, Rows, Verdict } from "../Store.ts"
import * as Hex from "./hex.ts"
import { sha256Hex } from "./sha256.ts"

/**
 * @internal
 */
export const defaultMaxKeys = 100_000

/**
 * Most records of one key, by category.
 *
 * @internal
 */
export const caps = { sovereign: 8, topic: 100, mailbox: 50, mailboxPerSigner: 4 } as const

/** Seconds: records that expire in the same span leave together. */
const spanSeconds = 60

/** Most keys a put into a full store looks at, hoping that one has expired. */
const sweptByPut = 8

/**
 * Is told of records that came, and of those that left because they expired or
 * had to make room.
 *
 * @internal
 */
export interface Watcher {
  readonly added: (key: NodeId.NodeId, record: Record.SignedRecord) => void
  readonly removed: (key: NodeId.NodeId, record: Record.SignedRecord) => void
}

/** The records of one category at one key by slot, in the order they were put. */
interface Group {
  readonly category: Record.Category
  readonly records: Map<string, Record.SignedRecord>
}

/** A key and what it holds. */
class Cell {
  readonly key: NodeId.NodeId
  /** Counts the cells as they are made: their order in the map. */
  readonly number: number
  /** The category that was put last is last. */
  groups: Array<Group> = []
  /** No record of this cell expires before this Unix second. */
  nextExpiry = Infinity
  /** The span of `nextExpiry`, and the cell's place in its list; −1 while in none. */
  span = -1
  place = -1
  /** The neighbours in the order of use. */
  older: Cell = this
  newer: Cell = this

  constructor(key: NodeId.NodeId, number: number) {
    this.key = key
    this.number = number
  }
}

const crowded: Crowded = { _tag: "Crowded" }
const none: ReadonlyArray<never> = []

const spanOf = (seconds: number): number => Math.floor(seconds / spanSeconds)

/**
 * Holds records that somebody has verified. All times are Unix seconds, and
 * never go back by much.
 *
 * @internal
 */
export class RecordSet {
  watcher: Watcher | undefined = undefined
  private maxKeys: number
  private readonly cells = new Map<NodeId.NodeId, Cell>()
  /** Where the ring of use is closed: the next newer is the least recently used. */
  private readonly ring = new Cell(NodeId.zero, 0)
  private made = 0
  /** Records of each type, which has 8 bits. */
  private readonly counts = new Uint32Array(256)
  private readonly spans = new Map<number, Array<Cell>>()
  /** Nothing expires in a span before this one. */
  private sweptTo = 0

  constructor(options: { readonly maxKeys?: number | undefined } = {}) {
    this.maxKeys = options.maxKeys ?? defaultMaxKeys
  }

  /** Keys with at least one record, expired ones included that nobody has met yet. */
  get size(): number {
    return this.cells.size
  }

  /** How many records there are of each type that has any, expired ones included that nobody has met yet. */
  get countsByType(): ReadonlyArray<{ readonly type: number; readonly count: number }> {
    return Array.from(this.counts, (count, type) => ({ type, count })).filter(({ count }) => count > 0)
  }

  /** A lower bound takes effect at the next new key. */
  setMaxKeys(maxKeys: number): void {
    this.maxKeys = maxKeys
  }

  /** Takes a record that is alive at `now`. */
  put(key: NodeId.NodeId, record: Record.SignedRecord, now: number): Verdict {
    const category = Record.category(record.type)
    const slot = slotOf(category, record)
    const known = this.live(key, now)
    const held = known?.groups.find((group) => group.category === category)?.records.get(slot)
    if (held !== undefined && !Record.isNewer(record, held)) return { _tag: "Stale", held }

    const span = spanOf(now)
    if (span < this.sweptTo || this.cells.size === 0) this.sweptTo = span

    const cell = known ?? this.add(key)
    this.use(cell)
    const records = lastGroup(cell, category).records
    if (held !== undefined) this.count(held, -1)
    records.delete(slot)
    records.set(slot, record)
    this.count(record, 1)
    const victim = overflow(category, slot, records)
    const evicted = victim === undefined ? undefined : records.get(victim)
    if (victim !== undefined) records.delete(victim)
    if (evicted !== undefined) this.count(evicted, -1)
    if (evicted === record) return crowded
    if (evicted !== undefined) this.watcher?.removed(key, evicted)
    this.watcher?.added(key, record)

    if (record.expiresAt < cell.nextExpiry) this.schedule(cell, record.expiresAt)
    const forgotten = known === undefined ? this.shrink(now) : none
    return { _tag: "Stored", replaced: held, evicted, forgotten }
  }

  /** The live records of a key, of one type or of all (0), in order. */
  getAll(key: NodeId.NodeId, type: number, now: number): Array<Record.SignedRecord> {
    const found: Array<Record.SignedRecord> = []
    const cell = this.live(key, now)
    if (cell === undefined) return found
    this.use(cell)
    for (const group of cell.groups) {
      for (const record of group.records.values()) {
        if (type === 0 || record.type === type) found.push(record)
      }
    }
    return found
  }

  /** The newest live endpoint record of a key. */
  get(key: NodeId.NodeId, now: number): Record.SignedRecord | undefined {
    let newest: Record.SignedRecord | undefined
    for (const record of this.getAll(key, Record.RecordType.endpoint, now)) {
      if (newest === undefined || Record.isNewer(record, newest)) newest = record
    }
    return newest
  }

  /**
   * The live records of an address at whatever key, of one type or of all (0).
   * Walks all keys, and counts as a use of none.
   */
  getAllByAddress(address: Address, type: number, now: number): Array<Record.SignedRecord> {
    const found: Array<Record.SignedRecord> = []
    for (const { record } of this.entries(now)) {
      if (record.address === address && (type === 0 || record.type === type)) found.push(record)
    }
    return found
  }

  /** Every live record. Walks all keys, and counts as a use of none. */
  *rows(now: number): Generator<Row> {
    for (const { key, record } of this.entries(now)) yield rowOf(key, record)
  }

  /**
   * Live records, at most `limit`, from the beginning or from a place on; uses
   * no key. What is held all the while that one page after the other is read
   * is on one of them.
   */
  page(now: number, limit: number, from?: Place): Rows {
    const rows: Array<Row> = []
    for (const { groups, key, number } of this.cells.values()) {
      if (from !== undefined && number < from.key) continue
      let i = 0
      for (const { records } of groups) {
        for (const record of records.values()) {
          const place: Place = { key: number, record: i++ }
          if (record.expiresAt < now || from?.key === number && place.record < from.record) continue
          if (rows.length === limit) return { rows, next: place }
          rows.push(rowOf(key, record))
        }
      }
    }
    return { rows, next: undefined }
  }

  /** Removes the records of a key, of one type or all (0). */
  invalidate(key: NodeId.NodeId, type: number): void {
    const cell = this.cells.get(key)
    if (cell !== undefined) this.retain(cell, (record) => type !== 0 && record.type !== type)
  }

  /**
   * Removes what expired up to a minute ago, in at most `limit` steps; true
   * when there is more to do.
   */
  sweep(now: number, limit: number): boolean {
    const current = spanOf(now)
    while (this.cells.size > 0 && this.sweptTo < current) {
      if (limit-- <= 0) return true
      const cell = this.spans.get(this.sweptTo)?.at(-1)
      if (cell === undefined) this.sweptTo++
      else this.dropExpired(cell, now)
    }
    return false
  }

  private *entries(now: number): Generator<{ readonly key: NodeId.NodeId; readonly record: Record.SignedRecord }> {
    for (const { groups, key } of this.cells.values()) {
      for (const { records } of groups) {
        for (const record of records.values()) {
          if (record.expiresAt >= now) yield { key, record }
        }
      }
    }
  }

  /** The cell of a key, without what has expired; none if nothing is left. */
  private live(key: NodeId.NodeId, now: number): Cell | undefined {
    const cell = this.cells.get(key)
    return cell === undefined || cell.nextExpiry >= now || this.dropExpired(cell, now) ? cell : undefined
  }

  private dropExpired(cell: Cell, now: number): boolean {
    return this.retain(cell, (record) => record.expiresAt >= now)
  }

  /** Keeps the records of a cell that pass; false when none did and the key is forgotten. */
  private retain(cell: Cell, keep: (record: Record.SignedRecord) => boolean): boolean {
    let nextExpiry = Infinity
    for (const { records } of cell.groups) {
      for (const [slot, record] of records) {
        if (!keep(record)) {
          records.delete(slot)
          this.count(record, -1)
          this.watcher?.removed(cell.key, record)
        } else if (record.expiresAt < nextExpiry) nextExpiry = record.expiresAt
      }
    }
    cell.groups = cell.groups.filter(({ records }) => records.size > 0)
    if (cell.groups.length === 0) {
      this.forget(cell)
      return false
    }
    this.schedule(cell, nextExpiry)
    return true
  }

  private count({ type }: Record.SignedRecord, change: number): void {
    this.counts[type] += change
  }

  private add(key: NodeId.NodeId): Cell {
    const cell = new Cell(key, ++this.made)
    this.cells.set(key, cell)
    return cell
  }

  private forget(cell: Cell): void {
    this.cells.delete(cell.key)
    unlink(cell)
    this.unschedule(cell)
  }

  /** Makes a cell the most recently used. */
  private use(cell: Cell): void {
    const { ring } = this
    unlink(cell)
    cell.older = ring.older
    cell.newer = ring
    ring.older.newer = cell
    ring.older = cell
  }

  /** Makes room for the most recently used cell, which stays. */
  private shrink(now: number): ReadonlyArray<NodeId.NodeId> {
    if (this.cells.size <= this.maxKeys) return none
    this.sweep(now, sweptByPut)
    const forgotten: Array<NodeId.NodeId> = []
    while (this.cells.size > Math.max(this.maxKeys, 1)) {
      const cell = this.ring.newer
      this.retain(cell, () => false)
      forgotten.push(cell.key)
    }
    return forgotten
  }

  private schedule(cell: Cell, nextExpiry: number): void {
    const span = spanOf(nextExpiry)
    cell.nextExpiry = nextExpiry
    if (cell.span === span) return
    this.unschedule(cell)
    let list = this.spans.get(span)
    if (list === undefined) {
      list = []
      this.spans.set(span, list)
    }
    cell.span = span
    cell.place = list.push(cell) - 1
  }

  private unschedule(cell: Cell): void {
    const list = this.spans.get(cell.span)
    const last = list?.pop()
    if (list === undefined || last === undefined) return
    if (last !== cell) {
      // The last of the list takes the place that became free.
      list[cell.place] = last
      last.place = cell.place
    }
    if (list.length === 0) this.spans.delete(cell.span)
  }
}

const rowOf = (key: NodeId.NodeId, record: Record.SignedRecord): Row => ({
  key,
  address: record.address,
  type: record.type,
  seq: record.seq,
  timestamp: record.timestamp,
  ttl: record.ttl,
  payloadLength: record.payload.length
})

const unlink = (cell: Cell): void => {
  cell.older.newer = cell.newer
  cell.newer.older = cell.older
}

/**
 * What a record competes for with the others of its category at its key.
 *
 * @internal
 */
export const slotOf = (category: Record.Category, record: Record.SignedRecord): string => {
  switch (category) {
    case "sovereign":
      return `${record.address}${record.type}`
    case "topic":
      return Hex.encode(record.publicKey)
    case "mailbox":
      return `${Hex.encode(record.publicKey)}${record.type}/${sha256Hex(record.payload)}`
  }
}

/** The group of a category, which becomes the last. */
const lastGroup = (cell: Cell, category: Record.Category): Group => {
  const group = cell.groups.find((group) => group.category === category) ?? { category, records: new Map() }
  // Most keys hold one record, and an array that was written down is no larger than it must be.
  if (cell.groups.length === 0) cell.groups = [group]
  else if (cell.groups.at(-1) !== group) cell.groups = [...cell.groups.filter((other) => other !== group), group]
  return group
}

/** The slot that has to make room after a put into `slot`, if any. */
const overflow = (
  category: Record.Category,
  slot: string,
  records: ReadonlyMap<string, Record.SignedRecord>
): string | undefined => {
  switch (category) {
    case "sovereign":
      return earliest(records, caps.sovereign) ?? oldest(records, caps.sovereign)
    case "topic":
      return oldest(records, caps.topic)
    case "mailbox":
      return oldest(records, caps.mailboxPerSigner, slot.slice(0, 64)) ?? oldest(records, caps.mailbox)
  }
}

/** Of more than `cap` records, the earliest put that is no endpoint. */
const earliest = (records: ReadonlyMap<string, Record.SignedRecord>, cap: number): string | undefined => {
  if (records.size <= cap) return undefined
  for (const [slot, record] of records) if (record.type !== Record.RecordType.endpoint) return slot
  return undefined
}

/** Of more than `cap` records in the slots of this prefix, the one with the oldest timestamp. */
const oldest = (
  records: ReadonlyMap<string, Record.SignedRecord>,
  cap: number,
  prefix = ""
): string | undefined => {
  if (records.size <= cap) return undefined
  let count = 0
  let found: string | undefined
  let timestamp = 0n
  for (const [slot, record] of records) {
    if (!slot.startsWith(prefix)) continue
    count++
    if (found === undefined || record.timestamp < timestamp) {
      found = slot
      timestamp = record.timestamp
    }
  }
  return count > cap ? found : undefined
}
