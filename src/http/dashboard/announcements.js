/** The node's own records: contents, expiry and holders. */
import { Bounds, byId, empty, h, render } from "./dom.js"
import * as Format from "./format.js"
import { expiry } from "./store.js"

/** @import { Replication } from "./types.d.ts" */

/** @typedef {Replication["records"][number]} Own */

const bounds = new Bounds({ few: 12, most: 60 })

/** How many records to load. */
export const wanted = () => bounds.shown

/** @param {Own["record"]} record */
const keyOf = ({ address, key_node_id_hex, rec_type }) => `${key_node_id_hex} ${rec_type} ${address}`

/**
 * @param {Own} own
 * @param {number} wanted
 */
const card = ({ brief, full, name, record, renews_at, replicas, surrounded, title }, wanted) => {
  const confirmed = replicas.filter(({ state }) => state === "confirmed").length
  const missing = Math.max(0, wanted - replicas.length)
  const copies = confirmed > wanted
    ? `${confirmed} copies confirmed, ${wanted} wanted`
    : `${confirmed} of ${wanted} copies confirmed`
  return h(
    "li",
    { class: "card own" },
    h(
      "div",
      { class: "own-head" },
      h("span", { class: `type ${record.type_name}` }, record.type_name),
      h("h3", {}, title),
      record.type_name !== "profile" && name !== undefined && name !== "" && h("span", {}, name)
    ),
    brief !== undefined && brief !== "" && h("p", {}, brief),
    h(
      "p",
      { class: "soft" },
      renews_at === null
        ? "published once, not renewed; expires in "
        : `renewed in ${Format.duration(Number(renews_at) * 1000 - Date.now())}, expires in `,
      expiry(record, Date.now())
    ),
    h(
      "div",
      { class: "replicas", role: "img", "aria-label": copies },
      ...replicas.map(({ state }) => h("i", { class: `replica ${state}` })),
      ...Array.from({ length: missing }, () => h("i", { class: "replica" })),
      h("span", {}, copies)
    ),
    surrounded && h(
      "p",
      { class: "notice warn" },
      "Nodes surround this key more closely than chance allows; the record is copied to the whole region around it."
    ),
    full > 0 && confirmed < wanted && h(
      "p",
      { class: "notice warn" },
      `${Format.counted(full, "node")} ${full === 1 ? "has" : "have"} no room for it: publish under another key.`
    ),
    replicas.length > 0 && h(
      "details",
      { "data-key": `copies ${keyOf(record)}` },
      h("summary", { "data-key": `copies summary ${keyOf(record)}` }, "Holders of copies"),
      h(
        "ol",
        { class: "peers" },
        ...replicas.map(({ peer, state }) =>
          h(
            "li",
            {},
            h("code", { title: peer.node_id_hex }, Format.short(peer.node_id_hex)),
            ` ${peer.ip}:${peer.port} `,
            h("span", { class: "soft" }, state)
          )
        )
      )
    )
  )
}

/**
 * Summarizes the replication of all records.
 *
 * @param {Replication} replication
 */
const summaryOf = ({ complete, total, uncopied, wanted }) => {
  const fewer = total - complete - uncopied
  const parts = [
    [complete, `with all ${wanted} copies`],
    [fewer, "with fewer"],
    [uncopied, "with none confirmed"]
  ].filter(([count]) => count !== 0).map(([count, words]) => `${Format.integer(Number(count))} ${words}`)
  const order = total > bounds.few && complete < total ? " Records with the fewest copies are listed first." : ""
  return `${Format.counted(total, "record")}: ${parts.join(", ")}.${order}`
}

/**
 * @param {Replication} replication
 * @param {() => void} load loads as many as {@link wanted}, and shows them
 */
export const show = (replication, load) => {
  const { records, total, wanted } = replication
  render(
    byId("announcements"),
    total > 0 && h("p", { class: "summary" }, summaryOf(replication)),
    total === 0
      ? h(
        "div",
        { class: "card" },
        empty(
          "This node publishes no records.",
          "A program publishes with ",
          h("code", {}, "dht.announceTopic"),
          " or ",
          h("code", {}, "dht.announceEndpoint"),
          ", and the node keeps the copies alive."
        )
      )
      : h("ul", { class: "owns" }, ...records.slice(0, bounds.shown).map((one) => card(one, wanted))),
    bounds.rest({
      key: "published more",
      total,
      noun: "record",
      all: "/debug/replication",
      more: load
    })
  )
}
