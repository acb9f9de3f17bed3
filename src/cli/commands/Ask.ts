/**
 * Queries to the network: `ping`, `resolve`, `find-node`, `discover`, `network` and
 * `reachability`.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Address from "../../Address.ts"
import { Dht, type PeerIdentity } from "../../Dht.ts"
import type { Offer } from "../../Discovery.ts"
import * as Endpoint from "../../Endpoint.ts"
import * as Hex from "../../internal/hex.ts"
import * as NameResolver from "../../NameResolver.ts"
import * as Network from "../../Network.ts"
import type * as AgentCard from "../../node/AgentCard.ts"
import * as DnsResolver from "../../node/DnsResolver.ts"
import type { NodeId } from "../../NodeId.ts"
import { NodeSettings } from "../../NodeSettings.ts"
import * as Profile from "../../Profile.ts"
import * as Record from "../../Record.ts"
import * as SocketAddress from "../../SocketAddress.ts"
import type * as Gateway from "../Gateway.ts"
import * as Output from "../Output.ts"
import * as Payloads from "../Payloads.ts"
import * as Session from "../Session.ts"

interface Common extends Session.Joining {
  readonly data: Option.Option<string>
  readonly json: boolean
}

/**
 * @category commands
 * @since 0.1.0
 */
export const ping = (
  { peer, ...options }: Common & { readonly peer: NameResolver.Host | Address.Address }
): Effect.Effect<void, Output.Failure> => typeof peer === "string" ? pingNamed(peer, options) : pingAt(peer, options)

const pinged = (
  json: boolean,
  { contact, observed, rtt }: PeerIdentity,
  how?: { readonly json: string; readonly text: string }
) => {
  const seen = observed === undefined ? undefined : SocketAddress.format(observed)
  return Output.print(
    json,
    { ...Payloads.contact(contact), rttMillis: Math.round(rtt * 1000) / 1000, observed: seen, reached: how?.json },
    Output.table([
      ["address", Address.format(contact.address)],
      ["node id", contact.id],
      ["is at", SocketAddress.format(contact)],
      ...(how === undefined ? [] : [["reached", how.text] as const]),
      ["answered in", `${Math.round(rtt)} ms`],
      ["sees us at", seen ?? "no IP address"]
    ])
  )
}

const ways = {
  Direct: { json: "direct", text: "directly" },
  Punched: { json: "punched", text: "through routers, by way of a node that both can reach" }
} as const

/** Pings the node with an address, through routers as well. */
const pingNamed = Effect.fnUntraced(function*(address: Address.Address, { data, json, ...joining }: Common) {
  const [how, answer] = yield* Effect.gen(function*() {
    const dht = yield* Dht
    const { how, peer } = yield* dht.connect(address)
    return [how, yield* dht.ping(peer)] as const
  }).pipe(
    Effect.scoped,
    Effect.mapError(({ message }) => Output.failed(message)),
    Effect.provide(Session.layer(joining, data))
  )
  yield* pinged(json, answer, ways[how])
})

/** Pings the node at a socket address. */
const pingAt = Effect.fnUntraced(
  function*(peer: NameResolver.Host, { json, network, networkKeyEnv }: Common) {
    const failed = (reason: string) => Output.failed(`${SocketAddress.format(peer)}: ${reason}. ${Session.unanswered}`)
    const answer = yield* NameResolver.addressesOf(peer).pipe(
      Effect.mapError((error) => Output.failed(`${SocketAddress.format(peer)}: ${Session.reasonOf(error)}`)),
      Effect.flatMap((addresses) =>
        Dht.use((dht) =>
          NameResolver.race(
            Arr.map(addresses, (address) => Effect.mapError(dht.ping(address), (error) => ({ address, error })))
          )
        ).pipe(
          Effect.mapError((failures) =>
            failed(addresses.length === 1 ? Session.reasonOf(failures[0].error) : Session.list(failures))
          )
        )
      ),
      Effect.provide([DnsResolver.layer, Session.visitor({ network, networkKeyEnv })])
    )
    yield* pinged(json, answer)
  }
)

/** Whether the type has a name of its own; of others the number is shown as well. */
const isNamed = (type: number): boolean => Object.values<number>(Record.RecordType).includes(type)

/**
 * @category commands
 * @since 0.1.0
 */
export const resolve = Effect.fnUntraced(function*(
  { address, allowPrivate, data, json, verifyCard, ...joining }: Common & {
    readonly address: Address.Address
    readonly verifyCard: boolean
    readonly allowPrivate: boolean
  }
) {
  const records = yield* Dht.use((dht) => dht.resolveAll(address)).pipe(
    Effect.catchTag("NoMatchingRecords", ({ answered }) =>
      Output.failed(
        `${Address.format(address)} has no published records, or they have expired: ${
          nodes(answered)
        } answered and had none`
      )),
    Effect.provide(Session.layer(joining, data))
  )
  const contents = records.map((record) => ({ record, ...Payloads.read(record) }))
  const endpoint = records.find(({ type }) => type === Record.RecordType.endpoint)
  const verdict = verifyCard ? yield* verdictOn(records, { allowPrivate }) : undefined
  yield* Output.print(
    json,
    {
      address: Address.format(address),
      endpoints: [],
      // The endpoint is what most callers need, so it is repeated at the top level.
      ...(endpoint === undefined ? {} : Payloads.signed(endpoint)),
      ...(endpoint === undefined ? {} : Result.match(Endpoint.decode(endpoint.payload), {
        onFailure: () => ({}),
        onSuccess: Payloads.endpoint
      })),
      records: contents.map(({ json, kind, record }) => ({
        ...Payloads.signed(record),
        kind,
        payload: json,
        payloadHex: Hex.encode(record.payload)
      })),
      card: verifyCard ? verdict === undefined ? null : Payloads.card(verdict) : undefined
    },
    [
      ...contents.flatMap(({ json, kind, record, rows }, i) => [
        ...(i === 0 ? [] : [""]),
        ...Output.table([
          ["record", json !== undefined && isNamed(record.type) ? kind : `type ${record.type} (${kind})`],
          ...rows,
          ...(json === undefined ? [["payload", Hex.encode(record.payload)] as const] : []),
          ...Payloads.signedRows(record)
        ])
      ]),
      ...(verdict === undefined ? [] : ["", ...Output.table(Payloads.cardRows(verdict))])
    ]
  )
  if (verifyCard) yield* matching(verdict)
})

/** Checks the card that the profile among the records names; undefined if it names none. */
const verdictOn = Effect.fnUntraced(
  function*(records: ReadonlyArray<Record.SignedRecord>, options: { readonly allowPrivate: boolean }) {
    const AgentCard = yield* Effect.promise(() => import("../../node/AgentCard.ts"))
    const profile = records.find(({ type }) => type === Record.RecordType.profile)
    const payload = profile && Result.getOrUndefined(Profile.decode(profile.payload))
    const reference = payload && AgentCard.referenceOf(payload)
    return reference && (yield* AgentCard.verify(reference, options))
  }
)

/** Fails unless the card is the one that was signed. */
const matching = (verdict: AgentCard.Verdict | undefined): Effect.Effect<void, Output.Failure> => {
  switch (verdict?._tag) {
    case "Matches":
      return Effect.void
    case "Changed":
      return Output.failed(`The card at ${verdict.url} is not the one that the profile was published with`)
    case "Unreachable":
      return Output.failed(`The card at ${verdict.url} cannot be checked: ${verdict.reason}`)
    case undefined:
      return Output.failed("The address has published no profile that names a card")
  }
}

/**
 * @category commands
 * @since 0.1.0
 */
export const findNode = Effect.fnUntraced(function*(
  { data, json, target, ...joining }: Common & { readonly target: NodeId }
) {
  const contacts = yield* Effect.provide(Dht.use((dht) => dht.findNode(target)), Session.layer(joining, data))
  if (contacts.length === 0) return yield* Output.failed("No node answered")
  yield* Output.print(
    json,
    { target, contacts: contacts.map(Payloads.contact) },
    contacts.map((contact) => `${contact.id}  ${Address.format(contact.address)}  ${SocketAddress.format(contact)}`)
  )
})

/** An offer as JSON and as lines, with the agent's endpoints if they are wanted: null if it has none. */
const offerOf = Effect.fnUntraced(function*(offer: Offer, resolve: boolean) {
  const endpoints = resolve
    ? yield* Dht.use((dht) => dht.resolve(offer.address)).pipe(
      Effect.match({ onFailure: () => null, onSuccess: ({ endpoints }) => endpoints ?? [] })
    )
    : undefined
  return {
    json: { ...Payloads.signed(offer.record), ...Payloads.topic(offer), endpoints },
    rows: [
      ["address", Address.format(offer.address)] as const,
      ...Payloads.topicRows(offer),
      ...(endpoints ?? []).map((endpoint) => ["endpoint", endpoint] as const)
    ]
  }
})

/**
 * @category commands
 * @since 0.1.0
 */
export const discover = Effect.fnUntraced(function*(
  { data, json, protocol, resolve, tag, topic, watch, ...joining }: Common & {
    readonly topic: string
    readonly protocol: ReadonlyArray<string>
    readonly tag: ReadonlyArray<string>
    readonly resolve: boolean
    readonly watch: boolean
  }
) {
  const filter = { protocols: protocol, tags: tag }
  const session = Session.layer(joining, data)
  if (watch) {
    return yield* Session.untilInterrupted(
      Dht.use((dht) =>
        Stream.runForEach(
          dht.watchTopic(topic, filter),
          ({ _tag, offer }) =>
            Effect.flatMap(offerOf(offer, resolve && _tag !== "Gone"), ({ json: document, rows }) =>
              Output.print(json, { event: _tag.toLowerCase(), ...document }, [
                ...Output.table([["event", _tag.toLowerCase()], ...rows]),
                ""
              ]))
        )
      ).pipe(
        Effect.catchTag("InvalidTopic", ({ message }) => Output.usage(message)),
        Effect.provide(session)
      )
    )
  }
  yield* Effect.gen(function*() {
    const dht = yield* Dht
    const { completeness, offers } = yield* Effect.catchTags(dht.discover(topic, filter), {
      NoMatchingRecords: () => Output.failed(`No agent has published under the topic "${topic}"`),
      NoMatchingOffers: ({ found }) =>
        Output.failed(`None of ${found} offers under the topic "${topic}" matches --protocol and --tag`)
    })
    const shown = yield* Effect.forEach(offers, (offer) => offerOf(offer, resolve), { concurrency: resolvedAtOnce })
    yield* Output.print(
      json,
      { topic, offers: shown.map(({ json }) => json), completeness: { ...completeness } },
      [
        ...shown.flatMap(({ rows }) => [...Output.table(rows), ""]),
        Output.completeness(completeness)
      ]
    )
  }).pipe(Effect.provide(session))
})

/** Agents whose endpoints are looked up at a time. */
const resolvedAtOnce = 8

/** The network as the node sees it that runs in a data directory, if one does. */
const seenByNode = Effect.fnUntraced(function*(options: Gateway.Options) {
  const { failureOf, find } = yield* Effect.promise(() => import("../Gateway.ts"))
  const served = yield* find(options)
  return served === undefined ? undefined : yield* Effect.mapError(served.client.network.network(), failureOf)
})

/**
 * The network as the running node of the data directory sees it, or as it looks
 * to a node that joins.
 *
 * @category commands
 * @since 0.1.0
 */
export const network = Effect.fnUntraced(function*(
  { data, httpTokenEnv, json, ...joining }: Common & { readonly httpTokenEnv: Option.Option<string> }
) {
  const found = Option.isNone(data) || joining.bootstrap.length > 0
    ? undefined
    : yield* seenByNode({ data: data.value, httpTokenEnv })
  if (found !== undefined) {
    const { at_ms: _, ...seen } = found
    return yield* Output.print(
      json,
      {
        network: { name: seen.name, hasKey: seen.has_key },
        membership: seen.membership,
        failures: seen.failures.map(({ address, reason }) => ({ address, reason })),
        estimatedSize: seen.estimated_size,
        confidence: seen.confidence,
        contacts: seen.contacts,
        listen: seen.local_addrs.join(","),
        reachableAt: seen.reachable_at
      },
      Output.table([
        ["network", Network.format({ hasKey: seen.has_key, name: seen.name ?? undefined })],
        ["membership", seen.membership],
        ["nodes", sizeOf(seen.estimated_size, seen.confidence)],
        ["contacts", String(seen.contacts)],
        ["listens on", `${seen.local_addrs.join(", ")} (UDP)`],
        ["reachable at", seen.reachable_at ?? "not known: too few peers agree on an address"],
        ...seen.failures.map(({ address, reason }) => ["no answer", `${address}: ${reason}`] as const)
      ])
    )
  }
  yield* Effect.gen(function*() {
    const dht = yield* Dht
    // The nodes around our own id tell how dense the network is.
    yield* dht.setPassive(false)
    yield* dht.findNode(dht.nodeId)
    const { contacts, network: { confidence, size } } = yield* dht.stats
    const { hasKey, name } = (yield* NodeSettings).network
    yield* Output.print(
      json,
      { network: { name: name ?? null, hasKey }, estimatedSize: size, confidence, contacts },
      Output.table([
        ["network", Network.format({ hasKey, name })],
        ["nodes", sizeOf(size, confidence)],
        ["contacts", String(contacts)]
      ])
    )
  }).pipe(Effect.provide(Session.layer(joining, data)))
})

/**
 * Whether strangers can reach the running node of the data directory.
 *
 * @category commands
 * @since 0.1.0
 */
export const reachability = Effect.fnUntraced(function*(
  { data, httpTokenEnv, json }: {
    readonly data: string
    readonly httpTokenEnv: Option.Option<string>
    readonly json: boolean
  }
) {
  const { failureOf, get } = yield* Effect.promise(() => import("../Gateway.ts"))
  const client = yield* get({ data, httpTokenEnv })
  const { local_addr, reachable, reachable_at, reachable_why } = yield* Effect.mapError(
    client.network.network(),
    failureOf
  )
  yield* Output.print(
    json,
    { reachable, why: reachable_why, listen: local_addr, reachableAt: reachable_at },
    [
      ...Output.table([
        ["reachable", { open: "yes", closed: "no", unknown: "not known" }[reachable]],
        ["listens on", `${local_addr} (UDP)`],
        ["others see", reachable_at ?? "not known: too few peers agree on an address"]
      ]),
      "",
      reachable_why
    ]
  )
})

const sizeOf = (size: number, confidence: number): string =>
  `about ${Math.round(size)} (confidence ${Math.round(confidence * 100)} %)`

const nodes = (count: number): string => count === 1 ? "1 node" : `${count} nodes`
