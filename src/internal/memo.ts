/**
 * Memoization of pure functions of strings, for the ids and contacts of the
 * same few hundred peers, which are computed again and again.
 *
 * @since 0.1.0
 */

/** Most results remembered: a few megabytes. */
const capacity = 1 << 14

/**
 * Returns the function with its results remembered. It forgets all of them once
 * it is full, so a stream of new keys costs the same as without it.
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
