/** The stored records by key and type, with their remaining lifetime. */
import { Bounds, byId, empty, h, render, s, table } from "./dom.js"
import * as Format from "./format.js"

/** @import { RecordRow, StoreReport } from "./types.d.ts" */

const bounds = new Bounds({ few: 25, most: 100 })

/** Records loaded: more than are shown, so that rare types are included. */
export const loaded = 500

/** The type shown, or "" for all. */
let type = ""

/** @param {RecordRow} record */
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
        h("td", { class: "right" }, Format.size(record.payload_cbor_len)),
        h("td", { class: "right" }, record.seq)
      )
    )
  )
}

/**
 * @param {StoreReport} report
 * @param {(address: string) => void} lookUp
 */
export const show = (report, lookUp) => {
  const container = byId("store")
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
  const again = () => show(report, lookUp)
  const matching = report.listed.filter(({ type_name }) => type === "" || type_name === type)
  const names = [...new Set(report.by_type.map(({ type_name }) => type_name))]
  /** @param {string} name */
  const countOf = (name) =>
    report.by_type.reduce((sum, { records, type_name }) => name === "" || type_name === name ? sum + records : sum, 0)
  render(
    container,
    h(
      "div",
      { class: "chips", role: "group", "aria-label": "Types to show" },
      ...["", ...names].map((name) =>
        h(
          "button",
          {
            type: "button",
            class: "chip",
            "data-key": `type ${name}`,
            "aria-pressed": name === type ? "true" : "false",
            click: () => {
              type = name
              again()
            }
          },
          name === "" ? "all" : name,
          " ",
          h("b", {}, Format.integer(countOf(name)))
        )
      )
    ),
    table(
      "Stored records",
      [
        "Key",
        "Type",
        "Of",
        "Expires in",
        { name: "Payload", align: "right" },
        { name: "Seq", align: "right" }
      ],
      rowsOf(matching.slice(0, bounds.shown), lookUp)
    ),
    // Of a rare type, fewer than the maximum may have been loaded.
    matching.length < Math.min(bounds.shown, countOf(type))
      ? h(
        "p",
        { class: "rest soft" },
        `${Format.integer(matching.length)} of ${
          Format.counted(countOf(type), "record")
        } shown, those among the first ` +
          `${Format.integer(report.listed.length)} of all; all are at /debug/store.`
      )
      : bounds.rest({ key: "store more", total: countOf(type), noun: "record", all: "/debug/store", more: again })
  )
}
