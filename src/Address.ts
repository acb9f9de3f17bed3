/**
 * Agent addresses: a version byte that names the kind of key, followed by a
 * hash of the public key.
 *
 * An `Address` is 42 lower-case hex digits, so it compares with `===` and works
 * as a `Map` key. {@link format} returns the form for people, which carries a
 * checksum: capitals chosen by a hash, as in EIP-55, or Bech32 (BIP 173).
 *
 * @module
 * @since 0.1.0
 */
import { keccak_256 } from "@noble/hashes/sha3.js"
import { bech32, createBase58check } from "@scure/base"
import type * as Brand from "effect/Brand"
import * as Data from "effect/Data"
import * as Result from "effect/Result"
import * as Hex from "./internal/hex.ts"
import { memo } from "./internal/memo.ts"
import * as Secp256k1 from "./internal/secp256k1.ts"
import { sha256, sha256Hex, sha256Prefix } from "./internal/sha256.ts"

/**
 * 42 lower-case hex digits (21 bytes): the version, then 20 bytes of hash.
 *
 * @category models
 * @since 0.1.0
 */
export type Address = string & Brand.Brand<"effect-dht/Address">

/**
 * Length of an address in bytes.
 *
 * @category constants
 * @since 0.1.0
 */
export const length = 21

/**
 * The first byte of an address, which names the kind of its key. The other
 * versions from 0xA0 to 0xAF can be read and written, but no key can sign for
 * them.
 *
 * @category constants
 * @since 0.1.0
 */
export const Version = { ed25519: 0xa0, p256: 0xa1, paralism: 0xa2, ethereum: 0xa3 } as const

/**
 * The text is not an address: it has no known form, or cannot be decoded in the
 * form it has.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidAddress extends Data.TaggedError("InvalidAddress")<{
  readonly text: string
  readonly reason: string
}> {
  override get message() {
    return `"${this.text}" is not an address: ${this.reason}`
  }
}

/**
 * The bytes are not a key of the expected curve.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidKey extends Data.TaggedError("InvalidKey")<{ readonly reason: string }> {
  override get message() {
    return `Invalid key: ${this.reason}`
  }
}

const encoder = new TextEncoder()

/**
 * Reads 21 bytes. Fails unless the version is 0xA0 to 0xAF.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromBytes = (bytes: Uint8Array): Result.Result<Address, InvalidAddress> => {
  const fault = faultOf(bytes)
  return fault === undefined ? Result.succeed(fromBytesUnsafe(bytes)) : invalid(Hex.encode(bytes), fault)
}

/**
 * Returns why bytes are not an address, as text for readers of untrusted bytes:
 * an error costs more than the check.
 *
 * @internal
 */
export const faultOf = (bytes: Uint8Array): string | undefined =>
  bytes.length !== length
    ? `expected ${length} bytes, got ${bytes.length}`
    : bytes[0] >> 4 !== 0xa
    ? `unknown version 0x${Hex.slice(bytes, 0, 1)}, expected 0xa0 to 0xaf`
    : undefined

/**
 * Converts 21 trusted bytes: the caller has checked length and version.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromBytesUnsafe = (bytes: Uint8Array): Address => Hex.encode(bytes) as Address

/**
 * The address of an Ed25519 public key (32 bytes): the first 20 bytes of its
 * SHA-256.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromPublicKey = (publicKey: Uint8Array): Address => ofPublicKey(Hex.encode(publicKey))

/**
 * Whether this is the address of a public key, for keys that are not expected
 * again: those of peers are, those of records are not.
 *
 * @internal
 */
export const isOfPublicKey = (address: Address, publicKey: Uint8Array): boolean => address === addressOf(publicKey)

const ofPublicKey = memo((key) => addressOf(Hex.decode(key)))

const addressOf = (publicKey: Uint8Array): Address => "a0" + sha256Prefix(publicKey, 20) as Address

/**
 * The Ethereum address of a secp256k1 public key, compressed (33 bytes) or not
 * (65 bytes).
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromEthereumPublicKey = (publicKey: Uint8Array): Result.Result<Address, InvalidKey> =>
  fromSecp256k1(publicKey, Secp256k1.ethereumAddress)

/**
 * The Paralism address of a secp256k1 public key, compressed (33 bytes) or not
 * (65 bytes): the same for both.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromParalismPublicKey = (publicKey: Uint8Array): Result.Result<Address, InvalidKey> =>
  fromSecp256k1(publicKey, Secp256k1.paralismAddress)

const fromSecp256k1 = (
  publicKey: Uint8Array,
  digitsOf: (key: Secp256k1.Point) => string
): Result.Result<Address, InvalidKey> => {
  const key = Secp256k1.publicKey(publicKey)
  return key === undefined
    ? Result.fail(new InvalidKey({ reason: "not a secp256k1 public key of 33 or 65 bytes" }))
    : Result.succeed(digitsOf(key) as Address)
}

/**
 * Reads an address that a person typed, ignoring surrounding white space. It
 * accepts every canonical text (see {@link format}); 42 hex digits, or `0x` and
 * 40 hex digits, all in lower case; and for Paralism also Bech32 with `pr` and
 * Base58Check P2PKH. The checksum catches a mistyped letter or capital.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromString = (text: string): Result.Result<Address, InvalidAddress> => {
  // Each form has a prefix of its own, so an error can name what that form
  // expects.
  const trimmed = text.trim()
  const start = trimmed.slice(0, 3).toLowerCase()
  if (start.startsWith("0x")) return fromEthereumText(trimmed)
  if (start === "bc1" || start === "pr1") return fromBech32(trimmed)
  if (start.startsWith("1")) return fromBase58Check(trimmed)
  return fromNativeText(trimmed)
}

/**
 * Returns the canonical text: `0x` and EIP-55 capitals for Ethereum, Bech32
 * with `bc` for Paralism, and 42 hex digits with checksum capitals for all
 * others.
 *
 * @category conversions
 * @since 0.1.0
 */
export const format = (address: Address): string => {
  switch (version(address)) {
    case Version.paralism: {
      const program = toBytes(address)
      program[0] = witnessVersion
      return bech32.encodeFromBytes("bc", program)
    }
    case Version.ethereum:
      return "0x" + eip55(address.slice(2))
    default:
      return checksummed(address)
  }
}

/**
 * Returns the 21 bytes of an address.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toBytes = (address: Address): Uint8Array => Hex.decode(address)

/**
 * Returns the first byte of an address, see {@link Version}.
 *
 * @category accessors
 * @since 0.1.0
 */
export const version = (address: Address): number => Number.parseInt(address.slice(0, 2), 16)

const invalid = (text: string, reason: string): Result.Result<never, InvalidAddress> =>
  Result.fail(new InvalidAddress({ text, reason }))

/** Writes a letter in upper case where the digest has a hex digit of 8 or more at the same position. */
const capitalise = (digits: string, digest: string): string => {
  let out = ""
  for (let i = 0; i < digits.length; i++) out += digest[i] >= "8" ? digits[i].toUpperCase() : digits[i]
  return out
}

const checksummed = (digits: string): string => capitalise(digits, sha256Hex(encoder.encode(digits)))

const eip55 = (digits: string): string => capitalise(digits, Hex.encode(keccak_256(encoder.encode(digits))))

const fromEthereumText = (text: string): Result.Result<Address, InvalidAddress> => {
  const digits = text.slice(2)
  if (!/^[0-9a-f]{40}$/i.test(digits)) return invalid(text, "expected 40 hex digits after 0x")
  const lower = digits.toLowerCase()
  return digits === lower || digits === eip55(lower)
    ? Result.succeed("a3" + lower as Address)
    : invalid(text, "bad EIP-55 checksum: check the letters, or write all of them in lower case")
}

const fromNativeText = (text: string): Result.Result<Address, InvalidAddress> => {
  if (!/^[0-9a-f]{42}$/i.test(text)) {
    return invalid(text, "unknown form, expected 42 hex digits, 0x and 40 hex digits, bc1… or 1…")
  }
  const lower = text.toLowerCase()
  if (lower[0] !== "a") return invalid(text, `unknown version 0x${lower.slice(0, 2)}, expected 0xa0 to 0xaf`)
  return text === lower || text === checksummed(lower)
    ? Result.succeed(lower as Address)
    : invalid(text, "bad checksum: check the letters, or write all of them in lower case")
}

const witnessVersion = 0

/** `bc1`, 34 characters of version and hash, 6 of checksum. */
const bech32Length = 43

const fromBech32 = (text: string): Result.Result<Address, InvalidAddress> => {
  if (text.length !== bech32Length) {
    return invalid(text, `expected ${bech32Length} characters of Bech32, got ${text.length}`)
  }
  if (text !== text.toLowerCase() && text !== text.toUpperCase()) {
    return invalid(text, "Bech32 mixes upper and lower case")
  }
  const decoded = bech32.decodeUnsafe(text)
  if (!decoded) return invalid(text, "bad Bech32 character or checksum")
  // A SegWit address spends a character on the witness version. Here it is the
  // first byte of the program.
  const program = bech32.fromWordsUnsafe(decoded.words)
  if (!program || program.length !== length) return invalid(text, "the Bech32 data is not 21 bytes")
  return program[0] === witnessVersion
    ? Result.succeed("a2" + Hex.slice(program, 1, length) as Address)
    : invalid(text, `witness version ${program[0]}, expected ${witnessVersion}`)
}

const base58 = createBase58check(sha256)

const fromBase58Check = (text: string): Result.Result<Address, InvalidAddress> => {
  if (text.length < 26 || text.length > 35) {
    return invalid(text, `expected 26 to 35 characters of Base58Check, got ${text.length}`)
  }
  return Result.flatMap(
    Result.try({
      try: () => base58.decode(text),
      catch: () => new InvalidAddress({ text, reason: "bad Base58Check character or checksum" })
    }),
    (payload) =>
      payload.length === length && payload[0] === 0
        ? Result.succeed("a2" + Hex.slice(payload, 1, length) as Address)
        : invalid(text, "the Base58Check data is not a public key hash")
  )
}
