/**
 * Announcements: `announce`, `announcements` and `withdraw`.
 *
 * `announce` leaves the announcement to the node that runs in the data directory.
 * Without one it keeps the announcement alive itself, until it is interrupted.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Announce from "../../Announce.ts"
import { Dht } from "../../Dht.ts"
import { NatType } from "../../Endpoint.ts"
import type * as Api from "../../http/Api.ts"
import type { Client } from "../../http/Client.ts"
import { natTypes } from "../../http/GatewayApi.ts"
import type { Problem } from "../../http/Problem.ts"
import * as AgentCard from "../../node/AgentCard.ts"
import type { PublishError } from "../../Publisher.ts"
import * as Replication from "../../Replication.ts"
import * as Gateway from "../Gateway.ts"
import * as Identities from "../Identities.ts"
import * as Output from "../Output.ts"
import { refused } from "../Refusal.ts"
import * as Session from "../Session.ts"
import { type About, type Carded, cardOf, report } from "./Publish.ts"

interface Common extends Session.Joining {
  readonly ttl: number
  readonly data: Option.Option<string>
  readonly passphraseEnv: Option.Option<string>
  readonly httpTokenEnv: Option.Option<string>
  readonly json: boolean
}

type Announcement = typeof Api.Announcement.Type

type Failing = Parameters<typeof Gateway.failureOf>[0]

/** An announcement made by the node, and by the command itself. */
interface Ways {
  /** Arguments of the command that withdraws it. */
  readonly slot: ReadonlyArray<string>
  readonly what: string
  readonly byNode: (client: Client) => Effect.Effect<Announcement, Failing>
  readonly get: (client: Client) => Effect.Effect<Announcement, Failing>
  readonly byCommand: (
    announce: Announce.Announce["Service"]
  ) => Effect.Effect<Announce.Announcement, PublishError, Scope.Scope>
}

/** How long the node waits for all copies. */
const query = { replicas: Replication.replicas, within: "10s" }

const rows = ({ confirmed, record }: Announcement) => [
  ["by", record.address] as const,
  ["copies", confirmed.length === 1 ? "on 1 node" : `on ${confirmed.length} nodes`] as const
]

const jsonOf = ({ confirmed, durable, record, renews_at, standing, title }: Announcement) => ({
  title,
  address: record.address,
  type: record.rec_type,
  seq: record.seq,
  timestamp: record.timestamp,
  ttl: record.ttl_seconds,
  expiresAt: record.expires_at,
  renewsAt: renews_at,
  key: record.key_node_id_hex,
  copies: confirmed.length,
  standing,
  durable
})

/** Leaves the announcement to the running node. */
const throughNode = Effect.fnUntraced(function*(
  { data, json }: { readonly data: string; readonly json: boolean },
  client: Client,
  { byNode, get, slot, what }: Ways
) {
  const announcement = yield* byNode(client).pipe(
    Effect.catchIf(
      // It is published nonetheless.
      (error: Failing): error is Problem<"NotEnoughReplicas" | "KeyFull"> =>
        error._tag === "NotEnoughReplicas" || error._tag === "KeyFull",
      () => get(client)
    ),
    Effect.mapError(Gateway.failureOf)
  )
  yield* Output.print(json, { ...jsonOf(announcement), keptBy: "node" }, [
    ...Output.table([
      ["announced", what],
      ...rows(announcement),
      ["kept", announcement.durable ? "by the running node, also over its restarts" : "by the node while it runs"]
    ]),
    `It ends with: ${Output.command("withdraw", ...slot, "--data", data)}`
  ])
})

/** Keeps the announcement alive until it is interrupted. */
const byItself = Effect.fnUntraced(function*(options: Common, { byCommand, what }: Ways) {
  const author = yield* Identities.loadOrForget(options)
  let isAnnounced = false
  return yield* Effect.gen(function*() {
    // Publishing needs a lookup of the nodes closest to the key.
    yield* Dht.use((dht) => dht.setPassive(false))
    const announcement = yield* Effect.mapError(Announce.Announce.use(byCommand), refused)
    isAnnounced = true
    return yield* Session.untilInterrupted(Effect.gen(function*() {
      yield* report(options.json, what, yield* announcement.current)
      yield* Output.print(options.json, { event: "keeping" }, ["Kept alive until Ctrl-C, which withdraws it"])
      return yield* Effect.never
    }))
  }).pipe(
    Effect.scoped,
    Effect.provide(Layer.fresh(Announce.layer)),
    Effect.provide(Session.speakFor(author, options.data)),
    Effect.provide(Session.layer(options, options.data)),
    Effect.onInterrupt(() =>
      isAnnounced ? Output.print(options.json, { event: "withdrawn" }, ["Withdrawn"]) : Effect.void
    )
  )
})

const announce = Effect.fnUntraced(function*(options: Common, ways: Ways) {
  const { httpTokenEnv, json } = options
  const data = Option.getOrUndefined(options.data)
  const served = data === undefined ? undefined : yield* Gateway.find({ data, httpTokenEnv })
  return yield* data === undefined || served === undefined
    ? byItself(options, ways)
    : throughNode({ data, json }, served.client, ways)
})

/**
 * @category commands
 * @since 0.1.0
 */
export const endpoint = (
  options: Common & { readonly endpoint: ReadonlyArray<string>; readonly natType: keyof typeof NatType }
) => {
  const { endpoint: endpoints, ttl } = options
  const natType = NatType[options.natType]
  return announce(options, {
    slot: ["endpoint"],
    what: "an endpoint",
    byNode: ({ announcements }) =>
      announcements.announceEndpoint({ query, payload: { endpoints, nat_type: natTypes[natType], ttl } }),
    get: ({ announcements }) => announcements.endpoint(),
    byCommand: ({ announceEndpoint }) => announceEndpoint({ endpoints, natType, ttl })
  })
}

/**
 * @category commands
 * @since 0.1.0
 */
export const topic = (options: Common & About & { readonly topic: string; readonly tag: ReadonlyArray<string> }) => {
  const { brief, name, protocol: protocols, tag: tags, topic, ttl } = options
  const params = { topic }
  return announce(options, {
    slot: ["topic", topic],
    what: `an offer under the topic "${topic}"`,
    byNode: ({ announcements }) =>
      announcements.announceTopic({ params, query, payload: { name, brief, protocols, tags, ttl } }),
    get: ({ announcements }) => announcements.topic({ params }),
    byCommand: ({ announceTopic }) => announceTopic({ topic, name, brief, protocols, tags, ttl })
  })
}

/**
 * @category commands
 * @since 0.1.0
 */
export const profile = Effect.fnUntraced(function*(
  options: Common & About & Carded & { readonly skill: ReadonlyArray<string> }
) {
  const { brief, name, protocol: protocols, skill: skills, ttl } = options
  const card = yield* cardOf(options)
  const content = { name, brief, protocols, skills, ttl }
  yield* announce(options, {
    slot: ["profile"],
    what: "a profile",
    byNode: ({ announcements }) =>
      announcements.announceProfile({
        query,
        payload: { ...content, ...(card && AgentCard.payload(card)) }
      }),
    get: ({ announcements }) => announcements.profile(),
    byCommand: ({ announceProfile }) => announceProfile({ ...content, ...(card && AgentCard.fields(card)) })
  })
})

interface Through extends Gateway.Options {
  readonly json: boolean
}

/**
 * Lists the records that the running node keeps alive.
 *
 * @category commands
 * @since 0.1.0
 */
export const list = Effect.fnUntraced(function*(options: Through) {
  const client = yield* Gateway.get(options)
  const { announcements, total, unpublished } = yield* Effect.mapError(
    client.announcements.list({ query: { limit: 1000 } }),
    Gateway.failureOf
  )
  yield* Output.print(
    options.json,
    {
      announcements: announcements.map(jsonOf),
      unpublished: unpublished.map(({ kind, reason, topic }) => ({ kind, topic, reason })),
      total
    },
    total === 0 && unpublished.length === 0
      ? ["No announcements"]
      : [
        ...announcements.flatMap((announcement) => [
          ...Output.table([
            [announcement.record.type_name, announcement.title],
            ...rows(announcement),
            ["kept", announcement.standing ? "until it is withdrawn" : "by a program"]
          ]),
          ""
        ]),
        ...unpublished.map(({ kind, reason, topic }) => `Not published: ${topic ?? kind}: ${reason}`)
      ]
  )
})

const withdrawal = (what: string, remove: (client: Client) => Effect.Effect<void, Failing>) =>
  Effect.fnUntraced(function*(options: Through) {
    const client = yield* Gateway.get(options)
    yield* Effect.mapError(remove(client), Gateway.failureOf)
    yield* Output.print(options.json, { withdrawn: what }, [`Withdrawn: ${what}`])
  })

/**
 * @category commands
 * @since 0.1.0
 */
export const withdrawEndpoint = withdrawal("the endpoint", ({ announcements }) => announcements.withdrawEndpoint())

/**
 * @category commands
 * @since 0.1.0
 */
export const withdrawProfile = withdrawal("the profile", ({ announcements }) => announcements.withdrawProfile())

/**
 * @category commands
 * @since 0.1.0
 */
export const withdrawTopic = (options: Through & { readonly topic: string }) =>
  withdrawal(
    `the offer under the topic "${options.topic}"`,
    ({ announcements }) => announcements.withdrawTopic({ params: { topic: options.topic } })
  )(options)
