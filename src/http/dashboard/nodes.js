/** Which node this is, and the way to the pages of the others of its process. */
import { byId, h, renderChanged } from "./dom.js"
import * as Format from "./format.js"

/** @import { Overview } from "./types.d.ts" */

/** @param {Overview} overview */
export const show = ({ identity, name, pages, ready }) => {
  const address = Format.short(identity.address)
  document.title = `${name === null ? address : `${name}, ${address}`}${ready ? "" : ", not ready"} · effect-dht`
  renderChanged(byId("name"), [identity, name], () => [
    h("span", { class: "own-name" }, name ?? address),
    name !== null && h("small", { title: identity.address }, address)
  ])
  const others = pages.filter(({ url }) => new URL(url).origin !== location.origin)
  renderChanged(byId("nodes"), pages, () => [
    others.length > 0 && h(
      "details",
      { class: "menu", "data-key": "nodes" },
      h("summary", { "data-key": "nodes summary" }, `${Format.integer(pages.length)} nodes`),
      h(
        "ul",
        { "aria-label": "Nodes of this process" },
        ...pages.map(({ name, url }) =>
          h(
            "li",
            {},
            h("a", {
              href: `${url}${location.hash}`,
              "data-key": `node ${url}`,
              "aria-current": new URL(url).origin === location.origin ? "page" : undefined,
              // The section may have changed since.
              click: ({ currentTarget }) => {
                if (currentTarget instanceof HTMLAnchorElement) {
                  currentTarget.href = `${url}${location.search}${location.hash}`
                }
              }
            }, name)
          )
        )
      )
    )
  ])
}

/** Closes the menu on Escape, and on a click elsewhere. */
const menu = () => byId("nodes").querySelector("details")
addEventListener("keydown", ({ key }) => {
  const open = menu()
  if (key !== "Escape" || !open?.open) return
  open.open = false
  open.querySelector("summary")?.focus()
})
addEventListener("click", ({ target }) => {
  const open = menu()
  if (open?.open && target instanceof Node && !open.contains(target)) open.open = false
})
