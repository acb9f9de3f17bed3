import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { bar } from "../../src/cli/commands/Simulate.ts"
import * as Page from "../../src/cli/SimulationPage.ts"
import * as Report from "../../src/cli/SimulationReport.ts"
import { expectationsOf, type Interval, type Totals } from "../../src/testing/Measurement.ts"
import type { Scenario } from "../../src/testing/Scenario.ts"
import * as Simulation from "../../src/testing/Simulation.ts"
import * as commandLine from "../utils/commandLine.ts"
import { temporary } from "../utils/temporary.ts"

const run = (args: ReadonlyArray<string>) => commandLine.run(["simulate", ...args])

const small = ["--nodes", "8", "--hours", "0.5"]

/** Half an hour with every kind of disturbance. */
const all = (
  "--nodes 8 --hours 0.5 --seed 7 --schedule-seed 11 --latency 40ms --loss 0.05 --churn 0.3/h --byzantine 0.2 " +
  "--partition share=0.4,at=15m,for=300s --signatures real --lookups 5.5 --endpoints 4 --topics 2 --watch"
).split(" ")

const hashOf = (lines: ReadonlyArray<string>) => /trace hash +([0-9a-f]{16})/.exec(lines.join("\n"))?.[1]

const commandOf = (lines: ReadonlyArray<string>) => /effect-dht simulate (.*)/.exec(lines.join("\n"))?.[1] ?? ""

describe("effect-dht simulate", () => {
  it.effect("prints the figures, and the command that reproduces the run", () =>
    Effect.gen(function*() {
      const first = yield* run(small)
      assert.deepStrictEqual([first.exitCode, first.error], [0, []])
      assert.match(first.out[0], /^8 nodes for 0.5 h/)
      const again = yield* run(commandOf(first.out).split(" "))
      assert.isDefined(hashOf(first.out))
      assert.deepStrictEqual(again.out, first.out)
      const other = yield* run([...small, "--seed", "2"])
      assert.notStrictEqual(hashOf(other.out), hashOf(first.out))
    }))

  it.effect("writes the smallest shares and durations so that it can parse them", () =>
    Effect.gen(function*() {
      const odd = [...small, "--loss", "0.0000001", "--partition", "at=90.5s,for=0.4s,share=0.5", "--json"]
      const first = JSON.parse((yield* run(odd)).out[0])
      const again = yield* run([...first.command.split(" ").slice(2), "--json"])
      assert.deepStrictEqual(again.error, [])
      assert.deepStrictEqual(JSON.parse(again.out[0]).scenario, first.scenario)
    }))

  it.effect("parses all of its options, and repeats them in the command", () =>
    Effect.gen(function*() {
      const { out } = yield* run([...all, "--json"])
      assert.strictEqual(out.length, 1)
      const { command, scenario } = JSON.parse(out[0])
      assert.deepStrictEqual(scenario, {
        seed: 7,
        scheduleSeed: 11,
        nodes: 8,
        hours: 0.5,
        latencyMillis: 40,
        loss: 0.05,
        churnPerHour: 0.3,
        byzantine: 0.2,
        partition: { atHours: 0.25, forHours: 300 / 3600, share: 0.4 },
        signatures: "real",
        lookupsPerNodeHour: 5.5,
        endpoints: 4,
        topics: 2,
        watched: true,
        intervalMinutes: 5
      })
      assert.include(command, "--seed 7 --schedule-seed 11 ")
      assert.include(command, "--partition at=15m,for=5m,share=0.4")
      const again = yield* run([...command.split(" ").slice(2), "--json"])
      assert.deepStrictEqual(JSON.parse(again.out[0]), JSON.parse(out[0]))
    }))

  it.effect("writes all measurements as JSON", () =>
    Effect.gen(function*() {
      const { exitCode, out } = yield* run([...small, "--json"])
      const { command, ...measured } = JSON.parse(out[0])
      assert.strictEqual(exitCode, 0)
      assert.match(command, /^effect-dht simulate --nodes 8 /)
      assert.deepStrictEqual(measured, yield* Simulation.run({ nodes: 8, hours: 0.5 }))
    }))

  it.effect("exits with 1 if an expectation does not hold, and still shows the figures", () =>
    Effect.gen(function*() {
      const { error, exitCode, out } = yield* run([...small, "--latency", "2500ms"])
      assert.strictEqual(exitCode, 1)
      assert.isDefined(hashOf(out))
      assert.include(out.join("\n"), "broken")
      assert.strictEqual(error.length, 1)
      assert.include(error[0], "at least 99 % expected")
    }))

  it.effect("reports how to reproduce a run that did not finish", () =>
    Effect.gen(function*() {
      const { error, exitCode } = yield* run(
        "--nodes 2 --hours 1 --latency 10000ms --topics 0 --schedule-seed 3".split(" ")
      )
      assert.strictEqual(exitCode, 1)
      assert.include(error[0], "seed 1, schedule seed 3 failed after")
      assert.include(error[0], "again: effect-dht simulate --nodes 2 --hours 1 --seed 1 --schedule-seed 3 ")
    }))

  it.effect("writes a report to the given file", () =>
    Effect.gen(function*() {
      const path = join(yield* temporary, "report.html")
      const { exitCode, out } = yield* run([...small, "--report", path])
      assert.strictEqual(exitCode, 0)
      assert.include(out.join("\n"), path)
      const page = Fs.readFileSync(path, "utf8")
      assert.include(page, hashOf(out) ?? "")
      assert.include(page.replace(/<\/?span>/g, ""), commandOf(out))
    }))

  it.effect("fails before it starts if the report cannot be written", () =>
    Effect.gen(function*() {
      const directory = yield* temporary
      for (const path of [directory, join(directory, "none", "report.html")]) {
        // A run of this length would not end.
        const { error, exitCode, out } = yield* run(["--nodes", "1000", "--hours", "1000", "--report", path])
        assert.deepStrictEqual([exitCode, out, error.length], [1, [], 1])
        assert.include(error[0], path)
      }
      assert.deepStrictEqual(Fs.readdirSync(directory), [])
    }))

  it("shows its progress and the estimated remaining time", () => {
    const at = (progress: Partial<Simulation.Progress>, seconds: number) =>
      bar({ phase: "Running", joined: 10, nodes: 10, hours: 0, ofHours: 24, ...progress }, seconds)
    assert.strictEqual(
      at({ phase: "Starting", joined: 5 }, 100),
      `[${"#".repeat(12)}${".".repeat(12)}] 5 of 10 nodes joined`
    )
    assert.strictEqual(at({}, 0), `[${".".repeat(24)}] 0.0 of 24 virtual hours`)
    assert.strictEqual(
      at({ hours: 8 }, 60),
      `[${"#".repeat(8)}${".".repeat(16)}] 8.0 of 24 virtual hours, about 2 min left`
    )
    assert.strictEqual(at({ hours: 24 }, 60), `[${"#".repeat(24)}] 24.0 of 24 virtual hours, about 0 s left`)
  })
})

describe("the report", () => {
  const eventful = Simulation.run({
    nodes: 10,
    hours: 0.5,
    churnPerHour: 0.5,
    partition: { atHours: 0.25, forHours: 0.1, share: 0.4 }
  })

  it.effect("is self-contained", () =>
    Effect.gen(function*() {
      const page = Page.page(yield* eventful, "effect-dht simulate")
      assert.notMatch(page, /\b(?:https?|wss?|ftp):|\bsrc=|\bhref=|url\(|@import|<link|fetch\(|import\(|"\/\//i)
    }))

  it.effect("has a plot of each kind, and every figure", () =>
    Effect.gen(function*() {
      const measured = yield* eventful
      const page = Page.page(measured, "effect-dht simulate --seed 1")
      const names = [
        "Found",
        "Time to find an endpoint",
        "Time to look up a topic",
        "Hops against log2 of the nodes",
        "Requests per lookup",
        "Copies of an announced record",
        "Messages per node and hour",
        "Health of the routing tables",
        "Nodes"
      ]
      const figures = page.split("<figure").slice(1)
      assert.deepStrictEqual(figures.map((figure) => /<h3>([^<]*)/.exec(figure)?.[1]), names)
      for (const figure of figures) assert.match(figure, /<path class="line s0" d="M|<rect class="bar"/)
      for (const { rows } of Report.sections(measured)) {
        for (const [name, value] of rows) assert.include(page, `<th scope="row">${name}</th><td>${value}</td>`)
      }
      for (const { what } of measured.expectations) assert.include(page, what)
      assert.include(page, "<span>--seed 1</span>")
      assert.include(page, ">split</text>")
    }))

  it.effect("draws gaps for missing values", () =>
    Effect.gen(function*() {
      const nothing = yield* Simulation.run({ nodes: 4, hours: 0.2, endpoints: 0, topics: 0 })
      const [body] = Page.page(nothing, "").split("<script>")
      assert.notMatch(body, /NaN|undefined|Infinity|null/)
      assert.include(body, "nothing to measure")
    }))

  it.effect("draws the first of several lines above the others, which are wider", () =>
    Effect.gen(function*() {
      const page = Page.page(yield* eventful, "")
      const times = page.split("<figure").find((figure) => figure.includes("<h3>Time to find an endpoint"))
      assert.deepStrictEqual(
        [...(times?.split("data-x")[1] ?? "").matchAll(/<path class="line (s\d)" d="M\d+\.?\d* /g)].map(([, line]) =>
          line
        ),
        [
          "s2",
          "s1",
          "s0"
        ]
      )
      const widths = [0, 1, 2].map((i) =>
        Number(new RegExp(`svg \\.s${i} \\{[^}]*stroke-width: ([\\d.]+)`).exec(page)?.[1])
      )
      assert.deepStrictEqual(widths.toSorted((a, b) => a - b), widths)
    }))

  it.effect("shows how many nodes crashed in each interval, beside a number of nodes that stays the same", () =>
    Effect.gen(function*() {
      const measured = yield* eventful
      const crashed = measured.intervals.map(({ replaced }) => replaced)
      assert.strictEqual(crashed.reduce((sum, count) => sum + count, 0), measured.totals.replaced)
      assert.isAbove(measured.totals.replaced, 0)
      const nodes = Page.page(measured, "").split("<figure").find((figure) => figure.includes("<h3>Nodes<")) ?? ""
      assert.include(nodes, `data-values="${crashed.join("|")}"`)
    }))

  it.effect("draws every value inside its plot", () =>
    Effect.gen(function*() {
      const page = Page.page(yield* eventful, "")
      for (const [path] of page.matchAll(/ d="[^"]*"/g)) {
        for (const [, x, y] of path.matchAll(/([\d.-]+) ([\d.-]+)/g)) {
          assert.isTrue(Number(x) >= 0 && Number(x) <= 360 && Number(y) >= 0 && Number(y) <= 200, path)
        }
      }
    }))

  it.effect("escapes text", () =>
    Effect.gen(function*() {
      const page = Page.page(yield* eventful, "<script>\"&'</script>")
      assert.include(page, "&#60;script&#62;&#34;&#38;&#39;&#60;/script&#62;")
      assert.strictEqual(page.split("<script>").length, 2)
    }))

  it("formats numbers readably", () => {
    assert.deepStrictEqual(
      [null, 0, 0.00012345, 0.5, 1.234, 12.34, 123.4, 1234.5, 1234567].map(Report.figure),
      ["–", "0", "0.0001", "0.5", "1.23", "12.3", "123", "1\u00a0235", "1\u00a0234\u00a0567"]
    )
    assert.deepStrictEqual([null, 0, 0.5, 0.99994, 1].map(Report.percent), ["–", "0 %", "50 %", "99.994 %", "100 %"])
    assert.deepStrictEqual([0, 0.123, 767 / 768, 1].map(Report.wholePercent), ["0 %", "12 %", "99.9 %", "100 %"])
    assert.deepStrictEqual(
      [0, 1.23, 59.4, 60, 95, 3600, 5430].map(Report.duration),
      ["0 s", "1.2 s", "59 s", "1 min", "1 min 35 s", "1 h", "1 h 30 min"]
    )
  })

  it("shows 100 % only for all, and 0 % only for none", () => {
    for (const all of [768, 20_000, 1e6, 1e9]) {
      for (const show of [Report.percent, Report.wholePercent]) {
        assert.match(show((all - 1) / all), /^99\.\d+ %$/)
        assert.match(show(1 / all), /^0\.0*[1-9]\d* %$/)
      }
    }
    const count = { joined: 10, nodes: 10, ofHours: 24, phase: "Running" } as const
    assert.notInclude(bar({ ...count, hours: 23.99 }, 0), "24.0 of")
    assert.notInclude(bar({ ...count, hours: 23.99 }, 0), "#".repeat(24))
  })

  it("states the total behind a judged share, which differs from that of the whole run", () => {
    const interval = (calm: boolean, asked: number, found: number) => ({
      calm,
      resolve: { asked, found },
      discover: { asked: 0, found: 0 },
      probes: { asked: 0, found: 0 }
    })
    const totals = { copies: { min: 8 }, resolve: { p99Hops: 2 } }
    const [endpoints, offers] = expectationsOf(
      { nodes: 100 } as Scenario,
      [interval(false, 48, 48), interval(true, 720, 719)] as ReadonlyArray<unknown> as ReadonlyArray<Interval>,
      totals as unknown as Totals,
      undefined
    ).map(Report.judged)
    assert.strictEqual(endpoints.measured, "99.86 % of 720")
    assert.include(endpoints.what, "calm")
    assert.strictEqual(offers.measured, "–")
  })
})
