/**
 * The text columns of the table of identities: signers and contents.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Address from "../../Address.ts"
import type { Provider } from "../../Crypto.ts"
import * as Delegation from "../../Delegation.ts"
import type * as Hosting from "../../Hosting.ts"
import * as Hex from "../../internal/hex.ts"
import * as NodeId from "../../NodeId.ts"
import { InvalidRecord } from "../../Record.ts"

// --- Secrets -------------------------------------------------------------------

const saltLength = 16

const utf8 = new TextEncoder()

/** A secret is encrypted under a key of its own, so a nonce of zeros is used once. */
const nonce = new Uint8Array(12)

const keyOf = (crypto: Provider, secret: Uint8Array, salt: Uint8Array, name: string): Uint8Array =>
  crypto.deriveKey(secret, salt, utf8.encode(`effect-dht hosted ${name}`))

/**
 * Encrypts a secret that belongs to a name. `salt` is 16 random bytes.
 *
 * @internal
 */
export const seal = (
  { crypto, name, plaintext, salt, secret }: {
    readonly crypto: Provider
    readonly secret: Uint8Array
    readonly salt: Uint8Array
    readonly name: string
    readonly plaintext: Uint8Array
  }
): string => Hex.encode(salt) + Hex.encode(crypto.encrypt(keyOf(crypto, secret, salt, name), nonce, plaintext))

/**
 * Decrypts what `seal` made. Undefined if it was made with another secret or for
 * another name, or was changed.
 *
 * @internal
 */
export const open = (
  { crypto, name, sealed, secret }: {
    readonly crypto: Provider
    readonly secret: Uint8Array
    readonly name: string
    readonly sealed: string
  }
): Uint8Array | undefined => {
  const bytes = hexBytes(sealed)
  if (bytes === undefined || bytes.length < saltLength) return undefined
  return crypto.decrypt(keyOf(crypto, secret, bytes.subarray(0, saltLength), name), nonce, bytes.subarray(saltLength))
}

const hexBytes = (text: string): Uint8Array | undefined =>
  /^(?:[0-9a-f]{2})*$/.test(text) ? Hex.decode(text) : undefined

// --- Signers -------------------------------------------------------------------

const bytesOfHex = Schema.String.check(Schema.isPattern(/^(?:[0-9a-f]{2})*$/))

const common = { publicKey: bytesOfHex, delegation: Schema.optionalKey(bytesOfHex) }

const StoredSigner = Schema.Union([
  Schema.Struct({ ...common, seed: bytesOfHex }),
  Schema.Struct({ ...common, service: Schema.String, reference: Schema.String })
])

const StoredContents = Schema.Array(Schema.Struct({
  key: Schema.String,
  type: Schema.Int,
  payload: bytesOfHex,
  ttl: Schema.optionalKey(Schema.Int)
}))

/**
 * A signer as it is kept: with its encrypted seed, or with the name of a service
 * that signs and what identifies the key there.
 *
 * @internal
 */
export type SignerColumn =
  & { readonly publicKey: Uint8Array; readonly delegation: Delegation.Delegation | undefined }
  & (
    | { readonly _tag: "Sealed"; readonly seed: string }
    | { readonly _tag: "External"; readonly service: string; readonly reference: string }
  )

/**
 * @internal
 */
export const encodeSigner = (signer: SignerColumn): string =>
  JSON.stringify({
    publicKey: Hex.encode(signer.publicKey),
    ...(signer.delegation === undefined ? {} : { delegation: Hex.encode(Delegation.encode(signer.delegation)) }),
    ...(signer._tag === "Sealed"
      ? { seed: signer.seed }
      : { service: signer.service, reference: signer.reference })
  })

const invalid = (column: string): Result.Result<never, InvalidRecord> =>
  Result.fail(new InvalidRecord({ reason: `the column "${column}" of its row cannot be read` }))

const parseSigner = Schema.decodeUnknownResult(Schema.fromJsonString(StoredSigner))

/**
 * @internal
 */
export const decodeSigner = (text: string): Result.Result<SignerColumn, InvalidRecord> => {
  const parsed = parseSigner(text)
  if (Result.isFailure(parsed)) return invalid("signer")
  const { publicKey, delegation, ...rest } = parsed.success
  const read = delegation === undefined ? undefined : Delegation.decode(Hex.decode(delegation))
  if (read !== undefined && Result.isFailure(read)) return invalid("signer")
  const both = { publicKey: Hex.decode(publicKey), delegation: read?.success }
  return Result.succeed(
    "seed" in rest ? { _tag: "Sealed", ...both, ...rest } : { _tag: "External", ...both, ...rest }
  )
}

// --- Contents ------------------------------------------------------------------

/**
 * @internal
 */
export const encodeContents = (contents: ReadonlyArray<Hosting.EncodedContent>): string =>
  JSON.stringify(contents.map(({ key, payload, ttl, type }) => ({ key, type, payload: Hex.encode(payload), ttl })))

const parseContents = Schema.decodeUnknownResult(Schema.fromJsonString(StoredContents))

/**
 * @internal
 */
export const decodeContents = (text: string): Result.Result<ReadonlyArray<Hosting.EncodedContent>, InvalidRecord> => {
  const parsed = parseContents(text)
  if (Result.isFailure(parsed)) return invalid("announce")
  return Result.all(parsed.success.map(({ key, payload, ttl, type }) => {
    const at = NodeId.fromString(key)
    return Result.isFailure(at)
      ? invalid("announce")
      : Result.succeed({ key: at.success, type, payload: Hex.decode(payload), ttl })
  }))
}

/**
 * @internal
 */
export const decodeAddress = (text: string): Result.Result<Address.Address, InvalidRecord> =>
  Result.mapError(Address.fromString(text), () => new InvalidRecord({ reason: "its row has no address" }))
