/**
 * The curve of Ethereum and Paralism keys, for addresses and delegations:
 * addresses of keys, signing, and recovery of the signing key.
 *
 * @since 0.1.0
 */
import { secp256k1 } from "@noble/curves/secp256k1.js"
import { ripemd160 } from "@noble/hashes/legacy.js"
import { keccak_256 } from "@noble/hashes/sha3.js"
import * as Hex from "./hex.ts"
import { orUndefined } from "./orUndefined.ts"
import { sha256 } from "./sha256.ts"

/**
 * A public key.
 *
 * @internal
 */
export type Point = InstanceType<typeof secp256k1.Point>

/**
 * Reads a public key, compressed (33 bytes) or not (65).
 *
 * @internal
 */
export const publicKey = (bytes: Uint8Array): Point | undefined => orUndefined(() => secp256k1.Point.fromBytes(bytes))

/**
 * The public key of a private key of 32 bytes.
 *
 * @internal
 */
export const publicKeyOf = (privateKey: Uint8Array): Point | undefined =>
  orUndefined(() => secp256k1.Point.fromBytes(secp256k1.getPublicKey(privateKey)))

/**
 * The Ethereum address of a key, as the 42 hex digits of an `Address`.
 *
 * @internal
 */
export const ethereumAddress = (key: Point): string =>
  "a3" + Hex.slice(keccak_256(key.toBytes(false).subarray(1)), 12, 32)

/**
 * The Paralism address of a key, as the 42 hex digits of an `Address`; by
 * default of its compressed form, and a signature states which form its owner
 * uses.
 *
 * @internal
 */
export const paralismAddress = (key: Point, compressed = true): string =>
  "a2" + Hex.encode(ripemd160(sha256(key.toBytes(compressed))))

/**
 * Signs a 32-byte digest; returns the recovery id (one byte), r and s, 65 bytes
 * in all. Deterministic (RFC 6979), with the lower of the two possible s.
 *
 * @internal
 */
export const sign = (privateKey: Uint8Array, digest: Uint8Array): Uint8Array =>
  secp256k1.sign(digest, privateKey, { prehash: false, format: "recovered" })

/**
 * Recovers the key that signed the digest from a signature (r and s, 64 bytes)
 * and the recovery id, 0 to 3. Undefined if there is none, and for the higher s
 * (BIP 62, EIP-2), which any party can compute from the lower one.
 *
 * @internal
 */
export const recover = (recovery: number, signature: Uint8Array, digest: Uint8Array): Point | undefined =>
  orUndefined(() => {
    const parsed = secp256k1.Signature.fromBytes(signature, "compact")
    return parsed.hasHighS() ? undefined : parsed.addRecoveryBit(recovery).recoverPublicKey(digest)
  })
