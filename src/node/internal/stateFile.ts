/**
 * The state of a node in a SQLite file, synchronous: it belongs on a thread of
 * its own, where a disk that is slow holds up nobody.
 *
 * Records and facts carry a checksum, so what is read is what was written, or
 * is left out. Nothing that is damaged is deleted before a copy of it is kept.
 * The file is locked while it is open.
 *
 * @since 0.1.0
 */
import { hash } from "node:crypto"
import * as Fs from "node:fs"
import { basename, dirname, join } from "node:path"
import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from "node:sqlite"
import { isDamaged } from "./stateLog.ts"

/**
 * Where records are.
 *
 * @internal
 */
export type Table = "record" | "publication"

/**
 * A step of a batch. Keys, tags and ids are hex digits; a tag tells the records
 * of one key apart. Times are Unix seconds, those of sightings milliseconds.
 *
 * @internal
 */
export type Step =
  | {
    readonly _tag: "Put"
    readonly table: Table
    readonly key: string
    readonly tag: string
    readonly type: number
    readonly expires: number
    readonly bytes: Uint8Array
    /** Where a record of the store came from. */
    readonly network?: string | undefined
    /** The tag of the record that it takes the place of. */
    readonly replaces: string | undefined
  }
  | { readonly _tag: "Delete"; readonly table: Table; readonly key: string; readonly tag: string }
  | { readonly _tag: "Clear"; readonly key: string; readonly type: number }
  | { readonly _tag: "Fact"; readonly name: string; readonly value: string }
  | { readonly _tag: "Seen"; readonly sightings: ReadonlyArray<{ readonly id: string; readonly lastSeen: number }> }

/**
 * @internal
 */
export interface Row {
  readonly key: string
  readonly bytes: Uint8Array
  readonly network: string | undefined
}

/**
 * Some rows, in the order they were put.
 *
 * @internal
 */
export interface Page {
  readonly rows: ReadonlyArray<Row>
  /** How many rows are left out because they are not what was written. */
  readonly damaged: number
  /** A copy of the file with those rows, which are deleted in this one; undefined where they had to stay. */
  readonly copy: string | undefined
  /** Where the next page begins; undefined after the last. */
  readonly next: number | undefined
}

/**
 * @internal
 */
export interface Options {
  readonly path: string
  /** The time, as a part of a file name. */
  readonly time: string
  readonly maxBytes: number
  readonly migrations?: ReadonlyArray<string> | undefined
}

/**
 * Where something damaged is now, and what was wrong with it.
 *
 * @internal
 */
export interface SetAside {
  readonly path: string
  readonly reason: string
}

/**
 * From each version of the schema to the next; the first begins with an empty
 * file.
 *
 * @internal
 */
export const migrations: ReadonlyArray<string> = [
  `CREATE TABLE record
     (key BLOB NOT NULL, tag BLOB NOT NULL, type INTEGER NOT NULL, expires INTEGER NOT NULL, bytes BLOB NOT NULL, sum BLOB NOT NULL);
   CREATE UNIQUE INDEX record_name ON record (key, tag);
   CREATE INDEX record_expires ON record (expires);
   CREATE TABLE publication
     (key BLOB NOT NULL, tag BLOB NOT NULL, type INTEGER NOT NULL, expires INTEGER NOT NULL, bytes BLOB NOT NULL, sum BLOB NOT NULL);
   CREATE UNIQUE INDEX publication_name ON publication (key, tag);
   CREATE TABLE fact (name TEXT NOT NULL UNIQUE, value TEXT NOT NULL, sum BLOB NOT NULL);
   CREATE TABLE seen (id BLOB NOT NULL UNIQUE, at INTEGER NOT NULL);`,
  `ALTER TABLE record ADD COLUMN network TEXT;
   ALTER TABLE publication ADD COLUMN network TEXT;`
]

/** "adht": says that a SQLite file is one of these. */
const applicationId = 0x61646874

/** Milliseconds that another process is given to let go of the file. */
const lockMillis = 2000

const pageSize = 4096
const rowsOfPage = 1000

/** Bytes of a node id. */
const idLength = 32

/** Damaged files that may lie beside the file, until somebody looks at them. */
const maxDamaged = 8

const cleanMillis = 60_000
const sightingMillis = 7 * 24 * 3_600_000
const maxSightings = 100_000

/** A file that is damaged, in words. */
class Damage extends Error {}

// Result codes of SQLite, https://sqlite.org/rescode.html
const sqliteError = 1
const sqliteCorrupt = 11
const sqliteNotADatabase = 26

/**
 * Another connection has the lock.
 *
 * @internal
 */
export const sqliteBusy = 5

/**
 * The file cannot be made or opened.
 *
 * @internal
 */
export const sqliteCannotOpen = 14

/**
 * The primary result code of SQLite; undefined where the error is not SQLite's.
 *
 * @internal
 */
export const codeOf = (error: unknown): number | undefined =>
  error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode & 0xff : undefined

/** A checksum of 64 bits. */
const sumOf = (...parts: ReadonlyArray<Uint8Array | string>): Uint8Array =>
  hash("sha256", Buffer.concat(parts.map((part) => typeof part === "string" ? Buffer.from(part) : part)), "buffer")
    .subarray(0, 8)

const fromHex = (text: string): Uint8Array => Buffer.from(text, "hex")
const isBlob = (value: unknown): value is Uint8Array => value instanceof Uint8Array
const isEqual = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex")

/** What a damaged file says may be an integer of any size, which only a bigint can hold. */
const reading = (db: DatabaseSync, query: string): StatementSync => {
  const statement = db.prepare(query)
  statement.setReadBigInts(true)
  return statement
}

const statementsOf = (db: DatabaseSync) => {
  const forTable = (table: Table) => ({
    put: db.prepare(
      `INSERT OR REPLACE INTO ${table} (key, tag, type, expires, bytes, network, sum) VALUES (?, ?, ?, ?, ?, ?, ?)`
    ),
    delete: db.prepare(`DELETE FROM ${table} WHERE key = ? AND tag = ?`),
    expire: db.prepare(`DELETE FROM ${table} WHERE expires < ?`),
    page: reading(
      db,
      `SELECT rowid, key, tag, type, expires, bytes, network, sum FROM ${table} WHERE rowid > ? ORDER BY rowid LIMIT ${rowsOfPage}`
    ),
    deleteRow: db.prepare(`DELETE FROM ${table} WHERE rowid = ?`)
  })
  return {
    record: forTable("record"),
    publication: forTable("publication"),
    clear: db.prepare("DELETE FROM record WHERE key = ? AND (? = 0 OR type = ?)"),
    putFact: db.prepare("INSERT OR REPLACE INTO fact (name, value, sum) VALUES (?, ?, ?)"),
    fact: reading(db, selectFact),
    deleteFact: db.prepare("DELETE FROM fact WHERE name = ?"),
    putSeen: db.prepare("INSERT OR REPLACE INTO seen (id, at) VALUES (?, ?)"),
    seen: reading(db, "SELECT id, at FROM seen ORDER BY at"),
    dropSeen: db.prepare(
      `DELETE FROM seen WHERE at < ? OR rowid <= (SELECT max(rowid) FROM seen) - ${maxSightings}`
    )
  }
}

/**
 * @internal
 */
export class StateFile {
  readonly setAside: SetAside | undefined
  private readonly options: Options
  private readonly db: DatabaseSync
  private readonly statements: ReturnType<typeof statementsOf>
  private cleanedAt = -Infinity
  private copied: string | undefined

  /** Throws an `Error` that says for people why the file cannot be used, and then has not touched it. */
  constructor(options: Options) {
    this.options = options
    const { path } = options
    makeDirectory(dirname(path))
    let opened
    try {
      opened = open(options)
    } catch (error) {
      if (!(error instanceof Damage)) throw error
      const target = placeAside(options)
      // SQLite finds what belongs to a file by its name.
      for (const suffix of ["", "-wal", "-shm"]) {
        if (Fs.existsSync(path + suffix)) Fs.renameSync(path + suffix, target + suffix)
      }
      this.setAside = { path: target, reason: error.message }
      opened = open(options)
    }
    this.setAside ??= opened.setAside
    this.db = opened.db
    this.statements = opened.statements
  }

  /** Writes all steps or none, and returns when they are on disk. */
  write(steps: ReadonlyArray<Step>, now: number): void {
    // First and by itself: in a file that is full, what goes makes room for what comes.
    if (Math.abs(now - this.cleanedAt) >= cleanMillis) {
      this.transact(() => this.clean(now))
      this.cleanedAt = now
    }
    this.transact(() => {
      for (const step of steps) this.apply(step)
    })
  }

  /** Records, from the place on that the page before has told, 0 at first. */
  page(table: Table, from: number): Page {
    const statements = this.statements[table]
    const found = statements.page.all(from)
    const rows: Array<Row> = []
    const damaged: Array<SQLInputValue> = []
    for (const { bytes, expires, key, network, rowid, sum, tag, type } of found) {
      // A damaged file may hold anything anywhere.
      const isWhole = isBlob(key) && isBlob(tag) && isBlob(bytes) && isBlob(sum) &&
        (network === null || typeof network === "string") &&
        isEqual(sum, sumOf(key, tag, factsOf(type, expires, network), bytes))
      if (isWhole) rows.push({ key: toHex(key), bytes, network: network ?? undefined })
      else damaged.push(rowid)
    }
    return {
      rows,
      damaged: damaged.length,
      copy: damaged.length === 0 ? undefined : this.dropDamaged(() => {
        for (const rowid of damaged) statements.deleteRow.run(rowid)
      }),
      next: found.length === rowsOfPage ? Number(found[found.length - 1].rowid) : undefined
    }
  }

  /** Undefined if there is none; throws when it is damaged. */
  fact(name: string): string | undefined {
    try {
      return factIn(this.statements.fact, name)
    } catch (error) {
      this.dropDamaged(() => this.statements.deleteFact.run(name))
      throw error
    }
  }

  /** Those seen longest ago first. */
  seen(): ReadonlyArray<{ readonly id: string; readonly lastSeen: number }> {
    return this.statements.seen.all().flatMap(({ at, id }) =>
      isBlob(id) && id.length === idLength && typeof at === "bigint" ? [{ id: toHex(id), lastSeen: Number(at) }] : []
    )
  }

  close(): void {
    this.db.close()
  }

  private transact(work: () => void): void {
    this.db.exec("BEGIN IMMEDIATE")
    try {
      work()
      this.db.exec("COMMIT")
    } catch (error) {
      // After some errors SQLite has done so by itself.
      if (this.db.isTransaction) this.db.exec("ROLLBACK")
      throw error
    }
  }

  /**
   * Deletes what is damaged once a copy of the file is kept, and returns where
   * that is. Where either cannot be done, all stays: it is left out at the next
   * start again.
   */
  private dropDamaged(drop: () => void): string | undefined {
    try {
      this.copied ??= this.copy()
      this.transact(drop)
      return this.copied
    } catch {
      return undefined
    }
  }

  /** By SQLite: if this process opened the file otherwise, and closed it, the lock would be gone (fcntl, POSIX). */
  private copy(): string {
    const target = placeAside(this.options)
    Fs.closeSync(Fs.openSync(target, "wx", 0o600))
    try {
      this.db.prepare("VACUUM INTO ?").run(target)
    } catch (error) {
      Fs.rmSync(target)
      throw error
    }
    return target
  }

  private apply(step: Step): void {
    const { statements } = this
    switch (step._tag) {
      case "Put": {
        const { bytes, expires, network = null, replaces, type } = step
        const key = fromHex(step.key)
        const tag = fromHex(step.tag)
        const table = statements[step.table]
        if (replaces !== undefined) table.delete.run(key, fromHex(replaces))
        const sum = sumOf(key, tag, factsOf(type, expires, network), bytes)
        table.put.run(key, tag, type, expires, bytes, network, sum)
        return
      }
      case "Delete":
        statements[step.table].delete.run(fromHex(step.key), fromHex(step.tag))
        return
      case "Clear":
        statements.clear.run(fromHex(step.key), step.type, step.type)
        return
      case "Fact":
        statements.putFact.run(step.name, step.value, sumOf(step.name, step.value))
        return
      case "Seen":
        for (const { id, lastSeen } of step.sightings) statements.putSeen.run(fromHex(id), lastSeen)
    }
  }

  private clean(now: number): void {
    const seconds = Math.floor(now / 1000)
    this.statements.record.expire.run(seconds)
    this.statements.publication.expire.run(seconds)
    this.statements.dropSeen.run(now - sightingMillis)
  }
}

/** What a row says beside its bytes, as its checksum covers it. */
const factsOf = (type: SQLOutputValue, expires: SQLOutputValue, network: string | null): string =>
  network === null ? `${type} ${expires}` : `${type} ${expires} ${network}`

const selectFact = "SELECT value, sum FROM fact WHERE name = ?"

const factIn = (statement: StatementSync, name: string): string | undefined => {
  const row = statement.get(name)
  if (row === undefined) return undefined
  const { sum, value } = row
  if (typeof value !== "string" || !isBlob(sum) || !isEqual(sum, sumOf(name, value))) {
    throw new Error(`what it says of "${name}" is damaged`)
  }
  return value
}

/**
 * A fact of a file that is not in use, which is left as it is; undefined where
 * there is none.
 *
 * @internal
 */
export const peek = (path: string, name: string): string | undefined => {
  if (!Fs.existsSync(path)) return undefined
  const db = new DatabaseSync(path, { readOnly: true })
  try {
    return factIn(reading(db, selectFact), name)
  } finally {
    db.close()
  }
}

/** Throws `Damage` for a file that is to be set aside, and another error for one that is to be left alone. */
const open = (
  options: Options
): {
  readonly db: DatabaseSync
  readonly statements: ReturnType<typeof statementsOf>
  readonly setAside: SetAside | undefined
} => {
  const { maxBytes, migrations: steps = migrations, path } = options
  // SQLite takes what is shorter than a page for a new file, and deletes a log without one.
  if (Fs.existsSync(path)) {
    const { size } = Fs.statSync(path)
    if (size < pageSize) throw new Damage(`only ${size} bytes of it are left`)
  } else {
    if (Fs.existsSync(`${path}-wal`)) throw new Damage("only its log is left")
    create(options)
  }
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(path, { timeout: lockMillis })
    // Locked as long as it is open, against other programs: the directory is ours already.
    db.exec("PRAGMA locking_mode = EXCLUSIVE")
    const version = numberOf(db, "PRAGMA user_version")
    const id = numberOf(db, "PRAGMA application_id")
    if (id !== applicationId) {
      throw new Error("it is the database of another program, and stays as it is")
    }
    if (version > steps.length) {
      throw new Error(
        `it was written by a later version of effect-dht, and stays as it is ` +
          `(its schema is ${version}, this version knows ${steps.length})`
      )
    }
    const setAside = keepLog(options)
    db.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA max_page_count = ${
        Math.max(1, Math.floor(maxBytes / pageSize))
      }`
    )
    const check = valueOf(db, "PRAGMA integrity_check(1)")
    if (check !== "ok") throw new Damage(String(check))
    if (version < steps.length) {
      db.exec(
        `BEGIN IMMEDIATE; ${steps.slice(version).join("\n")};
         PRAGMA user_version = ${steps.length}; COMMIT`
      )
    }
    return { db, statements: statementsOf(db), setAside }
  } catch (error) {
    try {
      db?.close()
    } catch {}
    const code = codeOf(error)
    const isDamage = code === sqliteCorrupt || code === sqliteNotADatabase || code === sqliteError
    throw isDamage ? new Damage(error instanceof Error ? error.message : String(error)) : error
  }
}

/**
 * Makes the file, for nobody else's eyes, with its first page in it: so one
 * that is empty has lost what it held.
 */
const create = ({ path, time }: Options): void => {
  const next = `${path}.new-${time}`
  try {
    Fs.closeSync(Fs.openSync(next, "wx", 0o600))
    const db = new DatabaseSync(next)
    try {
      db.exec(`PRAGMA application_id = ${applicationId}`)
    } finally {
      db.close()
    }
    // A rename would replace the file of a node that was started at the same moment, a link never does.
    Fs.linkSync(next, path)
  } catch (error) {
    if (!Fs.existsSync(path)) throw error
  } finally {
    Fs.rmSync(next, { force: true })
  }
}

/** Copies a log that is damaged while the file is locked: SQLite takes its beginning, and writes over the rest. */
const keepLog = (options: Options): SetAside | undefined => {
  const log = `${options.path}-wal`
  if (!Fs.existsSync(log) || !isDamaged(Fs.readFileSync(log))) return undefined
  const path = `${placeAside(options)}.log`
  Fs.copyFileSync(log, path, Fs.constants.COPYFILE_EXCL)
  return { path, reason: "the end of its log is lost" }
}

/** Where a damaged file, or a copy of it, is kept. */
const placeAside = ({ path, time }: Options): string => {
  const prefix = `${basename(path)}.damaged-`
  const isOne = (name: string) => name.startsWith(prefix) && !name.endsWith("-wal") && !name.endsWith("-shm")
  const { length } = Fs.readdirSync(dirname(path)).filter(isOne)
  if (length >= maxDamaged) {
    throw new Error(
      `it is damaged, and so are the ${length} files ${prefix}* beside it, which are to be looked at first`
    )
  }
  return join(dirname(path), `${prefix}${time}`)
}

/**
 * Node's own `recursive` never ends where a directory cannot be, as in /proc.
 *
 * @internal
 */
export const makeDirectory = (path: string): void => {
  if (Fs.existsSync(path)) return
  if (dirname(path) !== path) makeDirectory(dirname(path))
  try {
    Fs.mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Another node may have been faster.
    if (!Fs.existsSync(path)) throw error
  }
}

const valueOf = (db: DatabaseSync, query: string): unknown => Object.values(db.prepare(query).get() ?? {})[0]

const numberOf = (db: DatabaseSync, query: string): number => Number(valueOf(db, query))

/**
 * An error in one line, for people.
 *
 * @internal
 */
export const reasonOf = (error: unknown): string => {
  const text = error instanceof Error ? error.message : String(error)
  return codeOf(error) === sqliteBusy ? `${text} (another program has it open)` : text
}
