/**
 * The path of a lookup, on the ring of ids wound up by XOR: what is looked for
 * is in the middle, and a node has its place on a spiral by its distance from
 * there, on a scale of bits. Equally near nodes share a turn and not a place,
 * and a lookup that works moves inwards.
 */
import { s } from "./dom.js"
import * as Format from "./format.js"

/** @import { QueryStep } from "./types.d.ts" */

const size = 420
const centre = size / 2
const radius = 188
/** The nearest nodes stay apart from what is in the middle. */
const core = 22

/**
 * How many bits the distance of two ids leaves out of 256; not whole, so that
 * nodes of the same bucket are told apart.
 *
 * @param {string} a
 * @param {string} b
 */
export const sharedBits = (a, b) => {
  const distance = BigInt(`0x${a}`) ^ BigInt(`0x${b}`)
  return distance === 0n ? 256 : 256 - Math.log2(Number(distance))
}

/** More contacts are not told apart. */
const maxContacts = 512

/** More turns are not told apart. */
const maxTurns = 12

/**
 * What became of a request; one that is not waited for any more stays `waiting`.
 *
 * @param {QueryStep} step
 */
export const stateOf = ({ holds_record, outcome }) =>
  outcome === "answered" ? (holds_record ? "holds" : "answered") : outcome === "failed" ? "failed" : "waiting"

export class Ring {
  /** @type {Map<string, { readonly group: SVGGElement; readonly edge: SVGPathElement }>} */
  #drawn = new Map()
  #target = ""
  #self = ""
  #bits = 8
  #bitsPerTurn = 1

  /**
   * @param {Element} container
   * @param {Element} caption says what is drawn
   */
  constructor(container, caption) {
    this.caption = caption
    this.background = s("g", {})
    this.edges = s("g", {})
    this.nodes = s("g", {})
    this.svg = s(
      "svg",
      { viewBox: `0 0 ${size} ${size}`, class: "ring", role: "img", "aria-label": "No lookup yet" },
      this.background,
      this.edges,
      this.nodes
    )
    container.replaceChildren(this.svg)
  }

  /** @param {number} bits */
  #at(bits) {
    const r = core + (radius - core) * (1 - Math.min(bits, this.#bits) / this.#bits)
    const angle = bits / this.#bitsPerTurn * 2 * Math.PI - Math.PI / 2
    return { x: centre + r * Math.cos(angle), y: centre + r * Math.sin(angle) }
  }

  /** @param {string} id */
  #place(id) {
    return this.#at(sharedBits(id, this.#target))
  }

  /**
   * Begins a lookup; without a target, the ring is only that.
   *
   * @param {{
   *   readonly target: string | undefined
   *   readonly self: string
   *   readonly bits: number
   *   readonly contacts: ReadonlyArray<string>
   * }} options `bits`: those that the nearest nodes share, about; `contacts`: ids to show behind it
   */
  begin({ bits, contacts, self, target }) {
    this.svg.classList.remove("over")
    this.#drawn.clear()
    this.#target = target ?? self
    this.#self = self
    this.#bits = Math.max(4, Math.ceil(bits))
    this.edges.replaceChildren()
    this.nodes.replaceChildren()
    this.#bitsPerTurn = Math.ceil(this.#bits / maxTurns)
    let spiral = ""
    for (let bits = 0; bits <= this.#bits; bits += this.#bitsPerTurn / 60) {
      const { x, y } = this.#at(bits)
      spiral += `${bits === 0 ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`
    }
    const background = [
      s("circle", { cx: centre, cy: centre, r: radius + 10, class: "rim" }),
      s("path", { d: spiral, class: "spiral" })
    ]
    for (const id of contacts.slice(0, maxContacts)) {
      if (target === undefined) break
      const { x, y } = this.#place(id)
      background.push(s("circle", { cx: x, cy: y, r: 2.2, class: "contact" }))
    }
    if (target !== undefined) {
      background.push(
        s("circle", { cx: centre, cy: centre, r: 8, class: "target" }),
        s("circle", { cx: centre, cy: centre, r: 3, class: "target-core" })
      )
    }
    this.caption.textContent =
      "The spiral is the distance by XOR from what is looked for, which is in the middle: each turn inwards " +
      `halves it${this.#bitsPerTurn === 1 ? "" : `, ${this.#bitsPerTurn} times over`}.`
    this.background.replaceChildren(...background)
    const { x, y } = this.#place(self)
    if (target !== undefined) {
      this.nodes.append(s(
        "g",
        { class: "node self" },
        s("rect", { x: x - 6, y: y - 6, width: 12, height: 12, rx: 2.5 }),
        s("title", {}, "this node")
      ))
    }
    this.svg.setAttribute("aria-label", target === undefined ? "No lookup yet" : `Lookup of ${Format.short(target)}`)
  }

  /**
   * Draws a request, or what became of it.
   *
   * @param {QueryStep} step
   */
  step(step) {
    const id = step.peer.node_id_hex
    const { x, y } = this.#place(id)
    const from = this.#place(step.learned_from_hex ?? this.#self)
    const state = stateOf(step)
    let drawn = this.#drawn.get(id)
    if (drawn === undefined) {
      drawn = {
        group: s("g", {}),
        edge: s("path", {
          d: `M${from.x.toFixed(1)} ${from.y.toFixed(1)}L${x.toFixed(1)} ${y.toFixed(1)}`,
          pathLength: 1
        })
      }
      this.edges.append(drawn.edge)
      this.nodes.append(drawn.group)
      this.#drawn.set(id, drawn)
    }
    const { edge, group } = drawn
    edge.setAttribute("class", `edge ${state}`)
    group.setAttribute("class", `node ${state}`)
    group.replaceChildren(
      ...(state === "failed"
        ? [s("path", { d: `M${x - 4} ${y - 4}l8 8m0-8l-8 8` })]
        : state === "holds"
        ? [s("circle", { cx: x, cy: y, r: 8, class: "halo" }), s("circle", { cx: x, cy: y, r: 5 })]
        : [s("circle", { cx: x, cy: y, r: 5 })]),
      s("title", {}, `${Format.short(id)}: ${state}${step.took_ms === null ? "" : `, ${Format.latency(step.took_ms)}`}`)
    )
  }

  /**
   * Ends a lookup: who has not answered is not waited for any more.
   *
   * @param {string} words what came of it
   */
  end(words) {
    this.svg.classList.add("over")
    this.svg.setAttribute("aria-label", words)
  }
}
