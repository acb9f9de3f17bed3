/**
 * The payloads of records, as CBOR maps. One reader per kind serves both the
 * check that every holder of a record makes and the decoding, so the two cannot
 * differ. It returns the payload, or the fault as text.
 *
 * Keys may be missing, unknown or in any order, so that later versions can add
 * some.
 *
 * @since 0.1.0
 */
import * as Cbor from "./cbor.ts"
import { bytes, type Codec, expected, type Fields, optional, Struct, text, uint8 } from "./struct.ts"

/**
 * The limits of the fields, in bytes of UTF-8 or of the payload unless their name
 * says otherwise.
 *
 * @internal
 */
export const limits = {
  signal: 2048,
  signals: 8,
  turn: 512,
  turns: 16,
  topic: 512,
  briefCodePoints: 140,
  mailbox: 512,
  profile: 700
} as const

// --- Forms -------------------------------------------------------------------

type Texts = ReadonlyArray<string>

const isEmpty = (list: { readonly length: number }): boolean => list.length === 0

const encoder = new TextEncoder()

/** Whether text is longer than `max` bytes of UTF-8, which needs one to three bytes per UTF-16 unit. */
const isLonger = (text: string, max: number): boolean =>
  text.length > max || (text.length * 3 > max && encoder.encode(text).length > max)

const boundedText = (max: number): Codec<string> => ({
  ...text,
  read: (reader) => {
    const text = reader.text()
    if (isLonger(text, max)) reader.fail(`a text is longer than ${max} bytes`)
    return text
  }
})

const none: Texts = []

/** A list of texts; others write null for an empty one. */
const texts: Codec<Texts> = {
  read: (reader) => reader.texts() ?? none,
  write: (writer, texts) => writer.texts(texts)
}

const boundedTexts = (count: number, max: number): Codec<Texts> => ({
  ...texts,
  read: (reader) => {
    const list = texts.read(reader)
    if (list.length > count) reader.fail(`a list has more than ${count} entries`)
    for (const text of list) if (isLonger(text, max)) reader.fail(`an entry is longer than ${max} bytes`)
    return list
  }
})

/** A list of texts, or null. */
const textsOrNull: Codec<Texts | null> = {
  read: (reader) => reader.texts() ?? null,
  write: (writer, texts) => writer.texts(texts ?? undefined)
}

type Meta = ReadonlyMap<string, Cbor.Value>

const noMeta: Meta = new Map()

const meta: Codec<Meta> = {
  read: (reader) => {
    if (reader.null()) return noMeta
    const meta = new Map<string, Cbor.Value>()
    for (let n = reader.mapLength(); n > 0 && reader.fault === undefined; n--) {
      const key = reader.text()
      if (meta.has(key)) reader.fail("a key occurs twice")
      meta.set(key, reader.value(1))
    }
    return meta
  },
  write: (writer, meta) => writer.value(meta)
}

const nullItem = Cbor.encode(null)

/** A map with text keys, or null: read as undecoded CBOR. */
const rawMeta: Codec<Uint8Array, Meta> = {
  ...meta,
  read: (reader) => {
    const start = reader.at
    if (reader.null()) return nullItem
    for (let n = reader.mapLength(); n > 0 && reader.fault === undefined; n--) {
      reader.skipText()
      reader.skip(1)
    }
    return reader.bytes.subarray(start, reader.at)
  }
}

const hasNoMeta = (meta: Meta): boolean => meta.size === 0

// --- Kinds -------------------------------------------------------------------

/**
 * A kind of payload: its fields, its maximum size, and the check of its fields
 * together. `encode` checks no limits.
 */
const kind = <F extends Fields>(struct: Struct<F>, options: {
  readonly maxBytes?: number
  readonly faultOf?: (fields: ReturnType<Struct<F>["read"]>) => string | undefined
} = {}) => {
  const { faultOf = () => undefined, maxBytes = Infinity } = options
  return {
    decode: (payload: Uint8Array): ReturnType<Struct<F>["read"]> | string => {
      if (payload.length > maxBytes) return `longer than ${maxBytes} bytes`
      const reader = new Cbor.Reader(payload)
      const fields = struct.read(reader)
      return reader.fault ?? faultOf(fields) ?? reader.finish() ?? fields
    },
    encode: struct.encode
  }
}

type NatType = 0 | 1 | 2 | 3 | 4

const natType: Codec<NatType> = {
  read: (reader) => reader.uint(4) as NatType,
  write: uint8.write
}

/**
 * @internal
 */
export const endpoint = kind(
  new Struct({
    endpoints: expected(1, textsOrNull, null),
    natType: expected(2, natType, 0),
    signal: optional(3, boundedText(limits.signal), ""),
    turns: optional(4, boundedTexts(limits.turns, limits.turn), none, isEmpty),
    signals: optional(5, boundedTexts(limits.signals, limits.signal), none, isEmpty)
  })
)

/**
 * Decodes to a payload with `meta` as undecoded CBOR (null if absent). A holder
 * has no use for it, and must not refuse a record because `meta` contains an
 * item that this library cannot represent. See {@link decodeMeta}.
 *
 * @internal
 */
export const topic = kind(
  new Struct({
    version: expected(1, uint8, 0),
    topic: expected(2, text, ""),
    name: expected(3, text, ""),
    protocols: expected(4, textsOrNull, null),
    tags: expected(5, textsOrNull, null),
    brief: expected(6, text, ""),
    meta: optional(7, rawMeta, nullItem, hasNoMeta)
  }),
  {
    maxBytes: limits.topic,
    faultOf: ({ brief, topic }) =>
      topic === ""
        ? "the topic is empty"
        : codePoints(brief) > limits.briefCodePoints
        ? `the brief is longer than ${limits.briefCodePoints} characters`
        : undefined
  }
)

/**
 * Decodes the `meta` of a topic. Returns a text if it contains an item that this
 * library cannot represent.
 *
 * @internal
 */
export const decodeMeta = (bytes: Uint8Array): Meta | string => {
  const reader = new Cbor.Reader(bytes)
  const decoded = meta.read(reader)
  return reader.fault ?? decoded
}

/** The signer of a profile reads it again, which refuses a number of more than 8 bits. */
const profileVersion: Codec<number> = {
  read: uint8.read,
  write: (writer, version) => writer.value(version)
}

/**
 * @internal
 */
export const profile = kind(
  new Struct({
    version: expected(1, profileVersion, 0),
    name: optional(2, text, ""),
    brief: optional(3, text, ""),
    protocols: optional(4, texts, none, isEmpty),
    skills: optional(5, texts, none, isEmpty),
    cardHash: optional(6, bytes, new Uint8Array(0), isEmpty),
    modalities: optional(8, texts, none, isEmpty),
    meta: optional(9, meta, noMeta, hasNoMeta)
  }),
  { maxBytes: limits.profile }
)

const codePoints = (text: string): number => {
  let count = 0
  for (const _ of text) count++
  return count
}
