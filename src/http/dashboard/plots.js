/**
 * Line plots over time, as SVG at screen resolution. The legend shows the
 * values under the pointer.
 */
import { h, s } from "./dom.js"
import * as Format from "./format.js"

/**
 * A measurement: a value per line, null where there is none.
 *
 * @typedef {{ readonly at: number; readonly values: ReadonlyArray<number | null> }} Point
 */

const height = 190
const margin = { top: 10, right: 12, bottom: 22, left: 46 }

/** Shortest period of an axis, in milliseconds. */
const shortest = 60_000

/** Steps of a time axis, in milliseconds. */
const timeSteps = [10_000, 20_000, 60_000, 120_000, 300_000, 600_000, 900_000]

/** Largest number of marks on a time axis. */
const maxTimes = 6

/**
 * A round step of at least a quarter of `range`, for the grid lines.
 *
 * @param {number} range
 * @param {boolean} isWhole whether the values are whole numbers
 */
const stepFor = (range, isWhole) => {
  const unit = 10 ** Math.floor(Math.log10(range / 4))
  const step = ([1, 2, 2.5, 5, 10].find((step) => step * unit >= range / 4 * 0.999) ?? 10) * unit
  return isWhole ? Math.max(1, Math.ceil(step)) : step
}

/**
 * The grid lines of a value axis. It begins at 0, unless the values are so close
 * to each other that this would make flat lines of them.
 *
 * @param {ReadonlyArray<number>} values
 * @param {{ readonly isLevel: boolean; readonly isWhole: boolean }} options `isLevel`: may begin above 0
 * @returns {ReadonlyArray<number>}
 */
export const scale = (values, { isLevel, isWhole }) => {
  const high = Math.max(0, ...values)
  if (high === 0) return [0, 1]
  const low = Math.min(...values)
  const isRaised = isLevel && low > high / 2
  const step = stepFor(isRaised ? Math.max(high - low, high / 10) : high, isWhole)
  const first = isRaised ? Math.max(0, Math.floor(low / step) - (high === low ? 1 : 0)) : 0
  const last = Math.max(first + 1, Math.ceil(high / step * 0.9999) + (isRaised && high === low ? 1 : 0))
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)))
}

/**
 * The lines as paths. A null is a gap, and a value between two gaps a dot.
 *
 * @param {ReadonlyArray<Point>} points
 * @param {number} i the line
 * @param {(at: number) => number} x
 * @param {(value: number) => number} y
 */
export const pathOf = (points, i, x, y) => {
  let path = ""
  let isDown = false
  for (const { at, values } of points) {
    const value = values[i]
    if (value === null) isDown = false
    else {
      path += `${isDown ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`
      // A single point is drawn as a dot, through the round line ends of a zero-length line.
      if (!isDown) path += "h0"
      isDown = true
    }
  }
  return path
}

export class Plot {
  /** @type {ReadonlyArray<Point>} */
  #points = []
  #span = shortest
  #width = 0
  /** @type {number | undefined} */
  #pointer = undefined

  /**
   * @param {Element} figure
   * @param {{
   *   readonly title: string
   *   readonly note: string
   *   readonly lines: ReadonlyArray<string>
   *   readonly format: (value: number) => string
   *   readonly isLevel?: boolean
   *   readonly isWhole?: boolean
   * }} options `isLevel`: whether the value axis may begin above 0, `isWhole`: whether the values are whole numbers
   */
  constructor(figure, { format, isLevel = false, isWhole = false, lines, note, title }) {
    this.axis = { isLevel, isWhole }
    this.format = format
    this.title = title
    this.lines = lines
    this.outputs = lines.map(() => h("output", {}))
    this.svg = s("svg", { height, role: "img", class: "plot" })
    figure.replaceChildren(
      h("figcaption", {}, h("h3", {}, title), h("p", { class: "soft" }, note)),
      h(
        "ul",
        { class: "legend" },
        ...lines.map((name, i) =>
          h(
            "li",
            {},
            s("svg", { width: 18, height: 8, "aria-hidden": "true" }, s("path", { d: "M0 4H18", class: `line s${i}` })),
            name,
            " ",
            this.outputs[i]
          )
        )
      ),
      this.svg
    )
    // The plot of a section that is not shown has no width.
    new ResizeObserver(([entry]) => {
      const width = Math.floor(entry.contentRect.width)
      if (width === this.#width) return
      this.#width = width
      this.#draw()
    }).observe(this.svg)
    this.svg.addEventListener("pointermove", (event) => {
      this.#pointer = event.clientX - this.svg.getBoundingClientRect().left
      this.#draw()
    })
    this.svg.addEventListener("pointerleave", () => {
      this.#pointer = undefined
      this.#draw()
    })
  }

  /**
   * @param {ReadonlyArray<Point>} points oldest first
   * @param {number} span milliseconds to show, up to the last point
   */
  show(points, span) {
    const to = points.at(-1)?.at ?? 0
    this.#points = points.filter(({ at }) => at >= to - span)
    this.#span = span
    this.#draw()
  }

  #draw() {
    const width = this.#width
    const points = this.#points
    if (width === 0) return
    const last = points.at(-1)
    const known = points.flatMap(({ values }) => values.filter((value) => value !== null))
    if (last === undefined || known.length === 0) {
      this.svg.setAttribute("aria-label", `${this.title}: no data yet`)
      this.svg.replaceChildren(
        s("text", { x: width / 2, y: height / 2, class: "x" }, "No data yet.")
      )
      return
    }
    const to = last.at
    const from = to - Math.min(this.#span, Math.max(shortest, to - points[0].at))
    const marks = scale(known, this.axis)
    const [bottom, top] = [marks[0], marks[marks.length - 1]]
    /** @param {number} at */
    const x = (at) => margin.left + (at - from) / (to - from) * (width - margin.left - margin.right)
    /** @param {number} value */
    const y = (value) =>
      height - margin.bottom - (value - bottom) / (top - bottom) * (height - margin.top - margin.bottom)

    const parts = []
    for (const mark of marks) {
      parts.push(
        s("path", { d: `M${margin.left} ${y(mark)}H${width - margin.right}`, class: "grid" }),
        s("text", { x: margin.left - 6, y: y(mark) + 4, class: "y" }, this.format(mark))
      )
    }
    const most = Math.max(2, Math.min(maxTimes, Math.floor(width / 90)))
    const step = timeSteps.find((step) => (to - from) / step <= most) ?? timeSteps[timeSteps.length - 1]
    for (let back = 0; back <= to - from; back += step) {
      const name = back === 0 ? "now" : `−${Format.duration(back)}`
      const at = x(to - back)
      parts.push(
        s(
          "text",
          { x: back === 0 ? at : Math.max(at, margin.left + 12), y: height - 6, class: back === 0 ? "y" : "x" },
          name
        )
      )
    }
    // The last line is the widest and lies below the others: lines at the same place are all seen.
    for (let i = this.lines.length - 1; i >= 0; i--) {
      parts.push(s("path", { d: pathOf(points, i, x, y), class: `line s${i}` }))
    }

    let shown = last
    if (this.#pointer !== undefined) {
      const at = from + (this.#pointer - margin.left) / (width - margin.left - margin.right) * (to - from)
      shown = points.reduce((best, point) => Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best)
      parts.push(s("path", { d: `M${x(shown.at)} ${margin.top}V${height - margin.bottom}`, class: "cursor" }))
    }
    const texts = shown.values.map((value) => value === null ? "–" : this.format(value))
    this.outputs.forEach((output, i) => {
      output.textContent = texts[i]
    })
    const when = this.#pointer === undefined ? "" : `, at ${Format.time(shown.at)}`
    this.svg.setAttribute(
      "aria-label",
      `${this.title}${when}: ${this.lines.map((name, i) => `${name} ${texts[i]}`).join(", ")}`
    )
    this.svg.replaceChildren(...parts)
  }
}

const spark = { width: 120, height: 26 }

/**
 * A line without axes, for the shape of the last hour. It tells nothing that the
 * text beside it does not, so screen readers skip it.
 *
 * @param {ReadonlyArray<Point>} points of one value each
 */
export const sparkline = (points) => {
  const known = points.flatMap(({ values: [value] }) => value === null ? [] : [value])
  if (known.length < 2) return null
  const [from, to] = [points[0].at, points[points.length - 1].at]
  const marks = scale(known, { isLevel: true, isWhole: false })
  const [bottom, top] = [marks[0], marks[marks.length - 1]]
  /** @param {number} at */
  const x = (at) => (at - from) / (to - from) * spark.width
  /** @param {number} value */
  const y = (value) => spark.height - 2 - (value - bottom) / (top - bottom) * (spark.height - 4)
  return s(
    "svg",
    {
      ...spark,
      viewBox: `0 0 ${spark.width} ${spark.height}`,
      preserveAspectRatio: "none",
      class: "spark",
      "aria-hidden": "true"
    },
    s("path", { d: pathOf(points, 0, x, y), class: "line s0" })
  )
}
