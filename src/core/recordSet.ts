/**
 * The records a node holds: a bounded map from key to live records.
 *
 * Each category of record has its slots, and a slot holds the newest record
 * put into it. That merge is commutative, associative and idempotent, so nodes
 * that saw the same records in different orders hold the same.
 *
 * Strangers write here for free, so nothing they choose decides what stays:
 *
 * - At a key that is full, the network (/24, /48) with the most records there
 *   gives up one. Among networks with equally many, a hash keyed with a secret
 *   of this node decides. Networks with fewer records lose nothing, nobody can
 *   choose where a record ranks, and each holder of a crowded key keeps a
 *   different sample of it.
 * - In a full set, records far from this node go first, where no reader looks
 *   for them. Within the far and within the near, the network or the address
 *   with the most bytes gives up its latest; a newcomer of that party is
 *   refused. A newer version of a held record is not, unless all others are this
 *   node's own.
 * - What has to go is known before anything does: a record that is refused
 *   changes nothing.
 *
 * Records without a network are this node's own. They never make room for those
 * of strangers; among themselves the oldest record of a key and the least
 * recently used key go, as in the reference.
 *
 * Nothing here takes longer the more keys there are, except where a method
 * says so: the order of use is a ring of links, what expires in the same minute
 * waits in one list, and shares are kept in heaps.
 *
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import type { Address } from "../Address.ts"
import * as Hex from "../internal/hex.ts"
import { sha256Hex } from "../internal/sha256.ts"
import * as NodeId from "../NodeId.ts"
import * as Record from "../Record.ts"
import type { Count, Full, Place, Placed, Row, Rows, Verdict, Watcher } from "../Store.ts"
import { slotOf } from "./recordMerge.ts"
import { Shares } from "./shares.ts"

/**
 * @internal
 */
export const defaultMaxKeys = 100_000

/**
 * @internal
 */
export const defaultMaxBytes = 64 * 1024 * 1024

/**
 * Most records of one key, by category.
 *
 * @internal
 */
export const caps = { sovereign: 8, topic: 100, mailbox: 50, mailboxPerSigner: 4 } as const

/**
 * What a held record costs in memory beside its bytes, rounded up. Measured with
 * 66 000 records of 211 bytes, each at a key of its own, from a network and an
 * address of its own: 1660 bytes each on the heap, 1780 of the process. Where
 * records share a key, a network or an address it is up to 350 less.
 *
 * @internal
 */
export const overheadBytes = 2048

/** The share of a network that does not have much. */
const fewShare = 1 / 32

/** Seconds: records that expire in the same span leave together. */
const spanSeconds = 60

/** Most keys a put into a full set looks at, hoping that one has expired. */
const sweptByPut = 8

/**
 * @internal
 */
export interface Options {
  readonly maxKeys?: number | undefined
  /** For all records together: their bytes and {@link overheadBytes} each. */
  readonly maxBytes?: number | undefined
  /** Keys the order of records; any bytes that strangers do not know. */
  readonly secret?: Uint8Array | undefined
  /** Whether this node may be among the closest to a key. By default it is. */
  readonly isNear?: ((key: NodeId.NodeId) => boolean) | undefined
}

const none: ReadonlyArray<never> = []

/** A record in its slot. */
interface Entry {
  readonly cell: Cell
  /** Counts the entries as they are made. */
  readonly number: number
  readonly category: Record.Category
  readonly slot: string
  readonly record: Record.SignedRecord
  /** The network that brought it; undefined for one of this node's own. */
  network: string | undefined
  /** The records it competes with for room; undefined for one of this node's own. */
  shelf: Shelf | undefined
  /** Its rank among those of its key: 28 bits of a keyed hash of its slot. */
  readonly order: number
  readonly weight: number
  /** Whether it is among those that shall make room. */
  isLeaving: boolean
}

/** Records of strangers that make room for each other. */
class Shelf {
  readonly networks = new Shares<Entry>()
  readonly addresses = new Shares<Entry>()

  /** The latest record of the party with the most bytes, `except` left out. */
  heaviest(except: Entry): Entry | undefined {
    const [network, address] = [this.networks.heaviest(except), this.addresses.heaviest(except)]
    return (network?.weight ?? 0) > (address?.weight ?? 0) ? network?.newest : address?.newest
  }

  /** Whether no party has more bytes than the one that brought the entry. */
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

/** A key and what it holds. Most keys hold one record, so a cell is little more than a list. */
class Cell {
  readonly key: NodeId.NodeId
  /** Counts the cells as they are made: their order in the map. */
  readonly number: number
  /** By category, the one that was put last last; within one in the order they were put. Never changed in place. */
  entries: ReadonlyArray<Entry> = none
  /** By category, and within one by rank; undefined until it is needed after a change. */
  byRank: ReadonlyArray<Entry> | undefined = undefined
  /** No record of this cell expires before this Unix second. */
  nextExpiry = Infinity
  /** The span of `nextExpiry`, and the cell's place in its list; −1 while in none. */
  span = -1
  place = -1
  /** How far its records were served in turn. */
  turn = 0
  /** The neighbours in the order of use. */
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
 * Holds records that have been verified. All times are Unix seconds, and never
 * go back by much.
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
  /** Where the ring of use is closed: the next newer is the least recently used. */
  private readonly ring = new Cell(NodeId.zero, 0)
  private madeCells = 0
  private madeEntries = 0
  /** Records of each type, which has 8 bits. */
  private readonly counts = new Uint32Array(256)
  private readonly spans = new Map<number, Array<Cell>>()
  /** Nothing expires in a span before this one. */
  private sweptTo = 0

  constructor(options: Options = {}) {
    this.maxKeys = options.maxKeys ?? defaultMaxKeys
    this.maxBytes = options.maxBytes ?? defaultMaxBytes
    this.secret = Hex.encode(options.secret ?? new Uint8Array(0))
    this.isNear = options.isNear ?? (() => true)
  }

  /** Keys with at least one record, expired ones included that were not met yet. */
  get size(): number {
    return this.cells.size
  }

  /** How many records there are of each type that has any, expired ones included that were not met yet. */
  get countsByType(): ReadonlyArray<Count> {
    return Array.from(this.counts, (count, type) => ({ type, count })).filter(({ count }) => count > 0)
  }

  /** Bytes that the records take up, their overhead included. */
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
   * Takes a record that is alive at `now`, brought by a peer of this network;
   * without one it is this node's own.
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
    // What is ours stays ours when a peer brings its successor.
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
      weight: record.bytes.length + overheadBytes,
      isLeaving: false
    }
    // A version that takes the place of an older one crowds nobody out.
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

  /** The live records of a key, of one type or of all (0), in the order they were put. */
  getAll(key: NodeId.NodeId, type: number, now: number): Array<Record.SignedRecord> {
    const found: Array<Record.SignedRecord> = []
    const cell = this.live(key, now)
    if (cell === undefined) return found
    this.use(cell)
    for (const { record } of cell.entries) if (type === 0 || record.type === type) found.push(record)
    return found
  }

  /** Those of them that are this node's own. */
  getOwn(key: NodeId.NodeId, type: number, now: number): Array<Record.SignedRecord> {
    const found: Array<Record.SignedRecord> = []
    for (const { network, record } of this.live(key, now)?.entries ?? none) {
      if (network === undefined && (type === 0 || record.type === type)) found.push(record)
    }
    return found
  }

  /**
   * The live records of a key, of one type or of all (0), for an answer that may
   * have no room for all of them: by rank, beginning where the last one ended
   * ({@link served}), so that each has its turn.
   */
  inTurn(key: NodeId.NodeId, type: number, now: number): ReadonlyArray<Record.SignedRecord> {
    const cell = this.live(key, now)
    if (cell === undefined) return none
    this.use(cell)
    const found: Array<Record.SignedRecord> = []
    for (const { record } of byRank(cell)) if (type === 0 || record.type === type) found.push(record)
    if (found.length < 2) return found
    const start = cell.turn % found.length
    return start === 0 ? found : [...found.slice(start), ...found.slice(0, start)]
  }

  /** Says how many of the records in turn were served before the first that was not. */
  served(key: NodeId.NodeId, count: number): void {
    const cell = this.cells.get(key)
    // Any large number does: it only has to be a whole one.
    if (cell !== undefined) cell.turn = (cell.turn + count) % 0x1000_0000
  }

  /**
   * Whether a record may soon have to make room if it counts for this network: the
   * key or the whole set is half full, or the network has much of it already.
   */
  isContended(key: NodeId.NodeId, type: number, network: string): boolean {
    if (this.weight > this.maxBytes / 2 || this.cells.size > this.maxKeys / 2) return true
    const share = this.near.networks.weight(network) + this.far.networks.weight(network)
    if (share > this.maxBytes * fewShare) return true
    const category = Record.category(type)
    const cell = this.cells.get(key)
    if (cell === undefined || category === "sovereign") return false
    const entries = ofCategory(cell, category)
    return entries.length >= caps[category] / 2 ||
      entries.filter((entry) => entry.network === network).length >= caps[category] * fewShare
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
    for (const { cell: { key }, record } of this.entries(now)) yield rowOf(key, record)
  }

  /**
   * Live records, at most `limit`, from the beginning or from a place on; uses
   * no key. What is held all the while that one page after the other is read
   * is on one of them.
   */
  page(now: number, limit: number, from?: Place): Rows {
    const rows: Array<Row> = []
    for (const { entries, key, number } of this.cells.values()) {
      if (from !== undefined && number < from.key) continue
      for (const [i, { record }] of entries.entries()) {
        if (record.expiresAt < now || from?.key === number && i < from.record) continue
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

  private *entries(now: number): Generator<Entry> {
    for (const { entries } of this.cells.values()) {
      for (const entry of entries) if (entry.record.expiresAt >= now) yield entry
    }
  }

  /** The rank of a slot among those of its key. */
  private rank(slot: string): number {
    return parseInt(sha256Hex(encoder.encode(this.secret + slot)).slice(0, 7), 16)
  }

  // --- Entries and cells -----------------------------------------------------

  private insert(entry: Entry): void {
    const { category, cell } = entry
    const others = cell.entries.filter((other) => other.category !== category)
    // What `concat` makes is no larger than it must be, and most keys hold one record.
    setEntries(cell, others.concat(ofCategory(cell, category), entry))
    entry.shelf?.add(entry)
    this.weight += entry.weight
    this.counts[entry.record.type]++
  }

  /** Takes an entry out, and leaves its cell even if that is empty now. */
  private remove(entry: Entry): void {
    setEntries(entry.cell, entry.cell.entries.filter((other) => other !== entry))
    entry.shelf?.remove(entry)
    this.weight -= entry.weight
    this.counts[entry.record.type]--
  }

  /**
   * Lets an entry count for another network that brought it as well, where that
   * has less: otherwise a record would be worth as little as the first who
   * repeated it.
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

  // --- Making room -----------------------------------------------------------

  /**
   * What has to go for a newcomer: the entry that it crowds out of its key, and
   * all that the set is too small for. Undefined where the newcomer is not let
   * in. Nothing has changed afterwards, whichever it is.
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
    // A lower bound of keys takes effect at the next new one.
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

  /** The newcomer where it may not stay, or a stranger's record; undefined where all others are ours, and it is too. */
  private nextToLeave(newcomer: Entry, isRenewal: boolean): Entry | undefined {
    for (const shelf of [this.far, this.near]) {
      // What took the place of an older version has its place.
      if (!isRenewal && newcomer.shelf === shelf && shelf.isHeaviest(newcomer)) return newcomer
      const found = shelf.heaviest(newcomer)
      if (found !== undefined) return found
    }
    return newcomer.network === undefined ? undefined : newcomer
  }

  /** The entries that are not leaving, by use of their keys, the cell in use last; without the one that is replaced. */
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
      // The last of the list takes the place that became free.
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
  cell.byRank = undefined
}

const ofCategory = (cell: Cell, category: Record.Category): ReadonlyArray<Entry> =>
  cell.entries.filter((entry) => entry.category === category)

/** The entries of a cell by category, and within one by rank. */
const byRank = (cell: Cell): ReadonlyArray<Entry> => {
  if (cell.entries.length < 2) return cell.entries
  return cell.byRank ??= Array.from(new Set(cell.entries.map(({ category }) => category))).flatMap((category) =>
    ofCategory(cell, category).toSorted((a, b) => a.order - b.order)
  )
}

/** The entry that has to make room if a newcomer comes into its group, if any. */
const overflow = (newcomer: Entry, others: ReadonlyArray<Entry>): Entry | undefined => {
  const all = [...others, newcomer]
  switch (newcomer.category) {
    case "sovereign":
      // All of them are by the owner of the key.
      return earliest(all, caps.sovereign) ?? oldest(all, caps.sovereign)
    case "topic":
      return crowdedOut(all, caps.topic)
    case "mailbox": {
      const signer = newcomer.slot.slice(0, signerLength)
      const surplus = oldest(all.filter(({ slot }) => slot.startsWith(signer)), caps.mailboxPerSigner)
      if (surplus === undefined) return crowdedOut(all, caps.mailbox)
      // What a sender left before is not lost to what it leaves now: it is told.
      return newcomer.network === undefined ? surplus : newcomer
    }
  }
}

/** Hex digits of the signing key, with which the slot of a mailbox record begins. */
const signerLength = 64

/**
 * Of more than `cap` entries, the one that goes: of those that the networks with
 * the most of them brought, the last in rank. Our own go, the oldest first, only
 * where there are no others.
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

/** Of more than `cap` entries, the earliest put that is no endpoint. */
const earliest = (entries: ReadonlyArray<Entry>, cap: number): Entry | undefined =>
  entries.length <= cap ? undefined : entries.find(({ record }) => record.type !== Record.RecordType.endpoint)

/** Of more than `cap` entries, the one with the oldest timestamp. */
const oldest = (entries: ReadonlyArray<Entry>, cap: number): Entry | undefined => {
  if (entries.length <= cap) return undefined
  return entries.reduce((oldest, entry) => entry.record.timestamp < oldest.record.timestamp ? entry : oldest)
}
