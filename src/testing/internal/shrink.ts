/**
 * Shrinking of a failing value: a smaller one that still fails.
 *
 * @since 0.1.0
 */

/**
 * Values to try, the simplest first. Each is answered with whether it fails, and
 * those after it are simpler than the last that did.
 *
 * @internal
 */
export type Candidates<A> = Generator<A, void, boolean | undefined>

/**
 * Replaces a failing value by a simpler one that fails, for as long as there is
 * one. Values with the same JSON are tried once.
 *
 * @internal
 */
export const smallest = <A>(
  failing: A,
  options: {
    readonly simpler: (value: A) => Candidates<A>
    readonly fails: (value: A) => boolean
    /** Whether to stop with the best so far. */
    readonly isOver: () => boolean
  }
): A => {
  const { fails, isOver, simpler } = options
  const tried = new Set([JSON.stringify(failing)])
  let best = failing
  for (let shrunk = true; shrunk;) {
    shrunk = false
    const candidates = simpler(best)
    for (let next = candidates.next(); !next.done;) {
      const { value } = next
      const text = JSON.stringify(value)
      let isBetter = false
      if (!tried.has(text)) {
        if (isOver()) return best
        tried.add(text)
        isBetter = fails(value)
      }
      if (isBetter) {
        best = value
        shrunk = true
      }
      next = candidates.next(isBetter)
    }
  }
  return best
}

/**
 * Values that differ from another in one part. Returns the last that failed, or the
 * value itself.
 *
 * @internal
 */
export function* changing<A, B>(
  value: A,
  parts: Candidates<B>,
  change: (value: A, part: B) => A
): Generator<A, A, boolean | undefined> {
  let best = value
  for (let next = parts.next(); !next.done;) {
    const candidate = change(best, next.value)
    const fails = yield candidate
    if (fails) best = candidate
    next = parts.next(fails)
  }
  return best
}

/**
 * A single value.
 *
 * @internal
 */
export function* one<A>(value: A): Candidates<A> {
  yield value
}

/**
 * The list without some of its items: without all, then each half, each quarter and
 * so on, and finally without each single item.
 *
 * @internal
 */
export function* fewer<A>(items: ReadonlyArray<A>): Candidates<ReadonlyArray<A>> {
  let left = items
  for (let size = items.length; size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let from = 0; from < left.length;) {
      const rest = [...left.slice(0, from), ...left.slice(from + size)]
      if (yield rest) left = rest
      else from += size
    }
  }
}

/**
 * Integers between `floor` and a number: `floor`, then halfway to the lowest that
 * may fail, until less than `precision` is left.
 *
 * @internal
 */
export function* lower(number: number, floor = 0, precision = 1): Candidates<number> {
  if (number <= floor || (yield floor)) return
  let passes = floor
  let fails = number
  while (fails - passes > precision) {
    const middle = Math.floor((passes + fails) / 2)
    if (yield middle) fails = middle
    else passes = middle
  }
}
