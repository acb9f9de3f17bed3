import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as DhtMetrics from "../src/DhtMetrics.ts"
import { Store } from "../src/Store.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import * as network from "./utils/network.ts"
import { settled } from "./utils/served.ts"

const onNetwork = Effect.provide(layerMemoryNetwork)

/** The metrics of a node in a registry of their own. */
const metrics = Effect.fnUntraced(function*(node: network.Node) {
  const registry = Context.make(Metric.MetricRegistry, new Map())
  yield* Layer.build(DhtMetrics.layer).pipe(Effect.provideContext(Context.merge(node, registry)))
  return registry
})

const valueOf = (registry: Context.Context<never>, id: string, attributes: Record<string, string> = {}) => {
  const series = Metric.snapshotUnsafe(registry).find((series) =>
    series.id === id && Object.entries(attributes).every(([name, value]) => series.attributes?.[name] === value)
  )
  switch (series?.type) {
    case "Counter":
      return Number(series.state.count)
    case "Gauge":
      return Number(series.state.value)
    case "Histogram":
      return series.state.count
    default:
      return undefined
  }
}

describe("DhtMetrics", () => {
  it.effect("has a series for each listed name, and lists every name, with unit and description", () =>
    Effect.gen(function*() {
      const [a] = yield* network.build(1)
      const snapshot = Metric.snapshotUnsafe(yield* metrics(a))
      assert.sameMembers([...new Set(snapshot.map(({ id }) => id))], Object.keys(DhtMetrics.instruments))
      for (const { attributes, description, id, type } of snapshot) {
        const { kind, ...instrument } = DhtMetrics.instruments[id as keyof typeof DhtMetrics.instruments]
        assert.strictEqual(type.toLowerCase(), kind)
        assert.deepStrictEqual({ unit: attributes?.unit, description }, instrument)
      }
    }).pipe(onNetwork))

  it.effect("reports what the services report when it is read", () =>
    Effect.gen(function*() {
      const [a] = yield* network.build(4)
      const registry = yield* metrics(a)
      assert.strictEqual(valueOf(registry, "dht.routing.contacts"), 3)
      assert.strictEqual(valueOf(registry, "dht.replication.records"), 0)
      yield* network.dht(a).announceEndpoint({ endpoints: ["tcp://192.0.2.1:4121"] })
      yield* settled
      const { received, sent } = yield* network.dht(a).stats
      assert.strictEqual(valueOf(registry, "dht.datagrams.sent"), sent)
      assert.strictEqual(valueOf(registry, "dht.datagrams.received"), received)
      assert.strictEqual(valueOf(registry, "dht.datagrams.refused", { "dht.reason": "late" }), 0)
      assert.strictEqual(valueOf(registry, "dht.announcements"), 1)
      assert.isAbove(valueOf(registry, "dht.store.bytes") ?? 0, 1000)
      assert.strictEqual(valueOf(registry, "dht.store.bytes"), yield* Context.get(a, Store).bytes)
      assert.strictEqual(valueOf(registry, "dht.replication.replicas", { "dht.replica.state": "confirmed" }), 3)
      assert.strictEqual(
        valueOf(registry, "dht.rpc.client.duration", { "dht.request": "Store", "dht.outcome": "answered" }),
        3
      )
      assert.strictEqual(valueOf(registry, "dht.query.duration", { "dht.query.kind": "FindNode" }), 1)
      assert.strictEqual(valueOf(registry, "dht.seen.nodes", { "dht.window": "hour" }), 3)
    }).pipe(onNetwork))

  it.effect("leaves nothing in the registry", () =>
    Effect.gen(function*() {
      const [a] = yield* network.build(1)
      const scope = yield* Scope.make()
      const registry = yield* Scope.provide(metrics(a), scope)
      assert.isNotEmpty(Metric.snapshotUnsafe(registry))
      yield* Scope.close(scope, Exit.void)
      assert.isEmpty(Metric.snapshotUnsafe(registry))
    }).pipe(onNetwork))

  it.effect("has Prometheus names with the unit, and with total for counters", () =>
    Effect.gen(function*() {
      const [a] = yield* network.build(1)
      const names = DhtMetrics.prometheusNames(yield* metrics(a))
      assert.strictEqual(names("dht.rpc.client.duration"), "dht.rpc.client.duration_seconds")
      assert.strictEqual(names("dht.datagrams.sent"), "dht.datagrams.sent_total")
      assert.strictEqual(names("dht.routing.contacts"), "dht.routing.contacts")
      assert.strictEqual(names("of.another.library"), "of.another.library")
    }).pipe(onNetwork))
})
