/**
 * Queries to the network: `ping`, `resolve`, `find-node` and `discover`.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Address from "../../Address.ts"
import { Dht } from "../../Dht.ts"
import * as Endpoint from "../../Endpoint.ts"
import * as Hex from "../../internal/hex.ts"
import * as NameResolver from "../../NameResolver.ts"
import * as DnsResolver from "../../node/DnsResolver.ts"
import type { NodeId } from "../../NodeId.ts"
import * as Record from "../../Record.ts"
import * as SocketAddress from "../../SocketAddress.ts"
import * as Output from "../Output.ts"
import * as Payloads from "../Payloads.ts"
import type * as Secrets from "../Secrets.ts"
import * as Session from "../Session.ts"

interface Common extends Session.Joining {
  readonly data: Option.Option<string>
  readonly json: boolean
}

/**
 * @category commands
 * @since 0.1.0
 */
export const ping = Effect.fnUntraced(
  function*(
    { json, peer, ...network }: Secrets.NetworkFlags & { readonly peer: NameResolver.Host; readonly json: boolean }
  ) {
    const failed = (reason: string) => Output.failed(`${SocketAddress.format(peer)}: ${reason}. ${Session.unanswered}`)
    const { contact, observed, rtt } = yield* NameResolver.addressesOf(peer).pipe(
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
      Effect.provide([DnsResolver.layer, Session.visitor(network)])
    )
    const seen = observed === undefined ? undefined : SocketAddress.format(observed)
    yield* Output.print(
      json,
      { ...Payloads.contact(contact), rttMillis: Math.round(rtt * 1000) / 1000, observed: seen },
      Output.table([
        ["address", Address.format(contact.address)],
        ["node id", contact.id],
        ["is at", SocketAddress.format(contact)],
        ["answered in", `${Math.round(rtt)} ms`],
        ["sees us at", seen ?? "no IP address"]
      ])
    )
  }
)

/** Whether the type has a name of its own; of others the number is shown as well. */
const isNamed = (type: number): boolean => Object.values<number>(Record.RecordType).includes(type)

/**
 * @category commands
 * @since 0.1.0
 */
export const resolve = Effect.fnUntraced(function*(
  { address, data, json, ...joining }: Common & { readonly address: Address.Address }
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
      }))
    },
    contents.flatMap(({ json, kind, record, rows }, i) => [
      ...(i === 0 ? [] : [""]),
      ...Output.table([
        ["record", json !== undefined && isNamed(record.type) ? kind : `type ${record.type} (${kind})`],
        ...rows,
        ...(json === undefined ? [["payload", Hex.encode(record.payload)] as const] : []),
        ...Payloads.signedRows(record)
      ])
    ])
  )
})

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

/**
 * @category commands
 * @since 0.1.0
 */
export const discover = Effect.fnUntraced(function*(
  { data, json, protocol, tag, topic, ...joining }: Common & {
    readonly topic: string
    readonly protocol: ReadonlyArray<string>
    readonly tag: ReadonlyArray<string>
  }
) {
  const { completeness, offers } = yield* Dht.use((dht) => dht.discover(topic, { protocols: protocol, tags: tag }))
    .pipe(
      Effect.catchTags({
        NoMatchingRecords: () => Output.failed(`No agent has published under the topic "${topic}"`),
        NoMatchingOffers: ({ found }) =>
          Output.failed(`None of ${found} offers under the topic "${topic}" matches --protocol and --tag`)
      }),
      Effect.provide(Session.layer(joining, data))
    )
  yield* Output.print(
    json,
    {
      topic,
      offers: offers.map((offer) => ({ ...Payloads.signed(offer.record), ...Payloads.topic(offer) })),
      completeness: { ...completeness }
    },
    [
      ...offers.flatMap((offer) => [
        ...Output.table([["address", Address.format(offer.address)], ...Payloads.topicRows(offer)]),
        ""
      ]),
      Output.completeness(completeness)
    ]
  )
})

const nodes = (count: number): string => count === 1 ? "1 node" : `${count} nodes`
