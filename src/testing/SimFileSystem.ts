/**
 * Effect's `FileSystem` in memory, for programs under virtual time: it needs no
 * promise, and its times are those of the clock. Each machine of a `SimWorld` has
 * one.
 *
 * A crash of the machine is a power cut: names survive it, but of each file only the
 * contents that were synced (`File.sync`), or that had changed at least 30 seconds
 * before, when the system would have written them by itself. Modes and owners are
 * kept, not enforced.
 *
 * @module
 * @since 0.1.0
 */
import * as ByteSize from "effect/ByteSize"
import type * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { badArgument, type PlatformError, systemError } from "effect/PlatformError"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import {
  type AnyInode,
  DirectoryInode,
  FileError,
  FileInode,
  FileTree,
  type Now,
  type Open
} from "./internal/fileTree.ts"

/**
 * The disk of a machine.
 *
 * @internal
 */
export interface Disk {
  readonly fileSystem: FileSystem.FileSystem
  /**
   * The disk as a power cut leaves it now. This one is not changed: what
   * programs write to it while they close is lost.
   */
  readonly afterPowerCut: (clock: Clock.Clock) => Disk
}

const nowBy = (clock: Clock.Clock): Now => ({
  millis: clock.currentTimeMillisUnsafe(),
  uptimeMillis: Number(clock.monotonicTimeNanosUnsafe() / 1_000_000n)
})

const failure = (error: unknown, method: string, path: string): PlatformError => {
  if (!(error instanceof FileError)) throw error
  const { message, tag } = error
  return systemError({ _tag: tag, module: "FileSystem", method, pathOrDescriptor: path, description: message })
}

/** Runs a synchronous operation; a `FileError` becomes the error of the file system. */
const attempt = <A>(method: string, path: string, run: (now: Now) => A): Effect.Effect<A, PlatformError> =>
  Effect.clockWith((clock) => {
    try {
      return Effect.succeed(run(nowBy(clock)))
    } catch (error) {
      return Effect.fail(failure(error, method, path))
    }
  })

const typeOf = (inode: AnyInode): FileSystem.File.Type =>
  inode instanceof FileInode ? "File" : inode instanceof DirectoryInode ? "Directory" : "SymbolicLink"

const dateOf = (millis: number) => Option.some(DateTime.toDate(DateTime.makeUnsafe(millis)))

const infoOf = (inode: AnyInode): FileSystem.File.Info => ({
  type: typeOf(inode),
  mtime: dateOf(inode.modifiedMillis),
  atime: dateOf(inode.accessedMillis),
  birthtime: dateOf(inode.bornMillis),
  dev: 1n,
  ino: Option.some(BigInt(inode.number)),
  mode: inode.mode,
  nlink: Option.some(BigInt(inode.links)),
  uid: Option.some(inode.uid),
  gid: Option.some(inode.gid),
  rdev: Option.none(),
  size: ByteSize.bytes(inode instanceof FileInode ? inode.size : 0),
  blksize: Option.none(),
  blocks: Option.none()
})

// --- Files ---------------------------------------------------------------------

/** An open file, with its position. */
const fileOf = (tree: FileTree, open: Open): FileSystem.File => {
  const { file, path } = open
  let position = 0
  const invalid = (method: string, description: string) =>
    Effect.fail(badArgument({ module: "FileSystem", method, description }))

  /** A copy of the next bytes, or of those at a given position. */
  const read = (method: string, size: number, options: FileSystem.File.ReadOptions = {}) => {
    const given = options.position === undefined ? undefined : Number(options.position)
    if (!Number.isInteger(size) || size < 0) return invalid(method, "The size must be a non-negative integer")
    if (given !== undefined && given < 0) return invalid(method, "Cannot read before the start of the file")
    return attempt(method, path, () => {
      if (!open.canRead) throw new FileError("BadResource", "the file is not open for reading")
      const bytes = file.view(given ?? position, size).slice()
      if (given === undefined) position += bytes.length
      return bytes
    })
  }

  const write = (method: string, data: Uint8Array) =>
    attempt(method, path, (now) => {
      tree.write(open, position, data, now)
      if (!open.appends) position += data.length
      return data.length
    })

  return {
    [FileSystem.FileTypeId]: FileSystem.FileTypeId,
    stat: Effect.sync(() => infoOf(file)),
    seek: (offset, from) =>
      Effect.suspend(() => {
        const sought = from === "start" ? Number(offset) : position + Number(offset)
        if (sought < 0) return invalid("seek", "Cannot seek before the start of the file")
        position = sought
        return Effect.succeed(BigInt(position))
      }),
    sync: Effect.sync(() => file.sync()),
    read: (buffer, options) =>
      Effect.map(read("read", buffer.length, options), (bytes) => {
        buffer.set(bytes)
        return bytes.length
      }),
    readAlloc: (size, options) =>
      Effect.map(read("readAlloc", size, options), (bytes) => bytes.length === 0 ? Option.none() : Option.some(bytes)),
    truncate: (length = 0) =>
      attempt("truncate", path, (now) => {
        tree.truncate(open, length, now)
        if (!open.appends) position = Math.min(position, length)
      }),
    write: (buffer) => write("write", buffer),
    writeAll: (buffer) => Effect.asVoid(write("writeAll", buffer))
  }
}

// --- The file system -----------------------------------------------------------

const diskOf = (tree: FileTree): Disk => {
  const get = (method: string, path: string, follow = true) =>
    attempt(method, path, () => infoOf(tree.get(path, { follow })))

  const readFile = (path: string) =>
    attempt("readFile", path, () => {
      const inode = tree.get(path)
      if (!(inode instanceof FileInode)) throw new FileError("BadResource", "is a directory")
      return inode.view().slice()
    })

  const makeTempDirectory: FileSystem.FileSystem["makeTempDirectory"] = ({ directory = "/tmp", prefix = "" } = {}) =>
    attempt("makeTempDirectory", directory, (now) => tree.makeTemporary(`${directory}/${prefix}`, now))

  const makeTempFile: FileSystem.FileSystem["makeTempFile"] = ({ suffix = "", ...options } = {}) =>
    Effect.flatMap(makeTempDirectory(options), (directory) => {
      const path = `${directory}/file${suffix}`
      return attempt("makeTempFile", path, (now) => {
        tree.open(path, { flag: "w" }, now)
        return path
      })
    })

  const remove: FileSystem.FileSystem["remove"] = (path, options) =>
    attempt("remove", path, (now) => tree.remove(path, options, now))

  const directoryOf = (path: string) => path.slice(0, path.lastIndexOf("/"))

  const removeWhole = (path: string) => Effect.orDie(remove(path, { recursive: true, force: true }))

  const fileSystem = FileSystem.make({
    access: (path) => attempt("access", path, () => void tree.get(path)),
    copy: (from, to, options = {}) => attempt("copy", from, (now) => tree.copy(from, to, options, now)),
    copyFile: (from, to) => attempt("copyFile", from, (now) => tree.copyFile(from, to, now)),
    chmod: (path, mode) =>
      attempt("chmod", path, () => {
        tree.get(path).mode = mode
      }),
    chown: (path, uid, gid) => attempt("chown", path, () => void Object.assign(tree.get(path), { uid, gid })),
    link: (from, to) => attempt("link", from, (now) => tree.link(from, to, now)),
    lstat: (path) => get("lstat", path, false),
    makeDirectory: (path, options) => attempt("makeDirectory", path, (now) => tree.makeDirectory(path, options, now)),
    makeTempDirectory,
    makeTempDirectoryScoped: (options) => Effect.acquireRelease(makeTempDirectory(options), removeWhole),
    makeTempFile,
    makeTempFileScoped: (options) =>
      Effect.acquireRelease(makeTempFile(options), (path) => removeWhole(directoryOf(path))),
    open: (path, options = {}) =>
      Effect.map(attempt("open", path, (now) => tree.open(path, options, now)), (open) => fileOf(tree, open)),
    readDirectory: (path, { recursive } = {}) =>
      attempt("readDirectory", path, () => tree.list(path, recursive).map(([name]) => name)),
    readDirectoryEntries: (path) =>
      attempt(
        "readDirectoryEntries",
        path,
        () => tree.list(path).map(([name, inode]) => ({ name, type: typeOf(inode) }))
      ),
    readFile,
    readLink: (path) => attempt("readLink", path, () => tree.readLink(path)),
    realPath: (path) => attempt("realPath", path, () => tree.realPath(path)),
    remove,
    rename: (from, to) => attempt("rename", from, (now) => tree.rename(from, to, now)),
    stat: (path) => get("stat", path),
    symlink: (target, path) => attempt("symlink", path, (now) => tree.symlink(target, path, now)),
    truncate: (path, length = 0) =>
      attempt("truncate", path, (now) => tree.truncate(tree.open(path, { flag: "r+" }, now), length, now)),
    utimes: (path, accessed, modified) =>
      attempt("utimes", path, () => {
        // Numbers are in seconds, as in Node.
        const millis = (time: Date | number) => typeof time === "number" ? time * 1000 : time.getTime()
        Object.assign(tree.get(path), { accessedMillis: millis(accessed), modifiedMillis: millis(modified) })
      }),
    watch: (path, { onReady, recursive = false } = {}) =>
      Stream.callback((queue) =>
        Effect.flatMap(attempt("watch", path, () => tree.realPath(path)), (path) =>
          Effect.acquireRelease(
            Effect.sync(() => {
              const stop = tree.watch({ path, recursive, emit: (event) => void Queue.offerUnsafe(queue, event) })
              onReady?.()
              return stop
            }),
            (stop) => Effect.sync(stop)
          ))
      ),
    writeFile: (path, data, { flag = "w", mode } = {}) =>
      attempt("writeFile", path, (now) => tree.write(tree.open(path, { flag, mode }, now), 0, data, now))
  })

  return { fileSystem, afterPowerCut: (clock) => diskOf(tree.afterPowerCut(nowBy(clock))) }
}

/**
 * Creates an empty disk.
 *
 * @internal
 */
export const makeDisk = (clock: Clock.Clock): Disk => diskOf(FileTree.make(nowBy(clock)))

/**
 * Provides a file system that is empty but for the directory `/tmp`, for a test
 * without a world.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<FileSystem.FileSystem> = Layer.effect(
  FileSystem.FileSystem,
  Effect.clockWith((clock) => Effect.sync(() => makeDisk(clock).fileSystem))
)
