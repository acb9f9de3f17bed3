/**
 * What a node says over HTTP: the contract of every route, as an `HttpApi` of
 * Effect. Clients are made from it (`HttpApiClient`), and `/openapi.json`.
 *
 * The documents at `/debug/identity`, `/debug/routing`, `/debug/store` and
 * `/debug/stats` have the paths and the field names of the Go reference, so
 * that its tools work; the others follow their manner. Ids and addresses of
 * others come as they were said: whoever shows a text of a record has strangers
 * for authors.
 *
 * @since 0.1.0
 */
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { refusals } from "../internal/refusal.ts"

const described = (description: string) => <S extends Schema.Top>(self: S): S["Rebuild"] =>
  self.annotate({ description })

// --- Parts of long lists ---------------------------------------------------------

/**
 * The most elements that one answer lists; the rest is for the next request.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxListed = 1000

const limitOf = (byDefault: number) =>
  Schema.optional(
    Schema.FiniteFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 0, maximum: maxListed }))
  ).pipe(described(`Elements to list, by default ${byDefault}`))

/** The query of a list that is read in parts, each of which says in `next` what the next one is `after`. */
const partOf = (byDefault: number, place: RegExp) => ({
  limit: limitOf(byDefault),
  after: Schema.optional(Schema.String.check(Schema.isPattern(place))).pipe(
    described("Lists what comes after this place, as the part before says it")
  )
})

const Next = Schema.NullOr(Schema.String).pipe(described("What the next part is `after`; null where this is the last"))

/**
 * How many elements each list has unless the request says otherwise.
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
  announcements: 100
} as const

const Millis = Schema.Finite.pipe(described("Unix milliseconds"))
const Count = Schema.Int

/** What has 64 bits on the wire: most readers of JSON round a number beyond 2^53. */
const Uint64 = Schema.String.check(Schema.isPattern(/^[0-9]{1,20}$/)).pipe(
  described("An integer of 64 bits, in decimal digits")
)
const Seconds = Uint64.pipe(described("Unix seconds, an integer of 64 bits in decimal digits"))

// --- The documents of the reference --------------------------------------------

/**
 * `/debug/identity`: who the node is and where it is bound.
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
 * `/debug/routing`: the routing table, the farthest from us first, and so
 * bucket by bucket.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RoutingTable = Schema.Struct({
  self_node_id_hex: Schema.String,
  peers: Schema.Array(Schema.Struct({
    bucket: Count.pipe(described("How many leading bits the peer's id shares with ours")),
    xor_distance_to_self_hex: Schema.String,
    address_hex: Schema.String.pipe(described("42 hex digits")),
    node_id_hex: Schema.String,
    ip: Schema.String,
    port: Count,
    verified_ago: Schema.optionalKey(Schema.String).pipe(
      described("How long ago the peer was last heard from, in whole seconds: 62s. Absent for unverified")
    )
  })),
  total_peers: Count.pipe(described("Those not listed included"))
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
 * `/debug/stats`: the node in figures.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Stats = Schema.Struct({
  rx_packets_verified: Count,
  tx_packets: Count,
  rpc_completed: Count,
  total_peers: Count,
  reach_1h: Count.pipe(described("Different nodes heard from within an hour")),
  reach_24h: Count,
  reach_7d: Count,
  estimated_network_size: Schema.Finite,
  estimate_confidence: Schema.Finite.pipe(described("0 to 1")),
  verified_peers_1h: Count,
  unique_nodes_since_start: Count
})

// --- What the other documents are made of ----------------------------------------

/**
 * A node as others name it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Peer = Schema.Struct({
  node_id_hex: Schema.String,
  address: Schema.String.pipe(described("Canonical text")),
  ip: Schema.String,
  port: Count
})

/**
 * A record, without its payload.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RecordRow = Schema.Struct({
  key_node_id_hex: Schema.String,
  address: Schema.String.pipe(described("Who it is of, canonical text")),
  rec_type: Count,
  type_name: Schema.Literals(["endpoint", "profile", "topic", "mailbox", "custom", "reserved"]),
  seq: Uint64,
  timestamp: Seconds,
  ttl_seconds: Count,
  expires_at: Seconds,
  payload_cbor_len: Count
})

const Texts = Schema.Array(Schema.String)

/**
 * A record, and what it says as far as this node can read it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const FoundRecord = Schema.Struct({
  record: RecordRow,
  title: Schema.String.pipe(described("What it says, in one line for people")),
  endpoints: Schema.optionalKey(Texts),
  topic: Schema.optionalKey(Schema.String),
  name: Schema.optionalKey(Schema.String),
  brief: Schema.optionalKey(Schema.String),
  protocols: Schema.optionalKey(Texts),
  tags: Schema.optionalKey(Texts),
  skills: Schema.optionalKey(Texts)
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
    described("The node id of who told of the peer, null for a contact of our own")
  ),
  depth: Count.pipe(described("0 for a contact of our own, one more than its referrer's for a learned one")),
  common_prefix_length: Count.pipe(described("Leading bits that the peer's id shares with the target")),
  asked_after_ms: Schema.Finite.pipe(described("From the start of the query")),
  took_ms: Schema.NullOr(Schema.Finite).pipe(described("Null while it waits for the answer")),
  outcome: Schema.Literals(["answered", "failed", "unanswered"]),
  holds_record: Schema.Boolean,
  closer_nodes: Count.pipe(described("Nodes closer to the target than itself that it told of"))
})

const goal = {
  query: Count.pipe(described("Counts the queries of this node")),
  kind: Schema.Literals(["find_node", "find_value"]),
  target_hex: Schema.String,
  rec_type: Schema.NullOr(Count).pipe(described("0 for any; null where nodes are looked for"))
}

const ending = {
  duration_ms: Schema.Finite,
  outcome: Schema.Literals(["done", "found", "not_found", "given_up"]),
  requests: Count,
  records: Count.pipe(described("Valid records found, the node's own included")),
  closest: Schema.Array(Peer).pipe(described("The closest live nodes, nearest first"))
}

/**
 * A query that ended, and whom it asked.
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
 * `/debug/queries`: the queries that ended last, the last one first.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Queries = Schema.Struct({
  kept: Count.pipe(described("How many are kept at most")),
  total: Count.pipe(described("How many are kept now, those not listed included")),
  queries: Schema.Array(Query)
})

/**
 * `/debug/replication`: the records of our own whose copies are looked after,
 * those with the fewest copies first.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Replication = Schema.Struct({
  wanted: Count.pipe(described("How many nodes shall hold a copy of each")),
  total: Count.pipe(described("Records, those not listed included")),
  complete: Count.pipe(described("Those with as many confirmed copies as are wanted")),
  uncopied: Count.pipe(described("Those without a confirmed copy")),
  full: Count.pipe(described("Those with too few copies, while nodes close to the key have no room")),
  surrounded: Count.pipe(described("Those whose keys are surrounded more closely than chance allows")),
  records: Schema.Array(Schema.Struct({
    ...FoundRecord.fields,
    renews_at: Schema.NullOr(Seconds).pipe(
      described("Unix seconds; null for a record that was published once and is left to expire")
    ),
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
  received: Count.pipe(described("Datagrams whose signature was good")),
  sent: Count,
  refused: Count.pipe(described("Datagrams that were not taken")),
  refused_by: Schema.Record(Schema.Literals(refusals), Count).pipe(
    described(
      "The same by reason: an answer that came late or again, one that nobody awaits, no message of the protocol, one " +
        "of an unknown type, one that is too large, one from an address that nothing can be sent to, one that is " +
        "wrongly signed, or more at a time than are taken"
    )
  ),
  completed: Count.pipe(described("Requests of ours that were answered")),
  pending: Count.pipe(described("Requests of ours that wait for an answer"))
})

/**
 * `/api/overview`: the node at a glance.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Overview = Schema.Struct({
  at_ms: Millis,
  started_at_ms: Millis.pipe(described("When the HTTP server started, in Unix milliseconds")),
  ready: Schema.Boolean,
  identity: Schema.Struct({ address: Schema.String, node_id_hex: Schema.String }),
  agent: Schema.String.pipe(
    described("Whose records the node publishes: its own address, or the one that delegated to its key")
  ),
  reachability: Schema.Struct({
    local_addr: Schema.String.pipe(described("Where the transport is bound, host:port")),
    public_host: Schema.NullOr(Schema.String),
    observed_addr: Schema.NullOr(Schema.String).pipe(described("As others see the node, host:port")),
    mapping: Schema.Literals(["consistent", "symmetric", "unknown"]).pipe(
      described("How a router between us and the others maps our port")
    )
  }),
  passive: Schema.Boolean,
  network: Schema.Struct({
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
    confirmed_replicas: Count,
    wanted_replicas: Count.pipe(described("Of all records together"))
  }),
  persistence: Schema.NullOr(Schema.Struct({
    degraded: Schema.NullOr(Schema.String).pipe(described("Why nothing is written at the moment")),
    queued: Count,
    written: Count,
    dropped: Count
  })).pipe(described("Null where nothing is kept over a restart"))
})

/**
 * `/api/buckets`: the buckets of the routing table that are not empty; there
 * are 256.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Buckets = Schema.Struct({
  self_node_id_hex: Schema.String,
  k: Count.pipe(described("Contacts that a bucket has room for")),
  buckets: Schema.Array(Schema.Struct({
    bucket: Count.pipe(described("How many leading bits the ids share with ours, 0 to 255")),
    waiting: Count.pipe(described("Contacts known by unverified that wait for a place")),
    contacts: Schema.Array(Schema.Struct({
      peer: Peer,
      heard_ms_ago: Schema.NullOr(Schema.Finite).pipe(described("Null for unverified")),
      fresh: Schema.Boolean.pipe(described("Heard from within half an hour")),
      added_ms_ago: Schema.Finite,
      learned_from_hex: Schema.NullOr(Schema.String),
      health: Schema.Literals(["good", "unknown", "bad"]),
      rtt_ms: Schema.NullOr(Schema.Finite).pipe(described("Smoothed; null if it never answered"))
    })).pipe(described("The least recently seen first"))
  }))
})

/**
 * Values counted in classes.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Histogram = Schema.Struct({
  bounds: Schema.Array(Schema.Finite).pipe(described("Ascending; each belongs to the class below it")),
  counts: Schema.Array(Count).pipe(described("One more than there are bounds: the last is of what is above all")),
  count: Count,
  sum: Schema.Finite,
  min: Schema.Finite,
  max: Schema.Finite
})

/**
 * `/api/traffic`: what is sent and received, and how long answers take. All
 * durations are seconds.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TrafficReport = Schema.Struct({
  at_ms: Millis,
  traffic: Traffic,
  requests: Schema.Array(Schema.Struct({
    request: Schema.Literals(["Ping", "FindNode", "FindValue", "Store", "Push"]),
    answered: Histogram,
    failed: Histogram
  })),
  queries: Schema.Array(Schema.Struct({
    kind: Schema.Literals(["find_node", "find_value"]),
    duration: Histogram,
    requests: Histogram.pipe(described("Requests for each query"))
  }))
})

/**
 * `/api/store`: what the node holds, by key.
 *
 * @category schemas
 * @since 0.1.0
 */
export const StoreReport = Schema.Struct({
  keys: Count,
  records: Count.pipe(described("All there are, also those not listed; what expired leaves within two minutes")),
  by_type: Schema.Array(Schema.Struct({
    rec_type: Count,
    type_name: RecordRow.fields.type_name,
    records: Count
  })),
  listed: Schema.Array(RecordRow),
  next: Next
})

/**
 * `/api/announcements`: the records that the node keeps alive by itself.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Announcements = Schema.Struct({
  wanted: Count.pipe(described("How many nodes shall hold a copy of each")),
  total: Count.pipe(described("Those not listed included")),
  announcements: Schema.Array(Schema.Struct({
    ...FoundRecord.fields,
    renews_at: Seconds,
    confirmed: Schema.Array(Peer).pipe(described("Who holds a copy, nearest first"))
  })),
  next: Next
})

/**
 * `/health/live`: the process answers. A node that is cut off from its network
 * is live, as a restart would not bring the network back.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Live = Schema.Struct({ live: Schema.Literal(true) })

/**
 * `/health/ready` and `/health`. Ready: in touch with others, or the first node
 * of its network.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Health = Schema.Struct({
  live: Schema.Literal(true),
  ready: Schema.Boolean,
  bound: Schema.Boolean,
  first: Schema.Boolean.pipe(described("The first node of its network, which needs nobody")),
  verified_contacts_1h: Count
})

// --- Events ----------------------------------------------------------------------

const event = <const Type extends string, const Fields extends Schema.Struct.Fields>(type: Type, fields: Fields) =>
  Schema.Struct({ type: Schema.Literal(type), at_ms: Millis, ...fields })

/**
 * What happens to one query. A step is told when its request is sent, and
 * again when it ended.
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
 * One event of `/events`.
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
  event("traffic", { traffic: Traffic, contacts: Count, keys: Count })
])

/**
 * What to look up: the records of an address, the offers under a topic, or the
 * nodes closest to a node id.
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
 * One event of a lookup: those of its query, and at last what it found.
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

// --- What can go wrong -----------------------------------------------------------

const refusal = <const Error extends string>(error: Error, status: number) =>
  Schema.Struct({ error: Schema.Literal(error), message: Schema.String }).pipe(HttpApiSchema.status(status))

/**
 * The request says something that cannot be understood.
 *
 * @category schemas
 * @since 0.1.0
 */
export const BadRequest = refusal("BadRequest", 400)

/**
 * So many are served already that this one is not.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TooMany = refusal("TooMany", 503)

/**
 * Says what is wrong with a request that does not keep to its schema.
 *
 * @category services
 * @since 0.1.0
 */
export class Explained extends HttpApiMiddleware.Service<Explained>()("effect-dht/http/Api/Explained", {
  error: BadRequest
}) {}

// --- The routes --------------------------------------------------------------------

/** The documents of the reference have no place for it. */
const inHeader = "Where there are more than are listed, the header Link has the address of the next part (rel=\"next\")"

const storePlace = /^\d{1,15}\.\d{1,4}$/

/**
 * Read-only documents for people and tools.
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
    `The records held, of which the header X-Total-Count says how many there are. ${inHeader}`
  ),
  HttpApiEndpoint.get("stats", "/debug/stats", { success: Stats }),
  HttpApiEndpoint.get("queries", "/debug/queries", {
    query: { limit: limitOf(listed.queries) },
    success: Queries
  }),
  HttpApiEndpoint.get("replication", "/debug/replication", {
    query: partOf(listed.replication, /^\d\.\d{1,15}$/),
    success: Replication
  })
).middleware(Explained) {}

/**
 * What a page that shows the node is made of.
 *
 * @category routes
 * @since 0.1.0
 */
export class PageGroup extends HttpApiGroup.make("api").add(
  HttpApiEndpoint.get("overview", "/api/overview", { success: Overview }),
  HttpApiEndpoint.get("buckets", "/api/buckets", { success: Buckets }),
  HttpApiEndpoint.get("traffic", "/api/traffic", { success: TrafficReport }),
  HttpApiEndpoint.get("store", "/api/store", {
    query: partOf(listed.store, storePlace),
    success: StoreReport
  }),
  HttpApiEndpoint.get("announcements", "/api/announcements", {
    query: partOf(listed.announcements, /^\d{1,15}$/),
    success: Announcements
  }),
  HttpApiEndpoint.post("lookup", "/api/lookup", {
    payload: LookupRequest,
    success: HttpApiSchema.StreamSse({ data: LookupEvent }),
    error: [BadRequest, TooMany]
  }),
  HttpApiEndpoint.get("events", "/events", {
    success: HttpApiSchema.StreamSse({ data: Event }),
    error: TooMany
  })
).middleware(Explained) {}

const readiness = { success: Health, error: Health.pipe(HttpApiSchema.status(503)) }

/**
 * For those who look after the node.
 *
 * @category routes
 * @since 0.1.0
 */
export class OperationsGroup extends HttpApiGroup.make("operations").add(
  HttpApiEndpoint.get("live", "/health/live", { success: Live }).annotate(
    OpenApi.Description,
    "200 whenever the process works, in touch with others or not: for a supervisor that restarts what does not answer"
  ),
  HttpApiEndpoint.get("ready", "/health/ready", readiness).annotate(
    OpenApi.Description,
    "200 when the node is in touch with others or the first of its network, else 503: for a balancer that sends " +
      "clients to nodes that can serve them"
  ),
  HttpApiEndpoint.get("health", "/health", readiness).annotate(
    OpenApi.Description,
    "The facts of both, with the status of /health/ready: for people and monitors, not for what restarts the node"
  ),
  HttpApiEndpoint.get("metrics", "/metrics", {
    success: Schema.String.pipe(HttpApiSchema.asText({ contentType: "text/plain; version=0.0.4; charset=utf-8" }))
  })
) {}

/**
 * All routes but the page at `/`.
 *
 * @category routes
 * @since 0.1.0
 */
export class Api extends HttpApi.make("effect-dht")
  .add(DebugGroup)
  .add(PageGroup)
  .add(OperationsGroup)
  .annotateMerge(OpenApi.annotations({
    title: "effect-dht",
    version: "0.1.0",
    description: "A window into a running node. Where the node was given a token, every request but those below " +
      "/health needs it: Authorization: Bearer …"
  }))
{}

/**
 * The path of the OpenAPI document.
 *
 * @category constants
 * @since 0.1.0
 */
export const openApiPath = "/openapi.json"
