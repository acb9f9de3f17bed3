/**
 * The routes through which programs in any language use the network, see
 * {@link GatewayApi}.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Result from "effect/Result"
import * as Address from "../Address.ts"
import { Announce } from "../Announce.ts"
import type { Bootstrap } from "../Bootstrap.ts"
import { keyOf } from "../core/placement.ts"
import type { Dht } from "../Dht.ts"
import * as Discovery from "../Discovery.ts"
import * as Hex from "../internal/hex.ts"
import * as Mail from "../Mail.ts"
import * as NodeId from "../NodeId.ts"
import type { NodeSettings } from "../NodeSettings.ts"
import { Publisher } from "../Publisher.ts"
import { Query } from "../Query.ts"
import type { Reachability } from "../Reachability.ts"
import * as Record from "../Record.ts"
import * as Replication from "../Replication.ts"
import * as StandingAnnouncements from "../StandingAnnouncements.ts"
import { Store } from "../Store.ts"
import * as Topic from "../Topic.ts"
import * as Api from "./Api.ts"
import { Sender } from "./Checks.ts"
import { EventStreams } from "./EventStreams.ts"
import * as GatewayApi from "./GatewayApi.ts"
import * as GatewayDocuments from "./GatewayDocuments.ts"
import { GatewayLimits } from "./GatewayLimits.ts"
import { GuestRecords } from "./GuestRecords.ts"
import * as HealthDocuments from "./HealthDocuments.ts"
import * as Limits from "./Limits.ts"
import * as Lists from "./Lists.ts"
import { MailLog } from "./MailLog.ts"
import * as Problem from "./Problem.ts"
import { servicesOf } from "./servicesOf.ts"
import { SharedLookups } from "./SharedLookups.ts"
import * as TopicFeeds from "./TopicFeeds.ts"

/**
 * Maximum number of records whose copies the node maintains, beyond which it
 * takes no messages and no records that clients have signed.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxPublications = 4096

type Services = Bootstrap | Dht | NodeSettings | Reachability

// --- Parsing -----------------------------------------------------------------------

const parsed = <A>(result: Result.Result<A, { readonly message: string }>) =>
  Effect.mapError(Effect.fromResult(result), ({ message }) => Problem.make("BadRequest", message))

const hasProof = ({ proof }: { readonly proof?: "true" | "false" | undefined }): boolean => proof === "true"

interface Wait {
  readonly replicas?: number | undefined
  readonly within?: string | undefined
}

/** Waits for the copies that the request wants, if any. */
const waitFor = (
  { replicas, within = "10s" }: Wait,
  publication: Pick<Replication.Publication, "replicas">,
  maxMillis = Infinity
) =>
  replicas === undefined
    ? Effect.void
    : Effect.mapError(
      publication.replicas(replicas, { within: Math.min(millisOf(within), maxMillis) }),
      Problem.ofReplicas
    )

/** The longest time in milliseconds that a guest waits for copies. */
const maxGuestMillis = 10_000

const millisOf = (within: string): number =>
  within.endsWith("ms") ? Number(within.slice(0, -2)) : Number(within.slice(0, -1)) * 1000

const inTime = <A, E, R>(lookup: Effect.Effect<A, E, R>) =>
  Effect.timeoutOrElse(lookup, {
    duration: Limits.lookupTime,
    orElse: () => Effect.fail(Problem.make("TimedOut", `The lookup did not end within ${Limits.lookupTime}`))
  })

const noRecords = Effect.mapError(({ answered, message }: { readonly answered: number; readonly message: string }) =>
  Problem.make("NoMatchingRecords", message, { answered })
)

/**
 * Whether the client wants a stream rather than one document.
 *
 * @category guards
 * @since 0.1.0
 */
export const wantsStream = (accept: string | undefined): boolean => /\btext\/event-stream\b/i.test(accept ?? "")

// --- What agents publish -----------------------------------------------------------

/**
 * @category layers
 * @since 0.1.0
 */
export const network = HttpApiBuilder.group(
  Api.Api,
  "network",
  Effect.fnUntraced(function*(handlers) {
    const of = yield* servicesOf<Services>()
    const query = yield* Query
    const discovery = yield* Discovery.Discovery
    const { resumable } = yield* EventStreams
    const feeds = yield* TopicFeeds.TopicFeeds
    const { lookupPlace, lookupRate, streamPlace } = yield* GatewayLimits
    const { share } = yield* SharedLookups

    /** Runs a lookup at a key within the limits, or joins an equal one. */
    const limited = <A, E>(
      request: HttpServerRequest,
      key: NodeId.NodeId,
      name: string,
      lookup: Effect.Effect<A, E>
    ) =>
      Effect.andThen(
        lookupRate(request),
        Effect.scoped(Effect.andThen(lookupPlace, share(key, name, inTime(lookup))))
      )

    return handlers.handleAll({
      agent: ({ params, query: options, request }) =>
        Effect.gen(function*() {
          const address = yield* parsed(Address.fromString(params.address))
          const records = yield* limited(
            request,
            NodeId.fromAddress(address),
            "agent",
            noRecords(query.resolveAll(address))
          )
          return GatewayDocuments.agent(address, records, hasProof(options))
        }),
      topic: ({ params, query: options, request }) =>
        Effect.gen(function*() {
          const topic = yield* parsed(Topic.parse(params.topic))
          const key = NodeId.fromTopic(topic)
          const filter = { protocols: options.protocol, tags: options.tag }
          const found = yield* limited(
            request,
            key,
            `topic ${JSON.stringify(filter)}`,
            discovery.discover(topic, filter)
          ).pipe(
            Effect.catchTag("InvalidTopic", Effect.die),
            // That there are no offers is a result like others.
            Effect.catchTag(["NoMatchingRecords", "NoMatchingOffers"], () => Effect.undefined)
          )
          const offers = found?.offers ?? []
          const part = Lists.partOf(options, GatewayApi.listed.offers)
          const { next, shown } = GatewayDocuments.pageOf(offers, ({ record }) => record, part)
          const document: typeof GatewayApi.Topic.Type = {
            topic,
            total: offers.length,
            offers: yield* Lists.inSteps(shown, (offer) => GatewayDocuments.offer(key, offer, hasProof(options))),
            completeness: { answered: 0, holders: 0, seen: 0, held: 0, ...found?.completeness },
            next
          }
          return yield* Lists.listResponse(document, "offers")
        }),
      topicEvents: ({ headers, params, query: options, request }) =>
        Effect.gen(function*() {
          const topic = yield* parsed(Topic.parse(params.topic))
          yield* lookupRate(request)
          yield* streamPlace
          const feed = yield* Effect.mapError(
            feeds.feed(topic),
            () => Limits.tooMany("watched topics", TopicFeeds.maxTopics)
          )
          const key = NodeId.fromTopic(topic)
          const following = {
            filter: { protocols: options.protocol, tags: options.tag },
            cursor: headers["last-event-id"]
          }
          return resumable<typeof GatewayApi.TopicEvent.Type>((sink) =>
            feed.listen(following, (event) =>
              sink.tell(event.cursor, () => GatewayDocuments.topicEvent(key, event, hasProof(options))))
          )
        }),
      network: () => of(HealthDocuments.network()),
      records: ({ params, query: options, request }) =>
        Effect.gen(function*() {
          const key = yield* parsed(NodeId.fromString(params.key))
          const { completeness, records } = yield* limited(
            request,
            key,
            `records ${options.type ?? 0}`,
            noRecords(query.readAll(key, options.type))
          )
          const part = Lists.partOf(options, GatewayApi.listed.records)
          const { next, shown } = GatewayDocuments.pageOf(records, (record) => record, part)
          const document: typeof GatewayApi.Records.Type = {
            key_node_id_hex: key,
            total: records.length,
            records: yield* Lists.inSteps(shown, (record) => GatewayDocuments.record(key, record)),
            completeness: { ...completeness },
            next
          }
          return yield* Lists.listResponse(document, "records")
        })
    })
  })
)

// --- Announcements -----------------------------------------------------------------

/**
 * @category layers
 * @since 0.1.0
 */
export const announcements = HttpApiBuilder.group(
  Api.Api,
  "announcements",
  Effect.fnUntraced(function*(handlers) {
    const announce = yield* Announce
    const standing = yield* StandingAnnouncements.StandingAnnouncements
    const { writeRate } = yield* GatewayLimits

    const put = Effect.fnUntraced(function*(
      request: HttpServerRequest,
      content: StandingAnnouncements.Content,
      wait: Wait
    ) {
      yield* writeRate(request)
      const placed = yield* Effect.mapError(standing.put(content), (error) => {
        switch (error._tag) {
          case "InvalidTopic":
            return Problem.make("BadRequest", error.message)
          case "TooManyAnnouncements":
            return Problem.make("TooManyAnnouncements", error.message, { limit: error.limit })
          default:
            return Problem.ofPublishing(error)
        }
      })
      // It is published, or `put` would have failed.
      if (placed.announcement !== undefined) yield* waitFor(wait, placed.announcement)
      return yield* shown(placed)
    })

    const notPublished = (reason: string | undefined) =>
      Problem.make("NotPublished", reason ?? "The announcement of the last run has not been published yet")

    const shown = (placed: StandingAnnouncements.Standing) =>
      placed.announcement === undefined
        ? Effect.fail(notPublished(placed.problem?.message))
        : GatewayDocuments.announcement(placed.announcement, placed)

    const notAnnounced = Effect.mapError((error: StandingAnnouncements.NotAnnounced | Topic.InvalidTopic) =>
      error._tag === "NotAnnounced"
        ? Problem.make("NotAnnounced", error.message)
        : Problem.make("BadRequest", error.message)
    )

    const get = (slot: StandingAnnouncements.Slot) => Effect.flatMap(notAnnounced(standing.get(slot)), shown)

    const remove = (request: HttpServerRequest, slot: StandingAnnouncements.Slot) =>
      Effect.andThen(writeRate(request), notAnnounced(standing.delete(slot)))

    return handlers.handleAll({
      list: ({ query }) =>
        Effect.all([announce.announcements, standing.all]).pipe(
          Effect.flatMap(([all, kept]) =>
            GatewayDocuments.announcements(all, kept, Lists.partOf(query, GatewayApi.listed.announcements))
          ),
          Effect.flatMap((document) => Lists.listResponse(document, "announcements"))
        ),
      endpoint: () => get({ _tag: "Endpoint" }),
      announceEndpoint: ({ payload, query, request }) =>
        put(request, { _tag: "Endpoint", ...endpointOf(payload) }, query),
      withdrawEndpoint: ({ request }) => remove(request, { _tag: "Endpoint" }),
      profile: () => get({ _tag: "Profile" }),
      announceProfile: ({ payload, query, request }) => put(request, { _tag: "Profile", ...profileOf(payload) }, query),
      withdrawProfile: ({ request }) => remove(request, { _tag: "Profile" }),
      topic: ({ params: { topic } }) => get({ _tag: "Topic", topic }),
      announceTopic: ({ params: { topic }, payload, query, request }) =>
        put(request, { _tag: "Topic", topic, ...payload }, query),
      withdrawTopic: ({ params: { topic }, request }) => remove(request, { _tag: "Topic", topic })
    })
  })
)

const natTypeOf = (name: typeof GatewayApi.natTypes[number]) => GatewayApi.natTypes.indexOf(name) as 0 | 1 | 2 | 3 | 4

/**
 * An endpoint as a request writes it.
 *
 * @category conversions
 * @since 0.1.0
 */
export const endpointOf = ({ nat_type, ...content }: typeof GatewayApi.contents.endpoint.Type) => ({
  ...content,
  natType: nat_type === undefined ? undefined : natTypeOf(nat_type)
})

/**
 * A profile as a request writes it.
 *
 * @category conversions
 * @since 0.1.0
 */
export const profileOf = ({ card_hash_hex, ...content }: typeof GatewayApi.contents.profile.Type) => ({
  ...content,
  cardHash: card_hash_hex === undefined ? undefined : Hex.decode(card_hash_hex.toLowerCase())
})

// --- Mail and records --------------------------------------------------------------

const encoder = new TextEncoder()

/** The bytes of a message; a failure if there is not exactly one of text and bytes. */
const bodyOf = ({ body_hex, text }: typeof GatewayApi.Letter.Type): Result.Result<Uint8Array, { message: string }> => {
  if (text !== undefined && body_hex === undefined) return Result.succeed(encoder.encode(text))
  if (body_hex !== undefined && text === undefined) return Result.succeed(Hex.decode(body_hex.toLowerCase()))
  return Result.fail({ message: "Write the message either as text or as body_hex" })
}

/**
 * @category layers
 * @since 0.1.0
 */
export const exchange = HttpApiBuilder.group(
  Api.Api,
  "exchange",
  Effect.fnUntraced(function*(handlers) {
    const mail = yield* Mail.Mail
    const log = yield* MailLog
    const publisher = yield* Publisher
    const replication = yield* Replication.Replication
    const store = yield* Store
    const guests = yield* GuestRecords
    const { renew } = yield* SharedLookups
    const { resumable } = yield* EventStreams
    const { lookupPlace, lookupRate, recordTurn, streamPlace, waitPlace, writeRate } = yield* GatewayLimits

    /** Publishes within the limits, and waits for the copies that the request wants. */
    const publish = Effect.fnUntraced(function*<E, R>(
      request: HttpServerRequest,
      wait: Wait,
      publishing: Effect.Effect<Replication.Publication, E, R>
    ) {
      yield* writeRate(request)
      const { records } = yield* replication.summary
      if (records - (yield* guests.size) >= maxPublications) {
        return yield* Effect.fail(Limits.tooMany("published records", maxPublications))
      }
      const publication = yield* publishing
      yield* renew(publication.key)
      yield* waitFor(wait, publication)
      return yield* GatewayDocuments.published(publication)
    })

    /** The record that a client has signed, and its key. */
    const vetted = Effect.fnUntraced(function*({ key, signed_hex }: typeof GatewayApi.SignedRecord.Type) {
      const given = key === undefined ? undefined : yield* parsed(NodeId.fromString(key))
      const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
      // A peer would refuse the record for the same reasons.
      const checked = Result.flatMap(
        Record.decode(Hex.decode(signed_hex.toLowerCase())),
        (record) => Result.map(store.vet(given ?? keyOf(record), record, now), (key) => ({ key, record }))
      )
      return yield* Effect.mapError(Effect.fromResult(checked), Problem.ofPublishing)
    })

    /** Publishes a record of a guest within the limits of guests. */
    const publishOf = Effect.fnUntraced(function*<E, R>(
      request: HttpServerRequest,
      wait: Wait,
      vetted: Effect.Effect<{ readonly key: NodeId.NodeId; readonly record: Record.SignedRecord }, E, R>
    ) {
      yield* recordTurn(request)
      const { key, record } = yield* vetted
      if (wait.replicas !== undefined) yield* waitPlace
      const publication = yield* Effect.mapError(
        guests.publish(Limits.networkOf(request), key, record),
        (error) => error._tag === "TooMany" ? error : Problem.ofPublishing(error)
      )
      yield* renew(publication.key)
      yield* waitFor(wait, publication, maxGuestMillis)
      return yield* GatewayDocuments.published(publication)
    })

    return handlers.handleAll({
      readMail: ({ headers, query, request }) =>
        Effect.gen(function*() {
          const cursor = headers["last-event-id"]
          yield* lookupRate(request)
          if (wantsStream(headers.accept)) {
            yield* streamPlace
            return resumable<typeof GatewayApi.NoteEvent.Type>((sink) =>
              log.listen(cursor, (note) =>
                sink.tell(note.cursor, () => ({ type: "note", note: GatewayDocuments.note(note) })))
            )
          }
          const reading = inTime(log.read(cursor, query.limit ?? GatewayApi.listed.notes))
          const page = yield* Effect.scoped(Effect.andThen(lookupPlace, reading))
          const document: typeof GatewayApi.Mailbox.Type = {
            ...page,
            notes: yield* Lists.inSteps(page.notes, GatewayDocuments.note),
            completeness: { ...page.completeness }
          }
          return yield* Lists.listResponse(document, "notes")
        }),
      sendMail: ({ payload, query, request }) =>
        Effect.gen(function*() {
          const recipient = yield* parsed(Address.fromString(payload.to))
          const body = yield* parsed(bodyOf(payload))
          const { ttl, type = Mail.MessageType.text } = payload
          const sending = Effect.mapError(mail.send({ recipient, type, body, ttl }), (error) =>
            error._tag === "NoRecipientKey"
              ? Problem.make("NoRecipientKey", error.message)
              : Problem.ofPublishing(error))
          return yield* publish(request, query, sending)
        }),
      publishRecord: ({ payload, query, request }) =>
        Effect.flatMap(Sender, (sender) =>
          sender === "Owner"
            ? publish(
              request,
              query,
              Effect.flatMap(
                vetted(payload),
                ({ key, record }) => Effect.mapError(publisher.publish(record, key), Problem.ofPublishing)
              )
            )
            : publishOf(request, query, vetted(payload)))
    })
  })
)
