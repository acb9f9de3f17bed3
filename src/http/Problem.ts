/**
 * Errors of the HTTP interface: problem documents (RFC 9457) with the tag and
 * the facts of the error behind them.
 *
 * `type` is a URI that ends in the tag, `title` is the same for all problems of
 * a tag, and `detail` says what failed this time and what to do. The other
 * members are facts. 64-bit numbers are decimal digits.
 *
 * @module
 * @since 0.1.0
 */
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ProblemDetails from "effect/http/ProblemDetails"
import * as Schema from "effect/Schema"
import * as Address from "../Address.ts"
import type { InvalidPayload } from "../Custom.ts"
import type { AddError } from "../HostedIdentities.ts"
import type { NotHosted } from "../Hosting.ts"
import * as Json from "../internal/json.ts"
import type { PublishError } from "../Publisher.ts"
import type { StaleRecord } from "../Record.ts"
import type { KeyFull, NotEnoughReplicas } from "../Replication.ts"
import { Count, described, Uint64 } from "./Parts.ts"

const problem = <
  const Tag extends string,
  const Status extends number,
  const Facts extends Schema.Struct.Fields = {}
>(
  tag: Tag,
  status: Status,
  title: string,
  facts: Facts = {} as Facts
) =>
  Schema.Struct({
    type: Schema.Literal(`urn:effect-dht:problem:${tag}`),
    _tag: Schema.Literal(tag),
    title: Schema.String,
    status: Schema.Literal(status),
    detail: Schema.String,
    ...facts
  }).annotate({ identifier: `${tag}Problem`, title }).pipe(
    HttpApiSchema.status(status),
    HttpApiSchema.asJson({ contentType: ProblemDetails.contentType })
  )

const excess = {
  excess: Schema.optionalKey(Schema.Struct({
    field: Schema.String,
    size: Count,
    limit: Count,
    unit: Schema.String
  })).pipe(described("The field that is too long, if known"))
}

const confirmed = {
  wanted: Count,
  confirmed: Count.pipe(described("Number of nodes that hold a copy; the record stays published"))
}

/**
 * The schema of each problem, by its tag.
 *
 * @category schemas
 * @since 0.1.0
 */
export const problems = {
  BadRequest: problem("BadRequest", 400, "The request is malformed"),
  Unauthorized: problem("Unauthorized", 401, "The token is missing or wrong"),
  CrossOrigin: problem("CrossOrigin", 403, "The origin is not allowed"),
  NotFound: problem("NotFound", 404, "There is nothing at this path"),
  NoMatchingRecords: problem("NoMatchingRecords", 404, "No record was found", {
    answered: Count.pipe(described("Number of nodes that answered without one"))
  }),
  NoRecipientKey: problem("NoRecipientKey", 404, "The recipient's key is unknown"),
  NotHosting: problem("NotHosting", 404, "The node hosts no identities"),
  NotHosted: problem("NotHosted", 404, "The identity is not hosted"),
  NotAnnounced: problem("NotAnnounced", 404, "There is no such announcement"),
  MethodNotAllowed: problem("MethodNotAllowed", 405, "The path does not have this method"),
  StaleRecord: problem("StaleRecord", 409, "An equal or newer record is held", { seq: Uint64, held_seq: Uint64 }),
  DelegationExpired: problem("DelegationExpired", 409, "The node no longer acts for its agent", {
    expires_at: Uint64
  }),
  AlreadyHosted: problem("AlreadyHosted", 409, "The identity is hosted already", { address: Schema.String }),
  TooManyRecords: problem("TooManyRecords", 409, "No more records can be hosted", {
    limit: Count,
    of: Schema.Literals(["node", "identity"])
  }),
  TooManyAnnouncements: problem("TooManyAnnouncements", 409, "The node keeps no more announcements", { limit: Count }),
  TooLarge: problem("TooLarge", 413, "The request body is too large"),
  UnsupportedMediaType: problem("UnsupportedMediaType", 415, "The request body is not JSON"),
  UnknownHost: problem("UnknownHost", 421, "The host name is not the server's"),
  InvalidRecord: problem("InvalidRecord", 422, "The record is invalid", excess),
  InvalidDelegation: problem("InvalidDelegation", 422, "The delegation is invalid"),
  InvalidPayload: problem("InvalidPayload", 422, "The value has no form in a record"),
  SameSlot: problem("SameSlot", 422, "Two records would replace each other", {
    key_node_id_hex: Schema.String,
    rec_type: Count
  }),
  RecordExpired: problem("RecordExpired", 422, "The record has expired"),
  RecordTooLarge: problem("RecordTooLarge", 422, "The record is too large", { size: Count, limit: Count, ...excess }),
  RateLimited: problem("RateLimited", 429, "Too many requests", {
    retry_after_seconds: Count
  }),
  Internal: problem("Internal", 500, "The node failed"),
  TooMany: problem("TooMany", 503, "Too many requests at a time", { limit: Count }),
  CannotBackUp: problem("CannotBackUp", 503, "The state cannot be copied"),
  NotPublished: problem("NotPublished", 503, "The announcement is kept, but cannot be published now"),
  NotEnoughReplicas: problem("NotEnoughReplicas", 504, "Too few nodes hold a copy", confirmed),
  TimedOut: problem("TimedOut", 504, "The lookup took too long"),
  KeyFull: problem("KeyFull", 507, "Nodes have no room for the record", {
    ...confirmed,
    full: Count.pipe(described("Number of nodes that have no room"))
  })
}

/**
 * @category models
 * @since 0.1.0
 */
export type Tag = keyof typeof problems

/**
 * A problem document.
 *
 * @category models
 * @since 0.1.0
 */
export type Problem<T extends Tag = Tag> = typeof problems[T]["Type"]

/**
 * The members of a problem that differ from one to the next of its tag, besides
 * `detail`.
 *
 * @category models
 * @since 0.1.0
 */
export type Facts<T extends Tag> = Omit<Problem<T>, "type" | "_tag" | "title" | "status" | "detail">

const fixed = Object.fromEntries(
  Object.entries(problems).map(([tag, { ast, fields }]) => [
    tag,
    { type: fields.type.literal, title: ast.annotations?.["title"], status: fields.status.literal }
  ])
)

/**
 * Makes the problem of a tag.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <T extends Tag>(
  tag: T,
  detail: string,
  ...[facts]: {} extends Facts<T> ? [facts?: Facts<T>] : [facts: Facts<T>]
): Problem<T> => ({ ...fixed[tag], _tag: tag, detail, ...facts }) as Problem<T>

/**
 * The problem as a response.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toResponse = (
  problem: Problem,
  headers: Record<string, string> = {}
): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(Json.stringify({ ...problem }), {
    status: problem.status,
    contentType: ProblemDetails.contentType,
    headers
  })

/**
 * The problem that tells why a record was not published.
 *
 * @category conversions
 * @since 0.1.0
 */
export const ofPublishing = (error: PublishError | InvalidPayload): PublishProblem => {
  const { message } = error
  switch (error._tag) {
    case "InvalidRecord":
      return make("InvalidRecord", message, excessOf(error))
    case "RecordTooLarge":
      return make("RecordTooLarge", message, { size: error.size, limit: error.limit, ...excessOf(error) })
    case "StaleRecord":
      return stale(error)
    case "DelegationExpired":
      return make("DelegationExpired", message, { expires_at: String(error.expiresAt) })
    case "InvalidDelegation":
    case "InvalidPayload":
    case "RecordExpired":
      return make(error._tag, message)
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export type PublishProblem = Problem<
  | "InvalidRecord"
  | "RecordTooLarge"
  | "StaleRecord"
  | "DelegationExpired"
  | "InvalidDelegation"
  | "InvalidPayload"
  | "RecordExpired"
>

/**
 * The schemas of {@link PublishProblem}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const publishing = [
  problems.InvalidRecord,
  problems.RecordTooLarge,
  problems.StaleRecord,
  problems.DelegationExpired,
  problems.InvalidDelegation,
  problems.InvalidPayload,
  problems.RecordExpired
] as const

const excessOf = (error: { readonly excess?: Problem<"InvalidRecord">["excess"] | undefined }) =>
  error.excess === undefined ? {} : { excess: { ...error.excess } }

const stale = (error: StaleRecord): Problem<"StaleRecord"> =>
  make("StaleRecord", error.message, { seq: String(error.seq), held_seq: String(error.heldSeq) })

/**
 * The problem that tells why an identity is not hosted.
 *
 * @category conversions
 * @since 0.1.0
 */
export const ofHosting = (error: AddError | NotHosted): HostingProblem | Problem<"NotHosted"> => {
  const { message } = error
  switch (error._tag) {
    case "NotHosted":
      return make("NotHosted", message)
    case "AlreadyHosted":
      return make("AlreadyHosted", message, { address: Address.format(error.address) })
    case "SameSlot":
      return make("SameSlot", message, { key_node_id_hex: error.key, rec_type: error.type })
    case "TooManyRecords":
      return make("TooManyRecords", message, { limit: error.limit, of: error.of === "Node" ? "node" : "identity" })
    default:
      return ofPublishing(error)
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export type HostingProblem =
  | PublishProblem
  | Problem<"NotHosting" | "AlreadyHosted" | "SameSlot" | "TooManyRecords">

/**
 * The schemas of {@link HostingProblem}.
 *
 * @category schemas
 * @since 0.1.0
 */
export const hosting = [
  ...publishing,
  problems.NotHosting,
  problems.AlreadyHosted,
  problems.SameSlot,
  problems.TooManyRecords
] as const

/**
 * The problem that tells why fewer nodes than wanted hold a copy.
 *
 * @category conversions
 * @since 0.1.0
 */
export const ofReplicas = (
  error: NotEnoughReplicas | KeyFull | StaleRecord
): Problem<"NotEnoughReplicas" | "KeyFull" | "StaleRecord"> => {
  const { message } = error
  switch (error._tag) {
    case "NotEnoughReplicas":
      return make("NotEnoughReplicas", message, { wanted: error.wanted, confirmed: error.confirmed.length })
    case "KeyFull":
      return make("KeyFull", message, {
        wanted: error.wanted,
        confirmed: error.confirmed.length,
        full: error.full.length
      })
    case "StaleRecord":
      return stale(error)
  }
}
