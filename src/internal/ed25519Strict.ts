/**
 * What an Ed25519 library may or may not refuse by itself, refused here before
 * it is asked, so that every library gives the same verdict. Bytes are compared
 * and nothing is computed on the curve.
 *
 * Libraries are known to differ in exactly these cases, see Chalkias, Garillot
 * and Nikolaenko, "Taming the many EdDSAs" (2020). The one difference that is
 * left, whether the equation is multiplied by the cofactor, is the business of
 * each provider: all of them check it without the cofactor.
 *
 * @since 0.1.0
 */
import * as Hex from "./hex.ts"

/** The order of the group, little-endian. */
const groupOrder = Hex.decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")

/** The prime of the field, 2^255 − 19, little-endian. */
const fieldOrder = Hex.decode("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")

/** The y of the eight points whose order divides 8: two x for each but 1 and −1. */
const smallOrder = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
].map(Hex.decode)

/** Leaves the sign of x, the highest bit of a point, out. */
const withoutSign = 0x7f

/**
 * Whether the key and the signature are ones that a strict verifier goes on to
 * check: of 32 and 64 bytes, S below the group order, and both points (the key
 * and R) with y below the field's prime and not of small order.
 *
 * @internal
 */
export const isStrict = (publicKey: Uint8Array, signature: Uint8Array): boolean =>
  publicKey.length === 32 && signature.length === 64 &&
  isBelow(signature, 32, groupOrder, 0xff) && isSound(publicKey) && isSound(signature)

/** Whether the first 32 bytes may be a point. The two points that have no other x are of small order as well. */
const isSound = (bytes: Uint8Array): boolean => {
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
 * Every provider refuses a seed of another length than 32 bytes alike: a bug
 * of the caller, not something that comes from the network.
 *
 * @internal
 */
export const assertSeed = (seed: Uint8Array): void => {
  if (seed.length !== 32) throw new RangeError(`an Ed25519 seed is 32 bytes, got ${seed.length}`)
}
