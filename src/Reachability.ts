/**
 * The address at which peers see this node, and whether strangers can reach it
 * there. The address is the declared one, or else the one that enough peers
 * report: a single liar, or several in one subnet, cannot decide it.
 *
 * This module only knows; `ReachabilityCheck` asks the peers.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Contact } from "./Contact.ts"
import { AddressVotes, type Mapping } from "./core/addressVotes.ts"
import * as Core from "./core/reachability.ts"
import { Persistence } from "./Persistence.ts"
import * as SocketAddress from "./SocketAddress.ts"

export type { Mapping } from "./core/addressVotes.ts"
export type { Dependence, Report, State, Status, Step } from "./core/reachability.ts"

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
  readonly observed: Effect.Effect<SocketAddress.SocketAddress | undefined>
  /** How our router maps our port, as far as peers see it. */
  readonly mapping: Effect.Effect<Mapping>
  /** Whether strangers can reach us, as far as known, and why. */
  readonly status: Effect.Effect<Core.Status>
  /** Whether only peers can reach us that we contacted first. */
  readonly isClosedUnsafe: () => boolean
  /** Whether other nodes reach us over IPv4 and over IPv6; `now` is in Unix milliseconds. */
  readonly isDualUnsafe: (now: number) => boolean
  /** Whether strangers can reach us, as far as known. */
  readonly stateUnsafe: () => Core.State
  /** How our router maps our port, as `status` says. */
  readonly mappingUnsafe: () => Core.Dependence
  /** Records a datagram that we sent to a host; `now` is in Unix milliseconds. */
  readonly sentUnsafe: (host: string, now: number) => void
  /**
   * Records a verified datagram from a host; one from a host that we did not send
   * to proves that we are open. `isEcho`: whether it is the echo of a NAT probe.
   */
  readonly heardUnsafe: (host: string, isEcho: boolean, now: number) => void
  /**
   * Whether strangers reach us and we have heard nothing from a host for so long
   * that a router in front of it lets nothing of ours in.
   */
  readonly isStrangerUnsafe: (host: string, now: number) => boolean
  /**
   * Calls a function, until the scope closes, when the state has changed or the
   * next step may be due earlier than `nextUnsafe` said.
   */
  readonly onChange: (changed: () => void) => Effect.Effect<void, never, Scope.Scope>
  /** What to do next to find out whether strangers can reach us. */
  readonly nextUnsafe: (now: number) => Core.Step
  /** Reports where peers of different networks see us. */
  readonly askedUnsafe: (reports: ReadonlyArray<Core.Report>, now: number) => void
  /**
   * Reports that the echo of the stranger at `sender` did not arrive, as a peer at
   * `via` confirmed, which may not say which stranger.
   */
  readonly blockedUnsafe: (via: string, sender: SocketAddress.SocketAddress | undefined, now: number) => void
  /** Reports an experiment in which a stranger sent to this address of ours, and reached us. */
  readonly reachedUnsafe: (claimed: SocketAddress.SocketAddress) => void
  /** Reports the end of such experiments at the same time. Enough failures of strangers that cannot be pinged close us. */
  readonly experimentedUnsafe: (now: number) => void
  /** The strangers to ping, at most 4, before so many failures count; empty if there are too few, or if they count. */
  readonly controlsUnsafe: (now: number) => ReadonlyArray<SocketAddress.SocketAddress>
  /** Reports that one of these strangers responded. */
  readonly controlledUnsafe: (now: number) => void
  /** Whether an experiment, or the datagram of a stranger, has shown since then whether strangers reach us. */
  readonly isTestedUnsafe: (since: number) => boolean
  /** Reports the end of a round of such experiments. */
  readonly dialedUnsafe: (now: number, lacksStrangers: boolean) => void
  /**
   * Records the address at which a reporter observed us, in place of its
   * earlier report, for code that runs once per packet. `reporter.host` is the
   * host at which we reach it; `now` is in Unix milliseconds.
   */
  readonly voteUnsafe: (
    reporter: Pick<Contact, "host" | "id">,
    observed: SocketAddress.SocketAddress,
    now: number
  ) => void
}>()("effect-dht/Reachability") {}

/** How long ago peers may have said where they see us, for a node that does not know it yet. */
const toldMillis = 60_000

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const { kept } = yield* Persistence
  const core = new Core.Reachability({ isRestart: (yield* kept.peers).length > 0 })
  let votes = new AddressVotes()
  let declared = options.publicHost
  const listeners = new Set<() => void>()
  core.changed = () => listeners.forEach((changed) => changed())
  return Reachability.of({
    declare: (host) =>
      Effect.sync(() => {
        declared = host
      }),
    publicHost: Effect.map(Clock.currentTimeMillis, (now) => declared ?? votes.publicHost(now)),
    observed: Effect.map(Clock.currentTimeMillis, (now) => votes.address(now)),
    mapping: Effect.map(Clock.currentTimeMillis, (now) => votes.mapping(now)),
    status: Effect.sync(() => core.status),
    isClosedUnsafe: () => core.status.state === "closed",
    isDualUnsafe: (now) => core.isDual(now),
    stateUnsafe: () => core.status.state,
    mappingUnsafe: () => core.status.mapping,
    sentUnsafe: (host, now) => core.sent(host, now),
    heardUnsafe: (host, isEcho, now) => core.heard(host, isEcho, now),
    isStrangerUnsafe: (host, now) => core.isStranger(host, now),
    onChange: (changed) =>
      Effect.acquireRelease(
        Effect.sync(() => void listeners.add(changed)),
        () => Effect.sync(() => listeners.delete(changed))
      ),
    nextUnsafe: (now) => {
      if (core.address === undefined) {
        // The responses of joining say it, and a look at them costs no datagram.
        const reports = votes.reports(now - toldMillis)
        if (reports.length >= Core.askedPeers) core.asked(reports, now)
      }
      return core.next(now)
    },
    askedUnsafe: (reports, now) => {
      const { address } = core
      core.asked(reports, now)
      if (core.address === address || address === undefined) return
      // The votes before are about an address that is no longer ours.
      votes = new AddressVotes()
      for (const { observed, reporter } of reports) votes.vote(reporter, observed, now)
    },
    blockedUnsafe: (via, sender, now) => core.blocked(SocketAddress.network(via), sender, now),
    reachedUnsafe: (claimed) => core.reached(claimed),
    experimentedUnsafe: (now) => core.experimented(now),
    controlsUnsafe: (now) => core.controls(now),
    controlledUnsafe: (now) => core.controlled(now),
    isTestedUnsafe: (since) => core.isTested(since),
    dialedUnsafe: (now, lacksStrangers) => core.dialed(now, lacksStrangers),
    voteUnsafe: (reporter, observed, now) => {
      votes.vote(reporter, observed, now)
      core.observed(observed, now)
    }
  })
})

/**
 * Starts with the given options; the rest is learned from peers.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<Reachability, never, Persistence> =>
  Layer.effect(Reachability, make(options))

/**
 * Describes a status in words, for an operator.
 *
 * @category formatting
 * @since 0.1.0
 */
export const explain = ({ filtering, mapping, state }: Core.Status): string =>
  state === "open"
    ? "Nodes that this one never contacted reach it: it is in routing tables and holds records of others."
    : mapping === "EndpointDependent"
    ? "The router uses a different port for each peer, so no peer can pass an address of this node on to others. " +
      "It works as a client. Forward the UDP port to make it a full member."
    : filtering === "EndpointDependent"
    ? "The router or firewall lets in only what this node asked for. " +
      "It works as a client. Forward or open the UDP port to make it a full member."
    : "Not known: it takes three contacts in different public networks to tell, and a node that this one has not contacted."

/**
 * Whether a contact is behind our own public IP. Few routers return such a
 * datagram to their network (hairpinning), so it gets no requests.
 *
 * @category guards
 * @since 0.1.0
 */
export const isHairpin = (contact: Contact, publicHost: string | undefined): boolean => contact.host === publicHost
