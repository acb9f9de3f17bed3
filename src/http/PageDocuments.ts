/**
 * Builds the documents of a node's page. Their schemas are in {@link Api}.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Address from "../Address.ts"
import { Announce, type Announcement } from "../Announce.ts"
import type { Bootstrap } from "../Bootstrap.ts"
import { Dht } from "../Dht.ts"
import * as NodeId from "../NodeId.ts"
import { NodeSettings } from "../NodeSettings.ts"
import { PeerHealth } from "../PeerHealth.ts"
import { Persistence } from "../Persistence.ts"
import * as Profile from "../Profile.ts"
import { Reachability } from "../Reachability.ts"
import * as Record from "../Record.ts"
import * as Replication from "../Replication.ts"
import * as Routing from "../Routing.ts"
import type { Rpc } from "../Rpc.ts"
import { SeenPeers } from "../SeenPeers.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as Store from "../Store.ts"
import { Subscriptions } from "../Subscriptions.ts"
import type * as Api from "./Api.ts"
import * as HealthDocuments from "./HealthDocuments.ts"
import * as QueryDocuments from "./QueryDocuments.ts"
import * as RecordDocuments from "./RecordDocuments.ts"
import * as TrafficDocuments from "./TrafficDocuments.ts"

const persistence = Effect.gen(function*() {
  const { isLasting, status } = yield* Persistence
  const { degraded, dropped, queued, written } = yield* status
  // Degraded persistence is reported, unlike persistence that is not configured.
  if (!isLasting && degraded === undefined) return null
  return { degraded: degraded ?? null, queued, written, dropped }
})

/** The name in the profile that an agent announces; null without one. */
const nameOf = Effect.fnUntraced(function*(agent: Address.Address, announcements: ReadonlyArray<Announcement>) {
  const own = NodeId.fromAddress(agent)
  for (const { current, key } of announcements) {
    if (key !== own) continue
    const { record } = yield* current
    if (record.type !== Record.RecordType.profile) continue
    const name = Result.match(Profile.decode(record.payload), { onFailure: () => "", onSuccess: ({ name }) => name })
    return name === "" ? null : name
  }
  return null
})

/**
 * `/v1/overview`.
 *
 * @category documents
 * @since 0.1.0
 */
export const overview = Effect.fnUntraced(function*(
  { first, hosting, pages, startedAt, writes }: {
    readonly first: boolean | undefined
    readonly hosting: typeof Api.Overview.Type["hosting"]
    readonly pages: typeof Api.Overview.Type["pages"]
    readonly startedAt: number
    readonly writes: typeof Api.Overview.Type["writes"]
  }
): Effect.fn.Return<
  typeof Api.Overview.Type,
  never,
  | Announce
  | Bootstrap
  | Dht
  | NodeSettings
  | Persistence
  | Reachability
  | Replication.Replication
  | Routing.Routing
  | Rpc
  | SeenPeers
  | Store.Store
  | Subscriptions
> {
  const dht = yield* Dht
  const stats = yield* dht.stats
  const reachability = yield* Reachability
  const observed = yield* reachability.observed
  const published = yield* (yield* Replication.Replication).summary
  const store = yield* Store.Store
  const settings = yield* NodeSettings
  const { announcements } = yield* Announce
  return {
    at_ms: yield* Clock.currentTimeMillis,
    started_at_ms: startedAt,
    ready: (yield* HealthDocuments.health(first)).ready,
    identity: { address: Address.format(dht.address), node_id_hex: dht.nodeId },
    agent: Address.format(dht.agent),
    name: yield* nameOf(dht.agent, yield* announcements),
    writes,
    pages,
    reachability: {
      local_addr: SocketAddress.format(dht.localAddress),
      local_addrs: dht.localAddresses.map(SocketAddress.format),
      public_host: (yield* reachability.publicHost) ?? null,
      ...yield* HealthDocuments.reachableOf,
      observed_addr: observed === undefined ? null : SocketAddress.format(observed),
      mapping: yield* reachability.mapping
    },
    passive: yield* Ref.get(settings.passive),
    network: {
      ...HealthDocuments.privacyOf(settings),
      estimated_size: stats.network.size,
      confidence: stats.network.confidence,
      contacts: stats.contacts,
      verified_contacts_1h: stats.verifiedContacts,
      reach_1h: stats.seen.hour,
      reach_24h: stats.seen.day,
      reach_7d: stats.seen.week,
      unique_since_start: yield* (yield* SeenPeers).uniqueSinceStart
    },
    traffic: yield* TrafficDocuments.traffic,
    store: {
      keys: stats.keys,
      bytes: yield* store.bytes,
      max_bytes: store.maxBytes,
      subscriptions: yield* (yield* Subscriptions).size
    },
    publishing: {
      announcements: (yield* announcements).length,
      records: published.records,
      messages: published.messages.records,
      complete: published.complete,
      confirmed_replicas: published.confirmedOfWanted,
      wanted_replicas: published.records * Replication.replicas
    },
    hosting,
    persistence: yield* persistence
  }
})

/**
 * `/v1/buckets`.
 *
 * @category documents
 * @since 0.1.0
 */
export const buckets: Effect.Effect<typeof Api.Buckets.Type, never, PeerHealth | Routing.Routing> = Effect.gen(
  function*() {
    const routing = yield* Routing.Routing
    const health = yield* PeerHealth
    const now = yield* Clock.currentTimeMillis
    const contactOf = Effect.fnUntraced(function*({ addedAt, contact, learnedFrom, verifiedAt }: Routing.Entry) {
      const rtt = yield* health.rtt(contact.id)
      return {
        peer: RecordDocuments.peer(contact),
        heard_ms_ago: verifiedAt === undefined ? null : Math.max(0, now - verifiedAt),
        fresh: verifiedAt !== undefined && verifiedAt > now - Routing.freshMillis,
        added_ms_ago: Math.max(0, now - addedAt),
        learned_from_hex: learnedFrom ?? null,
        health: yield* health.state(contact.id),
        rtt_ms: Option.isNone(rtt) ? null : QueryDocuments.millis(Duration.toMillis(rtt.value))
      }
    })
    const byBucket = Map.groupBy(yield* routing.entries, ({ bucket }) => bucket)
    return {
      self_node_id_hex: routing.self,
      k: routing.k,
      buckets: yield* Effect.forEach(
        byBucket,
        ([bucket, entries]) =>
          Effect.map(Effect.forEach(entries, contactOf), (contacts) => ({
            bucket,
            waiting: routing.bucketUnsafe(bucket).pending,
            contacts
          }))
      )
    }
  }
)
