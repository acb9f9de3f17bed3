/**
 * What the tools do: each call is a few requests to the gateway of a node.
 *
 * @since 0.1.0
 */
import { McpServer } from "effect/ai/McpServer"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as Endpoint from "../../Endpoint.ts"
import type * as Api from "../../http/Api.ts"
import type { Client } from "../../http/Client.ts"
import { maxReplicas } from "../../http/GatewayApi.ts"
import * as Hex from "../../internal/hex.ts"
import * as AgentCard from "../../node/AgentCard.ts"
import * as Output from "../Output.ts"
import * as Payloads from "../Payloads.ts"
import type { Access } from "./Access.ts"
import { type Failing, failureOf } from "./Failures.ts"
import * as Progress from "./Progress.ts"
import { type Failed, failed, tools } from "./Tools.ts"

/**
 * What the handlers need.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly access: Access
  /** Waits until no client is left, which ends waiting for notes. */
  readonly ended: Effect.Effect<void>
  /** Whether cards of agents are fetched from this machine and private networks as well. Defaults to false. */
  readonly allowPrivate?: boolean | undefined
}

const invalid = (message: string) => Effect.fail(failed("InvalidInput", message))

// --- Documents ---------------------------------------------------------------------

const time = (seconds: string): string => Output.time(BigInt(seconds))

const announcedOf = (
  { confirmed, durable, record, standing, title, topic, wanted }: typeof Api.Announcement.Type
) => ({
  kind: record.type_name,
  topic: topic ?? null,
  summary: title,
  copies: confirmed.length,
  wanted,
  expires_at: time(record.expires_at),
  kept: standing && durable ? "until withdrawn" as const : "while the node runs" as const
})

const offerOf = ({ address, brief, meta, name, protocols, record, tags }: typeof Api.Offer.Type) => ({
  address,
  name,
  brief,
  protocols,
  tags,
  meta,
  expires_at: time(record.expires_at)
})

const agentOf = ({ address, custom, endpoint, profile }: typeof Api.Agent.Type) => ({
  address,
  endpoints: endpoint?.endpoints ?? [],
  profile: profile === null ? null : {
    name: profile.name,
    brief: profile.brief,
    protocols: profile.protocols,
    skills: profile.skills,
    modalities: profile.modalities,
    meta: profile.meta,
    expires_at: time(profile.record.expires_at)
  },
  values: custom.map(({ payload_hex, record, value }) => ({
    type: record.rec_type,
    ...(value === undefined ? {} : { value }),
    ...(payload_hex === undefined ? {} : { payload_hex })
  })),
  receives_notes: endpoint !== null || profile !== null
})

const noteOf = ({ body_hex, expires_at, from, id, text, timestamp }: typeof Api.Note.Type) => ({
  id,
  from,
  text,
  ...(text === null ? { body_hex } : {}),
  sent_at: time(timestamp),
  expires_at: time(expires_at)
})

// --- Slots -------------------------------------------------------------------------

interface Slot {
  readonly kind: "endpoint" | "profile" | "topic"
  readonly topic?: string
}

interface Content extends Slot {
  readonly name?: string
  readonly brief?: string
  readonly protocols?: ReadonlyArray<string>
  readonly tags?: ReadonlyArray<string>
  readonly skills?: ReadonlyArray<string>
  readonly endpoints?: ReadonlyArray<string>
  readonly agent_card?: string
  readonly ttl_seconds?: number
}

/** The parameters of each kind, besides those of all. */
const fields = {
  endpoint: ["endpoints"],
  profile: ["name", "brief", "protocols", "skills", "agent_card"],
  topic: ["topic", "name", "brief", "protocols", "tags"]
} as const

/** The parameter that each kind needs. */
const needed = { endpoint: "endpoints", topic: "topic", profile: undefined } as const

/** Parameters depend on the kind, which a flat schema cannot say; one with alternatives is not understood by all clients. */
const checked = (content: Content): Effect.Effect<void, Failed> => {
  const { agent_card: card, endpoints = [], kind } = content
  const allowed: ReadonlySet<string> = new Set(["kind", "ttl_seconds", ...fields[kind]])
  const other = Object.keys(content).find((name) => !allowed.has(name))
  if (other !== undefined) {
    return invalid(`${other} is not a parameter of kind ${kind}, which takes ${fields[kind].join(", ")}.`)
  }
  const missing = needed[kind]
  if (missing !== undefined && content[missing] === undefined) {
    return invalid(`${missing} is missing: kind ${kind} needs it.`)
  }
  if (card !== undefined && !/^https?:$/.test(URL.parse(card)?.protocol ?? "")) {
    return invalid(
      `"${card}" is no URL of a card: write one such as https://agent.example/.well-known/agent-card.json.`
    )
  }
  const noUrl = endpoints.find((text) => !Endpoint.isUrl(text))
  return noUrl === undefined ? Effect.void : invalid(`"${noUrl}" is no URL: write one such as tcp://203.0.113.5:8080.`)
}

/** The requests for the announcement in a slot. */
const slotOf = ({ announcements }: Client, { kind, topic = "" }: Slot) => {
  const params = { topic }
  switch (kind) {
    case "endpoint":
      return { get: announcements.endpoint(), remove: announcements.withdrawEndpoint(), what: "the endpoint" }
    case "profile":
      return { get: announcements.profile(), remove: announcements.withdrawProfile(), what: "the profile" }
    case "topic":
      return {
        get: announcements.topic({ params }),
        remove: announcements.withdrawTopic({ params }),
        what: `the offer under the topic "${topic}"`
      }
  }
}

/** Seconds to wait for copies. */
const copying = 10

const query = { replicas: maxReplicas, within: `${copying}s` }

const put = ({ announcements }: Client, content: Content, card: AgentCard.Reference | undefined) => {
  const { brief, endpoints = [], kind, name, protocols, skills, tags, topic = "", ttl_seconds: ttl } = content
  switch (kind) {
    case "endpoint":
      return announcements.announceEndpoint({ query, payload: { endpoints, ttl } })
    case "profile":
      return announcements.announceProfile({
        query,
        payload: { name, brief, protocols, skills, ttl, ...(card && AgentCard.payload(card)) }
      })
    case "topic":
      return announcements.announceTopic({ params: { topic }, query, payload: { name, brief, protocols, tags, ttl } })
  }
}

/** The card that a profile names, as the gateway shows it. */
const cardOf = ({ profile }: typeof Api.Agent.Type): AgentCard.Reference | undefined =>
  profile === null ? undefined : AgentCard.referenceOf({
    cardHash: Hex.decode(profile.card_hash_hex),
    meta: new Map(Object.entries(profile.meta))
  })

/** Time to withdraw what a cancelled call has announced. */
const undoing = "3 seconds"

// --- Waiting -----------------------------------------------------------------------

/** Seconds that a lookup takes at most. */
const lookingUp = 15

/** Seconds that the fetch of a card takes at most. */
const fetching = 10

/** Time for a node that has just started to join. */
const joining = { times: 60, pause: "250 millis" } as const

/** Waits until the node has joined a network, or has failed to. */
const joined = Effect.fnUntraced(function*({ network }: Client) {
  const state = yield* Effect.repeat(network.network(), {
    until: ({ failures, membership }) => membership !== "alone" || failures.length > 0,
    times: joining.times,
    schedule: Schedule.spaced(joining.pause)
  })
  if (state.membership !== "alone") return
  const tried = state.failures.map(({ address, reason }) => `${address}: ${reason}`).join("; ")
  return yield* Effect.fail(failed(
    "NotJoined",
    `The node is not in a network yet${
      tried === "" ? "" : ` (${tried})`
    }. It keeps trying: call again in a minute, or ` +
      "the person you work for can check the addresses that it joins through."
  ))
})

// --- Handlers ----------------------------------------------------------------------

/**
 * The handlers of all tools.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = ({ access, allowPrivate, ended }: Options) =>
  tools.toLayer(Effect.gen(function*() {
    const server = yield* McpServer

    /** Calls the node, with its errors put for a model. */
    const call = <A, R>(use: (client: Client, url: string) => Effect.Effect<A, Failing | Failed, R>) =>
      Effect.mapError(
        Effect.flatMap(access.served, ({ client, url }) => use(client, url)),
        (error) => "_tag" in error ? failureOf(error) : error
      )

    /** Same for what needs a network, which the node may still be joining, and takes at most so many seconds. */
    const lookup = Effect.fnUntraced(function*<A, R>(
      seconds: number,
      message: string,
      use: (client: Client) => Effect.Effect<A, Failing | Failed, R>
    ) {
      const look = yield* Progress.elapsing(seconds, message)
      return yield* call((client) => Effect.andThen(joined(client), use(client))).pipe(
        Progress.reporting(server, look)
      )
    })

    return tools.of({
      whoami: () =>
        call(({ announcements, network, node }, url) =>
          Effect.gen(function*() {
            const [overview, state, listed] = yield* Effect.all(
              [node.overview(), network.network(), announcements.list({ query: { limit: 1000 } })],
              { concurrency: "unbounded" }
            )
            const announced = listed.announcements.map(announcedOf)
            return {
              address: overview.agent,
              membership: state.membership,
              contacts: state.contacts,
              estimated_nodes: Math.round(state.estimated_size),
              reachable_at: state.reachable_at,
              receives_notes: announced.some(({ kind }) => kind === "endpoint" || kind === "profile"),
              announcements: announced,
              unpublished: listed.unpublished,
              page: `${url}/`
            }
          })
        ),
      announce: (content) =>
        Effect.andThen(
          checked(content),
          call((client) =>
            Effect.gen(function*() {
              yield* joined(client)
              const { agent_card: url } = content
              const card = url === undefined
                ? undefined
                : yield* Effect.mapError(
                  AgentCard.refer(url, { allowPrivate }),
                  ({ message }) => failed("NoCard", `${message}.`)
                )
              const { get, remove, what } = slotOf(client, content)
              const isFirst = yield* Effect.match(get, {
                onSuccess: () => false,
                onFailure: ({ _tag }) => _tag === "NotAnnounced"
              })
              const look = Effect.match(get, {
                onSuccess: ({ confirmed, wanted }) => ({
                  at: confirmed.length,
                  total: wanted,
                  message: `${confirmed.length} of ${wanted} nodes hold a copy of ${what}`
                }),
                onFailure: () => ({ at: 0, total: maxReplicas, message: `Publishing ${what}` })
              })
              const announced = yield* put(client, content, card).pipe(
                // It is announced nonetheless.
                Effect.catchTag(["NotEnoughReplicas", "KeyFull"], () => get),
                Effect.onInterrupt(() => isFirst ? Effect.ignore(Effect.timeout(remove, undoing)) : Effect.void),
                Progress.reporting(server, look)
              )
              return announcedOf(announced)
            })
          )
        ),
      withdraw: (slot) =>
        Effect.andThen(
          checked(slot),
          call((client) => {
            const { remove, what } = slotOf(client, slot)
            return Effect.as(remove, { withdrawn: what })
          })
        ),
      discover: ({ after, limit = 20, protocols, resolve = false, tags, topic }) =>
        lookup(resolve ? 2 * lookingUp : lookingUp, `Looking for offers under "${topic}"`, (client) =>
          Effect.gen(function*() {
            const found = yield* client.network.topic({
              params: { topic },
              query: { protocol: protocols, tag: tags, limit, after }
            })
            const offers = resolve ? yield* withEndpoints(client, found.offers) : found.offers.map(offerOf)
            const { completeness: { held, seen }, next, total } = found
            return { topic: found.topic, total, offers, complete: seen >= held, next }
          })),
      resolve: ({ address, verify_card: verifies = false }) =>
        lookup(lookingUp + (verifies ? fetching : 0), `Looking for the records of ${address}`, ({ network }) =>
          Effect.gen(function*() {
            const agent = yield* network.agent({ params: { address }, query: {} })
            if (!verifies) {
              return agentOf(agent)
            }
            const reference = cardOf(agent)
            const card = reference === undefined ? null : Payloads.card(
              yield* AgentCard.verify(reference, { allowPrivate })
            )
            return { ...agentOf(agent), card }
          })),
      send_note: ({ text, to, ttl_seconds: ttl }) =>
        lookup(lookingUp + copying, `Sending a note to ${to}`, ({ exchange }) =>
          exchange.sendMail({ query: { replicas: 1, within: query.within }, payload: { to, text, ttl } }).pipe(
            Effect.map(({ confirmed, record, wanted }) => ({
              to,
              copies: confirmed.length,
              wanted,
              expires_at: time(record.expires_at)
            })),
            Effect.catchTag(
              ["NotEnoughReplicas", "KeyFull"],
              ({ detail }) =>
                Effect.fail(failed(
                  "NotStored",
                  `No other node has stored the note yet: ${detail}. The node keeps trying as long as it runs, so do not send ` +
                    "it again."
                ))
            )
          )),
      read_notes: ({ after, limit = 20, wait_seconds = 0 }) =>
        lookup(lookingUp + wait_seconds, "Waiting for notes", ({ exchange }) =>
          Effect.gen(function*() {
            const read = Effect.filterOrElse(
              exchange.readMail({ query: { limit }, headers: { "last-event-id": after } }),
              isPage,
              () =>
                Effect.die(new Error("No stream was asked for"))
            )
            const first = yield* read
            const isWaiting = first.notes.length === 0 && wait_seconds > 0
            if (isWaiting) {
              yield* Effect.raceFirst(arrival(exchange, first.cursor), ended).pipe(
                Effect.timeoutOption(`${wait_seconds} seconds`)
              )
            }
            const { cursor, more, notes, reset } = isWaiting ? yield* read : first
            return { notes: notes.map(noteOf), cursor, more, reset: reset || first.reset }
          }))
    })
  }))

/** Concurrent lookups of the endpoints of offers. */
const resolving = 4

/** The offers with the endpoints of their agents, as far as these are found in the time of one lookup. */
const withEndpoints = Effect.fnUntraced(
  function*({ network }: Client, offers: ReadonlyArray<typeof Api.Offer.Type>) {
    const timer = yield* Effect.forkChild(Effect.sleep(`${lookingUp} seconds`), { startImmediately: true })
    const late = Effect.as(Fiber.await(timer), undefined)
    const endpointsOf = (address: string) =>
      network.agent({ params: { address }, query: {} }).pipe(
        Effect.map(({ endpoint }) => endpoint?.endpoints ?? []),
        Effect.catchTag("NoMatchingRecords", () => Effect.succeed([])),
        Effect.orElseSucceed(() => undefined)
      )
    return yield* Effect.forEach(offers, (offer) =>
      Effect.map(
        Effect.raceFirst(late, endpointsOf(offer.address)),
        (endpoints) => endpoints === undefined ? offerOf(offer) : { ...offerOf(offer), endpoints }
      ), { concurrency: resolving })
  }
)

/** The notes of a mailbox, as one document. */
const isPage = <A, S>(answer: A | Stream.Stream<S, unknown, unknown>): answer is A => !Stream.isStream(answer)

/** Waits for a note after the cursor. */
const arrival = (exchange: Client["exchange"], cursor: string) =>
  Effect.flatMap(
    exchange.readMail({ query: {}, headers: { accept: "text/event-stream", "last-event-id": cursor } }),
    (events) => Stream.isStream(events) ? Stream.runDrain(Stream.take(events, 1)) : Effect.void
  ).pipe(
    // The notes are read once more at the end.
    Effect.catch(() => Effect.never)
  )
