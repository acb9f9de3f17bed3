/**
 * Strict checks of Ed25519 keys and signatures, made before verification so that
 * all libraries give the same verdict. Some libraries refuse these cases
 * themselves, others do not. The checks compare bytes and compute nothing on the
 * curve.
 *
 * For the cases in which libraries differ see Chalkias, Garillot and Nikolaenko,
 * "Taming the many EdDSAs" (2020). The remaining difference, whether the equation
 * is multiplied by the cofactor, is up to the provider: all of ours check it
 * without the cofactor.
 *
 * @since 0.1.0
 */
import * as Hex from "./hex.ts"

/** The order of the group, little-endian. */
const groupOrder = Hex.decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")

/** The prime of the field, 2^255 − 19, little-endian. */
const fieldOrder = Hex.decode("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")

/** The y of the eight points whose order divides 8; all but 1 and −1 belong to two points each. */
const smallOrder = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
].map(Hex.decode)

/** Clears the highest bit of a point, the sign of x. */
const withoutSign = 0x7f

/**
 * Whether a strict verifier would check the signature at all: the key has 32
 * bytes, the signature 64, S is below the group order, and both points (the key
 * and R) have y below the field's prime and are not of small order.
 *
 * @internal
 */
export const isStrict = (publicKey: Uint8Array, signature: Uint8Array): boolean =>
  publicKey.length === 32 && signature.length === 64 &&
  isBelow(signature, 32, groupOrder, 0xff) && isSound(publicKey) && isSound(signature)

/**
 * Whether the first 32 bytes may encode a point of large order in canonical
 * form. The points with x = 0, whose sign bit could be set, are of small order.
 *
 * @internal
 */
export const isSound = (bytes: Uint8Array): boolean => {
  for (let i = 0; i < smallOrder.length; i++) if (isSameY(bytes, smallOrder[i])) return false
  return isBelow(bytes, 0, fieldOrder, withoutSign)
}

const isSameY = (bytes: Uint8Array, y: Uint8Array): boolean => {
  for (let i = 0; i < 31; i++) if (bytes[i] !== y[i]) return false
  return (bytes[31] & withoutSign) === y[31]
}

/** Compares the 32 bytes at `at`, a little-endian number, with `limit`. */
const isBelow = (bytes: Uint8Array, at: number, limit: Uint8Array, topMask: number): boolean => {
  const top = bytes[at + 31] & topMask
  if (top !== limit[31]) return top < limit[31]
  for (let i = 30; i >= 0; i--) if (bytes[at + i] !== limit[i]) return bytes[at + i] < limit[i]
  return false
}

/**
 * Throws a `RangeError` for a seed that is not 32 bytes, alike for every
 * provider. Seeds do not come from the network, so this is a bug of the caller.
 *
 * @internal
 */
export const assertSeed = (seed: Uint8Array): void => {
  if (seed.length !== 32) throw new RangeError(`an Ed25519 seed is 32 bytes, got ${seed.length}`)
}
