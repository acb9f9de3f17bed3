/**
 * A lock on a directory that the kernel releases when its process ends, however
 * it ends. It is SQLite's lock on an empty database, `lock.sqlite`, to which
 * nothing is ever written. `lock.json` records the process that holds it.
 *
 * Unlike a socket name, the lock holds across network namespaces and containers
 * that share the directory. SQLite tracks the files that this process has
 * locked, so it also holds within a process. No other code may open `lock.sqlite`
 * in a process that holds it: closing the file would drop all of the process's
 * locks on it (fcntl, POSIX).
 *
 * @since 0.1.0
 */
import * as Fs from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as NewFile from "./newFile.ts"
import { codeOf, makeDirectory, sqliteBusy, sqliteCannotOpen } from "./stateFile.ts"

/**
 * The process that holds a lock; fields are undefined if unknown.
 *
 * @internal
 */
export interface Holder {
  readonly pid?: number | undefined
  readonly host?: string | undefined
}

/**
 * Outcome of `take`. `Unavailable`: the directory or the file cannot be created or written.
 *
 * @internal
 */
export type Outcome =
  | { readonly _tag: "Locked"; readonly release: () => void }
  | { readonly _tag: "InUse"; readonly holder: Holder }
  | { readonly _tag: "Unavailable"; readonly reason: string }

/**
 * Locks a directory without waiting, creating it if necessary. Throws on a file
 * system without locks.
 *
 * @internal
 */
export const take = (directory: string): Outcome => {
  const path = join(directory, "lock.sqlite")
  let db: DatabaseSync | undefined
  try {
    makeDirectory(directory)
    db = new DatabaseSync(path, { timeout: 0 })
    // SQLite opens a read-only file without locking it.
    Fs.accessSync(path, Fs.constants.W_OK)
  } catch (error) {
    db?.close()
    const code = codeOf(error)
    if (code !== undefined && code !== sqliteCannotOpen) throw error
    return { _tag: "Unavailable", reason: error instanceof Error ? error.message : String(error) }
  }
  try {
    // With an in-memory journal, an empty transaction creates no file.
    db.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE")
  } catch (error) {
    db.close()
    if (codeOf(error) !== sqliteBusy) throw error
    return { _tag: "InUse", holder: holderIn(directory) }
  }
  const locked = db
  recordHolder(directory)
  return {
    _tag: "Locked",
    release: () => {
      Fs.rmSync(holderPath(directory), { force: true })
      locked.close()
    }
  }
}

const holderPath = (directory: string): string => join(directory, "lock.json")

/** Bytes; longer than any host name. */
const maxLength = 1024

const holderIn = (directory: string): Holder => {
  try {
    const path = holderPath(directory)
    const found = Fs.statSync(path)
    // Reading a pipe would block until another process writes to it.
    if (!found.isFile() || found.size > maxLength) return {}
    const { host, pid } = JSON.parse(Fs.readFileSync(path, "utf8"))
    return { pid: Number.isSafeInteger(pid) ? pid : undefined, host: typeof host === "string" ? host : undefined }
  } catch {
    return {}
  }
}

/** Records that this process holds the lock. If that fails, removes the record of the previous holder. */
const recordHolder = (directory: string): void => {
  const path = holderPath(directory)
  try {
    Fs.chmodSync(join(directory, "lock.sqlite"), 0o600)
    NewFile.replaceSync(path, `${JSON.stringify({ pid: process.pid, host: hostname() })}\n`)
  } catch {
    try {
      Fs.rmSync(path, { force: true })
    } catch {}
  }
}
