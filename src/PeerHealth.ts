/**
 * Health of the peers that we send requests to: whether they answer, how long
 * they take, and when to try a silent one again. Round-trip times are smoothed
 * as in RFC 6298.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Core from "./core/peerHealth.ts"
import type * as Features from "./Features.ts"
import type { NodeId } from "./NodeId.ts"
import type { SocketAddress } from "./SocketAddress.ts"

export type { Health, Options, Version } from "./core/peerHealth.ts"

/**
 * What requests have shown about peers.
 *
 * The members whose names end in `Unsafe` read and change the state at once,
 * for code that runs once per packet. There `now` is in Unix milliseconds, and
 * durations are in milliseconds.
 *
 * @category services
 * @since 0.1.0
 */
export class PeerHealth extends Context.Service<PeerHealth, {
  /** Returns the recent behaviour of the peer. */
  readonly state: (id: NodeId) => Effect.Effect<Core.Health>
  /** Returns the smoothed round-trip time; none if the peer never answered. */
  readonly rtt: (id: NodeId) => Effect.Effect<Option.Option<Duration.Duration>>
  /**
   * Whether the peer's back-off is over: 30 seconds after a failure, doubled
   * for each further one in a row, at most ten times.
   */
  readonly allowContact: (id: NodeId) => Effect.Effect<boolean>
  /** Number of peers remembered. */
  readonly size: Effect.Effect<number>

  /** The recent behaviour of the peer. */
  readonly stateUnsafe: (id: NodeId) => Core.Health
  /** Whether the peer has ever answered, with a round trip that was measured. */
  readonly isMeasuredUnsafe: (id: NodeId) => boolean
  /** Whether the peer was silent at least twice in a row. */
  readonly isBadUnsafe: (id: NodeId) => boolean
  /** `allowContact` at a time. */
  readonly allowContactUnsafe: (id: NodeId, now: number) => boolean
  /** Whether the peer has proved that it is reachable at this address. */
  readonly isProvedUnsafe: (id: NodeId, address: SocketAddress) => boolean
  /** Whether the peer has proved that it is reachable at a port of this host. */
  readonly isProvedAtHostUnsafe: (id: NodeId, host: string) => boolean
  /** Whether the peer's latest message announced a feature. */
  readonly hasUnsafe: (id: NodeId, feature: Features.Bit) => boolean
  /**
   * Whether others cannot count on the peer: it announced so, or strangers cannot
   * reach it. It is no contact and holds no records for others.
   */
  readonly isClientUnsafe: (id: NodeId) => boolean
  /** The version that the peer announced or its behaviour implied; undefined if unknown. */
  readonly versionUnsafe: (id: NodeId, now: number) => Core.Version | undefined
  /** Consecutive losses after which a peer is presumed dead, by the loss rate over all peers. */
  readonly attemptsUnsafe: () => number
  /** The retransmission timeout of the first attempt; without an id, that of a peer that never answered. */
  readonly timeoutUnsafe: (id: NodeId | undefined, now: number) => number
  /** How long to wait for the peer before another one is asked as well. */
  readonly slowAfterUnsafe: (id: NodeId, now: number) => number

  /**
   * Records a response after `lost` lost attempts; clears earlier failures and
   * the back-off. `rttMillis` is undefined if the round trip was not measured.
   */
  readonly succeededUnsafe: (id: NodeId, rttMillis: number | undefined, now: number, lost?: number) => void
  /** Records a request whose attempts all failed. */
  readonly failedUnsafe: (id: NodeId, now: number) => void
  /** Records a failed maintenance probe: it counts as no failure, and halves the rest of the back-off. */
  readonly maintenanceProbeFailedUnsafe: (id: NodeId, now: number) => void
  /** Records a response from the queried address, which only a peer reachable there can send. */
  readonly provedAtUnsafe: (id: NodeId, address: SocketAddress) => void
  /** Records the features in the header of a peer's latest message, which replace the earlier ones. */
  readonly showsUnsafe: (id: NodeId, features: Features.Features) => void
  /** Records whether strangers can reach a peer that does not find that out itself. */
  readonly reachableUnsafe: (id: NodeId, isReachable: boolean) => void
  /**
   * Records the version that a peer's behaviour implies. An announced version
   * takes precedence, and an implied v0.2 is not replaced by v0.1.
   */
  readonly speaksUnsafe: (id: NodeId, version: Core.Version, now: number) => void
  /** Drops the announced version until the peer announces one again: it may have restarted with another one. */
  readonly doubtVersionUnsafe: (id: NodeId) => void
}>()("effect-dht/PeerHealth") {}

/**
 * Health without any history.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Core.Options): Effect.Effect<PeerHealth["Service"]> =>
  Effect.sync(() => {
    const core = new Core.PeerHealth(options)
    return PeerHealth.of({
      state: (id) => Effect.sync(() => core.state(id)),
      rtt: (id) => Effect.sync(() => Option.map(Option.fromUndefinedOr(core.rtt(id)), Duration.millis)),
      allowContact: (id) => Effect.map(Clock.currentTimeMillis, (now) => core.allowContact(id, now)),
      size: Effect.sync(() => core.size),
      stateUnsafe: (id) => core.state(id),
      isMeasuredUnsafe: (id) => core.rtt(id) !== undefined,
      isBadUnsafe: (id) => core.isBad(id),
      allowContactUnsafe: (id, now) => core.allowContact(id, now),
      isProvedUnsafe: (id, address) => core.isProved(id, address),
      isProvedAtHostUnsafe: (id, host) => core.isProvedAtHost(id, host),
      hasUnsafe: (id, feature) => core.has(id, feature),
      isClientUnsafe: (id) => core.isClient(id),
      versionUnsafe: (id, now) => core.version(id, now),
      attemptsUnsafe: () => core.attempts(),
      timeoutUnsafe: (id, now) => id === undefined ? core.defaultTimeout() : core.timeout(id, now),
      slowAfterUnsafe: (id, now) => core.slowAfter(id, now),
      succeededUnsafe: (id, rttMillis, now, lost) => core.succeeded(id, rttMillis, now, lost),
      failedUnsafe: (id, now) => core.failed(id, now),
      maintenanceProbeFailedUnsafe: (id, now) => core.maintenanceProbeFailed(id, now),
      provedAtUnsafe: (id, address) => core.provedAt(id, address),
      showsUnsafe: (id, features) => core.shows(id, features),
      reachableUnsafe: (id, isReachable) => core.reachable(id, isReachable),
      speaksUnsafe: (id, version, now) => core.speaks(id, version, now),
      doubtVersionUnsafe: (id) => core.doubtVersion(id)
    })
  })

/**
 * Health without any history.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Core.Options): Layer.Layer<PeerHealth> => Layer.effect(PeerHealth, make(options))
