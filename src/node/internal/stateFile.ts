/**
 * The state of a node in a SQLite file, with synchronous access: it belongs on
 * a thread of its own, so that a slow disk does not block the node.
 *
 * Records and facts carry checksums: damaged ones are left out when read.
 * Damaged data is copied before it is deleted. The file is locked while it is
 * open.
 *
 * @since 0.1.0
 */
import { hash } from "node:crypto"
import * as Fs from "node:fs"
import { basename, dirname, join } from "node:path"
import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from "node:sqlite"
import { isDamaged } from "./stateLog.ts"

/**
 * Tables of records; those of `identity` are the texts of hosted identities, at
 * the keys of their addresses.
 *
 * @internal
 */
export type Table = "record" | "publication" | "hosted" | "identity"

/**
 * A step of a batch. Keys, tags and ids are hex digits; a tag distinguishes the
 * records of one key. Times are Unix seconds, except sightings in milliseconds.
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
    /**
     * Of a stored record, the network it was received from, undefined for the node's
     * own; of a hosted one, where it is and when it is due.
     */
    readonly note?: string | undefined
    /** Tag of the record that this one supersedes. */
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
  readonly tag: string
  readonly bytes: Uint8Array
  readonly note: string | undefined
}

/**
 * A page of rows, in insertion order.
 *
 * @internal
 */
export interface Page {
  readonly rows: ReadonlyArray<Row>
  /** Number of rows that failed their checksum and were left out. */
  readonly damaged: number
  /** Copy of the file with the damaged rows, which were deleted from this one; undefined if they could not be. */
  readonly copy: string | undefined
  /** Start of the next page; undefined after the last. */
  readonly next: number | undefined
}

/**
 * @internal
 */
export interface Options {
  readonly path: string
  /** The current time, formatted for a file name. */
  readonly time: string
  readonly maxBytes: number
  readonly migrations?: ReadonlyArray<string> | undefined
}

/**
 * The new path of a damaged file, and what was wrong with it.
 *
 * @internal
 */
export interface SetAside {
  readonly path: string
  readonly reason: string
}

/**
 * Migrations from each version of the schema to the next; the first applies to
 * an empty file.
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
   ALTER TABLE publication ADD COLUMN network TEXT;`,
  `CREATE TABLE hosted
     (key BLOB NOT NULL, tag BLOB NOT NULL, type INTEGER NOT NULL, expires INTEGER NOT NULL, bytes BLOB NOT NULL,
      placed TEXT, sum BLOB NOT NULL);
   CREATE UNIQUE INDEX hosted_name ON hosted (key, tag);`,
  `CREATE TABLE identity
     (key BLOB NOT NULL, tag BLOB NOT NULL, type INTEGER NOT NULL, expires INTEGER NOT NULL, bytes BLOB NOT NULL,
      note TEXT, sum BLOB NOT NULL);
   CREATE UNIQUE INDEX identity_name ON identity (key, tag);`
]

/** The column of each table that has the note of a row. */
const noteColumns: Readonly<Record<Table, string>> = {
  record: "network",
  publication: "network",
  hosted: "placed",
  identity: "note"
}

/** "adht": SQLite's application id of our files. */
const applicationId = 0x61646874

/** Milliseconds to wait for another process to release the file. */
const lockMillis = 2000

const pageSize = 4096
const rowsOfPage = 1000

/** Bytes of a node id. */
const idLength = 32

/** Maximum number of damaged files kept beside the file, for the operator to inspect. */
const maxDamaged = 8

const cleanMillis = 60_000
const sightingMillis = 7 * 24 * 3_600_000
const maxSightings = 100_000

/** The file is damaged; the message describes the damage. */
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
 * The primary result code of SQLite; undefined if the error is not SQLite's.
 *
 * @internal
 */
export const codeOf = (error: unknown): number | undefined =>
  error instanceof Error && "errcode" in error && typeof error.errcode === "number" ? error.errcode & 0xff : undefined

/** A 64-bit checksum. */
const sumOf = (...parts: ReadonlyArray<Uint8Array | string>): Uint8Array =>
  hash("sha256", Buffer.concat(parts.map((part) => typeof part === "string" ? Buffer.from(part) : part)), "buffer")
    .subarray(0, 8)

const fromHex = (text: string): Uint8Array => Buffer.from(text, "hex")
const isBlob = (value: unknown): value is Uint8Array => value instanceof Uint8Array
const isEqual = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex")

/** Reads integers as bigints: a damaged file may contain integers of any size. */
const reading = (db: DatabaseSync, query: string): StatementSync => {
  const statement = db.prepare(query)
  statement.setReadBigInts(true)
  return statement
}

const statementsOf = (db: DatabaseSync) => {
  const forTable = (table: Table) => ({
    put: db.prepare(
      `INSERT OR REPLACE INTO ${table} (key, tag, type, expires, bytes, ${
        noteColumns[table]
      }, sum) VALUES (?, ?, ?, ?, ?, ?, ?)`
    ),
    delete: db.prepare(`DELETE FROM ${table} WHERE key = ? AND tag = ?`),
    expire: db.prepare(`DELETE FROM ${table} WHERE expires < ?`),
    page: reading(
      db,
      `SELECT rowid, key, tag, type, expires, bytes, ${noteColumns[table]} AS note, sum FROM ${table} ` +
        `WHERE rowid > ? ORDER BY rowid LIMIT ${rowsOfPage}`
    ),
    deleteRow: db.prepare(`DELETE FROM ${table} WHERE rowid = ?`)
  })
  return {
    record: forTable("record"),
    publication: forTable("publication"),
    hosted: forTable("hosted"),
    identity: forTable("identity"),
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

  /** Throws an `Error` with a readable reason if the file cannot be used; the file is then unchanged. */
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
      // SQLite finds the files that belong to a database by name.
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

  /** Writes all steps or none, and returns once they are on disk. */
  write(steps: ReadonlyArray<Step>, now: number): void {
    // In a transaction of its own, first: in a full file, expired records make room for new ones.
    if (Math.abs(now - this.cleanedAt) >= cleanMillis) {
      this.transact(() => this.clean(now))
      this.cleanedAt = now
    }
    this.transact(() => {
      for (const step of steps) this.apply(step)
    })
  }

  /** Returns the page of records that starts at `from`, the `next` of the page before; 0 for the first. */
  page(table: Table, from: number): Page {
    const statements = this.statements[table]
    const found = statements.page.all(from)
    const rows: Array<Row> = []
    const damaged: Array<SQLInputValue> = []
    for (const { bytes, expires, key, note, rowid, sum, tag, type } of found) {
      // A damaged file may hold any type in any column.
      const isWhole = isBlob(key) && isBlob(tag) && isBlob(bytes) && isBlob(sum) &&
        (note === null || typeof note === "string") &&
        isEqual(sum, sumOf(key, tag, factsOf(type, expires, note), bytes))
      if (isWhole) rows.push({ key: toHex(key), tag: toHex(tag), bytes, note: note ?? undefined })
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

  /** The value of a fact; undefined if there is none. Throws if it is damaged. */
  fact(name: string): string | undefined {
    try {
      return factIn(this.statements.fact, name)
    } catch (error) {
      this.dropDamaged(() => this.statements.deleteFact.run(name))
      throw error
    }
  }

  /** Sightings of peers, oldest first. */
  seen(): ReadonlyArray<{ readonly id: string; readonly lastSeen: number }> {
    return this.statements.seen.all().flatMap(({ at, id }) =>
      isBlob(id) && id.length === idLength && typeof at === "bigint" ? [{ id: toHex(id), lastSeen: Number(at) }] : []
    )
  }

  /** Copies the state to a file beside it, in place of an earlier copy, and returns its path. */
  backup(): string {
    const target = `${this.options.path}.backup`
    Fs.rmSync(target, { force: true })
    this.copyTo(target)
    return target
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
      // After some errors SQLite has already rolled back.
      if (this.db.isTransaction) this.db.exec("ROLLBACK")
      throw error
    }
  }

  /**
   * Copies the file, then deletes the damaged rows, and returns the path of the
   * copy. If either fails, the rows stay, and the next start leaves them out
   * again.
   */
  private dropDamaged(drop: () => void): string | undefined {
    try {
      this.copied ??= this.setCopyAside()
      this.transact(drop)
      return this.copied
    } catch {
      return undefined
    }
  }

  private setCopyAside(): string {
    const target = placeAside(this.options)
    this.copyTo(target)
    return target
  }

  /** Copies with SQLite: opening and closing the file in any other way would drop the process's lock (fcntl, POSIX). */
  private copyTo(target: string): void {
    Fs.closeSync(Fs.openSync(target, "wx", 0o600))
    try {
      this.db.prepare("VACUUM INTO ?").run(target)
    } catch (error) {
      Fs.rmSync(target)
      throw error
    }
  }

  private apply(step: Step): void {
    const { statements } = this
    switch (step._tag) {
      case "Put": {
        const { bytes, expires, note = null, replaces, type } = step
        const key = fromHex(step.key)
        const tag = fromHex(step.tag)
        const table = statements[step.table]
        if (replaces !== undefined) table.delete.run(key, fromHex(replaces))
        const sum = sumOf(key, tag, factsOf(type, expires, note), bytes)
        table.put.run(key, tag, type, expires, bytes, note, sum)
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
    this.statements.hosted.expire.run(seconds)
    this.statements.dropSeen.run(now - sightingMillis)
  }
}

/** The fields of a row, besides its bytes, that its checksum covers. */
const factsOf = (type: SQLOutputValue, expires: SQLOutputValue, note: string | null): string =>
  note === null ? `${type} ${expires}` : `${type} ${expires} ${note}`

const selectFact = "SELECT value, sum FROM fact WHERE name = ?"

const factIn = (statement: StatementSync, name: string): string | undefined => {
  const row = statement.get(name)
  if (row === undefined) return undefined
  const { sum, value } = row
  if (typeof value !== "string" || !isBlob(sum) || !isEqual(sum, sumOf(name, value))) {
    throw new Error(`the value of "${name}" is damaged`)
  }
  return value
}

/**
 * Reads a fact from a file that no node has open, without changing the file;
 * undefined if there is none.
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

/** Opens the file. Throws `Damage` if it has to be set aside, and another error if it must be left unchanged. */
const open = (
  options: Options
): {
  readonly db: DatabaseSync
  readonly statements: ReturnType<typeof statementsOf>
  readonly setAside: SetAside | undefined
} => {
  const { maxBytes, migrations: steps = migrations, path } = options
  // SQLite would treat a file shorter than a page as new, and delete a log without a database.
  if (Fs.existsSync(path)) {
    const { size } = Fs.statSync(path)
    if (size < pageSize) throw new Damage(`only ${size} bytes of the file are left`)
  } else {
    if (Fs.existsSync(`${path}-wal`)) throw new Damage("only the log of the file is left")
    create(options)
  }
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(path, { timeout: lockMillis })
    // Locks the file against other programs for as long as it is open; the directory is already locked.
    db.exec("PRAGMA locking_mode = EXCLUSIVE")
    const version = numberOf(db, "PRAGMA user_version")
    const id = numberOf(db, "PRAGMA application_id")
    if (id !== applicationId) {
      throw new Error("it is the database of another program and was left unchanged")
    }
    if (version > steps.length) {
      throw new Error(
        `it was written by a later version of effect-dht and was left unchanged ` +
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
 * Creates the file, private to its owner, with its first page: an empty file has
 * therefore lost its content.
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
    // A rename would replace the file of a node started at the same moment; a link fails instead.
    Fs.linkSync(next, path)
  } catch (error) {
    if (!Fs.existsSync(path)) throw error
  } finally {
    Fs.rmSync(next, { force: true })
  }
}

/** Copies a damaged log while the file is locked: SQLite would use its intact beginning and overwrite the rest. */
const keepLog = (options: Options): SetAside | undefined => {
  const log = `${options.path}-wal`
  if (!Fs.existsSync(log) || !isDamaged(Fs.readFileSync(log))) return undefined
  const path = `${placeAside(options)}.log`
  Fs.copyFileSync(log, path, Fs.constants.COPYFILE_EXCL)
  return { path, reason: "the end of its log is lost" }
}

/** A path for a damaged file or a copy of it. */
const placeAside = ({ path, time }: Options): string => {
  const prefix = `${basename(path)}.damaged-`
  const isOne = (name: string) => name.startsWith(prefix) && !name.endsWith("-wal") && !name.endsWith("-shm")
  const { length } = Fs.readdirSync(dirname(path)).filter(isOne)
  if (length >= maxDamaged) {
    throw new Error(
      `it is damaged, like the ${length} files ${prefix}* beside it. Inspect and remove those first`
    )
  }
  return join(dirname(path), `${prefix}${time}`)
}

/**
 * Creates a directory and its parents. Node's `recursive` never returns for a
 * path where directories cannot be created, such as in /proc.
 *
 * @internal
 */
export const makeDirectory = (path: string): void => {
  if (Fs.existsSync(path)) return
  if (dirname(path) !== path) makeDirectory(dirname(path))
  try {
    Fs.mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Another node may have created it first.
    if (!Fs.existsSync(path)) throw error
  }
}

const valueOf = (db: DatabaseSync, query: string): unknown => Object.values(db.prepare(query).get() ?? {})[0]

const numberOf = (db: DatabaseSync, query: string): number => Number(valueOf(db, query))

/**
 * An error as one readable line.
 *
 * @internal
 */
export const reasonOf = (error: unknown): string => {
  const text = error instanceof Error ? error.message : String(error)
  return codeOf(error) === sqliteBusy ? `${text} (another program has it open)` : text
}
