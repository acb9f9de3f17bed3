import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { isOpen } from "../src/http/Guard.ts"
import * as Routes from "../src/http/Routes.ts"
import { settings } from "../src/node/internal/settings.ts"
import * as ProcessMetrics from "../src/node/ProcessMetrics.ts"
import * as Persistence from "../src/Persistence.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import { hostOn } from "./utils/hosting.ts"
import * as Network from "./utils/network.ts"

const directory = join(import.meta.dirname, "../deploy")
const read = (name: string) => readFileSync(join(directory, name), "utf8")

// --- The metrics of a node ---------------------------------------------------------

/** The labels of each metric that a node reports: the values of each, by its name. */
type Metrics = ReadonlyMap<string, ReadonlyMap<string, ReadonlySet<string>>>

const metricsIn = (text: string): Metrics => {
  const metrics = new Map<string, Map<string, Set<string>>>()
  for (const line of text.split("\n")) {
    const [, name, labels = ""] = /^([a-z]\w*)(?:\{(.*)\})? \S+$/.exec(line) ?? []
    if (name === undefined) continue
    const known = metrics.get(name) ?? new Map<string, Set<string>>()
    metrics.set(name, known)
    for (const [, label, value] of labels.matchAll(/(\w+)="([^"]*)"/g)) {
      known.set(label, (known.get(label) ?? new Set()).add(value))
    }
  }
  return metrics
}

/** What a node with a data directory that hosts identities answers to Prometheus, with what its process adds. */
const metrics = Effect.gen(function*() {
  const persistence = Persistence.layerMemory(Persistence.makeMemory())
  const a = yield* hostOn(yield* Network.node("a", Network.socketOf(1), { services: { persistence } }))
  const routes = Layer.merge(Routes.layer(), ProcessMetrics.layer).pipe(
    Layer.provide(Layer.succeedContext(a)),
    Layer.provide(Layer.succeed(Metric.MetricRegistry, yield* Metric.MetricRegistry)),
    Layer.provideMerge(Layer.succeed(Clock.Clock, yield* Clock.Clock))
  )
  const { handler } = yield* Effect.acquireRelease(
    Effect.sync(() => HttpRouter.toWebHandler(routes, { disableLogger: true, routerConfig: Routes.routerConfig })),
    ({ dispose }) => Effect.promise(dispose)
  )
  const context = yield* Effect.context<never>()
  const text = yield* Effect.promise(async () =>
    (await handler(new Request("http://localhost:2634/metrics"), context)).text()
  )
  return metricsIn(text)
}).pipe(
  Effect.scoped,
  Effect.provide([layerMemoryNetwork, Layer.succeed(Metric.MetricRegistry, new Map())])
)

// --- Expressions of Prometheus -----------------------------------------------------

/** Labels that Prometheus adds, and the metric that says whether it could read the others. */
const ofPrometheus = { labels: ["instance", "job"], metrics: ["up"] }

const words = new Set(["by", "without", "on", "ignoring", "and", "or", "unless", "bool"])

/** What an expression uses that the metrics lack. */
const wrongIn = (expression: string, metrics: Metrics): ReadonlyArray<string> => {
  const wrong: Array<string> = []
  const used: Array<string> = []
  const bare = expression
    // A selector: a metric with matchers.
    .replaceAll(/([a-z_]\w*)\{([^}]*)\}/gi, (_, metric: string, matchers: string) => {
      used.push(metric)
      for (const [, label, operator, value] of matchers.matchAll(/(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)) {
        if (ofPrometheus.labels.includes(label)) continue
        const values = metrics.get(metric)?.get(label)
        if (values === undefined) wrong.push(`${metric} has no label ${label}`)
        else if (operator.endsWith("=") && !values.has(value)) wrong.push(`${metric} has no ${label} "${value}"`)
      }
      return " "
    })
    .replaceAll(/\[[^\]]*\]/g, " ")
  const grouped: Array<string> = []
  const rest = bare.replaceAll(/\b(?:by|without|on|ignoring)\s*\(([^)]*)\)/g, (_, labels: string) => {
    grouped.push(...labels.split(",").map((label) => label.trim()))
    return " "
  })
  for (const [, name] of rest.matchAll(/(?<![\w$.])([a-z_]\w*)\b(?!\s*\()/gi)) if (!words.has(name)) used.push(name)
  const labels = new Set(used.flatMap((metric) => [...metrics.get(metric)?.keys() ?? []]))
  for (const metric of used) {
    if (!metrics.has(metric) && !ofPrometheus.metrics.includes(metric)) wrong.push(`there is no metric ${metric}`)
  }
  for (const label of grouped) {
    if (!labels.has(label) && !ofPrometheus.labels.includes(label)) wrong.push(`no metric has the label ${label}`)
  }
  if (used.length === 0) wrong.push(`no metric in ${expression}`)
  return wrong
}

/** The expressions of the alert rules: the text after `expr`, which may go on in further lines. */
const alerts = [...read("prometheus-alerts.yaml").matchAll(/^ {8}expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)/gm)].map(
  ([, folded, plain]) => (folded ?? plain).replaceAll(/\s+/g, " ").trim()
)

interface Panel {
  readonly title: string
  readonly type: string
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number }
  readonly targets?: ReadonlyArray<{ readonly expr: string; readonly legendFormat: string }>
}

const dashboard: {
  readonly panels: ReadonlyArray<Panel>
  readonly templating: { readonly list: ReadonlyArray<{ readonly name: string; readonly definition?: string }> }
} = JSON.parse(read("grafana-dashboard.json"))

const targets = dashboard.panels.flatMap(({ targets = [] }) => targets)

describe("the alert rules and the dashboard", () => {
  it.effect("use metrics, labels and values that a node has", () =>
    Effect.gen(function*() {
      const known = yield* metrics
      const definitions = dashboard.templating.list.flatMap(({ definition = "" }) =>
        [...definition.matchAll(/^label_values\((.*), \w+\)$/g)].map(([, selector]) => selector)
      )
      const expressions = [...alerts, ...targets.map(({ expr }) => expr), ...definitions]
      assert.deepStrictEqual(expressions.flatMap((expression) => wrongIn(expression, known)), [])
      assert.deepStrictEqual([alerts.length > 10, targets.length > 30, definitions.length], [true, true, 2])
    }))

  it.effect("are wrong with any other", () =>
    Effect.gen(function*() {
      const known = yield* metrics
      const wrong: ReadonlyArray<readonly [expression: string, says: string]> = [
        ["sum(rate(dht_nothing_total[5m]))", "there is no metric dht_nothing_total"],
        ["dht_nothing > 0.5 * dht_store_keys", "there is no metric dht_nothing"],
        ["dht_nothing{instance=~\"$instance\"}", "there is no metric dht_nothing"],
        ["dht_store_keys{dht_reason=\"late\"}", "dht_store_keys has no label dht_reason"],
        [
          "dht_datagrams_refused_total{dht_reason!=\"none\"}",
          "dht_datagrams_refused_total has no dht_reason \"none\""
        ],
        ["sum by (dht_kind) (dht_store_keys)", "no metric has the label dht_kind"],
        ["time()", "no metric in time()"]
      ]
      for (const [expression, says] of wrong) assert.deepStrictEqual(wrongIn(expression, known), [says])
    }))

  it("show every metric that a legend names by a label of its own", () => {
    for (const { expr, legendFormat } of targets) {
      for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
        const isGrouped = /\bby \(/.test(expr)
        assert.isTrue(isGrouped ? new RegExp(`by \\([^)]*\\b${label}\\b`).test(expr) : label === "instance", expr)
      }
    }
  })

  it("have panels that do not overlap, on a grid of 24 columns", () => {
    const taken = new Set<string>()
    for (const { gridPos: { h, w, x, y }, title } of dashboard.panels) {
      assert.isAtMost(x + w, 24, title)
      for (let column = x; column < x + w; column++) {
        for (let line = y; line < y + h; line++) {
          assert.isFalse(taken.has(`${column} ${line}`), title)
          taken.add(`${column} ${line}`)
        }
      }
    }
  })

  const hasPromtool = spawnSync("promtool", ["--version"]).status === 0

  it.skipIf(!hasPromtool)("are accepted by promtool", () => {
    for (const args of [["rules", "prometheus-alerts.yaml"], ["config", "--syntax-only", "prometheus-scrape.yaml"]]) {
      const { status, stderr, stdout } = spawnSync("promtool", ["check", ...args], { cwd: directory, encoding: "utf8" })
      assert.strictEqual(status, 0, stdout + stderr)
    }
  })
})

// --- Running a node ----------------------------------------------------------------

const variables = new Set(Object.values(settings).map(({ variable }) => variable))

describe("the files that run a node", () => {
  for (const name of ["Dockerfile", "effect-dht.service", "kubernetes.yaml"]) {
    it(`set variables that a node reads: ${name}`, () => {
      const text = read(name)
      // The one that a setting names.
      const secret = "DHT_TOKEN"
      const used = [...text.matchAll(/\bDHT_[A-Z_]+/g)].map(([variable]) => variable)
      assert.isNotEmpty(used)
      assert.deepStrictEqual(used.filter((variable) => variable !== secret && !variables.has(variable)), [])
    })
  }

  it("name options that it has, as the files for Prometheus do", () => {
    const flags = new Set(Object.values(settings).map(({ flag }) => flag))
    const texts = [
      ["Dockerfile", /docker run .* effect-dht (.*)/g],
      ["effect-dht.service", /^# +effect-dht (.*)/gm],
      ["prometheus-alerts.yaml", /(.*)/g],
      ["prometheus-scrape.yaml", /(.*)/g]
    ] as const
    for (const [name, pattern] of texts) {
      const text = [...read(name).matchAll(pattern)].map(([, part]) => part).join("\n")
      const used = [...text.matchAll(/(?<![\w-])--([a-z-]+)/g)].map(([, flag]) => flag)
      assert.isNotEmpty(used, name)
      assert.deepStrictEqual(used.filter((flag) => !flags.has(flag)), [], name)
    }
  })

  it("look after its health at paths that need no token", () => {
    const paths = ["Dockerfile", "kubernetes.yaml"].flatMap((name) => [...read(name).matchAll(/\/health\/\w+/g)])
    assert.deepStrictEqual([...new Set(paths.map(([path]) => path))].sort(), ["/health/live", "/health/ready"])
    for (const [path] of paths) assert.isTrue(isOpen(path), path)
  })

  it("use the ports that are the default", () => {
    const { http, listen } = settings
    const [{ port }] = listen.standard
    for (const name of ["Dockerfile", "kubernetes.yaml"]) {
      const ports = [...read(name).matchAll(/(?:EXPOSE|[pP]ort:|127\.0\.0\.1:) ?"?(\d+)/g)].map(([, port]) =>
        Number(port)
      )
      assert.isNotEmpty(ports, name)
      assert.includeMembers([http.standard.port, port], ports, name)
    }
  })

  it("run it without root, and stop it by SIGTERM itself", () => {
    const [, user] = /^USER (\d+):\d+$/m.exec(read("Dockerfile")) ?? []
    assert.isAbove(Number(user), 0)
    assert.match(read("Dockerfile"), /^ENTRYPOINT \["node", ".*\/bin\.js", "node"\]$/m)
    assert.include(read("kubernetes.yaml"), `runAsUser: ${user}`)
    assert.match(read("effect-dht.service"), /^DynamicUser=yes$/m)
    assert.match(read("effect-dht.service"), /^ExecStart=\/usr\/bin\/env effect-dht node$/m)
  })
})
