/**
 * The HTTP routes of a node, to be mounted on a router: the documents, events,
 * metrics and lookups of {@link Api}.
 *
 * What acts for the node needs its token here. Everything else about access is
 * up to `Guard.layer`, and `NodeHttp` of `effect-dht/node` is a server with both.
 *
 * @module
 * @since 0.1.0
 */
import * as ByteSize from "effect/ByteSize"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import type { HttpRouter } from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Address from "../Address.ts"
import type { Announce } from "../Announce.ts"
import type { Bootstrap } from "../Bootstrap.ts"
import type { Dht } from "../Dht.ts"
import * as DhtMetrics from "../DhtMetrics.ts"
import type { Discovery } from "../Discovery.ts"
import * as HostingMetrics from "../HostingMetrics.ts"
import type { IdentityConflicts } from "../IdentityConflicts.ts"
import type { Mail } from "../Mail.ts"
import { NodeEvents } from "../NodeEvents.ts"
import * as NodeId from "../NodeId.ts"
import type { NodeSettings } from "../NodeSettings.ts"
import type { PeerHealth } from "../PeerHealth.ts"
import { Persistence } from "../Persistence.ts"
import type { Publisher } from "../Publisher.ts"
import * as Query from "../Query.ts"
import type { Reachability } from "../Reachability.ts"
import * as Record from "../Record.ts"
import type { Rendezvous } from "../Rendezvous.ts"
import type { Replication } from "../Replication.ts"
import type { Routing } from "../Routing.ts"
import type { Rpc } from "../Rpc.ts"
import type { SeenPeers } from "../SeenPeers.ts"
import type { StandingAnnouncements } from "../StandingAnnouncements.ts"
import type { Store } from "../Store.ts"
import type { Subscriptions } from "../Subscriptions.ts"
import * as Topic from "../Topic.ts"
import * as Api from "./Api.ts"
import * as Checks from "./Checks.ts"
import * as DebugDocuments from "./DebugDocuments.ts"
import * as EventDocuments from "./EventDocuments.ts"
import * as EventStreams from "./EventStreams.ts"
import * as Gateway from "./Gateway.ts"
import * as GatewayLimits from "./GatewayLimits.ts"
import * as GuestRecords from "./GuestRecords.ts"
import * as HealthDocuments from "./HealthDocuments.ts"
import * as History from "./History.ts"
import * as Hosted from "./Hosted.ts"
import * as HostedDocuments from "./HostedDocuments.ts"
import * as HostedFeed from "./HostedFeed.ts"
import * as HostedMail from "./HostedMail.ts"
import * as Limits from "./Limits.ts"
import * as Lists from "./Lists.ts"
import * as MailLog from "./MailLog.ts"
import * as PageDocuments from "./PageDocuments.ts"
import * as Problem from "./Problem.ts"
import * as QueryDocuments from "./QueryDocuments.ts"
import * as RecordDocuments from "./RecordDocuments.ts"
import { servicesOf } from "./servicesOf.ts"
import * as SharedLookups from "./SharedLookups.ts"
import * as StoreDocuments from "./StoreDocuments.ts"
import * as TopicFeeds from "./TopicFeeds.ts"
import * as TrafficDocuments from "./TrafficDocuments.ts"

/**
 * @category models
 * @since 0.1.0
 */
export interface Options extends Checks.Options {
  /**
   * Whether the node is the first of its network, and so is ready without
   * contacts. Defaults to the state of `Bootstrap.membership`.
   */
  readonly first?: boolean | undefined
  /**
   * The pages of the nodes of this process, with which the page of this node
   * lets its reader switch; read each time. None by default.
   */
  readonly pages?: (() => typeof Api.Overview.Type["pages"]) | undefined
}

/**
 * The services of a node that its routes use.
 *
 * @category models
 * @since 0.1.0
 */
export type Services =
  | Announce
  | Bootstrap
  | Dht
  | Discovery
  | IdentityConflicts
  | Mail
  | NodeEvents
  | NodeSettings
  | PeerHealth
  | Persistence
  | Publisher
  | Query.Query
  | Reachability
  | Rendezvous
  | Replication
  | Routing
  | Rpc
  | SeenPeers
  | StandingAnnouncements
  | Store
  | Subscriptions

/**
 * Maximum number of concurrent event streams.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxEventStreams = 16

/**
 * Maximum number of concurrent lookups for clients.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxLookups = 4

/**
 * Maximum number of concurrent backups, each of which takes as much room on the
 * disk as the state.
 *
 * @category constants
 * @since 0.1.0
 */
export const maxBackups = 1

/** Maximum size of a request body, and of one with all that a hosted identity announces. */
const maxBody = ByteSize.kibibytes(4)
const maxHostedBody = ByteSize.kibibytes(64)

/**
 * Options of the router that the routes are mounted on: a topic is up to 512
 * bytes of text in a path.
 *
 * @category constants
 * @since 0.1.0
 */
export const routerConfig = { maxParamLength: 2048 } as const

// --- Documents -----------------------------------------------------------------

/** The Link header of the next page; `path` is that of the list. */
const linkTo = (path: string, { limit }: Lists.Part, next: string | null): Record<string, string> =>
  next === null ? {} : { link: `<${path}?limit=${limit}&after=${next}>; rel="next"` }

const routingResponse = Effect.fnUntraced(function*(part: Lists.Part) {
  const document = yield* DebugDocuments.routing
  const { peers, self_node_id_hex: self } = document
  const last = part.after === undefined
    ? undefined
    : NodeId.distance(self as NodeId.NodeId, part.after as NodeId.NodeId)
  const found = last === undefined ? peers : peers.filter((peer) => peer.xor_distance_to_self_hex < last)
  const shown = found.slice(0, part.limit)
  const next = shown.length < found.length ? shown.at(-1)?.node_id_hex ?? null : null
  return yield* Lists.listResponse({ ...document, peers: shown }, "peers", linkTo("/debug/routing", part, next))
})

const storeResponse = Effect.fnUntraced(function*(part: Lists.Part) {
  const { next, records, total } = yield* StoreDocuments.store(part)
  return Lists.jsonResponse(yield* Lists.arrayText(records), {
    "x-total-count": String(total),
    ...linkTo("/debug/store", part, next)
  })
})

const debug = HttpApiBuilder.group(
  Api.Api,
  "debug",
  Effect.fnUntraced(function*(handlers) {
    const of = yield* servicesOf<Services>()
    return handlers.handleAll({
      identity: () => of(DebugDocuments.identity),
      routing: ({ query }) => of(routingResponse(Lists.partOf(query, Api.listed.routing))),
      // Bypasses the schema, which would encode a large store in one go.
      store: ({ query }) => of(storeResponse(Lists.partOf(query, Api.listed.debugStore))),
      stats: () => of(DebugDocuments.stats),
      queries: ({ query }) =>
        of(Effect.flatMap(
          QueryDocuments.queries(query.limit ?? Api.listed.queries),
          (document) => Lists.listResponse(document, "queries")
        )),
      replication: ({ query }) =>
        of(Effect.flatMap(
          DebugDocuments.replication({ ...Lists.partOf(query, Api.listed.replication), messages: query.messages }),
          (document) => Lists.listResponse(document, "records")
        ))
    })
  })
)

const operations = (first: boolean | undefined) =>
  HttpApiBuilder.group(
    Api.Api,
    "operations",
    Effect.fnUntraced(function*(handlers) {
      const context = yield* Effect.context<Services>()
      const of = yield* servicesOf<Services>()
      const health = Effect.filterOrFail(of(HealthDocuments.health(first)), ({ ready }) => ready, (health) => health)
      return handlers.handleAll({
        live: () => Effect.succeed(HealthDocuments.live),
        ready: () => health,
        health: () => health,
        metrics: () =>
          Effect.sync(() =>
            PrometheusMetrics.formatUnsafe(context, { metricNameMapper: DhtMetrics.prometheusNames(context) })
          )
      })
    })
  )

// --- Streams -------------------------------------------------------------------

const events = (history: History.History["Service"]) =>
  Effect.fnUntraced(function*(sink: EventStreams.Sink<typeof Api.Event.Type>) {
    const { listen } = yield* NodeEvents
    yield* listen((event) => sink.tell(() => EventDocuments.event(event)))
    yield* history.listen((sample) => sink.tell(() => ({ type: "sampled", ...sample })))
    yield* TrafficDocuments.trafficEvent.pipe(
      Effect.map((event) => sink.tell(() => event)),
      Effect.repeat(Schedule.spaced("1 second")),
      Effect.catchCause((cause) => Effect.logWarning("Reporting of traffic stopped", cause)),
      Effect.annotateLogs({ module: "effect-dht/http/Routes", fiber: "Traffic" }),
      Effect.forkScoped
    )
  })

/** The target of a client's lookup. */
interface Goal {
  readonly target: NodeId.NodeId
  readonly find: Query.Find | undefined
}

const goalOf = (
  { kind, value }: typeof Api.LookupRequest.Type
): Result.Result<Goal, { readonly message: string }> => {
  switch (kind) {
    case "address":
      return Result.map(Address.fromString(value), (address) => ({
        target: NodeId.fromAddress(address),
        find: { type: 0 }
      }))
    case "topic":
      return Result.map(Topic.parse(value), (topic) => ({
        target: NodeId.fromTopic(topic),
        find: { type: Record.RecordType.topic }
      }))
    case "node_id":
      return Result.map(NodeId.fromString(value), (target) => ({ target, find: undefined }))
  }
}

const lookup = ({ find, target }: Goal) =>
  Effect.fnUntraced(function*(sink: EventStreams.Sink<typeof Api.LookupEvent.Type>) {
    const query = yield* Query.Query
    yield* query.lookup(target, find, (event) => sink.tell(() => QueryDocuments.queryEvent(event))).pipe(
      Effect.timeoutOption(Limits.lookupTime),
      Effect.map(Option.getOrUndefined),
      Effect.flatMap((result) =>
        Effect.map(Clock.currentTimeMillis, (now) => {
          sink.tell(() => ({
            type: "lookup-ended",
            at_ms: now,
            target_hex: target,
            timed_out: result === undefined,
            closest: result?.closest.map(RecordDocuments.peer) ?? [],
            records: result?.records.map((record) => RecordDocuments.foundRecord(target, record)) ?? []
          }))
        })
      ),
      Effect.catchCause((cause) => Effect.logWarning("A lookup for a client failed", cause)),
      Effect.ensuring(Effect.sync(sink.end)),
      Effect.annotateLogs({ module: "effect-dht/http/Routes", fiber: "Lookup" }),
      Effect.forkScoped
    )
  })

const writesOf = ({ open, token }: Options): typeof Api.Overview.Type["writes"] =>
  open ? "open" : token === undefined ? "closed" : "token"

const page = (options: Options) =>
  HttpApiBuilder.group(
    Api.Api,
    "node",
    Effect.fnUntraced(function*(handlers) {
      const of = yield* servicesOf<Services>()
      const { response } = yield* EventStreams.EventStreams
      const history = yield* History.History
      const startedAt = yield* Clock.currentTimeMillis
      const streamPlace = Limits.places("event streams", maxEventStreams)
      const lookupPlace = Limits.places("lookups", maxLookups)
      const backupPlace = Limits.places("backups", maxBackups)
      const { backup } = yield* Persistence
      const stream = <A extends { readonly type: string }>(
        open: (sink: EventStreams.Sink<A>) => Effect.Effect<void, never, Scope.Scope | Services>
      ) => response<A>((sink) => of(open(sink)))
      return handlers.handleAll({
        overview: () =>
          of(Effect.flatMap(HostedDocuments.status, (hosting) =>
            PageDocuments.overview({
              first: options.first,
              hosting: hosting ?? null,
              pages: options.pages?.() ?? [],
              startedAt,
              writes: writesOf(options)
            }))),
        history: ({ query }) =>
          Effect.flatMap(
            history.document(query.limit ?? Api.listed.history),
            (document) => Lists.listResponse(document, "samples")
          ),
        buckets: () => of(Effect.flatMap(PageDocuments.buckets, (document) => Lists.listResponse(document, "buckets"))),
        traffic: () => of(TrafficDocuments.trafficReport),
        store: ({ query }) =>
          of(Effect.flatMap(
            StoreDocuments.storeReport({ ...Lists.partOf(query, Api.listed.store), type: query.type }),
            (document) => Lists.listResponse(document, "listed")
          )),
        lookup: ({ payload }) =>
          Effect.fromResult(goalOf(payload)).pipe(
            Effect.mapError(({ message }) => Problem.make("BadRequest", message)),
            Effect.tap(() => lookupPlace),
            Effect.map((goal) => stream(lookup(goal)))
          ),
        events: () => Effect.as(streamPlace, stream(events(history))),
        backup: () =>
          Effect.andThen(
            backupPlace,
            Effect.mapBoth(backup, {
              onFailure: ({ message }) => Problem.make("CannotBackUp", message),
              onSuccess: ({ content, size }) =>
                HttpServerResponse.stream(content, { contentType: "application/vnd.sqlite3", contentLength: size })
            })
          )
      })
    })
  )

// --- All -------------------------------------------------------------------------

/**
 * All routes of {@link Api}, and the OpenAPI document that lists them. From then
 * on the node keeps its recent queries, and its metrics are registered. When
 * the server closes, end the event streams first.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<EventStreams.EventStreams, never, HttpRouter | Services> => {
  const { first } = options
  return HttpApiBuilder.layer(Api.Api, { openapiPath: Api.openApiPath }).pipe(
    Layer.provide([
      debug,
      operations(first),
      page(options),
      Gateway.network,
      Gateway.announcements,
      Gateway.exchange,
      Layer.provide(Hosted.hosted, Layer.succeed(HttpIncomingMessage.MaxBodySize, maxHostedBody))
    ]),
    Layer.provide([
      GatewayLimits.layer,
      GuestRecords.layer,
      SharedLookups.layer,
      History.layer,
      TopicFeeds.layer,
      MailLog.layer,
      HostedFeed.layer,
      HostedMail.layer,
      Checks.layer(options)
    ]),
    Layer.provideMerge(EventStreams.layer),
    Layer.provide(HttpServer.layerServices),
    Layer.provide(Layer.succeed(HttpIncomingMessage.MaxBodySize, maxBody)),
    Layer.merge(DhtMetrics.layer),
    Layer.merge(HostingMetrics.layer),
    Layer.merge(Layer.effectDiscard(NodeEvents.use((events) => events.keepQueries)))
  )
}
