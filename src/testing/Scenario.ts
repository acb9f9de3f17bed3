/**
 * What a simulation is made of: how many nodes, for how long, and what goes
 * wrong meanwhile. Plain data, so that a run can be repeated from what it
 * reports.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"

/**
 * What a run is made of. Hours count from when all nodes have joined. Shares
 * are 0 to 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Scenario {
  readonly seed: number
  /** Draws who runs next; null: whoever could run first runs first. */
  readonly scheduleSeed: number | null
  readonly nodes: number
  readonly hours: number
  /** The median of all ways, one way. */
  readonly latencyMillis: number
  /** The share of datagrams that get lost. */
  readonly loss: number
  /** The share of nodes that crash in an hour, each of which a new one takes the place of. */
  readonly churnPerHour: number
  /** The share of nodes that lie. They stay, ask nothing and announce nothing. */
  readonly byzantine: number
  /** A time during which a share of the nodes reach only each other. Nodes that start in it are with the rest. */
  readonly partition: Partition | null
  readonly signatures: "real" | "stand-in"
  /** Questions that each node asks in an hour, each for one of what is announced. */
  readonly lookupsPerNodeHour: number
  /** So many nodes announce an endpoint each. */
  readonly endpoints: number
  /** So many topics are there, under each of which four nodes announce something. */
  readonly topics: number
  /** Whether all nodes that do not lie are watched for violations of what `PropertiesSafety` says; it takes time. */
  readonly watched: boolean
  /** How often is measured. */
  readonly intervalMinutes: number
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Partition {
  readonly atHours: number
  readonly forHours: number
  readonly share: number
}

/**
 * Nodes that announce something under one topic.
 *
 * @internal
 */
export const announcersPerTopic = 4

/** Intervals of a run that says nothing about them. */
const usualIntervals = 72

/**
 * A scenario of which only some is given. The others are 100 nodes for two
 * hours without churn, loss or liars, of which up to 200 announce an endpoint.
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
 * How many of the first so many nodes lie: they are spread evenly, and the very
 * first does not.
 *
 * @internal
 */
export const liarsAmong = (nodes: number, byzantine: number): number => Math.floor(nodes * byzantine)

/**
 * How many nodes do not lie.
 *
 * @internal
 */
export const honestOf = ({ byzantine, nodes }: Pick<Scenario, "nodes" | "byzantine">): number =>
  nodes - liarsAmong(nodes, byzantine)

/**
 * The scenario makes no sense.
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
 * What is wrong with a scenario; undefined when nothing is.
 *
 * @category guards
 * @since 0.1.0
 */
export const fault = (scenario: Scenario): InvalidScenario | undefined => {
  const { partition } = scenario
  const wrong = (field: keyof Scenario, reason: string) => new InvalidScenario({ field, reason })
  const honest = honestOf(scenario)
  for (const field of ["seed", "nodes", "endpoints", "topics"] as const) {
    if (!Number.isSafeInteger(scenario[field])) return wrong(field, "is an integer")
  }
  if (scenario.scheduleSeed !== null && !Number.isSafeInteger(scenario.scheduleSeed)) {
    return wrong("scheduleSeed", "is an integer")
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
    if (!(scenario[field] >= 0 && Number.isFinite(scenario[field]))) return wrong(field, "is a number from 0 on")
  }
  if (!(scenario.loss >= 0 && scenario.loss < 1)) return wrong("loss", "is from 0 up to but not 1")
  if (!(scenario.byzantine >= 0 && scenario.byzantine < 1)) return wrong("byzantine", "is from 0 up to but not 1")
  if (honest < 2) return wrong("nodes", "are at least two that do not lie")
  if (!(scenario.hours > 0)) return wrong("hours", "are more than 0")
  if (!(scenario.intervalMinutes > 0)) return wrong("intervalMinutes", "are more than 0")
  if (scenario.endpoints > honest) {
    return wrong("endpoints", `are at most one for each of the ${honest} nodes that do not lie`)
  }
  if (scenario.topics > 0 && honest < announcersPerTopic) {
    return wrong("topics", `need ${announcersPerTopic} nodes that do not lie`)
  }
  if (partition !== null) {
    if (!(partition.atHours >= 0 && partition.forHours > 0)) {
      return wrong("partition", "begins at 0 hours or later, and lasts")
    }
    if (!(partition.atHours + partition.forHours <= scenario.hours)) {
      return wrong("partition", "ends before the run does")
    }
    if (!(partition.share > 0 && partition.share < 1)) return wrong("partition", "takes a share between 0 and 1")
  }
  return undefined
}
