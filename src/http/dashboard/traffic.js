/** The last hour as plots, and the requests and refused datagrams since the start. */
import { byId, h, render, table } from "./dom.js"
import * as Format from "./format.js"
import { Plot } from "./plots.js"

/** @import { Event, History, Sample, TrafficReport } from "./types.d.ts" */

// --- The last hour -------------------------------------------------------------------

/** @type {ReadonlyArray<Sample>} */
let samples = []
/** Milliseconds for which the node keeps samples. */
let kept = 3_600_000

/** @type {ReadonlyArray<readonly [name: string, millis: number]>} */
const spans = [["1 h", 3_600_000], ["15 min", 900_000], ["5 min", 300_000]]

let [[, span]] = spans

/** @typedef {(sample: Sample) => ReadonlyArray<number | null>} Values */

/** @type {ReadonlyArray<readonly [plot: Plot, values: Values]>} */
const plots = [
  [
    new Plot(byId("plot-traffic"), {
      title: "Datagrams",
      note: "per second; refused excludes late answers",
      lines: ["received", "sent", "refused"],
      format: Format.fraction
    }),
    ({ received_per_s, refused_per_s, sent_per_s }) => [received_per_s, sent_per_s, refused_per_s]
  ],
  [
    new Plot(byId("plot-latency"), {
      title: "Response time",
      note: "ms, requests of the last 30 seconds",
      lines: ["p50", "p95"],
      format: Format.fraction
    }),
    ({ p50_ms, p95_ms }) => [p50_ms, p95_ms]
  ],
  [
    new Plot(byId("plot-network"), {
      title: "Nodes",
      note: "contacts of this node, and estimated nodes in the network",
      lines: ["contacts", "network"],
      format: Format.fraction,
      isLevel: true,
      isWhole: true
    }),
    ({ contacts, estimated_size }) => [contacts, contacts === 0 ? null : estimated_size]
  ],
  [
    new Plot(byId("plot-keys"), {
      title: "Keys held",
      note: "keys of which this node stores records",
      lines: ["keys"],
      format: Format.fraction,
      isLevel: true,
      isWhole: true
    }),
    ({ keys }) => [keys]
  ]
]

const showPlots = () => {
  for (const [plot, values] of plots) {
    plot.show(samples.map((sample) => ({ at: sample.at_ms, values: values(sample) })), span)
  }
}

const showSpans = () =>
  render(
    byId("spans"),
    ...spans.map(([name, millis]) =>
      h("button", {
        type: "button",
        class: "chip",
        "data-key": `span ${name}`,
        "aria-pressed": millis === span ? "true" : "false",
        click: () => {
          span = millis
          showSpans()
          showPlots()
        }
      }, name)
    )
  )

showSpans()

/** The samples of the last hour, oldest first. */
export const hour = () => samples

/** @param {History} history */
export const know = (history) => {
  samples = history.samples
  kept = history.kept_ms
  showPlots()
}

/** @param {Sample} sample */
export const add = (sample) => {
  samples = [...samples.filter(({ at_ms }) => at_ms > sample.at_ms - kept && at_ms < sample.at_ms), sample]
  showPlots()
}

// --- Now -------------------------------------------------------------------------------

/** @type {Record<keyof TrafficReport["traffic"]["refused_by"], readonly [name: string, meaning: string]>} */
const reasons = {
  late: ["Late answer", "the request was already answered by another attempt, or is no longer needed"],
  unawaited: ["Unawaited answer", "to no request of this node, or not from the peer it was sent to"],
  malformed: ["Malformed", "not a message of the protocol"],
  unknown_type: ["Unknown type", "a message type unknown to this version"],
  too_large: ["Too large", "larger than the protocol's maximum datagram"],
  unreachable: ["Unreachable sender", "from an address that cannot be sent to"],
  bad_signature: ["Bad signature", "not signed by the claimed sender"],
  bad_mac: ["Bad MAC", "of a session that this node has no key for, as after a restart, or wrong"],
  denied: ["Excluded network", "from a network that --allow-from or --deny-from excludes"],
  overload: ["Overload", "more datagrams at a time than the node accepts"]
}

/** @param {TrafficReport["traffic"]} traffic */
const showRefused = ({ refused, refused_by }) => {
  const counts = Object.entries(refused_by).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a)
  render(
    byId("refused"),
    refused === 0
      ? h("p", { class: "soft" }, "None.")
      : table(
        "Refused datagrams by reason",
        ["Reason", { name: "Datagrams", align: "right" }, "Meaning"],
        counts.map(([reason, count]) => {
          const [name, meaning] = reasons[/** @type {keyof typeof reasons} */ (reason)]
          return h(
            "tr",
            {},
            h("th", { scope: "row" }, name),
            h("td", { class: "right" }, Format.integer(count)),
            h("td", { class: "soft" }, meaning)
          )
        })
      )
  )
}

/** @type {Extract<Event, { type: "traffic" }> | undefined} */
let last = undefined

/** Current datagrams per second, both directions. */
export let perSecond = 0

/** Discards the last count, which does not apply across a gap. */
export const forget = () => {
  last = undefined
}

/** @param {Extract<Event, { type: "traffic" }>} event */
export const tick = (event) => {
  if (last !== undefined && event.at_ms > last.at_ms) {
    const seconds = (event.at_ms - last.at_ms) / 1000
    const before = last.traffic
    const { received, sent } = event.traffic
    // A restarted node counts from zero.
    perSecond = (Math.max(0, received - before.received) + Math.max(0, sent - before.sent)) / seconds
  }
  last = event
}

/** @param {TrafficReport} report */
export const show = (report) => {
  showRefused(report.traffic)
  /** @param {number | null} seconds */
  const cell = (seconds) => h("td", { class: "right" }, seconds === null ? "–" : Format.latency(seconds * 1000))
  render(
    byId("requests"),
    table(
      "Requests by kind",
      [
        "Request",
        { name: "Answered", align: "right" },
        { name: "Failed", align: "right" },
        { name: "p50", align: "right" },
        { name: "p95", align: "right" },
        { name: "Max", align: "right" }
      ],
      report.requests.map(({ answered, failed, request }) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, request),
          h("td", { class: "right" }, Format.integer(answered.count)),
          h("td", { class: "right" }, Format.integer(failed.count)),
          cell(answered.p50),
          cell(answered.p95),
          cell(answered.count === 0 ? null : answered.max)
        )
      )
    )
  )
}
