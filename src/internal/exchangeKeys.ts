/**
 * What all providers of X25519 (RFC 7748) share: lengths of keys, and the forms
 * of Ed25519 keys on the birationally equivalent curve.
 *
 * @since 0.1.0
 */
import { ed25519 } from "@noble/curves/ed25519.js"
import { sha512 } from "@noble/hashes/sha2.js"
import * as Hex from "./hex.ts"
import { orUndefined } from "./orUndefined.ts"
import { RecencyMap } from "./recencyMap.ts"

/**
 * A private key that is ready for key agreement (X25519, RFC 7748).
 *
 * @category models
 * @since 0.1.0
 */
export interface ExchangeKey {
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /**
   * Returns the secret shared with the owner of a public key, 32 bytes.
   * Undefined for a key of another length, and for one of small order, which
   * would share the same secret with everyone.
   */
  readonly agree: (publicKey: Uint8Array) => Uint8Array | undefined
}

/** Public keys whose other form is remembered: it takes as long as agreeing on a secret. */
const rememberedKeys = 1024

/**
 * Makes the keys of a provider. It computes with a private key of 32 bytes and,
 * on demand, public keys of 32 bytes.
 *
 * @internal
 */
export const make = (
  prepare: (privateKey: Uint8Array) => { readonly publicKey: () => Uint8Array; readonly agree: ExchangeKey["agree"] }
) =>
(privateKey: Uint8Array): ExchangeKey => {
  if (privateKey.length !== 32) throw new RangeError(`an X25519 private key is 32 bytes, got ${privateKey.length}`)
  const own = new Uint8Array(privateKey)
  let prepared: ReturnType<typeof prepare> | undefined
  let publicKey: Uint8Array | undefined
  // Most signing keys never agree on a secret.
  const key = () => prepared ??= prepare(own)
  return {
    get publicKey() {
      return publicKey ??= key().publicKey()
    },
    agree: (other) => other.length === 32 ? key().agree(other) : undefined
  }
}

/**
 * The X25519 private key of an Ed25519 seed (RFC 8032, section 5.1.5).
 *
 * @internal
 */
export const privateKeyOf = (seed: Uint8Array): Uint8Array => sha512(seed).subarray(0, 32)

/** Converts an Ed25519 public key of 32 bytes to its X25519 form. */
type Convert = (publicKey: Uint8Array) => Uint8Array | undefined

/**
 * The conversion by arithmetic in JavaScript, which decides for all providers:
 * libsodium refuses keys that this one converts.
 *
 * @internal
 */
export const convertPortably: Convert = (publicKey) => orUndefined(() => ed25519.utils.toMontgomery(publicKey))

/**
 * Returns a function that gives the X25519 form of an Ed25519 public key;
 * undefined if that is not a point of the curve.
 *
 * @internal
 */
export const converter = (convert: Convert): Convert => {
  const known = new RecencyMap<string, { readonly publicKey: Uint8Array | undefined }>(rememberedKeys)
  return (publicKey) =>
    publicKey.length === 32
      ? known.use(Hex.encode(publicKey), () => ({ publicKey: convert(publicKey) })).publicKey
      : undefined
}
