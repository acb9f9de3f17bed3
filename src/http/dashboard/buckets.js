/** The 256 buckets of the routing table: occupancy, freshness and health. */
import { Bounds, byId, empty, h, render, s, table } from "./dom.js"
import * as Format from "./format.js"

/** @import { Bucket, Buckets } from "./types.d.ts" */

/** @typedef {Bucket["contacts"][number]} Contact */

const all = 256
const cell = 18

const bucketBounds = new Bounds({ few: 24, most: all })
const contactBounds = new Bounds({ few: 50, most: 200 })

/** Narrow screens have fewer cells per row. */
const narrow = matchMedia("(max-width: 560px)")

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
 * Draws a cell per bucket, filled from the bottom in proportion to its contacts.
 *
 * @param {Buckets} buckets
 */
const map = ({ buckets, k }) => {
  const held = new Map(buckets.map((bucket) => [bucket.bucket, bucket]))
  const columns = narrow.matches ? 16 : 32
  const rows = all / columns
  const left = 26
  const contacts = buckets.reduce((sum, { contacts }) => sum + contacts.length, 0)
  const picture = s("svg", {
    viewBox: `0 0 ${left + columns * cell} ${rows * cell}`,
    class: "bucket-map",
    role: "img",
    "aria-label": `${Format.counted(contacts, "contact")} in ${buckets.length} of ${all} buckets`
  })
  for (let i = 0; i < all; i++) {
    const x = left + (i % columns) * cell
    const y = Math.floor(i / columns) * cell
    if (i % columns === 0) picture.append(s("text", { x: left - 5, y: y + 12.5 }, i))
    const group = s("g", {}, s("rect", { x: x + 1, y: y + 1, width: cell - 2, height: cell - 2, rx: 3, class: "cell" }))
    const bucket = held.get(i)
    if (bucket === undefined) {
      group.append(s("title", {}, `bucket ${i}: empty`))
    } else {
      const inner = cell - 4
      let top = y + 2 + inner
      for (const state of /** @type {const} */ (["fresh", "stale", "unverified", "bad"])) {
        const height = Math.min(1, count(bucket, state) / k) * inner
        top -= height
        if (height > 0) group.append(s("rect", { x: x + 2, y: top, width: inner, height, class: state }))
      }
      group.append(s("title", {}, inWords(bucket, k)))
    }
    picture.append(group)
  }
  return picture
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
      map(document),
      empty("All 256 buckets are empty.", "They fill as nodes respond, send requests, or are reported by peers.")
    )
    return
  }
  const again = () => show(document, lookUp)
  const contacts = buckets.flatMap(({ bucket, contacts }) => contacts.map((contact) => ({ bucket, ...contact })))
  render(
    container,
    h(
      "div",
      { class: "split" },
      h(
        "div",
        {},
        h("h3", {}, "All 256 buckets"),
        map(document),
        h(
          "ul",
          { class: "legend", "aria-label": "Legend of the buckets" },
          h("li", {}, h("i", { class: "dot fresh" }), "heard from within 30 min"),
          h("li", {}, h("i", { class: "dot stale" }), "heard from earlier"),
          h("li", {}, h("i", { class: "dot unverified" }), "unverified"),
          h("li", {}, h("i", { class: "dot bad" }), "unresponsive")
        ),
        h("p", { class: "soft" }, "Bucket n holds the nodes whose ids share exactly their first n bits with ours.")
      ),
      h(
        "div",
        {},
        table(
          "Non-empty buckets",
          [
            "Bucket",
            "Places",
            { name: "Fresh", align: "right" },
            { name: "RTT, median", align: "right" },
            { name: "Waiting", align: "right" }
          ],
          buckets.slice(0, bucketBounds.shown).map((bucket) =>
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
        bucketBounds.rest({
          key: "buckets more",
          total: buckets.length,
          noun: "bucket",
          all: "/v1/buckets",
          more: again
        })
      )
    ),
    h(
      "details",
      { "data-key": "contacts" },
      h("summary", { "data-key": "contacts summary" }, `All ${Format.counted(contacts.length, "contact")}`),
      table(
        "Contacts",
        ["Bucket", "Node id", "Address", "At", "State", "Heard from", { name: "RTT", align: "right" }],
        contacts.slice(0, contactBounds.shown).map((contact) =>
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
      contactBounds.rest({
        key: "contacts more",
        total: contacts.length,
        noun: "contact",
        all: "/debug/routing",
        more: again
      })
    )
  )
}
