/** The stored records by key and type, with their remaining lifetime. */
import { byId, empty, h, Pager, render, s, table } from "./dom.js"
import * as Format from "./format.js"

/** @import { RecordRow, StoreReport } from "./types.d.ts" */

const pages = new Pager({ key: "store", noun: "record", size: 25 })

/** The type shown; undefined for all. */
/** @type {number | undefined} */
let type = undefined

/** The query of the shown page. */
export const query = () => `${pages.query}${type === undefined ? "" : `&type=${type}`}`

/** @param {Pick<RecordRow, "rec_type" | "type_name">} record */
const typeOf = ({ rec_type, type_name }) =>
  type_name === "custom" || type_name === "reserved" ? `${type_name} ${rec_type}` : type_name

/**
 * @param {RecordRow} record
 * @param {number} now
 */
export const expiry = (record, now) => {
  const left = Number(record.expires_at) * 1000 - now
  const lifetime = (Number(record.expires_at) - Number(record.timestamp)) * 1000
  const share = lifetime <= 0 ? 0 : Math.min(1, Math.max(0, left / lifetime))
  return h(
    "span",
    { class: "expiry" },
    s(
      "svg",
      { width: 40, height: 6, "aria-hidden": "true" },
      s("rect", { width: 40, height: 6, rx: 3, class: "cell" }),
      s("rect", { width: 40 * share, height: 6, rx: 3, class: share < 0.1 ? "stale" : "fresh" })
    ),
    left <= 0 ? "now" : Format.duration(left)
  )
}

/**
 * @param {ReadonlyArray<RecordRow>} records
 * @param {(address: string) => void} lookUp
 */
const rowsOf = (records, lookUp) => {
  const now = Date.now()
  return [...Map.groupBy(records, ({ key_node_id_hex }) => key_node_id_hex)].flatMap(([key, records]) =>
    records.map((record, i) =>
      h(
        "tr",
        {},
        i === 0 &&
          h("th", { scope: "rowgroup", rowspan: records.length, title: key }, h("code", {}, Format.short(key))),
        h("td", {}, h("span", { class: `type ${record.type_name}` }, typeOf(record))),
        h(
          "td",
          {},
          h("button", {
            type: "button",
            class: "link",
            title: `Look up ${record.address}`,
            "data-key": `stored ${key} ${record.address} ${record.rec_type}`,
            click: () => lookUp(record.address)
          }, Format.short(record.address))
        ),
        h("td", {}, expiry(record, now)),
        h("td", { class: "right" }, Format.size(record.payload_cbor_len))
      )
    )
  )
}

/**
 * @param {StoreReport} report
 * @param {(address: string) => void} lookUp
 * @param {() => void} load loads the page of {@link query}, and shows it
 */
export const show = (report, lookUp, load) => {
  const container = byId("held")
  if (report.records === 0) {
    render(
      container,
      empty(
        "No records are stored here.",
        "Records are stored on the nodes closest to their key. To publish one: ",
        h("code", {}, "effect-dht publish topic chess --name Ann")
      )
    )
    return
  }
  const total = report.by_type.reduce(
    (sum, { rec_type, records }) => type === undefined || rec_type === type ? sum + records : sum,
    0
  )
  render(
    container,
    h("h3", {}, "Records held for the network"),
    h(
      "p",
      { class: "soft" },
      `${Format.counted(report.records, "record")} at ${Format.counted(report.keys, "key")}.`
    ),
    h(
      "div",
      { class: "chips", role: "group", "aria-label": "Types to show" },
      chip("all", undefined, report.records, load),
      ...report.by_type.map((counted) => chip(typeOf(counted), counted.rec_type, counted.records, load))
    ),
    table(
      "Stored records",
      ["Key", "Type", "Of", "Expires in", { name: "Payload", align: "right" }],
      rowsOf(report.listed, lookUp)
    ),
    pages.line({ total, shown: report.listed.length, next: report.next, load })
  )
}

/**
 * A button that shows one type only, or all.
 *
 * @param {string} name
 * @param {number | undefined} chosen
 * @param {number} count
 * @param {() => void} load
 */
const chip = (name, chosen, count, load) =>
  h(
    "button",
    {
      type: "button",
      class: "chip",
      "data-key": `type ${name}`,
      "aria-pressed": chosen === type ? "true" : "false",
      click: () => {
        type = chosen
        pages.reset()
        load()
      }
    },
    name,
    " ",
    h("b", {}, Format.integer(count))
  )
