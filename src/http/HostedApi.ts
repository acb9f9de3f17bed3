/**
 * The contract of the routes for identities that the node hosts.
 *
 * @module
 * @since 0.1.0
 */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { Explained, Owner } from "./Checks.ts"
import { AddressText, contents, Cursor, lastEventId, Mailbox, NoteEvent, TopicName } from "./GatewayApi.ts"
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
  Seconds,
  Uint64
} from "./Parts.ts"
import { hosting, problems } from "./Problem.ts"

/**
 * Default number of elements of a list.
 *
 * @category constants
 * @since 0.1.0
 */
export const listed = 100

/**
 * Maximum number of refused identities in one response.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxRefused = 100

/**
 * States of an identity, in the order of a list. Those that are refused are
 * listed apart.
 *
 * @category constants
 * @since 0.1.0
 */
export const states = ["failing", "ended", "good"] as const

const State = Schema.Literals(states).pipe(
  described(
    "failing: the last attempt to renew one of its records failed; ended: its delegation has, and nothing is renewed; " +
      "good: neither"
  )
)

/** Why something failed. */
const Failure = Schema.Struct({ _tag: Schema.String, reason: Schema.String })

/**
 * The tags of reasons for which renewals fail. They are those of
 * `Hosting.reasons`, which a client would load a node for.
 *
 * @category constants
 * @since 0.1.0
 */
export const reasons = [
  "SignerFailed",
  "NotEnoughReplicas",
  "KeyFull",
  "StaleRecord",
  "InvalidRecord",
  "RecordTooLarge",
  "RecordExpired",
  "InvalidDelegation",
  "DelegationExpired",
  "Internal"
] as const

/**
 * The hosted identities in aggregate.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HostingStatus = Schema.Struct({
  identities: Count,
  failing: Count.pipe(described("Identities of which the last attempt to renew a record failed")),
  ended: Count.pipe(described("Identities whose delegations have ended")),
  refused: Count.pipe(described("Identities of an earlier run that cannot be hosted; not among the others")),
  records: Count,
  mailboxes: Count.pipe(described("Mailboxes that are read")),
  due: Count.pipe(described("Records that are due and not renewed yet, and mailboxes that are due to be read")),
  late: Count.pipe(
    described("Records that are not renewed although their copies expire within five minutes, or have expired")
  ),
  failing_records: Schema.Record(Schema.Literals(reasons), Count).pipe(
    described("Records whose last attempt failed, by the tag of the reason")
  ),
  reachable: Schema.Boolean.pipe(described("Whether the last lookup found any node")),
  datagrams_per_s: Schema.Finite.pipe(described("The budget: requests per second that hosting may send")),
  datagrams: Count.pipe(described("Counted against the budget since the start; a lookup counts as 24")),
  lookups: Count,
  stores: Count,
  signatures: Count,
  renewals: Count,
  failures: Count,
  mail_readings: Count,
  messages: Count
})

/**
 * A hosted identity in a list.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HostedRow = Schema.Struct({
  address: Schema.String.pipe(described("Canonical text")),
  state: State,
  records: Count,
  failing: Count.pipe(described("Records whose last attempt failed")),
  problem: Schema.NullOr(Failure).pipe(described("Why the first of these did; null if none")),
  copies: Schema.NullOr(Count).pipe(described("The fewest copies of one of its records; null without records")),
  due_ms: Schema.NullOr(Millis).pipe(described("When the next record is renewed or tried again; null if none is"))
})

/**
 * `/v1/hosted`: the hosted identities, failing ones first.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HostedIdentities = Schema.Struct({
  status: HostingStatus,
  identities: Schema.Array(HostedRow),
  refused: Schema.Array(Schema.Struct({ address: Schema.String, problem: Failure })).pipe(
    described(
      `Identities of an earlier run that cannot be hosted, at most ${maxRefused} of them; an update or a removal ends that`
    )
  ),
  next: Next
})

/**
 * `/v1/hosted/{address}`: a hosted identity with its records.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HostedIdentity = Schema.Struct({
  address: Schema.String.pipe(described("Canonical text")),
  node_id_hex: Schema.String.pipe(described("The key of its own records")),
  state: State,
  durable: Schema.NullOr(Schema.Boolean).pipe(
    described("Whether the change is on disk, and outlasts a restart of the node; null if nothing was changed")
  ),
  replicas: Count.pipe(described("Number of copies wanted of each record")),
  ttl: Count.pipe(described("Lifetime in seconds of records that have none of their own")),
  reads_mail: Schema.Boolean.pipe(described("Whether its mailbox is read")),
  delegation_expires_at: Schema.NullOr(Seconds).pipe(
    described("When the key no longer acts for the address, 0 for never; null for the address's own key")
  ),
  records: Schema.Array(Schema.Struct({
    key_node_id_hex: Schema.String,
    rec_type: Count,
    content: Schema.NullOr(FoundRecord).pipe(described("The record as last signed; null before that")),
    copies: Count.pipe(described("Nodes that hold a copy")),
    due_ms: Millis.pipe(described("When it is renewed or tried again")),
    failures: Count.pipe(described("Failures since the last success")),
    problem: Schema.NullOr(Failure)
  }))
})

const seconds = Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 604_800 }))

const custom = Schema.Struct({
  type: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })).pipe(
    described("A record type that is left to applications")
  ),
  value: Schema.optional(Schema.Json).pipe(described("The payload as JSON")),
  payload_hex: Schema.optional(Schema.String.check(isHex(1))).pipe(
    described("The payload as bytes, in place of a value")
  ),
  key: Schema.optional(Schema.String.check(is64HexDigits)).pipe(
    described("Key of a record that need not be at its publisher's, 64 hex digits")
  ),
  ttl: Schema.optional(seconds)
})

/**
 * `/v1/hosted/{address}/mail`: messages to a hosted identity after a cursor,
 * oldest first.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HostedMailbox = Schema.Struct({
  reads_mail: Schema.Boolean.pipe(described("Whether the mailbox is read; if not, there are no messages")),
  notes: Mailbox.fields.notes,
  cursor: Cursor,
  reset: Mailbox.fields.reset,
  more: Mailbox.fields.more
})

const announce = Schema.Struct({
  endpoint: Schema.optional(contents.endpoint),
  profile: Schema.optional(contents.profile),
  topics: Schema.optional(Schema.Array(Schema.Struct({ topic: TopicName, ...contents.topic.fields }))),
  custom: Schema.optional(Schema.Array(custom))
})

const terms = {
  replicas: Schema.optional(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 16 }))).pipe(
    described("Number of copies of each record, 8 by default")
  ),
  ttl: Schema.optional(seconds).pipe(
    described("Lifetime in seconds of records that have none of their own, 3600 by default")
  ),
  mail: Schema.optional(Schema.Boolean).pipe(
    described("Whether its mailbox is read, which takes three requests every ten minutes; defaults to false")
  )
}

// Their forms are checked by the route: the message of a schema would quote what is wrong, and it is secret.
const key = {
  seed_hex: Schema.String.pipe(
    described("The private key, 64 hex digits: that of the address, or the operational key of a delegation")
  ),
  delegation_hex: Schema.optional(Schema.String).pipe(
    described("The delegation of the key's address, as \"effect-dht identity delegate\" prints it")
  )
}

/**
 * An identity to host.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HostRequest = Schema.Struct({ ...key, announce, ...terms })

/**
 * Changes of a hosted identity; what is not given stays. `announce` replaces
 * everything that is announced.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HostChange = Schema.Struct({
  seed_hex: Schema.optional(key.seed_hex),
  delegation_hex: key.delegation_hex,
  announce: Schema.optional(announce),
  ...terms
})

const event = <const Type extends string, const Fields extends Schema.Struct.Fields>(type: Type, fields: Fields) =>
  Schema.Struct({ type: Schema.Literal(type), at_ms: Millis, cursor: Cursor, ...fields })

const ofIdentity = { address: Schema.String }
const ofRecord = { ...ofIdentity, key_node_id_hex: Schema.String, rec_type: Count }

/**
 * An event of `/v1/hosted/events`. `status` comes first to a client without a
 * cursor, or with one that is not known any more: such a client has missed
 * events.
 *
 * @category schemas
 * @since 0.1.0
 */
export const HostedEvent = Schema.Union([
  event("status", { status: HostingStatus }),
  event("started", ofIdentity),
  event("updated", ofIdentity),
  event("removed", ofIdentity),
  event("renewed", { ...ofRecord, seq: Uint64, copies: Count, wanted: Count, due_ms: Millis }),
  event("renewal-failed", { ...ofRecord, problem: Failure, failures: Count, retry_at_ms: Millis }),
  event("delegation-ended", { ...ofIdentity, problem: Failure })
])

const params = { address: AddressText }

const ofOne = [problems.NotHosting, problems.NotHosted] as const

const secrets =
  "The private key is kept encrypted in the node's data directory, and never returned. A delegation lets the " +
  "master key stay elsewhere"

/**
 * Identities that the node hosts, each with its own key.
 *
 * @category routes
 * @since 0.1.0
 */
export class HostedGroup extends HttpApiGroup.make("hosted").add(
  HttpApiEndpoint.get("list", "/v1/hosted", {
    query: {
      state: Schema.optional(State).pipe(described("Lists only identities in this state")),
      ...partOf(listed, /^(failing|ended|good)\.\d{1,15}$/)
    },
    success: HostedIdentities,
    error: problems.NotHosting
  }).annotate(
    OpenApi.Description,
    "The hosted identities: those that fail first, then those whose delegations have ended"
  ),
  HttpApiEndpoint.post("host", "/v1/hosted", {
    payload: HostRequest,
    success: HostedIdentity,
    error: hosting
  }).annotate(
    OpenApi.Description,
    `Hosts an identity until it is removed, also after a restart of the node. ${secrets}`
  ).middleware(Owner),
  HttpApiEndpoint.get("events", "/v1/hosted/events", {
    headers: lastEventId,
    success: HttpApiSchema.StreamSse({ data: HostedEvent }),
    error: problems.NotHosting
  }).annotate(
    OpenApi.Description,
    "What happens to hosted identities. A client that reads too slowly is disconnected, and continues with Last-Event-ID"
  ),
  HttpApiEndpoint.get("identity", "/v1/hosted/:address", { params, success: HostedIdentity, error: ofOne }),
  HttpApiEndpoint.get("mail", "/v1/hosted/:address/mail", {
    params,
    query: { limit: limitOf(listed) },
    headers: { ...lastEventId, accept: Schema.optional(Schema.String) },
    success: [HostedMailbox, HttpApiSchema.StreamSse({ data: NoteEvent })],
    error: ofOne
  }).annotate(
    OpenApi.Description,
    "The messages to a hosted identity after a cursor; with Accept: text/event-stream also those that arrive later. Each " +
      "message comes once per cursor"
  ).middleware(Owner),
  HttpApiEndpoint.patch("update", "/v1/hosted/:address", {
    params,
    payload: HostChange,
    success: HostedIdentity,
    error: [...hosting, problems.NotHosted]
  }).annotate(
    OpenApi.Description,
    `Changes a hosted identity: what it announces, its key or delegation, its copies or lifetime. ${secrets}`
  ).middleware(Owner),
  HttpApiEndpoint.delete("remove", "/v1/hosted/:address", {
    params,
    query: {
      keep_records: Schema.optional(Schema.Literals(["true", "false"])).pipe(
        described("Whether its records are left to expire; by default they are withdrawn")
      )
    },
    error: ofOne
  }).annotate(OpenApi.Description, "Stops hosting an identity, and forgets its key").middleware(Owner)
).middleware(Explained) {}
