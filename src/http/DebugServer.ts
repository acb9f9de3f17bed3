/**
 * A look into a running node over HTTP: four read-only JSON documents, with
 * the paths and the field names of the Go reference, so that its tools work.
 *
 * {@link routes} adds them to a router of yours; `NodeDebugServer` of
 * `effect-dht/node` is a server that has nothing else. There is no password:
 * whoever reaches the server can read them.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Address from "../Address.ts"
import { Dht } from "../Dht.ts"
import * as Json from "../internal/json.ts"
import * as NodeId from "../NodeId.ts"
import { Routing } from "../Routing.ts"
import { SeenPeers } from "../SeenPeers.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { Store } from "../Store.ts"

/**
 * `/debug/identity`: who the node is and where it is bound.
 *
 * @category models
 * @since 0.1.0
 */
export type Identity = {
  /** Canonical text. */
  readonly address: string
  readonly node_id_hex: string
  /** `host:port`. */
  readonly local_addr: string
}

/**
 * `/debug/routing`: the routing table, bucket by bucket.
 *
 * @category models
 * @since 0.1.0
 */
export type RoutingTable = {
  readonly self_node_id_hex: string
  readonly peers: ReadonlyArray<{
    /** How many leading bits the peer's id shares with ours. */
    readonly bucket: number
    readonly xor_distance_to_self_hex: string
    /** 42 hex digits. */
    readonly address_hex: string
    readonly node_id_hex: string
    readonly ip: string
    readonly port: number
    /** How long ago the peer was last heard from, in whole seconds: `62s`. Absent for hearsay. */
    readonly verified_ago?: string | undefined
  }>
  readonly total_peers: number
}

/**
 * One element of `/debug/store`: a record that the node holds.
 *
 * @category models
 * @since 0.1.0
 */
export type StoredRecord = {
  readonly key_node_id_hex: string
  /** 42 hex digits. */
  readonly address_hex: string
  readonly rec_type: number
  /** Written in full, beyond 2^53 as well. */
  readonly seq: bigint
  /** Unix seconds, written in full. */
  readonly timestamp: bigint
  readonly ttl_seconds: number
  readonly payload_cbor_len: number
}

/**
 * `/debug/stats`: the node in figures.
 *
 * @category models
 * @since 0.1.0
 */
export type Stats = {
  readonly rx_packets_verified: number
  readonly tx_packets: number
  readonly rpc_completed: number
  readonly total_peers: number
  /** Different nodes heard from within an hour, a day, a week. */
  readonly reach_1h: number
  readonly reach_24h: number
  readonly reach_7d: number
  readonly estimated_network_size: number
  /** 0 to 1. */
  readonly estimate_confidence: number
  readonly verified_peers_1h: number
  readonly unique_nodes_since_start: number
}

/**
 * @category documents
 * @since 0.1.0
 */
export const identity: Effect.Effect<Identity, never, Dht> = Effect.map(
  Dht,
  ({ address, localAddress, nodeId }) => ({
    address: Address.format(address),
    node_id_hex: nodeId,
    local_addr: SocketAddress.format(localAddress)
  })
)

/**
 * @category documents
 * @since 0.1.0
 */
export const routing: Effect.Effect<RoutingTable, never, Dht | Routing> = Effect.gen(function*() {
  const { nodeId } = yield* Dht
  const entries = yield* (yield* Routing).entries
  const now = yield* Clock.currentTimeMillis
  return {
    self_node_id_hex: nodeId,
    peers: entries.map(({ bucket, contact, verifiedAt }) => ({
      bucket,
      xor_distance_to_self_hex: NodeId.distance(nodeId, contact.id),
      address_hex: contact.address,
      node_id_hex: contact.id,
      ip: contact.host,
      port: contact.port,
      verified_ago: verifiedAt === undefined ? undefined : `${Math.round(Math.max(0, now - verifiedAt) / 1000)}s`
    })),
    total_peers: entries.length
  }
})

/**
 * @category documents
 * @since 0.1.0
 */
export const store: Effect.Effect<ReadonlyArray<StoredRecord>, never, Store> = Effect.map(
  Store.use((store) => store.rows),
  (rows) =>
    rows.map((row) => ({
      key_node_id_hex: row.key,
      address_hex: row.address,
      rec_type: row.type,
      seq: row.seq,
      timestamp: row.timestamp,
      ttl_seconds: row.ttl,
      payload_cbor_len: row.payloadLength
    }))
)

/**
 * @category documents
 * @since 0.1.0
 */
export const stats: Effect.Effect<Stats, never, Dht | SeenPeers> = Effect.gen(function*() {
  const { completed, contacts, network, received, seen, sent, verifiedContacts } = yield* (yield* Dht).stats
  const unique = yield* (yield* SeenPeers).uniqueSinceStart
  return {
    rx_packets_verified: received,
    tx_packets: sent,
    rpc_completed: completed,
    total_peers: contacts,
    reach_1h: seen.hour,
    reach_24h: seen.day,
    reach_7d: seen.week,
    estimated_network_size: network.size,
    estimate_confidence: network.confidence,
    verified_peers_1h: verifiedContacts,
    unique_nodes_since_start: unique
  }
})

/** Records turned into text before other fibers get their turn: a store can hold very many. */
const slice = 256

function* texts(records: ReadonlyArray<StoredRecord>) {
  yield "["
  for (let start = 0; start < records.length; start += slice) {
    const text = records.slice(start, start + slice).map(Json.stringify).join(",")
    yield start === 0 ? text : `,${text}`
  }
  yield "]"
}

const contentType = "application/json"

const json = (document: Json.Json) => HttpServerResponse.text(Json.stringify(document), { contentType })

const notAllowed = HttpServerResponse.text("Only GET is allowed here\n", { status: 405, headers: { allow: "GET" } })

/**
 * The four documents at `/debug/identity`, `/debug/routing`, `/debug/store`
 * and `/debug/stats`, for GET and HEAD; any other method is answered with 405.
 *
 * @category layers
 * @since 0.1.0
 */
export const routes: Layer.Layer<never, never, HttpRouter.HttpRouter | Dht | Routing | SeenPeers | Store> = HttpRouter
  .use(
    Effect.fnUntraced(function*(router) {
      const context = yield* Effect.context<Dht | Routing | SeenPeers | Store>()
      const add = (
        path: `/debug/${string}`,
        response: Effect.Effect<HttpServerResponse.HttpServerResponse, never, Dht | Routing | SeenPeers | Store>
      ) => {
        const answer = Effect.provideContext(response, context)
        return router.add(
          "*",
          path,
          ({ method }) => method === "GET" || method === "HEAD" ? answer : Effect.succeed(notAllowed)
        )
      }
      yield* add("/debug/identity", Effect.map(identity, json))
      yield* add("/debug/routing", Effect.map(routing, json))
      yield* add(
        "/debug/store",
        Effect.map(
          store,
          (records) =>
            HttpServerResponse.stream(Stream.encodeText(Stream.fromIterable(texts(records), { chunkSize: 1 })), {
              contentType
            })
        )
      )
      yield* add("/debug/stats", Effect.map(stats, json))
    })
  )
