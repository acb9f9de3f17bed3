/**
 * Builds the documents of a node's health and of its place in the network. Their
 * schemas are in {@link Api} and {@link GatewayApi}.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Bootstrap } from "../Bootstrap.ts"
import { Dht } from "../Dht.ts"
import { NodeSettings } from "../NodeSettings.ts"
import * as Reachability from "../Reachability.ts"
import * as Routing from "../Routing.ts"
import * as SocketAddress from "../SocketAddress.ts"
import type * as Api from "./Api.ts"
import type * as GatewayApi from "./GatewayApi.ts"

/**
 * `/health/live`.
 *
 * @category documents
 * @since 0.1.0
 */
export const live: typeof Api.Live.Type = { live: true }

/**
 * The network of a node: its name, and whether it has a key.
 *
 * @category conversions
 * @since 0.1.0
 */
export const privacyOf = ({ network: { hasKey, name } }: NodeSettings["Service"]) => ({
  name: name ?? null,
  has_key: hasKey
})

/**
 * Whether strangers can reach a node, and why.
 *
 * @category conversions
 * @since 0.1.0
 */
export const reachableOf: Effect.Effect<
  Pick<typeof Api.Health.Type, "reachable" | "reachable_why">,
  never,
  Reachability.Reachability
> = Effect.map(
  Effect.flatMap(Reachability.Reachability, ({ status }) => status),
  (status) => ({ reachable: status.state, reachable_why: Reachability.explain(status) })
)

/**
 * `/health/ready` and `/health`. `first`: whether the node is the first of its
 * network, and so is ready without contacts; undefined derives it from the
 * outcome of joining.
 *
 * @category documents
 * @since 0.1.0
 */
export const health = Effect.fnUntraced(
  function*(
    first: boolean | undefined
  ): Effect.fn.Return<
    typeof Api.Health.Type,
    never,
    Bootstrap | Dht | NodeSettings | Reachability.Reachability | Routing.Routing
  > {
    const { membership } = yield* Bootstrap
    const isFirst = first ?? SubscriptionRef.getUnsafe(membership)._tag === "First"
    const verified = yield* Routing.Routing.use((routing) => routing.countVerified("1 hour"))
    return {
      ...live,
      ready: isFirst || verified > 0,
      // Always true: a node exists only once its transport is bound.
      bound: true,
      local_addrs: (yield* Dht).localAddresses.map(SocketAddress.format),
      first: isFirst,
      network: privacyOf(yield* NodeSettings),
      ...yield* reachableOf,
      verified_contacts_1h: verified
    }
  }
)

/**
 * `/v1/network`.
 *
 * @category documents
 * @since 0.1.0
 */
export const network = Effect.fnUntraced(
  function*(): Effect.fn.Return<
    typeof GatewayApi.Network.Type,
    never,
    Bootstrap | Dht | NodeSettings | Reachability.Reachability
  > {
    const dht = yield* Dht
    const { lastAttempt, membership } = yield* Bootstrap
    const attempt = yield* lastAttempt
    const reachability = yield* Reachability.Reachability
    const stats = yield* dht.stats
    const state = SubscriptionRef.getUnsafe(membership)
    const declared = yield* reachability.publicHost
    const observed = yield* reachability.observed
    const host = declared ?? observed?.host
    return {
      at_ms: yield* Clock.currentTimeMillis,
      ...privacyOf(yield* NodeSettings),
      membership: memberships[state._tag],
      failures: state._tag === "Alone"
        ? state.failures.map(({ address, error }) => ({
          address: SocketAddress.format(address),
          reason: error.message
        }))
        : [],
      joining: attempt === undefined ? null : {
        attempt: attempt.number,
        hosts: attempt.hosts,
        remembered: attempt.remembered,
        started_at_ms: attempt.startedAt,
        ended_at_ms: attempt.endedAt ?? null,
        next_at_ms: attempt.nextAt ?? null
      },
      estimated_size: stats.network.size,
      confidence: stats.network.confidence,
      contacts: stats.contacts,
      verified_contacts_1h: stats.verifiedContacts,
      local_addr: SocketAddress.format(dht.localAddress),
      local_addrs: dht.localAddresses.map(SocketAddress.format),
      reachable_at: host === undefined
        ? null
        : SocketAddress.format({ host, port: observed?.port ?? dht.localAddress.port }),
      ...yield* reachableOf,
      mapping: yield* reachability.mapping
    }
  }
)

const memberships = { Alone: "alone", First: "first", Joined: "joined" } as const
