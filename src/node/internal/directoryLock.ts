/**
 * A lock on a directory that ends with the process that holds it, however that
 * ends: the kernel drops it. It is the lock of SQLite on an empty database,
 * `lock.sqlite`, in which nothing is ever written. `lock.json` says which
 * process holds it.
 *
 * Other than the name of a socket, it holds across network namespaces and
 * containers that share the directory; and SQLite knows which files this
 * process has locked, so it holds within a process as well. No other code may
 * open `lock.sqlite` in a process that holds it: closing a file drops all locks
 * that the process has on it (fcntl, POSIX).
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
 * The process that has a directory, as far as that is known.
 *
 * @internal
 */
export interface Holder {
  readonly pid?: number | undefined
  readonly host?: string | undefined
}

/**
 * `Unavailable`: the directory, or the file, cannot be made or written to.
 *
 * @internal
 */
export type Outcome =
  | { readonly _tag: "Locked"; readonly release: () => void }
  | { readonly _tag: "InUse"; readonly holder: Holder }
  | { readonly _tag: "Unavailable"; readonly reason: string }

/**
 * Takes the lock of a directory, which is made if there is none, without
 * waiting. Throws where there are files but no locks.
 *
 * @internal
 */
export const take = (directory: string): Outcome => {
  const path = join(directory, "lock.sqlite")
  let db: DatabaseSync | undefined
  try {
    makeDirectory(directory)
    db = new DatabaseSync(path, { timeout: 0 })
    // SQLite also opens, and does not lock, what it can only read.
    Fs.accessSync(path, Fs.constants.W_OK)
  } catch (error) {
    db?.close()
    const code = codeOf(error)
    if (code !== undefined && code !== sqliteCannotOpen) throw error
    return { _tag: "Unavailable", reason: error instanceof Error ? error.message : String(error) }
  }
  try {
    // The journal of a transaction that writes nothing needs no file.
    db.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE")
  } catch (error) {
    db.close()
    if (codeOf(error) !== sqliteBusy) throw error
    return { _tag: "InUse", holder: holderIn(directory) }
  }
  const locked = db
  say(directory)
  return {
    _tag: "Locked",
    release: () => {
      Fs.rmSync(holderPath(directory), { force: true })
      locked.close()
    }
  }
}

const holderPath = (directory: string): string => join(directory, "lock.json")

/** Bytes; more than any host's name has. */
const maxLength = 1024

const holderIn = (directory: string): Holder => {
  try {
    const path = holderPath(directory)
    const found = Fs.statSync(path)
    // Reading a pipe would wait for somebody who writes to it.
    if (!found.isFile() || found.size > maxLength) return {}
    const { host, pid } = JSON.parse(Fs.readFileSync(path, "utf8"))
    return { pid: Number.isSafeInteger(pid) ? pid : undefined, host: typeof host === "string" ? host : undefined }
  } catch {
    return {}
  }
}

/** Says that this process holds the lock. Where that cannot be written, nothing is said that was true before. */
const say = (directory: string): void => {
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
