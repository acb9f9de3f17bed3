/**
 * The contract of the routes through which programs in any language use the
 * network: agents, topics, announcements, mail and signed records.
 *
 * What a route shows was published by others and is untrusted text, though its
 * publisher's signature was checked.
 *
 * @module
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { Explained, Owner, OwnerOrGuest } from "./Checks.ts"
import {
  Count,
  described,
  FoundRecord,
  is64HexDigits,
  isHex,
  limitOf,
  Millis,
  Next,
  partOf,
  Peer,
  reachable,
  RecordRow,
  Seconds,
  Texts
} from "./Parts.ts"
import { problems, publishing } from "./Problem.ts"

// --- Parts -----------------------------------------------------------------------

/**
 * Default number of elements of each list.
 *
 * @category constants
 * @since 0.1.0
 */
export const listed = { announcements: 100, offers: 100, records: 100, notes: 100 } as const

/**
 * Number of nodes that should hold a copy of a record, and the most that a
 * request can wait for. It is `Replication.replicas`, which a client would load
 * a node for.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxReplicas = 8

/** The position of a record in a list: type, publisher, key and seq. */
const recordPlace = /^\d{1,3}\.[0-9a-f]{42}\.[0-9a-f]{64}\.\d{1,20}$/

const Meta = Schema.Record(Schema.String, Schema.Json).pipe(
  described("Any JSON; integers beyond 2^53 and bytes of others are text")
)

const Completeness = Schema.Struct({
  answered: Count.pipe(described("Nodes that answered the lookup")),
  holders: Count.pipe(described("Of these, nodes that hold records")),
  seen: Count.pipe(described("Records that were read")),
  held: Count.pipe(described("Records that the holders say they hold"))
})

const signed = {
  record: RecordRow,
  signed_hex: Schema.optionalKey(Schema.String).pipe(
    described("The record as its publisher signed it, on request: proof that need not trust this node")
  )
}

/** Whether a response includes the signed bytes. */
const proof = {
  proof: Schema.optional(Schema.Literals(["true", "false"])).pipe(
    described("Whether the response includes the records as they were signed; defaults to false")
  )
}

/**
 * An address of an agent, as text.
 *
 * @category schemas
 * @since 0.1.0
 */
export const AddressText = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(128)).pipe(
  described("An address as text: 42 hex digits, 0x…, bc1… or 1…")
)

/**
 * The name of a topic.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TopicName = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(512)).pipe(
  described("A topic")
)

/**
 * NAT types by name, in the order of `Endpoint.NatType`.
 *
 * @category constants
 * @since 0.1.0
 */
export const natTypes = ["unknown", "full_cone", "restricted", "port_restricted", "symmetric"] as const

const NatType = Schema.Literals(natTypes)

// --- Agents and topics -------------------------------------------------------------

/**
 * `/v1/agents/{address}`: what an agent publishes about itself.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Agent = Schema.Struct({
  address: Schema.String.pipe(described("Canonical text")),
  node_id_hex: Schema.String.pipe(described("The key of its records")),
  endpoint: Schema.NullOr(Schema.Struct({
    ...signed,
    endpoints: Texts,
    nat_type: NatType,
    signals: Texts,
    turns: Texts
  })),
  profile: Schema.NullOr(Schema.Struct({
    ...signed,
    name: Schema.String,
    brief: Schema.String,
    protocols: Texts,
    skills: Texts,
    modalities: Texts,
    card_hash_hex: Schema.String,
    meta: Meta
  })),
  custom: Schema.Array(Schema.Struct({
    ...signed,
    value: FoundRecord.fields.value,
    payload_hex: FoundRecord.fields.payload_hex
  }))
})

/**
 * An offer under a topic.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Offer = Schema.Struct({
  ...signed,
  address: Schema.String.pipe(described("The agent's address, canonical text")),
  name: Schema.String,
  brief: Schema.String,
  protocols: Texts,
  tags: Texts,
  meta: Meta
})

/**
 * `/v1/topics/{topic}`: the offers under a topic.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Topic = Schema.Struct({
  topic: Schema.String,
  total: Count.pipe(described("Offers that match, including those not listed")),
  offers: Schema.Array(Offer),
  completeness: Completeness,
  next: Next
})

const filters = {
  protocol: Schema.optional(Texts).pipe(described("Only offers with at least one of these protocols")),
  tag: Schema.optional(Texts).pipe(described("Only offers with all of these tags"))
}

/**
 * The position of an event or a message.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Cursor = Schema.String.pipe(
  described("Position in the stream; sent as Last-Event-ID it continues after this event")
)

const feedEvent = <const Type extends string, const Fields extends Schema.Struct.Fields>(type: Type, fields: Fields) =>
  Schema.Struct({ type: Schema.Literal(type), at_ms: Millis, cursor: Cursor, ...fields })

/**
 * An event of `/v1/topics/{topic}/events`. `present` lists all offers, which
 * replaces what is known; the others are changes since then.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TopicEvent = Schema.Union([
  feedEvent("present", { offers: Schema.Array(Offer), completeness: Completeness }),
  feedEvent("appeared", { offer: Offer }),
  feedEvent("changed", { offer: Offer }),
  feedEvent("gone", { offer: Offer })
])

/**
 * The header with which a client of a stream continues.
 *
 * @category schemas
 * @since 0.1.0
 */
export const lastEventId = {
  "last-event-id": Schema.optional(Schema.String.check(Schema.isMaxLength(64))).pipe(
    described("The cursor of the last event seen, or of the last response")
  )
}

/**
 * `/v1/network`: the network as this node sees it.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Network = Schema.Struct({
  at_ms: Millis,
  name: Schema.NullOr(Schema.String).pipe(described("Name of the private network that the node belongs to")),
  has_key: Schema.Boolean,
  membership: Schema.Literals(["alone", "first", "joined"]),
  failures: Schema.Array(Schema.Struct({ address: Schema.String, reason: Schema.String })).pipe(
    described("While alone: the nodes that the last attempt to join tried, and why each failed")
  ),
  joining: Schema.NullOr(Schema.Struct({
    attempt: Count.pipe(described("Number of the attempt since the node started")),
    hosts: Texts.pipe(described("The bootstrap nodes as they were given")),
    remembered: Count.pipe(
      described("Addresses of peers of the last run, and to rejoin of this one, that are tried as well")
    ),
    started_at_ms: Millis,
    ended_at_ms: Schema.NullOr(Millis).pipe(described("Null while the attempt is in progress")),
    next_at_ms: Schema.NullOr(Millis).pipe(described("When the next attempt begins; null if none is planned"))
  })).pipe(described("The last attempt to join; null before the first")),
  estimated_size: Schema.Finite.pipe(described("Number of nodes")),
  confidence: Schema.Finite.pipe(described("0 to 1")),
  contacts: Count,
  verified_contacts_1h: Count,
  local_addr: Schema.String.pipe(described("Bound address of this node, host:port; the widest of several")),
  local_addrs: Texts.pipe(described("All bound addresses")),
  reachable_at: Schema.NullOr(Schema.String).pipe(
    described("host:port at which others reach this node, if it is known")
  ),
  ...reachable,
  mapping: Schema.Literals(["consistent", "symmetric", "unknown"])
})

// --- Announcements -------------------------------------------------------------------

const ttl = {
  ttl: Schema.optional(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 604_800 }))).pipe(
    described("Lifetime of the record in seconds, renewed at half of it; defaults to 3600, at most 7200 under a topic")
  )
}

const text = Schema.optional(Schema.String)

const texts = Schema.optional(Texts)

/**
 * What an announcement of each kind says.
 *
 * @category schemas
 * @since 0.1.0
 */
export const contents = {
  endpoint: Schema.Struct({
    endpoints: Texts.pipe(described("URLs such as tcp://203.0.113.5:8080")),
    nat_type: Schema.optional(NatType),
    signals: texts,
    turns: texts,
    ...ttl
  }),
  profile: Schema.Struct({
    name: text,
    brief: text,
    protocols: texts,
    skills: texts,
    card_hash_hex: Schema.optional(Schema.String.check(is64HexDigits)).pipe(
      described("SHA-256 of the agent's card, whose URL is the member agent_card of meta")
    ),
    modalities: texts,
    meta: Schema.optional(Meta),
    ...ttl
  }),
  topic: Schema.Struct({
    name: text,
    brief: text,
    protocols: texts,
    tags: texts,
    meta: Schema.optional(Meta),
    ...ttl
  })
}

/**
 * A record that the node keeps alive.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Announcement = Schema.Struct({
  ...FoundRecord.fields,
  standing: Schema.Boolean.pipe(
    described("Whether it is kept until it is deleted; others last as long as the program that announces them")
  ),
  durable: Schema.Boolean.pipe(described("Whether it is on disk, and made again when the node restarts")),
  renews_at: Seconds,
  wanted: Count.pipe(described("Number of copies wanted")),
  confirmed: Schema.Array(Peer).pipe(described("Confirmed holders, nearest first"))
})

/**
 * `/v1/announcements`: all records that the node keeps alive.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Announcements = Schema.Struct({
  wanted: Count.pipe(described("Number of copies wanted of each record")),
  total: Count.pipe(described("Includes those not listed")),
  announcements: Schema.Array(Announcement),
  unpublished: Schema.Array(Schema.Struct({
    kind: Schema.Literals(["endpoint", "profile", "topic"]),
    topic: Schema.NullOr(Schema.String),
    reason: Schema.String
  })).pipe(described("Standing announcements that cannot be published; they are tried again every minute")),
  next: Next
})

const waiting = {
  replicas: Schema.optional(
    Schema.FiniteFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 1, maximum: maxReplicas }))
  ).pipe(described("Number of copies to wait for; without it the response comes once the record is kept here")),
  within: Schema.optional(
    Schema.String.check(
      Schema.isPattern(/^([1-9]\d{0,3}ms|[1-5]?\ds|60s)$/, { expected: "a time such as 500ms or 10s, at most 60s" })
    )
  ).pipe(
    described("The longest time to wait for copies, such as 500ms or 10s; at most 60s, defaults to 10s")
  )
}

// --- Mail and records ----------------------------------------------------------------

/**
 * A message to the node's agent, decrypted.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Note = Schema.Struct({
  id: Schema.String.pipe(described("The same for every delivery of this message")),
  cursor: Cursor,
  from: Schema.String.pipe(described("Address of the sender, authenticated")),
  type: Count,
  text: Schema.NullOr(Schema.String).pipe(described("Null if the body is not UTF-8")),
  body_hex: Schema.String,
  timestamp: Seconds,
  expires_at: Seconds
})

/**
 * `/v1/mail`: messages after a cursor, oldest first.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Mailbox = Schema.Struct({
  notes: Schema.Array(Note),
  cursor: Cursor,
  reset: Schema.Boolean.pipe(
    described("Whether the given cursor is unknown, after a restart of the node: then all messages are listed again")
  ),
  more: Schema.Boolean.pipe(described("Whether messages after the last one wait")),
  completeness: Completeness
})

/**
 * An event of `/v1/mail` as a stream.
 *
 * @category schemas
 * @since 0.1.0
 */
export const NoteEvent = Schema.Struct({ type: Schema.Literal("note"), note: Note })

/**
 * A message to send: `text`, or any bytes as `body_hex`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Letter = Schema.Struct({
  to: AddressText,
  text,
  body_hex: Schema.optional(Schema.String.check(isHex(0))),
  type: Schema.optional(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))).pipe(
    described("3, text, by default")
  ),
  ...ttl
})

/**
 * A published record, and the nodes that are known to hold a copy.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Published = Schema.Struct({
  record: RecordRow,
  wanted: Count.pipe(described("Number of copies wanted")),
  confirmed: Schema.Array(Peer).pipe(described("Confirmed holders, nearest first"))
})

/**
 * A record that the client has signed.
 *
 * @category schemas
 * @since 0.1.0
 */
export const SignedRecord = Schema.Struct({
  signed_hex: Schema.String.check(isHex(1)).pipe(
    described("The record in canonical CBOR, in hex digits")
  ),
  key: Schema.optional(Schema.String.check(is64HexDigits)).pipe(
    described("Key of a record that need not be at its publisher's, 64 hex digits; a topic's record needs none")
  )
})

/**
 * `/v1/records/{key}`: the records at a key.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Records = Schema.Struct({
  key_node_id_hex: Schema.String,
  total: Count.pipe(described("Includes those not listed")),
  records: Schema.Array(Schema.Struct({ ...FoundRecord.fields, signed_hex: Schema.String })),
  completeness: Completeness,
  next: Next
})

// --- Routes ----------------------------------------------------------------------------

/**
 * What agents publish, and the state of the network. Nothing here changes
 * anything.
 *
 * @category routes
 * @since 0.1.0
 */
export class NetworkGroup extends HttpApiGroup.make("network").add(
  HttpApiEndpoint.get("agent", "/v1/agents/:address", {
    params: { address: AddressText },
    query: proof,
    success: Agent,
    error: [problems.NoMatchingRecords, problems.TimedOut]
  }).annotate(OpenApi.Description, "What an agent publishes about itself"),
  HttpApiEndpoint.get("topic", "/v1/topics/:topic", {
    params: { topic: TopicName },
    query: { ...filters, ...proof, ...partOf(listed.offers, recordPlace) },
    success: Topic,
    error: problems.TimedOut
  }).annotate(OpenApi.Description, "The offers under a topic, an empty list if there are none"),
  HttpApiEndpoint.get("topicEvents", "/v1/topics/:topic/events", {
    params: { topic: TopicName },
    query: { ...filters, ...proof },
    headers: lastEventId,
    success: HttpApiSchema.StreamSse({ data: TopicEvent })
  }).annotate(
    OpenApi.Description,
    "The offers under a topic, then each change. A client that reads too slowly is disconnected, and continues with " +
      "Last-Event-ID"
  ),
  HttpApiEndpoint.get("network", "/v1/network", { success: Network }),
  HttpApiEndpoint.get("records", "/v1/records/:key", {
    params: {
      key: Schema.String.check(is64HexDigits).pipe(described("A node id, 64 hex digits"))
    },
    query: {
      type: Schema.optional(
        Schema.FiniteFromString.check(Schema.isInt(), Schema.isBetween({ minimum: 0, maximum: 255 }))
      ).pipe(described("Record type; 0, the default, is any")),
      ...partOf(listed.records, recordPlace)
    },
    success: Records,
    error: [problems.NoMatchingRecords, problems.TimedOut]
  }).annotate(OpenApi.Description, "All records at a key, as they were signed")
).middleware(Explained) {}

const putErrors = [
  ...publishing,
  problems.TooManyAnnouncements,
  problems.NotPublished,
  problems.NotEnoughReplicas,
  problems.KeyFull
] as const

/** Options of the routes of one announcement. */
const reading = { success: Announcement, error: [problems.NotAnnounced, problems.NotPublished] } as const

const writing = { query: waiting, success: Announcement, error: putErrors } as const

const withdrawing = { error: problems.NotAnnounced } as const

const announced =
  "The record is renewed and copied to the nodes closest to its key until it is deleted, also after a " +
  "restart of the node. Without enough copies in time the response is a problem, but the announcement stays"

/**
 * The records that the node keeps alive for its own agent.
 *
 * @category routes
 * @since 0.1.0
 */
export class AnnouncementsGroup extends HttpApiGroup.make("announcements").add(
  HttpApiEndpoint.get("list", "/v1/announcements", {
    query: partOf(listed.announcements, /^\d{1,15}$/),
    success: Announcements
  }),
  HttpApiEndpoint.get("endpoint", "/v1/announcements/endpoint", reading),
  HttpApiEndpoint.put("announceEndpoint", "/v1/announcements/endpoint", {
    ...writing,
    payload: contents.endpoint
  }).annotate(OpenApi.Description, announced).middleware(Owner),
  HttpApiEndpoint.delete("withdrawEndpoint", "/v1/announcements/endpoint", withdrawing)
    .middleware(Owner),
  HttpApiEndpoint.get("profile", "/v1/announcements/profile", reading),
  HttpApiEndpoint.put("announceProfile", "/v1/announcements/profile", {
    ...writing,
    payload: contents.profile
  }).annotate(OpenApi.Description, announced).middleware(Owner),
  HttpApiEndpoint.delete("withdrawProfile", "/v1/announcements/profile", withdrawing)
    .middleware(Owner),
  HttpApiEndpoint.get("topic", "/v1/announcements/topics/:topic", {
    params: { topic: TopicName },
    ...reading
  }),
  HttpApiEndpoint.put("announceTopic", "/v1/announcements/topics/:topic", {
    params: { topic: TopicName },
    ...writing,
    payload: contents.topic
  }).annotate(OpenApi.Description, announced).middleware(Owner),
  HttpApiEndpoint.delete("withdrawTopic", "/v1/announcements/topics/:topic", {
    params: { topic: TopicName },
    ...withdrawing
  }).middleware(Owner)
).middleware(Explained) {}

/**
 * Messages to and from the node's agent, and records that a client has signed.
 *
 * @category routes
 * @since 0.1.0
 */
export class ExchangeGroup extends HttpApiGroup.make("exchange").add(
  HttpApiEndpoint.get("readMail", "/v1/mail", {
    query: { limit: limitOf(listed.notes) },
    headers: { ...lastEventId, accept: Schema.optional(Schema.String) },
    success: [Mailbox, HttpApiSchema.StreamSse({ data: NoteEvent })],
    error: problems.TimedOut
  }).annotate(
    OpenApi.Description,
    "The messages to the node's agent after a cursor; with Accept: text/event-stream also those that arrive later. Each " +
      "message comes once per cursor"
  ).middleware(Owner),
  HttpApiEndpoint.post("sendMail", "/v1/mail", {
    query: waiting,
    payload: Letter,
    success: Published,
    error: [...publishing, problems.NoRecipientKey, problems.NotEnoughReplicas, problems.KeyFull]
  }).annotate(OpenApi.Description, "Encrypts a message and leaves it in the recipient's mailbox").middleware(Owner),
  HttpApiEndpoint.post("publishRecord", "/v1/records", {
    query: waiting,
    payload: SignedRecord,
    success: Published,
    error: [...publishing, problems.NotEnoughReplicas, problems.KeyFull]
  }).annotate(
    OpenApi.Description,
    "Publishes a record that the client has signed, with a key that stays there. Its copies are maintained until it " +
      "expires; only its signer can renew it. A node may let pages do so without its token; for them it maintains the " +
      "copies of a bounded number of records, until it stops, and waits for copies for at most ten seconds"
  ).middleware(OwnerOrGuest)
).middleware(Explained) {}
