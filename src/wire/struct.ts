/**
 * Maps with small integer keys: headers, bodies, nodes, payloads. A table
 * states the key, the form and the default of each field, and both the reader
 * and the writer follow it.
 *
 * @since 0.1.0
 */
import * as Cbor from "./cbor.ts"

/**
 * How a value is read and written. What is wrong with the input becomes the
 * reader's fault, and the value read is then without meaning. A value that
 * cannot be written throws a `RangeError`.
 *
 * @internal
 */
export interface Codec<out Read, in Written = Read> {
  readonly read: (reader: Cbor.Reader) => Read
  readonly write: (writer: Cbor.Writer, value: Written) => void
}

/**
 * A field of a map.
 *
 * @internal
 */
export interface Field<out Read, in Written = Read, out Presence = unknown> extends Codec<Read, Written> {
  readonly key: number
  /** Required: a map without the field is a fault. Extension: see {@link extension}. */
  readonly presence: Presence
  /** What a reader returns for an absent field. */
  readonly absent: Read | undefined
  /** Whether a writer omits the field. */
  readonly omits: (value: Written) => boolean
}

const never = (): boolean => false

/**
 * A field that every map of its kind has.
 *
 * @internal
 */
export const required = <R, W>(key: number, codec: Codec<R, W>): Field<R, W, "required"> => ({
  ...codec,
  key,
  presence: "required",
  absent: undefined,
  omits: never
})

/**
 * A field that is always written, and may nevertheless be absent from what others write.
 *
 * @internal
 */
export const expected = <R, W, const A>(key: number, codec: Codec<R, W>, absent: A): Field<R | A, W, "expected"> => ({
  ...codec,
  key,
  presence: "expected",
  absent,
  omits: never
})

/**
 * A field that is not written if its value means the same as its absence.
 *
 * @internal
 */
export const optional = <R, W, const A>(
  key: number,
  codec: Codec<R, W>,
  absent: A,
  omits: (value: W) => boolean = (value: unknown) => value === absent
): Field<R | A, W | A, "optional"> => ({
  ...codec as Codec<R, W | A>,
  key,
  presence: "optional",
  absent,
  omits: omits as (value: W | A) => boolean
})

/**
 * A field that the first version of its map does not have. What is read from
 * a map without any such field has no properties for them.
 *
 * @internal
 */
export const extension = <R, W>(key: number, codec: Codec<R, W>): Field<R | undefined, W | undefined, "extension"> => ({
  ...optional(key, codec, undefined),
  presence: "extension"
})

/**
 * The fields of a map by name, in the order of their keys.
 *
 * @internal
 */
export interface Fields {
  readonly [name: string]: Field<unknown, never>
}

type NamesOf<F extends Fields, Presence> = {
  readonly [K in keyof F]: F[K] extends Field<unknown, never, Presence> ? K : never
}[keyof F]

type ReadField<F> = F extends Codec<infer R, never> ? R : never

type WrittenField<F> = F extends { readonly write: (writer: Cbor.Writer, value: infer W) => void } ? W : never

/** What is read from a map with these fields. */
type ReadOf<F extends Fields> =
  & { readonly [K in Exclude<keyof F, NamesOf<F, "extension">>]: ReadField<F[K]> }
  & { readonly [K in NamesOf<F, "extension">]?: ReadField<F[K]> }

/** What a map with these fields is written from. */
type WrittenOf<F extends Fields> =
  & { readonly [K in Exclude<keyof F, NamesOf<F, "extension">>]: WrittenField<F[K]> }
  & { readonly [K in NamesOf<F, "extension">]?: WrittenField<F[K]> }

/** A field as the struct knows it, which has forgotten the types. A class, so that all have one shape. */
class Entry {
  readonly name: string
  readonly key: number
  readonly read: (reader: Cbor.Reader) => unknown
  readonly write: (writer: Cbor.Writer, value: unknown) => void
  readonly omits: (value: unknown) => boolean
  readonly isExtension: boolean

  constructor(name: string, field: Field<unknown, unknown>) {
    this.name = name
    this.key = field.key
    this.read = field.read
    this.write = field.write
    this.omits = field.omits
    this.isExtension = field.presence === "extension"
  }
}

/** Values by the names of their fields. */
interface Values {
  [name: string]: unknown
}

/** Keys of fields are below this, so that a number has a bit for each. */
const maxKeys = 32

/**
 * A map with the given fields.
 *
 * @internal
 */
export class Struct<const F extends Fields, const Constants extends object = object>
  implements Codec<Constants & ReadOf<F>, WrittenOf<F>>
{
  private readonly entries: ReadonlyArray<Entry>
  private readonly byKey: ReadonlyArray<Entry | undefined>
  private readonly plain: Values
  private readonly extensions: Values = {}
  /** The bits of the required keys. */
  private readonly required: number
  private readonly lacking: string

  /**
   * `lacking` is the fault of a map without a required field; `constants` are
   * added to each map that is read.
   */
  constructor(fields: F, options: { readonly lacking?: string; readonly constants?: Constants } = {}) {
    const byKey = Array.from<Entry | undefined>({ length: maxKeys })
    const plain: Values = { ...options.constants }
    const entries: Array<Entry> = []
    let required = 0
    for (const [name, field] of Object.entries(fields) as Array<[string, Field<unknown, unknown>]>) {
      const entry = new Entry(name, field)
      entries.push(entry)
      byKey[entry.key] = entry
      if (field.presence === "required") required |= 1 << entry.key
      if (entry.isExtension) this.extensions[name] = undefined
      else plain[name] = field.absent
    }
    this.entries = entries
    this.byKey = byKey
    this.plain = plain
    this.required = required
    this.lacking = options.lacking ?? "a field is missing"
  }

  /**
   * Reads a map with its keys in any order. Skips the values of unknown keys,
   * which later versions may add. A duplicate key is a fault.
   */
  readonly read = (reader: Cbor.Reader): Constants & ReadOf<F> => {
    let values: Values = { ...this.plain }
    let seen = 0
    let isExtended = false
    reader.fields((key) => {
      const entry = key < maxKeys ? this.byKey[key] : undefined
      if (entry === undefined) return false
      if (entry.isExtension && !isExtended) {
        values = { ...values, ...this.extensions }
        isExtended = true
      }
      values[entry.name] = entry.read(reader)
      seen |= 1 << key
      return true
    })
    return this.complete(reader, values, seen)
  }

  /** Reads a map of known keys, in any order. Does not notice a duplicate key. */
  readonly readKnown = (reader: Cbor.Reader): Constants & ReadOf<F> => {
    const values: Values = { ...this.plain, ...this.extensions }
    const last = this.entries[this.entries.length - 1].key
    let seen = 0
    for (let left = reader.mapLength(); left > 0 && reader.fault === undefined; left--) {
      const key = reader.uint(last)
      seen |= 1 << key
      const entry = this.byKey[key]
      if (entry === undefined) reader.fail("unknown field")
      else values[entry.name] = entry.read(reader)
    }
    return this.complete(reader, values, seen)
  }

  /** Reads the first `count` fields in the order of their keys, after the head of their map. */
  readonly readInOrder = (reader: Cbor.Reader, count: number, missing: (key: number) => string): ReadOf<F> => {
    const values: Values = { ...this.plain }
    for (let i = 0; i < count; i++) {
      const { key, name, read } = this.entries[i]
      if (!reader.key(key)) {
        reader.fail(missing(key))
        break
      }
      values[name] = read(reader)
    }
    return values as ReadOf<F>
  }

  readonly write = (writer: Cbor.Writer, value: WrittenOf<F>): void => {
    let pairs = 0
    for (const { name, omits } of this.entries) if (!omits((value as Values)[name])) pairs++
    writer.map(pairs)
    this.writePairs(writer, value)
  }

  /** Writes the fields without the head of their map. */
  readonly writePairs = (writer: Cbor.Writer, value: WrittenOf<F>): void => {
    for (const { key, name, omits, write } of this.entries) {
      const field = (value as Values)[name]
      if (omits(field)) continue
      writer.uint(key)
      write(writer, field)
    }
  }

  /** Returns the canonical CBOR of a value. */
  readonly encode = (value: WrittenOf<F>): Uint8Array => {
    const writer = new Cbor.Writer()
    this.write(writer, value)
    return writer.result()
  }

  private complete(reader: Cbor.Reader, values: Values, seen: number): Constants & ReadOf<F> {
    if ((seen & this.required) !== this.required) reader.fail(this.lacking)
    return values as Constants & ReadOf<F>
  }
}

// --- Forms -------------------------------------------------------------------

/**
 * An unsigned integer of at most `max`.
 *
 * @internal
 */
export const uint = (max: number): Codec<number> => ({
  read: (reader) => reader.uint(max),
  write: (writer, value) => writer.uint(value, max)
})

/**
 * @internal
 */
export const uint8: Codec<number> = uint(0xff)

/**
 * @internal
 */
export const uint16: Codec<number> = uint(0xffff)

/**
 * @internal
 */
export const uint32: Codec<number> = uint(0xffff_ffff)

/**
 * @internal
 */
export const uint64: Codec<bigint> = {
  read: (reader) => reader.uint64(),
  write: (writer, value) => writer.uint(value)
}

/**
 * @internal
 */
export const boolean: Codec<boolean> = {
  read: (reader) => reader.boolean(),
  write: (writer, value) => writer.boolean(value)
}

/**
 * @internal
 */
export const text: Codec<string> = {
  read: (reader) => reader.text(),
  write: (writer, value) => writer.text(value)
}

/**
 * A byte string, as a view of the input.
 *
 * @internal
 */
export const bytes: Codec<Uint8Array> = {
  read: (reader) => reader.byteString(),
  write: (writer, value) => writer.byteString(value)
}

/**
 * A byte string of `length` bytes when read, as a view of the input.
 *
 * @internal
 */
export const fixedBytes = (length: number): Codec<Uint8Array> => ({
  ...bytes,
  read: (reader) => {
    const at = reader.fixedBytes(length)
    return reader.bytes.subarray(at, at + length)
  }
})

/**
 * A byte string of `length` bytes, as trusted hex text.
 *
 * @internal
 */
export const hex = <A extends string>(length: number): Codec<A> => ({
  read: (reader) => reader.hexString(length) as A,
  write: (writer, value) => writer.hexString(value)
})
