/**
 * The curve of Ethereum and Paralism keys, as far as addresses and delegations
 * need it: naming a key, signing, and finding the key that signed.
 *
 * @since 0.1.0
 */
import { secp256k1 } from "@noble/curves/secp256k1.js"
import { ripemd160 } from "@noble/hashes/legacy.js"
import { keccak_256 } from "@noble/hashes/sha3.js"
import type { Address } from "../Address.ts"
import * as Hex from "./hex.ts"
import { sha256 } from "./sha256.ts"

/**
 * A public key.
 *
 * @internal
 */
export type Point = InstanceType<typeof secp256k1.Point>

// The library throws for bytes that are no key; here that is a value.
const orUndefined = <A>(evaluate: () => A): A | undefined => {
  try {
    return evaluate()
  } catch {
    return undefined
  }
}

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
 * The Ethereum address of a key.
 *
 * @internal
 */
export const ethereumAddress = (key: Point): Address =>
  "a3" + Hex.slice(keccak_256(key.toBytes(false).subarray(1)), 12, 32) as Address

/**
 * The Paralism address of a key: of its compressed form, unless a signature
 * says that its owner goes by the other one.
 *
 * @internal
 */
export const paralismAddress = (key: Point, compressed = true): Address =>
  "a2" + Hex.encode(ripemd160(sha256(key.toBytes(compressed)))) as Address

/**
 * Signs a 32-byte digest: the recovery id (one byte), r, s. Deterministic
 * (RFC 6979), with the lower of the two possible s.
 *
 * @internal
 */
export const sign = (privateKey: Uint8Array, digest: Uint8Array): Uint8Array =>
  secp256k1.sign(digest, privateKey, { prehash: false, format: "recovered" })

/**
 * The key whose signature (r and s, 64 bytes) of the digest this is; the
 * recovery id, 0 to 3, says which of the possible ones. The higher s is refused
 * (BIP 62, EIP-2): anybody can make it of the lower one.
 *
 * @internal
 */
export const recover = (recovery: number, signature: Uint8Array, digest: Uint8Array): Point | undefined =>
  orUndefined(() => {
    const parsed = secp256k1.Signature.fromBytes(signature, "compact")
    return parsed.hasHighS() ? undefined : parsed.addRecoveryBit(recovery).recoverPublicKey(digest)
  })
