/**
 * What part a node takes in the network, and what of it an application may
 * change while the node runs.
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
  /** A passive node answers, but looks nothing up unless it is asked to. Defaults to whether it is a client. */
  readonly passive?: boolean | undefined
  /**
   * A client is there for a few requests of its own. It tells its peers so, which
   * answer it and keep it out of their routing tables, and takes no records to
   * hold. Defaults to false.
   */
  readonly client?: boolean | undefined
}

/**
 * How the node is to behave.
 *
 * @category services
 * @since 0.1.0
 */
export class NodeSettings extends Context.Service<NodeSettings, {
  /** Whether it looks nothing up of its own accord. */
  readonly passive: Ref.Ref<boolean>
  /** Whether it will be gone soon, and says so. */
  readonly client: boolean
}>()("effect-dht/NodeSettings") {}

/**
 * The given settings, or their defaults.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<NodeSettings> =>
  Layer.sync(NodeSettings, () => {
    const client = options.client ?? false
    return { client, passive: Ref.makeUnsafe(options.passive ?? client) }
  })
