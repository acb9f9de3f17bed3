/**
 * The trace of a run: a hash over every delivered datagram and every change of
 * the world. Equal hashes mean equal runs, on any machine.
 *
 * @module
 * @since 0.1.0
 */
import type * as SocketAddress from "../SocketAddress.ts"

/**
 * An entry of a trace. `atMillis` is virtual time since the start.
 *
 * @category models
 * @since 0.1.0
 */
export type Entry =
  | {
    readonly _tag: "Delivered"
    readonly atMillis: number
    /** The sender's address as the receiver sees it. */
    readonly from: SocketAddress.SocketAddress
    readonly to: SocketAddress.SocketAddress
    readonly size: number
    /** Digest of the payload, 8 hex digits. */
    readonly digest: string
  }
  | {
    readonly _tag: "Changed"
    readonly atMillis: number
    /** A node that started or stopped, a cut, or a clock that was set. */
    readonly what: string
  }

/**
 * A trace that hashes all entries and keeps the latest.
 *
 * @category models
 * @since 0.1.0
 */
export class Trace {
  private a = 0x811c9dc5 | 0
  private b = 0x2b5b4a9d
  private count = 0
  private readonly kept: Array<Entry> = []
  private readonly keep: number

  constructor(options: {
    /** Number of latest entries to keep. */
    readonly keep: number
  }) {
    this.keep = options.keep
  }

  /** Hash of all entries so far, 16 hex digits. */
  get hash(): string {
    return hex(this.a) + hex(this.b)
  }

  /** Number of entries so far. */
  get length(): number {
    return this.count
  }

  /** The latest entries, at most as many as are kept. */
  get entries(): ReadonlyArray<Entry> {
    return this.kept.slice(-this.keep)
  }

  delivered(
    atMillis: number,
    from: SocketAddress.SocketAddress,
    to: SocketAddress.SocketAddress,
    payload: Uint8Array
  ): void {
    const digest = digestOf(payload)
    this.time(atMillis)
    this.text(from.host)
    this.fold(from.port)
    this.text(to.host)
    this.fold(to.port)
    this.fold(payload.length)
    this.fold(digest)
    this.count++
    if (this.keep > 0) {
      this.record({ _tag: "Delivered", atMillis, from, to, size: payload.length, digest: hex(digest) })
    }
  }

  changed(atMillis: number, what: string): void {
    this.time(atMillis)
    this.text(what)
    this.count++
    if (this.keep > 0) this.record({ _tag: "Changed", atMillis, what })
  }

  private record(entry: Entry): void {
    this.kept.push(entry)
    if (this.kept.length >= 2 * this.keep) this.kept.splice(0, this.keep)
  }

  private time(atMillis: number): void {
    const micros = Math.round(atMillis * 1000)
    this.fold(micros)
    this.fold(micros / 0x100000000)
  }

  private text(text: string): void {
    this.fold(text.length)
    for (let i = 0; i < text.length; i++) this.fold(text.charCodeAt(i))
  }

  private fold(word: number): void {
    this.a = Math.imul(this.a ^ word, 0x01000193)
    this.b = Math.imul(this.b ^ this.a ^ (this.a >>> 15), 0x85ebca6b)
  }
}

/** Digest of bytes, four at a time for speed: every datagram of a run is digested. */
const digestOf = (bytes: Uint8Array): number => {
  const words = bytes.length & ~3
  let digest = 0x811c9dc5
  let at = 0
  for (; at < words; at += 4) {
    const word = bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | bytes[at + 3] << 24
    digest = Math.imul(digest ^ word ^ digest >>> 15, 0x01000193)
  }
  for (; at < bytes.length; at++) digest = Math.imul(digest ^ bytes[at], 0x01000193)
  return digest
}

const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, "0")
