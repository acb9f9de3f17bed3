/**
 * Reproducible randomness: `Random` and `SecureRandom` from a seed and a name.
 * The streams of different names are independent. None of it is secret.
 *
 * @module
 * @since 0.1.0
 */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import { Prng } from "./internal/prng.ts"

/**
 * Creates a `Random` from a seed and a name.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (seed: number | string, name: string): Random.Random => {
  const prng = new Prng(seed, `random ${name}`)
  return {
    nextDoubleUnsafe: () => prng.double(),
    nextIntUnsafe: () => (prng.uint32() & 0x1fffff) * 0x100000000 + prng.uint32()
  }
}

/**
 * Creates a `SecureRandom` from a seed and a name. It is predictable: use it in
 * tests only.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeSecure = (seed: number | string, name: string): SecureRandom.SecureRandom["Service"] => {
  const prng = new Prng(seed, `secure random ${name}`)
  return SecureRandom.make((size) => prng.bytes(size))
}

/**
 * Provides both services; their streams start over each time the layer is built.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (seed: number | string, name: string): Layer.Layer<SecureRandom.SecureRandom> =>
  Layer.merge(
    Layer.sync(Random.Random, () => make(seed, name)),
    Layer.sync(SecureRandom.SecureRandom, () => makeSecure(seed, name))
  )
