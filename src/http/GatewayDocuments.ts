/**
 * Builds the documents of agents, offers, messages and records for
 * {@link Gateway}. Their schemas are in {@link GatewayApi}.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Address from "../Address.ts"
import type { Announcement } from "../Announce.ts"
import type { Offer } from "../Discovery.ts"
import * as Endpoint from "../Endpoint.ts"
import * as Hex from "../internal/hex.ts"
import { decodeUtf8 } from "../internal/text.ts"
import * as NodeId from "../NodeId.ts"
import * as Profile from "../Profile.ts"
import * as Record from "../Record.ts"
import type { Publication } from "../Replication.ts"
import * as Replication from "../Replication.ts"
import type { Standing } from "../StandingAnnouncements.ts"
import type * as Topic from "../Topic.ts"
import * as Cbor from "../wire/cbor.ts"
import * as Values from "../wire/value.ts"
import * as GatewayApi from "./GatewayApi.ts"
import type * as Lists from "./Lists.ts"
import type * as MailLog from "./MailLog.ts"
import * as RecordDocuments from "./RecordDocuments.ts"
import type * as TopicFeeds from "./TopicFeeds.ts"

/** A record's `meta` as JSON; it came out of CBOR, so it has a form there. */
const metaJson = (meta: Topic.Meta) =>
  Object.fromEntries(
    Array.from(meta, ([name, value]) => [name, Values.toJson(Cbor.encode(value), Record.maxResolvableSize) ?? null])
  )

/** The fields of every record, with its signed bytes if they are wanted. */
const signed = (key: NodeId.NodeId, record: Record.SignedRecord, proof: boolean) => ({
  record: RecordDocuments.recordRow(key, record),
  ...(proof ? { signed_hex: Hex.encode(record.bytes) } : {})
})

/**
 * `/v1/agents/{address}`.
 *
 * @category documents
 * @since 0.1.0
 */
export const agent = (
  address: Address.Address,
  records: ReadonlyArray<Record.SignedRecord>,
  proof: boolean
): typeof GatewayApi.Agent.Type => {
  const key = NodeId.fromAddress(address)
  const find = (type: number) => records.find((record) => record.type === type)
  const endpoint = find(Record.RecordType.endpoint)
  const profile = find(Record.RecordType.profile)
  return {
    address: Address.format(address),
    node_id_hex: key,
    endpoint: endpoint === undefined
      ? null
      : Result.match(Endpoint.decode(endpoint.payload), {
        onFailure: () => null,
        onSuccess: ({ endpoints, natType, signal, signals, turns }) => ({
          ...signed(key, endpoint, proof),
          endpoints: endpoints ?? [],
          nat_type: GatewayApi.natTypes[natType],
          signals: signals.length > 0 || signal === "" ? signals : [signal],
          turns
        })
      }),
    profile: profile === undefined
      ? null
      : Result.match(Profile.decode(profile.payload), {
        onFailure: () => null,
        onSuccess: ({ brief, cardHash, meta, modalities, name, protocols, skills }) => ({
          ...signed(key, profile, proof),
          name,
          brief,
          protocols,
          skills,
          modalities,
          card_hash_hex: Hex.encode(cardHash),
          meta: metaJson(meta)
        })
      }),
    custom: records.filter(({ type }) => Record.isCustom(type)).map((record) => ({
      ...signed(key, record, proof),
      ...RecordDocuments.contents(record.payload)
    }))
  }
}

/**
 * An offer under a topic.
 *
 * @category documents
 * @since 0.1.0
 */
export const offer = (key: NodeId.NodeId, offer: Offer, proof: boolean): typeof GatewayApi.Offer.Type => ({
  ...signed(key, offer.record, proof),
  address: Address.format(offer.address),
  name: offer.name,
  brief: offer.brief,
  protocols: offer.protocols ?? [],
  tags: offer.tags ?? [],
  meta: metaJson(offer.meta)
})

/**
 * An event of `/v1/topics/{topic}/events`.
 *
 * @category documents
 * @since 0.1.0
 */
export const topicEvent = (
  key: NodeId.NodeId,
  event: TopicFeeds.Event,
  proof: boolean
): typeof GatewayApi.TopicEvent.Type => {
  const { at: at_ms, cursor } = event
  if (event._tag !== "Present") {
    return { type: eventTypes[event._tag], at_ms, cursor, offer: offer(key, event.offer, proof) }
  }
  const { completeness, offers } = event
  return {
    type: "present",
    at_ms,
    cursor,
    offers: offers.map((each) => offer(key, each, proof)),
    completeness: { ...completeness }
  }
}

const eventTypes = { Appeared: "appeared", Changed: "changed", Gone: "gone" } as const

/**
 * A message to the node's agent.
 *
 * @category documents
 * @since 0.1.0
 */
export const note = ({ cursor, id, message }: MailLog.Note): typeof GatewayApi.Note.Type => ({
  id,
  cursor,
  from: Address.format(message.sender),
  type: message.type,
  text: decodeUtf8(message.body) ?? null,
  body_hex: Hex.encode(message.body),
  timestamp: String(message.record.timestamp),
  expires_at: String(message.record.expiresAt)
})

/**
 * A published record and its holders.
 *
 * @category documents
 * @since 0.1.0
 */
export const published = Effect.fnUntraced(function*(
  { confirmed, current, key }: Publication
): Effect.fn.Return<typeof GatewayApi.Published.Type> {
  return {
    record: RecordDocuments.recordRow(key, yield* current),
    wanted: Replication.replicas,
    confirmed: (yield* confirmed).map(RecordDocuments.peer)
  }
})

/**
 * An announcement; `standing` is undefined for one of a program.
 *
 * @category documents
 * @since 0.1.0
 */
export const announcement = Effect.fnUntraced(function*(
  announcement: Announcement,
  standing: Standing | undefined
): Effect.fn.Return<typeof GatewayApi.Announcement.Type> {
  const { confirmed, key, record } = yield* announcement.current
  return {
    ...RecordDocuments.foundRecord(key, record),
    standing: standing !== undefined,
    durable: standing?.isDurable ?? false,
    renews_at: RecordDocuments.renewsAt(record),
    wanted: Replication.replicas,
    confirmed: (yield* confirmed).map(RecordDocuments.peer)
  }
})

/**
 * `/v1/announcements`.
 *
 * @category documents
 * @since 0.1.0
 */
export const announcements = Effect.fnUntraced(function*(
  all: ReadonlyArray<Announcement>,
  standing: ReadonlyArray<Standing>,
  { after, limit }: Lists.Part
): Effect.fn.Return<typeof GatewayApi.Announcements.Type> {
  const found = after === undefined ? all : all.filter(({ number }) => number > Number(after))
  const shown = found.slice(0, limit)
  const kept = new Map(standing.map((each) => [each.announcement, each]))
  const last = shown.at(-1)
  return {
    wanted: Replication.replicas,
    total: all.length,
    announcements: yield* Effect.forEach(shown, (each) => announcement(each, kept.get(each))),
    unpublished: standing.flatMap(({ content, problem }) =>
      problem === undefined ? [] : [{
        kind: kinds[content._tag],
        topic: content._tag === "Topic" ? content.topic : null,
        reason: problem.message
      }]
    ),
    next: last === undefined || shown.length === found.length ? null : String(last.number)
  }
})

const kinds = { Endpoint: "endpoint", Profile: "profile", Topic: "topic" } as const

/**
 * A page of records, ordered by {@link placeOf}: at most `limit` after a place.
 *
 * @category paging
 * @since 0.1.0
 */
export const pageOf = <A>(
  elements: ReadonlyArray<A>,
  recordOf: (element: A) => Record.SignedRecord,
  { after, limit }: Lists.Part
): { readonly shown: ReadonlyArray<A>; readonly next: string | null } => {
  const placed = elements.map((element) => ({ element, place: orderOf(recordOf(element)) }))
  const start = after === undefined ? "" : padded(after)
  const rest = placed.filter(({ place }) => place > start).sort((a, b) => a.place < b.place ? -1 : 1)
  const shown = rest.slice(0, limit).map(({ element }) => element)
  const last = shown.at(-1)
  return { shown, next: last === undefined || shown.length === rest.length ? null : placeOf(recordOf(last)) }
}

/** The position of a record in a list. */
const placeOf = ({ address, publicKey, seq, type }: Record.SignedRecord): string =>
  `${type}.${address}.${Hex.encode(publicKey)}.${seq}`

const orderOf = (record: Record.SignedRecord): string => padded(placeOf(record))

/** A position as text that sorts like its numbers. */
const padded = (place: string): string => {
  const [type, address, publicKey, seq] = place.split(".")
  return [type.padStart(3, "0"), address, publicKey, seq.padStart(20, "0")].join(".")
}

/**
 * `/v1/records/{key}`, without the completeness.
 *
 * @category documents
 * @since 0.1.0
 */
export const record = (key: NodeId.NodeId, record: Record.SignedRecord) => ({
  ...RecordDocuments.foundRecord(key, record),
  signed_hex: Hex.encode(record.bytes)
})
