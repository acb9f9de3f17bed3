/**
 * Plots as SVG text: lines over time, and bars. Colors and fonts come from the
 * style sheet of the page, by class.
 *
 * Plotting libraries draw into a DOM or on a canvas: these two kinds of plot would
 * cost the command a DOM and some sixty packages, or the page its text.
 *
 * @since 0.1.0
 */
import { percent, wholePercent } from "./SimulationReport.ts"

/**
 * One line of a plot. A null leaves a gap.
 *
 * @category models
 * @since 0.1.0
 */
export interface Line {
  readonly name: string
  readonly values: ReadonlyArray<number | null>
}

/**
 * A highlighted period.
 *
 * @category models
 * @since 0.1.0
 */
export interface Span {
  readonly from: number
  readonly to: number
  readonly name: string
}

/**
 * @category models
 * @since 0.1.0
 */
export interface LinesOptions {
  /** Accessible name of the plot. */
  readonly title: string
  /** Position of each value on the horizontal axis: hours, or what `xName` says. */
  readonly x: ReadonlyArray<number>
  /** Name of the horizontal axis where it is not time. */
  readonly xName?: string | undefined
  readonly lines: ReadonlyArray<Line>
  readonly format: (value: number) => string
  /** Start of the value axis, unless a smaller value extends it. */
  readonly from: number
  /** End of the value axis; defaults to above the largest value. */
  readonly to?: number | undefined
  readonly span?: Span | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface BarsOptions {
  readonly title: string
  /** Share of each number from 0 on, each from 0 to 1. */
  readonly shares: ReadonlyArray<number>
  /** A reference value. */
  readonly mark: { readonly at: number; readonly name: string }
  readonly xName: string
}

/** Dimensions in units of the drawing, which a phone shows as pixels. */
const box = { width: 360, height: 200, left: 46, right: 12, top: 18, bottom: 32 }

const plot = {
  right: box.width - box.right,
  bottom: box.height - box.bottom,
  width: box.width - box.left - box.right,
  height: box.height - box.top - box.bottom
}

const middle = box.left + plot.width / 2

/**
 * @category conversions
 * @since 0.1.0
 */
export const escape = (text: string): string => text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`)

const at = (value: number): string => String(Math.round(value * 10) / 10)

/** About `wanted` round numbers from `from` to `to`. */
const ticks = (from: number, to: number, wanted: number, steps: ReadonlyArray<number>): ReadonlyArray<number> => {
  const rough = (to - from) / wanted
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = steps.find((step) => step >= rough) ??
    power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough) ?? 10)
  const first = Math.ceil(from / step - 1e-9)
  const last = Math.floor(to / step + 1e-9)
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step)
}

/** Steps of a time axis in hours, from one minute to a day. */
const clockSteps = [1 / 60, 1 / 12, 1 / 6, 1 / 4, 1 / 2, 1, 2, 3, 6, 12, 24]

const svg = (title: string, attributes: string, content: ReadonlyArray<string>): string =>
  [
    `<svg viewBox="0 0 ${box.width} ${box.height}" role="img" aria-label="${escape(title)}"${attributes}>`,
    ...content,
    "</svg>"
  ].join("\n")

const text = (className: string, x: number, y: number, content: string): string =>
  `<text class="${className}" x="${at(x)}" y="${at(y)}">${escape(content)}</text>`

const horizontals = (values: ReadonlyArray<number>, y: (value: number) => number, format: (value: number) => string) =>
  values.flatMap((value) => [
    `<line class="grid" x1="${box.left}" x2="${plot.right}" y1="${at(y(value))}" y2="${at(y(value))}"/>`,
    text("y", box.left - 6, y(value) + 4, format(value))
  ])

/**
 * Draws lines over hours, or over another quantity. Data attributes carry the
 * values for the script that shows them under the pointer.
 *
 * @category constructors
 * @since 0.1.0
 */
export const lines = (options: LinesOptions): string => {
  const { format, span, title, x: hours, xName } = options
  const known = options.lines.flatMap(({ values }) => values.filter((value) => value !== null))
  const low = Math.min(options.from, ...known)
  const highest = options.to ?? Math.max(low, ...known)
  // With a single value the axis would have no length.
  const high = highest > low ? highest : low + 1
  const scale = ticks(low, high, 4, [])
  const step = scale.length > 1 ? scale[1] - scale[0] : high - low
  const from = Math.floor(low / step + 1e-9) * step
  const to = options.to ?? Math.ceil(high / step - 1e-9) * step
  const end = hours.at(-1) ?? 1
  const [unit, perHour] = xName !== undefined ? [xName, 1] : end < 2 ? ["minutes", 60] : ["hours", 1]
  const x = (value: number) => box.left + value / end * plot.width
  const y = (value: number) => plot.bottom - (value - from) / (to - from) * plot.height
  const paths = options.lines.map(({ values }, i) => {
    let isOpen = false
    const steps = values.map((value, j) => {
      if (value === null) {
        isOpen = false
        return ""
      }
      // A single value between two gaps would be invisible as a line.
      const isAlone = !isOpen && (values[j + 1] ?? null) === null
      const command = `${isOpen ? "L" : "M"}${at(x(hours[j]))} ${at(y(value))}${isAlone ? "h0.1" : ""}`
      isOpen = true
      return command
    })
    return `<path class="line s${i}" d="${steps.join("")}"/>`
  })
  const data = ` data-x="${hours.map((hour) => at(x(hour))).join(" ")}"`
  return svg(title, data, [
    ...(span === undefined ? [] : [
      `<rect class="span" x="${at(x(span.from))}" y="${box.top}" width="${
        at(Math.max(1, x(span.to) - x(span.from)))
      }" height="${plot.height}"/>`
    ]),
    ...horizontals(ticks(from, to, 4, []), y, format),
    ...ticks(0, end, 6, xName === undefined ? clockSteps : []).map((hour) =>
      text("x", x(hour), plot.bottom + 15, at(hour * perHour))
    ),
    text("x name", middle, box.height - 4, unit),
    ...(known.length === 0 ? [text("x", middle, box.top + plot.height / 2, "nothing to measure")] : []),
    // The first line lies above the others, which the style sheet can draw wider: all are seen where they are equal.
    ...paths.toReversed(),
    `<line class="cursor" y1="${box.top}" y2="${plot.bottom}" hidden=""/>`,
    ...(span === undefined ? [] : [text("x", x((span.from + span.to) / 2), box.top - 5, span.name)])
  ])
}

/**
 * Draws the distribution of a whole number, with a reference mark.
 *
 * @category constructors
 * @since 0.1.0
 */
export const bars = ({ mark, shares, title, xName }: BarsOptions): string => {
  const slot = plot.width / shares.length
  const x = (value: number) => box.left + (value + 0.5) * slot
  const y = (share: number) => plot.bottom - share * plot.height
  const isLate = mark.at > shares.length * 0.6
  return svg(title, "", [
    ...horizontals([0, 0.25, 0.5, 0.75, 1], y, percent),
    ...shares.flatMap((share, i) => [
      `<rect class="bar" x="${at(x(i) - slot * 0.32)}" y="${at(y(share))}" width="${at(slot * 0.64)}" height="${
        at(share * plot.height)
      }"/>`,
      ...(share > 0
        ? [text("value", x(i), y(share) - 4, wholePercent(share))]
        : []),
      text("x", x(i), plot.bottom + 15, String(i))
    ]),
    text("x name", middle, box.height - 4, xName),
    `<line class="mark" x1="${at(x(mark.at))}" x2="${at(x(mark.at))}" y1="${box.top}" y2="${plot.bottom}"/>`,
    text(`mark-name${isLate ? " before" : ""}`, x(mark.at) + (isLate ? -5 : 5), box.top + 40, mark.name)
  ])
}
