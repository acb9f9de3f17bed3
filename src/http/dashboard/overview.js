/** Who the node is, how it can be reached, and its figures at a glance. */
import { byId, h, render } from "./dom.js"
import * as Format from "./format.js"

/** @import { Overview } from "./types.d.ts" */

/**
 * @param {string} name
 * @param {string} value
 * @param {string} note
 */
const tile = (name, value, note) =>
  h("div", { class: "card tile" }, h("dt", {}, name), h("dd", {}, value, h("small", {}, note)))

const mappings = {
  consistent: "the router keeps our port: others can reach us",
  symmetric: "the router changes our port for each peer: reached through others only",
  unknown: "too few have said what they see"
}

/** @param {string} text */
const copyButton = (text) =>
  // A browser gives the clipboard to pages of this machine and of HTTPS only.
  navigator.clipboard === undefined
    ? null
    : h("button", {
      type: "button",
      class: "quiet",
      "data-key": `copy ${text}`,
      "aria-label": `Copy ${text}`,
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
 * @param {string} name
 * @param {string} value
 * @param {{ readonly note?: string | undefined; readonly copy?: boolean }} options
 */
const fact = (name, value, { copy = false, note } = {}) =>
  h(
    "div",
    {},
    h("dt", {}, name),
    h(
      "dd",
      {},
      copy ? h("code", {}, value) : value,
      copy && copyButton(value),
      note !== undefined && h("small", {}, note)
    )
  )

/** What is shown, so that it is left alone while it stays the same. */
let shown = ""

/**
 * @param {Overview} overview
 * @param {number} perSecond datagrams, both ways
 */
export const show = (overview, perSecond) => {
  const { identity, network, persistence, publishing, reachability, store, traffic } = overview
  render(
    byId("tiles"),
    tile(
      "Contacts",
      Format.integer(network.contacts),
      `${Format.integer(network.verified_contacts_1h)} heard from within the hour`
    ),
    tile(
      "Network",
      network.contacts === 0 ? "–" : `≈ ${Format.fraction(network.estimated_size)}`,
      network.contacts === 0
        ? "nobody known to guess from"
        : `nodes, confidence ${Format.percent(network.confidence)}; ${Format.integer(network.reach_24h)} seen in 24 h`
    ),
    tile(
      "Keys held",
      Format.integer(store.keys),
      `${Format.size(store.bytes)} of ${Format.size(store.max_bytes)}; ${
        Format.counted(store.subscriptions, "subscription")
      }`
    ),
    tile(
      "Announcements",
      Format.integer(publishing.announcements),
      publishing.records === 0
        ? "nothing of our own"
        : `${Format.integer(publishing.confirmed_replicas)} of ${
          Format.integer(publishing.wanted_replicas)
        } copies confirmed`
    ),
    tile(
      "Datagrams",
      `${Format.fraction(perSecond)}/s`,
      `${Format.integer(traffic.refused - traffic.refused_by.late)} refused so far, ` +
        `besides ${Format.counted(traffic.refused_by.late, "late answer")}`
    ),
    tile(
      "Up for",
      Format.duration(overview.at_ms - overview.started_at_ms),
      `since ${Format.moment(overview.started_at_ms)}`
    )
  )
  const facts = JSON.stringify([identity, reachability, overview.passive, persistence?.degraded])
  if (facts === shown) return
  shown = facts
  render(
    byId("identity"),
    h(
      "dl",
      { class: "facts" },
      fact("Address", identity.address, { copy: true }),
      fact("Node id", identity.node_id_hex, { copy: true }),
      fact("Listens on", `${reachability.local_addr} (UDP)`),
      fact("Public host", reachability.public_host ?? "not known", {
        note: reachability.public_host === null ? "nobody said so, and too few agree" : undefined
      }),
      fact("Others see", reachability.observed_addr ?? "not known yet"),
      fact("NAT mapping", reachability.mapping, { note: mappings[reachability.mapping] }),
      fact("Role", overview.passive ? "passive" : "full member", {
        note: overview.passive ? "asks, and answers nobody's searches" : "answers, and keeps records of others"
      }),
      fact(
        "Kept on disk",
        persistence === null ? "nothing" : persistence.degraded === null ? "yes" : "not at the moment",
        {
          note: persistence === null ? "what it knows is gone with it" : persistence.degraded ?? undefined
        }
      )
    )
  )
}

/** @param {Overview} overview */
export const advice = (overview) => {
  const { network, reachability } = overview
  const container = byId("advice")
  container.toggleAttribute("hidden", network.contacts > 0)
  if (network.contacts > 0) return
  const port = reachability.local_addr.slice(reachability.local_addr.lastIndexOf(":") + 1)
  const isAnywhere = /^(0\.0\.0\.0|\[::\]):/.test(reachability.local_addr)
  const host = isAnywhere ? (reachability.public_host ?? "THIS-MACHINE") : undefined
  const self = host === undefined ? reachability.local_addr : `${host}:${port}`
  render(
    container,
    h(
      "div",
      { class: "notice" },
      h("h2", {}, overview.ready ? "The first node of its network" : "In touch with nobody yet"),
      h("p", {}, "Let others join through this one:"),
      h(
        "pre",
        { tabindex: 0, "aria-label": "Command" },
        `effect-dht node --bootstrap ${self} --listen 0.0.0.0:0 --data ./another --no-http`
      ),
      h("p", {}, "Or start this one with the address of a node of the network that it shall join:"),
      h("pre", { tabindex: 0, "aria-label": "Command" }, "effect-dht node --bootstrap HOST:PORT")
    )
  )
}
