/**
 * Subscriptions of peers: each requests one push of the next new record at a
 * key, within a minute.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Subscriptions } from "./core/subscriptions.ts"

/**
 * The peers that subscribed to keys with records held here.
 *
 * @category services
 * @since 0.1.0
 */
export class Subscribers extends Context.Service<Subscribers, {
  /** Number of subscriptions. */
  readonly size: Effect.Effect<number>
  /**
   * The subscriptions themselves, for code that runs once per packet.
   *
   * @internal
   */
  readonly core: Subscriptions
}>()("effect-dht/Subscribers") {}

/**
 * Starts without subscribers.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Subscribers> = Layer.sync(Subscribers, () => {
  const core = new Subscriptions()
  return Subscribers.of({ size: Effect.sync(() => core.size), core })
})
