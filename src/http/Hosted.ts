/**
 * The routes for hosted identities, see {@link HostedApi}.
 *
 * @module
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import type * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Address from "../Address.ts"
import * as Custom from "../Custom.ts"
import * as Delegation from "../Delegation.ts"
import * as HostedIdentities from "../HostedIdentities.ts"
import * as Hosting from "../Hosting.ts"
import * as Hex from "../internal/hex.ts"
import * as Record from "../Record.ts"
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
import * as Lists from "./Lists.ts"
import * as Problem from "./Problem.ts"

// --- Parsing -----------------------------------------------------------------------

const badRequest = (detail: string) => Effect.fail(Problem.make("BadRequest", detail))

const addressOf = (text: string) =>
  Effect.mapError(Effect.fromResult(Address.fromString(text)), ({ message }) => Problem.make("BadRequest", message))

/** The key of a request. What is wrong is not quoted: it may be secret. */
const keyOf = Effect.fnUntraced(function*(
  seedHex: string,
  delegationHex: string | undefined
) {
  const digits = seedHex.toLowerCase()
  if (!/^[0-9a-f]{64}$/.test(digits)) return yield* badRequest("seed_hex: write the private key in 64 hex digits")
  const seed = Redacted.make(Hex.decode(digits))
  if (delegationHex === undefined) return { seed }
  const encoded = delegationHex.toLowerCase()
  if (!/^(?:[0-9a-f]{2})+$/.test(encoded)) return yield* badRequest("delegation_hex: write it in hex digits")
  const delegation = yield* Effect.mapError(
    Effect.fromResult(Delegation.decode(Hex.decode(encoded))),
    Problem.ofHosting
  )
  return { seed, delegation }
})

type Announced = typeof HostedApi.HostRequest.Type["announce"]

/** The payload of a custom record, given as a value or as bytes. */
const payloadOf = Effect.fnUntraced(function*({ payload_hex, type, value }: NonNullable<Announced["custom"]>[number]) {
  if ((value === undefined) === (payload_hex === undefined)) {
    return yield* badRequest("custom: write the payload either as value or as payload_hex")
  }
  if (payload_hex !== undefined) return Hex.decode(payload_hex.toLowerCase())
  if (!Record.isCustom(type)) {
    return yield* badRequest(
      `custom: ${type} is not a type that is left to applications: 3 to 15, 17 to 31, 129 to 143`
    )
  }
  const encoded = Custom.make({ type, schema: Schema.Json as Schema.Codec<Schema.Json, Custom.Value> }).encode(
    value ?? null
  )
  return yield* Effect.mapError(Effect.fromResult(encoded), Problem.ofHosting)
})

/** What an identity announces. */
const contentsOf = Effect.fnUntraced(function*({ custom = [], endpoint, profile, topics = [] }: Announced) {
  const contents: Array<HostedIdentities.Content> = []
  if (endpoint !== undefined) contents.push({ _tag: "Endpoint", ...Gateway.endpointOf(endpoint) })
  if (profile !== undefined) contents.push({ _tag: "Profile", ...Gateway.profileOf(profile) })
  for (const topic of topics) contents.push({ _tag: "Topic", ...topic })
  for (const each of custom) {
    const { key, ttl, type } = each
    contents.push({ _tag: "Custom", type, payload: yield* payloadOf(each), key: key?.toLowerCase(), ttl })
  }
  return contents
})

// --- Routes ------------------------------------------------------------------------

const notHosting = Problem.make("NotHosting", "This node hosts no identities. Start it with --hosting")

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
      host: ({ payload: { announce, delegation_hex, mail, replicas, seed_hex, ttl }, request }) =>
        Effect.gen(function*() {
          yield* hostedRate(request)
          const identities = yield* orNotHosting(maybeIdentities)
          const key = yield* keyOf(seed_hex, delegation_hex)
          const adding = identities.add({ ...key, announce: yield* contentsOf(announce), replicas, ttl, mail })
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
          const identities = yield* orNotHosting(maybeIdentities)
          const address = yield* addressOf(params.address)
          if (seed_hex === undefined && delegation_hex !== undefined) {
            return yield* badRequest("delegation_hex: write the private key with it, as seed_hex")
          }
          const key = seed_hex === undefined ? undefined : yield* keyOf(seed_hex, delegation_hex)
          const contents = announce === undefined ? undefined : yield* contentsOf(announce)
          const { isDurable } = yield* Effect.mapError(
            identities.update(address, { key, announce: contents, replicas, ttl, mail }),
            Problem.ofHosting
          )
          return yield* shown(address, isDurable)
        }),
      remove: ({ params, query, request }) =>
        Effect.gen(function*() {
          yield* hostedRate(request)
          const identities = yield* orNotHosting(maybeIdentities)
          const address = yield* addressOf(params.address)
          yield* Effect.mapError(
            identities.remove(address, { keepRecords: query.keep_records === "true" }),
            ({ message }) => Problem.make("NotHosted", message)
          )
        })
    })
  })
)
