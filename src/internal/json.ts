/**
 * JSON with exact integers: a 64-bit integer, such as a seq, is written as a
 * string, because most JSON parsers round numbers beyond 2^53.
 *
 * @since 0.1.0
 */

/**
 * A value that can be written. A `bigint` becomes a string of decimal digits; an
 * undefined field is omitted.
 *
 * @internal
 */
export type Json =
  | string
  | number
  | bigint
  | boolean
  | null
  | ReadonlyArray<Json>
  | { readonly [name: string]: Json | undefined }

/**
 * Encodes a value as JSON.
 *
 * @internal
 */
export const stringify = (value: Json): string => {
  if (typeof value === "bigint") return `"${value}"`
  if (typeof value !== "object" || value === null) return JSON.stringify(value)
  if (isArray(value)) return `[${value.map(stringify).join(",")}]`
  const fields = Object.entries(value).flatMap(([name, field]) =>
    field === undefined ? [] : [`${JSON.stringify(name)}:${stringify(field)}`]
  )
  return `{${fields.join(",")}}`
}

/** `Array.isArray` does not narrow to readonly arrays. */
const isArray = (value: Json): value is ReadonlyArray<Json> => Array.isArray(value)
