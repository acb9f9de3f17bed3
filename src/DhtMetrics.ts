/**
 * Metrics of a node, named by the conventions of OpenTelemetry.
 *
 * They cost nothing until they are read: a series asks the services of the node
 * when Prometheus (`PrometheusMetrics` of `effect/observability`) or an OTLP
 * exporter (`OtlpMetrics`) reads it.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import { Announce } from "./Announce.ts"
import { Dht } from "./Dht.ts"
import { IdentityConflicts } from "./IdentityConflicts.ts"
import { NodeEvents, requests } from "./NodeEvents.ts"
import { PeerHealth } from "./PeerHealth.ts"
import { Reachability } from "./Reachability.ts"
import { mappings, type Punches, Rendezvous } from "./Rendezvous.ts"
import { Replication } from "./Replication.ts"
import { Routing } from "./Routing.ts"
import { refusals, Rpc } from "./Rpc.ts"
import { SeenPeers } from "./SeenPeers.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { Store } from "./Store.ts"
import { Subscriptions } from "./Subscriptions.ts"

/**
 * Description of a series: a `counter` only grows, a `gauge` goes up and down,
 * a `histogram` counts values in buckets. `unit` is written as in UCUM.
 *
 * @category models
 * @since 0.1.0
 */
export interface Instrument {
  readonly kind: "counter" | "gauge" | "histogram"
  readonly unit: string
  readonly description: string
}

/**
 * The metrics by name. Attributes: `dht.rpc.client.duration` has `dht.request`
 * and `dht.outcome`; `dht.query.duration` and `dht.query.requests` have
 * `dht.query.kind`; `dht.seen.nodes` has `dht.window`;
 * `dht.replication.replicas` has `dht.replica.state`; `dht.datagrams.refused`
 * has `dht.reason` (`Rpc.refusals`); `dht.transport.bound` has
 * `dht.local.address`.
 *
 * @category constants
 * @since 0.1.0
 */
export const instruments = {
  "dht.datagrams.received": {
    kind: "counter",
    unit: "{datagram}",
    description: "Datagrams received with a valid signature or MAC"
  },
  "dht.datagrams.refused": {
    kind: "counter",
    unit: "{datagram}",
    description: "Datagrams received and refused, by reason"
  },
  "dht.datagrams.sent": { kind: "counter", unit: "{datagram}", description: "Datagrams sent" },
  "dht.rpc.client.duration": {
    kind: "histogram",
    unit: "s",
    description: "Duration of our requests, from the first attempt to the response or the failure"
  },
  "dht.rpc.client.active": {
    kind: "gauge",
    unit: "{request}",
    description: "Our requests that wait for a response"
  },
  "dht.query.duration": { kind: "histogram", unit: "s", description: "Duration of lookups through the network" },
  "dht.query.requests": {
    kind: "histogram",
    unit: "{request}",
    description: "Requests made by a lookup through the network"
  },
  "dht.routing.contacts": { kind: "gauge", unit: "{contact}", description: "Contacts in the routing table" },
  "dht.routing.verified": {
    kind: "gauge",
    unit: "{contact}",
    description: "Contacts in the routing table heard from within an hour"
  },
  "dht.reachable": {
    kind: "gauge",
    unit: "1",
    description: "Whether strangers can reach the node: 1 if they can, 0 if not, -1 while it is unknown"
  },
  "dht.punches": {
    kind: "counter",
    unit: "{attempt}",
    description: "Attempts to meet a node through another one, by their outcome and the mappings of both routers"
  },
  "dht.introductions": {
    kind: "counter",
    unit: "{request}",
    description: "Requests of others for which this node told one of the other"
  },
  "dht.seen.nodes": {
    kind: "gauge",
    unit: "{node}",
    description: "Different nodes heard from within the window"
  },
  "dht.network.size": {
    kind: "gauge",
    unit: "{node}",
    description: "Estimated number of nodes in the network"
  },
  "dht.store.keys": { kind: "gauge", unit: "{key}", description: "Keys in the store" },
  "dht.store.bytes": {
    kind: "gauge",
    unit: "By",
    description: "Memory that the records in the store take up, what they cost beside their own bytes included"
  },
  "dht.store.subscriptions": {
    kind: "gauge",
    unit: "{subscription}",
    description: "Subscriptions of peers to the next records stored"
  },
  "dht.replication.records": {
    kind: "gauge",
    unit: "{record}",
    description: "Own records whose copies are maintained"
  },
  "dht.replication.replicas": { kind: "gauge", unit: "{replica}", description: "Copies of those records" },
  "dht.replication.full": {
    kind: "gauge",
    unit: "{record}",
    description: "Records of our own with too few copies, while nodes close to their keys have no room"
  },
  "dht.replication.surrounded": {
    kind: "gauge",
    unit: "{record}",
    description: "Records of our own whose keys are surrounded more closely than chance allows"
  },
  "dht.announcements": { kind: "gauge", unit: "{record}", description: "Records of our own that are kept alive" },
  "dht.identity.conflicts": {
    kind: "counter",
    unit: "{conflict}",
    description: "Proofs that another node runs under this node's identity"
  },
  "dht.peers.known": {
    kind: "gauge",
    unit: "{peer}",
    description: "Peers whose health is remembered"
  },
  "dht.transport.bound": {
    kind: "gauge",
    unit: "{address}",
    description: "Addresses where the node listens, each with the value 1"
  }
} as const satisfies Record<string, Instrument>

/**
 * Returns the Prometheus names of the metrics in a registry. A name that begins
 * with `dht.` gets the suffix `_seconds` if that is its unit, and `_total` for
 * a counter. Other names are unchanged.
 *
 * @category conversions
 * @since 0.1.0
 */
export const prometheusNames = (context: Context.Context<never>): (name: string) => string => {
  const names = new Map<string, string>()
  for (const { attributes, id, type } of Metric.snapshotUnsafe(context)) {
    if (!id.startsWith("dht.")) continue
    names.set(id, `${id}${attributes?.unit === "s" ? "_seconds" : ""}${type === "Counter" ? "_total" : ""}`)
  }
  return (name) => names.get(name) ?? name
}

type Named<All extends Record<string, Instrument>, Kind extends Instrument["kind"]> =
  & keyof All
  & string
  & { [Name in keyof All]: All[Name]["kind"] extends Kind ? Name : never }[keyof All]

/**
 * Registers series of the instruments with the metric registry of the context,
 * until the scope closes.
 *
 * @internal
 */
export const registering = Effect.fnUntraced(function*<All extends Record<string, Instrument>>(instruments: All) {
  const context = yield* Effect.context<never>()
  const registered: Array<Metric.Registration> = []
  yield* Effect.addFinalizer(() => Effect.sync(() => registered.forEach((series) => series.remove())))

  const register = <Input, State>(metric: Metric.Metric<Input, State>, read: () => State): void => {
    registered.push(
      Metric.registerUnsafe(metric, context, { get: read, update: () => {}, modify: () => {} })
    )
  }

  const options = (name: keyof All, attributes: Metric.Metric.AttributeSet = {}) => {
    const { description, unit } = instruments[name]
    return { description, attributes: { ...attributes, unit } }
  }

  const counter = (name: Named<All, "counter">, read: () => number, attributes?: Metric.Metric.AttributeSet): void =>
    register(
      Metric.counter(name, { ...options(name, attributes), incremental: true }),
      () => ({ count: read(), incremental: true })
    )

  const gauge = (name: Named<All, "gauge">, read: () => number, attributes?: Metric.Metric.AttributeSet): void =>
    register(Metric.gauge(name, options(name, attributes)), () => ({ value: read() }))

  const histogram = (
    name: Named<All, "histogram">,
    read: () => Metric.HistogramState,
    attributes: Metric.Metric.AttributeSet
  ): void => register(Metric.histogram(name, { ...options(name, attributes), boundaries: [] }), read)

  return { counter, gauge, histogram }
})

const mappingNames = {
  Unknown: "unknown",
  EndpointIndependent: "endpoint_independent",
  EndpointDependent: "endpoint_dependent"
} as const

/** A node that is not known, or whose router excludes a meeting, is refused before anything is sent to it. */
const outcomeOf = (outcome: Punches["outcome"]) =>
  outcome === "Succeeded" ? "succeeded" : outcome === "NothingCameThrough" ? "failed" : "refused"

const reachableValue = { open: 1, closed: 0, unknown: -1 } as const

const make = Effect.gen(function*() {
  const context = yield* Effect.context<
    | Announce
    | Dht
    | IdentityConflicts
    | NodeEvents
    | PeerHealth
    | Replication
    | Reachability
    | Rendezvous
    | Routing
    | Rpc
    | SeenPeers
    | Store
    | Subscriptions
  >()
  const announce = Context.get(context, Announce)
  const conflicts = Context.get(context, IdentityConflicts)
  const events = Context.get(context, NodeEvents)
  const health = Context.get(context, PeerHealth)
  const replication = Context.get(context, Replication)
  const reachability = Context.get(context, Reachability)
  const rendezvous = Context.get(context, Rendezvous)
  const routing = Context.get(context, Routing)
  const rpc = Context.get(context, Rpc)
  const seen = Context.get(context, SeenPeers)
  const store = Context.get(context, Store)
  const subscriptions = Context.get(context, Subscriptions)

  const { counter, gauge, histogram } = yield* registering(instruments)

  /** Reads an effect that completes synchronously. */
  const now = <A>(effect: Effect.Effect<A>): A => Effect.runSyncWith(context)(effect)

  counter("dht.datagrams.received", () => now(rpc.traffic).received)
  for (const reason of refusals) {
    counter("dht.datagrams.refused", () => now(rpc.traffic).refusedBy[reason], { "dht.reason": reason })
  }
  counter("dht.datagrams.sent", () => now(rpc.traffic).sent)
  gauge("dht.rpc.client.active", () => now(rpc.pending))
  for (const request of requests) {
    const { answered, failed } = events.requestTimes[request]
    histogram("dht.rpc.client.duration", () => answered.read(), {
      "dht.request": request,
      "dht.outcome": "answered"
    })
    histogram("dht.rpc.client.duration", () => failed.read(), { "dht.request": request, "dht.outcome": "failed" })
  }
  for (const kind of ["FindNode", "FindValue"] as const) {
    const times = events.queryTimes[kind]
    histogram("dht.query.duration", () => times.duration.read(), { "dht.query.kind": kind })
    histogram("dht.query.requests", () => times.requests.read(), { "dht.query.kind": kind })
  }
  gauge("dht.routing.contacts", () => now(routing.size))
  gauge("dht.routing.verified", () => now(routing.countVerified("1 hour")))
  gauge("dht.reachable", () => reachableValue[now(reachability.status).state])
  for (const own of mappings) {
    for (const peer of mappings) {
      for (const outcome of ["succeeded", "failed", "refused"] as const) {
        const isCounted = (punches: Punches) =>
          punches.own === own && punches.peer === peer && outcomeOf(punches.outcome) === outcome
        counter(
          "dht.punches",
          () => now(rendezvous.punches).filter(isCounted).reduce((sum, { count }) => sum + count, 0),
          { "dht.outcome": outcome, "dht.mapping.own": mappingNames[own], "dht.mapping.peer": mappingNames[peer] }
        )
      }
    }
  }
  counter("dht.introductions", () => now(rendezvous.introduced))
  gauge("dht.seen.nodes", () => now(seen.counts).hour, { "dht.window": "hour" })
  gauge("dht.seen.nodes", () => now(seen.counts).day, { "dht.window": "day" })
  gauge("dht.seen.nodes", () => now(seen.counts).week, { "dht.window": "week" })
  gauge("dht.network.size", () => now(routing.networkSize("30 minutes")).size)
  gauge("dht.store.keys", () => now(store.size))
  gauge("dht.store.bytes", () => now(store.bytes))
  gauge("dht.store.subscriptions", () => now(subscriptions.size))
  gauge("dht.replication.records", () => now(replication.summary).records)
  for (const state of ["confirmed", "unconfirmed"] as const) {
    gauge("dht.replication.replicas", () => now(replication.summary)[state], { "dht.replica.state": state })
  }
  gauge("dht.replication.full", () => now(replication.summary).full)
  gauge("dht.replication.surrounded", () => now(replication.summary).surrounded)
  gauge("dht.announcements", () => now(announce.announcements).length)
  counter("dht.identity.conflicts", () => now(conflicts.count))
  gauge("dht.peers.known", () => now(health.size))
  for (const address of Context.get(context, Dht).localAddresses) {
    gauge("dht.transport.bound", () => 1, { "dht.local.address": SocketAddress.format(address) })
  }
})

/**
 * Registers the metrics of the node with the metric registry of the context,
 * until the layer's scope closes. A second node in the same registry replaces
 * the series of the first: give each node its own `Metric.MetricRegistry`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  never,
  never,
  | Announce
  | Dht
  | IdentityConflicts
  | NodeEvents
  | PeerHealth
  | Replication
  | Reachability
  | Rendezvous
  | Routing
  | Rpc
  | SeenPeers
  | Store
  | Subscriptions
> = Layer.effectDiscard(make)
