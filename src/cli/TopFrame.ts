/**
 * The display of `top` as lines for a terminal of any size, as a pure function
 * of its state.
 *
 * Texts are visible ASCII: each character takes one cell, and untrusted text
 * cannot move the cursor. Other characters are shown as `?`. Only the frame's
 * own marks are others: `…` where a line is cut, and the blocks of sparklines.
 *
 * @since 0.1.0
 */
import type * as Api from "../http/Api.ts"
import * as Network from "../Network.ts"
import * as Output from "./Output.ts"

/**
 * The state of the node at one moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sample {
  readonly overview: typeof Api.Overview.Type
  readonly buckets: typeof Api.Buckets.Type
  readonly queries: typeof Api.Queries.Type
  readonly announcements: typeof Api.Announcements.Type
  readonly store: typeof Api.StoreReport.Type
  /** The last minutes. */
  readonly history: typeof Api.History.Type
}

/**
 * The input of a frame.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly url: string
  readonly sample: Sample
  /** The previous sample, for rates per second. */
  readonly previous: Sample | undefined
  /** Why the node no longer answers. */
  readonly problem: string | undefined
  /** Whether keys are read, and whether the display is paused by one; undefined without keys. */
  readonly keys?: "running" | "paused" | undefined
}

/**
 * Size in character cells. Infinite rows show everything.
 *
 * @category models
 * @since 0.1.0
 */
export interface Size {
  readonly columns: number
  readonly rows: number
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Line {
  readonly text: string
  readonly style: "Plain" | "Title" | "Alert"
  /** Colored spans of the text, in order; none by default. */
  readonly paint?: ReadonlyArray<Paint>
}

/**
 * @category models
 * @since 0.1.0
 */
export type Color = "good" | "warning" | "bad" | "soft" | "accent"

/**
 * The color of the characters from one index to before another.
 *
 * @category models
 * @since 0.1.0
 */
export interface Paint {
  readonly from: number
  readonly to: number
  readonly color: Color
}

// --- Formatting ----------------------------------------------------------------

/** A part of a line: text of any origin, or a colored one; `own` is known to be safe. */
type Piece = string | { readonly text: string; readonly color: Color; readonly own?: true }

/** Joins pieces to a line. */
const line = (style: Line["style"], pieces: ReadonlyArray<Piece>): Line => {
  const paint: Array<Paint> = []
  let text = ""
  for (const piece of pieces) {
    const from = text.length
    if (typeof piece === "string") text += visible(piece)
    else {
      text += piece.own ? piece.text : visible(piece.text)
      if (text.length > from) paint.push({ from, to: text.length, color: piece.color })
    }
  }
  return paint.length === 0 ? { text, style } : { text, style, paint }
}

/** Width of the name in front of most lines. */
const named = 9

const plain = (text: string): Line => line("Plain", [text])

/** A line that begins with its name. */
const about = (name: string, ...pieces: ReadonlyArray<Piece>): Line =>
  line("Plain", [{ text: name.padEnd(named), color: "soft" }, ...pieces])

const title = (text: string): Line => line("Title", [text])

const alert = (text: string): Line => line("Alert", [text])

const bars = "▁▂▃▄▅▆▇█"

/** Number of characters of a sparkline. */
const sparkWidth = 20

/** The values as bars, from 0 to the largest; a null is a gap. Each bar is the mean of its share of the values. */
const spark = (values: ReadonlyArray<number | null>): Piece => {
  const width = Math.min(sparkWidth, values.length)
  const means = Array.from({ length: width }, (_, i) => {
    const share = values
      .slice(Math.floor(i * values.length / width), Math.floor((i + 1) * values.length / width))
      .filter((value) => value !== null)
    return share.length === 0 ? null : share.reduce((sum, value) => sum + value, 0) / share.length
  })
  const highest = Math.max(...means.map((mean) => mean ?? 0))
  const bar = (mean: number | null) =>
    mean === null ? " " : bars[highest > 0 ? Math.round(mean / highest * (bars.length - 1)) : 0]
  return { text: means.map(bar).join(""), color: "accent", own: true }
}

const visible = (text: string): string => text.replace(/[^\x20-\x7e]/gu, "?")

const count = (value: number): string => String(Math.round(value))

const counted = (value: number, one: string): string => `${count(value)} ${one}${value === 1 ? "" : "s"}`

/** Formats milliseconds in at most seven characters. */
const millis = (value: number): string =>
  value < 100 ? `${value.toFixed(1)} ms` : value < 10_000 ? `${count(value)} ms` : `${count(value / 1000)} s`

/** Formats a duration in its largest unit. */
const span = (value: number): string => {
  const seconds = Math.max(0, value / 1000)
  return seconds < 120
    ? `${Math.floor(seconds)} s`
    : seconds < 7200
    ? `${Math.floor(seconds / 60)} min`
    : seconds < 172_800
    ? `${Math.floor(seconds / 3600)} h`
    : `${Math.floor(seconds / 86_400)} d`
}

const median = (values: ReadonlyArray<number>): number | undefined =>
  values.toSorted((a, b) => a - b).at(Math.floor(values.length / 2))

// --- Parts -----------------------------------------------------------------------

/** What the keys do. */
const hints = { running: "q quit  p pause", paused: "q quit  p continue" }

const headOf = (
  { keys, problem, sample: { overview }, url }: State,
  columns: number
): ReadonlyArray<Line> => {
  const { identity, name: own, network, reachability } = overview
  const { confidence, contacts, estimated_size, has_key: hasKey, name, verified_contacts_1h } = network
  const isPrivate = hasKey || name !== null
  const passive = overview.passive ? ", passive" : ""
  const seen = reachability.observed_addr ?? reachability.public_host ??
    (contacts === 0 ? "by no peer yet" : "peers do not agree")
  const head: ReadonlyArray<Piece> = [
    `effect-dht top  ${url}  `,
    overview.ready ? { text: "ready", color: "good" } : { text: "NOT READY, no contacts", color: "bad" },
    `${passive}, up ${span(overview.at_ms - overview.started_at_ms)}${keys === "paused" ? ", paused" : ""}`
  ]
  const hint = keys === undefined ? "" : hints[keys]
  const room = columns - line("Title", head).text.length - hint.length
  return [
    line("Title", hint === "" || room < 1 ? head : [...head, " ".repeat(room), { text: hint, color: "soft" }]),
    ...(problem === undefined
      ? []
      : [alert(`${problem}; last update at ${Output.time(Math.floor(overview.at_ms / 1000))}`)]),
    about("node", `${own === null ? "" : `${own}, `}${identity.address} at ${reachability.local_addr}`),
    about("seen", `${seen}, mapping ${reachability.mapping}`),
    about(
      "network",
      `${isPrivate ? `${Network.format({ hasKey, name: name ?? undefined })}: ` : ""}about ${
        counted(estimated_size, "node")
      } (confidence ${confidence.toFixed(2)}), ` +
        `${counted(contacts, "contact")}, ${verified_contacts_1h} in the last hour`
    )
  ]
}

/** The last minutes as sparklines, each with its latest value. */
const trendOf = ({ history: { interval_ms, samples } }: Sample): ReadonlyArray<Line> => {
  const last = samples.at(-1)
  if (last === undefined || samples.length < 2) return []
  const values = (of: (sample: typeof Api.Sample.Type) => number | null) => spark(samples.map(of))
  return [
    about(
      span(samples.length * interval_ms),
      values(({ received_per_s, sent_per_s }) => received_per_s + sent_per_s),
      ` ${(last.received_per_s + last.sent_per_s).toFixed(1)}/s  `,
      values(({ p95_ms }) => p95_ms),
      ` p95 ${last.p95_ms === null ? "-" : millis(last.p95_ms)}  `,
      values(({ contacts }) => contacts),
      ` ${counted(last.contacts, "contact")}`
    )
  ]
}

const trafficOf = ({ previous, sample }: State): ReadonlyArray<Line> => {
  const now = sample.overview
  const seconds = previous === undefined ? 0 : (now.at_ms - previous.overview.at_ms) / 1000
  const amount = (name: string, of: (traffic: typeof Api.Traffic.Type) => number) => {
    // A restarted node counts from 0 again.
    const more = previous === undefined ? 0 : Math.max(0, of(now.traffic) - of(previous.overview.traffic))
    return `${seconds > 0 ? (more / seconds).toFixed(1) : "-"}/s ${name} (${of(now.traffic)})`
  }
  const received = amount("received", ({ received }) => received)
  const sent = amount("sent", ({ sent }) => sent)
  const refused = amount("refused", ({ refused }) => refused)
  const answered = amount("answered", ({ completed }) => completed)
  const reasons = Object.entries(now.traffic.refused_by)
    .filter(([, times]) => times > 0)
    .sort(([, a], [, b]) => b - a)
    .map(([reason, times]) => `${count(times)} ${reason.replaceAll("_", " ")}`)
  return [
    about("traffic", `${received}, ${sent}, ${refused}`),
    ...(reasons.length === 0 ? [] : [about("refused", reasons.join(", "))]),
    about("requests", `${answered}, ${count(now.traffic.pending)} pending`),
    ...trendOf(sample)
  ]
}

const heldOf = ({ sample: { overview, store } }: State): ReadonlyArray<Line> => {
  const { persistence, publishing } = overview
  const types = store.by_type.map(({ records, type_name }) => `${records} ${type_name}`).join(", ")
  const disk = persistence === null
    ? "state is lost on restart"
    : `${counted(persistence.written, "change")} written, ${persistence.queued} waiting` +
      (persistence.dropped > 0 ? `, ${persistence.dropped} dropped` : "")
  return [
    about(
      "store",
      `${counted(store.keys, "key")}, ${counted(store.records, "record")}${types === "" ? "" : `: ${types}`}; ` +
        counted(overview.store.subscriptions, "subscription")
    ),
    about(
      "own",
      `${counted(publishing.announcements, "announcement")}, ${counted(publishing.records, "record")}, ` +
        `${publishing.confirmed_replicas} of ${publishing.wanted_replicas} copies confirmed`
    ),
    persistence?.degraded != null
      ? alert(`disk     NOT WRITING: ${persistence.degraded}`)
      : about("disk", disk)
  ]
}

const marks = { good: "#", unknown: "+", bad: "x" } as const

const healthColors = { good: "good", unknown: "warning", bad: "bad" } as const

/** Good contacts first, as in the legend. */
const healths = ["good", "unknown", "bad"] as const

const bucketsOf = ({ sample: { buckets: { buckets, k } } }: State): ReadonlyArray<Line> => [
  title(`${"bucket".padEnd(8)}${"# good  + unknown  x bad".padEnd(Math.max(k, 24) + 2)}waiting  median round trip`),
  ...buckets.map(({ bucket, contacts, waiting }) => {
    const rtt = median(contacts.flatMap(({ rtt_ms }) => rtt_ms === null ? [] : [rtt_ms]))
    const bar = healths.map((health) => ({
      text: marks[health].repeat(contacts.filter((contact) => contact.health === health).length),
      color: healthColors[health]
    }))
    return line("Plain", [
      `${String(bucket).padStart(6)}  `,
      ...bar,
      " ".repeat(Math.max(0, Math.max(k, 24) + 2 - contacts.length)),
      `${String(waiting).padStart(7)}${rtt === undefined ? "" : `  ${millis(rtt)}`}`
    ])
  })
]

const lookupsOf = ({ sample: { overview, queries: { queries } } }: State): ReadonlyArray<Line> => [
  title(
    `${"lookup".padEnd(12)}${"target".padEnd(14)}${"outcome".padEnd(11)}${"took".padStart(8)}  requests  records  ended`
  ),
  ...queries.map(({ duration_ms, kind, outcome, records, requests, started_at_ms, target_hex }) =>
    line("Plain", [
      `${kind.padEnd(12)}${target_hex.slice(0, 12).padEnd(14)}`,
      { text: outcome.padEnd(11), color: outcomeColors[outcome] },
      `${millis(duration_ms).padStart(8)}${String(requests).padStart(10)}${String(records).padStart(9)}` +
      `  ${span(overview.at_ms - started_at_ms - duration_ms)} ago`
    ])
  )
]

const outcomeColors = { done: "good", found: "good", not_found: "warning", given_up: "bad" } as const

const announcementsOf = ({ sample: { announcements: { announcements, total, wanted }, overview } }: State) => [
  title(`${"announced".padEnd(12)}${"copies".padEnd(9)}${"renewed".padEnd(12)}what`),
  ...announcements.map(({ confirmed, name, record, renews_at, title }) =>
    plain(
      `${record.type_name.padEnd(12)}${`${confirmed.length} of ${wanted}`.padEnd(9)}` +
        `${`in ${span(Number(renews_at) * 1000 - overview.at_ms)}`.padEnd(12)}` +
        [title, record.type_name === "topic" ? name : ""].filter((text) => text !== undefined && text !== "").join(", ")
    )
  ),
  ...(announcements.length < total ? [plain(`and ${counted(total - announcements.length, "other")}`)] : [])
]

// --- The frame -------------------------------------------------------------------

/** Minimum rows worth showing a part in: an empty row, a title, and some content. */
const worthwhile = 7

/** Allots rows to the parts. All rows of a part are shown if they fit; the last parts are dropped if they do not. */
const shared = (parts: ReadonlyArray<ReadonlyArray<Line>>, rows: number): ReadonlyArray<ReadonlyArray<Line>> => {
  const shown = parts.filter((part) => part.length > 1).slice(0, Math.max(1, Math.floor(rows / worthwhile)))
  let room = rows - shown.length
  const given = new Map<ReadonlyArray<Line>, number>()
  // Smallest part first: rows that it does not need go to the others.
  shown.toSorted((a, b) => a.length - b.length).forEach((part, i) => {
    const taken = Math.min(part.length, Math.max(0, Math.floor(room / (shown.length - i))))
    given.set(part, taken)
    room -= taken
  })
  return shown.map((part) => part.slice(0, given.get(part)))
}

/** Cuts a line that is too long, and marks that. */
const cut = ({ paint, style, text }: Line, columns: number): Line => {
  const whole = text.trimEnd()
  const shown = whole.length <= columns ? whole : columns < 1 ? "" : `${whole.slice(0, columns - 1)}…`
  const rest = paint?.filter(({ from }) => from < shown.length)
    .map((span) => ({ ...span, to: Math.min(span.to, shown.length) }))
  return rest === undefined || rest.length === 0 ? { style, text: shown } : { style, text: shown, paint: rest }
}

/**
 * Renders the frame, at most as large as the terminal.
 *
 * @category conversions
 * @since 0.1.0
 */
export const frame = (state: State, { columns, rows }: Size): ReadonlyArray<Line> => {
  const above = [...headOf(state, columns), ...trafficOf(state), ...heldOf(state)]
  const parts = shared([lookupsOf(state), bucketsOf(state), announcementsOf(state)], rows - above.length)
  return [...above, ...parts.flatMap((part) => [plain(""), ...part])]
    .slice(0, Math.max(0, rows))
    .map((line) => cut(line, columns))
}
