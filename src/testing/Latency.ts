/**
 * How long a datagram is under way.
 *
 * @since 0.1.0
 */

/**
 * Where a host is: `x` and `y` between 0 and 1. `index` counts the hosts of a
 * network from 0 on.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place {
  readonly index: number
  readonly x: number
  readonly y: number
}

/**
 * The milliseconds from one host to another, one way, when nothing disturbs.
 *
 * @category models
 * @since 0.1.0
 */
export type Latency = (from: Place, to: Place) => number

/** The median distance of two random points in a square of side 1. */
const medianDistance = 0.512

/**
 * Hosts lie in a plane, and the way takes the longer the farther they are from
 * each other, as on the Internet (Dabek et al., "Vivaldi", 2004).
 * `medianMillis` is the median of all ways, `baseMillis`, by default a tenth of
 * it, the part that every way takes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const plane = (options: {
  readonly medianMillis: number
  readonly baseMillis?: number | undefined
}): Latency => {
  const base = options.baseMillis ?? options.medianMillis / 10
  const scale = (options.medianMillis - base) / medianDistance
  return (from, to) => {
    const dx = from.x - to.x
    const dy = from.y - to.y
    return base + scale * Math.sqrt(dx * dx + dy * dy)
  }
}

/**
 * The same between any two hosts.
 *
 * @category constructors
 * @since 0.1.0
 */
export const constant = (millis: number): Latency => () => millis

/**
 * Measured figures: row by row, from whom to whom. There may be more hosts than
 * rows; they begin again at the first.
 *
 * @category constructors
 * @since 0.1.0
 */
export const matrix = (rows: ReadonlyArray<ReadonlyArray<number>>): Latency => (from, to) =>
  rows[from.index % rows.length][to.index % rows.length]
