/** Whether the node can be reached, its main figures, and its identity. */
import { byId, command, copyButton, h, render, renderChanged } from "./dom.js"
import * as Format from "./format.js"
import { sparkline } from "./plots.js"

/** @import { Overview, Sample } from "./types.d.ts" */

// --- Where it is ---------------------------------------------------------------------

/** @param {string} address host:port */
const partsOf = (address) => {
  const colon = address.lastIndexOf(":")
  return { host: address.slice(0, colon), port: address.slice(colon + 1) }
}

/**
 * The address at which others join through this node, as far as it is known.
 *
 * @param {Overview} overview
 */
const addressOf = ({ reachability: { local_addr, observed_addr, public_host } }) => {
  const { host, port } = partsOf(local_addr)
  if (observed_addr !== null) return observed_addr
  if (public_host !== null) return `${public_host.includes(":") ? `[${public_host}]` : public_host}:${port}`
  return host === "0.0.0.0" || host === "[::]" ? `THIS-MACHINE:${port}` : local_addr
}

/**
 * The command of another node that joins through this one.
 *
 * @param {Overview} overview
 */
export const joinCommand = (overview) => {
  const { has_key: hasKey, name } = overview.network
  return [
    `effect-dht node --bootstrap ${addressOf(overview)}`,
    ...(name === null ? [] : [`--network ${/^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`}`]),
    ...(hasKey ? ["--network-key-env DHT_KEY"] : []),
    "--listen 0.0.0.0:0 --data ./another --no-http"
  ].join(" ")
}

/**
 * Whether nodes elsewhere can send to this one, and why.
 *
 * @param {Overview} overview
 * @returns {{ readonly state: "good" | "bad" | ""; readonly answer: string; readonly why: string }}
 */
const reachableOf = ({ passive, reachability: { local_addr, observed_addr, reachable, reachable_why } }) => {
  const { host } = partsOf(local_addr)
  if (/^127\.|^\[::1\]$/.test(host)) {
    return { state: "bad", answer: "on this machine only", why: `It listens on ${local_addr}, a loopback address.` }
  }
  const { answer, state } = answers[reachable]
  const seen = observed_addr === null ? "" : ` Peers see it at ${observed_addr}.`
  const role = passive ? " It is passive: it answers, but starts no lookups of its own accord." : ""
  return { state, answer, why: `${reachable_why}${seen}${role}` }
}

const answers = {
  open: { answer: "yes", state: /** @type {const} */ ("good") },
  closed: { answer: "no", state: /** @type {const} */ ("bad") },
  unknown: { answer: "not known yet", state: /** @type {const} */ ("") }
}

/** @param {Overview} overview */
const showReachable = (overview) => {
  const { answer, state, why } = reachableOf(overview)
  const join = joinCommand(overview)
  // With no contacts, the advice has the command.
  const hasContacts = overview.network.contacts > 0
  renderChanged(byId("reachable"), [answer, why, join, hasContacts], () => [
    h(
      "div",
      {},
      h("h3", {}, "Reachable: ", h("span", { class: `pill ${state}` }, answer)),
      h("p", { class: "soft" }, why)
    ),
    hasContacts && h(
      "details",
      { "data-key": "join" },
      h("summary", { "data-key": "join summary" }, "Join another node through this one"),
      command(join),
      overview.network.has_key && h("p", { class: "soft" }, "DHT_KEY is a variable that holds the network's key.")
    )
  ])
}

// --- Figures -----------------------------------------------------------------------------

/**
 * @param {string} name
 * @param {string} value
 * @param {string} note
 * @param {SVGElement | null} [line]
 */
export const tile = (name, value, note, line = null) =>
  h("div", { class: "card tile" }, h("dt", {}, name), h("dd", {}, value, line, h("small", {}, note)))

/**
 * @param {Overview} overview
 * @param {number} perSecond datagrams, both ways
 * @param {ReadonlyArray<Sample>} hour
 */
const showTiles = ({ at_ms, network, publishing, started_at_ms, store, traffic }, perSecond, hour) => {
  /** @param {(sample: Sample) => number} value */
  const line = (value) => sparkline(hour.map((sample) => ({ at: sample.at_ms, values: [value(sample)] })))
  const { announcements, complete, messages, records } = publishing
  render(
    byId("tiles"),
    tile(
      "Contacts",
      Format.integer(network.contacts),
      `${Format.integer(network.verified_contacts_1h)} heard from in the last hour`,
      line(({ contacts }) => contacts)
    ),
    tile(
      "Network",
      network.contacts === 0 ? "–" : `≈ ${Format.fraction(network.estimated_size)}`,
      network.contacts === 0
        ? "no contacts to estimate from"
        : `nodes, confidence ${Format.percent(network.confidence)}; ${Format.integer(network.reach_24h)} seen in 24 h`,
      network.contacts === 0 ? null : line(({ estimated_size }) => estimated_size)
    ),
    tile(
      "Datagrams",
      `${Format.fraction(perSecond)}/s`,
      `${Format.integer(traffic.refused - traffic.refused_by.late)} refused so far, ` +
        `besides ${Format.counted(traffic.refused_by.late, "late answer")}`,
      line(({ received_per_s, sent_per_s }) => received_per_s + sent_per_s)
    ),
    tile(
      "Keys held",
      Format.integer(store.keys),
      `${Format.size(store.bytes)} of ${Format.size(store.max_bytes)}; ${
        Format.counted(store.subscriptions, "subscription")
      }`,
      line(({ keys }) => keys)
    ),
    tile(
      "Published",
      Format.integer(records),
      records === 0
        ? "no records of its own"
        : `${
          complete === records ? "all" : `${Format.integer(complete)} of ${Format.integer(records)}`
        } with all copies; ` +
          `${Format.integer(announcements)} kept alive${
            messages === 0 ? "" : `, ${Format.counted(messages, "message")}`
          }`
    ),
    tile("Uptime", Format.duration(at_ms - started_at_ms), `since ${Format.moment(started_at_ms)}`)
  )
}

// --- Identity ----------------------------------------------------------------------------

const mappings = {
  consistent: "the router uses one port for all peers",
  symmetric: "the router uses a different port for each peer",
  unknown: "too few peers have reported an address"
}

/**
 * @param {string} name
 * @param {string} value
 * @param {{ readonly note?: string | undefined; readonly copy?: boolean }} options
 */
const fact = (name, value, { copy = false, note } = {}) =>
  h(
    "div",
    { class: copy ? "wide" : undefined },
    h("dt", {}, name),
    h(
      "dd",
      {},
      copy ? h("code", {}, value) : value,
      copy && copyButton(value),
      note !== undefined && h("small", {}, note)
    )
  )

/** @param {Overview} overview */
const showIdentity = ({ agent, identity, name, network, passive, persistence, reachability }) => {
  const facts = [
    agent,
    identity,
    name,
    reachability,
    network.name,
    network.has_key,
    passive,
    persistence?.degraded
  ]
  renderChanged(byId("identity"), facts, () => [
    h(
      "dl",
      { class: "facts" },
      fact("Address", identity.address, { copy: true }),
      agent !== identity.address && fact("Acts for", agent, { copy: true }),
      name !== null && fact("Name", name, { note: "in the profile that it announces" }),
      fact("Network", network.name ?? (network.has_key ? "private" : "open"), {
        note: network.has_key ? "only for nodes with its key" : undefined
      }),
      fact("Stored on disk", persistence === null ? "nothing" : persistence.degraded === null ? "yes" : "suspended", {
        note: persistence === null ? "state is lost on restart" : persistence.degraded ?? undefined
      })
    ),
    h(
      "details",
      { "data-key": "details" },
      h("summary", { "data-key": "details summary" }, "Details"),
      h(
        "dl",
        { class: "facts" },
        fact("Node id", identity.node_id_hex, { copy: true }),
        fact("Listens on", `${reachability.local_addrs.join(", ")} (UDP)`),
        fact("Public host", reachability.public_host ?? "not known", {
          note: reachability.public_host === null ? "not configured, and too few peers agree" : undefined
        }),
        fact("Peers see it at", reachability.observed_addr ?? "not known yet"),
        fact("NAT mapping", reachability.mapping, { note: mappings[reachability.mapping] }),
        fact("Role", passive ? "passive" : "full member", {
          note: passive
            ? "answers requests, but starts no lookups of its own accord"
            : "answers requests, stores records, and looks for its neighbors"
        })
      )
    )
  ])
}

/**
 * @param {Overview} overview
 * @param {number} perSecond datagrams, both ways
 * @param {ReadonlyArray<Sample>} hour
 */
export const show = (overview, perSecond, hour) => {
  showReachable(overview)
  showTiles(overview, perSecond, hour)
  showIdentity(overview)
}
