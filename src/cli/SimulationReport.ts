/**
 * The results of a simulation, as text and JSON.
 *
 * @since 0.1.0
 */
import type { Answers, Expectation, Measured } from "../testing/Measurement.ts"
import * as Output from "./Output.ts"

/**
 * Formats a number with three or four significant digits; a dash for null.
 *
 * @category conversions
 * @since 0.1.0
 */
export const figure = (value: number | null): string => {
  if (value === null) return "–"
  const size = Math.abs(value)
  if (size >= 1000) return Math.round(value).toLocaleString("en").replaceAll(",", "\u00a0")
  return String(Number(value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 4)))
}

/** Maximum number of decimals used to distinguish a share from 0 and 1. */
const maxDigits = 15

const inPercent = (share: number, digits: number): string => {
  const text = (share * 100).toFixed(digits)
  const isMisleading = Number(text) === 0 && share > 0 || Number(text) === 100 && share < 1
  return isMisleading && digits < maxDigits
    ? inPercent(share, digits + 1)
    : `${text.replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "")} %`
}

/**
 * Formats a share (0 to 1) in percent, such as `99.87 %`; a dash for null. It
 * has as many digits as needed for only 0 to read 0 % and only 1 to read 100 %.
 *
 * @category conversions
 * @since 0.1.0
 */
export const percent = (share: number | null): string => share === null ? "–" : inPercent(share, share > 0.999 ? 3 : 2)

/**
 * Same with the minimum number of digits, for narrow places.
 *
 * @category conversions
 * @since 0.1.0
 */
export const wholePercent = (share: number): string => inPercent(share, 0)

/**
 * Formats seconds as `1 h 5 min`, `3 min 20 s` or `12.3 s`.
 *
 * @category conversions
 * @since 0.1.0
 */
export const duration = (seconds: number): string => {
  if (seconds < 60) return `${seconds < 10 ? Number(seconds.toFixed(1)) : Math.round(seconds)} s`
  const whole = Math.round(seconds)
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60]
  const parts = hours > 0 ? [[hours, "h"], [minutes, "min"]] : [[minutes, "min"], [whole % 60, "s"]]
  return parts.flatMap(([amount, unit]) => amount === 0 ? [] : [`${amount} ${unit}`]).join(" ")
}

const counted = (count: number, one: string): string => `${figure(count)} ${one}${count === 1 ? "" : "s"}`

/**
 * Describes the scenario in words, most important first.
 *
 * @category conversions
 * @since 0.1.0
 */
export const words = ({ scenario }: Measured): ReadonlyArray<string> => {
  const { byzantine, churnPerHour, latencyMillis, loss, partition } = scenario
  return [
    counted(scenario.nodes, "node"),
    `${figure(scenario.hours)} h`,
    `${figure(latencyMillis)} ms median one way`,
    ...(loss > 0 ? [`${percent(loss)} of datagrams lost`] : []),
    ...(churnPerHour > 0 ? [`${percent(churnPerHour)} of nodes replaced each hour`] : []),
    ...(byzantine > 0 ? [`${percent(byzantine)} of nodes lie`] : []),
    ...(partition === null ? [] : [
      `${percent(partition.share)} cut off for ${duration(partition.forHours * 3600)} after ${
        duration(partition.atHours * 3600)
      }`
    ]),
    `${scenario.signatures} signatures`,
    `seed ${scenario.seed}`,
    ...(scenario.scheduleSeed === null ? [] : [`schedule seed ${scenario.scheduleSeed}`])
  ]
}

/**
 * A titled group of rows.
 *
 * @category models
 * @since 0.1.0
 */
export interface Section {
  readonly name: string
  readonly rows: ReadonlyArray<readonly [name: string, value: string]>
}

const ratio = ({ asked, found }: { readonly asked: number; readonly found: number }): string =>
  asked === 0 ? "none asked" : `${figure(found)} of ${figure(asked)}, ${percent(found / asked)}`

const answerRows = (answers: Answers): Section["rows"] => [
  ["found", ratio(answers)],
  [
    "time: p50, p95, p99",
    `${figure(answers.p50Millis)}, ${figure(answers.p95Millis)}, ${figure(answers.p99Millis)} ms`
  ],
  ["requests, mean", figure(answers.requests)],
  ["hops: mean, p99", `${figure(answers.hops)}, ${figure(answers.p99Hops)}`]
]

/**
 * The plain figures.
 *
 * @category conversions
 * @since 0.1.0
 */
export const sections = (measured: Measured): ReadonlyArray<Section> => {
  const { scenario, totals } = measured
  const { copies, tables } = totals
  return [
    { name: "Lookups of announced endpoints", rows: answerRows(totals.resolve) },
    { name: "Lookups of offers under topics", rows: answerRows(totals.discover) },
    {
      name: "Announced records",
      rows: [
        ["found by probes", ratio(totals.probes)],
        [
          "copies in undisturbed periods: min, mean, max",
          `${figure(copies.min)}, ${figure(copies.mean)}, ${figure(copies.max)}`
        ]
      ]
    },
    {
      name: "Routing tables",
      rows: [
        ["contacts, mean", figure(tables.contacts)],
        ["live contacts", percent(tables.live)],
        ["filled, of what is possible", percent(tables.filled)]
      ]
    },
    {
      name: "Run",
      rows: [
        ["seed", String(scenario.seed)],
        ...(scenario.scheduleSeed === null ? [] : [["schedule seed", String(scenario.scheduleSeed)] as const]),
        ["trace hash", measured.traceHash],
        ["virtual time until all had joined", duration(measured.startSeconds)],
        ["real time", duration(measured.realSeconds)]
      ]
    },
    {
      name: "Network",
      rows: [
        ["log2 of the nodes", figure(Math.log2(scenario.nodes))],
        ["datagrams per node and hour", figure(totals.datagramsPerNodeHour)],
        ["received per node and hour", `${figure(totals.bytesPerNodeHour / 1000)} kB`],
        ["datagrams sent", figure(totals.datagrams)],
        ["datagrams lost", figure(totals.lost)],
        ["nodes replaced", figure(totals.replaced)],
        ["failed attempts to join", figure(totals.failedJoins)],
        ["warnings logged", figure(totals.warnings)]
      ]
    }
  ]
}

/**
 * An expectation and its outcome, in words.
 *
 * @category conversions
 * @since 0.1.0
 */
export const judged = ({ atLeast, atMost, holds, measured, of, unit, what }: Expectation) => {
  const show = (value: number | null) => unit === "Share" ? percent(value) : figure(value)
  return {
    what,
    state: measured === null ? "not judged" : holds ? "holds" : "broken",
    measured: of === null ? show(measured) : `${show(measured)} of ${figure(of)}`,
    bound: atLeast === null ? `at most ${show(atMost)} expected` : `at least ${show(atLeast)} expected`
  }
}

/**
 * The results as lines for a terminal.
 *
 * @category conversions
 * @since 0.1.0
 */
export const lines = (measured: Measured): ReadonlyArray<string> => {
  const all = sections(measured)
  const width = Math.max(...all.flatMap(({ rows }) => rows.map(([name]) => name.length)))
  const [size, time, ...rest] = words(measured)
  return [
    `${size} for ${time}: ${rest.join(", ")}`,
    ...all.flatMap(({ name, rows }) => [
      "",
      name,
      ...Output.table(rows.map(([name, value]) => [`  ${name.padEnd(width)}`, value]))
    ]),
    "",
    "Expected of every run",
    ...measured.expectations.map(judged).map(({ bound, measured, state, what }) =>
      `  ${state.padEnd(10)}  ${what}: ${measured}, ${bound}`
    ),
    ...measured.violations.map((violation) => `  violation: ${violation}`),
    ...measured.warnings.map((warning) => `  warning: ${warning}`)
  ]
}

/** Mapped type of an interface, which makes it assignable to types with an index signature. */
type Plain<A> = A extends ReadonlyArray<infer B> ? ReadonlyArray<Plain<B>>
  : A extends object ? { readonly [name in keyof A]: Plain<A[name]> }
  : A

/**
 * All results, with the command that reproduces them.
 *
 * @category conversions
 * @since 0.1.0
 */
export const document = (measured: Measured, command: string): Plain<Measured & { readonly command: string }> => ({
  ...measured,
  command
})
