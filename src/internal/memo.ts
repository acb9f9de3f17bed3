/**
 * A pure function that remembers its results, for names that are computed from
 * names again and again: those of the same few hundred peers.
 *
 * @since 0.1.0
 */

/** Results that are remembered: some megabytes. */
const capacity = 1 << 14

/**
 * The same function. It forgets everything once its memory is full, so whoever
 * makes it compute ever new results costs it no more than without.
 *
 * @internal
 */
export const memo = <K extends string, V>(compute: (key: K) => V): (key: K) => V => {
  const known = new Map<K, V>()
  return (key) => {
    const result = known.get(key)
    if (result !== undefined) return result
    if (known.size >= capacity) known.clear()
    const computed = compute(key)
    known.set(key, computed)
    return computed
  }
}
