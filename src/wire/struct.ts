/**
 * Maps with small integer keys: headers, bodies, nodes, payloads. A table says
 * of each field its key, its form and what stands for its absence, and both the
 * reader and the writer follow it.
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
 * A field that is not written if its value says no more than its absence does.
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

/** A field as the class knows it, which has forgotten the types. */
interface Entry extends Field<unknown, unknown> {
  readonly name: string
  /** 1 shifted by the index of the field. */
  readonly bit: number
}

/** Values by the names of their fields. */
interface Values {
  [name: string]: unknown
}

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
  private readonly required: number
  private readonly lacking: string

  /**
   * `lacking` is the fault of a map without a required field; `constants` are
   * properties of what is read.
   */
  constructor(fields: F, options: { readonly lacking?: string; readonly constants?: Constants } = {}) {
    const entries = (Object.entries(fields) as Array<[string, Field<unknown, unknown>]>)
      .map(([name, field], i): Entry => ({ ...field, name, bit: 1 << i }))
    const byKey: Array<Entry | undefined> = Array.from({ length: entries[entries.length - 1].key + 1 })
    const plain: Values = { ...options.constants }
    let required = 0
    for (const entry of entries) {
      byKey[entry.key] = entry
      if (entry.presence === "required") required |= entry.bit
      if (entry.presence === "extension") this.extensions[entry.name] = undefined
      else plain[entry.name] = entry.absent
    }
    this.entries = entries
    this.byKey = byKey
    this.plain = plain
    this.required = required
    this.lacking = options.lacking ?? "a field is missing"
  }

  /** Reads a map with its keys in any order. Skips unknown ones, which later versions may add. */
  readonly read = (reader: Cbor.Reader): Constants & ReadOf<F> => {
    const values: Values = { ...this.plain }
    let seen = 0
    reader.fields((key) => {
      const bit = this.readField(reader, key, values)
      seen |= bit
      return bit !== 0
    })
    return this.complete(reader, values, seen)
  }

  /** Reads a map of known keys, in any order. Does not notice a key that occurs twice. */
  readonly readKnown = (reader: Cbor.Reader): Constants & ReadOf<F> => {
    const values: Values = { ...this.plain }
    const last = this.byKey.length - 1
    let seen = 0
    for (let left = reader.mapLength(); left > 0 && reader.fault === undefined; left--) {
      const bit = this.readField(reader, reader.uint(last), values)
      if (bit === 0) reader.fail("unknown field")
      seen |= bit
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

  /** Reads the value of a key. Returns the bit of its field; 0 for an unknown key. */
  private readField(reader: Cbor.Reader, key: number, values: Values): number {
    const entry = key < this.byKey.length ? this.byKey[key] : undefined
    if (entry === undefined) return 0
    if (entry.presence === "extension" && !(entry.name in values)) Object.assign(values, this.extensions)
    values[entry.name] = entry.read(reader)
    return entry.bit
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
