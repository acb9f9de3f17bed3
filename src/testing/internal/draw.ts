/**
 * What chance decides in a simulation, besides the network.
 *
 * @since 0.1.0
 */
import type { Prng } from "./prng.ts"

/**
 * So many different ones, in any order.
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
 * Milliseconds until the next of what happens every so often.
 *
 * @internal
 */
export const gap = (random: Prng, meanMillis: number): number => 2 * meanMillis * random.double()
