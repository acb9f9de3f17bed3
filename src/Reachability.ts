/**
 * The address at which peers see this node: the declared one, or else the one
 * that enough peers report. A single liar, or several in one subnet, cannot
 * decide it.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Contact } from "./Contact.ts"
import { AddressVotes, type Mapping } from "./core/addressVotes.ts"
import type { SocketAddress } from "./SocketAddress.ts"

export type { Mapping } from "./core/addressVotes.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Our own public IP, if the application knows it. */
  readonly publicHost?: string | undefined
}

/**
 * The external address of the node, as far as known.
 *
 * @category services
 * @since 0.1.0
 */
export class Reachability extends Context.Service<Reachability, {
  /** Declares our public IP; undefined leaves it to the reports of peers. */
  readonly declare: (host: string | undefined) => Effect.Effect<void>
  /** Our public IP, if known. */
  readonly publicHost: Effect.Effect<string | undefined>
  /** The IP and port at which peers see us, if they agree on both. */
  readonly observed: Effect.Effect<SocketAddress | undefined>
  /** How our router maps our port, as far as peers see it. */
  readonly mapping: Effect.Effect<Mapping>
  /**
   * Records the address at which a reporter observed us, in place of its
   * earlier report, for code that runs once per packet. `reporter.host` is the
   * host at which we reach it; `now` is in Unix milliseconds.
   */
  readonly voteUnsafe: (reporter: Pick<Contact, "host" | "id">, observed: SocketAddress, now: number) => void
}>()("effect-dht/Reachability") {}

/**
 * Starts with the given options; the rest is learned from peers.
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
      voteUnsafe: (reporter, observed, now) => core.vote(reporter, observed, now)
    })
  })

/**
 * Whether a contact is behind our own public IP. Few routers return such a
 * datagram to their network (hairpinning), so it gets no requests.
 *
 * @category guards
 * @since 0.1.0
 */
export const isHairpin = (contact: Contact, publicHost: string | undefined): boolean => contact.host === publicHost
