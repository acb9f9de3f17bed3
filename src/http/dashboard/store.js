/** What the node holds, by key and type, with what is left of each record's time. */
import { byId, empty, h, render, s, table } from "./dom.js"
import * as Format from "./format.js"

/** @import { RecordRow, StoreReport } from "./types.d.ts" */

const few = 25

/** The type that is shown, or "" for all. */
let type = ""
let isAllShown = false

/**
 * @param {RecordRow} record
 * @param {number} now
 */
export const expiry = (record, now) => {
  const left = Number(record.expires_at) * 1000 - now
  const share = Math.min(1, Math.max(0, left / (record.ttl_seconds * 1000)))
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
        h("td", {}, h("span", { class: `type ${record.type_name}` }, record.type_name)),
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
        "Nothing is stored here.",
        "A record is left with the nodes closest to its key. To leave one: ",
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
  const shown = isAllShown ? matching : matching.slice(0, few)
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
      "Records held",
      [
        "Key",
        "Type",
        "Of",
        "Expires in",
        { name: "Payload", align: "right" },
        { name: "Seq", align: "right" }
      ],
      rowsOf(shown, lookUp)
    ),
    shown.length < matching.length && h("button", {
      type: "button",
      class: "quiet",
      "data-key": "store more",
      click: () => {
        isAllShown = true
        again()
      }
    }, `Show all ${Format.integer(matching.length)}`),
    report.listed.length < report.records &&
      h(
        "p",
        { class: "soft" },
        `The first ${Format.integer(report.listed.length)} of ${Format.counted(report.records, "record")} are listed.`
      )
  )
}
