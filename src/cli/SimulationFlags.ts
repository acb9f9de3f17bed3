/**
 * Flags that describe a simulation, and the conversion of a simulation back to
 * the command that reproduces it.
 *
 * @since 0.1.0
 */
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Partition, Scenario } from "../testing/Scenario.ts"

/** A flag parsed by `parse`. Undefined makes a usage error, in which `hint` describes valid values. */
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

/** A share of at least 0 and less than 1. */
const share = (text: string): number | undefined => {
  const value = number(text)
  return value !== undefined && value < 1 ? value : undefined
}

/** Hours, from `2h`, `30m` or `90s`. */
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

/** Maximum number of nodes: what fits into the memory of one process. */
const maxNodes = 100_000
const maxHours = 24 * 365

/**
 * @category flags
 * @since 0.1.0
 */
export const flags = {
  nodes: flag("nodes", "number", "Number of nodes (default 100)", `2 to ${maxNodes}`, integer(2, maxNodes)),
  hours: flag(
    "hours",
    "number",
    "Virtual hours to simulate after all nodes have joined (default 2)",
    "a number of hours greater than 0",
    (text) => within(1 / 60, maxHours)(number(text))
  ),
  seed: flag(
    "seed",
    "number",
    "Seed of keys, places, delays and losses; each seed gives a different run (default 1)",
    "a non-negative integer",
    integer(0, Number.MAX_SAFE_INTEGER)
  ),
  scheduleSeed: flag(
    "schedule-seed",
    "number",
    "Seed of the order in which runnable fibers run (default none: first in, first out)",
    "a non-negative integer",
    integer(0, Number.MAX_SAFE_INTEGER)
  ),
  latency: flag(
    "latency",
    "p50=50ms",
    "One-way latency of a datagram: the median over all pairs of nodes (default 50ms)",
    "milliseconds such as p50=50ms",
    (text) => within(0, 10_000)(number(/^(?:p50=)?([\d.]+)ms$/.exec(text)?.[1] ?? ""))
  ),
  loss: flag("loss", "share", "Share of datagrams lost (default 0)", "a share of at least 0 and less than 1", share),
  churn: flag(
    "churn",
    "share/h",
    "Share of nodes that crash and are replaced per hour, such as 0.3/h (default 0)",
    "a share per hour such as 0.3/h",
    (text) => within(0, 60)(number(text.replace(/\/h$/, "")))
  ),
  byzantine: flag(
    "byzantine",
    "share",
    "Share of nodes that lie (default 0)",
    "a share of at least 0 and less than 1",
    share
  ),
  partition: flag(
    "partition",
    "at=2h,for=30m,share=0.4",
    "A period during which a share of the nodes can reach only each other (default none)",
    "at=2h,for=30m,share=0.4",
    partition
  ),
  signatures: Flag.ChoiceWithValue("signatures", [["real", "real"], ["stand-in", "stand-in"]]).pipe(
    Flag.withDescription("Real Ed25519 signatures, or a fast stand-in of the same format (default stand-in)"),
    Flag.withDefault("stand-in")
  ),
  lookups: flag(
    "lookups",
    "number",
    "Lookups per node and hour (default 6)",
    "a non-negative number",
    (text) => within(0, 3600)(number(text))
  ),
  endpoints: flag(
    "endpoints",
    "number",
    "Number of nodes that announce an endpoint (default all, at most 200)",
    "a non-negative integer",
    integer(0, maxNodes)
  ),
  topics: flag(
    "topics",
    "number",
    "Number of topics, each with offers from four nodes (default up to 20)",
    "a non-negative integer",
    integer(0, maxNodes)
  ),
  watch: Flag.Boolean("watch").pipe(
    Flag.withDescription("Check the invariants of every honest node throughout the run; slower"),
    Flag.withoutNegation,
    Flag.withDefault(false)
  ),
  report: Flag.String("report").pipe(
    Flag.withMetavar("file.html"),
    Flag.withDescription("Write an HTML report with plots to this file"),
    Flag.filter((path) => path !== "" && path !== "-", () => "the name of a file"),
    Flag.optional
  )
}

/**
 * The flags that describe the scenario, as parsed.
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
 * Converts the flags to the fields of a scenario.
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

/** The flag of each field of a scenario, for messages. */
const names: { readonly [name in keyof Scenario]?: string } = {
  scheduleSeed: "schedule-seed",
  latencyMillis: "latency",
  churnPerHour: "churn",
  lookupsPerNodeHour: "lookups"
}

/**
 * Describes what is wrong with a scenario, in terms of the flags.
 *
 * @category conversions
 * @since 0.1.0
 */
export const mistakeOf = ({ field, reason }: { readonly field: keyof Scenario; readonly reason: string }): string =>
  `--${names[field] ?? field} ${reason}`

/**
 * The command that reproduces a scenario.
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

/** Formats hours as written on the command line. */
const span = (hours: number): string => {
  const seconds = hours * 3600
  return !Number.isInteger(seconds) || seconds % 3600 === 0
    ? `${hours}h`
    : seconds % 60 === 0
    ? `${seconds / 60}m`
    : `${seconds}s`
}
