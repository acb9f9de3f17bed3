import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as TestClock from "effect/testing/TestClock"
import * as Hosting from "../src/Hosting.ts"
import * as HostingMetrics from "../src/HostingMetrics.ts"
import { layerMemoryNetwork } from "../src/Transport.ts"
import { type Host, hosting, hostOn } from "./utils/hosting.ts"
import * as network from "./utils/network.ts"
import { settled } from "./utils/served.ts"

/** The metrics of a node that hosts, in a registry of their own. */
const metrics = Effect.fnUntraced(function*(host: Host) {
  const registry = Context.make(Metric.MetricRegistry, new Map())
  yield* Layer.build(HostingMetrics.layer).pipe(Effect.provideContext(Context.merge(host, registry)))
  return () => Metric.snapshotUnsafe(registry)
})

describe("HostingMetrics", () => {
  it.effect("has a series for each listed name, and reports what hosting does when it is read", () =>
    Effect.gen(function*() {
      yield* TestClock.setTime(network.now * 1000)
      yield* network.node("peer", network.socketOf(1))
      const node = yield* network.node("node", network.socketOf(2))
      yield* network.dht(node).bootstrap([network.socketOf(1)])
      const host = yield* hostOn(node, { datagramsPerSecond: 50 })
      const snapshot = yield* metrics(host)
      assert.sameMembers([...new Set(snapshot().map(({ id }) => id))], Object.keys(HostingMetrics.instruments))
      for (const { attributes, description, id, type } of snapshot()) {
        const { kind, ...instrument } = HostingMetrics.instruments[id as keyof typeof HostingMetrics.instruments]
        assert.deepStrictEqual({ kind: type.toLowerCase(), unit: attributes?.unit, description }, {
          kind,
          ...instrument
        })
      }
      const valueOf = (id: keyof typeof HostingMetrics.instruments, attribute?: string) => {
        const found = snapshot().find((series) =>
          series.id === id && (attribute === undefined || Object.values(series.attributes ?? {}).includes(attribute))
        )
        return found?.type === "Counter"
          ? Number(found.state.count)
          : found?.type === "Gauge"
          ? Number(found.state.value)
          : undefined
      }
      const sealed = network.identity("sealed")
      const announce = [{ _tag: "Endpoint", endpoints: ["https://agents.example"] }] as const
      yield* hosting(host).host({ signer: network.identity("good"), announce })
      yield* hosting(host).host({
        signer: { ...sealed, sign: () => Effect.fail(new Hosting.SignerFailed({ reason: "sealed" })) },
        announce
      })
      yield* TestClock.adjust("1 minute")
      yield* settled
      assert.deepStrictEqual(
        (["good", "failing", "ended"] as const).map((state) => valueOf("dht.hosting.identities", state)),
        [1, 1, 0]
      )
      assert.deepStrictEqual(
        (["dht.hosting.records", "dht.hosting.late", "dht.hosting.budget", "dht.hosting.renewals"] as const).map((id) =>
          valueOf(id)
        ),
        [2, 0, 50, 1]
      )
      assert.strictEqual(valueOf("dht.hosting.failing", "SignerFailed"), 1)
      assert.strictEqual(valueOf("dht.hosting.failing", "KeyFull"), 0)
      assert.isAtLeast(valueOf("dht.hosting.datagrams") ?? 0, 8)
    }).pipe(Effect.provide(layerMemoryNetwork)))
})
