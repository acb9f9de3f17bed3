/**
 * Schemas that several documents of the HTTP interface have in common.
 *
 * @module
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"

/**
 * Adds a description, for the OpenAPI document.
 *
 * @category combinators
 * @since 0.1.0
 */
export const described = (description: string) => <S extends Schema.Top>(self: S): S["Rebuild"] =>
  self.annotate({ description })

// --- Numbers ---------------------------------------------------------------------

/**
 * @category schemas
 * @since 0.1.0
 */
export const Count = Schema.Int

/**
 * @category schemas
 * @since 0.1.0
 */
export const Millis = Schema.Finite.pipe(described("Unix milliseconds"))

/**
 * A 64-bit integer in decimal digits: most JSON parsers round numbers above 2^53.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Uint64 = Schema.String.check(Schema.isPattern(/^[0-9]{1,20}$/, { expected: "up to 20 decimal digits" }))
  .pipe(
    described("A 64-bit integer in decimal digits")
  )

/**
 * @category schemas
 * @since 0.1.0
 */
export const Seconds = Uint64.pipe(described("Unix seconds, a 64-bit integer in decimal digits"))

/**
 * @category schemas
 * @since 0.1.0
 */
export const Texts = Schema.Array(Schema.String)

// --- Texts -----------------------------------------------------------------------

/**
 * A check of a text of 64 hex digits.
 *
 * @category checks
 * @since 0.1.0
 */
export const is64HexDigits = Schema.isPattern(/^[0-9a-f]{64}$/i, { expected: "64 hex digits" })

/**
 * A check of bytes as text: at least so many, as pairs of hex digits.
 *
 * @category checks
 * @since 0.1.0
 */
export const isHex = (min: 0 | 1) =>
  Schema.isPattern(min === 0 ? /^(?:[0-9a-f]{2})*$/i : /^(?:[0-9a-f]{2})+$/i, { expected: "pairs of hex digits" })

// --- Paging ----------------------------------------------------------------------

/**
 * Maximum number of elements in one response. Further requests get the rest.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxListed = 1000

/**
 * The query parameter `limit`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const limitOf = (byDefault: number) =>
  Schema.optional(
    Schema.FiniteFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 0, maximum: maxListed }))
  ).pipe(described(`Maximum number of elements; defaults to ${byDefault}`))

/**
 * Query parameters of a paged list. The `next` of a page is the `after` of the
 * one that follows.
 *
 * @category schemas
 * @since 0.1.0
 */
export const partOf = (byDefault: number, place: RegExp) => ({
  limit: limitOf(byDefault),
  after: Schema.optional(Schema.String.check(Schema.isPattern(place, { expected: "the next of the previous page" })))
    .pipe(
      described("Starts after this position, the `next` of the previous page")
    )
})

/**
 * @category schemas
 * @since 0.1.0
 */
export const Next = Schema.NullOr(Schema.String).pipe(
  described("The `after` of the next page; null on the last page")
)

// --- Nodes and records -------------------------------------------------------------

/**
 * The id, address and location of a node.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Peer = Schema.Struct({
  node_id_hex: Schema.String,
  address: Schema.String.pipe(described("Canonical text")),
  ip: Schema.String,
  port: Count
})

/**
 * A record, without its payload.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RecordRow = Schema.Struct({
  key_node_id_hex: Schema.String,
  address: Schema.String.pipe(described("Address of the publisher, canonical text")),
  rec_type: Count,
  type_name: Schema.Literals(["endpoint", "profile", "topic", "mailbox", "custom", "reserved"]),
  seq: Uint64,
  timestamp: Seconds,
  ttl_seconds: Count,
  expires_at: Seconds,
  payload_cbor_len: Count
})

/**
 * A record with its contents, as far as this node can decode them.
 *
 * @category schemas
 * @since 0.1.0
 */
export const FoundRecord = Schema.Struct({
  record: RecordRow,
  title: Schema.String.pipe(described("One-line summary of the contents")),
  endpoints: Schema.optionalKey(Texts),
  topic: Schema.optionalKey(Schema.String),
  name: Schema.optionalKey(Schema.String),
  brief: Schema.optionalKey(Schema.String),
  protocols: Schema.optionalKey(Texts),
  tags: Schema.optionalKey(Texts),
  skills: Schema.optionalKey(Texts),
  value: Schema.optionalKey(Schema.Json).pipe(
    described(
      "Of a custom record, if the payload is one value in CBOR: bytes as hex digits, integers beyond 2^53 as text"
    )
  ),
  payload_hex: Schema.optionalKey(Schema.String).pipe(described("Of any other custom record"))
})

/**
 * Whether strangers can reach the node.
 *
 * @category schemas
 * @since 0.1.0
 */
export const reachable = {
  reachable: Schema.Literals(["open", "closed", "unknown"]).pipe(
    described("Whether nodes that this one never contacted can reach it")
  ),
  reachable_why: Schema.String.pipe(described("The reason, in words"))
}
