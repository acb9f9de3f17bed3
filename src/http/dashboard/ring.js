/**
 * The path of a lookup, on the id space wound up into a spiral. The target is at
 * the center, and the radius of a node is its XOR distance from there, on a
 * logarithmic scale. Nodes with equal prefixes share a turn at different angles,
 * and a converging lookup moves inwards.
 */
import { s } from "./dom.js"
import * as Format from "./format.js"

/** @import { QueryStep } from "./types.d.ts" */

const size = 420
const centre = size / 2
const radius = 188
/** Radius kept free around the target. */
const core = 22

/**
 * 256 bits less the logarithm of the XOR distance of two ids; fractional, so
 * that nodes of the same bucket differ.
 *
 * @param {string} a
 * @param {string} b
 */
export const sharedBits = (a, b) => {
  const distance = BigInt(`0x${a}`) ^ BigInt(`0x${b}`)
  return distance === 0n ? 256 : 256 - Math.log2(Number(distance))
}

/** Maximum number of contacts drawn; more could not be distinguished. */
const maxContacts = 512

/** Maximum number of turns; more could not be distinguished. */
const maxTurns = 12

/**
 * The state of a request. One that was abandoned stays `waiting`.
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
   * @param {Element} caption describes the drawing
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
   * Starts a drawing; without a target, shows an empty ring.
   *
   * @param {{
   *   readonly target: string | undefined
   *   readonly self: string
   *   readonly bits: number
   *   readonly contacts: ReadonlyArray<string>
   * }} options `bits`: shared by the nearest nodes, approximately; `contacts`: ids drawn in the background
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
    this.caption.textContent = "The spiral is the XOR distance from the target at the center: each turn inwards " +
      `${this.#bitsPerTurn === 1 ? "halves it" : `divides it by ${2 ** this.#bitsPerTurn}`}.`
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
   * Draws a request or its outcome.
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
   * Ends a lookup; requests without an outcome are marked as abandoned.
   *
   * @param {string} words the outcome
   */
  end(words) {
    this.svg.classList.add("over")
    this.svg.setAttribute("aria-label", words)
  }
}
