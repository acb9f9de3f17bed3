/**
 * DOM elements whose content is always text, so that untrusted text never
 * becomes markup.
 */
import * as Format from "./format.js"

/** @typedef {Node | string | number | null | undefined | false} Child */
/** @typedef {Record<string, string | number | boolean | undefined | ((event: Event) => void)>} Attributes */

/**
 * @param {Element} element
 * @param {Attributes} attributes
 * @param {ReadonlyArray<Child>} children
 */
const fill = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value)
    else if (value === true) element.setAttribute(name, "")
    else if (value !== undefined && value !== false) element.setAttribute(name, String(value))
  }
  for (const child of children) {
    if (child instanceof Node) element.append(child)
    else if (child !== null && child !== undefined && child !== false) element.append(String(child))
  }
}

/**
 * Creates an HTML element; an attribute with a function becomes an event listener.
 *
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {ReadonlyArray<Child>} children
 */
export const h = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag)
  fill(element, attributes, children)
  return element
}

/**
 * Same for SVG.
 *
 * @template {keyof SVGElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Attributes} attributes
 * @param {ReadonlyArray<Child>} children
 */
export const s = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag)
  fill(element, attributes, children)
  return element
}

/**
 * Returns the element of the page with this id.
 *
 * @param {string} id
 */
export const byId = (id) => {
  const element = document.getElementById(id)
  if (element === null) throw new Error(`The page has no #${id}`)
  return element
}

/**
 * Same for a form field.
 *
 * @template {HTMLElement} E
 * @param {string} id
 * @param {new () => E} type
 */
export const fieldOf = (id, type) => {
  const element = byId(id)
  if (!(element instanceof type)) throw new Error(`#${id} is another element`)
  return element
}

/** @param {Element} container */
const isBeingSelected = (container) => {
  const selection = document.getSelection()
  return selection !== null && !selection.isCollapsed && container.contains(selection.anchorNode)
}

/**
 * Replaces the content of a container. Focus, open details and scroll positions
 * are preserved for elements with a `data-key`. Does nothing while text in the
 * container is selected.
 *
 * @param {Element} container
 * @param {ReadonlyArray<Child>} children
 */
export const render = (container, ...children) => {
  if (isBeingSelected(container)) return
  const active = document.activeElement
  const focused = active instanceof HTMLElement && container.contains(active) ? active.dataset.key : undefined
  /** @type {Map<string, Element>} */
  const before = new Map()
  for (const element of container.querySelectorAll("[data-key]")) {
    before.set(element.getAttribute("data-key") ?? "", element)
  }
  container.replaceChildren()
  fill(container, {}, children)
  for (const element of container.querySelectorAll("[data-key]")) {
    const key = element.getAttribute("data-key") ?? ""
    const old = before.get(key)
    if (element instanceof HTMLDetailsElement && old instanceof HTMLDetailsElement) element.open = old.open
    if (key === focused && element instanceof HTMLElement) element.focus({ preventScroll: true })
  }
}

/**
 * A table with a caption and column headers, which scrolls if it is too wide.
 *
 * @param {string} caption
 * @param {ReadonlyArray<string | { readonly name: string; readonly align: "right" }>} columns
 * @param {ReadonlyArray<HTMLTableRowElement>} rows
 */
export const table = (caption, columns, rows) =>
  h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption, "data-key": `table ${caption}` },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ...columns.map((column) =>
            typeof column === "string"
              ? h("th", { scope: "col" }, column)
              : h("th", { scope: "col", class: column.align }, column.name)
          )
        )
      ),
      h("tbody", {}, ...rows)
    )
  )

/**
 * A placeholder for an empty list.
 *
 * @param {string} title
 * @param {ReadonlyArray<Child>} hint
 */
export const empty = (title, ...hint) => h("div", { class: "empty" }, h("b", {}, title), h("p", {}, ...hint))

/** The number of list elements shown, at first and at most. The complete lists are in the documents. */
export class Bounds {
  #isMore = false

  /** @param {{ readonly few: number; readonly most: number }} options */
  constructor({ few, most }) {
    this.few = few
    this.most = most
  }

  /** Number of elements shown now. */
  get shown() {
    return this.#isMore ? this.most : this.few
  }

  /**
   * The line below a truncated list: how much is shown, and a button for more.
   *
   * @param {{
   *   readonly key: string
   *   readonly total: number
   *   readonly noun: string
   *   readonly all: string
   *   readonly more: () => void
   * }} options `key`: of the button, `all`: where the complete list is, `more`: shows the list again
   */
  rest({ all, key, more, noun, total }) {
    if (total <= this.shown) return null
    const next = Math.min(this.most, total)
    return h(
      "p",
      { class: "rest soft" },
      `${Format.integer(this.shown)} of ${Format.counted(total, noun)} shown${
        this.shown < next ? "" : `; ${Format.integer(total - this.shown)} more are at ${all}`
      }.`,
      this.shown < next && h("button", {
        type: "button",
        class: "quiet",
        "data-key": key,
        click: () => {
          this.#isMore = true
          more()
        }
      }, next === total ? `Show all ${Format.integer(total)}` : `Show ${Format.integer(next)}`)
    )
  }
}
