/**
 * The part of a table of identities that one runner of a cluster hosts.
 *
 * The key space is divided into buckets. A runner gains and loses buckets, reads
 * the rows of those that it has, and follows changes. This core says which
 * identities to host, to withdraw and to drop.
 *
 * A bucket that was lost is hosted until it is released: while the database is
 * out of reach, no runner knows who has it, and two hosts do no harm.
 *
 * @internal
 */

/**
 * Number of buckets, each of which is a part of the key space.
 *
 * @internal
 */
export const buckets = 256

/**
 * The bucket of a key: its first byte.
 *
 * @internal
 */
export const bucketOf = (key: string): number => Number.parseInt(key.slice(0, 2), 16)

/**
 * A row of the table. A later version of the row has a higher number.
 *
 * @internal
 */
export interface Row {
  readonly address: string
  readonly bucket: number
  readonly version: number
  /** Whether the identity is to be withdrawn. */
  readonly isRemoved: boolean
}

/**
 * What to do with an identity.
 *
 * - `Host`: host it, or change it if it is hosted.
 * - `Withdraw`: withdraw its records and delete the row.
 * - `Drop`: stop hosting it, and leave its records.
 *
 * @internal
 */
export type Action<R extends Row> =
  | { readonly _tag: "Host" | "Withdraw"; readonly row: R }
  | { readonly _tag: "Drop"; readonly address: string }

/** A bucket that the runner has, or whose identities it still hosts. */
interface Held {
  /** When it was lost; undefined while the runner has it. */
  lostAt: number | undefined
  isLoaded: boolean
  /** The versions of the identities that are hosted. */
  readonly versions: Map<string, number>
}

/**
 * @internal
 */
export class Share<R extends Row> {
  private readonly held = new Map<number, Held>()

  /** Number of hosted identities. */
  get size(): number {
    let size = 0
    for (const { versions } of this.held.values()) size += versions.size
    return size
  }

  /** The version of an identity of a bucket that is hosted. */
  versionOf(bucket: number, address: string): number | undefined {
    return this.held.get(bucket)?.versions.get(address)
  }

  /** The buckets that the runner has. */
  get owned(): ReadonlyArray<number> {
    return this.filter(({ lostAt }) => lostAt === undefined)
  }

  /** The buckets that the runner has, and whose rows are to be read. */
  get unloaded(): ReadonlyArray<number> {
    return this.filter(({ isLoaded, lostAt }) => lostAt === undefined && !isLoaded)
  }

  /** The buckets whose changes are to be followed. */
  get followed(): ReadonlyArray<number> {
    return this.filter(({ isLoaded, lostAt }) => lostAt === undefined && isLoaded)
  }

  /** The buckets that were lost at `time` or before, and whose identities are still hosted. */
  lostBy(time: number): ReadonlyArray<number> {
    return this.filter(({ lostAt }) => lostAt !== undefined && lostAt <= time)
  }

  gain(bucket: number): void {
    const held = this.held.get(bucket)
    if (held === undefined) this.held.set(bucket, { lostAt: undefined, isLoaded: false, versions: new Map() })
    else held.lostAt = undefined
  }

  lose(bucket: number, now: number): void {
    const held = this.held.get(bucket)
    if (held?.lostAt !== undefined || held === undefined) return
    held.lostAt = now
    held.isLoaded = false
  }

  /** Drops the identities of a bucket that was lost. */
  release(bucket: number): ReadonlyArray<Action<R>> {
    const held = this.held.get(bucket)
    if (held?.lostAt === undefined) return []
    this.held.delete(bucket)
    return Array.from(held.versions.keys(), (address) => ({ _tag: "Drop", address }))
  }

  /** Reports all rows of a bucket. */
  loaded(bucket: number, rows: ReadonlyArray<R>): ReadonlyArray<Action<R>> {
    const held = this.held.get(bucket)
    if (held === undefined || held.lostAt !== undefined) return []
    held.isLoaded = true
    const missing = new Set(held.versions.keys())
    for (const { address } of rows) missing.delete(address)
    // Another runner withdrew them, and deleted their rows.
    const drops = Array.from(missing, (address): Action<R> => ({ _tag: "Drop", address }))
    for (const address of missing) held.versions.delete(address)
    return [...drops, ...this.changed(rows)]
  }

  /** Reports rows that have changed; those of other buckets, and those that are known, count for nothing. */
  changed(rows: ReadonlyArray<R>): ReadonlyArray<Action<R>> {
    return rows.flatMap((row): ReadonlyArray<Action<R>> => {
      const held = this.held.get(row.bucket)
      if (held?.isLoaded !== true) return []
      const known = held.versions.get(row.address)
      if (known !== undefined && known >= row.version) return []
      if (row.isRemoved) held.versions.delete(row.address)
      else held.versions.set(row.address, row.version)
      return [{ _tag: row.isRemoved ? "Withdraw" : "Host", row }]
    })
  }

  private filter(predicate: (held: Held) => boolean): ReadonlyArray<number> {
    return [...this.held].flatMap(([bucket, held]) => predicate(held) ? [bucket] : [])
  }
}
