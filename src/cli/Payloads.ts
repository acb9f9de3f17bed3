/**
 * Contacts, records and their contents, as JSON and as lines of text.
 *
 * @since 0.1.0
 */
import * as Result from "effect/Result"
import * as Address from "../Address.ts"
import type { Contact } from "../Contact.ts"
import type * as Delegation from "../Delegation.ts"
import * as Endpoint from "../Endpoint.ts"
import * as Hex from "../internal/hex.ts"
import type * as Json from "../internal/json.ts"
import { decodeUtf8 } from "../internal/text.ts"
import * as Mail from "../Mail.ts"
import type { Verdict } from "../node/AgentCard.ts"
import * as Profile from "../Profile.ts"
import type { PublishHint } from "../PublishHint.ts"
import * as Record from "../Record.ts"
import * as SocketAddress from "../SocketAddress.ts"
import * as Topic from "../Topic.ts"
import * as Cbor from "../wire/cbor.ts"
import * as Values from "../wire/value.ts"
import * as Output from "./Output.ts"

/**
 * A line of output: a label and a value.
 *
 * @category models
 * @since 0.1.0
 */
export type Row = readonly [name: string, value: string]

/** One row per value; none for an empty or null list. */
const each = (name: string, values: ReadonlyArray<string> | null): Array<Row> =>
  (values ?? []).map((value) => [name, value])

const unlessEmpty = (name: string, value: string): Array<Row> => value === "" ? [] : [[name, value]]

// --- Contacts ----------------------------------------------------------------

/**
 * @category JSON
 * @since 0.1.0
 */
export const contact = ({ address, host, id, port }: Contact) => ({
  address: Address.format(address),
  nodeId: id,
  endpoint: SocketAddress.format({ host, port })
})

// --- Fields of every record --------------------------------------------------

/**
 * @category JSON
 * @since 0.1.0
 */
export const signed = ({ address, expiresAt, seq, timestamp, ttl, type }: Record.SignedRecord) => ({
  address: Address.format(address),
  type,
  seq,
  timestamp,
  ttl,
  expiresAt: BigInt(expiresAt)
})

/**
 * @category lines
 * @since 0.1.0
 */
export const signedRows = ({ expiresAt, seq, timestamp }: Record.SignedRecord): Array<Row> => [
  ["signed", Output.time(timestamp)],
  ["expires", Output.time(expiresAt)],
  ["seq", String(seq)]
]

/**
 * @category JSON
 * @since 0.1.0
 */
export const delegation = ({ agent, expiresAt, issuedAt, operationalPublicKey }: Delegation.Delegation) => ({
  agent: Address.format(agent),
  operationalPublicKey: Hex.encode(operationalPublicKey),
  issuedAt,
  expiresAt
})

/**
 * @category lines
 * @since 0.1.0
 */
export const delegationRows = ({ agent, expiresAt, issuedAt }: Delegation.Delegation): Array<Row> => [
  ["acts for", Address.format(agent)],
  ["since", Output.time(issuedAt)],
  ["until", expiresAt === 0n ? "revoked by a later delegation" : Output.time(expiresAt)]
]

/**
 * @category JSON
 * @since 0.1.0
 */
export const hint = (hint: PublishHint) => {
  const { _tag, message } = hint
  return hint._tag === "EndpointElsewhere"
    ? { hint: _tag, message, endpoint: hint.endpoint, reachable: hint.reachable.map(SocketAddress.format) }
    : { hint: _tag, message, size: hint.size, limit: hint.limit, versions: hint.versions }
}

// --- Payloads by type --------------------------------------------------------

const natTypes: ReadonlyArray<string> = Object.keys(Endpoint.NatType)

/**
 * @category JSON
 * @since 0.1.0
 */
export const endpoint = ({ endpoints, natType, signal, signals, turns }: Endpoint.EndpointPayload) => ({
  endpoints: endpoints ?? [],
  natType: natTypes[natType],
  signal,
  signals,
  turns
})

/**
 * @category lines
 * @since 0.1.0
 */
export const endpointRows = (payload: Endpoint.EndpointPayload): Array<Row> => [
  ...each("endpoint", payload.endpoints),
  ["nat type", natTypes[payload.natType]],
  ...each("signal", payload.signals.length > 0 || payload.signal === "" ? payload.signals : [payload.signal]),
  ...each("relay", payload.turns)
]

/**
 * @category JSON
 * @since 0.1.0
 */
export const topic = ({ brief, meta, name, protocols, tags, topic, version }: Topic.TopicPayload) => ({
  version,
  topic,
  name,
  protocols: protocols ?? [],
  tags: tags ?? [],
  brief,
  meta: metaJson(meta)
})

/**
 * @category lines
 * @since 0.1.0
 */
export const topicRows = ({ brief, meta, name, protocols, tags, topic }: Topic.TopicPayload): Array<Row> => [
  ["topic", topic],
  ...unlessEmpty("name", name),
  ...unlessEmpty("brief", brief),
  ...each("protocol", protocols),
  ...each("tag", tags),
  ...metaRows(meta)
]

const profile = ({ brief, cardHash, meta, modalities, name, protocols, skills, version }: Profile.ProfilePayload) => ({
  version,
  name,
  brief,
  protocols,
  skills,
  cardHash: Hex.encode(cardHash),
  modalities,
  meta: metaJson(meta)
})

const profileRows = (payload: Profile.ProfilePayload): Array<Row> => [
  ...unlessEmpty("name", payload.name),
  ...unlessEmpty("brief", payload.brief),
  ...each("protocol", payload.protocols),
  ...each("skill", payload.skills),
  ...unlessEmpty("card hash", Hex.encode(payload.cardHash)),
  ...each("modality", payload.modalities),
  ...metaRows(payload.meta)
]

const results = { Matches: "matches", Changed: "changed", Unreachable: "unreachable" } as const

/**
 * The outcome of checking an agent's card as JSON.
 *
 * @category documents
 * @since 0.1.0
 */
export const card = (verdict: Verdict) => ({
  result: results[verdict._tag],
  url: verdict.url,
  sha256: Hex.encode(verdict.hash),
  ...(verdict._tag === "Changed" ? { found: Hex.encode(verdict.found) } : {}),
  ...(verdict._tag === "Unreachable" ? { reason: verdict.reason } : {})
})

/**
 * Same as rows.
 *
 * @category rows
 * @since 0.1.0
 */
export const cardRows = (verdict: Verdict): Array<Row> => [
  ["card", results[verdict._tag]],
  ["url", verdict.url],
  ["signed hash", Hex.encode(verdict.hash)],
  ...(verdict._tag === "Changed" ? [["its hash", Hex.encode(verdict.found)] as const] : []),
  ...(verdict._tag === "Unreachable" ? [["reason", verdict.reason] as const] : [])
]

const message = ({ ciphertext, ephemeralPublicKey, nonce, recipient, sender }: Mail.SealedMessage) => ({
  recipient: Address.format(recipient),
  sender: Address.format(sender),
  ephemeralPublicKey: Hex.encode(ephemeralPublicKey),
  ciphertext: Hex.encode(ciphertext),
  nonce: Hex.encode(nonce)
})

const messageRows = ({ ciphertext, recipient, sender }: Mail.SealedMessage): Array<Row> => [
  ["recipient", Address.format(recipient)],
  ["sender", Address.format(sender)],
  ["ciphertext", Hex.encode(ciphertext)]
]

/** A record's `meta` as JSON; it came out of CBOR, so it has a form there. */
const metaJson = (meta: Topic.Meta): { readonly [name: string]: Json.Json } =>
  Object.fromEntries(
    Array.from(meta, ([name, value]) => [name, Values.toJson(Cbor.encode(value), Record.maxResolvableSize) ?? null])
  )

const metaRows = (meta: Topic.Meta): Array<Row> =>
  Object.entries(metaJson(meta)).map(([name, value]): Row => ["meta", `${name}: ${JSON.stringify(value)}`])

/**
 * A payload as JSON and text.
 *
 * @category models
 * @since 0.1.0
 */
export interface Read {
  readonly kind: string
  /** Undefined for a payload that cannot be decoded. */
  readonly json: Json.Json | undefined
  readonly rows: ReadonlyArray<Row>
}

/**
 * Decodes a payload of any type.
 *
 * @category conversions
 * @since 0.1.0
 */
export const read = ({ payload, type }: Record.SignedRecord): Read => {
  switch (type) {
    case Record.RecordType.endpoint:
      return reading("endpoint", Endpoint.decode(payload), endpoint, endpointRows)
    case Record.RecordType.topic:
      return reading("topic", Topic.decode(payload), topic, topicRows)
    case Record.RecordType.profile:
      return reading("profile", Profile.decode(payload), profile, profileRows)
    case Record.RecordType.mailbox:
      return reading("mailbox", Mail.decode(payload), message, messageRows)
    default:
      return custom(type, payload)
  }
}

/** Short bytes may be both a value and text. */
const custom = (type: number, payload: Uint8Array): Read => {
  const json = Values.toJson(payload, Record.maxResolvableSize)
  return {
    kind: `custom ${Record.category(type)}`,
    json,
    rows: [
      ...(json === undefined ? [] : [["value", JSON.stringify(json)] as const]),
      ...unlessEmpty("text", decodeUtf8(payload) ?? "")
    ]
  }
}

const reading = <A>(
  kind: string,
  result: Result.Result<A, { readonly message: string }>,
  json: (value: A) => Json.Json,
  rows: (value: A) => Array<Row>
): Read =>
  Result.match(result, {
    onFailure: ({ message }) => ({ kind, json: undefined, rows: [["content", message]] }),
    onSuccess: (value) => ({ kind, json: json(value), rows: rows(value) })
  })
