/**
 * Models of network latency.
 *
 * @module
 * @since 0.1.0
 */

/**
 * The position of a host: `x` and `y` are from 0 to 1, `index` is the number of
 * the host in its network, from 0.
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
 * The one-way latency between two hosts in milliseconds, before jitter.
 *
 * @category models
 * @since 0.1.0
 */
export type Latency = (from: Place, to: Place) => number

/** The median distance of two random points in a square of side 1. */
const medianDistance = 0.512

/**
 * Latency that grows with the distance of the hosts in a plane, which resembles
 * the Internet (Dabek et al., "Vivaldi", 2004). `medianMillis` is the median over
 * random pairs of hosts, `baseMillis` the minimum, by default a tenth of that.
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
 * The same latency between all hosts.
 *
 * @category constructors
 * @since 0.1.0
 */
export const constant = (millis: number): Latency => () => millis

/**
 * Latency from a table of measured values: `rows[from][to]` in milliseconds. Host
 * indices wrap around, so there may be more hosts than rows.
 *
 * @category constructors
 * @since 0.1.0
 */
export const matrix = (rows: ReadonlyArray<ReadonlyArray<number>>): Latency => (from, to) =>
  rows[from.index % rows.length][to.index % rows.length]
