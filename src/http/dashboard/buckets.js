/** The buckets of the routing table that are in use: occupancy, freshness and health. */
import { byId, empty, h, Pager, render, s, table } from "./dom.js"
import * as Format from "./format.js"

/** @import { Bucket, Buckets } from "./types.d.ts" */

/** @typedef {Bucket["contacts"][number]} Contact */

/** Number of buckets. */
const all = 256

const bucketPages = new Pager({ key: "buckets", noun: "bucket", size: 32 })
const contactPages = new Pager({ key: "contacts", noun: "contact", size: 50 })

/** @param {Contact} contact */
const stateOf = ({ fresh, health, heard_ms_ago }) =>
  health === "bad" ? "bad" : fresh ? "fresh" : heard_ms_ago === null ? "unverified" : "stale"

/**
 * @param {Bucket} bucket
 * @param {"fresh" | "stale" | "unverified" | "bad"} state
 */
const count = ({ contacts }, state) => contacts.filter((contact) => stateOf(contact) === state).length

/**
 * @param {Bucket} bucket
 * @param {number} k
 */
const inWords = (bucket, k) => {
  const states = /** @type {const} */ (["fresh", "stale", "unverified", "bad"])
  const parts = states.map((state) => [count(bucket, state), state]).filter(([count]) => count !== 0)
  return `bucket ${bucket.bucket}: ${bucket.contacts.length} of ${k} (${
    parts.map((part) => part.join(" ")).join(", ")
  })`
}

/**
 * Draws a square per place of a bucket.
 *
 * @param {Bucket} bucket
 * @param {number} k
 */
const places = (bucket, k) => {
  const size = 9
  const picture = s("svg", {
    width: k * size,
    height: 12,
    viewBox: `0 0 ${k * size} 12`,
    class: "places",
    role: "img",
    "aria-label": inWords(bucket, k)
  })
  for (let i = 0; i < Math.max(k, bucket.contacts.length); i++) {
    const contact = bucket.contacts[i]
    const state = contact === undefined ? "cell" : stateOf(contact)
    picture.append(s("rect", { x: i * size + 0.5, y: 2, width: size - 2, height: 8, rx: 1.5, class: state }))
  }
  return picture
}

/** @param {ReadonlyArray<number>} values */
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]

/** @param {Bucket} bucket */
const medianRtt = ({ contacts }) => {
  const times = contacts.flatMap(({ rtt_ms }) => rtt_ms === null ? [] : [rtt_ms])
  return times.length === 0 ? "–" : Format.latency(median(times))
}

/** @param {number | null} millis */
const ago = (millis) => millis === null ? "never" : `${Format.duration(millis)} ago`

/**
 * @param {Buckets} document
 * @param {(id: string) => void} lookUp
 */
export const show = (document, lookUp) => {
  const { buckets, k } = document
  const container = byId("buckets")
  if (buckets.length === 0) {
    render(
      container,
      empty("All 256 buckets are empty.", "They fill as nodes respond, send requests, or are reported by peers.")
    )
    return
  }
  const again = () => show(document, lookUp)
  const contacts = buckets.flatMap(({ bucket, contacts }) => contacts.map((contact) => ({ bucket, ...contact })))
  const shownBuckets = bucketPages.of(buckets)
  const shownContacts = contactPages.of(contacts)
  render(
    container,
    h("h3", {}, "Buckets in use"),
    h(
      "p",
      { class: "soft" },
      `${Format.counted(contacts.length, "contact")} in ${Format.counted(buckets.length, "bucket")}, and ` +
        `${Format.integer(all - buckets.length)} empty. ` +
        "Bucket n holds the nodes whose ids share exactly their first n bits with this node's."
    ),
    h(
      "ul",
      { class: "legend", "aria-label": "Legend of the buckets" },
      h("li", {}, h("i", { class: "dot fresh" }), "heard from within 30 min"),
      h("li", {}, h("i", { class: "dot stale" }), "heard from earlier"),
      h("li", {}, h("i", { class: "dot unverified" }), "unverified"),
      h("li", {}, h("i", { class: "dot bad" }), "unresponsive")
    ),
    table(
      "Buckets in use",
      [
        "Bucket",
        "Places",
        { name: "Fresh", align: "right" },
        { name: "RTT, median", align: "right" },
        { name: "Waiting", align: "right" }
      ],
      shownBuckets.map((bucket) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, bucket.bucket),
          h("td", {}, places(bucket, k)),
          h("td", { class: "right" }, `${count(bucket, "fresh")} of ${bucket.contacts.length}`),
          h("td", { class: "right" }, medianRtt(bucket)),
          h("td", { class: "right" }, bucket.waiting)
        )
      )
    ),
    bucketPages.line({ total: buckets.length, shown: shownBuckets.length, load: again }),
    h(
      "details",
      { "data-key": "contacts" },
      h("summary", { "data-key": "contacts summary" }, `All ${Format.counted(contacts.length, "contact")}`),
      table(
        "Contacts",
        ["Bucket", "Node id", "Address", "At", "State", "Heard from", { name: "RTT", align: "right" }],
        shownContacts.map((contact) =>
          h(
            "tr",
            {},
            h("td", {}, contact.bucket),
            h(
              "td",
              {},
              h("button", {
                type: "button",
                class: "link",
                title: `Look up ${contact.peer.node_id_hex}`,
                "data-key": `contact ${contact.peer.node_id_hex}`,
                click: () => lookUp(contact.peer.node_id_hex)
              }, Format.short(contact.peer.node_id_hex))
            ),
            h("td", { title: contact.peer.address }, h("code", {}, Format.short(contact.peer.address))),
            h("td", {}, `${contact.peer.ip}:${contact.peer.port}`),
            h("td", {}, h("i", { class: `dot ${stateOf(contact)}` }), stateOf(contact)),
            h("td", {}, ago(contact.heard_ms_ago)),
            h("td", { class: "right" }, contact.rtt_ms === null ? "–" : Format.latency(contact.rtt_ms))
          )
        )
      ),
      contactPages.line({ total: contacts.length, shown: shownContacts.length, load: again })
    )
  )
}
