/**
 * A node of the DHT: the interface for programs that look for others and
 * publish themselves.
 *
 * {@link layer} builds one from an identity, a transport and a source of
 * randomness; `DhtLive` of `effect-dht/node` provides those of Node. The
 * services that it is made of ({@link Services}) are part of the layer, for
 * programs that need more.
 *
 * @module
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import type * as Stream from "effect/Stream"
import type { Address } from "./Address.ts"
import * as Announce from "./Announce.ts"
import { background, inOrder, service } from "./Assembly.ts"
import * as Bootstrap from "./Bootstrap.ts"
import type { Contact } from "./Contact.ts"
import * as ContactChecks from "./ContactChecks.ts"
import type { Crypto } from "./Crypto.ts"
import * as DelegationChecks from "./DelegationChecks.ts"
import * as Discovery from "./Discovery.ts"
import { NodeIdentity } from "./Identity.ts"
import * as IdentityConflicts from "./IdentityConflicts.ts"
import * as Mail from "./Mail.ts"
import * as Maintenance from "./Maintenance.ts"
import type { Host } from "./NameResolver.ts"
import * as NodeEvents from "./NodeEvents.ts"
import * as NodeId from "./NodeId.ts"
import * as NodeLog from "./NodeLog.ts"
import * as NodeSettings from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import * as Persistence from "./Persistence.ts"
import * as Publisher from "./Publisher.ts"
import * as Query from "./Query.ts"
import * as Reachability from "./Reachability.ts"
import * as ReachabilityCheck from "./ReachabilityCheck.ts"
import type * as Record from "./Record.ts"
import * as Rendezvous from "./Rendezvous.ts"
import * as Replication from "./Replication.ts"
import * as Request from "./Request.ts"
import * as Responder from "./Responder.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SeenPeers from "./SeenPeers.ts"
import * as SocketAddress from "./SocketAddress.ts"
import * as StandingAnnouncements from "./StandingAnnouncements.ts"
import * as Store from "./Store.ts"
import * as Subscriptions from "./Subscriptions.ts"
import * as Timers from "./Timers.ts"
import type * as Topic from "./Topic.ts"
import { Transport } from "./Transport.ts"
import type { Verifier } from "./Verifier.ts"
import * as Watch from "./Watch.ts"

/**
 * Response to a ping.
 *
 * @category models
 * @since 0.1.0
 */
export interface PeerIdentity {
  /** The peer's identity, at the address that it answered from. */
  readonly contact: Contact
  /** Our own address as the peer sees it; undefined if it does not see an IP. */
  readonly observed: SocketAddress.SocketAddress | undefined
  /** Round-trip time in milliseconds. */
  readonly rtt: number
}

/**
 * Response of one peer to a FIND_VALUE. Its records are not verified.
 *
 * @category models
 * @since 0.1.0
 */
export interface Found {
  /** Records that the peer holds at the key, as far as they fit into a datagram. */
  readonly records: ReadonlyArray<Record.SignedRecord>
  /** Nodes that are closer to the key. */
  readonly nodes: ReadonlyArray<Contact>
}

/**
 * Statistics of a node.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stats extends Rpc.Traffic {
  /** Contacts in the routing table. */
  readonly contacts: number
  /** Contacts heard from within an hour. */
  readonly verifiedContacts: number
  /** Nodes heard from directly. */
  readonly seen: SeenPeers.SeenCounts
  /** Estimated number of nodes in the network, and the confidence in it (0 to 1). */
  readonly network: Routing.NetworkSize
  /** Keys in the store. */
  readonly keys: number
}

/**
 * A running node.
 *
 * Every operation can be interrupted at any moment and leaves nothing behind.
 *
 * @category services
 * @since 0.1.0
 */
export class Dht extends Context.Service<Dht, {
  /** The address of the node's own key, from which its node id is derived. */
  readonly address: Address
  /** The node's place in the network: the SHA-256 of its address. */
  readonly nodeId: NodeId.NodeId
  /** The address it publishes and reads messages for: `address`, or the master that delegated to its key. */
  readonly agent: Address
  /** Where the transport is bound; of several addresses the one that most peers can reach. */
  readonly localAddress: SocketAddress.SocketAddress
  /** All addresses where the transport is bound. */
  readonly localAddresses: ReadonlyArray<SocketAddress.SocketAddress>

  // --- Joining
  /**
   * Joins through nodes given by name or IP, and those remembered from the last
   * run: pings all at once, then looks up its own id, which makes the node
   * known to its neighbours. Succeeds with the nodes that answered within a
   * second of the first; for an empty list with none, as in the first node of a
   * network. Fails if none of the given nodes answers within about ten seconds.
   *
   * @example
   * ```ts
   * import { Dht } from "effect-dht"
   * import { DhtLive } from "effect-dht/node"
   * import * as Effect from "effect/Effect"
   *
   * const program = Dht.Dht.use((dht) => dht.bootstrap(["dht.example.net:4121"])).pipe(
   *   Effect.tap((contacts) => Effect.log(`Joined through ${contacts.length} nodes`)),
   *   Effect.catchTag("CannotJoin", ({ failures }) =>
   *     Effect.forEach(failures, ({ error }) => Effect.logError(error.message), { discard: true }))
   * )
   *
   * Effect.runPromise(program.pipe(Effect.provide(DhtLive())))
   * ```
   */
  readonly bootstrap: Bootstrap.Bootstrap["Service"]["join"]
  /**
   * Joins through contacts whose identity is known and trusted, without a ping.
   * A port that is not of 16 bits dies with a `RangeError`, as in `addContact`.
   */
  readonly bootstrapContacts: (contacts: ReadonlyArray<Contact>) => Effect.Effect<void>
  /** Up to `max` addresses worth remembering for the next start, the healthiest first. */
  readonly bootstrapCandidates: (max: number) => Effect.Effect<ReadonlyArray<SocketAddress.SocketAddress>>
  /** Adds a contact as if it had just been heard from. */
  readonly addContact: (contact: Contact) => Effect.Effect<void>

  // --- Asking the network
  /** The 16 live nodes closest to the target, nearest first, without ourselves; fewer in a smaller network. */
  readonly findNode: (target: NodeId.NodeId) => Effect.Effect<ReadonlyArray<Contact>>
  /**
   * The records at a key: those held here, or else the first valid ones that a
   * node returns. `options.type` limits them to one type. With
   * `options.quorum`, that many nodes must return one before the newest counts.
   */
  readonly findRecords: Query.Query["Service"]["findRecords"]
  /**
   * All records at a key, of one type or of any (0): every close node is asked,
   * and the newest of each slot counts.
   */
  readonly aggregateRecords: Query.Query["Service"]["aggregateRecords"]
  /**
   * Where an address can be reached now: its newest endpoint record. Fails if
   * it has published none, or if that has expired.
   *
   * @example
   * ```ts
   * import { Address, Dht } from "effect-dht"
   * import * as Effect from "effect/Effect"
   *
   * const urlsOf = (text: string) =>
   *   Effect.gen(function*() {
   *     const dht = yield* Dht.Dht
   *     const address = yield* Effect.fromResult(Address.fromString(text))
   *     const { endpoints, record } = yield* dht.resolve(address)
   *     yield* Effect.log(`Known until ${record.expiresAt} (Unix seconds)`)
   *     return endpoints ?? []
   *   }).pipe(Effect.catchTag("NoEndpoint", () => Effect.succeed<ReadonlyArray<string>>([])))
   * ```
   */
  readonly resolve: (
    address: Address,
    options?: Pick<Query.FindOptions, "quorum">
  ) => Effect.Effect<Query.Resolved, Query.NoEndpoint>
  /**
   * All that an address publishes about itself: its newest record of each type
   * at its own key (endpoint, profile, custom types), in the order of types.
   *
   * @example
   * ```ts
   * import { type Address, Dht, Profile, Record } from "effect-dht"
   * import * as Effect from "effect/Effect"
   *
   * const nameOf = Effect.fnUntraced(function*(address: Address.Address) {
   *   const records = yield* Dht.Dht.use((dht) => dht.resolveAll(address))
   *   const profile = records.find(({ type }) => type === Record.RecordType.profile)
   *   return profile === undefined ? "" : (yield* Effect.fromResult(Profile.decode(profile.payload))).name
   * })
   * ```
   */
  readonly resolveAll: Query.Query["Service"]["resolveAll"]
  /**
   * The agents that published under a topic, and how complete the result is.
   * For several topics, the agents that published under each of them, with one
   * offer per topic. Fails if there are no offers, or none passes the filter.
   *
   * @example
   * ```ts
   * import { Address, Dht } from "effect-dht"
   * import * as Effect from "effect/Effect"
   *
   * const translators = Effect.gen(function*() {
   *   const dht = yield* Dht.Dht
   *   const { offers } = yield* dht.discover("translate", { protocols: ["a2a", "http"], tags: ["de"] })
   *   for (const { address, name } of offers) yield* Effect.log(`${name}: ${Address.format(address)}`)
   * }).pipe(
   *   Effect.catchTag("NoMatchingRecords", () => Effect.log("No agent translates")),
   *   Effect.catchTag("NoMatchingOffers", ({ found }) => Effect.log(`None of ${found} translates into German`))
   * )
   * ```
   */
  readonly discover: (
    topics: string | Arr.NonEmptyReadonlyArray<string>,
    filter?: Topic.Filter
  ) => Effect.Effect<Discovery.Discovered, Topic.InvalidTopic | Query.NoMatchingRecords | Discovery.NoMatchingOffers>

  /**
   * The custom records of one type that an address published, or that are at a
   * key, each as a value of its schema or as the reason why it is none. Fails
   * if there are none.
   *
   * @example
   * ```ts
   * import { type Address, Custom, Dht } from "effect-dht"
   * import * as Effect from "effect/Effect"
   * import * as Schema from "effect/Schema"
   *
   * const Load = Custom.make({ type: 0x07, schema: Schema.Struct({ jobs: Schema.Int }) })
   *
   * const jobsOf = (address: Address.Address) =>
   *   Effect.gen(function*() {
   *     const dht = yield* Dht.Dht
   *     const { found, refused } = yield* dht.findCustom(Load, { address })
   *     for (const { error } of refused) yield* Effect.logWarning(error.message)
   *     return found[0]?.value.jobs
   *   }).pipe(Effect.catchTag("NoMatchingRecords", () => Effect.undefined))
   * ```
   */
  readonly findCustom: Discovery.Discovery["Service"]["findCustom"]

  /** Streams the offers under a topic and their changes, from now on. */
  readonly watchTopic: Discovery.Discovery["Service"]["watchTopic"]

  // --- Asking one peer
  /** Pings a peer, which reports its identity and our address as it sees it. */
  readonly ping: (peer: Request.Peer) => Effect.Effect<PeerIdentity, Request.RequestError>
  /** The nodes closest to the target that one peer knows. */
  readonly findNodeAt: (
    peer: Request.Peer,
    target: NodeId.NodeId
  ) => Effect.Effect<ReadonlyArray<Contact>, Request.RequestError>
  /** The records of a type (0, the default, for any) that one peer holds at a key. They are not verified. */
  readonly findValueAt: (
    peer: Request.Peer,
    key: NodeId.NodeId,
    type?: number
  ) => Effect.Effect<Found, Request.RequestError>
  /** Succeeds with whether the peer reports that it stored the record. */
  readonly storeAt: (
    peer: Request.Peer,
    record: Record.SignedRecord,
    key?: NodeId.NodeId
  ) => Effect.Effect<boolean, Request.RequestError>
  /** Whether a datagram that `via` sends to `claimed` on request arrives here in time. */
  readonly natProbe: Rpc.Rpc["Service"]["natProbe"]

  // --- Ways through routers
  /**
   * Meets the node with this address, through routers where there are any, and
   * keeps the way open until the scope closes. Datagrams of a protocol of yours go
   * to `peer` by `Transport.foreign`, from the port of the node.
   *
   * @example
   * ```ts
   * import { type Address, Dht, Transport } from "effect-dht"
   * import * as Effect from "effect/Effect"
   *
   * const greet = Effect.fn(function*(address: Address.Address) {
   *   const { how, peer } = yield* Dht.Dht.use((dht) => dht.connect(address))
   *   yield* Effect.log(how)
   *   const { foreign } = yield* Transport.Transport
   *   // Bit 0x40 of the first byte says that the datagram is not for the DHT.
   *   yield* foreign.send(new TextEncoder().encode("Hello"), peer)
   * }, Effect.scoped)
   * ```
   */
  readonly connect: Rendezvous.Rendezvous["Service"]["connect"]
  /** Nodes that met this one, as they do. */
  readonly incoming: Rendezvous.Rendezvous["Service"]["incoming"]

  // --- Publishing
  /**
   * Publishes a record that is already signed, at its own key or at the given
   * one. Returns once the record is stored here; copying continues in the
   * background until the record expires.
   */
  readonly publish: Publisher.Publisher["Service"]["publish"]
  /**
   * Signs and publishes where the agent can be reached, for `ttl`
   * seconds (an hour by default). Nothing renews it: see `announceEndpoint`.
   *
   * @example
   * ```ts
   * import { Dht } from "effect-dht"
   * import * as Effect from "effect/Effect"
   *
   * const program = Effect.gen(function*() {
   *   const dht = yield* Dht.Dht
   *   const publication = yield* dht.publishEndpoint({ endpoints: ["tcp://203.0.113.5:8080"], ttl: 600 })
   *   const holders = yield* publication.replicas(8, { within: "10 seconds" })
   *   yield* Effect.log(`${holders.length} nodes hold a copy`)
   * }).pipe(
   *   Effect.catchTag("NotEnoughReplicas", ({ confirmed }) => Effect.log(`Only ${confirmed.length} copies so far`)),
   *   Effect.catchTag("RecordTooLarge", ({ excess }) => Effect.logError(excess))
   * )
   * ```
   */
  readonly publishEndpoint: Publisher.Publisher["Service"]["publishEndpoint"]
  /** Signs and publishes an offer of the agent under a topic, for an hour or a `ttl` of at most two hours. */
  readonly publishTopic: Publisher.Publisher["Service"]["publishTopic"]
  /** Signs and publishes the agent's profile, for `ttl` seconds (an hour by default). */
  readonly publishProfile: Publisher.Publisher["Service"]["publishProfile"]
  /**
   * Signs and publishes a value under a type that is left to applications, at
   * the key of the agent, or at the given one if the type allows that; see
   * `Custom`. Any bytes are published with `type` and `payload` in place of
   * `custom` and `value`.
   *
   * @example
   * ```ts
   * import { Custom, Dht } from "effect-dht"
   * import * as Effect from "effect/Effect"
   * import * as Schema from "effect/Schema"
   *
   * const Load = Custom.make({ type: 0x07, schema: Schema.Struct({ jobs: Schema.Int }) })
   *
   * const program = Effect.gen(function*() {
   *   const dht = yield* Dht.Dht
   *   yield* dht.publishCustom({ custom: Load, value: { jobs: 3 }, ttl: 600 })
   *   yield* dht.publishCustom({ type: 0x08, payload: new TextEncoder().encode("open until noon") })
   * }).pipe(
   *   Effect.catchTag("InvalidPayload", ({ reason }) => Effect.logError(reason))
   * )
   * ```
   */
  readonly publishCustom: Publisher.Publisher["Service"]["publishCustom"]
  /** Withdraws a publication: readers that see the withdrawal no longer see the record. */
  readonly withdraw: Publisher.Publisher["Service"]["withdraw"]
  /**
   * Keeps an endpoint record alive until the scope closes: it is signed again
   * at half its lifetime, and lost copies are replaced. Then it is withdrawn,
   * unless `keepOnClose` leaves it to expire.
   *
   * @example
   * ```ts
   * import { Dht } from "effect-dht"
   * import * as Effect from "effect/Effect"
   *
   * const service = Effect.gen(function*() {
   *   const dht = yield* Dht.Dht
   *   yield* dht.announceEndpoint({ endpoints: ["http://203.0.113.5:8080"] })
   *   yield* dht.announceTopic({ topic: "translate", name: "Ann", tags: ["de", "fr"] })
   *   // Both are withdrawn when the service ends.
   *   return yield* Effect.never
   * }).pipe(Effect.scoped)
   * ```
   */
  readonly announceEndpoint: Announce.Announce["Service"]["announceEndpoint"]
  /** Keeps an offer under a topic alive in the same way. */
  readonly announceTopic: Announce.Announce["Service"]["announceTopic"]
  /** Keeps a profile alive in the same way. */
  readonly announceProfile: Announce.Announce["Service"]["announceProfile"]
  /** Keeps a custom record alive in the same way; one of a mailbox type is left to expire. */
  readonly announceCustom: Announce.Announce["Service"]["announceCustom"]
  /** Stops maintaining the copies of the records that an address published. */
  readonly forget: (publisher: Address) => Effect.Effect<void>
  /** Encrypted messages of at most 389 bytes, from and to the agent. */
  readonly mail: Mail.Mail["Service"]

  // --- While running
  /** Stops, or resumes, lookups that the node starts of its own accord. It answers requests either way. */
  readonly setPassive: (passive: boolean) => Effect.Effect<void>
  /** Declares our own public IP; undefined leaves it to the reports of peers. */
  readonly setPublicHost: (host: string | undefined) => Effect.Effect<void>
  /** Our public IP, if it is declared or enough peers agree on it. */
  readonly publicHost: Effect.Effect<string | undefined>
  /** Our own address as responses report it, as they arrive. */
  readonly observations: Stream.Stream<Rpc.Observation>
  /** Current statistics of the node. */
  readonly stats: Effect.Effect<Stats>
}>()("effect-dht/Dht") {}

/** Contacts heard from within this time count for the size of the network. */
const estimateWindow = "30 minutes"

/** Our responses name contacts, so a port that cannot be encoded must not enter the table. */
const assertPort = ({ port }: Contact): void => {
  if (!SocketAddress.isPort(port)) throw new RangeError(`${port} is not a port from 0 to 65535`)
}

const make = Effect.fnUntraced(function*({ bootstrap: hosts }: Pick<Options, "bootstrap">) {
  const identity = yield* NodeIdentity
  const transport = yield* Transport
  const announce = yield* Announce.Announce
  const bootstrap = yield* Bootstrap.Bootstrap
  const discovery = yield* Discovery.Discovery
  const mail = yield* Mail.Mail
  const publisher = yield* Publisher.Publisher
  const query = yield* Query.Query
  const reachability = yield* Reachability.Reachability
  const rendezvous = yield* Rendezvous.Rendezvous
  const replication = yield* Replication.Replication
  const routing = yield* Routing.Routing
  const rpc = yield* Rpc.Rpc
  const seen = yield* SeenPeers.SeenPeers
  const settings = yield* NodeSettings.NodeSettings
  const store = yield* Store.Store

  const ping = (peer: Request.Peer) =>
    Effect.map(
      rpc.request(peer, { _tag: "Ping", address: identity.address }),
      ({ body, from, rtt }): PeerIdentity => {
        const observed = SocketAddress.decodeObserved(body.observed)
        return {
          contact: from,
          observed: observed !== undefined && SocketAddress.isReachable(observed) ? observed : undefined,
          rtt
        }
      }
    )

  const stats = Effect.gen(function*() {
    return {
      ...(yield* rpc.traffic),
      contacts: yield* routing.size,
      verifiedContacts: yield* routing.countVerified("1 hour"),
      seen: yield* seen.counts,
      network: yield* routing.networkSize(estimateWindow),
      keys: yield* store.size
    }
  })

  if (hosts !== undefined) yield* bootstrap.keepJoining(hosts)

  return Dht.of({
    address: identity.address,
    nodeId: identity.nodeId,
    agent: identity.agent,
    localAddress: transport.address,
    localAddresses: transport.addresses,
    bootstrap: bootstrap.join,
    bootstrapContacts: (contacts) =>
      Effect.suspend(() => {
        contacts.forEach(assertPort)
        return bootstrap.joinContacts(contacts)
      }),
    bootstrapCandidates: bootstrap.candidates,
    addContact: (contact) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        assertPort(contact)
        routing.givenUnsafe(contact, now)
      }),
    findNode: query.findNode,
    findRecords: query.findRecords,
    aggregateRecords: query.aggregateRecords,
    resolve: (address, options) => query.resolve(NodeId.fromAddress(address), options),
    resolveAll: query.resolveAll,
    discover: discovery.discover,
    findCustom: discovery.findCustom,
    watchTopic: discovery.watchTopic,
    ping,
    findNodeAt: (peer, target) =>
      Effect.map(rpc.request(peer, { _tag: "FindNode", target }), ({ body }) => body.nodes ?? []),
    findValueAt: (peer, target, type = 0) =>
      Effect.map(
        rpc.request(peer, { _tag: "FindValue", target, recordType: type, subscribe: false }),
        ({ body }) => ({ records: Request.recordsOf(body), nodes: body.nodes ?? [] })
      ),
    storeAt: (peer, record, key) =>
      Effect.map(rpc.request(peer, { _tag: "Store", record, key }), ({ body }) => body.stored),
    natProbe: rpc.natProbe,
    connect: rendezvous.connect,
    incoming: rendezvous.incoming,
    publish: publisher.publish,
    publishEndpoint: publisher.publishEndpoint,
    publishTopic: publisher.publishTopic,
    publishProfile: publisher.publishProfile,
    publishCustom: publisher.publishCustom,
    withdraw: publisher.withdraw,
    announceEndpoint: announce.announceEndpoint,
    announceTopic: announce.announceTopic,
    announceProfile: announce.announceProfile,
    announceCustom: announce.announceCustom,
    forget: replication.forget,
    mail,
    setPassive: (passive) => Ref.set(settings.passive, passive),
    setPublicHost: reachability.declare,
    publicHost: reachability.publicHost,
    observations: rpc.observations,
    stats
  })
})

/**
 * The services of a node, which its layer provides.
 *
 * @category models
 * @since 0.1.0
 */
export type Services =
  | Dht
  | Timers.Timers
  | Announce.Announce
  | Bootstrap.Bootstrap
  | DelegationChecks.DelegationChecks
  | Discovery.Discovery
  | IdentityConflicts.IdentityConflicts
  | Mail.Mail
  | NodeEvents.NodeEvents
  | NodeSettings.NodeSettings
  | PeerHealth.PeerHealth
  | Persistence.Persistence
  | Publisher.Publisher
  | Query.Query
  | Reachability.Reachability
  | Rendezvous.Rendezvous
  | Replication.Replication
  | Routing.Routing
  | Rpc.Rpc
  | SeenPeers.SeenPeers
  | StandingAnnouncements.StandingAnnouncements
  | Store.Store
  | Subscriptions.Subscriptions
  | Watch.Watch

/**
 * Services that a node needs from its host.
 *
 * @category models
 * @since 0.1.0
 */
export type Requirements = NodeIdentity | Transport | Crypto | Verifier | SecureRandom.SecureRandom

/**
 * Options of a node, all of them optional.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options
  extends NodeSettings.Options, Reachability.Options, Pick<Store.Options, "maxKeys" | "maxBytes" | "policy">
{
  /**
   * Nodes to join through besides those remembered, names or IP addresses with
   * a port (`dht.example.net:4121`). The layer is built when the first attempt
   * to join has succeeded or failed, and the node then keeps trying, see
   * `Bootstrap.keepJoining`. By default a node waits for `Dht.bootstrap`.
   */
  readonly bootstrap?: ReadonlyArray<Host | string> | undefined
  /** Layers that replace the node's own services. */
  readonly services?: Replacements | undefined
}

/**
 * The services that each service of a node can use: those below it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Below {
  readonly persistence: Requirements
  readonly state: Below["persistence"] | Persistence.Persistence
  readonly rpc:
    | Below["state"]
    | DelegationChecks.DelegationChecks
    | NodeEvents.NodeEvents
    | NodeSettings.NodeSettings
    | PeerHealth.PeerHealth
    | Reachability.Reachability
    | SeenPeers.SeenPeers
    | Timers.Timers
  readonly routing: Below["rpc"] | Rpc.Rpc
  readonly store: Below["routing"] | Routing.Routing
  readonly query: Below["store"] | Store.Store
  readonly subscriptions: Below["query"] | Query.Query
  readonly replication:
    | Below["subscriptions"]
    | IdentityConflicts.IdentityConflicts
    | Rendezvous.Rendezvous
    | Subscriptions.Subscriptions
    | Watch.Watch
  readonly maintenance: Below["replication"] | Replication.Replication
  readonly intentions: Below["maintenance"] | Bootstrap.Bootstrap | Publisher.Publisher
}

/**
 * Layers that replace services of a node, for example `{ store: MyStore.layer }`.
 *
 * A replacement is provided with the services below it: those of the node, or
 * their replacements ({@link Below}). All services above use the replacement,
 * and the node does not build its own.
 *
 * @category models
 * @since 0.1.0
 */
export interface Replacements {
  /** Keeps the node's state across restarts; `Persistence.layerNone`, which keeps nothing, by default. */
  readonly persistence?: Layer.Layer<Persistence.Persistence, never, Below["persistence"]> | undefined
  readonly delegationChecks?: Layer.Layer<DelegationChecks.DelegationChecks, never, Below["state"]> | undefined
  readonly timers?: Layer.Layer<Timers.Timers, never, Below["state"]> | undefined
  readonly peerHealth?: Layer.Layer<PeerHealth.PeerHealth, never, Below["state"]> | undefined
  readonly reachability?: Layer.Layer<Reachability.Reachability, never, Below["state"]> | undefined
  readonly seenPeers?: Layer.Layer<SeenPeers.SeenPeers, never, Below["state"]> | undefined
  readonly rpc?: Layer.Layer<Rpc.Rpc, never, Below["rpc"]> | undefined
  readonly routing?: Layer.Layer<Routing.Routing, never, Below["routing"]> | undefined
  /** {@link layerStore} by default. */
  readonly store?: Layer.Layer<Store.Store, never, Below["store"]> | undefined
  readonly query?: Layer.Layer<Query.Query, never, Below["query"]> | undefined
  readonly subscriptions?: Layer.Layer<Subscriptions.Subscriptions, never, Below["subscriptions"]> | undefined
  readonly watch?: Layer.Layer<Watch.Watch, never, Below["subscriptions"]> | undefined
  readonly rendezvous?: Layer.Layer<Rendezvous.Rendezvous, never, Below["subscriptions"]> | undefined
  readonly replication?: Layer.Layer<Replication.Replication, never, Below["replication"]> | undefined
  readonly bootstrap?: Layer.Layer<Bootstrap.Bootstrap, never, Below["maintenance"]> | undefined
  readonly publisher?: Layer.Layer<Publisher.Publisher, never, Below["maintenance"]> | undefined
  readonly announce?: Layer.Layer<Announce.Announce, never, Below["intentions"]> | undefined
  readonly discovery?: Layer.Layer<Discovery.Discovery, never, Below["intentions"]> | undefined
  readonly mail?: Layer.Layer<Mail.Mail, never, Below["intentions"]> | undefined
}

const makeStore = Effect.fnUntraced(function*(options: Pick<Store.Options, "maxKeys" | "maxBytes" | "policy">) {
  const { isNearUnsafe } = yield* Routing.Routing
  const secret = yield* SecureRandom.SecureRandom.use((random) => random.randomBytes(16))
  return yield* Store.make({ ...options, isNear: isNearUnsafe, secret })
})

/**
 * The store of a node, for a replacement that builds on it. It knows which keys
 * are near the node, and its evictions cannot be predicted by peers.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStore = (
  options: Pick<Store.Options, "maxKeys" | "maxBytes" | "policy"> = {}
): Layer.Layer<
  Store.Store,
  never,
  Crypto | NodeEvents.NodeEvents | Persistence.Persistence | Routing.Routing | SecureRandom.SecureRandom
> => Layer.effect(Store.Store, makeStore(options))

/**
 * A node that runs until the layer's scope closes. `DhtLive` of
 * `effect-dht/node` is the same with Node's UDP, key storage and signatures.
 *
 * @example
 * ```ts run
 * import { Crypto, Dht, Identity, Transport, Verifier } from "effect-dht"
 * import * as SecureRandom from "effect/crypto/SecureRandom"
 * import * as Effect from "effect/Effect"
 * import * as Layer from "effect/Layer"
 *
 * // Two nodes in one process, on a network in memory.
 * const node = (port: number) =>
 *   Layer.build(Layer.fresh(Dht.layer()).pipe(
 *     Layer.provide(Layer.fresh(Transport.layerMemory({ host: "203.0.113.5", port }))),
 *     Layer.provide(Layer.fresh(Identity.layerGenerate)),
 *     Layer.provide(Verifier.layer),
 *     Layer.provide([Crypto.layerNoble, SecureRandom.layerWebCrypto])
 *   )).pipe(Effect.flatMap((services) => Effect.provideContext(Effect.service(Dht.Dht), services)))
 *
 * const program = Effect.gen(function*() {
 *   const ann = yield* node(4121)
 *   const ben = yield* node(4122)
 *   yield* ben.bootstrap([ann.localAddress])
 *   yield* ann.publishEndpoint({ endpoints: ["tcp://203.0.113.5:9000"] })
 *   const { endpoints } = yield* ben.resolve(ann.address)
 *   console.log(endpoints?.join()) // => tcp://203.0.113.5:9000
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Transport.layerMemoryNetwork)))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Services, never, Requirements> => {
  const { services = {} } = options
  return inOrder(
    services.persistence ?? Persistence.layerNone,
    // State.
    services.delegationChecks ?? service(DelegationChecks.DelegationChecks, DelegationChecks.make(options)),
    services.timers ?? service(Timers.Timers, Timers.make),
    service(NodeSettings.NodeSettings, NodeSettings.make(options)),
    services.peerHealth ?? service(PeerHealth.PeerHealth, PeerHealth.make()),
    services.reachability ?? service(Reachability.Reachability, Reachability.make(options)),
    services.seenPeers ?? service(SeenPeers.SeenPeers, SeenPeers.make()),
    service(NodeEvents.NodeEvents, NodeEvents.make),
    // Logs from before the first datagram until after the last.
    background(NodeLog.make),
    // Requests, contacts and conversations.
    services.rpc ?? service(Rpc.Rpc, Rpc.make),
    services.routing ?? service(Routing.Routing, Routing.make()),
    services.store ?? service(Store.Store, makeStore(options)),
    services.query ?? service(Query.Query, Query.make),
    services.subscriptions ?? service(Subscriptions.Subscriptions, Subscriptions.make),
    services.watch ?? service(Watch.Watch, Watch.make),
    services.rendezvous ?? service(Rendezvous.Rendezvous, Rendezvous.make),
    service(IdentityConflicts.IdentityConflicts, IdentityConflicts.make),
    background(Responder.make),
    // Maintenance and intentions.
    services.replication ?? service(Replication.Replication, Replication.make),
    services.bootstrap ?? service(Bootstrap.Bootstrap, Bootstrap.make),
    services.publisher ?? service(Publisher.Publisher, Publisher.make),
    services.announce ?? service(Announce.Announce, Announce.make),
    services.discovery ?? service(Discovery.Discovery, Discovery.make),
    services.mail ?? service(Mail.Mail, Mail.make),
    background(Maintenance.make),
    background(ReachabilityCheck.make),
    background(ContactChecks.make),
    service(StandingAnnouncements.StandingAnnouncements, StandingAnnouncements.make),
    service(Dht, make(options))
  )
}

/**
 * The facade alone, over services that the program builds itself. To replace
 * single services, use `layer` with `services` instead.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerNoServices = (
  options: Pick<Options, "bootstrap"> = {}
): Layer.Layer<
  Dht,
  never,
  | Announce.Announce
  | Bootstrap.Bootstrap
  | Discovery.Discovery
  | Mail.Mail
  | NodeIdentity
  | NodeSettings.NodeSettings
  | Publisher.Publisher
  | Query.Query
  | Reachability.Reachability
  | Rendezvous.Rendezvous
  | Replication.Replication
  | Routing.Routing
  | Rpc.Rpc
  | SeenPeers.SeenPeers
  | Store.Store
  | Transport
> => Layer.effect(Dht, make(options))
