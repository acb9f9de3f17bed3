/**
 * Metrics of hosted identities, in aggregate, named by the conventions of
 * OpenTelemetry. Like those of {@link DhtMetrics} they cost nothing until they
 * are read.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { type Instrument, registering } from "./DhtMetrics.ts"
import { Hosting, reasons } from "./Hosting.ts"

/**
 * The metrics by name. `dht.hosting.identities` has the attribute
 * `dht.hosting.state` (good, failing, ended), `dht.hosting.failing` has
 * `dht.reason` (`Hosting.reasons`).
 *
 * @category constants
 * @since 0.1.0
 */
export const instruments = {
  "dht.hosting.identities": {
    kind: "gauge",
    unit: "{identity}",
    description: "Hosted identities by state: good, failing, or ended with their delegation"
  },
  "dht.hosting.records": { kind: "gauge", unit: "{record}", description: "Hosted records" },
  "dht.hosting.due": {
    kind: "gauge",
    unit: "{record}",
    description: "Hosted records that are due and not renewed yet"
  },
  "dht.hosting.late": {
    kind: "gauge",
    unit: "{record}",
    description: "Hosted records that are not renewed although their copies expire within five minutes, or have expired"
  },
  "dht.hosting.failing": {
    kind: "gauge",
    unit: "{record}",
    description: "Hosted records whose last attempt to be renewed failed, by reason"
  },
  "dht.hosting.budget": {
    kind: "gauge",
    unit: "{datagram}/s",
    description: "Requests per second that hosting may send"
  },
  "dht.hosting.datagrams": {
    kind: "counter",
    unit: "{datagram}",
    description: "Requests of hosting, counted against its budget: a lookup counts as 24"
  },
  "dht.hosting.lookups": { kind: "counter", unit: "{lookup}", description: "Lookups of hosting" },
  "dht.hosting.stores": { kind: "counter", unit: "{request}", description: "Requests of hosting to store a record" },
  "dht.hosting.signatures": { kind: "counter", unit: "{signature}", description: "Signatures of hosted identities" },
  "dht.hosting.renewals": { kind: "counter", unit: "{record}", description: "Renewals of hosted records" },
  "dht.hosting.failures": { kind: "counter", unit: "{record}", description: "Failed renewals of hosted records" }
} as const satisfies Record<string, Instrument>

const make = Effect.gen(function*() {
  const hosting = yield* Effect.serviceOption(Hosting)
  if (Option.isNone(hosting)) return
  const { status } = hosting.value
  const { counter, gauge } = yield* registering(instruments)

  /** The status is read synchronously. */
  const now = () => Effect.runSync(status)

  for (const state of ["Good", "Failing", "Ended"] as const) {
    gauge("dht.hosting.identities", () => now().states[state], { "dht.hosting.state": state.toLowerCase() })
  }
  gauge("dht.hosting.records", () => now().records)
  gauge("dht.hosting.due", () => now().due)
  gauge("dht.hosting.late", () => now().late)
  for (const reason of reasons) {
    gauge("dht.hosting.failing", () => now().failing[reason], { "dht.reason": reason })
  }
  gauge("dht.hosting.budget", () => now().datagramsPerSecond)
  counter("dht.hosting.datagrams", () => now().datagrams)
  counter("dht.hosting.lookups", () => now().lookups)
  counter("dht.hosting.stores", () => now().stores)
  counter("dht.hosting.signatures", () => now().signatures)
  counter("dht.hosting.renewals", () => now().renewals)
  counter("dht.hosting.failures", () => now().failures)
})

/**
 * Registers the metrics of hosting with the metric registry of the context,
 * until the layer's scope closes. Without `Hosting` in the context there are none.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Layer.effectDiscard(make)
