/**
 * Spans that cost nothing where no tracer takes them, as in simulations.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import * as Tracer from "effect/Tracer"

/**
 * Runs an effect in a span, if tracing is on and a tracer is set. The default one
 * drops its spans, and `Effect.withSpan` and `Effect.fn` make them nevertheless, which
 * costs more than sending a request.
 *
 * @internal
 */
export const spanned =
  (name: string, attributes?: () => { readonly [name: string]: unknown }) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber): Effect.Effect<A, E, R> =>
      fiber.getRef(References.TracerEnabled) && fiber.getRef(Tracer.Tracer) !== Tracer.nativeTracer
        ? Effect.withSpan(effect, name, { attributes: attributes?.(), captureStackTrace: false })
        : effect
    )
