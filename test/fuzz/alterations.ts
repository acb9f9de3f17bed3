/**
 * Alterations of datagrams, as an attacker, a broken implementation or a bad link
 * makes them.
 */
import type { Prng } from "../../src/testing/internal/prng.ts"

/** Heads of CBOR items at the edges: lengths of 0 to 8 bytes, indefinite ones, tags and simple values. */
const heads = [
  0x00,
  0x17,
  0x18,
  0x1b,
  0x40,
  0x5b,
  0x5f,
  0x80,
  0x9b,
  0x9f,
  0xa0,
  0xbb,
  0xbf,
  0xc0,
  0xdb,
  0xf6,
  0xfb,
  0xff
]

const splice = (bytes: Uint8Array, at: number, removed: number, inserted: Uint8Array): Uint8Array => {
  const result = new Uint8Array(bytes.length - removed + inserted.length)
  result.set(bytes.subarray(0, at))
  result.set(inserted, at)
  result.set(bytes.subarray(at + removed), at + inserted.length)
  return result
}

/** Changes a datagram, which is not empty, in one place. `other` is a datagram to take parts of. */
const alterOnce = (prng: Prng, bytes: Uint8Array, other: Uint8Array): Uint8Array => {
  const at = prng.below(bytes.length)
  const length = 1 + prng.below(Math.min(40, bytes.length - at))
  switch (prng.below(9)) {
    case 0: {
      const flipped = bytes.slice()
      flipped[at] ^= 1 << prng.below(8)
      return flipped
    }
    case 1: {
      const changed = bytes.slice()
      changed[at] = heads[prng.below(heads.length)]
      return changed
    }
    case 2:
      return splice(bytes, at, 0, prng.bytes(1 + prng.below(9)))
    case 3:
      return splice(bytes, at, length, new Uint8Array())
    case 4:
      return splice(bytes, at, 0, bytes.subarray(at, at + length))
    case 5:
      return bytes.slice(0, at)
    case 6:
      return splice(bytes, bytes.length, 0, prng.bytes(length))
    case 7:
      // The head of one message and the end of another, with its sender and proof.
      return splice(bytes, at, bytes.length - at, other.subarray(Math.max(0, other.length - (bytes.length - at))))
    default:
      return splice(bytes, at, length, prng.bytes(length))
  }
}

/** Changes a datagram in one to four places. */
export const alter = (prng: Prng, bytes: Uint8Array, other: Uint8Array): Uint8Array => {
  let altered = bytes
  for (let i = 1 + (prng.below(3) === 0 ? prng.below(4) : 0); i > 0 && altered.length > 0; i--) {
    altered = alterOnce(prng, altered, other)
  }
  return altered
}
