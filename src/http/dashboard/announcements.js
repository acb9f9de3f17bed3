/** The node's own records: what each says, how long it holds, who has a copy. */
import { byId, empty, h, render } from "./dom.js"
import * as Format from "./format.js"
import { expiry } from "./store.js"

/** @import { Announcements, FoundRecord, Peer, RecordRow, Replication } from "./types.d.ts" */

/** @param {RecordRow} record */
const keyOf = ({ address, key_node_id_hex, rec_type }) => `${key_node_id_hex} ${rec_type} ${address}`

/**
 * What a record says, in one line.
 *
 * @param {Omit<FoundRecord, "record">} said
 * @param {RecordRow} record
 */
export const titleOf = (said, record) => {
  switch (record.type_name) {
    case "endpoint":
      return said.endpoints === undefined || said.endpoints.length === 0 ? "no endpoint" : said.endpoints.join(", ")
    case "topic":
      return said.topic === undefined ? `key ${Format.short(record.key_node_id_hex)}` : said.topic
    case "profile":
      return said.name === undefined || said.name === "" ? "no name" : said.name
    default:
      return `type ${record.rec_type}`
  }
}

/** @typedef {{ readonly peer: Peer; readonly state: "confirmed" | "unconfirmed" | "suspect" }} Replica */
/** @typedef {{ readonly record: RecordRow; readonly said: Omit<FoundRecord, "record">; readonly renewsAt?: number; readonly replicas: ReadonlyArray<Replica> }} Own */

/**
 * Announced records, and those that were published once and are still looked after.
 *
 * @param {Announcements} announcements
 * @param {Replication} replication
 * @returns {ReadonlyArray<Own>}
 */
const ownRecords = (announcements, replication) => {
  const tended = new Map(replication.records.map(({ record, replicas }) => [keyOf(record), { record, replicas }]))
  const announced = announcements.announcements.map((announcement) => {
    const key = keyOf(announcement.record)
    const replicas = tended.get(key)?.replicas ??
      announcement.confirmed.map((peer) => ({ peer, state: /** @type {const} */ ("confirmed") }))
    tended.delete(key)
    return { record: announcement.record, said: announcement, renewsAt: Number(announcement.renews_at), replicas }
  })
  return [...announced, ...[...tended.values()].map(({ record, replicas }) => ({ record, said: {}, replicas }))]
}

/**
 * @param {Own} own
 * @param {number} wanted
 */
const card = ({ record, renewsAt, replicas, said }, wanted) => {
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
      h("h3", {}, titleOf(said, record)),
      record.type_name !== "profile" && said.name !== undefined && said.name !== "" && h("span", {}, said.name)
    ),
    said.brief !== undefined && said.brief !== "" && h("p", {}, said.brief),
    h(
      "p",
      { class: "soft" },
      renewsAt === undefined
        ? "published once, not renewed; expires in "
        : `renewed in ${Format.duration(renewsAt * 1000 - Date.now())}, expires in `,
      expiry(record, Date.now())
    ),
    h(
      "div",
      { class: "replicas", role: "img", "aria-label": copies },
      ...replicas.map(({ state }) => h("i", { class: `replica ${state}` })),
      ...Array.from({ length: missing }, () => h("i", { class: "replica" })),
      h("span", {}, copies)
    ),
    replicas.length > 0 && h(
      "details",
      { "data-key": `copies ${keyOf(record)}` },
      h("summary", { "data-key": `copies summary ${keyOf(record)}` }, "Who has them"),
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
 * @param {Announcements} announcements
 * @param {Replication} replication
 */
export const show = (announcements, replication) => {
  const own = ownRecords(announcements, replication)
  render(
    byId("announcements"),
    own.length === 0
      ? h(
        "div",
        { class: "card" },
        empty(
          "This node publishes nothing.",
          "A program announces with ",
          h("code", {}, "dht.announceTopic"),
          " or ",
          h("code", {}, "dht.announceEndpoint"),
          ", and the node keeps the copies alive."
        )
      )
      : h("ul", { class: "owns" }, ...own.map((one) => card(one, announcements.wanted)))
  )
}
