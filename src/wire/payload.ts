/**
 * Readers of the payloads whose shape every holder of a record checks. One reader
 * per kind serves both the check and the decoding, so the two cannot differ. It
 * returns the payload, or the fault as text.
 *
 * Keys may be missing, unknown or in any order, so that later versions can add
 * some.
 *
 * @since 0.1.0
 */
import type { EndpointPayload, NatType } from "../Endpoint.ts"
import type { ProfilePayload } from "../Profile.ts"
import type { Meta, TopicPayload } from "../Topic.ts"
import * as Cbor from "./cbor.ts"

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

const encoder = new TextEncoder()

/** Whether text is longer than `max` bytes of UTF-8, which needs one to three bytes per UTF-16 unit. */
const isLonger = (text: string, max: number): boolean =>
  text.length > max || (text.length * 3 > max && encoder.encode(text).length > max)

const boundedText = (reader: Cbor.Reader, max: number): string => {
  const text = reader.text()
  if (isLonger(text, max)) reader.fail(`a text is longer than ${max} bytes`)
  return text
}

const boundedTexts = (reader: Cbor.Reader, count: number, max: number): ReadonlyArray<string> => {
  const texts = reader.texts() ?? []
  if (texts.length > count) reader.fail(`a list has more than ${count} entries`)
  for (const text of texts) if (isLonger(text, max)) reader.fail(`an entry is longer than ${max} bytes`)
  return texts
}

/**
 * @internal
 */
export const readEndpoint = (payload: Uint8Array): EndpointPayload | string => {
  const reader = new Cbor.Reader(payload)
  let endpoints: ReadonlyArray<string> | null = null
  let natType = 0
  let signal = ""
  let turns: ReadonlyArray<string> = []
  let signals: ReadonlyArray<string> = []
  reader.fields((key) => {
    switch (key) {
      case 1:
        endpoints = reader.texts() ?? null
        return true
      case 2:
        natType = reader.uint(4)
        return true
      case 3:
        signal = boundedText(reader, limits.signal)
        return true
      case 4:
        turns = boundedTexts(reader, limits.turns, limits.turn)
        return true
      case 5:
        signals = boundedTexts(reader, limits.signals, limits.signal)
        return true
      default:
        return false
    }
  })
  return reader.finish() ?? { endpoints, natType: natType as NatType, signal, turns, signals }
}

/**
 * The fields of a topic payload, with `meta` as undecoded CBOR (null if absent).
 * A holder has no use for it, and must not refuse a record because `meta`
 * contains an item that this library cannot represent.
 *
 * @internal
 */
export interface TopicFields extends Omit<TopicPayload, "meta"> {
  readonly meta: Uint8Array
}

/**
 * @internal
 */
export const readTopic = (payload: Uint8Array): TopicFields | string => {
  if (payload.length > limits.topic) return `longer than ${limits.topic} bytes`
  const reader = new Cbor.Reader(payload)
  let version = 0
  let topic = ""
  let name = ""
  let protocols: ReadonlyArray<string> | null = null
  let tags: ReadonlyArray<string> | null = null
  let brief = ""
  let meta = nullItem
  reader.fields((key) => {
    switch (key) {
      case 1:
        version = reader.uint(0xff)
        return true
      case 2:
        topic = reader.text()
        return true
      case 3:
        name = reader.text()
        return true
      case 4:
        protocols = reader.texts() ?? null
        return true
      case 5:
        tags = reader.texts() ?? null
        return true
      case 6:
        brief = reader.text()
        return true
      case 7:
        meta = rawMeta(reader)
        return true
      default:
        return false
    }
  })
  if (topic === "") reader.fail("the topic is empty")
  if (codePoints(brief) > limits.briefCodePoints) {
    reader.fail(`the brief is longer than ${limits.briefCodePoints} characters`)
  }
  return reader.finish() ?? { version, topic, name, protocols, tags, brief, meta }
}

/**
 * @internal
 */
export const readProfile = (payload: Uint8Array): ProfilePayload | string => {
  if (payload.length > limits.profile) return `longer than ${limits.profile} bytes`
  const reader = new Cbor.Reader(payload)
  let version = 0
  let name = ""
  let brief = ""
  let protocols: ReadonlyArray<string> = []
  let skills: ReadonlyArray<string> = []
  let cardHash: Uint8Array = noBytes
  let modalities: ReadonlyArray<string> = []
  let meta: Meta = noMeta
  reader.fields((key) => {
    switch (key) {
      case 1:
        version = reader.uint(0xff)
        return true
      case 2:
        name = reader.text()
        return true
      case 3:
        brief = reader.text()
        return true
      case 4:
        protocols = reader.texts() ?? []
        return true
      case 5:
        skills = reader.texts() ?? []
        return true
      case 6:
        cardHash = reader.byteString()
        return true
      case 8:
        modalities = reader.texts() ?? []
        return true
      case 9:
        meta = readMeta(reader)
        return true
      default:
        return false
    }
  })
  return reader.finish() ?? { version, name, brief, protocols, skills, cardHash, modalities, meta }
}

const noBytes = new Uint8Array(0)
const noMeta: Meta = new Map()
const nullItem = Cbor.encode(null)

/** Skips a map with text keys, or null, and returns its bytes. */
const rawMeta = (reader: Cbor.Reader): Uint8Array => {
  const start = reader.at
  if (reader.null()) return nullItem
  for (let n = reader.mapLength(); n > 0 && reader.fault === undefined; n--) {
    reader.text()
    reader.skip(1)
  }
  return reader.bytes.subarray(start, reader.at)
}

/**
 * @internal
 */
export const readMeta = (reader: Cbor.Reader): Meta => {
  if (reader.null()) return noMeta
  const meta = new Map<string, Cbor.Value>()
  for (let n = reader.mapLength(); n > 0 && reader.fault === undefined; n--) {
    const key = reader.text()
    if (meta.has(key)) reader.fail("a key occurs twice")
    meta.set(key, reader.value(1))
  }
  return meta
}

const codePoints = (text: string): number => {
  let count = 0
  for (const _ of text) count++
  return count
}
