/**
 * Line plots of the last minutes, as SVG at screen resolution. The legend shows
 * the values under the pointer.
 */
import { h, s } from "./dom.js"
import * as Format from "./format.js"

/**
 * A measurement: a value per line, null where there is none.
 *
 * @typedef {{ readonly at: number; readonly values: ReadonlyArray<number | null> }} Sample
 */

const height = 180
const margin = { top: 10, right: 10, bottom: 22, left: 44 }

/** The period shown and kept, in milliseconds. */
const longest = 5 * 60_000
const shortest = 60_000

/**
 * A round step of at least a quarter of `value`, for the grid lines.
 *
 * @param {number} value
 */
const stepFor = (value) => {
  const unit = 10 ** Math.floor(Math.log10(value / 4))
  return ([1, 2, 5, 10].find((step) => step * unit >= value / 4 * 0.999) ?? 10) * unit
}

export class Plot {
  /** @type {Array<Sample>} */
  #samples = []
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
   * }} options
   */
  constructor(figure, { format, lines, note, title }) {
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

  /** @param {Sample} sample */
  add(sample) {
    this.#samples.push(sample)
    while (this.#samples[0].at < sample.at - longest) this.#samples.shift()
    this.#draw()
  }

  #draw() {
    const width = this.#width
    const samples = this.#samples
    if (width === 0) return
    const last = samples.at(-1)
    if (last === undefined || samples.every(({ values }) => values.every((value) => value === null))) {
      this.svg.setAttribute("aria-label", `${this.title}: no data yet`)
      this.svg.replaceChildren(
        s("text", { x: width / 2, y: height / 2, class: "x" }, "No data yet.")
      )
      return
    }
    const to = last.at
    const from = to - Math.min(longest, Math.max(shortest, to - samples[0].at))
    const highest = Math.max(1e-3, ...samples.flatMap(({ values }) => values.map((value) => value ?? 0)))
    const unit = stepFor(highest)
    const ticks = Math.ceil(highest / unit * 0.999)
    const top = unit * ticks
    /** @param {number} at */
    const x = (at) => margin.left + (at - from) / (to - from) * (width - margin.left - margin.right)
    /** @param {number} value */
    const y = (value) => height - margin.bottom - value / top * (height - margin.top - margin.bottom)

    const parts = []
    for (let i = 0; i <= ticks; i++) {
      const value = unit * i
      parts.push(
        s("path", { d: `M${margin.left} ${y(value)}H${width - margin.right}`, class: "grid" }),
        s("text", { x: margin.left - 6, y: y(value) + 4, class: "y" }, this.format(value))
      )
    }
    const step = to - from > 2 * shortest ? 60_000 : 20_000
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
    this.lines.forEach((_, i) => {
      let path = ""
      let isDown = false
      for (const { at, values } of samples) {
        const value = values[i]
        if (value === null) isDown = false
        else {
          path += `${isDown ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`
          // A single point is drawn as a dot, through the round line ends of a zero-length line.
          if (!isDown) path += "h0"
          isDown = true
        }
      }
      parts.push(s("path", { d: path, class: `line s${i}` }))
    })

    let shown = last
    if (this.#pointer !== undefined) {
      const at = from + (this.#pointer - margin.left) / (width - margin.left - margin.right) * (to - from)
      shown = samples.reduce((best, sample) => Math.abs(sample.at - at) < Math.abs(best.at - at) ? sample : best)
      parts.push(s("path", { d: `M${x(shown.at)} ${margin.top}V${height - margin.bottom}`, class: "cursor" }))
    }
    const texts = shown.values.map((value) => value === null ? "–" : this.format(value))
    this.outputs.forEach((output, i) => {
      output.textContent = texts[i]
    })
    this.svg.setAttribute(
      "aria-label",
      `${this.title}: ${this.lines.map((name, i) => `${name} ${texts[i]}`).join(", ")}`
    )
    this.svg.replaceChildren(...parts)
  }
}
