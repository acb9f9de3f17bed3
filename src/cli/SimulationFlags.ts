/**
 * Flags that describe a simulation, and the conversion of a simulation back to
 * the command that reproduces it.
 *
 * @since 0.1.0
 */
import type * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Record from "effect/Record"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { boolean, hinted, integer, number, oneOf, type TextCodec } from "../node/internal/textCodec.ts"
import type { Partition, Scenario } from "../testing/Scenario.ts"
import * as Parameter from "./Parameter.ts"

// --- Codecs --------------------------------------------------------------------

const from = (minimum: number, maximum: number): TextCodec<number> => number(Schema.isBetween({ minimum, maximum }))

const share = number(Schema.isLessThan(1)).pipe(hinted("write a share of at least 0 and less than 1"))

/** A number as a part of a text: the group of `pattern`. */
const within = (pattern: RegExp, amount: TextCodec<number>, format: (digits: string) => string): TextCodec<number> =>
  Schema.String.pipe(Schema.decodeTo(
    amount,
    SchemaTransformation.transform({ decode: (text: string) => pattern.exec(text)?.[1] ?? "", encode: format })
  ))

const perHour = { h: 1, m: 60, s: 3600 }

/** Hours, from `2h`, `30m` or `90s`. */
const hours: TextCodec<number> = Schema.TemplateLiteralParser([
  number(Schema.isFinite()),
  Schema.Literals(["h", "m", "s"])
]).pipe(Schema.decodeTo(
  Schema.Finite,
  SchemaTransformation.transform({
    decode: ([amount, unit]) => amount / perHour[unit],
    encode: (hours) => {
      const seconds = hours * 3600
      return !Number.isInteger(seconds) || seconds % 3600 === 0
        ? [hours, "h"] as const
        : seconds % 60 === 0
        ? [seconds / 60, "m"] as const
        : [seconds, "s"] as const
    }
  })
))

const Period = Schema.Struct({
  atHours: hours,
  forHours: hours.check(Schema.isGreaterThan(0)),
  share: share.check(Schema.isGreaterThan(0))
}).pipe(Schema.encodeKeys({ atHours: "at", forHours: "for" }))

/** `at=2h,for=30m,share=0.4`, in any order. */
const partition: TextCodec<Partition> = Schema.String.check(Schema.isPattern(/^(,?[a-z]+=[^,=]+){3}$/)).pipe(
  Schema.decodeTo(Schema.Record(Schema.String, Schema.String), SchemaTransformation.splitKeyValue()),
  Schema.decodeTo(Period),
  hinted("write at=2h,for=30m,share=0.4")
)

const nonNegative = (max: number) => from(0, max).pipe(hinted(`write a non-negative number, at most ${max}`))

/** Maximum number of nodes: what fits into the memory of one process. */
const maxNodes = 100_000
const maxHours = 24 * 365

// --- Flags -----------------------------------------------------------------------

/** A flag that sets a field of the scenario, and how a value is written on a command line. */
const sets = <A>(
  name: string,
  metavar: string,
  codec: TextCodec<A>,
  description: string,
  given: Flag.Flag<A> = Parameter.flag(name, metavar, codec, description)
) => ({
  name,
  flag: Flag.optional(Flag.withDescription(given, description)),
  // A method, so that its parameter is bivariant.
  written(value: A): string {
    return typeof value === "boolean" ? value ? ` --${name}` : "" : ` --${name} ${Schema.encodeSync(codec)(value)}`
  }
})

const signatures = ["real", "stand-in"] as const

const fields = {
  nodes: sets("nodes", "number", integer(2, maxNodes), "Number of nodes (default 100)"),
  hours: sets(
    "hours",
    "number",
    from(1 / 60, maxHours).pipe(hinted(`write a number of hours from 1/60 to ${maxHours}`)),
    "Virtual hours to simulate after all nodes have joined (default 2)"
  ),
  seed: sets(
    "seed",
    "number",
    integer(0, Number.MAX_SAFE_INTEGER),
    "Seed of keys, places, delays and losses; each seed gives a different run (default 1)"
  ),
  scheduleSeed: sets(
    "schedule-seed",
    "number",
    integer(0, Number.MAX_SAFE_INTEGER),
    "Seed of the order in which runnable fibers run (default none: first in, first out)"
  ),
  latencyMillis: sets(
    "latency",
    "p50=50ms",
    within(/^(?:p50=)?(.*)ms$/, from(0, 10_000), (millis) => `p50=${millis}ms`).pipe(
      hinted("write milliseconds such as p50=50ms, at most 10000")
    ),
    "One-way latency of a datagram: the median over all pairs of nodes (default 50ms)"
  ),
  loss: sets("loss", "share", share, "Share of datagrams lost (default 0)"),
  churnPerHour: sets(
    "churn",
    "share/h",
    within(/^(.*?)(?:\/h)?$/, from(0, 60), (share) => `${share}/h`).pipe(
      hinted("write a share per hour such as 0.3/h, at most 60/h")
    ),
    "Share of nodes that crash and are replaced per hour, such as 0.3/h (default 0)"
  ),
  byzantine: sets("byzantine", "share", share, "Share of nodes that lie (default 0)"),
  partition: sets(
    "partition",
    "at=2h,for=30m,share=0.4",
    partition,
    "A period during which a share of the nodes can reach only each other (default none)"
  ),
  signatures: sets(
    "signatures",
    "choice",
    oneOf(signatures),
    "Real Ed25519 signatures, or a fast stand-in of the same format (default stand-in)",
    Flag.Literals("signatures", signatures)
  ),
  lookupsPerNodeHour: sets("lookups", "number", nonNegative(3600), "Lookups per node and hour (default 6)"),
  endpoints: sets(
    "endpoints",
    "number",
    integer(0, maxNodes),
    "Number of nodes that announce an endpoint (default all, at most 200)"
  ),
  topics: sets(
    "topics",
    "number",
    integer(0, maxNodes),
    "Number of topics, each with offers from four nodes (default up to 20)"
  ),
  watched: sets(
    "watch",
    "boolean",
    boolean,
    "Check the invariants of every honest node throughout the run; slower",
    Flag.withoutNegation(Flag.Boolean("watch"))
  )
}

type Flags = { readonly [Field in keyof typeof fields]: typeof fields[Field]["flag"] }

/**
 * The flags, by the field of the scenario that each sets.
 *
 * @category flags
 * @since 0.1.0
 */
export const flags = Record.map<string, { readonly flag: Flag.Flag<unknown> }, unknown>(
  fields,
  ({ flag }) => flag
) as Flags

/**
 * The flags as parsed.
 *
 * @category models
 * @since 0.1.0
 */
export type Given = Command.Command.Config.Infer<Flags>

/**
 * Converts the flags to the fields of a scenario.
 *
 * @category conversions
 * @since 0.1.0
 */
export const scenarioOf = (given: Given): Partial<Scenario> => Record.getSomes<string, unknown>(given)

/**
 * Describes what is wrong with a scenario, in terms of the flags.
 *
 * @category conversions
 * @since 0.1.0
 */
export const mistakeOf = ({ field, reason }: { readonly field: keyof Scenario; readonly reason: string }): string =>
  `--${field === "intervalMinutes" ? field : fields[field].name} ${reason}`

/**
 * The command that reproduces a scenario.
 *
 * @category conversions
 * @since 0.1.0
 */
export const commandOf = (scenario: Scenario): string => {
  const options = Object.entries<{ written(value: unknown): string }>(fields).map(([field, { written }]) => {
    const value = scenario[field as keyof Scenario]
    return value === null ? "" : written(value)
  })
  return `effect-dht simulate${options.join("")}`
}
