/**
 * One layer of many services that belong together, such as those of a node.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"

/** A part of a layer: an effect that makes its services in the scope of all, or a layer, which has one of its own. */
type Part = Layer.Layer<never, unknown, unknown> | Effect.Effect<Context.Context<never>, unknown, unknown>

type ServicesOf<P> = P extends Layer.Layer<infer A, infer _E, infer _R> ? A
  : P extends Effect.Effect<Context.Context<infer A>, infer _E, infer _R> ? A
  : never

type ErrorOf<P> = P extends Layer.Layer<infer _A, infer E, infer _R> ? E
  : P extends Effect.Effect<infer _A, infer E, infer _R> ? E
  : never

type RequirementsOf<P> = P extends Layer.Layer<infer _A, infer _E, infer R> ? R
  : P extends Effect.Effect<infer _A, infer _E, infer R> ? R
  : never

/** What parts need besides `Below` and the services of those before them. */
type Requirements<Parts extends ReadonlyArray<Part>, Below> = Parts extends
  readonly [infer First extends Part, ...infer Others extends ReadonlyArray<Part>]
  ? Exclude<RequirementsOf<First>, Below> | Requirements<Others, Below | ServicesOf<First>>
  : never

/**
 * A part that is one service.
 *
 * @internal
 */
export const service = <I, S, E, R>(
  key: Context.Key<I, S>,
  make: Effect.Effect<S, E, R>
): Effect.Effect<Context.Context<I>, E, R> => Effect.map(make, (service) => Context.make(key, service))

/**
 * A part that provides nothing, such as one that starts background work.
 *
 * @internal
 */
export const background = <E, R>(start: Effect.Effect<unknown, E, R>): Effect.Effect<Context.Context<never>, E, R> =>
  Effect.as(start, Context.empty())

/**
 * Builds the parts one after another, each with the services of those before it,
 * and provides the services of all. They are released in reverse order.
 *
 * A chain of `Layer.provideMerge` means the same. For each of its links and layers it
 * keeps two scopes, an entry of the memo map and a copy of all services so far, which
 * together is more than most services of a node hold.
 *
 * @internal
 */
export const inOrder = <const Parts extends ReadonlyArray<Part>>(
  ...parts: Parts
): Layer.Layer<ServicesOf<Parts[number]>, ErrorOf<Parts[number]>, Requirements<Parts, Scope.Scope>> =>
  Layer.fromBuildMemo((memoMap, scope) =>
    Effect.gen(function*() {
      let below = Context.add(yield* Effect.context<never>(), Scope.Scope, scope)
      const all = new Map<string, unknown>()
      for (const part of parts) {
        const build = Layer.isLayer(part) ? Layer.buildWithMemoMap(part, memoMap, scope) : part
        // The type of this function checks what each part needs.
        const built = yield* Effect.updateContext(
          build as Effect.Effect<Context.Context<never>, ErrorOf<Parts[number]>>,
          (_: Context.Context<never>) => below
        )
        for (const [key, service] of built.mapUnsafe) {
          // A layer is built with the memo map of all.
          if (key === Layer.CurrentMemoMap.key) continue
          all.set(key, service)
          below = Context.addUnsafe(below, key, service)
        }
      }
      return Context.makeUnsafe<ServicesOf<Parts[number]>>(all)
    })
  )
