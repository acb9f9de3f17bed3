/**
 * Work of the node's services on behalf of a request, with the scope of the
 * request.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"

/**
 * Returns a function that provides an effect with the services of the caller.
 *
 * @category combinators
 * @since 0.1.0
 */
export const servicesOf = <Services>() =>
  Effect.map(Effect.context<Services>(), (context) => {
    const services = Context.omit(Scope.Scope)(context)
    return <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideContext(effect, services)
  })
