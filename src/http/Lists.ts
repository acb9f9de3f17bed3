/**
 * Documents with potentially long lists. They are built and serialized in
 * batches, between which other fibers run.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Json from "../internal/json.ts"

/**
 * A page of a list: at most `limit` elements after a position.
 *
 * @category models
 * @since 0.1.0
 */
export interface Part {
  readonly limit: number
  readonly after: string | undefined
}

/**
 * The page of a list that a request wants.
 *
 * @category constructors
 * @since 0.1.0
 */
export const partOf = (
  query: { readonly limit?: number | undefined; readonly after?: string | undefined },
  byDefault: number
): Part => ({ limit: query.limit ?? byDefault, after: query.after })

/**
 * The two numbers of a position.
 *
 * @category conversions
 * @since 0.1.0
 */
export const pairOf = (place: string): readonly [number, number] => {
  const [first, second] = place.split(".")
  return [Number(first), Number(second)]
}

/** Elements converted before other fibers run. */
const atOnce = 32

/**
 * Maps the elements in batches, between which other fibers run.
 *
 * @category conversions
 * @since 0.1.0
 */
export const inSteps = Effect.fnUntraced(function*<A, B>(elements: ReadonlyArray<A>, make: (element: A) => B) {
  const made: Array<B> = []
  for (const element of elements) {
    if (made.push(make(element)) % atOnce === 0) yield* Effect.yieldNow
  }
  return made
})

/** Characters of JSON written before other fibers run. */
const writtenAtOnce = 16_384

/**
 * Serializes elements to a JSON array in batches, between which other fibers run.
 *
 * @category conversions
 * @since 0.1.0
 */
export const arrayText = Effect.fnUntraced(function*(elements: ReadonlyArray<Json.Json>) {
  let text = ""
  let written = 0
  for (const element of elements) {
    text += `${text === "" ? "" : ","}${Json.stringify(element)}`
    if (text.length - written < writtenAtOnce) continue
    written = text.length
    yield* Effect.yieldNow
  }
  return `[${text}]`
})

/**
 * A response with a document that is JSON already.
 *
 * @category conversions
 * @since 0.1.0
 */
export const jsonResponse = (text: string, headers: Record<string, string> = {}) =>
  HttpServerResponse.text(text, { contentType: "application/json", headers })

/**
 * A response with a document whose list `name` is serialized in batches.
 * Encoding it with its schema would block for the whole list.
 *
 * @category conversions
 * @since 0.1.0
 */
export const listResponse = Effect.fnUntraced(function*<const Name extends string>(
  document: { readonly [name: string]: Json.Json | undefined } & { readonly [name in Name]: ReadonlyArray<Json.Json> },
  name: Name,
  headers?: Record<string, string>
) {
  const { [name]: elements, ...rest } = document
  const list = `${JSON.stringify(name)}:${yield* arrayText(elements)}`
  const others = Json.stringify(rest).slice(1, -1)
  return jsonResponse(`{${others}${others === "" ? "" : ","}${list}}`, headers)
})
