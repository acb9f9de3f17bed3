/**
 * Endpoint records: the URLs at which an agent can be reached.
 *
 * @module
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type { Address } from "./Address.ts"
import type { SigningKey } from "./Crypto.ts"
import { type Excess, InvalidRecord, type SignedRecord } from "./Record.ts"
import * as Fields from "./wire/fields.ts"
import * as Payload from "./wire/payload.ts"
import * as internal from "./wire/record.ts"

/**
 * How the agent's network address translator treats unknown senders, in the
 * terms of RFC 3489.
 *
 * @category models
 * @since 0.1.0
 */
export type NatType = typeof NatType[keyof typeof NatType]

/**
 * The kinds of translator by name: unknown, then from the most to the least
 * permissive.
 *
 * @category constants
 * @since 0.1.0
 */
export const NatType = { unknown: 0, fullCone: 1, restricted: 2, portRestricted: 3, symmetric: 4 } as const

/**
 * The payload of an endpoint record. Text is measured in UTF-8 bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface EndpointPayload {
  /**
   * URLs, such as `tcp://203.0.113.5:8080`; null if no list was given. v0.2
   * peers take the first `quic://` URL with an IP and a port for the address of
   * the node itself.
   */
  readonly endpoints: ReadonlyArray<string> | null
  readonly natType: NatType
  /** Where to exchange connection candidates, at most 2048 bytes; empty for none. */
  readonly signal: string
  /** Relays: at most 16, each of at most 512 bytes. */
  readonly turns: ReadonlyArray<string>
  /** Further places like `signal`, which is then the first of them: at most 8, each of at most 2048 bytes. */
  readonly signals: ReadonlyArray<string>
}

/**
 * Makes a payload from the given fields. For readers of v0.1 the first of
 * `signals` is also written as `signal`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: {
  readonly endpoints: ReadonlyArray<string>
  readonly natType?: NatType | undefined
  readonly signals?: ReadonlyArray<string> | undefined
  readonly turns?: ReadonlyArray<string> | undefined
}): EndpointPayload => ({
  endpoints: options.endpoints,
  natType: options.natType ?? NatType.unknown,
  signal: options.signals?.[0] ?? "",
  turns: options.turns ?? [],
  signals: options.signals ?? []
})

/**
 * Whether a text is valid as an endpoint: a URL such as
 * `tcp://203.0.113.5:8080`.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isUrl = (text: string): boolean => URL.canParse(text)

/**
 * Makes a payload from user input: fails if an endpoint is not a URL. Records
 * of other agents are read whatever their endpoints are.
 *
 * @category constructors
 * @since 0.1.0
 */
export const parse = (options: Parameters<typeof make>[0]): Result.Result<EndpointPayload, InvalidRecord> => {
  const wrong = options.endpoints.find((text) => !isUrl(text))
  return wrong === undefined
    ? Result.succeed(make(options))
    : Result.fail(
      new InvalidRecord({
        reason: `the endpoint ${JSON.stringify(wrong)} is not a URL. Write one such as tcp://203.0.113.5:8080`
      })
    )
}

/**
 * Decodes a payload and checks its limits.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decode = (payload: Uint8Array): Result.Result<EndpointPayload, InvalidRecord> => {
  const read = Payload.endpoint.decode(payload)
  return typeof read === "string"
    ? Result.fail(new InvalidRecord({ reason: `payload: ${read}` }))
    : Result.succeed(read)
}

/**
 * Writes canonical CBOR. Limits are checked when a record is signed. Throws a
 * `RangeError` for a value that CBOR cannot express (a fractional number, a
 * lone surrogate).
 *
 * @category conversions
 * @since 0.1.0
 */
export const encode = (payload: EndpointPayload): Uint8Array => Payload.endpoint.encode(payload)

/**
 * Signs an endpoint record. `timestamp` is in Unix seconds, `ttl` in seconds
 * and at least 1. If a field does not fit, the error names it. A key other than
 * the address's own needs an encoded delegation from the address.
 *
 * @example
 * ```ts run
 * import { Crypto, Endpoint, Identity } from "effect-dht"
 * import * as Result from "effect/Result"
 *
 * const signer = Identity.fromSeed(Crypto.noble, new Uint8Array(32).fill(1))
 * const record = Result.getOrThrow(Endpoint.sign({
 *   signer,
 *   address: signer.address,
 *   payload: Endpoint.make({ endpoints: ["tcp://203.0.113.5:8080"], natType: Endpoint.NatType.fullCone }),
 *   seq: 1n,
 *   timestamp: 1_700_000_000n,
 *   ttl: 3600
 * }))
 * const { endpoints } = Result.getOrThrow(Endpoint.decode(record.payload))
 * console.log(endpoints?.join(), record.expiresAt) // => tcp://203.0.113.5:8080 1700003600
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const sign = (options: {
  readonly signer: SigningKey
  readonly address: Address
  readonly payload: EndpointPayload
  readonly seq: bigint
  readonly timestamp: bigint
  readonly ttl: number
  readonly delegation?: Uint8Array | undefined
}): Result.Result<SignedRecord, InvalidRecord> => {
  const tooLong = fault(options.payload)
  return tooLong === undefined
    ? Result.flatMap(
      internal.written(() => encode(options.payload)),
      (payload) => internal.seal({ ...options, type: internal.RecordType.endpoint, payload })
    )
    : Result.fail(tooLong)
}

const { limits } = Payload

const fault = ({ signal, signals, turns }: EndpointPayload): InvalidRecord | undefined => {
  const { atMostBytes, atMostEntries } = Fields
  const entries = atMostEntries("signals", signals, limits.signals) ??
    atMostEntries("turns", turns, limits.turns)
  if (entries !== undefined) return entries
  return [...signals, signal].map((text) => atMostBytes("signals", text, limits.signal)).find(Boolean) ??
    turns.map((text) => atMostBytes("turns", text, limits.turn)).find(Boolean)
}

/**
 * Names the field to shorten if a record is `over` bytes too long.
 *
 * @internal
 */
export const excess = (payload: EndpointPayload, over: number): Excess | undefined => {
  const { endpoints, signals, turns } = payload
  const size = encode(payload).length
  return Fields.fit({ endpoints, signals, turns }, size, size - over)?.excess
}
