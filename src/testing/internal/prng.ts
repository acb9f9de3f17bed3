/**
 * A fast pseudo-random number generator, sfc32 (Doty-Humphrey, PractRand). It uses
 * 32-bit integers, so it draws the same numbers on every machine.
 *
 * @since 0.1.0
 */
import { sha256 } from "../../internal/sha256.ts"

/**
 * A stream of random numbers for a seed and a name. Streams of different names are
 * independent, so an additional draw from one does not change the others.
 *
 * @internal
 */
export class Prng {
  private a: number
  private b: number
  private c: number
  private counter = 1

  constructor(seed: number | string, name: string) {
    const digest = new DataView(sha256(new TextEncoder().encode(`${seed}\n${name}`)).buffer)
    this.a = digest.getInt32(0)
    this.b = digest.getInt32(4)
    this.c = digest.getInt32(8)
  }

  /** An unsigned 32-bit integer. */
  uint32(): number {
    const sum = (this.a + this.b + this.counter) | 0
    this.counter = (this.counter + 1) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = ((this.c << 21 | this.c >>> 11) + sum) | 0
    return sum >>> 0
  }

  /** A number in [0, 1) with 53 random bits. */
  double(): number {
    return ((this.uint32() >>> 5) * 0x4000000 + (this.uint32() >>> 6)) / 0x20000000000000
  }

  /** An integer in [0, `limit`); `limit` is at most 2^32. */
  below(limit: number): number {
    return Math.floor(this.uint32() / 0x100000000 * limit)
  }

  bytes(size: number): Uint8Array {
    const bytes = new Uint8Array(size)
    let word = 0
    for (let i = 0; i < size; i++) {
      word = (i & 3) === 0 ? this.uint32() : word >>> 8
      bytes[i] = word
    }
    return bytes
  }
}
