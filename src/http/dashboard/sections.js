/** The sections of the page, of which one is shown: the one that the URL names after `#`. */
import { byId } from "./dom.js"

const links = /** @type {ReadonlyArray<HTMLAnchorElement>} */ ([...byId("sections").querySelectorAll("a")])

/** @param {HTMLAnchorElement} link */
const nameOf = (link) => link.hash.slice(1)

const names = links.map(nameOf)

/** @type {Array<(name: string) => void>} */
const listeners = []

let current = "overview"

/** The name of the section that is shown. */
export const shown = () => current

/**
 * Calls a listener each time that another section is shown.
 *
 * @param {(name: string) => void} listener
 */
export const onChange = (listener) => {
  listeners.push(listener)
}

/** @param {string} name */
const apply = (name) => {
  for (const other of names) byId(other).hidden = other !== name
  for (const link of links) {
    if (nameOf(link) === name) link.setAttribute("aria-current", "page")
    else link.removeAttribute("aria-current")
  }
  if (name === current) return
  current = name
  for (const listener of listeners) listener(name)
}

const follow = () => {
  const name = location.hash.slice(1)
  // Other fragments name an element of the page, such as the lookup form.
  if (names.includes(name)) apply(name)
  else if (name === "") apply("overview")
}

/**
 * Shows a section, with an entry in the history of the browser.
 *
 * @param {string} name
 * @param {string} [search] the query of the URL, such as `?q=chess`; kept by default
 */
export const open = (name, search = location.search) => {
  const url = `${location.pathname}${search}#${name}`
  if (url !== `${location.pathname}${location.search}${location.hash}`) history.pushState(null, "", url)
  apply(name)
}

addEventListener("hashchange", follow)
addEventListener("popstate", follow)
follow()
