/**
 * JSON text whose integers are exact: one of 64 bits, such as a seq, is written
 * as text, since most readers of JSON round a number beyond 2^53.
 *
 * @since 0.1.0
 */

/**
 * What can be written: a `bigint` becomes text of decimal digits, and a field
 * that is undefined is left out.
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

/** `Array.isArray` does not know readonly arrays. */
const isArray = (value: Json): value is ReadonlyArray<Json> => Array.isArray(value)
