/**
 * What an application may change while its node runs.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import type { Contact } from "./Contact.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** A passive node answers, but looks nothing up unless it is asked to. Defaults to false. */
  readonly passive?: boolean | undefined
  /** Our own public IP, once somebody knows it. */
  readonly publicHost?: string | undefined
}

/**
 * @category services
 * @since 0.1.0
 */
export class NodeSettings extends Context.Service<NodeSettings, {
  readonly passive: Ref.Ref<boolean>
  readonly publicHost: Ref.Ref<string | undefined>
}>()("effect-dht/NodeSettings") {}

/**
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<NodeSettings> =>
  Layer.effect(
    NodeSettings,
    Effect.sync(() => ({
      passive: Ref.makeUnsafe(options.passive ?? false),
      publicHost: Ref.makeUnsafe(options.publicHost)
    }))
  )

/**
 * Whether a contact sits behind our own public IP. Few routers send such a
 * datagram back in (hairpinning), so it is not worth asking.
 *
 * @category guards
 * @since 0.1.0
 */
export const isHairpin = (contact: Contact, publicHost: string | undefined): boolean => contact.host === publicHost
