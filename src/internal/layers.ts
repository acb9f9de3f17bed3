/**
 * Layers of many services that belong together, such as those of a node.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** Any layer. */
type Any = Layer.Layer<never, unknown, unknown>

/** What layers need besides the services of those before them. */
type Requirements<Layers extends ReadonlyArray<Any>, Below = never> = Layers extends
  readonly [infer First extends Any, ...infer Others extends ReadonlyArray<Any>]
  ? Exclude<Layer.Services<First>, Below> | Requirements<Others, Below | Layer.Success<First>>
  : never

/**
 * Builds layers one after another, each with the services of those before it, and
 * provides the services of all. They are released in reverse order.
 *
 * A chain of `Layer.provideMerge` means the same. It makes two scopes, an entry of
 * the memo map and a copy of all services so far for each of its links and keeps
 * them, which for the services of a node is more than what most of them hold.
 *
 * @internal
 */
export const inOrder = <const Layers extends ReadonlyArray<Any>>(
  ...layers: Layers
): Layer.Layer<Layer.Success<Layers[number]>, Layer.Error<Layers[number]>, Requirements<Layers>> =>
  Layer.fromBuildMemo((memoMap, scope) =>
    Effect.gen(function*() {
      let below: Context.Context<any> = yield* Effect.context<any>()
      const all = new Map<string, unknown>()
      for (const layer of layers as ReadonlyArray<Layer.Layer<never, any, any>>) {
        const built = yield* Effect.updateContext(Layer.buildWithMemoMap(layer, memoMap, scope), () => below)
        for (const [key, service] of built.mapUnsafe) {
          if (key === Layer.CurrentMemoMap.key) continue
          all.set(key, service)
          below = Context.addUnsafe(below, key, service)
        }
      }
      return Context.makeUnsafe(all)
    })
  )
