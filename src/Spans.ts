/**
 * Spans that cost nothing while tracing is off, as in simulations.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as References from "effect/References"

/**
 * Runs an effect in a span, if tracing is on. `Effect.withSpan` and `Effect.fn` make
 * a disabled one otherwise, which costs as much as a request.
 *
 * @internal
 */
export const spanned =
  (name: string, attributes?: () => { readonly [name: string]: unknown }) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.flatMap(
      References.TracerEnabled,
      (isOn): Effect.Effect<A, E, R> =>
        isOn ? Effect.withSpan(effect, name, { attributes: attributes?.(), captureStackTrace: false }) : effect
    )
