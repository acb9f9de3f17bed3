/**
 * Profile records: who an agent is and what it can do, at its own key. Later
 * versions of the protocol introduced them. Older nodes treat them as custom
 * records, which they store and pass on like any other without checking the
 * payload.
 *
 * @module
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import type { Address } from "./Address.ts"
import type { SigningKey } from "./Crypto.ts"
import * as Text from "./internal/text.ts"
import { InvalidRecord, type SignedRecord } from "./Record.ts"
import type { Meta } from "./Topic.ts"
import * as Fields from "./wire/fields.ts"
import * as Payload from "./wire/payload.ts"
import * as internal from "./wire/record.ts"

/**
 * The payload of a profile record, at most 700 bytes when encoded. Empty fields
 * are not sent.
 *
 * @category models
 * @since 0.1.0
 */
export interface ProfilePayload {
  /** 8 bits; now 1. */
  readonly version: number
  readonly name: string
  readonly brief: string
  readonly protocols: ReadonlyArray<string>
  readonly skills: ReadonlyArray<string>
  /** Hash of a description that is stored elsewhere. */
  readonly cardHash: Uint8Array
  readonly modalities: ReadonlyArray<string>
  readonly meta: Meta
}

/**
 * Payload size in bytes above which a publisher should be warned that it
 * approaches the limit.
 *
 * @category constants
 * @since 0.1.0
 */
export const warnSize = 350

/**
 * Makes a payload of the current version from the given fields. All text but
 * `meta` is converted to Unicode's composed form (NFC).
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: { readonly [K in Exclude<keyof ProfilePayload, "version">]?: ProfilePayload[K] | undefined }
): ProfilePayload => ({
  version: 1,
  name: Text.normal(options.name ?? ""),
  brief: Text.normal(options.brief ?? ""),
  protocols: Text.normalAll(options.protocols ?? []),
  skills: Text.normalAll(options.skills ?? []),
  cardHash: options.cardHash ?? new Uint8Array(0),
  modalities: Text.normalAll(options.modalities ?? []),
  meta: options.meta ?? new Map()
})

/**
 * Decodes a payload and checks its limits.
 *
 * @category conversions
 * @since 0.1.0
 */
export const decode = (payload: Uint8Array): Result.Result<ProfilePayload, InvalidRecord> => {
  const read = Payload.profile.decode(payload)
  return typeof read === "string"
    ? Result.fail(new InvalidRecord({ reason: `payload: ${read}` }))
    : Result.succeed(read)
}

/**
 * Writes canonical CBOR. Limits are checked when a record is signed. Throws a
 * `RangeError` for a value that CBOR cannot express (an integer beyond 64 bits,
 * a lone surrogate).
 *
 * @category conversions
 * @since 0.1.0
 */
export const encode = (payload: ProfilePayload): Uint8Array => Payload.profile.encode(payload)

/**
 * Signs a profile record. `timestamp` is in Unix seconds, `ttl` in seconds and
 * at least 1. If the payload does not fit, the error names the field. A key
 * other than the address's own needs an encoded delegation from the address.
 *
 * @example
 * ```ts run
 * import { Crypto, Identity, Profile } from "effect-dht"
 * import * as Result from "effect/Result"
 *
 * const signer = Identity.fromSeed(Crypto.noble, new Uint8Array(32).fill(1))
 * const record = Result.getOrThrow(Profile.sign({
 *   signer,
 *   address: signer.address,
 *   payload: Profile.make({ name: "Ann", brief: "Translates letters", skills: ["translation"] }),
 *   seq: 1n,
 *   timestamp: 1_700_000_000n,
 *   ttl: 3600
 * }))
 * console.log(Result.getOrThrow(Profile.decode(record.payload)).name) // => Ann
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const sign = (options: {
  readonly signer: SigningKey
  readonly address: Address
  readonly payload: ProfilePayload
  readonly seq: bigint
  readonly timestamp: bigint
  readonly ttl: number
  readonly delegation?: Uint8Array | undefined
}): Result.Result<SignedRecord, InvalidRecord> => {
  const payload = internal.written(() => encode(options.payload))
  if (Result.isFailure(payload)) return Result.fail(payload.failure)
  const { version: _, ...fields } = options.payload
  const tooLong = Fields.fit(fields, payload.success.length, Payload.limits.profile)
  if (tooLong !== undefined) return Result.fail(tooLong)
  // No holder checks a profile, so its signer does.
  const read = decode(payload.success)
  return Result.isFailure(read)
    ? Result.fail(read.failure)
    : internal.seal({ ...options, type: internal.RecordType.profile, payload: payload.success })
}
