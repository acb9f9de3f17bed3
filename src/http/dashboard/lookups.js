/** Lookups: one started from the page and drawn live, and the recent ones of the node. */
import * as Actions from "./actions.js"
import { byId, copyButton, empty, fieldOf, h, Pager, render, table } from "./dom.js"
import * as Format from "./format.js"
import * as Node from "./node.js"
import { Ring, stateOf } from "./ring.js"
import * as Sections from "./sections.js"

/** @import { Buckets, FoundRecord, LookupEvent, LookupRequest, Overview, Peer, Queries, Query, QueryStep } from "./types.d.ts" */

const form = fieldOf("lookup-form", HTMLFormElement)
const valueField = fieldOf("lookup-value", HTMLInputElement)
const kindField = fieldOf("lookup-kind", HTMLSelectElement)
const goButton = fieldOf("lookup-go", HTMLButtonElement)
const status = byId("lookup-status")
const ring = new Ring(byId("ring"), byId("ring-caption"))

const kindNames = { address: "address", topic: "topic", node_id: "node id" }

/**
 * Guesses the kind of a text.
 *
 * @param {string} text
 * @returns {LookupRequest["kind"]}
 */
export const kindOf = (text) => {
  if (/^[0-9a-f]{64}$/i.test(text)) return "node_id"
  // A mistyped address still counts as one: the node explains the error.
  return /^(0x[0-9a-f]*|(bc1|pr1)[0-9a-z]{30,}|[0-9a-f]{42}|1[1-9a-hj-np-z]{25,34})$/i.test(text) ? "address" : "topic"
}

/** @returns {LookupRequest} */
const formRequest = () => {
  const value = valueField.value.trim()
  const kind = /** @type {LookupRequest["kind"] | "auto"} */ (kindField.value)
  return { kind: kind === "auto" ? kindOf(value) : kind, value }
}

const showHint = () => {
  const { kind, value } = formRequest()
  byId("lookup-hint").textContent = value === ""
    ? "An address finds its records, a topic the offers under it, a node id the closest nodes."
    : `Looks for the ${
      kind === "address"
        ? "records of an address"
        : kind === "topic"
        ? "offers under a topic"
        : "nodes closest to an id"
    }.`
}

// --- State of the node ----------------------------------------------------------------

let self = ""
let networkSize = 1
/** @type {ReadonlyArray<string>} */
let contacts = []

/** @param {Overview} overview */
export const know = (overview) => {
  self = overview.identity.node_id_hex
  networkSize = Math.max(2, overview.network.estimated_size)
}

/** @param {Buckets} buckets */
export const knowContacts = (buckets) => {
  contacts = buckets.buckets.flatMap((bucket) => bucket.contacts.map(({ peer }) => peer.node_id_hex))
  if (shown !== undefined) return
  ring.begin({ target: undefined, self, bits: 8, contacts })
  status.textContent = "No lookup yet."
}

// --- One lookup on the ring ---------------------------------------------------------

/** Number of the lookup that is drawn: 0 while it has none, undefined before the first. */
/** @type {number | undefined} */
let shown = undefined
/** @type {Map<string, QueryStep>} */
let steps = new Map()
let isOver = false

/** @param {string | undefined} id */
const nameOf = (id) => {
  if (id === undefined || id === self) return "this node"
  return Format.short(id)
}

const words = {
  answered: "answered",
  holds: "holds a record",
  failed: "no answer",
  waiting: "pending",
  left: "abandoned"
}

const showSteps = () => {
  const isAny = steps.size > 0
  render(
    byId("lookup-steps"),
    isAny && h(
      "details",
      { "data-key": "path" },
      h("summary", { "data-key": "path summary" }, `Path: ${Format.counted(steps.size, "request")}`),
      table(
        "Path of the lookup",
        [
          "Node",
          "Referrer",
          { name: "Shared bits", align: "right" },
          { name: "After", align: "right" },
          "Answer"
        ],
        [...steps.values()].map((step) =>
          h(
            "tr",
            {},
            h(
              "th",
              { scope: "row", title: `${step.peer.node_id_hex} at ${step.peer.ip}:${step.peer.port}` },
              h("code", {}, Format.short(step.peer.node_id_hex))
            ),
            h("td", {}, nameOf(step.learned_from_hex ?? undefined)),
            h("td", { class: "right" }, step.common_prefix_length),
            h("td", { class: "right" }, Format.latency(step.asked_after_ms)),
            h(
              "td",
              {},
              h("i", { class: `dot ${stateOf(step)}` }),
              words[isOver && stateOf(step) === "waiting" ? "left" : stateOf(step)],
              step.took_ms !== null && `, ${Format.latency(step.took_ms)}`
            )
          )
        )
      )
    )
  )
}

/**
 * @param {number} number
 * @param {string} target
 * @param {number} atLeast minimum number of bits on the scale
 */
const begin = (number, target, atLeast = 0) => {
  shown = number
  steps = new Map()
  isOver = false
  ring.begin({ target, self, contacts, bits: Math.max(Math.log2(networkSize) + 3, atLeast + 2) })
  render(byId("lookup-result"))
  showSteps()
}

/** @param {QueryStep} step */
const draw = (step) => {
  steps.set(step.peer.node_id_hex, step)
  ring.step(step)
}

/**
 * Number of hops from the node to the first holder of the record.
 *
 * @param {Query} query
 */
const hopsOf = ({ steps }) => {
  const holders = steps.filter(({ holds_record }) => holds_record)
  const reached = holders.length > 0 ? holders : steps.filter(({ outcome }) => outcome === "answered")
  return reached.length === 0 ? undefined : 1 + Math.min(...reached.map(({ depth }) => depth))
}

const outcomes = { done: "done", found: "found", not_found: "not found", given_up: "timed out" }

/** @param {Query} query */
const whatOf = ({ kind }) => kind === "find_node" ? "nodes near" : "records under"

/**
 * Draws a completed lookup.
 *
 * @param {Query} query
 */
const showQuery = (query) => {
  begin(
    query.query,
    query.target_hex,
    Math.max(0, ...query.steps.map(({ common_prefix_length }) => common_prefix_length))
  )
  query.steps.forEach(draw)
  isOver = true
  showSteps()
  status.className = ""
  status.textContent = `${Format.time(query.started_at_ms)}: ${whatOf(query)} ${Format.short(query.target_hex)}, ${
    outcomes[query.outcome]
  } after ${Format.latency(query.duration_ms)}.`
  ring.end(
    `Lookup of ${Format.short(query.target_hex)}: ${Format.counted(query.requests, "request")}, ${
      outcomes[query.outcome]
    }`
  )
}

// --- A lookup started from the page ----------------------------------------------------

/** @type {AbortController | undefined} */
let running = undefined

/** The value that was looked up last. */
let looked = ""

/** @param {ReadonlyArray<string> | undefined} texts */
const chips = (texts) =>
  texts === undefined || texts.length === 0
    ? null
    : h("ul", { class: "tags" }, ...texts.map((text) => h("li", {}, text)))

/** @param {FoundRecord} found */
const recordCard = (found) => {
  const { record } = found
  const key = `${record.address} ${record.rec_type} ${record.seq}`
  return h(
    "li",
    { class: "own" },
    h(
      "div",
      { class: "own-head" },
      h("span", { class: `type ${record.type_name}` }, record.type_name),
      h("h3", {}, record.type_name === "topic" && found.name !== undefined ? found.name : found.title)
    ),
    found.brief !== undefined && found.brief !== "" && h("p", {}, found.brief),
    record.type_name === "topic" && found.topic !== undefined &&
      h("p", { class: "soft" }, "under ", h("b", {}, found.topic)),
    found.value !== undefined && h("p", {}, h("code", {}, JSON.stringify(found.value))),
    found.payload_hex !== undefined && h("p", {}, h("code", {}, found.payload_hex)),
    chips([...(found.protocols ?? []), ...(found.skills ?? []), ...(found.tags ?? [])]),
    h(
      "p",
      { class: "soft" },
      "of ",
      h("button", {
        type: "button",
        class: "link",
        title: `Look up ${record.address}`,
        "data-key": `found ${key}`,
        click: () => lookUp(record.address)
      }, record.address),
      copyButton(record.address),
      Actions.arePossible() && h("button", {
        type: "button",
        class: "quiet",
        "data-key": `write ${key}`,
        "aria-label": `Send a message to ${record.address}`,
        click: () => Actions.compose(record.address)
      }, "Send a message")
    ),
    h(
      "details",
      { "data-key": `details ${key}` },
      h(
        "summary",
        { "data-key": `details summary ${key}` },
        `Expires in ${Format.duration(Number(record.expires_at) * 1000 - Date.now())}`
      ),
      h(
        "dl",
        { class: "facts small" },
        ...[
          ["Key", record.key_node_id_hex],
          ["Sequence number", record.seq],
          ["Signed", Format.moment(Number(record.timestamp) * 1000)],
          ["Payload", Format.size(record.payload_cbor_len)]
        ].map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))
      )
    )
  )
}

/** @param {ReadonlyArray<Peer>} closest */
const closestList = (closest) =>
  h(
    "details",
    { "data-key": "closest" },
    h("summary", {}, `The ${Format.counted(closest.length, "closest node")}`),
    h(
      "ol",
      { class: "peers" },
      ...closest.map(({ ip, node_id_hex, port }) =>
        h("li", {}, h("code", { title: node_id_hex }, Format.short(node_id_hex)), ` ${ip}:${port}`)
      )
    )
  )

/**
 * @param {LookupRequest} request
 * @param {Extract<LookupEvent, { type: "lookup-ended" }>} event
 * @param {number} started
 */
const showResult = ({ kind, value }, { at_ms, closest, records, timed_out }, started) => {
  const after = `after ${Format.latency(Math.max(0, at_ms - started))} and ${Format.counted(steps.size, "request")}`
  status.className = kind === "node_id" ? (closest.length > 0 ? "good" : "none") : records.length > 0 ? "good" : "none"
  status.textContent = timed_out
    ? `Timed out ${after}: the queried nodes did not answer in time.`
    : kind === "node_id"
    ? (closest.length > 0
      ? `Found the ${Format.counted(closest.length, "closest node")} ${after}.`
      : `No nodes found: this node has no contacts.`)
    : records.length > 0
    ? `Found ${Format.counted(records.length, "record")} ${after}.`
    : `Nothing is published ${kind === "topic" ? "under the topic" : "by"} “${value}”: no records ${after}.`
  ring.end(`Lookup of ${value}: ${status.textContent}`)
  const list = closest.length > 0 && closestList(closest)
  if (list && kind === "node_id") list.open = true
  const pages = new Pager({ key: "found", noun: "record", size: 20 })
  const showRecords = () => {
    const shown = pages.of(records)
    render(
      byId("lookup-result"),
      records.length > 0 && h("ul", { class: "owns", "aria-label": "Records found" }, ...shown.map(recordCard)),
      pages.line({ total: records.length, shown: shown.length, load: showRecords }),
      list
    )
  }
  showRecords()
}

const run = async () => {
  const request = formRequest()
  running?.abort()
  looked = request.value
  const mine = new AbortController()
  running = mine
  shown ??= 0
  goButton.textContent = "Looking…"
  form.setAttribute("aria-busy", "true")
  status.className = "busy"
  status.textContent = `Looking for the ${kindNames[request.kind]} “${request.value}”…`
  let started = Date.now()
  let isEnded = false
  /** @type {number | undefined} */
  let frame = undefined
  try {
    await Node.stream("/v1/lookup", {
      body: request,
      signal: mine.signal,
      event: (/** @type {LookupEvent} */ event) => {
        if (running !== mine) return
        switch (event.type) {
          case "query-started":
            started = event.at_ms
            begin(event.query, event.target_hex)
            break
          case "query-stepped":
            draw(event.step)
            // One update of the table per frame.
            frame ??= requestAnimationFrame(() => {
              frame = undefined
              showSteps()
            })
            break
          case "lookup-ended":
            isEnded = true
            isOver = true
            showSteps()
            showResult(request, event, started)
        }
      }
    })
    if (running === mine && !isEnded) throw new Error("The node ended the response early")
  } catch (error) {
    if (running !== mine) return
    if (error instanceof Node.Unauthorized) location.reload()
    status.className = "error"
    status.textContent = error instanceof Node.Refused
      ? error.message
      : "The node cannot be reached. Try again when it is back."
    if (error instanceof Node.Refused) valueField.setAttribute("aria-invalid", "true")
    // The steps drawn so far belong to another lookup.
    steps = new Map()
    ring.begin({ target: undefined, self, bits: 8, contacts })
    render(byId("lookup-result"))
    showSteps()
  } finally {
    if (running === mine) {
      running = undefined
      goButton.textContent = "Look up"
      form.removeAttribute("aria-busy")
    }
  }
}

/** The query of the URL that repeats the lookup of the form. */
const searchOf = () => {
  const search = new URLSearchParams({ q: valueField.value.trim() })
  if (kindField.value !== "auto") search.set("type", kindField.value)
  return `?${search}`
}

const start = () => {
  valueField.removeAttribute("aria-invalid")
  if (formRequest().value !== "") void run()
}

/**
 * Looks up a value clicked elsewhere on the page.
 *
 * @param {string} value
 */
export const lookUp = (value) => {
  valueField.value = value
  kindField.value = "auto"
  showHint()
  form.requestSubmit()
  scrollTo({ top: 0 })
  valueField.focus({ preventScroll: true })
}

/** Repeats the lookup that the URL names, if it is another than the last one. */
export const follow = () => {
  const search = new URLSearchParams(location.search)
  const value = (search.get("q") ?? "").slice(0, valueField.maxLength).trim()
  if (value === "" || value === looked) return
  valueField.value = value
  const kind = search.get("type") ?? ""
  kindField.value = kind in kindNames ? kind : "auto"
  showHint()
  start()
}

addEventListener("popstate", follow)

form.addEventListener("submit", (event) => {
  event.preventDefault()
  if (formRequest().value === "") return
  Sections.open("lookup", searchOf())
  start()
})
valueField.addEventListener("input", () => {
  valueField.removeAttribute("aria-invalid")
  showHint()
})
kindField.addEventListener("change", showHint)
showHint()

// --- Recent lookups --------------------------------------------------------------------

const pages = new Pager({ key: "queries", noun: "lookup", size: 8 })

/** @param {Queries} document */
export const show = (document) => {
  const { queries } = document
  const container = byId("recent")
  if (queries.length === 0) {
    render(
      container,
      empty("No lookups yet.", "The node runs lookups to maintain its routing table, and on request.")
    )
    return
  }
  // Initially shows the most recent lookup.
  if (shown === undefined) {
    showQuery(queries.find(({ steps }) => steps.length > 0) ?? queries[0])
  }
  const recent = pages.of(queries)
  render(
    container,
    table(
      "Recent lookups",
      [
        "At",
        "For",
        "Result",
        { name: "Requests", align: "right" },
        { name: "Hops", align: "right" },
        { name: "Took", align: "right" },
        "Path"
      ],
      recent.map((query) =>
        h(
          "tr",
          { class: query.query === shown ? "chosen" : undefined },
          h("td", {}, Format.time(query.started_at_ms)),
          h(
            "th",
            { scope: "row", title: query.target_hex },
            `${whatOf(query)} `,
            h("code", {}, Format.short(query.target_hex))
          ),
          h("td", {}, outcomes[query.outcome], query.records > 0 && `, ${Format.counted(query.records, "record")}`),
          h("td", { class: "right" }, query.requests),
          h("td", { class: "right" }, hopsOf(query) ?? "–"),
          h("td", { class: "right" }, Format.latency(query.duration_ms)),
          h(
            "td",
            {},
            h("button", {
              type: "button",
              class: "link",
              "data-key": `query ${query.query}`,
              "aria-label": `Draw the path of the lookup of ${Format.short(query.target_hex)}`,
              click: () => {
                running?.abort()
                running = undefined
                goButton.textContent = "Look up"
                form.removeAttribute("aria-busy")
                showQuery(query)
                show(document)
              }
            }, "draw")
          )
        )
      )
    ),
    pages.line({ total: queries.length, shown: recent.length, load: () => show(document) })
  )
}
