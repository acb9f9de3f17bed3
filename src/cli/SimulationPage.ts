/**
 * The results of a simulation as one self-contained HTML page.
 *
 * @since 0.1.0
 */
import type { Interval, Measured } from "../testing/Measurement.ts"
import * as Plot from "./Plot.ts"
import * as Report from "./SimulationReport.ts"

// --- Figures ---------------------------------------------------------------------

/** A plot: what it shows, its unit, and the names of its lines. */
interface Figure {
  readonly name: string
  readonly note: string
  readonly lines: ReadonlyArray<Plot.Line>
  /** Formats a value with its unit. */
  readonly format: (value: number) => string
  readonly svg: string
}

interface Over extends Pick<Plot.LinesOptions, "from" | "to" | "format"> {
  readonly name: string
  readonly note: string
  /** Formats the labels of the axis, if different. */
  readonly tick?: Figure["format"] | undefined
}

const share = (value: number): string => Report.percent(value)
const count = (value: number): string => Report.figure(value)
const millis = (value: number): string => `${Report.figure(value)} ms`

const shareOf = ({ asked, found }: { readonly asked: number; readonly found: number }): number | null =>
  asked === 0 ? null : found / asked

/** Minimum number of hops on the axis. */
const leastHops = 4

const figures = ({ intervals, scenario, totals }: Measured): ReadonlyArray<Figure> => {
  const { partition } = scenario
  const over = (
    { format, from, name, note, tick, to }: Over,
    lines: ReadonlyArray<readonly [name: string, value: (interval: Interval) => number | null]>
  ): Figure => {
    const drawn = lines.map(([name, value]) => ({ name, values: intervals.map(value) }))
    const svg = Plot.lines({
      title: `${name}: ${note}`,
      x: intervals.map(({ atHours }) => atHours),
      lines: drawn,
      format: tick ?? format,
      from,
      to,
      span: partition === null
        ? undefined
        : { from: partition.atHours, to: partition.atHours + partition.forHours, name: "split" }
    })
    return { name, note, lines: drawn, format, svg }
  }

  const answered = totals.hops.reduce((sum, count) => sum + count, 0)
  const log2 = Math.log2(scenario.nodes)
  const most = totals.hops.findLastIndex((count) => count > 0)
  const shown = 1 + Math.max(leastHops, most, Math.ceil(log2))
  const hopsName = "Hops against log2 of the nodes"
  const hopsNote = "share of found endpoints by hops to the node that held them"

  return [
    over(
      { name: "Found", note: "share of lookups that find the announced records", format: share, from: 0.98, to: 1 },
      [
        ["endpoints", ({ resolve }) => shareOf(resolve)],
        ["offers", ({ discover }) => shareOf(discover)],
        ["probes", ({ probes }) => shareOf(probes)]
      ]
    ),
    over({
      name: "Time to find an endpoint",
      note: "ms until the first valid copy",
      format: millis,
      tick: count,
      from: 0
    }, [
      ["p50", ({ resolve }) => resolve.p50Millis],
      ["p95", ({ resolve }) => resolve.p95Millis],
      ["p99", ({ resolve }) => resolve.p99Millis]
    ]),
    over({
      name: "Time to look up a topic",
      note: "ms until all of the closest nodes were queried",
      format: millis,
      tick: count,
      from: 0
    }, [
      ["p50", ({ discover }) => discover.p50Millis],
      ["p95", ({ discover }) => discover.p95Millis],
      ["p99", ({ discover }) => discover.p99Millis]
    ]),
    {
      name: hopsName,
      note: hopsNote,
      lines: [],
      format: share,
      svg: Plot.bars({
        title: `${hopsName}: ${hopsNote}`,
        shares: totals.hops.slice(0, shown).map((count) => answered === 0 ? 0 : count / answered),
        mark: { at: log2, name: `log2 ${scenario.nodes} = ${log2.toFixed(1)}` },
        xName: "hops"
      })
    },
    over({ name: "Requests per lookup", note: "mean", format: count, from: 0 }, [
      ["endpoints", ({ resolve }) => resolve.requests],
      ["topics", ({ discover }) => discover.requests]
    ]),
    over({ name: "Copies of an announced record", note: "on nodes other than its publisher", format: count, from: 0 }, [
      ["mean", ({ copies }) => copies.mean],
      ["least", ({ copies }) => copies.min],
      ["most", ({ copies }) => copies.max]
    ]),
    over({ name: "Messages per node and hour", note: "datagrams sent", format: count, from: 0 }, [
      ["datagrams", ({ datagramsPerNodeHour }) => datagramsPerNodeHour]
    ]),
    over({ name: "Health of the routing tables", note: "share of contacts", format: share, from: 0.6, to: 1 }, [
      ["up", ({ tables }) => tables.live],
      ["present, of what is possible", ({ tables }) => tables.filled]
    ]),
    over({
      name: "Nodes",
      note: "joined, without lying nodes, and crashed since the value before",
      format: count,
      from: 0
    }, [
      ["joined", ({ nodes }) => nodes],
      ["crashed and replaced", ({ replaced }) => replaced]
    ])
  ]
}

// --- Parts -----------------------------------------------------------------------

const e = Plot.escape

const legend = ({ format, lines }: Figure): string =>
  lines.length === 0
    ? ""
    : `<ul class="legend">${
      lines.map(({ name, values }, i) => {
        const shown = values.map((value) => value === null ? "–" : format(value))
        return `<li><svg viewBox="0 0 18 8" aria-hidden="true"><path class="line s${i}" d="M0 4H18"/></svg>${
          e(name)
        } <output data-values="${e(shown.join("|"))}"></output></li>`
      }).join("")
    }</ul>`

const figureOf = (figure: Figure): string =>
  `<figure class="card"><figcaption><h3>${e(figure.name)}</h3><p>${e(figure.note)}</p></figcaption>${
    legend(figure)
  }${figure.svg}</figure>`

const tile = (name: string, value: string, note: string): string =>
  `<div class="card tile"><dt>${e(name)}</dt><dd>${e(value)}<small>${e(note)}</small></dd></div>`

const tiles = ({ scenario, totals }: Measured): string => {
  const { copies, datagramsPerNodeHour, resolve } = totals
  return `<dl class="tiles">${
    [
      tile(
        "Lookups that found",
        Report.percent(shareOf(resolve)),
        `of ${Report.figure(resolve.asked)} for an endpoint`
      ),
      tile(
        "Time, p50",
        resolve.p50Millis === null ? "–" : millis(resolve.p50Millis),
        `p99 ${resolve.p99Millis === null ? "–" : millis(resolve.p99Millis)}`
      ),
      tile("Hops, p99", Report.figure(resolve.p99Hops), `log2 of the nodes is ${Math.log2(scenario.nodes).toFixed(1)}`),
      tile("Copies, mean", Report.figure(copies.mean), `at least ${Report.figure(copies.min)} in undisturbed periods`),
      tile("Messages", Report.figure(datagramsPerNodeHour), "per node and hour")
    ].join("")
  }</dl>`
}

const expectations = ({ expectations }: Measured): string =>
  `<ul class="card expectations">${
    expectations.map(Report.judged).map(({ bound, measured, state, what }) =>
      `<li class="${state.replace(" ", "-")}"><b>${state}</b><p>${e(what)}: <strong>${e(measured)}</strong>, <span>${
        e(bound)
      }</span></p></li>`
    ).join("")
  }</ul>`

/** Violations and warnings as text, if there are any. */
const complaints = ({ violations, warnings }: Measured): string => {
  const all = [...violations, ...warnings]
  return all.length === 0 ? "" : `<pre class="card">${all.map(e).join("\n")}</pre>`
}

const numbers = (measured: Measured): string =>
  Report.sections(measured).map(({ name, rows }) =>
    `<section class="card"><h3>${e(name)}</h3><table><tbody>${
      rows.map(([name, value]) => `<tr><th scope="row">${e(name)}</th><td>${e(value)}</td></tr>`).join("")
    }</tbody></table></section>`
  ).join("\n")

// The lines use Okabe and Ito's palette, which is distinguishable with color blindness.
const style = `
:root {
  color-scheme: light dark;
  --paper: #fbfbfa; --card: #fff; --ink: #1c1e21; --soft: #5d646d; --hair: #e3e5e8; --span: #f0ede4;
  --s0: #0072b2; --s1: #c85200; --s2: #00825f; --good: #00694d; --bad: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14161a; --card: #1c1f24; --ink: #e8eaed; --soft: #9fa7b1; --hair: #31363d; --span: #2a2a25;
    --s0: #56b4e9; --s1: #f0a046; --s2: #2fc79c; --good: #4fd1a5; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 32px 16px 48px; max-width: 1200px; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
header p { margin: 0; color: var(--soft); }
h1 { margin: 0 0 4px; font-size: 26px; line-height: 1.2; letter-spacing: -0.01em; }
h2 { margin: 36px 0 12px; font-size: 17px; }
h3 { margin: 0; font-size: 14px; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 24px 0 0; }
.card {
  background: var(--card); border: 1px solid var(--hair); border-radius: 8px;
}
.tile { flex: 1 1 150px; padding: 12px 14px; }
.tile dt { color: var(--soft); font-size: 13px; }
.tile dd { margin: 2px 0 0; font-size: 24px; font-weight: 600; line-height: 1.2; }
.tile small { display: block; margin-top: 4px; color: var(--soft); font-size: 12px; font-weight: 400; }
.expectations { margin: 0; padding: 4px 14px; list-style: none; }
.expectations li { display: flex; padding: 8px 0; border-top: 1px solid var(--hair); }
.expectations li:first-child { border: 0; }
.expectations b { flex: none; width: 104px; }
.expectations p { margin: 0; }
.expectations span { color: var(--soft); }
.holds b::before { content: "\\2713\\00a0"; } .holds b { color: var(--good); }
.broken b::before { content: "\\2717\\00a0"; } .broken b { color: var(--bad); }
.not-judged b { color: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); gap: 12px; }
figure { display: flex; flex-direction: column; margin: 0; padding: 12px 10px 6px; min-width: 0; }
figcaption, .legend { padding: 0 4px; }
figcaption p { margin: 0; color: var(--soft); font-size: 12px; }
.legend { display: flex; flex-wrap: wrap; gap: 0 14px; margin: 6px 0 2px; list-style: none; font-size: 12px; }
/* Reserves room for the values under the pointer, so that the layout does not move. */
.legend:has(:nth-child(3)) { min-height: 36px; align-content: flex-start; }
.legend svg { width: 18px; height: 8px; margin-right: 5px; }
.legend output { color: var(--soft); }
figure > svg { display: block; width: 100%; max-width: 520px; margin-top: auto; touch-action: pan-y; overflow: visible; }
svg text { fill: var(--soft); font-size: 11px; }
svg .y, svg .before { text-anchor: end; }
svg .x, svg .value { text-anchor: middle; }
svg .value { fill: var(--ink); }
svg .grid { stroke: var(--hair); }
svg .span { fill: var(--span); }
svg .line { fill: none; stroke-linejoin: round; stroke-linecap: round; }
svg .s0 { stroke: var(--s0); stroke-width: 1.5; }
svg .s1 { stroke: var(--s1); stroke-width: 3.2; stroke-opacity: 0.75; }
svg .s2 { stroke: var(--s2); stroke-width: 5; stroke-opacity: 0.45; }
svg .bar { fill: var(--s0); }
svg .mark { stroke: var(--s1); stroke-width: 1.5; stroke-dasharray: 5 3.5; }
svg .mark-name { fill: var(--s1); }
svg .cursor { stroke: var(--soft); }
svg .cursor[hidden] { display: none; }
.numbers { columns: 330px; column-gap: 12px; }
.numbers section { margin: 0 0 12px; padding: 12px 14px 6px; break-inside: avoid; }
table { width: 100%; margin-top: 4px; border-collapse: collapse; font-size: 13px; }
th, td { padding: 5px 0; border-top: 1px solid var(--hair); vertical-align: top; }
tr:first-child > * { border-top: 0; }
th { padding-right: 12px; color: var(--soft); font-weight: 400; text-align: left; }
td { text-align: right; white-space: nowrap; }
pre { margin: 0; padding: 12px 14px; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
pre { max-height: 320px; overflow: auto; }
pre span { white-space: nowrap; }
.small { margin: 8px 0 0; color: var(--soft); font-size: 13px; }
`

/** Shows the values under the pointer in the legend. */
const script = `
for (const figure of document.querySelectorAll("figure")) {
  const svg = figure.querySelector("svg[data-x]")
  if (svg === null) continue
  const xs = svg.dataset.x.split(" ").map(Number)
  const cursor = svg.querySelector(".cursor")
  const outputs = [...figure.querySelectorAll("output")]
  const values = outputs.map((output) => output.dataset.values.split("|"))
  const show = (i) => {
    cursor.toggleAttribute("hidden", i === undefined)
    if (i !== undefined) for (const end of ["x1", "x2"]) cursor.setAttribute(end, xs[i])
    outputs.forEach((output, j) => { output.textContent = i === undefined ? "" : values[j][i] })
  }
  const near = (event) => {
    const box = svg.getBoundingClientRect()
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width
    show(xs.reduce((best, other, i) => Math.abs(other - x) < Math.abs(xs[best] - x) ? i : best, 0))
  }
  svg.addEventListener("pointermove", near)
  svg.addEventListener("pointerdown", near)
  svg.addEventListener("pointerleave", () => show(undefined))
}
`

/**
 * Renders the page. `command` reproduces the simulation.
 *
 * @category conversions
 * @since 0.1.0
 */
export const page = (measured: Measured, command: string): string => {
  const [size, time, ...rest] = Report.words(measured)
  const title = `${size} for ${time}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${e(title)}, simulated</title>
<style>${style}</style>
</head>
<body>
<header>
<h1>${e(title)}</h1>
<p>Simulated by effect-dht: ${e(rest.join(", "))}</p>
</header>
<main>
${tiles(measured)}
<h2>Expected of every run</h2>
${expectations(measured)}
<p class="small">Lookups and copies are judged in calm times: from ten minutes on, and not in a partition or the hour after it.</p>
${complaints(measured)}
<h2>Over time</h2>
<div class="plots">
${figures(measured).map(figureOf).join("\n")}
</div>
<h2>In numbers</h2>
<div class="numbers">
${numbers(measured)}
</div>
<h2>Run it again</h2>
<pre class="card command">${e(command).replace(/--\S+ \S+/g, "<span>$&</span>")}</pre>
<p class="small">The same command makes the same run, whose trace has the hash ${e(measured.traceHash)}.</p>
</main>
<script>${script}</script>
</body>
</html>
`
}
