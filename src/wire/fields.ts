/**
 * Errors that name the field of a payload that is too long and its limit. The
 * signer of a record gets these; a holder only reports that a record is invalid.
 *
 * @since 0.1.0
 */
import * as Cbor from "./cbor.ts"
import { type Excess, InvalidRecord } from "./invalidRecord.ts"

/**
 * The fields of a payload by name, as CBOR values.
 *
 * @internal
 */
export type Fields = Readonly<Record<string, Cbor.Value>>

/**
 * Returns an error for the largest field if a payload of `size` bytes is longer
 * than `max`; otherwise undefined.
 *
 * @internal
 */
export const fit = (
  fields: Fields,
  size: number,
  max: number
): InvalidRecord | undefined => {
  if (size <= max) return undefined
  const [field, value, taken] = Object.entries(fields)
    .map(([name, value]) => [name, value, Cbor.encode(value).length] as const)
    .reduce((largest, other) => other[2] > largest[2] ? other : largest)
  const room = Math.max(0, max - (size - taken))
  return tooLong({ field, ...measure(value, taken, room), unit: "bytes" })
}

/**
 * The length of a value that is encoded in `taken` bytes, and the longest that is
 * encoded in `room`. For a text, or a list of one text, these are bytes of UTF-8;
 * for other values, encoded bytes.
 */
const measure = (value: Cbor.Value, taken: number, room: number): { readonly size: number; readonly limit: number } => {
  if (Array.isArray(value) && value.length === 1) return measure(value[0], taken - 1, Math.max(0, room - 1))
  if (typeof value !== "string") return { size: taken, limit: room }
  let limit = room
  while (limit > 0 && Cbor.uintSize(limit) + limit > room) limit--
  return { size: byteLength(value), limit }
}

/**
 * @internal
 */
export const atMostBytes = (
  field: string,
  text: string,
  limit: number
): InvalidRecord | undefined => atMost(field, byteLength(text), limit, "bytes")

/**
 * @internal
 */
export const atMostCharacters = (
  field: string,
  text: string,
  limit: number
): InvalidRecord | undefined => atMost(field, Array.from(text).length, limit, "characters")

/**
 * @internal
 */
export const atMostEntries = (
  field: string,
  entries: ReadonlyArray<string>,
  limit: number
): InvalidRecord | undefined => atMost(field, entries.length, limit, "entries")

const atMost = (
  field: string,
  size: number,
  limit: number,
  unit: Excess["unit"]
): InvalidRecord | undefined => size <= limit ? undefined : tooLong({ field, size, limit, unit })

const byteLength = (text: string): number => new TextEncoder().encode(text).length

/**
 * @internal
 */
export const tooLong = (excess: Excess): InvalidRecord => {
  const { field, limit, size, unit } = excess
  return new InvalidRecord({ reason: `${field} is too long: it has ${size} ${unit}, and at most ${limit} fit`, excess })
}
