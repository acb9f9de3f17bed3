/** Datagrams per second, and response times. */
import { byId, h, render, table } from "./dom.js"
import * as Format from "./format.js"
import { Plot } from "./plots.js"

/** @import { Event, Histogram, TrafficReport } from "./types.d.ts" */

/**
 * The quantile `q` of a histogram; undefined if it is empty.
 *
 * @param {Pick<Histogram, "bounds" | "counts" | "max">} histogram
 * @param {number} q
 */
export const quantile = ({ bounds, counts, max }, q) => {
  const total = counts.reduce((sum, count) => sum + count, 0)
  if (total === 0) return undefined
  let left = q * total
  for (let i = 0; i < counts.length; i++) {
    if (left <= counts[i] && counts[i] > 0) {
      const from = i === 0 ? 0 : bounds[i - 1]
      const to = i < bounds.length ? bounds[i] : Math.max(from, max)
      return Math.min(max, from + (to - from) * left / counts[i])
    }
    left -= counts[i]
  }
  return max
}

/**
 * The difference between two reports with the same classes.
 *
 * @param {TrafficReport} now
 * @param {TrafficReport} before
 */
const answeredSince = (now, before) => {
  const first = now.requests[0].answered
  const counts = first.counts.map((_, i) =>
    now.requests.reduce((sum, { answered }, j) => sum + answered.counts[i] - before.requests[j].answered.counts[i], 0)
  )
  return { bounds: first.bounds, counts, max: Math.max(...now.requests.map(({ answered }) => answered.max)) }
}

/**
 * Refused datagrams, without late responses to requests already answered or abandoned.
 *
 * @param {TrafficReport["traffic"]} traffic
 */
const refusedOf = ({ refused, refused_by }) => refused - refused_by.late

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

const datagrams = new Plot(byId("plot-traffic"), {
  title: "Datagrams",
  note: "per second; refused excludes late answers",
  lines: ["received", "sent", "refused"],
  format: Format.fraction
})

const latency = new Plot(byId("plot-latency"), {
  title: "Response time",
  note: "ms, requests of the last 30 seconds",
  lines: ["p50", "p95"],
  format: Format.fraction
})

/** Window of the latency figures, in milliseconds. */
const window = 30_000

/** @type {Extract<Event, { type: "traffic" }> | undefined} */
let last = undefined
/** @type {Array<TrafficReport>} */
let reports = []

/** Current datagrams per second, both directions. */
export let perSecond = 0

/** Discards measurements, which do not apply across a gap. */
export const forget = () => {
  last = undefined
  reports = []
}

/** @param {Extract<Event, { type: "traffic" }>} event */
export const tick = (event) => {
  if (last !== undefined && event.at_ms > last.at_ms) {
    const seconds = (event.at_ms - last.at_ms) / 1000
    const before = last.traffic
    const { received, sent } = event.traffic
    // A restarted node counts from zero.
    const rates = [received - before.received, sent - before.sent, refusedOf(event.traffic) - refusedOf(before)]
      .map((difference) => Math.max(0, difference) / seconds)
    perSecond = rates[0] + rates[1]
    datagrams.add({ at: event.at_ms, values: rates })
  }
  last = event
}

/** @param {TrafficReport} report */
export const show = (report) => {
  if ((reports.at(-1)?.traffic.completed ?? 0) > report.traffic.completed) reports = []
  reports.push(report)
  while (reports[0].at_ms < report.at_ms - window) reports.shift()
  if (reports.length > 1) {
    const counted = answeredSince(report, reports[0])
    latency.add({
      at: report.at_ms,
      values: [0.5, 0.95].map((q) => {
        const seconds = quantile(counted, q)
        return seconds === undefined ? null : seconds * 1000
      })
    })
  }
  showRefused(report.traffic)
  /** @param {Histogram} histogram @param {number} q */
  const cell = (histogram, q) => {
    const seconds = quantile(histogram, q)
    return h("td", { class: "right" }, seconds === undefined ? "–" : Format.latency(seconds * 1000))
  }
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
          cell(answered, 0.5),
          cell(answered, 0.95),
          h("td", { class: "right" }, answered.count === 0 ? "–" : Format.latency(answered.max * 1000))
        )
      )
    )
  )
}
