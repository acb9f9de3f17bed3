/**
 * The last hour of a node, sampled while its HTTP interface is served.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Core from "../core/history.ts"
import { Dht } from "../Dht.ts"
import { NodeEvents, requests } from "../NodeEvents.ts"
import type * as Api from "./Api.ts"
import * as TrafficDocuments from "./TrafficDocuments.ts"

/**
 * The samples of the last hour.
 *
 * @category services
 * @since 0.1.0
 */
export class History extends Context.Service<History, {
  /** `/v1/history` with at most `limit` samples, the newest. */
  readonly document: (limit: number) => Effect.Effect<typeof Api.History.Type>
  /** Calls a listener with each new sample until the scope closes. It must not throw. */
  readonly listen: (listener: (sample: typeof Api.Sample.Type) => void) => Effect.Effect<void, never, Scope.Scope>
}>()("effect-dht/http/History") {}

/** Rounds to thousandths. */
const rounded = (value: number): number => Math.round(value * 1000) / 1000

const millis = (seconds: number | undefined): number | null => seconds === undefined ? null : rounded(seconds * 1000)

const sampleOf = (
  { at, contacts, keys, p50, p95, received, refused, sent, size }: Core.Sample
): typeof Api.Sample.Type => ({
  at_ms: at,
  received_per_s: rounded(received),
  sent_per_s: rounded(sent),
  refused_per_s: rounded(refused),
  p50_ms: millis(p50),
  p95_ms: millis(p95),
  contacts,
  estimated_size: rounded(size),
  keys
})

const make = Effect.gen(function*() {
  const dht = yield* Dht
  const { requestTimes } = yield* NodeEvents
  const core = new Core.History()
  const listeners = new Set<(sample: typeof Api.Sample.Type) => void>()

  /** The classes of the answered requests of all kinds, which have the same bounds. */
  const answered = (): Core.Reading["answered"] => {
    const kinds = requests.map((request) => TrafficDocuments.classes(requestTimes[request].answered.read()))
    return {
      bounds: kinds[0].bounds,
      counts: kinds[0].counts.map((_, i) => kinds.reduce((sum, { counts }) => sum + counts[i], 0)),
      max: Math.max(...kinds.map(({ max }) => max))
    }
  }

  const sample = Effect.gen(function*() {
    const { contacts, keys, network, received, refused, refusedBy, sent } = yield* dht.stats
    const taken = core.take({
      at: yield* Clock.currentTimeMillis,
      received,
      sent,
      refused: refused - refusedBy.late,
      answered: answered(),
      contacts,
      size: network.size,
      keys
    })
    if (taken === undefined) return
    const shown = sampleOf(taken)
    for (const listener of listeners) listener(shown)
  })

  yield* sample.pipe(
    Effect.repeat(Schedule.spaced(Duration.millis(Core.intervalMillis))),
    Effect.catchCause((cause) => Effect.logWarning("Sampling for the history stopped", cause)),
    Effect.annotateLogs({ module: "effect-dht/http/History", fiber: "Sampling" }),
    Effect.forkScoped
  )

  return History.of({
    document: (limit) =>
      Effect.sync(() => ({
        interval_ms: Core.intervalMillis,
        kept_ms: Core.keptMillis,
        samples: core.samples.slice(Math.max(0, core.samples.length - limit)).map(sampleOf)
      })),
    listen: (listener) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => listeners.add(listener)),
        () => Effect.sync(() => listeners.delete(listener))
      ))
  })
})

/**
 * Samples the node of the context until the scope closes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<History, never, Dht | NodeEvents> = Layer.effect(History, make)
