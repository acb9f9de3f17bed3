/** Datagrams a second as they come and go, and how long answers take. */
import { byId, h, render, table } from "./dom.js"
import * as Format from "./format.js"
import { Plot } from "./plots.js"

/** @import { Event, Histogram, TrafficReport } from "./types.d.ts" */

/**
 * A value that the share `q` of all is not above; undefined where there is none.
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
 * What was counted between two reports of the same classes.
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
 * What was refused and is not of a request that was answered by others first, or given up.
 *
 * @param {TrafficReport["traffic"]} traffic
 */
const refusedOf = ({ refused, refused_by }) => refused - refused_by.late

/** @type {Record<keyof TrafficReport["traffic"]["refused_by"], readonly [name: string, meaning: string]>} */
const reasons = {
  late: ["Late answer", "the request was answered already, by another attempt, or not needed any more"],
  unawaited: ["Unawaited answer", "to nothing this node asked, or of another peer than it asked"],
  malformed: ["Malformed", "no message of the protocol"],
  unknown_type: ["Unknown type", "a message of a kind this version does not know"],
  too_large: ["Too large", "more bytes than a datagram of the protocol has"],
  unreachable: ["Unreachable sender", "from an address that nothing can be sent to"],
  bad_signature: ["Bad signature", "not signed by the sender it names"],
  overload: ["Overload", "more at a time than this node takes"]
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
        ["Reason", { name: "Datagrams", align: "right" }, "What it was"],
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
  note: "a second; late answers are not among the refused",
  lines: ["received", "sent", "refused"],
  format: Format.fraction
})

const latency = new Plot(byId("plot-latency"), {
  title: "Time until the answer",
  note: "ms, of the last half minute's requests",
  lines: ["p50", "p95"],
  format: Format.fraction
})

/** How far back a latency looks, in milliseconds. */
const window = 30_000

/** @type {Extract<Event, { type: "traffic" }> | undefined} */
let last = undefined
/** @type {Array<TrafficReport>} */
let reports = []

/** Datagrams a second now, both ways. */
export let perSecond = 0

/** What was measured before a gap says nothing of the gap. */
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
    // A node that started again counts from zero.
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
        { name: "Longest", align: "right" }
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
