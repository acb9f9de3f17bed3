/**
 * The records a node holds: a bounded map from key to live records.
 *
 * Each category of record has its slots, and a slot holds the newest record
 * put into it. That merge is commutative, associative and idempotent, so nodes
 * that saw the same records in different orders hold the same.
 *
 * Peers store for free, so eviction depends on nothing that they can choose:
 *
 * - At a full key, a record of the network (/24, /48) with the most records
 *   there is evicted. A hash keyed with a secret of this node decides between
 *   networks with equally many. So networks with fewer records lose none, a
 *   publisher cannot choose the rank of a record, and each holder of a crowded
 *   key keeps a different sample of it.
 * - In a full set, records far from this node are evicted first, because readers
 *   do not look for them here. Among the far records, and among the near ones,
 *   the network or address with the most bytes loses its latest; a newcomer of
 *   that party is refused. A newer version of a held record is refused only if
 *   all others are this node's own.
 * - Evictions are chosen before any is carried out: a refused record changes
 *   nothing.
 *
 * Records without a network are this node's own. They are never evicted for
 * records of peers. Among themselves, the oldest record of a key and the least
 * recently used key are evicted, as in the reference.
 *
 * The cost of an operation does not grow with the number of keys, unless its
 * docstring says so: the order of use is a doubly linked ring, records that
 * expire in the same minute share a list, and shares are kept in heaps.
 *
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import type { Address } from "../Address.ts"
import * as Hex from "../internal/hex.ts"
import { sha256Hex } from "../internal/sha256.ts"
import * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import { slotOf } from "./recordMerge.ts"
import { Shares } from "./shares.ts"

/**
 * A record and the key where it is held.
 *
 * @category models
 * @since 0.1.0
 */
export interface Placed {
  readonly key: NodeId.NodeId
  readonly record: Record.SignedRecord
}

/**
 * The record is stored, and is new.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stored {
  readonly _tag: "Stored"
  /** The older record of its slot. */
  readonly replaced: Record.SignedRecord | undefined
  /** The records evicted for it, at this key or elsewhere. */
  readonly evicted: ReadonlyArray<Placed>
}

/**
 * The slot already holds this record, or another one that is as new; it stays.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stale {
  readonly _tag: "Stale"
  readonly held: Record.SignedRecord
}

/**
 * The record is valid, but there is no room for it: at its key, or in the
 * store.
 *
 * @category models
 * @since 0.1.0
 */
export interface Full {
  readonly _tag: "Full"
  readonly scope: "Key" | "Store"
}

/**
 * Outcome for a valid record.
 *
 * @category models
 * @since 0.1.0
 */
export type Verdict = Stored | Stale | Full

/**
 * A held record, for display.
 *
 * @category models
 * @since 0.1.0
 */
export interface Row {
  readonly key: NodeId.NodeId
  readonly address: Address
  readonly type: number
  readonly seq: bigint
  /** Unix seconds. */
  readonly timestamp: bigint
  /** Seconds. */
  readonly ttl: number
  /** The last Unix second in which it is alive. */
  readonly expiresAt: number
  /** Bytes. */
  readonly payloadLength: number
}

/**
 * Position of a record in the order of {@link Rows}.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  /** Number of the key, in the order of arrival. */
  readonly key: number
  /** Number of the record at its key. */
  readonly record: number
}

/**
 * A page of the store.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rows {
  readonly rows: ReadonlyArray<Row>
  /** Position at which the next page begins, if there is more. */
  readonly next: Place | undefined
}

/**
 * Number of records of a type.
 *
 * @category models
 * @since 0.1.0
 */
export interface Count {
  readonly type: number
  readonly count: number
}

/**
 * Functions for the changes of a set. A record that a newer one of its slot
 * replaces is not removed. They must not throw.
 *
 * @internal
 */
export interface Watcher {
  /** Called with a record that entered the store. */
  readonly added: (key: NodeId.NodeId, record: Record.SignedRecord) => void
  /** Called with a record that left because it expired or was evicted. */
  readonly removed: (key: NodeId.NodeId, record: Record.SignedRecord) => void
}

/**
 * @internal
 */
export const defaultMaxKeys = 100_000

/**
 * @internal
 */
export const defaultMaxBytes = 64 * 1024 * 1024

/**
 * Maximum number of records at one key, by category.
 *
 * @internal
 */
export const caps = { sovereign: 8, topic: 100, mailbox: 50, mailboxPerSigner: 4 } as const

/**
 * Memory used by a record besides its bytes, rounded up. Measured with 66 000
 * records of 211 bytes, each with its own key, network and address: 1660 bytes
 * each on the heap, 1780 of the process. Records that share a key, a network or
 * an address use up to 350 less.
 *
 * @internal
 */
export const overheadBytes = 2048

/** Fraction of a limit above which a network counts as a large user. */
const largeShare = 1 / 32

/** Seconds in a span. Records that expire in the same span are removed together. */
const spanSeconds = 60

/** Maximum number of keys that a put into a full set checks for expiry. */
const sweptByPut = 8

/**
 * Bounds of a set of records.
 *
 * @category configuration
 * @since 0.1.0
 */
export interface RecordSetOptions {
  /** Maximum number of keys; 100 000 by default. */
  readonly maxKeys?: number | undefined
  /**
   * Bytes of memory for all records together, including an overhead of 2 KiB for
   * each; 64 MiB by default, enough for some 29 000 records. Filling the store
   * makes the process grow by that much at most, unless V8's young generation may
   * grow as well: by 128 MiB more, see Node's `--max-semi-space-size`.
   */
  readonly maxBytes?: number | undefined
  /** Bytes that peers do not know: which records of a crowded key are held depends on them. */
  readonly secret?: Uint8Array | undefined
  /** Whether this node may be among the closest to a key. Records at other keys make room first. By default it always is. */
  readonly isNear?: ((key: NodeId.NodeId) => boolean) | undefined
}

/** Seconds after which the start of a holder's responses moves, by the golden ratio of the ring. */
const turnSeconds = 3600
const goldenRatio = (Math.sqrt(5) - 1) / 2

const none: ReadonlyArray<never> = []

/** A record in its slot. */
interface Entry {
  readonly cell: Cell
  /** Position in the order of creation. */
  readonly number: number
  readonly category: Record.Category
  readonly slot: string
  readonly record: Record.SignedRecord
  /** The network that it came from; undefined for this node's own. */
  network: string | undefined
  /** The records that it competes with for room; undefined for this node's own. */
  shelf: Shelf | undefined
  /** Rank for eviction at its key: 28 bits of a keyed hash of its slot. */
  readonly order: number
  /** Place on the ring in which records are served, from 0 to 1: the first bits of its signature. */
  readonly angle: number
  readonly weight: number
  /** Whether it is chosen for eviction. */
  isLeaving: boolean
}

/** Records of peers that compete for room. */
class Shelf {
  readonly networks = new Shares<Entry>()
  readonly addresses = new Shares<Entry>()

  /** The latest record of the party with the most bytes, excluding `except`. */
  heaviest(except: Entry): Entry | undefined {
    const [network, address] = [this.networks.heaviest(except), this.addresses.heaviest(except)]
    return (network?.weight ?? 0) > (address?.weight ?? 0) ? network?.newest : address?.newest
  }

  /** Whether no party has more bytes than that of the entry. */
  isHeaviest({ network = "", record }: Entry): boolean {
    const own = Math.max(this.networks.weight(network), this.addresses.weight(record.address))
    return own >= Math.max(this.networks.heaviest()?.weight ?? 0, this.addresses.heaviest()?.weight ?? 0)
  }

  add(entry: Entry): void {
    this.networks.add(entry.network ?? "", entry)
    this.addresses.add(entry.record.address, entry)
  }

  remove(entry: Entry): void {
    this.networks.remove(entry.network ?? "", entry)
    this.addresses.remove(entry.record.address, entry)
  }
}

/** A key and its records. Most keys hold one, so a cell is little more than a list. */
class Cell {
  readonly key: NodeId.NodeId
  /** Position in the order of creation, which is that of the map. */
  readonly number: number
  /** By category, the latest put category last; within one in the order of puts. Never changed in place. */
  entries: ReadonlyArray<Entry> = none
  /** By category, and within one by angle; undefined from a change until it is needed. */
  byAngle: ReadonlyArray<Entry> | undefined = undefined
  /** The earliest Unix second in which a record of this cell may expire. */
  nextExpiry = Infinity
  /** The span of `nextExpiry` and the cell's index in its list; −1 while in none. */
  span = -1
  place = -1
  /** Number of records served in turn. */
  turn = 0
  /** Neighbours in the order of use. */
  older: Cell = this
  newer: Cell = this

  constructor(key: NodeId.NodeId, number: number) {
    this.key = key
    this.number = number
  }
}

const full = (scope: Full["scope"]): Full => ({ _tag: "Full", scope })

const spanOf = (seconds: number): number => Math.floor(seconds / spanSeconds)

/**
 * Holds verified records. All times are Unix seconds and never go back by much.
 *
 * @internal
 */
export class RecordSet {
  private readonly watchers = new Set<Watcher>()
  private maxKeys: number
  readonly maxBytes: number
  private readonly secret: string
  private readonly isNear: (key: NodeId.NodeId) => boolean
  private readonly cells = new Map<NodeId.NodeId, Cell>()
  private readonly near = new Shelf()
  private readonly far = new Shelf()
  private weight = 0
  /** The sentinel of the ring of use: its next newer cell is the least recently used. */
  private readonly ring = new Cell(NodeId.zero, 0)
  private madeCells = 0
  private madeEntries = 0
  /** Number of records by type, which has 8 bits. */
  private readonly counts = new Uint32Array(256)
  private readonly spans = new Map<number, Array<Cell>>()
  /** No record expires in a span before this one. */
  private sweptTo = 0

  constructor(options: RecordSetOptions = {}) {
    this.maxKeys = options.maxKeys ?? defaultMaxKeys
    this.maxBytes = options.maxBytes ?? defaultMaxBytes
    this.secret = Hex.encode(options.secret ?? new Uint8Array(0))
    this.isNear = options.isNear ?? (() => true)
  }

  /** Number of keys with a record, including expired ones that have not been removed yet. */
  get size(): number {
    return this.cells.size
  }

  /** Number of records of each type, including expired ones that have not been removed yet. */
  get countsByType(): ReadonlyArray<Count> {
    return Array.from(this.counts, (count, type) => ({ type, count })).filter(({ count }) => count > 0)
  }

  /** Bytes used by the records, including their overhead. */
  get bytes(): number {
    return this.weight
  }

  /** Calls the watcher with each change until the returned function is called. */
  watch(watcher: Watcher): () => void {
    this.watchers.add(watcher)
    return () => {
      this.watchers.delete(watcher)
    }
  }

  /** A lower bound takes effect at the next new key. */
  setMaxKeys(maxKeys: number): void {
    this.maxKeys = maxKeys
  }

  /**
   * Stores a record that is alive at `now`, from a peer of `network`; without a
   * network it is this node's own.
   */
  put(key: NodeId.NodeId, record: Record.SignedRecord, now: number, network?: string): Verdict {
    const category = Record.category(record.type)
    const slot = slotOf(category, record)
    const known = this.live(key, now)
    const held = known?.entries.find((entry) => entry.category === category && entry.slot === slot)
    if (held !== undefined && !Record.isNewer(record, held.record)) {
      if (Bytes.Equivalence(record.signature, held.record.signature)) this.credit(held, network)
      return { _tag: "Stale", held: held.record }
    }

    const span = spanOf(now)
    if (span < this.sweptTo || this.cells.size === 0) this.sweptTo = span

    const cell = known ?? new Cell(key, ++this.madeCells)
    // Our own record stays ours if a peer sends its successor.
    const isOurs = network === undefined || held !== undefined && held.network === undefined
    const entry: Entry = {
      cell,
      number: ++this.madeEntries,
      category,
      slot,
      record,
      network: isOurs ? undefined : network,
      shelf: isOurs ? undefined : this.isNear(key) ? this.near : this.far,
      order: category === "sovereign" ? 0 : this.rank(slot),
      angle: angleOf(record),
      weight: record.bytes.length + overheadBytes,
      isLeaving: false
    }
    // A newer version needs no additional place at the key.
    const crowded = held === undefined ? overflow(entry, ofCategory(cell, category)) : undefined
    if (crowded === entry) return full("Key")
    const leaving = this.roomFor(entry, held, crowded, now)
    if (leaving === undefined) return full("Store")

    if (held !== undefined) this.remove(held)
    if (known === undefined) this.cells.set(key, cell)
    this.insert(entry)
    const evicted = leaving.map((entry): Placed => {
      this.remove(entry)
      if (entry.cell.entries.length === 0) this.forget(entry.cell)
      return { key: entry.cell.key, record: entry.record }
    })
    this.use(cell)
    for (const watcher of this.watchers) {
      for (const { key, record } of evicted) watcher.removed(key, record)
      watcher.added(key, record)
    }
    if (record.expiresAt < cell.nextExpiry) this.schedule(cell, record.expiresAt)
    return { _tag: "Stored", replaced: held?.record, evicted }
  }

  /** The live records of a key, of one type or of all (0), in the order of puts. */
  getAll(key: NodeId.NodeId, type: number, now: number): Array<Record.SignedRecord> {
    const found: Array<Record.SignedRecord> = []
    const cell = this.live(key, now)
    if (cell === undefined) return found
    this.use(cell)
    for (const { record } of cell.entries) if (type === 0 || record.type === type) found.push(record)
    return found
  }

  /** This node's own live records of a key, of one type or of all (0). */
  getOwn(key: NodeId.NodeId, type: number, now: number): Array<Record.SignedRecord> {
    const found: Array<Record.SignedRecord> = []
    for (const { network, record } of this.live(key, now)?.entries ?? none) {
      if (network === undefined && (type === 0 || record.type === type)) found.push(record)
    }
    return found
  }

  /**
   * The live records of a key, of one type or of all (0), for a response that may
   * not have room for all of them, from where the last response ended
   * ({@link served}), so that all are served equally often.
   *
   * All holders have the records on the same ring, and each begins where the
   * others do not: `rank` is this node's among the holders, 0 for the nearest. So
   * a requester that reads a few records from each sees few of them twice. The
   * beginning moves every hour, because signatures can be ground to be first.
   */
  inTurn(key: NodeId.NodeId, type: number, now: number, rank = 0): ReadonlyArray<Record.SignedRecord> {
    const cell = this.live(key, now)
    if (cell === undefined) return none
    this.use(cell)
    const angle = (radicalInverse(rank) + Math.floor(now / turnSeconds) * goldenRatio) % 1
    const records: Array<Record.SignedRecord> = []
    let first = 0
    for (const entry of byAngle(cell)) {
      if (type !== 0 && entry.record.type !== type) continue
      if (first === records.length && entry.angle < angle) first++
      records.push(entry.record)
    }
    if (records.length < 2) return records
    const start = (first + cell.turn) % records.length
    return start === 0 ? records : [...records.slice(start), ...records.slice(0, start)]
  }

  /** Reports the number of records served before the first that was omitted. */
  served(key: NodeId.NodeId, count: number): void {
    const cell = this.cells.get(key)
    // Wraps long before the number loses precision.
    if (cell !== undefined) cell.turn = (cell.turn + count) % 0x1000_0000
  }

  /**
   * Whether a record may soon be evicted if it counts for this network: the key
   * or the whole set is half full, or the network is already a large user.
   */
  isContended(key: NodeId.NodeId, type: number, network: string): boolean {
    if (this.weight > this.maxBytes / 2 || this.cells.size > this.maxKeys / 2) return true
    const share = this.near.networks.weight(network) + this.far.networks.weight(network)
    if (share > this.maxBytes * largeShare) return true
    const category = Record.category(type)
    const cell = this.cells.get(key)
    if (cell === undefined || category === "sovereign") return false
    const entries = ofCategory(cell, category)
    return entries.length >= caps[category] / 2 ||
      entries.filter((entry) => entry.network === network).length >= caps[category] * largeShare
  }

  /** Whether this very record is held under a key. */
  holds(key: NodeId.NodeId, record: Record.SignedRecord): boolean {
    return this.cells.get(key)?.entries.some((held) => Bytes.Equivalence(held.record.bytes, record.bytes)) ?? false
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
   * The live records of an address at any key, of one type or of all (0). Visits
   * all keys without counting as a use.
   */
  getAllByAddress(address: Address, type: number, now: number): Array<Record.SignedRecord> {
    const found: Array<Record.SignedRecord> = []
    for (const { record } of this.entries(now)) {
      if (record.address === address && (type === 0 || record.type === type)) found.push(record)
    }
    return found
  }

  /** Every live record. Visits all keys without counting as a use. */
  *rows(now: number): Generator<Row> {
    for (const { cell: { key }, record } of this.entries(now)) yield rowOf(key, record)
  }

  /**
   * At most `limit` live records, from the start or from a place on. Does not
   * count as a use. A record that is held while all pages are read is on exactly
   * one of them.
   */
  page(now: number, limit: number, from?: Place, type?: number): Rows {
    const rows: Array<Row> = []
    for (const { entries, key, number } of this.cells.values()) {
      if (from !== undefined && number < from.key) continue
      for (const [i, { record }] of entries.entries()) {
        if (record.expiresAt < now || from?.key === number && i < from.record) continue
        if (type !== undefined && record.type !== type) continue
        if (rows.length === limit) return { rows, next: { key: number, record: i } }
        rows.push(rowOf(key, record))
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
   * Removes the records of spans that are over, in at most `limit` steps; returns
   * whether there is more to do.
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

  /** The Unix second from which `sweep` has something to remove; never without a record. */
  get sweepAt(): number {
    return (Math.min(...this.spans.keys()) + 1) * spanSeconds
  }

  private *entries(now: number): Generator<Entry> {
    for (const { entries } of this.cells.values()) {
      for (const entry of entries) if (entry.record.expiresAt >= now) yield entry
    }
  }

  /** The rank of a slot at its key. */
  private rank(slot: string): number {
    return parseInt(sha256Hex(encoder.encode(this.secret + slot)).slice(0, 7), 16)
  }

  // --- Entries and cells -----------------------------------------------------

  private insert(entry: Entry): void {
    const { category, cell } = entry
    const others = cell.entries.filter((other) => other.category !== category)
    // `concat` allocates no spare room, and most keys hold one record.
    setEntries(cell, others.concat(ofCategory(cell, category), entry))
    entry.shelf?.add(entry)
    this.weight += entry.weight
    this.counts[entry.record.type]++
  }

  /** Removes an entry; its cell stays, even if empty. */
  private remove(entry: Entry): void {
    setEntries(entry.cell, entry.cell.entries.filter((other) => other !== entry))
    entry.shelf?.remove(entry)
    this.weight -= entry.weight
    this.counts[entry.record.type]--
  }

  /**
   * Attributes an entry to another network that sent it as well, if that has
   * fewer bytes. Otherwise a large user could make a record easy to evict by
   * being the first to repeat it.
   */
  private credit(entry: Entry, network: string | undefined): void {
    const { shelf } = entry
    if (shelf === undefined) return
    const has = shelf.networks.weight(entry.network ?? "")
    if (network !== undefined && shelf.networks.weight(network) + entry.weight >= has) return
    shelf.remove(entry)
    entry.network = network
    if (network === undefined) entry.shelf = undefined
    else shelf.add(entry)
  }

  /** The cell of a key after expired records were removed; undefined if none is left. */
  private live(key: NodeId.NodeId, now: number): Cell | undefined {
    const cell = this.cells.get(key)
    return cell === undefined || cell.nextExpiry >= now || this.dropExpired(cell, now) ? cell : undefined
  }

  private dropExpired(cell: Cell, now: number): boolean {
    return this.retain(cell, (record) => record.expiresAt >= now)
  }

  /** Keeps the records of a cell that pass; returns false if none did, and forgets the key. */
  private retain(cell: Cell, keep: (record: Record.SignedRecord) => boolean): boolean {
    let nextExpiry = Infinity
    for (const entry of cell.entries) {
      const { record } = entry
      if (!keep(record)) {
        this.remove(entry)
        for (const watcher of this.watchers) watcher.removed(cell.key, record)
      } else if (record.expiresAt < nextExpiry) nextExpiry = record.expiresAt
    }
    if (cell.entries.length > 0) this.schedule(cell, nextExpiry)
    else this.forget(cell)
    return cell.entries.length > 0
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

  // --- Eviction --------------------------------------------------------------

  /**
   * The entries to evict for a newcomer: the one that it displaces at its key,
   * and those that exceed the limits of the set. Undefined if the newcomer is
   * refused. Changes nothing either way.
   */
  private roomFor(
    newcomer: Entry,
    held: Entry | undefined,
    crowded: Entry | undefined,
    now: number
  ): ReadonlyArray<Entry> | undefined {
    const { cell } = newcomer
    const isNew = !this.cells.has(cell.key)
    const first = crowded === undefined ? [] : [crowded]
    const count = { weight: newcomer.weight - (held?.weight ?? 0), keys: isNew ? 1 : 0 }
    // A lower limit of keys takes effect at the next new key.
    const isOver = () =>
      this.weight + count.weight > this.maxBytes ||
      isNew && this.cells.size + count.keys > Math.max(this.maxKeys, 1)
    if (!isOver()) return first
    this.sweep(now, sweptByPut)

    const leaving: Array<Entry> = []
    const left = new Map<Cell, number>()
    const take = (entry: Entry): void => {
      leaving.push(entry)
      entry.isLeaving = true
      entry.shelf?.remove(entry)
      count.weight -= entry.weight
      const others = (left.get(entry.cell) ?? entry.cell.entries.length) - 1
      left.set(entry.cell, others)
      if (others === 0 && entry.cell !== cell) count.keys--
    }
    held?.shelf?.remove(held)
    newcomer.shelf?.add(newcomer)
    first.forEach(take)
    let isLetIn = true
    for (const own = this.leastRecentlyUsed(cell, held); isLetIn && isOver();) {
      const next = this.nextToLeave(newcomer, held !== undefined) ?? own.next().value
      if (next === newcomer) isLetIn = false
      else if (next === undefined) break
      else take(next)
    }
    for (const entry of leaving) {
      entry.isLeaving = false
      entry.shelf?.add(entry)
    }
    newcomer.shelf?.remove(newcomer)
    held?.shelf?.add(held)
    return isLetIn ? leaving : undefined
  }

  /** The next entry to evict: a peer's, or the newcomer itself. Undefined if it and all others are our own. */
  private nextToLeave(newcomer: Entry, isRenewal: boolean): Entry | undefined {
    for (const shelf of [this.far, this.near]) {
      // A newer version keeps the place of the older one.
      if (!isRenewal && newcomer.shelf === shelf && shelf.isHeaviest(newcomer)) return newcomer
      const found = shelf.heaviest(newcomer)
      if (found !== undefined) return found
    }
    return newcomer.network === undefined ? undefined : newcomer
  }

  /** The entries that are not being evicted, by the last use of their keys, those of `used` last; without `replaced`. */
  private *leastRecentlyUsed(used: Cell, replaced: Entry | undefined): Generator<Entry, undefined> {
    for (let cell = this.ring.newer; cell !== this.ring; cell = cell.newer) {
      if (cell === used) continue
      for (const entry of cell.entries) if (!entry.isLeaving) yield entry
    }
    for (const entry of used.entries) if (!entry.isLeaving && entry !== replaced) yield entry
    return undefined
  }

  // --- Expiry ----------------------------------------------------------------

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
      // The last cell of the list moves into the gap.
      list[cell.place] = last
      last.place = cell.place
    }
    if (list.length === 0) this.spans.delete(cell.span)
    cell.span = -1
  }
}

const rowOf = (key: NodeId.NodeId, record: Record.SignedRecord): Row => ({
  key,
  address: record.address,
  type: record.type,
  seq: record.seq,
  timestamp: record.timestamp,
  ttl: record.ttl,
  expiresAt: record.expiresAt,
  payloadLength: record.payload.length
})

const encoder = new TextEncoder()

const unlink = (cell: Cell): void => {
  cell.older.newer = cell.newer
  cell.newer.older = cell.older
}

const setEntries = (cell: Cell, entries: ReadonlyArray<Entry>): void => {
  cell.entries = entries
  cell.byAngle = undefined
}

const ofCategory = (cell: Cell, category: Record.Category): ReadonlyArray<Entry> =>
  cell.entries.filter((entry) => entry.category === category)

/** The entries of a cell by category, and within one by angle. */
const byAngle = (cell: Cell): ReadonlyArray<Entry> => {
  if (cell.entries.length < 2) return cell.entries
  return cell.byAngle ??= Array.from(new Set(cell.entries.map(({ category }) => category))).flatMap((category) =>
    ofCategory(cell, category).toSorted((a, b) => a.angle - b.angle)
  )
}

const angleOf = ({ signature: [a, b, c] }: Record.SignedRecord): number => (a << 16 | b << 8 | c) / 2 ** 24

/** The fraction with the mirrored bits of `n`: as evenly spread as any first few of them can be (van der Corput, 1935). */
const radicalInverse = (n: number): number => {
  let fraction = 0
  for (let half = 0.5; n > 0; n >>>= 1, half /= 2) if ((n & 1) === 1) fraction += half
  return fraction
}

/** The entry to evict at the key of a newcomer, if any. */
const overflow = (newcomer: Entry, others: ReadonlyArray<Entry>): Entry | undefined => {
  const all = [...others, newcomer]
  switch (newcomer.category) {
    case "sovereign":
      // All are by the owner of the key.
      return earliest(all, caps.sovereign) ?? oldest(all, caps.sovereign)
    case "topic":
      return crowdedOut(all, caps.topic)
    case "mailbox": {
      const signer = newcomer.slot.slice(0, signerLength)
      const surplus = oldest(all.filter(({ slot }) => slot.startsWith(signer)), caps.mailboxPerSigner)
      if (surplus === undefined) return crowdedOut(all, caps.mailbox)
      // A sender does not lose its earlier messages to a new one: that is refused.
      return newcomer.network === undefined ? surplus : newcomer
    }
  }
}

/** Hex digits of the signing key at the start of the slot of a mailbox record. */
const signerLength = 64

/**
 * Of more than `cap` entries, the one to evict: the last in rank among those of
 * the networks with the most entries. Only if all are our own, the oldest.
 */
const crowdedOut = (entries: ReadonlyArray<Entry>, cap: number): Entry | undefined => {
  if (entries.length <= cap) return undefined
  const counts = new Map<string, number>()
  let most = 0
  for (const { network } of entries) {
    if (network === undefined) continue
    const count = (counts.get(network) ?? 0) + 1
    counts.set(network, count)
    if (count > most) most = count
  }
  let found: Entry | undefined
  for (const entry of entries) {
    if (entry.network === undefined || counts.get(entry.network) !== most) continue
    if (found === undefined || entry.order > found.order) found = entry
  }
  return found ?? oldest(entries, cap)
}

/** Of more than `cap` entries, the earliest put one that is not an endpoint. */
const earliest = (entries: ReadonlyArray<Entry>, cap: number): Entry | undefined =>
  entries.length <= cap ? undefined : entries.find(({ record }) => record.type !== Record.RecordType.endpoint)

/** Of more than `cap` entries, the one with the oldest timestamp. */
const oldest = (entries: ReadonlyArray<Entry>, cap: number): Entry | undefined => {
  if (entries.length <= cap) return undefined
  return entries.reduce((oldest, entry) => entry.record.timestamp < oldest.record.timestamp ? entry : oldest)
}
