/**
 * Builds the documents of a node's identity, contacts, counters and publications.
 * Their schemas are in {@link Api}.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Address from "../Address.ts"
import { Announce } from "../Announce.ts"
import { Dht } from "../Dht.ts"
import * as NodeId from "../NodeId.ts"
import type * as Record from "../Record.ts"
import * as Replication from "../Replication.ts"
import * as Routing from "../Routing.ts"
import { SeenPeers } from "../SeenPeers.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { StandingAnnouncements } from "../StandingAnnouncements.ts"
import type * as Api from "./Api.ts"
import * as Lists from "./Lists.ts"
import * as RecordDocuments from "./RecordDocuments.ts"

const replicationPlaceOf = (after: string | undefined): Replication.Place | undefined => {
  if (after === undefined) return undefined
  const [confirmed, job] = Lists.pairOf(after)
  return { confirmed, job }
}

const replicationNext = (next: Replication.Place | undefined): string | null =>
  next === undefined ? null : `${next.confirmed}.${next.job}`

/**
 * `/debug/identity`.
 *
 * @category documents
 * @since 0.1.0
 */
export const identity: Effect.Effect<typeof Api.Identity.Type, never, Dht> = Effect.map(
  Dht,
  ({ address, localAddress, nodeId }) => ({
    address: Address.format(address),
    node_id_hex: nodeId,
    local_addr: SocketAddress.format(localAddress)
  })
)

/**
 * `/debug/routing`.
 *
 * @category documents
 * @since 0.1.0
 */
export const routing: Effect.Effect<typeof Api.RoutingTable.Type, never, Dht | Routing.Routing> = Effect.gen(
  function*() {
    const { nodeId } = yield* Dht
    const entries = yield* (yield* Routing.Routing).entries
    const now = yield* Clock.currentTimeMillis
    const peers = yield* Lists.inSteps(entries, ({ bucket, contact, verifiedAt }) => ({
      bucket,
      xor_distance_to_self_hex: NodeId.distance(nodeId, contact.id),
      address_hex: contact.address,
      node_id_hex: contact.id,
      ip: contact.host,
      port: contact.port,
      ...(verifiedAt === undefined
        ? {}
        : { verified_ago: `${Math.round(Math.max(0, now - verifiedAt) / 1000)}s` })
    }))
    return {
      self_node_id_hex: nodeId,
      peers: peers.sort((a, b) => a.xor_distance_to_self_hex < b.xor_distance_to_self_hex ? 1 : -1),
      total_peers: entries.length
    }
  }
)

/**
 * `/debug/stats`.
 *
 * @category documents
 * @since 0.1.0
 */
export const stats: Effect.Effect<typeof Api.Stats.Type, never, Dht | SeenPeers> = Effect.gen(function*() {
  const { completed, contacts, network, received, seen, sent, verifiedContacts } = yield* (yield* Dht).stats
  const unique = yield* (yield* SeenPeers).uniqueSinceStart
  return {
    rx_packets_verified: received,
    tx_packets: sent,
    rpc_completed: completed,
    total_peers: contacts,
    reach_1h: seen.hour,
    reach_24h: seen.day,
    reach_7d: seen.week,
    estimated_network_size: network.size,
    estimate_confidence: network.confidence,
    verified_peers_1h: verifiedContacts,
    unique_nodes_since_start: unique
  }
})

/**
 * `/debug/replication`.
 *
 * @category documents
 * @since 0.1.0
 */
export const replication = Effect.fnUntraced(function*(
  { after, limit, messages: which }: Lists.Part & Pick<Replication.PageOptions, "messages">
): Effect.fn.Return<
  typeof Api.Replication.Type,
  never,
  Announce | Replication.Replication | StandingAnnouncements
> {
  const replication = yield* Replication.Replication
  const { complete, full, messages, records: total, surrounded, uncopied } = yield* replication.summary
  const { next, replicated } = yield* replication.page({ limit, after: replicationPlaceOf(after), messages: which })
  const kept = new Set((yield* (yield* StandingAnnouncements).all).map(({ announcement }) => announcement))
  // The records that are renewed, and whether they are announced over HTTP.
  const renewed = new Map<Record.SignedRecord, boolean>()
  for (const announcement of yield* (yield* Announce).announcements) {
    renewed.set((yield* announcement.current).record, kept.has(announcement))
  }
  return {
    wanted: Replication.replicas,
    total,
    complete,
    uncopied,
    messages: { total: messages.records, complete: messages.complete },
    full,
    surrounded,
    records: yield* Lists.inSteps(replicated, ({ full, isSurrounded, key, record, replicas }) => ({
      ...RecordDocuments.foundRecord(key, record),
      renews_at: renewed.has(record) ? RecordDocuments.renewsAt(record) : null,
      standing: renewed.get(record) ?? false,
      replicas: replicas.map(({ contact, isConfirmed, isSuspect }) => ({
        peer: RecordDocuments.peer(contact),
        state: isSuspect ? "suspect" as const : isConfirmed ? "confirmed" as const : "unconfirmed" as const
      })),
      full: full.length,
      surrounded: isSurrounded
    })),
    next: replicationNext(next)
  }
})
