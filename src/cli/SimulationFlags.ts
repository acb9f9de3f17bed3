/**
 * How a simulation is described on the command line, and how one is written
 * back as the command that repeats it.
 *
 * @since 0.1.0
 */
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Partition, Scenario } from "../testing/Scenario.ts"

/** A flag whose text is read by `parse`; undefined is wrong usage, and `hint` says what is right. */
const flag = <A>(
  name: string,
  metavar: string,
  description: string,
  hint: string,
  parse: (text: string) => A | undefined
) =>
  Flag.String(name).pipe(
    Flag.withMetavar(metavar),
    Flag.withDescription(description),
    Flag.mapEffect((text) => {
      const value = parse(text)
      return value === undefined
        ? new CliError.ValidationError({ message: `--${name} "${text}": write ${hint}` })
        : Effect.succeed(value)
    }),
    Flag.optional
  )

const number = (text: string): number | undefined => /^\d+(\.\d+)?(e-?\d+)?$/.test(text) ? Number(text) : undefined

const within = (min: number, max: number) => (value: number | undefined): number | undefined =>
  value !== undefined && value >= min && value <= max ? value : undefined

const integer = (min: number, max: number) => (text: string): number | undefined =>
  /^\d+$/.test(text) ? within(min, max)(Number(text)) : undefined

/** From 0 up to but not 1. */
const share = (text: string): number | undefined => {
  const value = number(text)
  return value !== undefined && value < 1 ? value : undefined
}

/** Hours, of `2h`, `30m` or `90s`. */
const hours = (text: string): number | undefined => {
  const [, amount = "", unit = ""] = /^([\d.e-]+)([hms])$/.exec(text) ?? []
  const value = number(amount)
  return value === undefined ? undefined : value / { h: 1, m: 60, s: 3600 }[unit as "h" | "m" | "s"]
}

/** `at=2h,for=30m,share=0.4`, in any order. */
const partition = (text: string): Partition | undefined => {
  const parts = new Map(
    text.split(",").map((part) => {
      const [name, value = ""] = part.split("=")
      return [name, value]
    })
  )
  const atHours = hours(parts.get("at") ?? "")
  const forHours = hours(parts.get("for") ?? "")
  const taken = share(parts.get("share") ?? "")
  const isComplete = parts.size === 3 && atHours !== undefined && forHours !== undefined && taken !== undefined
  return isComplete && forHours > 0 && taken > 0 ? { atHours, forHours, share: taken } : undefined
}

/** Nodes, and hours, that fit into a process and a life. */
const maxNodes = 100_000
const maxHours = 24 * 365

/**
 * @category flags
 * @since 0.1.0
 */
export const flags = {
  nodes: flag("nodes", "number", "How many nodes there are (default 100)", `2 to ${maxNodes}`, integer(2, maxNodes)),
  hours: flag(
    "hours",
    "number",
    "How long they are watched, in virtual hours, once all have joined (default 2)",
    "a number of hours, above 0",
    (text) => within(1 / 60, maxHours)(number(text))
  ),
  seed: flag(
    "seed",
    "number",
    "A number that keys, places, delays and losses are drawn from; another one makes another run (default 1)",
    "an integer from 0 on",
    integer(0, Number.MAX_SAFE_INTEGER)
  ),
  scheduleSeed: flag(
    "schedule-seed",
    "number",
    "A number that who runs next is drawn from, where several could (default none: whoever could first)",
    "an integer from 0 on",
    integer(0, Number.MAX_SAFE_INTEGER)
  ),
  latency: flag(
    "latency",
    "p50=50ms",
    "How long a datagram is under way, one way: the median over all pairs of nodes (default 50ms)",
    "milliseconds such as p50=50ms",
    (text) => within(0, 10_000)(number(/^(?:p50=)?([\d.]+)ms$/.exec(text)?.[1] ?? ""))
  ),
  loss: flag("loss", "share", "The share of datagrams that get lost (default 0)", "a share from 0 to below 1", share),
  churn: flag(
    "churn",
    "share/h",
    "The share of nodes that crash and are replaced in an hour, such as 0.3/h (default 0)",
    "how many of all nodes are replaced in an hour, such as 0.3/h",
    (text) => within(0, 60)(number(text.replace(/\/h$/, "")))
  ),
  byzantine: flag("byzantine", "share", "The share of nodes that lie (default 0)", "a share from 0 to below 1", share),
  partition: flag(
    "partition",
    "at=2h,for=30m,share=0.4",
    "A time during which a share of the nodes reach only each other (default none)",
    "at=2h,for=30m,share=0.4",
    partition
  ),
  signatures: Flag.ChoiceWithValue("signatures", [["real", "real"], ["stand-in", "stand-in"]]).pipe(
    Flag.withDescription("Real Ed25519 signatures, or a fast stand-in that only looks like them (default stand-in)"),
    Flag.withDefault("stand-in")
  ),
  lookups: flag(
    "lookups",
    "number",
    "How many lookups each node makes in an hour (default 6)",
    "a number from 0 on",
    (text) => within(0, 3600)(number(text))
  ),
  endpoints: flag(
    "endpoints",
    "number",
    "How many nodes announce an endpoint (default all, at most 200)",
    "an integer from 0 on",
    integer(0, maxNodes)
  ),
  topics: flag(
    "topics",
    "number",
    "Under how many topics four nodes each offer something (default up to 20)",
    "an integer from 0 on",
    integer(0, maxNodes)
  ),
  watch: Flag.Boolean("watch").pipe(
    Flag.withDescription("Watch every node that does not lie for what it may never do; takes longer"),
    Flag.withoutNegation,
    Flag.withDefault(false)
  ),
  report: Flag.String("report").pipe(
    Flag.withMetavar("file.html"),
    Flag.withDescription("Write a page with plots there"),
    Flag.filter((path) => path !== "" && path !== "-", () => "the name of a file"),
    Flag.optional
  )
}

/**
 * What the flags give, of those that describe the scenario.
 *
 * @category models
 * @since 0.1.0
 */
export interface Given {
  readonly nodes: Option.Option<number>
  readonly hours: Option.Option<number>
  readonly seed: Option.Option<number>
  readonly scheduleSeed: Option.Option<number>
  readonly latency: Option.Option<number>
  readonly loss: Option.Option<number>
  readonly churn: Option.Option<number>
  readonly byzantine: Option.Option<number>
  readonly partition: Option.Option<Partition>
  readonly signatures: Scenario["signatures"]
  readonly lookups: Option.Option<number>
  readonly endpoints: Option.Option<number>
  readonly topics: Option.Option<number>
  readonly watch: boolean
}

/**
 * What was given, by the names of a scenario.
 *
 * @category conversions
 * @since 0.1.0
 */
export const scenarioOf = (given: Given): Partial<Scenario> => {
  const fields: { readonly [name in keyof Scenario]?: Option.Option<Scenario[name]> } = {
    nodes: given.nodes,
    hours: given.hours,
    seed: given.seed,
    scheduleSeed: given.scheduleSeed,
    latencyMillis: given.latency,
    loss: given.loss,
    churnPerHour: given.churn,
    byzantine: given.byzantine,
    partition: given.partition,
    signatures: Option.some(given.signatures),
    lookupsPerNodeHour: given.lookups,
    endpoints: given.endpoints,
    topics: given.topics,
    watched: Option.some(given.watch)
  }
  return Object.fromEntries(
    Object.entries<Option.Option<unknown>>(fields).flatMap(([name, value]) =>
      Option.toArray(value).map((given) => [name, given])
    )
  )
}

/** The flag that gives a field of a scenario, for messages about it. */
const names: { readonly [name in keyof Scenario]?: string } = {
  scheduleSeed: "schedule-seed",
  latencyMillis: "latency",
  churnPerHour: "churn",
  lookupsPerNodeHour: "lookups"
}

/**
 * What is wrong with a scenario, in terms of the flags.
 *
 * @category conversions
 * @since 0.1.0
 */
export const mistakeOf = ({ field, reason }: { readonly field: keyof Scenario; readonly reason: string }): string =>
  `--${names[field] ?? field} ${reason}`

/**
 * The command that runs a scenario again.
 *
 * @category conversions
 * @since 0.1.0
 */
export const commandOf = (scenario: Scenario): string => {
  const { partition, scheduleSeed } = scenario
  const options = [
    ["nodes", scenario.nodes],
    ["hours", scenario.hours],
    ["seed", scenario.seed],
    ...(scheduleSeed === null ? [] : [["schedule-seed", scheduleSeed]]),
    ["latency", `p50=${scenario.latencyMillis}ms`],
    ["loss", scenario.loss],
    ["churn", `${scenario.churnPerHour}/h`],
    ["byzantine", scenario.byzantine],
    ...(partition === null
      ? []
      : [["partition", `at=${span(partition.atHours)},for=${span(partition.forHours)},share=${partition.share}`]]),
    ["signatures", scenario.signatures],
    ["lookups", scenario.lookupsPerNodeHour],
    ["endpoints", scenario.endpoints],
    ["topics", scenario.topics]
  ]
  return `effect-dht simulate ${options.map(([name, value]) => `--${name} ${value}`).join(" ")}${
    scenario.watched ? " --watch" : ""
  }`
}

/** Hours as they are written on the command line. */
const span = (hours: number): string => {
  const seconds = hours * 3600
  return !Number.isInteger(seconds) || seconds % 3600 === 0
    ? `${hours}h`
    : seconds % 60 === 0
    ? `${seconds / 60}m`
    : `${seconds}s`
}
