/**
 * Topic records: an agent's offer under a name that others search for. All
 * records of a topic are stored at one key, the hash of the topic.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import type { Address } from "./Address.ts"
import type { SigningKey } from "./Crypto.ts"
import { InvalidPayload, type Value as CustomValue } from "./Custom.ts"
import * as Text from "./internal/text.ts"
import * as NodeId from "./NodeId.ts"
import { InvalidRecord, type SignedRecord } from "./Record.ts"
import { encode as encodeItem, type Value } from "./wire/cbor.ts"
import * as Fields from "./wire/fields.ts"
import * as Payload from "./wire/payload.ts"
import * as internal from "./wire/record.ts"
import * as Values from "./wire/value.ts"

export type { Value }

/**
 * Further data of the publisher.
 *
 * @category models
 * @since 0.1.0
 */
export type Meta = ReadonlyMap<string, Value>

/**
 * The payload of a topic record, at most 512 bytes when encoded.
 *
 * @category models
 * @since 0.1.0
 */
export interface TopicPayload {
  /** 8 bits; now 1. */
  readonly version: number
  /** Not empty. */
  readonly topic: string
  readonly name: string
  /** Protocols that the agent speaks; null if no list was given. */
  readonly protocols: ReadonlyArray<string> | null
  /** Null if no list was given. */
  readonly tags: ReadonlyArray<string> | null
  /** At most 140 Unicode code points. */
  readonly brief: string
  /** Empty for none. */
  readonly meta: Meta
}

/**
 * The string is not a topic: it is empty or not well-formed Unicode.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidTopic extends Data.TaggedError("InvalidTopic")<{
  readonly topic: string
  readonly reason: string
}> {
  override get message() {
    return `${JSON.stringify(this.topic)} is not a topic: ${this.reason}`
  }
}

/**
 * Default lifetime of a topic record, in seconds.
 *
 * @category constants
 * @since 0.1.0
 */
export const defaultTtl = 3600

/**
 * The longest lifetime of a topic record, in seconds.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxTtl = internal.maxLifetime.topic

/**
 * Reads a topic as typed by a person and converts it to Unicode's composed form
 * (NFC), so that two spellings of one text are one topic. Fails for an empty
 * string or one with a lone surrogate.
 *
 * @category conversions
 * @since 0.1.0
 */
export const parse = (text: string): Result.Result<string, InvalidTopic> => {
  const reason = Text.topicFault(text)
  return reason === undefined
    ? Result.succeed(Text.normal(text))
    : Result.fail(new InvalidTopic({ topic: text, reason }))
}

/**
 * Makes a payload of the current version from the given fields. All text but
 * `meta` is converted to Unicode's composed form (NFC), as searches compare it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: {
  readonly topic: string
  readonly name?: string | undefined
  readonly protocols?: ReadonlyArray<string> | undefined
  readonly tags?: ReadonlyArray<string> | undefined
  readonly brief?: string | undefined
  readonly meta?: Meta | undefined
}): TopicPayload => ({
  version: 1,
  topic: Text.normal(options.topic),
  name: Text.normal(options.name ?? ""),
  protocols: options.protocols === undefined ? null : Text.normalAll(options.protocols),
  tags: options.tags === undefined ? null : Text.normalAll(options.tags),
  brief: Text.normal(options.brief ?? ""),
  meta: options.meta ?? new Map()
})

/**
 * Decodes a payload and checks its limits.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decode = (payload: Uint8Array): Result.Result<TopicPayload, InvalidRecord> => {
  const read = Payload.topic.decode(payload)
  if (typeof read === "string") return invalid(`payload: ${read}`)
  const meta = Payload.decodeMeta(read.meta)
  return typeof meta === "string" ? invalid(`payload: ${meta}`) : Result.succeed({ ...read, meta })
}

const invalid = (reason: string): Result.Result<never, InvalidRecord> => Result.fail(new InvalidRecord({ reason }))

/**
 * Writes canonical CBOR. Limits are checked when a record is signed. Throws a
 * `RangeError` for a value that CBOR cannot express (an integer beyond 64 bits,
 * a lone surrogate).
 *
 * @category conversions
 * @since 0.1.0
 */
export const encode = (payload: TopicPayload): Uint8Array => Payload.topic.encode(payload)

/**
 * Converts between `meta` and the values of a schema.
 *
 * @category models
 * @since 0.1.0
 */
export interface MetaCodec<A> {
  /** Fails for a value that does not fit the schema or CBOR. */
  readonly encode: (value: A) => Result.Result<Meta, InvalidPayload>
  /** Fails for a `meta` that does not fit the schema. */
  readonly decode: (meta: Meta) => Result.Result<A, InvalidPayload>
}

/**
 * Gives the `meta` of offers and profiles a schema, which encodes to an object.
 * Values are carried as in custom records, see `Custom.Value`.
 *
 * @example
 * ```ts run
 * import { Topic } from "effect-dht"
 * import * as Result from "effect/Result"
 * import * as Schema from "effect/Schema"
 *
 * const Price = Topic.meta(Schema.Struct({ amount: Schema.Finite, currency: Schema.String }))
 *
 * const meta = Result.getOrThrow(Price.encode({ amount: 1.5, currency: "EUR" }))
 * const offer = Topic.make({ topic: "translate", meta })
 * console.log(Result.getOrThrow(Price.decode(offer.meta)).amount) // => 1.5
 * console.log(Result.isFailure(Price.decode(new Map([["amount", 1]])))) // => true
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const meta = <A>(
  schema: Schema.Codec<A, { readonly [name: string]: CustomValue | undefined }>
): MetaCodec<A> => {
  // A profile has room for more than an offer; signing checks the whole payload.
  const codec = Values.codec(schema, Payload.limits.profile)
  const refused = (reason: string) => new InvalidPayload({ type: undefined, reason })
  return {
    encode: (value) =>
      Result.flatMap(Result.mapError(codec.encode(value), refused), (bytes) => {
        const meta = Payload.decodeMeta(bytes)
        return typeof meta === "string" ? Result.fail(refused(meta)) : Result.succeed(meta)
      }),
    decode: (meta) =>
      Result.flatMap(
        Result.mapError(internal.written(() => encodeItem(meta)), ({ reason }) => refused(reason)),
        (bytes) => Result.mapError(codec.decode(bytes), refused)
      )
  }
}

/**
 * Signs a topic record. `timestamp` is in Unix seconds, `ttl` in seconds, 1 to
 * {@link maxTtl}. A key other than the address's own needs an encoded
 * delegation from the address. Fails if the payload could not be decoded again;
 * the error names a field that is too long.
 *
 * @example
 * ```ts run
 * import { Crypto, Identity, Topic } from "effect-dht"
 * import * as Result from "effect/Result"
 *
 * const signer = Identity.fromSeed(Crypto.noble, new Uint8Array(32).fill(1))
 * const offer = (name: string) =>
 *   Topic.sign({
 *     signer,
 *     address: signer.address,
 *     payload: Topic.make({ topic: "translate", name, protocols: ["a2a"], meta: new Map([["price", 3]]) }),
 *     seq: 1n,
 *     timestamp: 1_700_000_000n
 *   })
 * console.log(Result.getOrThrow(offer("Ann")).ttl) // => 3600
 * const tooLong = offer("A".repeat(2000))
 * console.log(Result.isFailure(tooLong) ? tooLong.failure.excess?.field : "") // => name
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const sign = (options: {
  readonly signer: SigningKey
  readonly address: Address
  readonly payload: TopicPayload
  readonly seq: bigint
  readonly timestamp: bigint
  /** Defaults to {@link defaultTtl}. */
  readonly ttl?: number | undefined
  readonly delegation?: Uint8Array | undefined
}): Result.Result<SignedRecord, InvalidRecord> => {
  const { ttl = defaultTtl } = options
  if (ttl > maxTtl) return invalid(`ttl ${ttl} is longer than ${maxTtl} seconds`)
  const payload = internal.written(() => encode(options.payload))
  if (Result.isFailure(payload)) return Result.fail(payload.failure)
  const tooLong = excess(options.payload, payload.success.length)
  if (tooLong !== undefined) return Result.fail(tooLong)
  const read = decode(payload.success)
  return Result.isFailure(read)
    ? Result.fail(read.failure)
    : internal.seal({ ...options, ttl, type: internal.RecordType.topic, payload: payload.success })
}

const excess = ({ version: _, ...fields }: TopicPayload, size: number): InvalidRecord | undefined =>
  Fields.atMostCharacters("brief", fields.brief, Payload.limits.briefCodePoints) ??
    Fields.fit(fields, size, Payload.limits.topic)

/**
 * Whether the payload's topic is the one whose records are stored at `key`. Any
 * peer can store any topic record at any key, so a search keeps only these.
 *
 * @category filters
 * @since 0.1.0
 */
export const belongsTo = (payload: TopicPayload, key: NodeId.NodeId): boolean => NodeId.fromTopic(payload.topic) === key

/**
 * Criteria of a search. No criterion matches everything.
 *
 * @category models
 * @since 0.1.0
 */
export interface Filter {
  /** The offer must have at least one of them. */
  readonly protocols?: ReadonlyArray<string> | undefined
  /** The offer must have all of them. */
  readonly tags?: ReadonlyArray<string> | undefined
}

/**
 * Whether the payload matches a search. Two spellings of one text match.
 *
 * @example
 * ```ts run
 * import { Topic } from "effect-dht"
 *
 * const offer = Topic.make({ topic: "translate", protocols: ["a2a", "http"], tags: ["de", "fr"] })
 * // One of the protocols, and all of the tags.
 * console.log(Topic.matches(offer, { protocols: ["mcp", "a2a"], tags: ["de"] })) // => true
 * console.log(Topic.matches(offer, { tags: ["de", "ja"] })) // => false
 * ```
 *
 * @category filters
 * @since 0.1.0
 */
export const matches = (payload: TopicPayload, filter: Filter): boolean => {
  const { protocols = [], tags = [] } = filter
  return (protocols.length === 0 || protocols.some((wanted) => has(payload.protocols, wanted))) &&
    tags.every((wanted) => has(payload.tags, wanted))
}

const has = (texts: ReadonlyArray<string> | null, wanted: string): boolean => {
  const normal = Text.normal(wanted)
  return texts !== null && texts.some((text) => Text.normal(text) === normal)
}
