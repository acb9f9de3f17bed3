/** Identity and reachability of the node, and its main figures. */
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
  consistent: "the router uses one port for all peers: they can reach this node",
  symmetric: "the router uses a different port for each peer: they cannot reach this node directly",
  unknown: "too few peers have reported an address"
}

/** @param {string} text */
const copyButton = (text) =>
  // Browsers expose the clipboard only to pages from this machine or over HTTPS.
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

/** The facts on display, which are re-rendered only when they change. */
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
      `${Format.integer(network.verified_contacts_1h)} heard from in the last hour`
    ),
    tile(
      "Network",
      network.contacts === 0 ? "–" : `≈ ${Format.fraction(network.estimated_size)}`,
      network.contacts === 0
        ? "no contacts to estimate from"
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
        ? "no records of its own"
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
      "Uptime",
      Format.duration(overview.at_ms - overview.started_at_ms),
      `since ${Format.moment(overview.started_at_ms)}`
    )
  )
  const facts = JSON.stringify([
    identity,
    reachability,
    network.name,
    network.has_key,
    overview.passive,
    persistence?.degraded
  ])
  if (facts === shown) return
  shown = facts
  render(
    byId("identity"),
    h(
      "dl",
      { class: "facts" },
      fact("Address", identity.address, { copy: true }),
      fact("Node id", identity.node_id_hex, { copy: true }),
      fact("Network", network.name ?? (network.has_key ? "private" : "open"), {
        note: network.has_key ? "only for nodes with its key" : undefined
      }),
      fact("Listens on", `${reachability.local_addr} (UDP)`),
      fact("Public host", reachability.public_host ?? "not known", {
        note: reachability.public_host === null ? "not configured, and too few peers agree" : undefined
      }),
      fact("Others see", reachability.observed_addr ?? "not known yet"),
      fact("NAT mapping", reachability.mapping, { note: mappings[reachability.mapping] }),
      fact("Role", overview.passive ? "passive" : "full member", {
        note: overview.passive ? "sends lookups, answers none" : "answers lookups and stores records"
      }),
      fact(
        "Stored on disk",
        persistence === null ? "nothing" : persistence.degraded === null ? "yes" : "suspended",
        {
          note: persistence === null ? "state is lost on restart" : persistence.degraded ?? undefined
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
      h("h2", {}, overview.ready ? "The first node of its network" : "No contacts yet"),
      h("p", {}, "To start another node that joins through this one:"),
      h(
        "pre",
        { tabindex: 0, "aria-label": "Command" },
        `effect-dht node --bootstrap ${self} --listen 0.0.0.0:0 --data ./another --no-http`
      ),
      h("p", {}, "Or restart this node with the address of a node in an existing network:"),
      h("pre", { tabindex: 0, "aria-label": "Command" }, "effect-dht node --bootstrap HOST:PORT")
    )
  )
}
