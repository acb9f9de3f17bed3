/**
 * Who asked this node to be told when something new is stored at a key: for a
 * minute, and once.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Subscriptions } from "./internal/subscriptions.ts"

/**
 * The peers that asked to be told of news at keys that are held here.
 *
 * @category services
 * @since 0.1.0
 */
export class Subscribers extends Context.Service<Subscribers, {
  /** How many subscriptions are held. */
  readonly size: Effect.Effect<number>
  /**
   * The subscriptions themselves, for code that runs once per packet.
   *
   * @internal
   */
  readonly core: Subscriptions
}>()("effect-dht/Subscribers") {}

/**
 * No subscribers at first.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Subscribers> = Layer.sync(Subscribers, () => {
  const core = new Subscriptions()
  return Subscribers.of({ size: Effect.sync(() => core.size), core })
})
