/**
 * Custom records: values of an application under a record type that the protocol
 * leaves to applications.
 *
 * A {@link Custom} is the type and the schema of its values, for
 * `Dht.publishCustom`, `Dht.announceCustom` and `Dht.findCustom`. Payloads of
 * other forms can be published as bytes.
 *
 * @module
 * @since 0.1.0
 */
import type * as Brand from "effect/Brand"
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import { isCustom, maxResolvableSize, type SignedRecord } from "./Record.ts"
import * as Values from "./wire/value.ts"

/**
 * A value of the application does not fit its schema or CBOR, or the bytes in
 * its place are not such a value.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidPayload extends Data.TaggedError("InvalidPayload")<{
  /** The type of the record; undefined for the `meta` of an offer or a profile. */
  readonly type: number | undefined
  readonly reason: string
}> {
  override get message() {
    const what = this.type === undefined ? "meta" : `payload of type 0x${this.type.toString(16).padStart(2, "0")}`
    return `Invalid ${what}: ${this.reason}`
  }
}

/**
 * What a schema may encode to: null, booleans, numbers, text, bytes, and arrays
 * and objects of these. Each is an item of CBOR and is read as it was written.
 *
 * - A number that is an integer is written as one, and any other in 64 bits. −0
 *   is written as 0.
 * - A member that is undefined is left out.
 * - A `bigint` has no type of its own in CBOR: {@link BigInt} is its schema.
 * - Dates, maps and sets need a schema with a form above, such as
 *   `Schema.DateFromString`, or the JSON form of a whole schema,
 *   `Schema.toCodecJson(schema)`.
 *
 * @category models
 * @since 0.1.0
 */
export type Value =
  | null
  | boolean
  | number
  | Integer
  | string
  | Uint8Array
  | ReadonlyArray<Value>
  | { readonly [name: string]: Value | undefined }

/**
 * An integer as CBOR has it: a `bigint` where a `number` would not be exact.
 *
 * @category models
 * @since 0.1.0
 */
export type Integer = (number | bigint) & Brand.Brand<"effect-dht/Integer">

const isInteger = (value: unknown): value is Integer => Number.isSafeInteger(value) || typeof value === "bigint"

/**
 * The schema of a `bigint` that has at most 64 bits besides its sign.
 *
 * @category schemas
 * @since 0.1.0
 */
export const BigInt: Schema.Codec<bigint, Integer> = Schema.declare(isInteger, { expected: "an integer" }).pipe(
  Schema.decodeTo(Schema.BigInt, {
    decode: SchemaGetter.transform((integer: Integer) => globalThis.BigInt(integer)),
    encode: SchemaGetter.transform((bigint: bigint) => bigint as Integer)
  })
)

/**
 * A type of record and the schema of its values.
 *
 * @category models
 * @since 0.1.0
 */
export interface Custom<A> {
  readonly type: number
  /**
   * Encodes a payload: CBOR with map keys in canonical order, at most
   * `Record.maxResolvableSize` bytes. Fails for a value that does not fit the
   * schema or CBOR.
   */
  readonly encode: (value: A) => Result.Result<Uint8Array, InvalidPayload>
  /**
   * Decodes the payload of a record. Fails for a record of another type, and for
   * a payload that is too long, does not fit the schema, or is not CBOR as
   * `encode` writes it, except for the order of map keys and the width of
   * floating-point numbers.
   */
  readonly decode: (record: Pick<SignedRecord, "type" | "payload">) => Result.Result<A, InvalidPayload>
}

/**
 * Gives a record type a schema. Throws a `RangeError` for a type that is not left
 * to applications, see `Record.isCustom`.
 *
 * @example
 * ```ts run
 * import { Crypto, Custom, Identity, Record } from "effect-dht"
 * import * as Result from "effect/Result"
 * import * as Schema from "effect/Schema"
 *
 * const Load = Custom.make({
 *   type: 0x07,
 *   schema: Schema.Struct({ jobs: Schema.Int, since: Schema.DateFromString, key: Schema.Uint8Array })
 * })
 *
 * const signer = Identity.fromSeed(Crypto.noble, new Uint8Array(32).fill(1))
 * const payload = Result.getOrThrow(Load.encode({ jobs: 3, since: new Date(0), key: Uint8Array.of(1, 2) }))
 * const record = Result.getOrThrow(Record.sign({
 *   signer,
 *   address: signer.address,
 *   type: Load.type,
 *   payload,
 *   seq: 1n,
 *   timestamp: 1_700_000_000n,
 *   ttl: 3600
 * }))
 * const { jobs, since } = Result.getOrThrow(Load.decode(record))
 * console.log(jobs, since.getTime(), payload.length) // => 3 0 46
 *
 * // {"jobs": 3, "jobs": 4}: one name for two values.
 * const twice = Uint8Array.of(0xa2, 0x64, ...Buffer.from("jobs"), 3, 0x64, ...Buffer.from("jobs"), 4)
 * const read = Load.decode({ type: Load.type, payload: twice })
 * console.log(Result.isFailure(read) && read.failure.reason) // => duplicate map key
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(options: {
  readonly type: number
  readonly schema: Schema.Codec<A, Value>
}): Custom<A> => {
  const { schema, type } = options
  if (!isCustom(type)) {
    throw new RangeError(
      `Record type ${type} is not left to applications: choose one of 0x03–0x0f, 0x11–0x1f or 0x81–0x8f`
    )
  }
  const codec = Values.codec(schema, maxResolvableSize)
  const refused = (reason: string) => new InvalidPayload({ type, reason })
  return {
    type,
    encode: (value) => Result.mapError(codec.encode(value), refused),
    decode: ({ payload, type: actual }) =>
      actual === type
        ? Result.mapError(codec.decode(payload), refused)
        : Result.fail(refused(`the record has type 0x${actual.toString(16).padStart(2, "0")}`))
  }
}
