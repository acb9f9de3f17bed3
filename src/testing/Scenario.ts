/**
 * Scenarios of a simulation: the number of nodes, the duration, and the faults.
 * A scenario is plain data, so a run can be repeated from its report.
 *
 * @module
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * The scenario of a run. Hours count from when all nodes have joined. Fractions
 * are from 0 to 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Scenario {
  readonly seed: number
  /** Seed of the scheduler; with null, fibers run in the order in which they became runnable. */
  readonly scheduleSeed: number | null
  readonly nodes: number
  readonly hours: number
  /** Median one-way latency. */
  readonly latencyMillis: number
  /** Fraction of datagrams that are lost. */
  readonly loss: number
  /** Fraction of nodes that crash per hour; each is replaced by a new one. */
  readonly churnPerHour: number
  /** Fraction of Byzantine nodes. They do not crash, and neither look up nor announce anything. */
  readonly byzantine: number
  /** A time in which some nodes reach only each other. Nodes that start during it belong to the rest. */
  readonly partition: Partition | null
  readonly signatures: "real" | "stand-in"
  /** Lookups of announced records per node and hour. */
  readonly lookupsPerNodeHour: number
  /** Number of nodes that announce an endpoint. */
  readonly endpoints: number
  /** Number of topics; four nodes announce an offer for each. */
  readonly topics: number
  /** Whether all honest nodes are checked for violations of `PropertiesSafety`, which makes the run slower. */
  readonly watched: boolean
  /** Time between measurements. */
  readonly intervalMinutes: number
}

/**
 * A network partition.
 *
 * @category models
 * @since 0.1.0
 */
export interface Partition {
  readonly atHours: number
  readonly forHours: number
  /** Fraction of the nodes that are split off, from 0 to 1. */
  readonly share: number
}

/**
 * Number of nodes that announce an offer for one topic.
 *
 * @internal
 */
export const announcersPerTopic = 4

/** Default number of intervals in a run. */
const usualIntervals = 72

/**
 * Completes a scenario with defaults: 100 nodes for two hours without churn, loss
 * or Byzantine nodes. All honest nodes announce an endpoint, but at most 200.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (given: Partial<Scenario> = {}): Scenario => {
  const nodes = given.nodes ?? 100
  const hours = given.hours ?? 2
  const byzantine = given.byzantine ?? 0
  const honest = honestOf({ nodes, byzantine })
  return {
    seed: given.seed ?? 1,
    scheduleSeed: given.scheduleSeed ?? null,
    nodes,
    hours,
    latencyMillis: given.latencyMillis ?? 50,
    loss: given.loss ?? 0,
    churnPerHour: given.churnPerHour ?? 0,
    byzantine,
    partition: given.partition ?? null,
    signatures: given.signatures ?? "stand-in",
    lookupsPerNodeHour: given.lookupsPerNodeHour ?? 6,
    endpoints: given.endpoints ?? Math.min(honest, 200),
    topics: given.topics ?? Math.min(Math.floor(honest / announcersPerTopic), 20),
    watched: given.watched ?? false,
    intervalMinutes: given.intervalMinutes ?? Math.max(5, Math.ceil(hours * 60 / usualIntervals))
  }
}

/**
 * The number of Byzantine nodes among the first `nodes` nodes. They are spread
 * evenly, and the first node is honest.
 *
 * @internal
 */
export const liarsAmong = (nodes: number, byzantine: number): number => Math.floor(nodes * byzantine)

/**
 * The number of honest nodes.
 *
 * @internal
 */
export const honestOf = ({ byzantine, nodes }: Pick<Scenario, "nodes" | "byzantine">): number =>
  nodes - liarsAmong(nodes, byzantine)

/**
 * A field of the scenario is invalid.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidScenario extends Data.TaggedError("InvalidScenario")<{
  readonly field: keyof Scenario
  readonly reason: string
}> {
  override get message() {
    return `${this.field} ${this.reason}`
  }
}

/**
 * Returns the first fault of a scenario; undefined if it is valid.
 *
 * @category guards
 * @since 0.1.0
 */
export const fault = (scenario: Scenario): InvalidScenario | undefined => {
  const { partition } = scenario
  const wrong = (field: keyof Scenario, reason: string) => new InvalidScenario({ field, reason })
  const honest = honestOf(scenario)
  for (const field of ["seed", "nodes", "endpoints", "topics"] as const) {
    if (!Number.isSafeInteger(scenario[field])) return wrong(field, "must be an integer")
  }
  if (scenario.scheduleSeed !== null && !Number.isSafeInteger(scenario.scheduleSeed)) {
    return wrong("scheduleSeed", "must be an integer")
  }
  for (
    const field of [
      "hours",
      "latencyMillis",
      "churnPerHour",
      "lookupsPerNodeHour",
      "intervalMinutes",
      "endpoints",
      "topics"
    ] as const
  ) {
    if (!(scenario[field] >= 0 && Number.isFinite(scenario[field]))) {
      return wrong(field, "must be a number of at least 0")
    }
  }
  if (!(scenario.loss >= 0 && scenario.loss < 1)) return wrong("loss", "must be at least 0 and less than 1")
  if (!(scenario.byzantine >= 0 && scenario.byzantine < 1)) {
    return wrong("byzantine", "must be at least 0 and less than 1")
  }
  if (honest < 2) return wrong("nodes", `must include at least two honest ones, and ${honest} are`)
  if (!(scenario.hours > 0)) return wrong("hours", "must be more than 0")
  if (!(scenario.intervalMinutes > 0)) return wrong("intervalMinutes", "must be more than 0")
  if (scenario.endpoints > honest) {
    return wrong("endpoints", `must be at most ${honest}, the number of honest nodes`)
  }
  if (scenario.topics > 0 && honest < announcersPerTopic) {
    return wrong("topics", `need ${announcersPerTopic} honest nodes, and there are ${honest}`)
  }
  if (partition !== null) {
    if (!(partition.atHours >= 0 && partition.forHours > 0)) {
      return wrong("partition", "must start at 0 hours or later and last longer than 0 hours")
    }
    if (!(partition.atHours + partition.forHours <= scenario.hours)) {
      return wrong("partition", `must end within the ${scenario.hours} hours of the run`)
    }
    if (!(partition.share > 0 && partition.share < 1)) {
      return wrong("partition", "must split off a fraction of more than 0 and less than 1")
    }
  }
  return undefined
}
