/**
 * CBOR (RFC 8949) as the protocol uses it: written in the canonical form of
 * RFC 7049 §3.9, read strictly and without ever throwing.
 *
 * A `Reader` is a cursor over untrusted bytes. Its first fault is sticky: every
 * later read returns a harmless default, so a decoder reads all fields in a row
 * and checks for a fault once, at the end. Reading allocates nothing but the
 * values it returns.
 *
 * @since 0.1.0
 */
import * as Hex from "../internal/hex.ts"

/**
 * Deepest nesting of arrays, maps and tags.
 *
 * @internal
 */
export const maxDepth = 16

/**
 * CBOR major types.
 *
 * @internal
 */
export const Major = { uint: 0, negative: 1, bytes: 2, text: 3, array: 4, map: 5, tag: 6, simple: 7 } as const

const NULL = 0xf6
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const encoder = new TextEncoder()
const empty = new Uint8Array(0)

/** Text up to this many bytes is decoded here: the decoder's call costs more. */
const shortText = 8

/**
 * Reads CBOR from `bytes[start, end)`. More than `maxItems` items are a fault; by
 * default only the length of the input bounds them, as an item takes a byte at least.
 *
 * @internal
 */
export class Reader {
  readonly bytes: Uint8Array
  readonly end: number
  readonly maxItems: number
  at: number
  /** Items that may still be read or skipped, those within others included. */
  itemsLeft: number
  /** The first fault; undefined without one. */
  fault: string | undefined = undefined

  constructor(bytes: Uint8Array, start = 0, end = bytes.length, maxItems = bytes.length) {
    this.bytes = bytes
    this.at = start
    this.end = end
    this.maxItems = maxItems
    this.itemsLeft = maxItems
  }

  fail(reason: string): void {
    if (this.fault === undefined) this.fault = reason
    // At the end, every further read fails as truncated.
    this.at = this.end
  }

  /** Whether the next item is null; consumes it if so. */
  null(): boolean {
    if (this.at >= this.end || this.bytes[this.at] !== NULL) return false
    this.at++
    this.count()
    return true
  }

  /** Whether the next item is the integer `expected`, below 24; consumes it if so. */
  key(expected: number): boolean {
    if (this.at >= this.end || this.bytes[this.at] !== expected) return false
    this.at++
    this.count()
    return true
  }

  /** The major type of the next item, or −1 at the end. */
  peekMajor(): number {
    return this.at < this.end ? this.bytes[this.at] >> 5 : -1
  }

  /** An unsigned integer of at most `max`, which is at most 2^53 − 1. */
  uint(max: number): number {
    return this.length(Major.uint, max)
  }

  /** An unsigned integer of up to 64 bits. */
  uint64(): bigint {
    if (this.at < this.end && this.bytes[this.at] === 0x1b && this.at + 9 <= this.end) {
      const at = this.at + 1
      const b = this.bytes
      const high = (b[at] * 0x1000000) + (b[at + 1] << 16 | b[at + 2] << 8 | b[at + 3])
      const low = (b[at + 4] * 0x1000000) + (b[at + 5] << 16 | b[at + 6] << 8 | b[at + 7])
      this.at += 9
      this.count()
      return high < 0x200000 ? BigInt(high * 0x100000000 + low) : BigInt(high) << 32n | BigInt(low)
    }
    return BigInt(this.uint(Number.MAX_SAFE_INTEGER))
  }

  boolean(): boolean {
    const first = this.at < this.end ? this.bytes[this.at++] : 0
    if (first !== 0xf4 && first !== 0xf5) this.fail("expected a boolean")
    this.count()
    return first === 0xf5
  }

  /** A byte string, as a view of the input. */
  byteString(): Uint8Array {
    const start = this.skipBytes()
    return this.fault === undefined ? this.bytes.subarray(start, this.at) : empty
  }

  /** Skips a byte string and returns its start; it ends at `at`. */
  skipBytes(): number {
    const length = this.length(Major.bytes, this.end)
    if (this.fault !== undefined || length > this.end - this.at) {
      this.fail("truncated byte string")
      return this.at
    }
    this.at += length
    return this.at - length
  }

  /** Skips a byte string of exactly `length` bytes and returns its start. */
  fixedBytes(length: number): number {
    const actual = this.length(Major.bytes, this.end)
    if (actual !== length || length > this.end - this.at) {
      this.fail(`expected ${length} bytes`)
      return this.at
    }
    this.at += length
    return this.at - length
  }

  /** A byte string of exactly `length` bytes, as hex. */
  hexString(length: number): string {
    const at = this.fixedBytes(length)
    return this.fault === undefined ? Hex.slice(this.bytes, at, this.at) : ""
  }

  text(): string {
    const start = this.skipText()
    return this.fault === undefined ? textOf(this.bytes, start, this.at) : ""
  }

  /** Skips text and returns its start; it ends at `at`. */
  skipText(): number {
    const length = this.length(Major.text, this.end)
    if (this.fault !== undefined || length > this.end - this.at) {
      this.fail("truncated text")
      return this.at
    }
    this.at += length
    if (!isUtf8(this.bytes, this.at - length, this.at)) this.fail("text is not UTF-8")
    return this.at - length
  }

  /** The number of items of an array. */
  arrayLength(): number {
    const length = this.length(Major.array, this.end)
    // Every item takes at least one byte. The check bounds loops over a false length.
    if (length > this.end - this.at) this.fail("array longer than the input")
    return this.fault === undefined ? length : 0
  }

  /** The number of pairs of a map. */
  mapLength(): number {
    const length = this.length(Major.map, this.end)
    if (length * 2 > this.end - this.at) this.fail("map longer than the input")
    return this.fault === undefined ? length : 0
  }

  /**
   * Reads a map with integer keys. `field` reads the value of a known key and
   * returns true, or returns false for an unknown key, whose value is skipped so
   * that later versions can add fields. A duplicate key is a fault.
   */
  fields(field: (key: number) => boolean): void {
    let seen = 0
    let seenHigh: Set<number> | undefined
    for (let left = this.mapLength(); left > 0 && this.fault === undefined; left--) {
      const key = this.uint(Number.MAX_SAFE_INTEGER)
      if (key < 32) {
        if (seen >>> key & 1) return this.fail("duplicate key")
        seen |= 1 << key
      } else {
        seenHigh ??= new Set()
        if (seenHigh.has(key)) return this.fail("duplicate key")
        seenHigh.add(key)
      }
      // This map is one level of nesting.
      if (!field(key)) this.skip(1)
    }
  }

  /** The fault, if any; bytes after the last item are one. */
  finish(): string | undefined {
    if (this.fault === undefined && this.at !== this.end) this.fail("bytes after the end")
    return this.fault
  }

  /** An array of texts; undefined for null. */
  texts(): Array<string> | undefined {
    if (this.null()) return undefined
    const out: Array<string> = []
    for (let n = this.arrayLength(); n > 0 && this.fault === undefined; n--) out.push(this.text())
    return out
  }

  /** Skips one item of any kind. */
  skip(depth = 0): void {
    if (this.fault !== undefined) return
    if (depth > maxDepth) return this.fail("nested too deep")
    if (this.at >= this.end) return this.fail("truncated")
    const first = this.bytes[this.at]
    switch (first >> 5) {
      case Major.uint:
      case Major.negative:
        this.argument()
        return
      case Major.bytes:
        this.skipBytes()
        return
      case Major.text:
        this.skipText()
        return
      case Major.array:
        for (let n = this.arrayLength(); n > 0 && this.fault === undefined; n--) this.skip(depth + 1)
        return
      case Major.map:
        for (let n = this.mapLength() * 2; n > 0 && this.fault === undefined; n--) this.skip(depth + 1)
        return
      case Major.tag:
        this.argument()
        this.skip(depth + 1)
        return
      default: {
        const info = first & 31
        const size = info < 24 ? 1 : info === 24 ? 2 : info === 25 ? 3 : info === 26 ? 5 : info === 27 ? 9 : 0
        if (size === 0 || this.at + size > this.end) return this.fail("malformed simple value")
        if (info === 24 && this.bytes[this.at + 1] < 32) return this.fail("malformed simple value")
        this.at += size
        this.count()
      }
    }
  }

  /**
   * Steps over one item and checks that every decoder reads it alike: it has no
   * tags, no repeated keys and no unassigned simple values, its integers and
   * lengths are in their shortest form, and its keys are text, integers or
   * booleans. Floating-point numbers may have any width.
   */
  check(depth = 0): void {
    if (this.fault !== undefined) return
    if (depth > maxDepth) return this.fail("nested too deep")
    const major = this.peekMajor()
    if (major === Major.tag) return this.fail("unsupported item")
    if (major === Major.simple) {
      this.simple()
      return
    }
    if (!this.hasShortestHead()) return this.fail("an integer or a length that is not in its shortest form")
    if (major === Major.array) {
      for (let n = this.arrayLength(); n > 0 && this.fault === undefined; n--) this.check(depth + 1)
    } else if (major === Major.map) this.checkMap(depth)
    else this.skip(depth)
  }

  private checkMap(depth: number): void {
    const keys = new Set<Value>()
    for (let n = this.mapLength(); n > 0 && this.fault === undefined; n--) {
      if (!this.hasShortestHead()) return this.fail("a map key that is not in its shortest form")
      keys.add(this.mapKey(keys, depth))
      this.check(depth + 1)
    }
  }

  /** Reads a map key that is not among `keys`. */
  private mapKey(keys: { readonly has: (key: Value) => boolean }, depth: number): Value {
    const key = this.value(depth + 1)
    if (typeof key === "object") this.fail("a map key is neither a number nor text")
    if (keys.has(key)) this.fail("duplicate map key")
    return key
  }

  /** Whether the head of the next item is in its shortest form. */
  private hasShortestHead(): boolean {
    const info = this.bytes[this.at] & 31
    if (info < 24 || info > 27) return true
    if (info === 24) return this.bytes[this.at + 1] >= 24
    // The upper half of the argument is not zero.
    const half = 1 << info - 25
    for (let i = this.at + 1; i <= this.at + half; i++) if (this.bytes[i] !== 0) return true
    return false
  }

  /** One item of any kind as a JavaScript value, see {@link Value}. */
  value(depth = 0): Value {
    if (this.fault !== undefined) return null
    if (depth > maxDepth) {
      this.fail("nested too deep")
      return null
    }
    switch (this.peekMajor()) {
      case Major.uint: {
        const value = this.uint64()
        return value <= MAX_SAFE ? Number(value) : value
      }
      case Major.negative: {
        const value = -1n - this.argument64()
        return value >= -MAX_SAFE ? Number(value) : value
      }
      case Major.bytes:
        return this.byteString()
      case Major.text:
        return this.text()
      case Major.array: {
        const out: Array<Value> = []
        for (let n = this.arrayLength(); n > 0 && this.fault === undefined; n--) out.push(this.value(depth + 1))
        return out
      }
      case Major.map: {
        const out = new Map<Value, Value>()
        for (let n = this.mapLength(); n > 0 && this.fault === undefined; n--) {
          const key = this.mapKey(out, depth)
          out.set(key, this.value(depth + 1))
        }
        return out
      }
      case Major.simple:
        return this.simple()
      default:
        this.fail("unsupported item")
        return null
    }
  }

  private simple(): Value {
    const first = this.bytes[this.at]
    const start = this.at
    this.skip()
    if (this.fault !== undefined) return null
    switch (first) {
      case 0xf4:
        return false
      case 0xf5:
        return true
      case NULL:
      case 0xf7:
        return null
      case 0xf9:
        return { float: halfToNumber(this.bytes[start + 1] << 8 | this.bytes[start + 2]) }
      case 0xfa:
        return { float: view(this.bytes).getFloat32(start + 1) }
      case 0xfb:
        return { float: view(this.bytes).getFloat64(start + 1) }
      default:
        this.fail("unsupported simple value")
        return null
    }
  }

  /** The argument of an item of the given major type. */
  private length(major: number, max: number): number {
    if (this.at >= this.end || this.bytes[this.at] >> 5 !== major) {
      this.fail(`expected ${names[major]}`)
      return 0
    }
    const value = this.argument()
    if (value > max) {
      this.fail(`${names[major]} out of range`)
      return 0
    }
    return value
  }

  private argument64(): bigint {
    const first = this.bytes[this.at]
    if ((first & 31) !== 27) return BigInt(this.argument())
    if (this.at + 9 > this.end) {
      this.fail("truncated")
      return 0n
    }
    const at = this.at + 1
    this.at += 9
    this.count()
    return view(this.bytes).getBigUint64(at)
  }

  /** Counts an item whose head was read: the bound on the work that an input can cause. */
  private count(): void {
    if (--this.itemsLeft < 0) this.fail(tooMany(this.maxItems))
  }

  /** Reads an item's argument; one beyond 2^53 is inexact, and is rejected by every range check. */
  private argument(): number {
    const b = this.bytes
    const at = this.at
    if (--this.itemsLeft < 0) {
      this.fail(tooMany(this.maxItems))
      return 0
    }
    const info = b[at] & 31
    if (info < 24) {
      this.at = at + 1
      return info
    }
    const size = info === 24 ? 1 : info === 25 ? 2 : info === 26 ? 4 : info === 27 ? 8 : 0
    if (size === 0) {
      this.fail("indefinite or reserved length")
      return 0
    }
    if (at + 1 + size > this.end) {
      this.fail("truncated")
      return 0
    }
    this.at = at + 1 + size
    let value = 0
    for (let i = at + 1; i <= at + size; i++) value = value * 256 + b[i]
    return value
  }
}

const tooMany = (maxItems: number): string => `more than ${maxItems} items`

/**
 * Whether `bytes[at, end)` is UTF-8 (RFC 3629). A `TextDecoder` with `fatal`
 * decides the same, at several times the cost for short texts.
 */
const isUtf8 = (bytes: Uint8Array, at: number, end: number): boolean => {
  while (at < end) {
    const first = bytes[at++]
    if (first < 0x80) continue
    if (first < 0xc2 || first > 0xf4) return false
    const last = at + (first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3)
    if (last > end) return false
    // These exclude longer forms than necessary, surrogates, and what is beyond U+10FFFF.
    const lowest = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80
    const highest = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf
    if (bytes[at] < lowest || bytes[at] > highest) return false
    for (at++; at < last; at++) if (bytes[at] >> 6 !== 2) return false
  }
  return true
}

/** The text of `bytes[start, end)`, which is UTF-8. */
const textOf = (bytes: Uint8Array, start: number, end: number): string => {
  if (end - start > shortText) return decoder.decode(bytes.subarray(start, end))
  let text = ""
  for (let at = start; at < end; at++) {
    if (bytes[at] > 0x7f) return decoder.decode(bytes.subarray(start, end))
    text += String.fromCharCode(bytes[at])
  }
  return text
}

const names = ["an integer", "a negative integer", "a byte string", "text", "an array", "a map", "a tag", "a value"]
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER)
const MAX_UINT64 = 0xffff_ffff_ffff_ffffn
const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const halfToNumber = (half: number): number => {
  const exponent = half >> 10 & 31
  const fraction = half & 0x3ff
  const magnitude = exponent === 0
    ? fraction * 2 ** -24
    : exponent === 31
    ? (fraction === 0 ? Infinity : NaN)
    : (1 + fraction / 1024) * 2 ** (exponent - 15)
  return half & 0x8000 ? -magnitude : magnitude
}

/**
 * A CBOR item of the kinds that the protocol carries. CBOR distinguishes integers
 * from floating-point numbers and JavaScript does not, so the latter are wrapped.
 * Integers beyond 2^53 are `bigint`.
 *
 * @category models
 * @since 0.1.0
 */
export type Value =
  | number
  | bigint
  | string
  | boolean
  | null
  | Uint8Array
  | { readonly float: number }
  | ReadonlyArray<Value>
  | ReadonlyMap<Value, Value>

/**
 * Whether a value is an exact unsigned integer of at most `max`, by default
 * 2^64 − 1.
 *
 * @internal
 */
export const isUint = (value: number | bigint, max?: number): boolean =>
  typeof value === "number"
    ? Number.isSafeInteger(value) && value >= 0 && (max === undefined || value <= max)
    : value >= 0n && value <= (max ?? MAX_UINT64)

/**
 * Writes canonical CBOR into one growing buffer.
 *
 * Throws a `RangeError` for a value that would otherwise be encoded as a
 * different one: a number that is negative, fractional, inexact or too large for
 * its field, and text with a lone surrogate.
 *
 * @internal
 */
export class Writer {
  private bytes: Uint8Array
  at = 0

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity)
  }

  /** Discards what was written and keeps the buffer. */
  clear(): void {
    this.at = 0
  }

  /** A view of the bytes written so far. Copy it before writing more. */
  result(): Uint8Array {
    return this.bytes.subarray(0, this.at)
  }

  map(pairs: number): void {
    this.head(Major.map, pairs)
  }

  array(items: number): void {
    this.head(Major.array, items)
  }

  /** Writes an unsigned integer of at most `max`, by default 2^64 − 1. */
  uint(value: number | bigint, max?: number): void {
    if (!isUint(value, max)) throw new RangeError(`${value} is not an integer from 0 to ${max ?? MAX_UINT64}`)
    this.head(Major.uint, value)
  }

  boolean(value: boolean): void {
    this.byte(value ? 0xf5 : 0xf4)
  }

  null(): void {
    this.byte(NULL)
  }

  byteString(value: Uint8Array): void {
    this.head(Major.bytes, value.length)
    this.raw(value)
  }

  /** Writes a byte string given as trusted hex text. */
  hexString(value: string): void {
    const length = value.length >> 1
    this.head(Major.bytes, length)
    this.reserve(length)
    Hex.write(this.bytes, value, this.at)
    this.at += length
  }

  text(value: string): void {
    if (!value.isWellFormed()) {
      throw new RangeError(`${JSON.stringify(value)} has a lone surrogate and cannot be encoded as UTF-8`)
    }
    const encoded = encoder.encode(value)
    this.head(Major.text, encoded.length)
    this.raw(encoded)
  }

  texts(values: ReadonlyArray<string> | undefined): void {
    if (values === undefined) return this.null()
    this.array(values.length)
    for (const value of values) this.text(value)
  }

  /** Writes bytes that already are CBOR. */
  raw(value: Uint8Array): void {
    this.reserve(value.length)
    this.bytes.set(value, this.at)
    this.at += value.length
  }

  value(value: Value): void {
    switch (typeof value) {
      case "number":
        // An integral number beyond 2^53 is inexact, so it is a float.
        if (!Number.isSafeInteger(value)) return this.float(value)
        return value < 0 ? this.head(Major.negative, -1 - value) : this.head(Major.uint, value)
      case "bigint": {
        const argument = value < 0n ? -1n - value : value
        if (argument > MAX_UINT64) throw new RangeError(`${value} does not fit into the 64 bits of an integer`)
        return this.head(value < 0n ? Major.negative : Major.uint, argument)
      }
      case "string":
        return this.text(value)
      case "boolean":
        return this.boolean(value)
    }
    if (value === null) return this.null()
    if (value instanceof Uint8Array) return this.byteString(value)
    if (isArray(value)) {
      this.array(value.length)
      for (const item of value) this.value(item)
      return
    }
    if (value instanceof Map) return this.sortedMap(value)
    this.float((value as { readonly float: number }).float)
  }

  private sortedMap(entries: ReadonlyMap<Value, Value>): void {
    const sorted = sortEntries(entries)
    this.map(sorted.length)
    for (const { encodedKey, value } of sorted) {
      this.raw(encodedKey)
      this.value(value)
    }
  }

  private float(value: number): void {
    this.reserve(9)
    const v = view(this.bytes)
    if (Number.isNaN(value)) {
      this.bytes[this.at] = 0xf9
      v.setUint16(this.at + 1, 0x7e00)
      this.at += 3
    } else if (Math.fround(value) !== value) {
      this.bytes[this.at] = 0xfb
      v.setFloat64(this.at + 1, value)
      this.at += 9
    } else {
      const half = numberToHalf(value)
      this.bytes[this.at] = half === undefined ? 0xfa : 0xf9
      if (half === undefined) v.setFloat32(this.at + 1, value)
      else v.setUint16(this.at + 1, half)
      this.at += half === undefined ? 5 : 3
    }
  }

  private byte(value: number): void {
    this.reserve(1)
    this.bytes[this.at++] = value
  }

  private head(major: number, value: number | bigint): void {
    this.reserve(9)
    const b = this.bytes
    const m = major << 5
    if (value < 24) b[this.at++] = m | Number(value)
    else if (value < 0x100) {
      b[this.at++] = m | 24
      b[this.at++] = Number(value)
    } else if (value < 0x10000) {
      b[this.at++] = m | 25
      b[this.at++] = Number(value) >> 8
      b[this.at++] = Number(value) & 0xff
    } else if (value < 0x100000000) {
      b[this.at++] = m | 26
      const narrow = Number(value)
      b[this.at++] = narrow >>> 24
      b[this.at++] = narrow >>> 16
      b[this.at++] = narrow >>> 8
      b[this.at++] = narrow
    } else {
      b[this.at++] = m | 27
      view(b).setBigUint64(this.at, BigInt(value))
      this.at += 8
    }
  }

  private reserve(size: number): void {
    if (this.at + size <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.at + size))
    grown.set(this.bytes)
    this.bytes = grown
  }
}

const isArray = (value: Value): value is ReadonlyArray<Value> => Array.isArray(value)

/** The half-precision bits of a single-precision value, if they hold it exactly. */
const numberToHalf = (value: number): number | undefined => {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0
  const magnitude = Math.abs(value)
  if (magnitude === 0) return sign
  if (magnitude === Infinity) return sign | 0x7c00
  const exponent = Math.max(Math.floor(Math.log2(magnitude)), -14)
  const fraction = magnitude / 2 ** (exponent - 10)
  if (exponent > 15 || !Number.isInteger(fraction)) return undefined
  const biased = fraction < 1024 ? 0 : exponent + 15
  return sign | biased << 10 | fraction & 0x3ff
}

/**
 * The entries of a map in canonical order: shorter encoded keys first, those of
 * one length bytewise. Throws a `RangeError` for two keys that are the same in
 * CBOR, as 1 and 1n are.
 *
 * @internal
 */
export const sortEntries = <Key extends Value, A>(entries: Iterable<readonly [Key, A]>) => {
  const sorted = Array.from(entries, ([key, value]) => ({ encodedKey: encode(key), key, value }))
  sorted.sort((a, b) => a.encodedKey.length - b.encodedKey.length || compareBytes(a.encodedKey, b.encodedKey))
  for (let i = 1; i < sorted.length; i++) {
    if (compareBytes(sorted[i - 1].encodedKey, sorted[i].encodedKey) === 0) {
      throw new RangeError("two keys of a map are the same")
    }
  }
  return sorted
}

const compareBytes = (a: Uint8Array, b: Uint8Array): number => {
  for (let i = 0; i < a.length && i < b.length; i++) if (a[i] !== b[i]) return a[i] - b[i]
  return a.length - b.length
}

/**
 * Number of bytes of an integer, or of the head of an item with that length.
 *
 * @internal
 */
export const uintSize = (value: number): number =>
  value < 24 ? 1 : value < 0x100 ? 2 : value < 0x10000 ? 3 : value < 0x100000000 ? 5 : 9

/**
 * Encodes one value in canonical form.
 *
 * @internal
 */
export const encode = (value: Value): Uint8Array => {
  const writer = new Writer(64)
  writer.value(value)
  return writer.result()
}
