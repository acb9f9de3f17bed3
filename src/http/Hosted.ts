/**
 * The routes for hosted identities, see {@link HostedApi}.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as Option from "effect/Option"
import * as Address from "../Address.ts"
import * as HostedIdentities from "../HostedIdentities.ts"
import * as Hosting from "../Hosting.ts"
import * as Api from "./Api.ts"
import { EventStreams } from "./EventStreams.ts"
import * as Gateway from "./Gateway.ts"
import type * as GatewayApi from "./GatewayApi.ts"
import * as GatewayDocuments from "./GatewayDocuments.ts"
import { GatewayLimits } from "./GatewayLimits.ts"
import * as HostedApi from "./HostedApi.ts"
import * as HostedDocuments from "./HostedDocuments.ts"
import { HostedFeed } from "./HostedFeed.ts"
import { HostedMail } from "./HostedMail.ts"
import * as HostedRequests from "./HostedRequests.ts"
import * as Lists from "./Lists.ts"
import * as Problem from "./Problem.ts"

// --- Parsing -----------------------------------------------------------------------

const badRequest = (detail: string) => Effect.fail(Problem.make("BadRequest", detail))

const addressOf = (text: string) =>
  Effect.mapError(Effect.fromResult(Address.fromString(text)), ({ message }) => Problem.make("BadRequest", message))

// --- Routes ------------------------------------------------------------------------

const notHosting = Problem.make("NotHosting", "This node hosts no identities. Start it with --hosting")

const fromTable = Problem.make(
  "NotHosting",
  "This node hosts the identities of a database: change them there, such as with effect-dht hosted --database"
)

const orNotHosting = <A>(service: Option.Option<A>) => Effect.mapError(Effect.fromOption(service), () => notHosting)

/**
 * @category layers
 * @since 0.1.0
 */
export const hosted = HttpApiBuilder.group(
  Api.Api,
  "hosted",
  Effect.fnUntraced(function*(handlers) {
    const maybeHosting = yield* Effect.serviceOption(Hosting.Hosting)
    const maybeIdentities = yield* Effect.serviceOption(HostedIdentities.HostedIdentities)
    const feed = yield* HostedFeed
    const hostedMail = yield* HostedMail
    const { resumable } = yield* EventStreams
    const { hostedRate, lookupRate, streamPlace } = yield* GatewayLimits

    const identitiesOfNode = Effect.mapError(
      Effect.fromOption(maybeIdentities),
      () => Option.isSome(maybeHosting) ? fromTable : notHosting
    )

    const find = Effect.fnUntraced(function*(address: Address.Address) {
      const hosting = yield* orNotHosting(maybeHosting)
      return yield* Effect.mapError(hosting.get(address), ({ message }) => Problem.make("NotHosted", message))
    })

    const shown = Effect.fnUntraced(function*(address: Address.Address, durable: boolean | null) {
      return yield* HostedDocuments.identity(yield* find(address), durable)
    })

    return handlers.handleAll({
      list: ({ query: { after, limit = HostedApi.listed, state } }) =>
        Effect.gen(function*() {
          const hosting = yield* orNotHosting(maybeHosting)
          const document = yield* HostedDocuments.list(hosting, {
            limit,
            after: after === undefined ? undefined : HostedDocuments.placeOf(after),
            state: state === undefined ? undefined : HostedDocuments.stateOf(state)
          })
          return yield* Lists.listResponse(document, "identities")
        }),
      mail: ({ headers, params, query, request }) =>
        Effect.gen(function*() {
          yield* lookupRate(request)
          const address = yield* addressOf(params.address)
          const { readsMail } = yield* find(address)
          const cursor = headers["last-event-id"]
          if (Gateway.wantsStream(headers.accept)) {
            yield* streamPlace
            return resumable<typeof GatewayApi.NoteEvent.Type>((sink) =>
              hostedMail.listen(address, cursor, (note) =>
                sink.tell(note.cursor, () => ({ type: "note", note: GatewayDocuments.note(note) })))
            )
          }
          const { notes, ...page } = yield* hostedMail.read(address, cursor, query.limit ?? HostedApi.listed)
          const document: typeof HostedApi.HostedMailbox.Type = {
            ...page,
            reads_mail: readsMail,
            notes: yield* Lists.inSteps(notes, GatewayDocuments.note)
          }
          return yield* Lists.listResponse(document, "notes")
        }),
      host: ({ payload, request }) =>
        Effect.gen(function*() {
          yield* hostedRate(request)
          const identities = yield* identitiesOfNode
          const adding = identities.add(yield* HostedRequests.identityOf(payload))
          const { address, isDurable } = yield* Effect.mapError(adding, Problem.ofHosting)
          return yield* shown(address, isDurable)
        }).pipe(Effect.catchTag("NotHosted", Effect.die)),
      events: ({ headers }) =>
        Effect.gen(function*() {
          yield* orNotHosting(maybeHosting)
          yield* streamPlace
          return resumable<typeof HostedApi.HostedEvent.Type>((sink) =>
            feed.listen(
              headers["last-event-id"],
              (kept) => sink.tell(kept.cursor, () => HostedDocuments.event(kept))
            )
          )
        }),
      identity: ({ params }) => Effect.flatMap(addressOf(params.address), (address) => shown(address, null)),
      update: ({ params, payload: { announce, delegation_hex, mail, replicas, seed_hex, ttl }, request }) =>
        Effect.gen(function*() {
          yield* hostedRate(request)
          const identities = yield* identitiesOfNode
          const address = yield* addressOf(params.address)
          if (seed_hex === undefined && delegation_hex !== undefined) {
            return yield* badRequest("delegation_hex: write the private key with it, as seed_hex")
          }
          const key = seed_hex === undefined ? undefined : yield* HostedRequests.keyOf(seed_hex, delegation_hex)
          const contents = announce === undefined ? undefined : yield* HostedRequests.contentsOf(announce)
          const { isDurable } = yield* Effect.mapError(
            identities.update(address, { key, announce: contents, replicas, ttl, mail }),
            Problem.ofHosting
          )
          return yield* shown(address, isDurable)
        }),
      remove: ({ params, query, request }) =>
        Effect.gen(function*() {
          yield* hostedRate(request)
          const identities = yield* identitiesOfNode
          const address = yield* addressOf(params.address)
          yield* Effect.mapError(
            identities.remove(address, { keepRecords: query.keep_records === "true" }),
            ({ message }) => Problem.make("NotHosted", message)
          )
        })
    })
  })
)
