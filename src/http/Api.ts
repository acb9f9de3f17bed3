/**
 * The HTTP interface of a node: the contract of every route as an `HttpApi`,
 * from which `HttpApiClient` derives clients and `/openapi.json` is generated.
 *
 * The documents at `/debug/identity`, `/debug/routing`, `/debug/store` and
 * `/debug/stats` have the paths and field names of the Go reference, so that its
 * tools work; the others follow the same conventions. Texts in records, and ids
 * and addresses reported by peers, are untrusted.
 *
 * @module
 * @since 0.1.0
 */
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { refusals } from "../internal/refusal.ts"
import { version } from "../internal/version.ts"
import { Explained, Owner } from "./Checks.ts"
import * as GatewayApi from "./GatewayApi.ts"
import { HostedGroup, HostingStatus } from "./HostedApi.ts"
import {
  Count,
  described,
  FoundRecord,
  limitOf,
  maxListed,
  Millis,
  Next,
  partOf,
  Peer,
  reachable,
  RecordRow,
  Seconds,
  Texts,
  Uint64
} from "./Parts.ts"
import { problems } from "./Problem.ts"

export {
  Agent,
  Announcement,
  Announcements,
  Letter,
  Mailbox,
  Network,
  Note,
  NoteEvent,
  Offer,
  Published,
  Records,
  SignedRecord,
  Topic,
  TopicEvent
} from "./GatewayApi.ts"
export {
  HostChange,
  HostedEvent,
  HostedIdentities,
  HostedIdentity,
  HostedMailbox,
  HostedRow,
  HostingStatus,
  HostRequest
} from "./HostedApi.ts"
export { FoundRecord, maxListed, Peer, RecordRow } from "./Parts.ts"

// --- Paging ----------------------------------------------------------------------

/**
 * Default number of elements of each list.
 *
 * @category constants
 * @since 0.1.0
 */
export const listed = {
  routing: maxListed,
  debugStore: maxListed,
  queries: 64,
  replication: 100,
  store: 500,
  history: 720
} as const

// --- The documents of the reference --------------------------------------------

/**
 * `/debug/identity`: the node's identity and bound address.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Identity = Schema.Struct({
  address: Schema.String.pipe(described("Canonical text")),
  node_id_hex: Schema.String,
  local_addr: Schema.String.pipe(described("host:port"))
})

/**
 * `/debug/routing`: the routing table, bucket by bucket, farthest contacts
 * first.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RoutingTable = Schema.Struct({
  self_node_id_hex: Schema.String,
  peers: Schema.Array(Schema.Struct({
    bucket: Count.pipe(described("Number of leading bits that the peer's id shares with ours")),
    xor_distance_to_self_hex: Schema.String,
    address_hex: Schema.String.pipe(described("42 hex digits")),
    node_id_hex: Schema.String,
    ip: Schema.String,
    port: Count,
    verified_ago: Schema.optionalKey(Schema.String).pipe(
      described(
        "Time since the peer was last heard from, in whole seconds, such as 62s. Absent for unverified contacts"
      )
    )
  })),
  total_peers: Count.pipe(described("Includes those not listed"))
})

/**
 * One element of `/debug/store`: a record that the node holds. The reference
 * writes `seq` and `timestamp` as numbers.
 *
 * @category schemas
 * @since 0.1.0
 */
export const StoredRecord = Schema.Struct({
  key_node_id_hex: Schema.String,
  address_hex: Schema.String.pipe(described("42 hex digits")),
  rec_type: Count,
  seq: Uint64,
  timestamp: Seconds,
  ttl_seconds: Count,
  payload_cbor_len: Count
})

/**
 * `/debug/stats`: figures of the node.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Stats = Schema.Struct({
  rx_packets_verified: Count,
  tx_packets: Count,
  rpc_completed: Count,
  total_peers: Count,
  reach_1h: Count.pipe(described("Distinct nodes heard from within the last hour")),
  reach_24h: Count,
  reach_7d: Count,
  estimated_network_size: Schema.Finite,
  estimate_confidence: Schema.Finite.pipe(described("0 to 1")),
  verified_peers_1h: Count,
  unique_nodes_since_start: Count
})

/**
 * One request of a query.
 *
 * @category schemas
 * @since 0.1.0
 */
export const QueryStep = Schema.Struct({
  peer: Peer,
  learned_from_hex: Schema.NullOr(Schema.String).pipe(
    described("Node id of the peer's referrer; null for a contact of our own")
  ),
  depth: Count.pipe(described("0 for a contact of our own, otherwise one more than its referrer's")),
  common_prefix_length: Count.pipe(described("Number of leading bits that the peer's id shares with the target")),
  asked_after_ms: Schema.Finite.pipe(described("Milliseconds from the start of the query to the request")),
  took_ms: Schema.NullOr(Schema.Finite).pipe(
    described("Milliseconds to the outcome; null while the request is pending")
  ),
  outcome: Schema.Literals(["answered", "failed", "unanswered"]),
  holds_record: Schema.Boolean,
  closer_nodes: Count.pipe(described("Number of nodes in its response that are closer to the target than itself"))
})

const goal = {
  query: Count.pipe(described("Sequence number of the query on this node")),
  kind: Schema.Literals(["find_node", "find_value"]),
  target_hex: Schema.String,
  rec_type: Schema.NullOr(Count).pipe(described("0 for any type; null for find_node"))
}

const ending = {
  duration_ms: Schema.Finite,
  outcome: Schema.Literals(["done", "found", "not_found", "given_up"]),
  requests: Count,
  records: Count.pipe(described("Number of valid records found, the node's own included")),
  closest: Schema.Array(Peer).pipe(described("The closest responsive nodes, nearest first"))
}

/**
 * A completed query with its requests.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Query = Schema.Struct({
  ...goal,
  started_at_ms: Millis,
  ...ending,
  steps: Schema.Array(QueryStep)
})

/**
 * `/debug/queries`: the most recently completed queries, newest first.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Queries = Schema.Struct({
  kept: Count.pipe(described("Maximum number of queries kept")),
  total: Count.pipe(described("Number of queries kept, including those not listed")),
  queries: Schema.Array(Query)
})

/**
 * `/debug/replication`: the node's own records whose copies it maintains, those
 * with the fewest copies first.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Replication = Schema.Struct({
  wanted: Count.pipe(described("Number of copies wanted of each record")),
  total: Count.pipe(described("Number of records, including those not listed")),
  complete: Count.pipe(described("Records with all wanted copies confirmed")),
  uncopied: Count.pipe(described("Records without a confirmed copy")),
  messages: Schema.Struct({ total: Count, complete: Count }).pipe(described("Those of the records that are messages")),
  full: Count.pipe(described("Records with too few copies because nodes close to the key have no room")),
  surrounded: Count.pipe(described("Records whose keys are surrounded more closely than chance allows")),
  records: Schema.Array(Schema.Struct({
    ...FoundRecord.fields,
    renews_at: Schema.NullOr(Seconds).pipe(
      described("Unix seconds; null for a record that is published once and not renewed")
    ),
    standing: Schema.Boolean.pipe(described("Whether it is announced over HTTP, where it can be withdrawn")),
    replicas: Schema.Array(Schema.Struct({
      peer: Peer,
      state: Schema.Literals(["confirmed", "unconfirmed", "suspect"])
    })).pipe(described("Nearest first")),
    full: Count.pipe(described("Nodes close to the key that have no room for it there")),
    surrounded: Schema.Boolean.pipe(
      described("Whether nodes surround the key more closely than chance allows; then a whole region has copies")
    )
  })),
  next: Next
})

/**
 * Datagrams and requests since the node started.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Traffic = Schema.Struct({
  received: Count.pipe(described("Datagrams with a valid signature or MAC")),
  in_sessions: Count.pipe(described("Those of them with a MAC")),
  sent: Count,
  refused: Count.pipe(described("Datagrams rejected")),
  refused_by: Schema.Record(Schema.Literals(refusals), Count).pipe(
    described(
      "Rejected datagrams by reason: a late or repeated response, an unsolicited response, a malformed message, a message " +
        "of an unknown type, an oversized datagram, an unreachable source address, an invalid signature, an invalid MAC, " +
        "a source in an excluded network, or overload: more datagrams at a time than the node accepts"
    )
  ),
  completed: Count.pipe(described("Our requests that were answered")),
  pending: Count.pipe(described("Our requests in flight"))
})

const privacy = {
  name: Schema.NullOr(Schema.String).pipe(described("Name of the private network that the node belongs to")),
  has_key: Schema.Boolean.pipe(described("Whether it takes a secret key to belong to the network"))
}

/**
 * `/v1/overview`: the node at a glance.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Overview = Schema.Struct({
  at_ms: Millis,
  started_at_ms: Millis.pipe(described("Start of the HTTP server, in Unix milliseconds")),
  ready: Schema.Boolean,
  identity: Schema.Struct({ address: Schema.String, node_id_hex: Schema.String }),
  agent: Schema.String.pipe(
    described("Address that the node publishes for: its own, or the one that delegated to its key")
  ),
  name: Schema.NullOr(Schema.String).pipe(described("Name in the profile that the agent announces; null without one")),
  writes: Schema.Literals(["open", "token", "closed"]).pipe(
    described("Which requests may act for the node: all, those with its token, or none, since it has no token")
  ),
  pages: Schema.Array(Schema.Struct({ name: Schema.String, url: Schema.String })).pipe(
    described("Pages of the nodes in the same process, this one included; empty unless there are several")
  ),
  reachability: Schema.Struct({
    local_addr: Schema.String.pipe(described("Bound address of the transport, host:port; the widest of several")),
    local_addrs: Texts.pipe(described("All bound addresses")),
    public_host: Schema.NullOr(Schema.String),
    ...reachable,
    observed_addr: Schema.NullOr(Schema.String).pipe(described("The node's address as peers observe it, host:port")),
    mapping: Schema.Literals(["consistent", "symmetric", "unknown"]).pipe(
      described("How the NAT between the node and its peers maps its port")
    )
  }),
  passive: Schema.Boolean,
  network: Schema.Struct({
    ...privacy,
    estimated_size: Schema.Finite,
    confidence: Schema.Finite.pipe(described("0 to 1")),
    contacts: Count,
    verified_contacts_1h: Count,
    reach_1h: Count,
    reach_24h: Count,
    reach_7d: Count,
    unique_since_start: Count
  }),
  traffic: Traffic,
  store: Schema.Struct({
    keys: Count,
    bytes: Count.pipe(described("Of memory, for the records and what they cost beside their own bytes")),
    max_bytes: Count,
    subscriptions: Count
  }),
  publishing: Schema.Struct({
    announcements: Count,
    records: Count,
    messages: Count.pipe(described("Number of these records that are messages")),
    complete: Count.pipe(described("Records with all wanted copies confirmed")),
    confirmed_replicas: Count,
    wanted_replicas: Count.pipe(described("Total over all records"))
  }),
  hosting: Schema.NullOr(HostingStatus).pipe(described("Null for a node that hosts no identities")),
  persistence: Schema.NullOr(Schema.Struct({
    degraded: Schema.NullOr(Schema.String).pipe(described("Why writing is suspended; null if it is not")),
    queued: Count,
    written: Count,
    dropped: Count
  })).pipe(described("Null for a node that stores nothing on disk"))
})

/**
 * `/v1/buckets`: the non-empty buckets of the routing table, out of 256.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Buckets = Schema.Struct({
  self_node_id_hex: Schema.String,
  k: Count.pipe(described("Capacity of a bucket")),
  buckets: Schema.Array(Schema.Struct({
    bucket: Count.pipe(described("Number of leading bits that the ids share with ours, 0 to 255")),
    waiting: Count.pipe(described("Number of unverified contacts waiting for a place")),
    contacts: Schema.Array(Schema.Struct({
      peer: Peer,
      heard_ms_ago: Schema.NullOr(Schema.Finite).pipe(described("Null for an unverified contact")),
      fresh: Schema.Boolean.pipe(described("Heard from within the last half hour")),
      added_ms_ago: Schema.Finite,
      learned_from_hex: Schema.NullOr(Schema.String),
      health: Schema.Literals(["good", "unknown", "bad"]),
      rtt_ms: Schema.NullOr(Schema.Finite).pipe(
        described("Smoothed round-trip time; null if the contact has never answered")
      )
    })).pipe(described("Least recently seen first"))
  }))
})

/**
 * A histogram.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Histogram = Schema.Struct({
  bounds: Schema.Array(Schema.Finite).pipe(described("Ascending inclusive upper bounds of the classes")),
  counts: Schema.Array(Count).pipe(described("Values per class, and last those above all bounds")),
  count: Count,
  sum: Schema.Finite,
  min: Schema.Finite,
  max: Schema.Finite,
  p50: Schema.NullOr(Schema.Finite).pipe(described("The median, interpolated within its class; null without values")),
  p95: Schema.NullOr(Schema.Finite)
})

/**
 * `/v1/traffic`: datagrams and requests, with latencies. Durations are in
 * seconds.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TrafficReport = Schema.Struct({
  at_ms: Millis,
  traffic: Traffic,
  requests: Schema.Array(Schema.Struct({
    request: Schema.Literals(["Ping", "FindNode", "FindValue", "Store", "Push", "Attend", "Meet"]),
    answered: Histogram,
    failed: Histogram
  })),
  queries: Schema.Array(Schema.Struct({
    kind: Schema.Literals(["find_node", "find_value"]),
    duration: Histogram,
    requests: Histogram.pipe(described("Requests per query"))
  }))
})

const figures = {
  received_per_s: Schema.Finite.pipe(described("Datagrams per second since the sample before")),
  sent_per_s: Schema.Finite,
  refused_per_s: Schema.Finite.pipe(described("Without late responses")),
  p50_ms: Schema.NullOr(Schema.Finite).pipe(
    described("Median response time of the requests of the last half minute; null if none was answered")
  ),
  p95_ms: Schema.NullOr(Schema.Finite),
  contacts: Count,
  estimated_size: Schema.Finite.pipe(described("Estimated number of nodes in the network")),
  keys: Count
}

/**
 * A moment of `/v1/history`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Sample = Schema.Struct({ at_ms: Millis, ...figures })

/**
 * `/v1/history`: the last hour, oldest first. The event `sampled` of
 * `/v1/events` continues it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const History = Schema.Struct({
  interval_ms: Count,
  kept_ms: Count,
  samples: Schema.Array(Sample)
})

/**
 * `/v1/store`: the stored records by key.
 *
 * @category schemas
 * @since 0.1.0
 */
export const StoreReport = Schema.Struct({
  keys: Count,
  records: Count.pipe(
    described("Number of records, including those not listed; expired ones are removed within two minutes")
  ),
  by_type: Schema.Array(Schema.Struct({
    rec_type: Count,
    type_name: RecordRow.fields.type_name,
    records: Count
  })),
  listed: Schema.Array(RecordRow),
  next: Next
})

/**
 * `/health/live`: the process responds. A node cut off from its network is live,
 * because a restart would not reconnect it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Live = Schema.Struct({ live: Schema.Literal(true) })

/**
 * `/health/ready` and `/health`. A node is ready if it has contacts or is the
 * first node of its network.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Health = Schema.Struct({
  live: Schema.Literal(true),
  ready: Schema.Boolean,
  bound: Schema.Boolean,
  local_addrs: Texts.pipe(described("Bound addresses of the node, host:port")),
  first: Schema.Boolean.pipe(
    described("Whether this is the first node of its network, which is ready without contacts")
  ),
  network: Schema.Struct(privacy),
  ...reachable,
  verified_contacts_1h: Count
})

// --- Events ----------------------------------------------------------------------

const event = <const Type extends string, const Fields extends Schema.Struct.Fields>(type: Type, fields: Fields) =>
  Schema.Struct({ type: Schema.Literal(type), at_ms: Millis, ...fields })

/**
 * An event of a query. A step has one event when its request is sent and one
 * when it has its outcome.
 *
 * @category schemas
 * @since 0.1.0
 */
export const QueryEvent = Schema.Union([
  event("query-started", goal),
  event("query-stepped", { query: goal.query, step: QueryStep }),
  event("query-ended", { ...goal, ...ending })
])

/**
 * An event of `/v1/events`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Event = Schema.Union([
  ...QueryEvent.members,
  event("peer-added", { peer: Peer, bucket: Count }),
  event("peer-removed", { peer: Peer, bucket: Count }),
  event("record-stored", { record: RecordRow }),
  event("record-removed", { record: RecordRow }),
  event("publication-started", { record: RecordRow }),
  event("publication-renewed", { record: RecordRow }),
  event("publication-ended", { record: RecordRow }),
  event("key-surrounded", { record: RecordRow }),
  event("replica-reported", {
    record: RecordRow,
    peer: Peer,
    outcome: Schema.Literals(["stored", "refused", "unwanted", "full", "kept", "lost", "superseded", "failed"])
  }),
  event("announcement-started", { record: RecordRow }),
  event("announcement-ended", { record: RecordRow }),
  event("identity-conflict", { ip: Schema.String, port: Count }),
  event("traffic", { traffic: Traffic, contacts: Count, keys: Count }),
  event("sampled", figures)
])

/**
 * A lookup: the records of an address, the offers under a topic, or the nodes
 * closest to a node id.
 *
 * @category schemas
 * @since 0.1.0
 */
export const LookupRequest = Schema.Struct({
  kind: Schema.Literals(["address", "topic", "node_id"]),
  value: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(512)).pipe(
    described("An address as text, a topic, or 64 hex digits")
  )
})

/**
 * An event of a lookup: those of its query, then one with the result.
 *
 * @category schemas
 * @since 0.1.0
 */
export const LookupEvent = Schema.Union([
  ...QueryEvent.members,
  event("lookup-ended", {
    target_hex: Schema.String,
    timed_out: Schema.Boolean,
    closest: Schema.Array(Peer),
    records: Schema.Array(FoundRecord)
  })
])

// --- Routes ------------------------------------------------------------------------

/** The reference's documents have no field for the next page. */
const inHeader = "If there are more elements, the Link header has the URL of the next page (rel=\"next\")"

const storePlace = /^\d{1,15}\.\d{1,4}$/

/**
 * Read-only documents for operators and tools.
 *
 * @category routes
 * @since 0.1.0
 */
export class DebugGroup extends HttpApiGroup.make("debug").add(
  HttpApiEndpoint.get("identity", "/debug/identity", { success: Identity }),
  HttpApiEndpoint.get("routing", "/debug/routing", {
    query: partOf(listed.routing, /^[0-9a-f]{64}$/),
    success: RoutingTable
  }).annotate(OpenApi.Description, `The routing table. ${inHeader}`),
  HttpApiEndpoint.get("store", "/debug/store", {
    query: partOf(listed.debugStore, storePlace),
    success: Schema.Array(StoredRecord)
  }).annotate(
    OpenApi.Description,
    `The stored records. The X-Total-Count header is their number. ${inHeader}`
  ),
  HttpApiEndpoint.get("stats", "/debug/stats", { success: Stats }),
  HttpApiEndpoint.get("queries", "/debug/queries", {
    query: { limit: limitOf(listed.queries) },
    success: Queries
  }),
  HttpApiEndpoint.get("replication", "/debug/replication", {
    query: {
      ...partOf(listed.replication, /^\d\.\d{1,15}$/),
      messages: Schema.optional(Schema.Literals(["only", "none"])).pipe(
        described("Lists only messages, or only other records; all by default")
      )
    },
    success: Replication
  })
).middleware(Explained) {}

/**
 * The documents, events and lookups behind the dashboard, and a copy of the
 * node's state.
 *
 * @category routes
 * @since 0.1.0
 */
export class PageGroup extends HttpApiGroup.make("node").add(
  HttpApiEndpoint.get("overview", "/v1/overview", { success: Overview }),
  HttpApiEndpoint.get("buckets", "/v1/buckets", { success: Buckets }),
  HttpApiEndpoint.get("traffic", "/v1/traffic", { success: TrafficReport }),
  HttpApiEndpoint.get("history", "/v1/history", {
    query: { limit: limitOf(listed.history) },
    success: History
  }).annotate(OpenApi.Description, "The last hour; a limit lists the newest samples only"),
  HttpApiEndpoint.get("store", "/v1/store", {
    query: {
      ...partOf(listed.store, storePlace),
      type: Schema.optional(
        Schema.FiniteFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 1, maximum: 255 }))
      ).pipe(described("Lists only records of this type"))
    },
    success: StoreReport
  }),
  HttpApiEndpoint.post("lookup", "/v1/lookup", {
    payload: LookupRequest,
    success: HttpApiSchema.StreamSse({ data: LookupEvent }),
    error: [problems.BadRequest, problems.TooMany]
  }),
  HttpApiEndpoint.get("events", "/v1/events", {
    success: HttpApiSchema.StreamSse({ data: Event }),
    error: problems.TooMany
  }),
  HttpApiEndpoint.get("backup", "/v1/backup", {
    success: HttpApiSchema.StreamUint8Array({ contentType: "application/vnd.sqlite3" }),
    error: [problems.TooMany, problems.CannotBackUp]
  }).annotate(
    OpenApi.Description,
    "A copy of the node's state as of one moment, in the format of its file: what has to be in its data directory, " +
      "besides the key, for another start"
  ).middleware(Owner)
).middleware(Explained) {}

const readiness = { success: Health, error: Health.pipe(HttpApiSchema.status(503)) }

/**
 * Health and metrics.
 *
 * @category routes
 * @since 0.1.0
 */
export class OperationsGroup extends HttpApiGroup.make("operations").add(
  HttpApiEndpoint.get("live", "/health/live", { success: Live }).annotate(
    OpenApi.Description,
    "200 as long as the process responds, with or without contacts: for a supervisor that restarts unresponsive processes"
  ),
  HttpApiEndpoint.get("ready", "/health/ready", readiness).annotate(
    OpenApi.Description,
    "200 if the node has contacts or is the first of its network, otherwise 503: for a load balancer that selects " +
      "nodes able to serve clients"
  ),
  HttpApiEndpoint.get("health", "/health", readiness).annotate(
    OpenApi.Description,
    "The facts behind both, with the status of /health/ready: for operators and monitoring, not for restarting the node"
  ),
  HttpApiEndpoint.get("metrics", "/metrics", {
    success: Schema.String.pipe(HttpApiSchema.asText({ contentType: "text/plain; version=0.0.4; charset=utf-8" }))
  })
) {}

/**
 * All routes except the page at `/`.
 *
 * @category routes
 * @since 0.1.0
 */
export class Api extends HttpApi.make("effect-dht")
  .add(DebugGroup)
  .add(PageGroup)
  .add(OperationsGroup)
  .add(GatewayApi.NetworkGroup)
  .add(GatewayApi.AnnouncementsGroup)
  .add(GatewayApi.ExchangeGroup)
  .add(HostedGroup)
  // A misspelled member would be left out, and replace what is announced by less.
  .annotate(HttpApi.PayloadParseOptions, { onExcessProperty: "error" })
  .annotate(HttpApi.QueryParseOptions, { onExcessProperty: "error" })
  .annotateMerge(OpenApi.annotations({
    title: "effect-dht",
    version,
    description:
      "The network through a running node, and the state of that node. Requests that act for the node need " +
      "its token: Authorization: Bearer …. If others can reach the node, every request except those below /health does. " +
      "Errors are problem documents (RFC 9457)"
  }))
{}

/**
 * The path of the OpenAPI document.
 *
 * @category constants
 * @since 0.1.0
 */
export const openApiPath = "/openapi.json"
