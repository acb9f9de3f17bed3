/**
 * Random choices of a simulation outside the network.
 *
 * @since 0.1.0
 */
import type { Prng } from "./prng.ts"

/**
 * Draws `count` different items in random order, or all if there are fewer.
 *
 * @internal
 */
export const pick = <A>(random: Prng, from: ReadonlyArray<A>, count: number): Array<A> => {
  if (count * 8 < from.length) {
    const drawn = new Set<number>()
    while (drawn.size < count) drawn.add(random.below(from.length))
    return Array.from(drawn, (at) => from[at])
  }
  const pool = [...from]
  for (let i = 0; i < Math.min(count, pool.length); i++) {
    const at = i + random.below(pool.length - i)
    const drawn = pool[at]
    pool[at] = pool[i]
    pool[i] = drawn
  }
  return pool.slice(0, count)
}

/**
 * Milliseconds until the next event of a mean interval: uniform from 0 to twice
 * the mean.
 *
 * @internal
 */
export const gap = (random: Prng, meanMillis: number): number => 2 * meanMillis * random.double()
