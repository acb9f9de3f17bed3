/**
 * Shrinking of a failing value: the smallest that still fails.
 *
 * @since 0.1.0
 */

/**
 * Replaces a failing value by a simpler one that fails, for as long as there is
 * one. `simpler` lists candidates, the simplest first.
 *
 * @internal
 */
export const smallest = <A>(
  failing: A,
  options: {
    readonly simpler: (value: A) => Iterable<A>
    readonly fails: (value: A) => boolean
    /** Whether to stop with the best so far. */
    readonly isOver: () => boolean
  }
): A => {
  const { fails, isOver, simpler } = options
  let best = failing
  for (let shrunk = true; shrunk;) {
    shrunk = false
    for (const candidate of simpler(best)) {
      if (isOver()) return best
      if (!fails(candidate)) continue
      best = candidate
      shrunk = true
      break
    }
  }
  return best
}

/**
 * The list without some of its items: without all, then each half, each quarter and
 * so on, and finally without each single item.
 *
 * @internal
 */
export function* fewer<A>(items: ReadonlyArray<A>): Iterable<ReadonlyArray<A>> {
  for (let size = items.length; size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < items.length; from += size) yield [...items.slice(0, from), ...items.slice(from + size)]
  }
}

/**
 * Integers between `floor` and a number, nearest to `floor` first.
 *
 * @internal
 */
export function* lower(number: number, floor = 0): Iterable<number> {
  if (number <= floor) return
  yield floor
  for (let half = Math.floor((number - floor) / 2); half > 0; half = Math.floor(half / 2)) yield number - half
}
