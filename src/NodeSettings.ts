/**
 * The node's network and its role there, and the parts of it that an application
 * may change while the node runs.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import * as Network from "./Network.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options extends Network.Options {
  /** A passive node answers, but starts no lookup of its own accord. Defaults to the value of `client`. */
  readonly passive?: boolean | undefined
  /**
   * A client makes a few requests of its own and leaves. It tells its peers so:
   * they answer it, keep it out of their routing tables, and give it no records
   * to hold. Defaults to false.
   */
  readonly client?: boolean | undefined
  /**
   * Whether the node and a peer that both allow it authenticate messages to each
   * other by a MAC instead of signing them. Defaults to true.
   */
  readonly sessions?: boolean | undefined
}

/**
 * The settings of the node.
 *
 * @category services
 * @since 0.1.0
 */
export class NodeSettings extends Context.Service<NodeSettings, {
  /** Whether the node starts no lookup of its own accord. */
  readonly passive: Ref.Ref<boolean>
  /** Whether the node announces that it leaves soon. */
  readonly client: boolean
  /** Whether the node takes part in sessions. */
  readonly sessions: boolean
  /** The network that the node belongs to. */
  readonly network: Network.Network
}>()("effect-dht/NodeSettings") {}

/**
 * The service that {@link layer} provides.
 *
 * @internal
 */
export const make = (options: Options = {}): Effect.Effect<NodeSettings["Service"]> =>
  Effect.sync(() => {
    const client = options.client ?? false
    return {
      client,
      network: Network.make(options),
      sessions: options.sessions ?? true,
      passive: Ref.makeUnsafe(options.passive ?? client)
    }
  })

/**
 * Settings with the given values, or their defaults. A network that cannot exist
 * (`Network.make`) is a defect.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<NodeSettings> => Layer.effect(NodeSettings, make(options))
