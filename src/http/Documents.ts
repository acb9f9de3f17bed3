/**
 * Builds the documents that a node serves over HTTP from its services. Their
 * schemas are in {@link Api}.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as Address from "../Address.ts"
import { Announce, type Announcement } from "../Announce.ts"
import { Bootstrap } from "../Bootstrap.ts"
import type { Contact } from "../Contact.ts"
import { Dht } from "../Dht.ts"
import * as Endpoint from "../Endpoint.ts"
import * as Hex from "../internal/hex.ts"
import { type Classes, quantile } from "../internal/quantile.ts"
import * as NodeEvents from "../NodeEvents.ts"
import * as NodeId from "../NodeId.ts"
import { NodeSettings } from "../NodeSettings.ts"
import { PeerHealth } from "../PeerHealth.ts"
import { Persistence } from "../Persistence.ts"
import * as Profile from "../Profile.ts"
import { Reachability } from "../Reachability.ts"
import * as Record from "../Record.ts"
import * as Replication from "../Replication.ts"
import * as Routing from "../Routing.ts"
import { Rpc } from "../Rpc.ts"
import { SeenPeers } from "../SeenPeers.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { StandingAnnouncements } from "../StandingAnnouncements.ts"
import * as Store from "../Store.ts"
import { Subscriptions } from "../Subscriptions.ts"
import * as Topic from "../Topic.ts"
import * as Values from "../wire/value.ts"
import type * as Api from "./Api.ts"
import type * as GatewayApi from "./GatewayApi.ts"
import * as Lists from "./Lists.ts"
import type * as Parts from "./Parts.ts"

// --- Paging ----------------------------------------------------------------------

/** Parses the two numbers of a position. */
const pairOf = (place: string): readonly [number, number] => {
  const [first, second] = place.split(".")
  return [Number(first), Number(second)]
}

const storePlaceOf = (after: string | undefined): Store.Place | undefined => {
  if (after === undefined) return undefined
  const [key, record] = pairOf(after)
  return { key, record }
}

const storeNext = (next: Store.Place | undefined): string | null =>
  next === undefined ? null : `${next.key}.${next.record}`

const replicationPlaceOf = (after: string | undefined): Replication.Place | undefined => {
  if (after === undefined) return undefined
  const [confirmed, job] = pairOf(after)
  return { confirmed, job }
}

const replicationNext = (next: Replication.Place | undefined): string | null =>
  next === undefined ? null : `${next.confirmed}.${next.job}`

// --- Parts of documents ------------------------------------------------------------

/**
 * @category conversions
 * @since 0.1.0
 */
export const peer = ({ address, host, id, port }: Contact): typeof Parts.Peer.Type => ({
  node_id_hex: id,
  address: Address.format(address),
  ip: host,
  port
})

const typeNames = {
  [Record.RecordType.endpoint]: "endpoint",
  [Record.RecordType.profile]: "profile",
  [Record.RecordType.topic]: "topic",
  [Record.RecordType.mailbox]: "mailbox"
} as const

const typeName = (type: number): typeof Parts.RecordRow.Type["type_name"] => {
  if (type in typeNames) return typeNames[type as keyof typeof typeNames]
  return Record.isReserved(type) ? "reserved" : "custom"
}

const row = (
  key: NodeId.NodeId,
  record: {
    readonly address: Address.Address
    readonly type: number
    readonly seq: bigint
    readonly timestamp: bigint
    readonly ttl: number
    readonly expiresAt: number
  },
  payloadLength: number
): typeof Parts.RecordRow.Type => ({
  key_node_id_hex: key,
  address: Address.format(record.address),
  rec_type: record.type,
  type_name: typeName(record.type),
  seq: String(record.seq),
  timestamp: String(record.timestamp),
  ttl_seconds: record.ttl,
  expires_at: String(record.expiresAt),
  payload_cbor_len: payloadLength
})

/**
 * @category conversions
 * @since 0.1.0
 */
export const recordRow = (key: NodeId.NodeId, record: Record.SignedRecord): typeof Parts.RecordRow.Type =>
  row(key, record, record.payload.length)

const kinds = { FindNode: "find_node", FindValue: "find_value" } as const

const outcomes = { Done: "done", Found: "found", NotFound: "not_found", GivenUp: "given_up" } as const

const stepOutcomes = { Answered: "answered", Failed: "failed", Unanswered: "unanswered" } as const

const replicaOutcomes = {
  Stored: "stored",
  Refused: "refused",
  Unwanted: "unwanted",
  Kept: "kept",
  Lost: "lost",
  Superseded: "superseded",
  Full: "full",
  Failed: "failed"
} as const

/** Rounds to microseconds. */
const millis = (time: number): number => Math.round(time * 1000) / 1000

const goal = (query: number, { kind, target, type }: NodeEvents.QueryGoal) => ({
  query,
  kind: kinds[kind],
  target_hex: target,
  rec_type: type ?? null
})

const ending = (trace: NodeEvents.QueryTrace) => ({
  duration_ms: millis(trace.durationMillis),
  outcome: outcomes[trace.outcome],
  requests: trace.steps.length,
  records: trace.records,
  closest: trace.closest.map(peer)
})

const step = (step: NodeEvents.QueryStep): typeof Api.QueryStep.Type => ({
  peer: peer(step.contact),
  learned_from_hex: step.learnedFrom ?? null,
  depth: step.depth,
  common_prefix_length: step.commonPrefixLength,
  asked_after_ms: millis(step.askedAfterMillis),
  took_ms: step.tookMillis === undefined ? null : millis(step.tookMillis),
  outcome: stepOutcomes[step.outcome],
  holds_record: step.holdsRecord,
  closer_nodes: step.closerNodes
})

/**
 * @category conversions
 * @since 0.1.0
 */
export const queryEvent = (event: NodeEvents.QueryEvent): typeof Api.QueryEvent.Type => {
  const at_ms = event.at
  switch (event._tag) {
    case "QueryStarted":
      return { type: "query-started", at_ms, ...goal(event.query, event) }
    case "QueryStepped":
      return { type: "query-stepped", at_ms, query: event.query, step: step(event.step) }
    case "QueryEnded":
      return { type: "query-ended", at_ms, ...goal(event.trace.query, event.trace), ...ending(event.trace) }
  }
}

const eventTypes = {
  PeerAdded: "peer-added",
  PeerRemoved: "peer-removed",
  RecordStored: "record-stored",
  RecordRemoved: "record-removed",
  PublicationStarted: "publication-started",
  PublicationRenewed: "publication-renewed",
  PublicationEnded: "publication-ended",
  KeySurrounded: "key-surrounded",
  AnnouncementStarted: "announcement-started",
  AnnouncementEnded: "announcement-ended"
} as const

/**
 * @category conversions
 * @since 0.1.0
 */
export const event = (event: NodeEvents.Event): typeof Api.Event.Type => {
  const at_ms = event.at
  switch (event._tag) {
    case "QueryStarted":
    case "QueryStepped":
    case "QueryEnded":
      return queryEvent(event)
    case "PeerAdded":
    case "PeerRemoved":
      return { type: eventTypes[event._tag], at_ms, peer: peer(event.contact), bucket: event.bucket }
    case "ReplicaReported":
      return {
        type: "replica-reported",
        at_ms,
        record: recordRow(event.key, event.record),
        peer: peer(event.contact),
        outcome: replicaOutcomes[event.outcome]
      }
    case "IdentityConflict":
      return { type: "identity-conflict", at_ms, ip: event.address.host, port: event.address.port }
    default:
      return { type: eventTypes[event._tag], at_ms, record: recordRow(event.key, event.record) }
  }
}

/**
 * A record with its contents, as far as they can be decoded.
 *
 * @category conversions
 * @since 0.1.0
 */
export const foundRecord = (key: NodeId.NodeId, record: Record.SignedRecord): typeof Parts.FoundRecord.Type => {
  const row = recordRow(key, record)
  const unreadable = { record: row, title: `undecodable ${row.type_name}` }
  switch (record.type) {
    case Record.RecordType.endpoint:
      return Result.match(Endpoint.decode(record.payload), {
        onFailure: () => unreadable,
        onSuccess: ({ endpoints }) => {
          const texts = endpoints ?? []
          return { record: row, title: texts.length === 0 ? "no endpoint" : texts.join(", "), endpoints: texts }
        }
      })
    case Record.RecordType.topic:
      return Result.match(Topic.decode(record.payload), {
        onFailure: () => unreadable,
        onSuccess: ({ brief, name, protocols, tags, topic }) => ({
          record: row,
          title: topic,
          topic,
          name,
          brief,
          protocols: protocols ?? [],
          tags: tags ?? []
        })
      })
    case Record.RecordType.profile:
      return Result.match(Profile.decode(record.payload), {
        onFailure: () => unreadable,
        onSuccess: ({ brief, name, protocols, skills }) => ({
          record: row,
          title: name === "" ? "no name" : name,
          name,
          brief,
          protocols,
          skills
        })
      })
    case Record.RecordType.mailbox:
      return { record: row, title: `message to ${key.slice(0, 8)}…` }
    default:
      return { record: row, title: `${row.type_name} type ${record.type}`, ...contents(record.payload) }
  }
}

/**
 * A payload of any form.
 *
 * @category conversions
 * @since 0.1.0
 */
export const contents = (payload: Uint8Array): Pick<typeof Parts.FoundRecord.Type, "value" | "payload_hex"> => {
  const value = Values.toJson(payload, Record.maxResolvableSize)
  return value === undefined ? { payload_hex: Hex.encode(payload) } : { value }
}

/**
 * The classes of a histogram, each without those below.
 *
 * @category conversions
 * @since 0.1.0
 */
export const classes = ({ buckets, count, max }: Metric.HistogramState): Classes => {
  const upTo = [...buckets.map(([, count]) => count), count]
  return {
    bounds: buckets.map(([bound]) => bound),
    counts: upTo.map((count, i) => i === 0 ? count : count - upTo[i - 1]),
    max
  }
}

const histogram = (state: Metric.HistogramState): typeof Api.Histogram.Type => {
  const { count, min, sum } = state
  const values = classes(state)
  const at = (q: number) => quantile(values, q) ?? null
  return { ...values, count, sum, min, p50: at(0.5), p95: at(0.95) }
}

// --- The documents of the reference --------------------------------------------------

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
 * An element of `/debug/store`, with 64-bit integers.
 *
 * @category models
 * @since 0.1.0
 */
export type StoredRecord = {
  readonly key_node_id_hex: string
  readonly address_hex: string
  readonly rec_type: number
  readonly seq: bigint
  readonly timestamp: bigint
  readonly ttl_seconds: number
  readonly payload_cbor_len: number
}

const countRecords = (counts: ReadonlyArray<Store.Count>): number => counts.reduce((sum, { count }) => sum + count, 0)

/**
 * `/debug/store` with its headers: the total number of records and the position
 * of the next page.
 *
 * @category documents
 * @since 0.1.0
 */
export const store = Effect.fnUntraced(function*({ after, limit }: Lists.Part): Effect.fn.Return<
  { readonly records: ReadonlyArray<StoredRecord>; readonly total: number; readonly next: string | null },
  never,
  Store.Store
> {
  const store = yield* Store.Store
  const { next, rows } = yield* store.page({ limit, from: storePlaceOf(after) })
  return {
    records: yield* Lists.inSteps(rows, (row) => ({
      key_node_id_hex: row.key,
      address_hex: row.address,
      rec_type: row.type,
      seq: row.seq,
      timestamp: row.timestamp,
      ttl_seconds: row.ttl,
      payload_cbor_len: row.payloadLength
    })),
    total: countRecords(yield* store.counts),
    next: storeNext(next)
  }
})

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
 * `/debug/queries`.
 *
 * @category documents
 * @since 0.1.0
 */
export const queries = Effect.fnUntraced(function*(
  limit: number
): Effect.fn.Return<typeof Api.Queries.Type, never, NodeEvents.NodeEvents> {
  const queries = yield* (yield* NodeEvents.NodeEvents).queries
  return {
    kept: NodeEvents.keptQueries,
    total: queries.length,
    queries: yield* Lists.inSteps(queries.slice(0, limit), (trace) => ({
      ...goal(trace.query, trace),
      started_at_ms: trace.startedAt,
      ...ending(trace),
      steps: trace.steps.map(step)
    }))
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
      ...foundRecord(key, record),
      renews_at: renewed.has(record) ? renewsAt(record) : null,
      standing: renewed.get(record) ?? false,
      replicas: replicas.map(({ contact, isConfirmed, isSuspect }) => ({
        peer: peer(contact),
        state: isSuspect ? "suspect" as const : isConfirmed ? "confirmed" as const : "unconfirmed" as const
      })),
      full: full.length,
      surrounded: isSurrounded
    })),
    next: replicationNext(next)
  }
})

/**
 * When an announcement renews this record, in Unix seconds.
 *
 * @category conversions
 * @since 0.1.0
 */
export const renewsAt = (record: Record.SignedRecord): string => String(Math.floor(Record.renewsAt(record)))

// --- Documents of the dashboard --------------------------------------------------------

const traffic: Effect.Effect<typeof Api.Traffic.Type, never, Rpc> = Effect.gen(function*() {
  const rpc = yield* Rpc
  const { inSessions, refusedBy, ...counts } = yield* rpc.traffic
  return { ...counts, in_sessions: inSessions, refused_by: refusedBy, pending: yield* rpc.pending }
})

/**
 * The event `traffic`.
 *
 * @category documents
 * @since 0.1.0
 */
export const trafficEvent: Effect.Effect<typeof Api.Event.Type, never, Routing.Routing | Rpc | Store.Store> = Effect
  .gen(
    function*() {
      const routing = yield* Routing.Routing
      const store = yield* Store.Store
      return {
        type: "traffic",
        at_ms: yield* Clock.currentTimeMillis,
        traffic: yield* traffic,
        contacts: yield* routing.size,
        keys: yield* store.size
      }
    }
  )

/**
 * `/v1/traffic`.
 *
 * @category documents
 * @since 0.1.0
 */
export const trafficReport: Effect.Effect<typeof Api.TrafficReport.Type, never, NodeEvents.NodeEvents | Rpc> = Effect
  .gen(function*() {
    const { queryTimes, requestTimes } = yield* NodeEvents.NodeEvents
    return {
      at_ms: yield* Clock.currentTimeMillis,
      traffic: yield* traffic,
      requests: NodeEvents.requests.map((request) => ({
        request,
        answered: histogram(requestTimes[request].answered.read()),
        failed: histogram(requestTimes[request].failed.read())
      })),
      queries: (["FindNode", "FindValue"] as const).map((kind) => ({
        kind: kinds[kind],
        duration: histogram(queryTimes[kind].duration.read()),
        requests: histogram(queryTimes[kind].requests.read())
      }))
    }
  })

/**
 * `/health/live`.
 *
 * @category documents
 * @since 0.1.0
 */
export const live: typeof Api.Live.Type = { live: true }

const privacyOf = ({ network: { hasKey, name } }: NodeSettings["Service"]) => ({ name: name ?? null, has_key: hasKey })

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
  ): Effect.fn.Return<typeof Api.Health.Type, never, Bootstrap | Dht | NodeSettings | Routing.Routing> {
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
      verified_contacts_1h: verified
    }
  }
)

const persistence = Effect.gen(function*() {
  const { isLasting, status } = yield* Persistence
  const { degraded, dropped, queued, written } = yield* status
  // Degraded persistence is reported, unlike persistence that is not configured.
  if (!isLasting && degraded === undefined) return null
  return { degraded: degraded ?? null, queued, written, dropped }
})

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
    Bootstrap | Dht | NodeSettings | Reachability
  > {
    const dht = yield* Dht
    const { lastAttempt, membership } = yield* Bootstrap
    const attempt = yield* lastAttempt
    const reachability = yield* Reachability
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
      mapping: yield* reachability.mapping
    }
  }
)

const memberships = { Alone: "alone", First: "first", Joined: "joined" } as const

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
    ready: (yield* health(first)).ready,
    identity: { address: Address.format(dht.address), node_id_hex: dht.nodeId },
    agent: Address.format(dht.agent),
    name: yield* nameOf(dht.agent, yield* announcements),
    writes,
    pages,
    reachability: {
      local_addr: SocketAddress.format(dht.localAddress),
      local_addrs: dht.localAddresses.map(SocketAddress.format),
      public_host: (yield* reachability.publicHost) ?? null,
      observed_addr: observed === undefined ? null : SocketAddress.format(observed),
      mapping: yield* reachability.mapping
    },
    passive: yield* Ref.get(settings.passive),
    network: {
      ...privacyOf(settings),
      estimated_size: stats.network.size,
      confidence: stats.network.confidence,
      contacts: stats.contacts,
      verified_contacts_1h: stats.verifiedContacts,
      reach_1h: stats.seen.hour,
      reach_24h: stats.seen.day,
      reach_7d: stats.seen.week,
      unique_since_start: yield* (yield* SeenPeers).uniqueSinceStart
    },
    traffic: yield* traffic,
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
        peer: peer(contact),
        heard_ms_ago: verifiedAt === undefined ? null : Math.max(0, now - verifiedAt),
        fresh: verifiedAt !== undefined && verifiedAt > now - Routing.freshMillis,
        added_ms_ago: Math.max(0, now - addedAt),
        learned_from_hex: learnedFrom ?? null,
        health: yield* health.state(contact.id),
        rtt_ms: Option.isNone(rtt) ? null : millis(Duration.toMillis(rtt.value))
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

/**
 * `/v1/store`.
 *
 * @category documents
 * @since 0.1.0
 */
export const storeReport = Effect.fnUntraced(function*(
  { after, limit, type }: Lists.Part & { readonly type?: number | undefined }
): Effect.fn.Return<typeof Api.StoreReport.Type, never, Store.Store> {
  const store = yield* Store.Store
  const { next, rows } = yield* store.page({ limit, from: storePlaceOf(after), type })
  const counts = yield* store.counts
  return {
    keys: yield* store.size,
    records: countRecords(counts),
    by_type: counts.map(({ count, type }) => ({
      rec_type: type,
      type_name: typeName(type),
      records: count
    })),
    listed: yield* Lists.inSteps(rows, (held) => row(held.key, held, held.payloadLength)),
    next: storeNext(next)
  }
})
