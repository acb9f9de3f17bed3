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
 * @returns {boolean} whether the content was replaced
 */
export const render = (container, ...children) => {
  if (isBeingSelected(container)) return false
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
  return true
}

/** The facts that each container shows, as JSON. */
/** @type {WeakMap<Element, string>} */
const shownFacts = new WeakMap()

/**
 * Same, but only if the facts are others than those on display.
 *
 * @param {Element} container
 * @param {unknown} facts as JSON: all that the children depend on
 * @param {() => ReadonlyArray<Child>} children
 */
export const renderChanged = (container, facts, children) => {
  const text = JSON.stringify(facts)
  if (shownFacts.get(container) !== text && render(container, ...children())) shownFacts.set(container, text)
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

/**
 * Shows a list page by page. A list of the node goes on after a position that
 * the node names; one that the page has in full, after a number of elements.
 */
export class Pager {
  /** Positions after which the pages up to the shown one begin; the first begins at the start. */
  /** @type {Array<string>} */
  #places = []

  /** @param {{ readonly key: string; readonly noun: string; readonly size: number }} options `key`: of its buttons */
  constructor({ key, noun, size }) {
    this.key = key
    this.noun = noun
    this.size = size
  }

  /** Returns to the first page. */
  reset() {
    this.#places = []
  }

  /** The query that requests the shown page from the node. */
  get query() {
    const place = this.#places.at(-1)
    return `limit=${this.size}${place === undefined ? "" : `&after=${place}`}`
  }

  /**
   * The elements of the shown page.
   *
   * @template A
   * @param {ReadonlyArray<A>} list
   */
  of(list) {
    while (this.#places.length > 0 && this.#from >= list.length) this.#places.pop()
    return list.slice(this.#from, this.#from + this.size)
  }

  get #from() {
    return this.#places.length * this.size
  }

  /**
   * The line below the list: which part of it is shown, and buttons for the
   * others; null if all of it is shown.
   *
   * @param {{
   *   readonly total: number
   *   readonly shown: number
   *   readonly next?: string | null
   *   readonly load: () => void
   * }} options `next`: the position that the node names, `load`: shows the list again
   */
  line({ load, next, shown, total }) {
    const from = this.#from
    if (shown === 0 && from > 0) {
      this.#places.pop()
      load()
      return null
    }
    if (from === 0 && total <= shown) return null
    const onward = next === undefined ? (from + shown < total ? String(from + shown) : null) : next
    /**
     * @param {string} name
     * @param {boolean} isPossible
     * @param {() => void} move
     */
    const button = (name, isPossible, move) =>
      h("button", {
        type: "button",
        class: "second",
        "data-key": `${this.key} ${name}`,
        "aria-label": `${name} ${Format.plural(this.noun)}`,
        // A button that was disabled would lose the focus.
        "aria-disabled": isPossible ? undefined : "true",
        click: () => {
          if (!isPossible) return
          move()
          load()
        }
      }, name)
    return h(
      "div",
      { class: "pager" },
      h(
        "span",
        { class: "soft" },
        `${Format.integer(from + 1)}–${Format.integer(from + shown)} of ${
          Format.counted(Math.max(total, from + shown), this.noun)
        }`
      ),
      button("Previous", from > 0, () => this.#places.pop()),
      button("Next", onward !== null, () => this.#places.push(onward ?? ""))
    )
  }
}

/**
 * A button that copies a text, where the browser allows it: to pages from this
 * machine or over HTTPS.
 *
 * @param {string} text
 * @param {string} [name] what it copies, for screen readers
 */
export const copyButton = (text, name = text) =>
  navigator.clipboard === undefined
    ? null
    : h("button", {
      type: "button",
      class: "quiet",
      "data-key": `copy ${text}`,
      "aria-label": `Copy ${name}`,
      click: (event) => {
        const { currentTarget } = event
        if (!(currentTarget instanceof HTMLButtonElement)) return
        navigator.clipboard.writeText(text).then(
          () => {
            currentTarget.textContent = "Copied"
          },
          () => {
            currentTarget.textContent = "Not allowed"
          }
        )
      }
    }, "Copy")

/**
 * A command to run, with a button that copies it.
 *
 * @param {string} text
 */
export const command = (text) =>
  h(
    "div",
    { class: "command" },
    h("pre", { tabindex: 0, "aria-label": "Command" }, text),
    copyButton(text, "the command")
  )
