/**
 * A tree of files in memory with the semantics of POSIX, and what a power cut leaves
 * of it. Paths are absolute or relative to the root.
 *
 * @since 0.1.0
 */
import type { OpenFlag, WatchEvent } from "effect/FileSystem"
import type { SystemErrorTag } from "effect/PlatformError"

/**
 * Why an operation is impossible; thrown by the methods of {@link FileTree}.
 *
 * @internal
 */
export class FileError extends Error {
  readonly tag: SystemErrorTag

  constructor(tag: SystemErrorTag, message: string) {
    super(message)
    this.tag = tag
  }
}

const notFound = () => new FileError("NotFound", "no such file or directory")
const exists = () => new FileError("AlreadyExists", "file exists")
const notADirectory = () => new FileError("BadResource", "not a directory")
const isADirectory = () => new FileError("BadResource", "is a directory")
const notEmpty = () => new FileError("Unknown", "directory not empty")
const tooManyLinks = () => new FileError("BadResource", "too many symbolic links")

/**
 * The time of an operation, in milliseconds: for the times of a file, and since the
 * start of the machine.
 *
 * @internal
 */
export interface Now {
  readonly millis: number
  readonly uptimeMillis: number
}

/** Milliseconds until the system writes changed contents to the disk by itself, as Linux does. */
const writeBackMillis = 30_000

/** Most symbolic links on one path. */
const maxLinks = 40

// --- Inodes --------------------------------------------------------------------

/** What a name refers to. */
abstract class Inode {
  readonly number: number
  mode: number
  uid = 0
  gid = 0
  /** Number of names. */
  links = 1
  bornMillis: number
  modifiedMillis: number
  accessedMillis: number

  constructor(number: number, mode: number, now: Now) {
    this.number = number
    this.mode = mode
    this.bornMillis = this.modifiedMillis = this.accessedMillis = now.millis
  }

  protected like(other: Inode): this {
    this.uid = other.uid
    this.gid = other.gid
    this.links = other.links
    this.bornMillis = other.bornMillis
    this.modifiedMillis = other.modifiedMillis
    this.accessedMillis = other.accessedMillis
    return this
  }
}

const nothing = new Uint8Array()

/** @internal */
export class FileInode extends Inode {
  private bytes = nothing
  private length = 0
  /** The contents on the disk, while others are in memory only. */
  private stable: Uint8Array | undefined
  /** When they began to differ. */
  private dirtySinceMillis = 0

  get size(): number {
    return this.length
  }

  /** The contents from `position` on; a view that the next write may change. */
  view(position = 0, size = Infinity): Uint8Array {
    return this.bytes.subarray(Math.min(position, this.length), Math.min(position + size, this.length))
  }

  write(position: number, data: Uint8Array, now: Now): void {
    this.touch(now)
    this.resize(Math.max(this.length, position + data.length))
    this.bytes.set(data, position)
  }

  truncate(length: number, now: Now): void {
    this.touch(now)
    this.resize(length)
  }

  sync(): void {
    this.stable = undefined
  }

  /** The same file after a power cut. */
  afterPowerCut(now: Now): FileInode {
    const file = new FileInode(this.number, this.mode, now).like(this)
    file.bytes = (this.stable === undefined || this.isWrittenBack(now) ? this.view() : this.stable).slice()
    file.length = file.bytes.length
    return file
  }

  private isWrittenBack(now: Now): boolean {
    return now.uptimeMillis - this.dirtySinceMillis >= writeBackMillis
  }

  private touch(now: Now): void {
    this.modifiedMillis = now.millis
    if (this.stable !== undefined && !this.isWrittenBack(now)) return
    this.stable = this.view().slice()
    this.dirtySinceMillis = now.uptimeMillis
  }

  private resize(length: number): void {
    if (length > this.bytes.length) {
      const larger = new Uint8Array(Math.max(length, 2 * this.bytes.length))
      larger.set(this.view())
      this.bytes = larger
    } else if (length < this.length) {
      this.bytes.fill(0, length, this.length)
    }
    this.length = length
  }
}

/** @internal */
export class DirectoryInode extends Inode {
  readonly entries = new Map<string, AnyInode>()

  afterPowerCut(now: Now, copy: (inode: AnyInode) => AnyInode): DirectoryInode {
    const directory = new DirectoryInode(this.number, this.mode, now).like(this)
    for (const [name, inode] of this.entries) directory.entries.set(name, copy(inode))
    return directory
  }
}

/** @internal */
export class LinkInode extends Inode {
  readonly target: string

  constructor(number: number, target: string, now: Now) {
    super(number, 0o777, now)
    this.target = target
  }
}

/** @internal */
export type AnyInode = FileInode | DirectoryInode | LinkInode

// --- The tree ------------------------------------------------------------------

/** A name in a directory, whether it exists or not. */
interface Place {
  readonly parent: DirectoryInode
  readonly name: string
  readonly inode: AnyInode | undefined
  /** Without symbolic links. */
  readonly path: string
}

/**
 * Is told of each change below a path.
 *
 * @internal
 */
export interface Watcher {
  readonly path: string
  readonly recursive: boolean
  readonly emit: (event: WatchEvent) => void
}

const partsOf = (path: string): ReadonlyArray<string> => path.split("/").filter((part) => part !== "" && part !== ".")

const inside = (path: string, name: string): string => path === "/" ? `/${name}` : `${path}/${name}`

/**
 * A file, open for some operations.
 *
 * @internal
 */
export interface Open {
  readonly file: FileInode
  readonly path: string
  readonly canRead: boolean
  readonly canWrite: boolean
  readonly appends: boolean
}

/** @internal */
export class FileTree {
  private readonly root: DirectoryInode
  private inodes: number
  private readonly watchers = new Set<Watcher>()

  private constructor(root: DirectoryInode, inodes: number) {
    this.root = root
    this.inodes = inodes
  }

  /** A tree with the directory for temporary files. */
  static make(now: Now): FileTree {
    const tree = new FileTree(new DirectoryInode(1, 0o755, now), 1)
    tree.makeDirectory("/tmp", { mode: 0o777 }, now)
    return tree
  }

  /**
   * What a power cut leaves: all names, but of each file only the contents that were
   * synced, or had changed so long ago that the system has written them by itself.
   * This tree is not changed, and changes of it do not change that one.
   */
  afterPowerCut(now: Now): FileTree {
    const copies = new Map<AnyInode, AnyInode>()
    const copy = (inode: AnyInode): AnyInode => {
      const known = copies.get(inode)
      if (known !== undefined) return known
      const copied = inode instanceof LinkInode ? inode : inode.afterPowerCut(now, copy)
      copies.set(inode, copied)
      return copied
    }
    return new FileTree(this.root.afterPowerCut(now, copy), this.inodes)
  }

  // --- Looking up

  /** The inode at a path; fails without one. */
  get(path: string, options?: { readonly follow?: boolean }): AnyInode {
    const { inode } = this.locate(path, options?.follow ?? true)
    if (inode === undefined) throw notFound()
    return inode
  }

  realPath(path: string): string {
    const place = this.locate(path, true)
    if (place.inode === undefined) throw notFound()
    return place.path
  }

  readLink(path: string): string {
    const inode = this.get(path, { follow: false })
    if (!(inode instanceof LinkInode)) throw new FileError("Unknown", "not a symbolic link")
    return inode.target
  }

  /** The names in a directory in order, or the paths of all below it. */
  list(path: string, recursive = false): ReadonlyArray<readonly [path: string, inode: AnyInode]> {
    const directory = this.get(path)
    if (!(directory instanceof DirectoryInode)) throw notADirectory()
    const below = (inode: DirectoryInode, prefix: string): ReadonlyArray<readonly [string, AnyInode]> =>
      Array.from(inode.entries)
        .toSorted(([a], [b]) => a < b ? -1 : 1)
        .flatMap(([name, inode]) => [
          [prefix + name, inode] as const,
          ...(recursive && inode instanceof DirectoryInode ? below(inode, `${prefix}${name}/`) : [])
        ])
    return below(directory, "")
  }

  private locate(path: string, follow: boolean): Place {
    if (path === "") throw notFound()
    const trail: Array<{ readonly name: string; readonly directory: DirectoryInode }> = []
    const parts = [...partsOf(path)]
    const here = () => trail.at(-1)?.directory ?? this.root
    const pathTo = (name: string) => `/${[...trail.map(({ name }) => name), name].join("/")}`
    let links = 0
    while (parts.length > 0) {
      const name = parts.shift()!
      if (name === "..") {
        trail.pop()
        continue
      }
      const inode = here().entries.get(name)
      const isLast = parts.length === 0
      if (inode instanceof LinkInode && (follow || !isLast)) {
        if (++links > maxLinks) throw tooManyLinks()
        if (inode.target.startsWith("/")) trail.length = 0
        parts.unshift(...partsOf(inode.target))
      } else if (isLast) {
        return { parent: here(), name, inode, path: pathTo(name) }
      } else if (inode instanceof DirectoryInode) {
        trail.push({ name, directory: inode })
      } else {
        throw inode === undefined ? notFound() : notADirectory()
      }
    }
    const last = trail.pop()
    return last === undefined
      ? { parent: this.root, name: "", inode: this.root, path: "/" }
      : { parent: here(), name: last.name, inode: last.directory, path: pathTo(last.name) }
  }

  // --- Names

  makeDirectory(
    path: string,
    options: { readonly recursive?: boolean | undefined; readonly mode?: number | undefined } = {},
    now: Now
  ): void {
    const { mode = 0o777, recursive = false } = options
    if (recursive) {
      const parts = partsOf(path)
      for (let i = 1; i < parts.length; i++) {
        const above = parts.slice(0, i).join("/")
        if (this.locate(above, true).inode === undefined) this.makeDirectory(above, { mode }, now)
      }
    }
    const place = this.locate(path, true)
    if (place.inode !== undefined) {
      if (recursive && place.inode instanceof DirectoryInode) return
      throw exists()
    }
    this.enter(place, new DirectoryInode(++this.inodes, mode, now), now)
  }

  /** Makes a new directory whose path begins with `prefix`; returns its path. */
  makeTemporary(prefix: string, now: Now): string {
    for (let n = 0;; n++) {
      const path = prefix + n.toString(36).padStart(6, "0")
      if (this.locate(path, false).inode !== undefined) continue
      this.makeDirectory(path, { mode: 0o700 }, now)
      return path
    }
  }

  link(from: string, to: string, now: Now): void {
    const inode = this.get(from, { follow: false })
    if (inode instanceof DirectoryInode) throw new FileError("PermissionDenied", "a directory has one name")
    this.enter(this.vacant(to), inode, now)
    inode.links++
  }

  symlink(target: string, path: string, now: Now): void {
    this.enter(this.vacant(path), new LinkInode(++this.inodes, target, now), now)
  }

  rename(from: string, to: string, now: Now): void {
    const source = this.locate(from, false)
    const target = this.locate(to, false)
    const { inode } = source
    if (inode === undefined) throw notFound()
    if (inode === target.inode) return
    if (target.path === "/" || `${target.path}/`.startsWith(`${source.path}/`)) {
      throw new FileError("Unknown", "a directory cannot move into itself")
    }
    if (target.inode instanceof DirectoryInode) {
      if (!(inode instanceof DirectoryInode)) throw isADirectory()
      if (target.inode.entries.size > 0) throw notEmpty()
    } else if (target.inode !== undefined) {
      if (inode instanceof DirectoryInode) throw notADirectory()
      target.inode.links--
    }
    this.leave(source, now)
    this.enter(target, inode, now)
  }

  remove(
    path: string,
    options: { readonly recursive?: boolean | undefined; readonly force?: boolean | undefined } = {},
    now: Now
  ): void {
    const { force = false, recursive = false } = options
    let place: Place
    try {
      place = this.locate(path, false)
    } catch (error) {
      if (force && error instanceof FileError && error.tag === "NotFound") return
      throw error
    }
    const { inode } = place
    if (inode === undefined) {
      if (force) return
      throw notFound()
    }
    if (inode instanceof DirectoryInode) {
      if (!recursive) throw isADirectory()
      if (inode === this.root) throw new FileError("Busy", "the root cannot be removed")
      for (const name of inode.entries.keys()) this.remove(inside(place.path, name), options, now)
    }
    inode.links--
    this.leave(place, now)
  }

  /** Copies a file, a symbolic link, or a directory with everything below it. */
  copy(
    from: string,
    to: string,
    options: { readonly overwrite?: boolean | undefined; readonly preserveTimestamps?: boolean | undefined },
    now: Now
  ): void {
    const source = this.locate(from, false)
    const target = this.locate(to, true)
    const { inode } = source
    if (inode === undefined) throw notFound()
    if (`${target.path}/`.startsWith(`${source.path}/`)) {
      throw new FileError("Unknown", "a file or directory cannot be copied into itself")
    }
    if (inode instanceof DirectoryInode) {
      this.makeDirectory(to, { recursive: true, mode: inode.mode }, now)
      for (const name of inode.entries.keys()) {
        this.copy(inside(source.path, name), inside(target.path, name), options, now)
      }
    } else {
      if (target.inode !== undefined && !options.overwrite) return
      if (inode instanceof LinkInode) {
        if (target.inode !== undefined) this.remove(to, {}, now)
        this.symlink(inode.target, to, now)
      } else {
        this.copyFile(from, to, now)
      }
    }
    if (!options.preserveTimestamps) return
    const copied = this.get(to, { follow: false })
    copied.modifiedMillis = inode.modifiedMillis
    copied.accessedMillis = inode.accessedMillis
  }

  copyFile(from: string, to: string, now: Now): void {
    const source = this.get(from)
    if (!(source instanceof FileInode)) throw isADirectory()
    if (this.locate(to, true).inode === source) return
    const { file, path } = this.open(to, { flag: "w", mode: source.mode }, now)
    file.write(0, source.view(), now)
    this.changed("Update", path)
  }

  // --- Files

  open(
    path: string,
    options: {
      readonly flag?: OpenFlag | undefined
      readonly mode?: number | undefined
      readonly noFollow?: boolean | undefined
    },
    now: Now
  ): Open {
    const { flag = "r", mode = 0o666, noFollow = false } = options
    const place = this.locate(path, !noFollow)
    const isNew = place.inode === undefined
    if (isNew && flag.startsWith("r")) throw notFound()
    if (!isNew && flag.includes("x")) throw exists()
    const file = place.inode ?? new FileInode(++this.inodes, mode, now)
    if (file instanceof DirectoryInode) throw isADirectory()
    if (file instanceof LinkInode) throw tooManyLinks()
    if (isNew) this.enter(place, file, now)
    else if (flag.startsWith("w")) this.truncate({ file, path: place.path }, 0, now)
    return {
      file,
      path: place.path,
      canRead: flag.startsWith("r") || flag.endsWith("+"),
      canWrite: flag !== "r",
      appends: flag.startsWith("a")
    }
  }

  /** Writes at a position, or at the end of a file that is open to append. */
  write({ appends, canWrite, file, path }: Open, position: number, data: Uint8Array, now: Now): void {
    if (!canWrite) throw new FileError("BadResource", "the file is not open for writing")
    file.write(appends ? file.size : position, data, now)
    this.changed("Update", path)
  }

  truncate({ file, path }: Pick<Open, "file" | "path">, length: number, now: Now): void {
    file.truncate(length, now)
    this.changed("Update", path)
  }

  // --- Changes

  /** Adds a watcher; returns a function that removes it. */
  watch(watcher: Watcher): () => void {
    this.watchers.add(watcher)
    return () => void this.watchers.delete(watcher)
  }

  private vacant(path: string): Place {
    const place = this.locate(path, false)
    if (place.inode !== undefined) throw exists()
    return place
  }

  private enter({ name, parent, path }: Place, inode: AnyInode, now: Now): void {
    parent.entries.set(name, inode)
    parent.modifiedMillis = now.millis
    this.changed("Create", path)
  }

  private leave({ name, parent, path }: Place, now: Now): void {
    parent.entries.delete(name)
    parent.modifiedMillis = now.millis
    this.changed("Remove", path)
  }

  private changed(tag: WatchEvent["_tag"], path: string): void {
    for (const { emit, path: watched, recursive } of this.watchers) {
      const at = path.lastIndexOf("/")
      const isBelow = recursive && path.startsWith(watched === "/" ? "/" : `${watched}/`)
      if (path === watched) emit({ _tag: tag, path: path.slice(at + 1) })
      else if (isBelow || (path.slice(0, at) || "/") === watched) {
        emit({ _tag: tag, path: path.slice(watched === "/" ? 1 : watched.length + 1) })
      }
    }
  }
}
