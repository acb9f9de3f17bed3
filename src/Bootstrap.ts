/**
 * Joining: from a few addresses to a place in the network.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberHandle from "effect/FiberHandle"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type { Contact } from "./Contact.ts"
import { NodeIdentity } from "./Identity.ts"
import { RecencyMap } from "./internal/recencyMap.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Persistence } from "./Persistence.ts"
import { Query } from "./Query.ts"
import * as Request from "./Request.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"

/**
 * None of the given or remembered addresses is a node that answers: each with
 * the reason.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotJoin extends Data.TaggedError("CannotJoin")<{
  readonly failures: ReadonlyArray<{
    readonly address: SocketAddress.SocketAddress
    readonly error: Request.RequestError
  }>
}> {
  override get message() {
    return `No bootstrap address answered: ${this.failures.map(({ error }) => error.message).join("; ")}`
  }
}

/**
 * @category services
 * @since 0.1.0
 */
export class Bootstrap extends Context.Service<Bootstrap, {
  /**
   * Pings all addresses at once, and those remembered from the last run until
   * somebody was found; whoever answers is a contact, and a lookup of our own id
   * makes us known to our neighbours. Succeeds with those who answered within a
   * second of the first. An empty list is fine, and one of our own address alone:
   * somebody has to be first.
   */
  readonly join: (
    addresses: ReadonlyArray<SocketAddress.SocketAddress>
  ) => Effect.Effect<ReadonlyArray<Contact>, CannotJoin>
  /** Joins once again through the addresses given before, or remembered, if it can. */
  readonly rejoin: Effect.Effect<void>
  /**
   * Asks for our neighbours at one of the addresses given before, another one
   * each time, at which nobody is that we know. Where the network was split for
   * so long that its parts forgot each other, this is the way back.
   */
  readonly revisit: Effect.Effect<void>
  /** The same with contacts whose identity is known and trusted. */
  readonly joinContacts: (contacts: ReadonlyArray<Contact>) => Effect.Effect<void>
  /** Addresses worth remembering for the next start, the healthiest first. */
  readonly candidates: (max: number) => Effect.Effect<ReadonlyArray<SocketAddress.SocketAddress>>
}>()("effect-dht/Bootstrap") {}

/** What a bootstrap address is given to answer. */
const seedPatience = { attempts: 8, deadline: 10_000 }

/** Pauses before the network is looked at again after joining, each half as long to half as long again. */
const settlePausesMillis = [2000, 5000]

/** What the others are given once one has answered. */
const othersMillis = 1000

const notInTime = (peer: SocketAddress.SocketAddress) =>
  Effect.fail(new Request.NoAnswer({ peer, request: "Ping", attempts: 1, waitedMillis: othersMillis }))

/** Addresses remembered in case everybody is lost. */
const maxGiven = 32

/** Addresses remembered for the next run, and how often they are saved. */
const maxRemembered = 64
const saveInterval = "5 minutes"

/** How many of those we joined through are asked about far parts of the network. */
const maxAsked = 3

const healthOrder = { good: 0, unknown: 1, bad: 2 } as const

const make = Effect.gen(function*() {
  const identity = yield* NodeIdentity
  const rpc = yield* Rpc.Rpc
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const settings = yield* NodeSettings
  const query = yield* Query
  const random = yield* SecureRandom.SecureRandom
  const persistence = yield* Persistence
  const clock = yield* Clock.Clock

  const settling = yield* FiberHandle.make()

  /**
   * Makes us known to our neighbours and to some nodes of each part of the
   * network farther away (Maymounkov and Mazières, 2002, §2.3). Others may be
   * joining at the same time, unknown to anybody yet, so we look for neighbours
   * again a few times in the background.
   */
  const findPlace = Effect.fnUntraced(function*(hosts: ReadonlyArray<Contact>) {
    if (yield* Ref.get(settings.passive)) return
    const far = farBuckets(yield* findNeighbours)
    // Our neighbours may know as little of a far part as we do: then only those
    // we joined through, who know both sides, can tell.
    yield* askAll(far.filter(isThin).map((bucket) => [bucket, hosts.slice(0, maxAsked)]))
    yield* FiberHandle.run(
      settling,
      settle(far).pipe(
        Effect.catchCause((cause) => Effect.logWarning("Looking for neighbours failed", cause)),
        Effect.annotateLogs({ module: "effect-dht/Bootstrap", fiber: "Settling" })
      )
    )
  })

  const settle = Effect.fnUntraced(function*(far: ReadonlyArray<number>) {
    for (const pause of settlePausesMillis) {
      // Those who joined together shall not all look at once.
      yield* Effect.sleep(pause * (0.5 + (yield* Random.next)))
      yield* askAll(far.filter(isThin).map((bucket) => [bucket, knowing(bucket)]))
      yield* findNeighbours
    }
  })

  const findNeighbours = Effect.gen(function*() {
    const neighbours = yield* query.findNode(identity.nodeId)
    routing.core.lookedUp(NodeId.bits, neighbours, clock.currentTimeMillisUnsafe())
    return neighbours
  })

  /** How many more contacts that we heard from would make half a bucket. */
  const missing = (bucket: number): number => routing.core.k / 2 - routing.core.bucketVerified(bucket)

  const isThin = (bucket: number): boolean => missing(bucket) > 0

  /**
   * Those of a far part whom we only heard of: they know that part, and whoever
   * answers is no longer hearsay. It is as far from our neighbours as from us,
   * so where we heard of nobody, they may have.
   */
  const knowing = (bucket: number): ReadonlyArray<Contact> =>
    routing.core.bucketLength(bucket) === 0
      ? routing.core.nearest(identity.nodeId, maxAsked)
      : routing.core.hearsay(bucket).slice(0, missing(bucket))

  /** The buckets that our neighbours are not all of: those beyond them, and that of the farthest. */
  const farBuckets = (neighbours: ReadonlyArray<Contact>): ReadonlyArray<number> => {
    const farthest = neighbours.at(-1)
    const end = farthest === undefined ? -1 : NodeId.bucketIndex(identity.nodeId, farthest.id)
    return Array.from({ length: end + 1 }, (_, bucket) => bucket)
  }

  /** Asks contacts, all at once, for nodes of a far bucket each. */
  const askAll = (questions: ReadonlyArray<readonly [bucket: number, contacts: ReadonlyArray<Contact>]>) =>
    Effect.all(
      questions.flatMap(([bucket, contacts]) => contacts.map((contact) => askAbout(bucket, contact))),
      { concurrency: "unbounded", discard: true }
    )

  const askAbout = Effect.fnUntraced(function*(bucket: number, peer: Contact) {
    const target = NodeId.inBucket(identity.nodeId, bucket, yield* random.randomBytes(NodeId.length))
    const answer = yield* Effect.result(
      rpc.request(peer, { _tag: "FindNode", target }, { deadline: othersMillis })
    )
    if (Result.isFailure(answer)) {
      // Hearsay that is silent makes room for other hearsay.
      if (routing.core.verifiedAt(peer.id) === undefined) routing.core.remove(peer.id)
      return
    }
    hear(answer.success)
  })

  const hear = ({ body, from }: Request.Answered<Request.Answers["FindNode"]>): void => {
    const now = clock.currentTimeMillisUnsafe()
    for (const contact of body.nodes ?? []) routing.core.add(contact, undefined, now, from.id)
  }

  /** The latest addresses given; the oldest go first. */
  const given = new RecencyMap<string, SocketAddress.SocketAddress>(maxGiven)

  /** Those of the last run, until somebody was found in this one. */
  let remembered = yield* persistence.kept.peers

  const rejoin = Effect.suspend(() => Effect.ignore(join(Array.from(given, ({ value }) => value))))

  let visits = 0

  const revisit = Effect.gen(function*() {
    const known = new Set(routing.core.entries().map(({ contact }) => SocketAddress.key(contact)))
    const strange = Array.from(given).filter(({ key }) => !known.has(key))
    if (strange.length === 0) return
    const { value: address } = strange[visits++ % strange.length]
    hear(yield* rpc.request(address, { _tag: "FindNode", target: identity.nodeId }, Rpc.probePatience(health)))
  }).pipe(Effect.ignore, Effect.withSpan("Bootstrap.revisit"))

  const isOurs = ({ id }: Contact): boolean => id === identity.nodeId

  const join = Effect.fn("Bootstrap.join")(function*(named: ReadonlyArray<SocketAddress.SocketAddress>) {
    const names = new Set(named.map(SocketAddress.key))
    for (const address of named) given.use(SocketAddress.key(address), () => address)
    const addresses = Array.from(
      new Map([...named, ...remembered].map((address) => [SocketAddress.key(address), address])).values()
    )
    const answered = yield* Deferred.make<void>()
    const outcomes = yield* Effect.forEach(
      addresses,
      (address) =>
        rpc.request(address, { _tag: "Ping", address: identity.address }, seedPatience).pipe(
          // We may have been given our own address, at which we answer ourselves.
          Effect.tap(({ from }) => isOurs(from) ? Effect.void : Deferred.succeed(answered, undefined)),
          // Nobody has to wait for the dead when one is there to go on with.
          Effect.raceFirst(Effect.andThen(Deferred.await(answered), Effect.delay(notInTime(address), othersMillis))),
          Effect.result,
          Effect.map((result) => ({ address, result }))
        ),
      { concurrency: "unbounded" }
    )
    const contacts: Array<Contact> = []
    const failures: Array<CannotJoin["failures"][number]> = []
    for (const { address, result } of outcomes) {
      if (Result.isFailure(result)) failures.push({ address, error: result.failure })
      else if (!isOurs(result.success.from)) contacts.push(result.success.from)
    }
    if (contacts.length > 0) {
      remembered = []
      yield* findPlace(contacts)
      yield* savePeers
    } else if (failures.some(({ address }) => names.has(SocketAddress.key(address)))) {
      return yield* new CannotJoin({ failures })
    }
    return contacts
  })

  const joinContacts = Effect.fn("Bootstrap.joinContacts")(function*(contacts: ReadonlyArray<Contact>) {
    const now = clock.currentTimeMillisUnsafe()
    for (const contact of contacts) routing.core.add(contact, now, now)
    yield* findPlace(contacts)
  })

  const candidates = (max: number) =>
    Effect.sync(() => {
      const rank = (contact: Contact) => healthOrder[health.core.state(contact.id)]
      return routing.core.entries()
        .map(({ contact }) => contact)
        // Whoever only ever asked us may have been here for a moment.
        .filter(({ id }) => health.core.answeredAt(id) !== undefined && health.core.state(id) !== "bad")
        .sort((a, b) => rank(a) - rank(b))
        .slice(0, max)
        .map(({ host, port }) => ({ host, port }))
    })

  let saved = ""
  const savePeers = persistence.isLasting
    ? Effect.map(candidates(maxRemembered), (peers) => {
      const text = peers.map(SocketAddress.format).join()
      // Before the first contact, and while nobody answers, there is nothing to
      // say and something to lose.
      if (peers.length === 0 || text === saved) return
      saved = text
      persistence.save({ _tag: "Peers", peers })
    })
    : Effect.void
  if (persistence.isLasting) {
    yield* savePeers.pipe(
      Effect.catchCause((cause) => Effect.logWarning("Peers could not be saved", cause)),
      Effect.repeat(Schedule.spaced(saveInterval)),
      Effect.annotateLogs({ module: "effect-dht/Bootstrap", fiber: "Saving" }),
      Effect.forkScoped
    )
  }

  return Bootstrap.of({ join, rejoin, revisit, joinContacts, candidates })
})

/**
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Bootstrap,
  never,
  | NodeIdentity
  | Rpc.Rpc
  | Routing.Routing
  | PeerHealth.PeerHealth
  | NodeSettings
  | Persistence
  | Query
  | SecureRandom.SecureRandom
> = Layer.effect(Bootstrap, make)
