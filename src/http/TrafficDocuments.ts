/**
 * Builds the documents of datagrams, requests and their times. Their schemas are
 * in {@link Api}.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Metric from "effect/Metric"
import { type Classes, quantile } from "../internal/quantile.ts"
import * as NodeEvents from "../NodeEvents.ts"
import * as Routing from "../Routing.ts"
import { Rpc } from "../Rpc.ts"
import * as Store from "../Store.ts"
import type * as Api from "./Api.ts"
import * as QueryDocuments from "./QueryDocuments.ts"

/**
 * The classes of a histogram, each without those below.
 *
 * @category conversions
 * @since 0.1.0
 */
export const classes = ({ buckets, count, max }: Metric.HistogramState): Classes => {
  const upTo = [...buckets.map(([, count]) => count), count]
  return {
    bounds: buckets.map(([bound]) => bound),
    counts: upTo.map((count, i) => i === 0 ? count : count - upTo[i - 1]),
    max
  }
}

const histogram = (state: Metric.HistogramState): typeof Api.Histogram.Type => {
  const { count, min, sum } = state
  const values = classes(state)
  const at = (q: number) => quantile(values, q) ?? null
  return { ...values, count, sum, min, p50: at(0.5), p95: at(0.95) }
}

/**
 * The counters of datagrams and requests.
 *
 * @category documents
 * @since 0.1.0
 */
export const traffic: Effect.Effect<typeof Api.Traffic.Type, never, Rpc> = Effect.gen(function*() {
  const rpc = yield* Rpc
  const { inSessions, refusedBy, ...counts } = yield* rpc.traffic
  return { ...counts, in_sessions: inSessions, refused_by: refusedBy, pending: yield* rpc.pending }
})

/**
 * The event `traffic`.
 *
 * @category documents
 * @since 0.1.0
 */
export const trafficEvent: Effect.Effect<typeof Api.Event.Type, never, Routing.Routing | Rpc | Store.Store> = Effect
  .gen(
    function*() {
      const routing = yield* Routing.Routing
      const store = yield* Store.Store
      return {
        type: "traffic",
        at_ms: yield* Clock.currentTimeMillis,
        traffic: yield* traffic,
        contacts: yield* routing.size,
        keys: yield* store.size
      }
    }
  )

/**
 * `/v1/traffic`.
 *
 * @category documents
 * @since 0.1.0
 */
export const trafficReport: Effect.Effect<typeof Api.TrafficReport.Type, never, NodeEvents.NodeEvents | Rpc> = Effect
  .gen(function*() {
    const { queryTimes, requestTimes } = yield* NodeEvents.NodeEvents
    return {
      at_ms: yield* Clock.currentTimeMillis,
      traffic: yield* traffic,
      requests: NodeEvents.requests.map((request) => ({
        request,
        answered: histogram(requestTimes[request].answered.read()),
        failed: histogram(requestTimes[request].failed.read())
      })),
      queries: (["FindNode", "FindValue"] as const).map((kind) => ({
        kind: QueryDocuments.kinds[kind],
        duration: histogram(queryTimes[kind].duration.read()),
        requests: histogram(queryTimes[kind].requests.read())
      }))
    }
  })
