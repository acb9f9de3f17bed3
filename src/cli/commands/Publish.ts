/**
 * Publishing: `publish endpoint`, `publish topic`, `publish profile` and `publish
 * custom`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Address from "../../Address.ts"
import * as Custom from "../../Custom.ts"
import { Dht } from "../../Dht.ts"
import { NatType } from "../../Endpoint.ts"
import * as AgentCard from "../../node/AgentCard.ts"
import type { NodeId } from "../../NodeId.ts"
import { Publisher, type PublishError } from "../../Publisher.ts"
import * as Replication from "../../Replication.ts"
import * as Identities from "../Identities.ts"
import * as Output from "../Output.ts"
import * as Payloads from "../Payloads.ts"
import { refused } from "../Refusal.ts"
import * as Session from "../Session.ts"

interface Common extends Session.Joining {
  readonly ttl: number
  readonly data: Option.Option<string>
  readonly passphraseEnv: Option.Option<string>
  readonly json: boolean
}

/**
 * Flags that describe an agent.
 *
 * @category models
 * @since 0.1.0
 */
export interface About {
  readonly name: string
  readonly brief: string
  readonly protocol: ReadonlyArray<string>
}

/**
 * Flags of an agent's card.
 *
 * @category models
 * @since 0.1.0
 */
export interface Carded {
  readonly agentCard: Option.Option<string>
  readonly allowPrivate: boolean
}

/**
 * The card that a profile is to name; undefined if it is to name none.
 *
 * @category publishing
 * @since 0.1.0
 */
export const cardOf = Effect.fnUntraced(function*({ agentCard, allowPrivate }: Carded) {
  if (Option.isNone(agentCard)) return undefined
  return yield* Effect.mapError(
    AgentCard.refer(agentCard.value, { allowPrivate }),
    ({ message }) => Output.failed(message)
  )
})

/** Time limit for storing the copies. */
const timeout = "30 seconds"

/**
 * Waits for the copies of a record and reports them.
 *
 * @category publishing
 * @since 0.1.0
 */
export const report = Effect.fnUntraced(function*(
  json: boolean,
  what: string,
  { current, full, hints, isSurrounded, key, replicas }: Replication.Publication
) {
  const holders = yield* replicas(Replication.replicas, { within: timeout }).pipe(
    Effect.catchTags({
      NotEnoughReplicas: ({ confirmed }) => Effect.succeed(confirmed),
      KeyFull: ({ confirmed, message }) =>
        confirmed.length === 0
          ? Output.failed(message)
          : Effect.as(json ? Effect.void : Output.warn(`Warning: ${message}`), confirmed),
      StaleRecord: ({ message }) => Output.failed(`Readers do not see ${what}. ${message}`)
    })
  )
  if (holders.length === 0) {
    return yield* Output.failed(`No node stored a copy of ${what}. Check the clock of this machine`)
  }
  const surrounded = yield* isSurrounded
  if (surrounded && !json) {
    yield* Output.warn(
      "Warning: Nodes surround this key more closely than chance allows, possibly to hide its records. The record was " +
        "copied to the whole region around it"
    )
  }
  if (!json) yield* Effect.forEach(hints, ({ message }) => Output.warn(`Warning: ${message}`), { discard: true })
  const record = yield* current
  yield* Output.print(
    json,
    {
      ...Payloads.signed(record),
      key,
      copies: holders.length,
      holders: holders.map(Payloads.contact),
      full: (yield* full).length,
      surrounded,
      hints: hints.map(Payloads.hint)
    },
    Output.table([
      ["published", what],
      ["by", Address.format(record.address)],
      ["copies", holders.length === 1 ? "on 1 node" : `on ${holders.length} nodes`],
      ["until", Output.time(record.expiresAt)]
    ])
  )
})

/**
 * Publishes under the identity that the options select.
 *
 * @category publishing
 * @since 0.1.0
 */
export const publish = Effect.fnUntraced(function*<E extends Output.Failure, R>(
  options: Omit<Common, "ttl">,
  what: string,
  make: Effect.Effect<Replication.Publication, PublishError | E, R>
) {
  const author = yield* Identities.loadOrForget(options)
  yield* Effect.gen(function*() {
    // Publishing needs a lookup of the nodes closest to the key.
    yield* Dht.use((dht) => dht.setPassive(false))
    const publication = yield* Effect.mapError(make, (error) => error._tag === "Failure" ? error : refused(error))
    yield* report(options.json, what, publication)
  }).pipe(
    Effect.provide(Session.speakFor(author, options.data)),
    Effect.provide(Session.layer(options, options.data))
  )
})

/**
 * @category commands
 * @since 0.1.0
 */
export const endpoint = (
  options: Common & { readonly endpoint: ReadonlyArray<string>; readonly natType: keyof typeof NatType }
) =>
  publish(
    options,
    "an endpoint",
    Publisher.use((publisher) =>
      publisher.publishEndpoint({
        endpoints: options.endpoint,
        natType: NatType[options.natType],
        ttl: options.ttl
      })
    )
  )

/**
 * @category commands
 * @since 0.1.0
 */
export const topic = (options: Common & About & { readonly topic: string; readonly tag: ReadonlyArray<string> }) =>
  publish(
    options,
    `an offer under the topic "${options.topic}"`,
    Publisher.use((publisher) =>
      publisher.publishTopic({
        topic: options.topic,
        name: options.name,
        brief: options.brief,
        protocols: options.protocol,
        tags: options.tag,
        ttl: options.ttl
      })
    )
  )

/**
 * @category commands
 * @since 0.1.0
 */
export const profile = (options: Common & About & Carded & { readonly skill: ReadonlyArray<string> }) =>
  Effect.flatMap(cardOf(options), (card) =>
    publish(
      options,
      "a profile",
      Publisher.use((publisher) =>
        publisher.publishProfile({
          name: options.name,
          brief: options.brief,
          protocols: options.protocol,
          skills: options.skill,
          ...(card && AgentCard.fields(card)),
          ttl: options.ttl
        })
      )
    ))

/**
 * @category commands
 * @since 0.1.0
 */
export const custom = (
  options: Common & { readonly type: number; readonly value: Schema.Json; readonly key: Option.Option<NodeId> }
) =>
  publish(
    options,
    `a record of type 0x${options.type.toString(16).padStart(2, "0")}`,
    Publisher.use((publisher) =>
      publisher.publishCustom({
        custom: Custom.make({ type: options.type, schema: Schema.Json }),
        value: options.value,
        key: Option.getOrUndefined(options.key),
        ttl: options.ttl
      })
    ).pipe(Effect.catchTag("InvalidPayload", ({ message }) => Output.usage(message)))
  )
