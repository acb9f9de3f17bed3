/**
 * What an application may change while its node runs.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** A passive node answers, but looks nothing up unless it is asked to. Defaults to false. */
  readonly passive?: boolean | undefined
}

/**
 * @category services
 * @since 0.1.0
 */
export class NodeSettings extends Context.Service<NodeSettings, {
  readonly passive: Ref.Ref<boolean>
}>()("effect-dht/NodeSettings") {}

/**
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<NodeSettings> =>
  Layer.sync(NodeSettings, () => ({ passive: Ref.makeUnsafe(options.passive ?? false) }))
