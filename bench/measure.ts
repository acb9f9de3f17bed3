/**
 * Timings that are comparable on a shared machine: the candidates run in turns of
 * a few milliseconds, and medians are taken, so that a disturbance affects one
 * turn only and is discarded.
 *
 * @since 0.1.0
 */

/** Does one operation; `i` counts up, to select among prepared inputs. */
export type Operation = (i: number) => void

const turnMillis = 2
const warmUpMillis = 40

/** Exported, so that the compiler cannot assume that it is never read. */
export let result: unknown

/** An operation whose result counts as used, which keeps it from being optimized away. */
export const used = (f: (i: number) => unknown): Operation => (i) => {
  result = f(i)
}

/** Determines how many operations fit into a turn, after warming up. */
const countOf = (operation: Operation): number => {
  const started = performance.now()
  let count = 0
  while (performance.now() - started < warmUpMillis) operation(count++)
  return Math.max(1, Math.round(count * turnMillis / warmUpMillis))
}

/** Microseconds per operation: one figure per operation and round. */
export const inTurns = <Name extends string>(
  operations: { readonly [name in Name]: Operation },
  rounds: number
): { readonly [name in Name]: ReadonlyArray<number> } => {
  const names = Object.keys(operations) as Array<Name>
  const times = {} as { [name in Name]: Array<number> }
  const turns = names.map((name) => {
    times[name] = []
    return { operation: operations[name], count: countOf(operations[name]), times: times[name] }
  })
  for (let round = 0; round < rounds; round++) {
    for (const { count, operation, times } of turns) {
      const started = performance.now()
      for (let i = 0; i < count; i++) operation(round * count + i)
      times.push((performance.now() - started) * 1000 / count)
    }
  }
  return times
}

export const median = (values: ReadonlyArray<number>): number => quantile(values, 0.5)

/** The smallest value that a share `q` of all values does not exceed; NaN if there are none. */
export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? NaN
}

/** Ratio of the times of `a` and `b`, by rounds. */
export const ratio = (a: ReadonlyArray<number>, b: ReadonlyArray<number>): number =>
  median(a.map((value, round) => value / b[round]))
