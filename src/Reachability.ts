/**
 * Where others see this node: what the application says, else what enough of
 * those who answered us agree on. A liar, or a handful of them in one subnet,
 * does not decide.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Contact } from "./Contact.ts"
import { AddressVotes } from "./internal/addressVotes.ts"
import type { SocketAddress } from "./SocketAddress.ts"

/**
 * How a router between us and the others maps our port (RFC 5780): always to
 * the same one, or to another for each peer.
 *
 * @category models
 * @since 0.1.0
 */
export type Mapping = "consistent" | "symmetric" | "unknown"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Our own public IP, where the application knows it. */
  readonly publicHost?: string | undefined
}

/**
 * Where the node can be reached from outside, as far as is known.
 *
 * @category services
 * @since 0.1.0
 */
export class Reachability extends Context.Service<Reachability, {
  /** Says what our public IP is; undefined leaves it to what others see. */
  readonly declare: (host: string | undefined) => Effect.Effect<void>
  /** Our public IP, if it is known. */
  readonly publicHost: Effect.Effect<string | undefined>
  /** The IP and port under which others see us, if they agree on both. */
  readonly observed: Effect.Effect<SocketAddress | undefined>
  /** What our router makes of our port, as far as others see it. */
  readonly mapping: Effect.Effect<Mapping>
  /**
   * The votes themselves, for code that runs once per packet.
   *
   * @internal
   */
  readonly core: AddressVotes
}>()("effect-dht/Reachability") {}

/**
 * Beginning with what is given; the rest is learned from others.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Reachability> =>
  Layer.sync(Reachability, () => {
    const core = new AddressVotes()
    let declared = options.publicHost
    return Reachability.of({
      declare: (host) =>
        Effect.sync(() => {
          declared = host
        }),
      publicHost: Effect.map(Clock.currentTimeMillis, (now) => declared ?? core.publicHost(now)),
      observed: Effect.map(Clock.currentTimeMillis, (now) => core.address(now)),
      mapping: Effect.map(Clock.currentTimeMillis, (now) => core.mapping(now)),
      core
    })
  })

/**
 * Whether a contact sits behind our own public IP. Few routers send such a
 * datagram back in (hairpinning), so it is not worth asking.
 *
 * @category guards
 * @since 0.1.0
 */
export const isHairpin = (contact: Contact, publicHost: string | undefined): boolean => contact.host === publicHost
