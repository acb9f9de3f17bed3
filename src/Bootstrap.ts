/**
 * Joining a network from a few known addresses.
 *
 * @module
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberHandle from "effect/FiberHandle"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import type { Contact } from "./Contact.ts"
import * as DialBack from "./DialBack.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
import { RecencyMap } from "./internal/recencyMap.ts"
import * as NameResolver from "./NameResolver.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Persistence } from "./Persistence.ts"
import { Query } from "./Query.ts"
import { Reachability } from "./Reachability.ts"
import type * as Request from "./Request.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { spanned } from "./Spans.ts"

/**
 * No node answered at the given or remembered addresses. Each failure has its
 * reason; for a name that cannot be resolved, `address` is that name.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotJoin extends Data.TaggedError("CannotJoin")<{
  readonly failures: ReadonlyArray<{
    readonly address: SocketAddress.SocketAddress
    readonly error: Request.RequestError | NameResolver.CannotResolve | SocketAddress.InvalidSocketAddress
  }>
}> {
  override get message() {
    return `No bootstrap address answered: ${this.failures.map(({ error }) => error.message).join("; ")}`
  }
}

/**
 * Whether the node belongs to a network.
 *
 * - `Alone`: it has not joined yet. `failures` are those of the last attempt,
 *   empty before the first.
 * - `First`: its own address was the only one to join through. It is the first
 *   node of a network and needs no other.
 * - `Joined`: another node has answered. The state stays, even if all others
 *   leave.
 *
 * @category models
 * @since 0.1.0
 */
export type Membership =
  | { readonly _tag: "Alone"; readonly failures: CannotJoin["failures"] }
  | { readonly _tag: "First" }
  | { readonly _tag: "Joined" }

/**
 * An attempt to join. Times are Unix milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempt {
  /** 1 for the first since the start of the node. */
  readonly number: number
  /** The hosts as they were given. */
  readonly hosts: ReadonlyArray<string>
  /** How many addresses of peers of the last run, and to rejoin of this one, are tried as well. */
  readonly remembered: number
  readonly startedAt: number
  /** Undefined while the attempt is in progress. */
  readonly endedAt: number | undefined
  /** When the next attempt begins; undefined if none is planned. */
  readonly nextAt: number | undefined
}

/**
 * Joins the network, and joins it again after its contacts are lost.
 *
 * @category services
 * @since 0.1.0
 */
export class Bootstrap extends Context.Service<Bootstrap, {
  /**
   * Pings all hosts at once, together with those remembered from the last run
   * until one of them answers. Every node that answers becomes a contact, and a
   * lookup of our own id makes us known to our neighbours. Hosts are names or
   * IP addresses with a port, as objects or texts (`dht.example.net:4121`,
   * `[2001:db8::1]:4121`). A name is resolved on each attempt and tried at up
   * to 8 addresses until one answers. Succeeds with the nodes that answered
   * within a second of the first, or with none if the list is empty or names
   * only this node: a network needs a first node.
   */
  readonly join: (hosts: ReadonlyArray<NameResolver.Host | string>) => Effect.Effect<ReadonlyArray<Contact>, CannotJoin>
  /**
   * Joins, and if no node answers keeps trying in the background until the
   * scope closes, with pauses that grow from 2 seconds to 5 minutes. Succeeds
   * when the first attempt has ended, which takes about ten seconds if every host
   * is silent. The first failure is logged as a warning.
   */
  readonly keepJoining: (
    hosts: ReadonlyArray<NameResolver.Host | string>
  ) => Effect.Effect<void, never, Scope.Scope>
  /** Whether the node belongs to a network, and changes of that. */
  readonly membership: SubscriptionRef.SubscriptionRef<Membership>
  /** The last attempt to join, which may be in progress; undefined before the first. */
  readonly lastAttempt: Effect.Effect<Attempt | undefined>
  /**
   * Joins once more through the hosts given before, those remembered from the
   * last run, and a few contacts that the routing table has or once had: others
   * with each attempt. Returns whether a node answered.
   */
  readonly rejoin: Effect.Effect<boolean>
  /**
   * Asks for our neighbours at one of the given addresses where no contact is
   * known, a different one each time. This heals a network that was split for
   * so long that its parts forgot each other.
   */
  readonly revisit: Effect.Effect<void>
  /** Whether the node is joining, or has just joined and does not know its neighbours yet. */
  readonly isJoiningUnsafe: () => boolean
  /** Joins through contacts whose identity is known and trusted. */
  readonly joinContacts: (contacts: ReadonlyArray<Contact>) => Effect.Effect<void>
  /** Returns up to `max` addresses to remember for the next start, the healthiest first. */
  readonly candidates: (max: number) => Effect.Effect<ReadonlyArray<SocketAddress.SocketAddress>>
}>()("effect-dht/Bootstrap") {}

/** Attempts and deadline of a ping to a bootstrap address. */
const seedOptions = { attempts: 8, deadline: 10_000 }

/** The dial-backs before the lookups of joining, and the time for all. */
const dialBackOptions = { attempts: 1, deadline: 1000, echoMillis: 300 }
const dialBackMillis = 2000

/**
 * Pauses before the node looks at the network again after joining, each randomised by
 * half its length either way. They are at least as long as joining took: where that is
 * slow, others are joining.
 */
const settlePausesMillis = [2000, 5000]
const maxSettlePauseMillis = 30_000

/** Rounds of requests that each look makes for distant parts of which too few nodes have answered. */
const settleRounds = 3

/** Milliseconds that the other hosts have to answer after the first one. A passive node needs no second contact. */
const othersMillis = 1000
const othersMillisPassive = 300

/** Maximum number of hosts tried at the same time. */
const maxHosts = 128

/** Maximum number of addresses tried for all names of a list; each name still has at least two, one per family. */
const maxNamed = 256
const minPerName = 2

/** Pauses between attempts to join. */
const retries = Schedule.min([Schedule.exponential("2 seconds"), Schedule.spaced("5 minutes")]).pipe(Schedule.jittered)

/** Maximum number of given hosts remembered in case all contacts are lost. */
const maxGiven = 32

/** Maximum number of addresses remembered for the next run, and how often they are saved. */
const maxRemembered = 64
const saveInterval = "5 minutes"

/** Maximum number of present contacts, and of evicted ones, that an attempt to rejoin tries. */
const maxRevived = 8

/** Maximum number of nodes that we joined through to ask about distant parts of the network. */
const maxReferrers = 3

const healthOrder = { good: 0, unknown: 1, bad: 2 } as const

/** A host as given: parsed, or the reason why it cannot be. */
type Given = Result.Result<NameResolver.Host, SocketAddress.InvalidSocketAddress>

const hostOf = (host: NameResolver.Host | string): Given =>
  typeof host === "string" ? SocketAddress.splitHostPort(host) : Result.succeed(host)

const isVerified = ({ verifiedAt }: Routing.Entry): boolean => verifiedAt !== undefined

/** A node that answered at an address that we were given. */
interface Answered {
  readonly contact: Contact
  /** Our own address as it sees it. */
  readonly observed: SocketAddress.SocketAddress | undefined
}

/** Outcome of trying one host. */
interface Outcome {
  readonly answered?: Answered
  /** Whether we ourselves answered at one of its addresses. */
  readonly isOwn?: boolean
  readonly failures: CannotJoin["failures"]
}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const dialBack = yield* DialBack.make
  const identity = yield* NodeIdentity
  const rpc = yield* Rpc.Rpc
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const settings = yield* NodeSettings
  const reachability = yield* Reachability
  const query = yield* Query
  const random = yield* SecureRandom.SecureRandom
  const persistence = yield* Persistence
  const clock = yield* Clock.Clock
  const resolver = yield* NameResolver.NameResolver

  const membership = yield* SubscriptionRef.make<Membership>({ _tag: "Alone", failures: [] })
  const settling = yield* FiberHandle.make()

  /**
   * Makes us known to our neighbours and to some nodes of each more distant
   * part of the network (Maymounkov and Mazières, 2002, §2.3). Nodes that join
   * at the same time do not know each other yet, so we look for neighbours a
   * few more times in the background.
   */
  const findPlace = Effect.fnUntraced(function*(hosts: ReadonlyArray<Contact>, startedAt: number) {
    if (yield* Ref.get(settings.passive)) return
    const far = farBuckets(yield* findNeighbours(query.findNode))
    // Our neighbours may know as little of a distant part as we do. The nodes
    // that we joined through know more.
    yield* askAll(far.filter(isSparse).map((bucket) => [bucket, hosts.slice(0, maxReferrers)]))
    const took = Math.min(clock.currentTimeMillisUnsafe() - startedAt, maxSettlePauseMillis)
    yield* FiberHandle.run(
      settling,
      settleLater(far, took).pipe(
        Effect.catchCause((cause) => Effect.logWarning("Looking for neighbours failed", cause)),
        Effect.annotateLogs({ module: "effect-dht/Bootstrap", fiber: "Settling" })
      )
    )
  })

  const settleLater = Effect.fnUntraced(function*(far: ReadonlyArray<number>, tookMillis: number) {
    for (const pause of settlePausesMillis) {
      // Nodes that joined together should not all look at once.
      yield* Effect.sleep(Math.max(pause, tookMillis) * (0.5 + (yield* Random.next)))
      // A stranger is named few nodes at a time.
      for (let round = 0; round < settleRounds; round++) {
        yield* askAll(far.filter(isSparse).map((bucket) => [bucket, contactsFor(bucket)]))
      }
      yield* findNeighbours(query.refresh)
    }
  })

  const findNeighbours = Effect.fnUntraced(function*(
    find: (target: NodeId.NodeId) => Effect.Effect<ReadonlyArray<Contact>>
  ) {
    const neighbours = yield* find(identity.nodeId)
    routing.lookedUpSelfUnsafe(neighbours, clock.currentTimeMillisUnsafe())
    return neighbours
  })

  /** Number of verified contacts that the bucket lacks to be half full. */
  const missing = ({ entries }: Routing.Bucket): number => routing.k / 2 - entries.filter(isVerified).length

  const isSparse = (bucket: number): boolean => missing(routing.bucketUnsafe(bucket)) > 0

  /**
   * Contacts to ask about a distant bucket: its unverified ones, because they
   * know that part of the network and an answer verifies them. If it has none,
   * our neighbours: their bucket for the same distance holds other contacts.
   */
  const contactsFor = (index: number): ReadonlyArray<Contact> => {
    const bucket = routing.bucketUnsafe(index)
    if (bucket.entries.length === 0) return routing.nearestUnsafe(identity.nodeId, maxReferrers)
    return bucket.entries.filter((entry) => !isVerified(entry)).map(({ contact }) => contact).slice(0, missing(bucket))
  }

  /**
   * The buckets that our neighbour lookup did not cover completely: those
   * beyond the farthest neighbour, and its own.
   */
  const farBuckets = (neighbours: ReadonlyArray<Contact>): ReadonlyArray<number> => {
    const farthest = neighbours.at(-1)
    const end = farthest === undefined ? -1 : NodeId.bucketIndex(identity.nodeId, farthest.id)
    return Array.from({ length: end + 1 }, (_, bucket) => bucket)
  }

  /** Asks all contacts at once, each for nodes of its distant bucket. */
  const askAll = (requests: ReadonlyArray<readonly [bucket: number, contacts: ReadonlyArray<Contact>]>) =>
    Effect.all(
      requests.flatMap(([bucket, contacts]) => contacts.map((contact) => askForBucket(bucket, contact))),
      { concurrency: "unbounded", discard: true }
    )

  const askForBucket = Effect.fnUntraced(function*(bucket: number, peer: Contact) {
    const target = NodeId.inBucket(identity.nodeId, bucket, yield* random.randomBytes(NodeId.length))
    const answer = yield* Effect.result(
      rpc.request(peer, { _tag: "FindNode", target }, { deadline: othersMillis })
    )
    if (Result.isFailure(answer)) {
      if (answer.failure._tag === "NoAnswer") routing.unansweredUnsafe(peer.id)
      return
    }
    learn(answer.success)
  })

  const learn = ({ body, from }: Request.Answered<Request.Answers["FindNode"]>): void =>
    routing.learnedUnsafe(body.nodes ?? [], from.id, clock.currentTimeMillisUnsafe(), body.dual)

  /** The most recently given hosts. */
  const given = new RecencyMap<string, NameResolver.Host>(maxGiven)

  /** Peers of the last run, until a node answers in this one. */
  let remembered = yield* persistence.kept.peers

  const addressesOf = (host: NameResolver.Host, max?: number) =>
    Effect.provideService(NameResolver.addressesOf(host, max), NameResolver.NameResolver, resolver)

  const isOurs = ({ id }: Contact): boolean => id === identity.nodeId

  /** Pings the node at an address. Fails if that is this node itself. */
  const pingOther = (address: SocketAddress.SocketAddress | Contact) =>
    rpc.request(address, { _tag: "Ping", address: identity.address }, seedOptions).pipe(
      Effect.flatMap(({ body, from }) =>
        isOurs(from) ? Effect.fail("Ourselves" as const) : Effect.succeed<Answered>({
          contact: from,
          observed: SocketAddress.decodeObserved(body.observed)
        })
      ),
      Effect.mapError((error) => ({ address, error }))
    )

  /** Tries the addresses of a host, except those already tried for another host. */
  const visit = Effect.fnUntraced(function*(
    host: Given,
    max: number,
    visited: Set<string>
  ): Effect.fn.Return<Outcome> {
    if (Result.isFailure(host)) {
      const error = host.failure
      return { failures: [{ address: { host: error.text, port: 0 }, error }] }
    }
    const resolved = yield* Effect.result(addressesOf(host.success, max))
    if (Result.isFailure(resolved)) {
      return { failures: [{ address: host.success, error: resolved.failure }] }
    }
    const addresses = resolved.success.filter((address) => !visited.has(SocketAddress.key(address)))
    for (const address of addresses) visited.add(SocketAddress.key(address))
    if (!Arr.isReadonlyArrayNonEmpty(addresses)) return { failures: [] }
    const raced = yield* Effect.result(NameResolver.race(Arr.map(addresses, pingOther)))
    if (Result.isSuccess(raced)) return { answered: raced.success, failures: [] }
    const failures = raced.failure.flatMap(({ address, error }) => error === "Ourselves" ? [] : [{ address, error }])
    // If one address of a host is ours, one that our socket cannot send to is
    // ours as well.
    const isOwn = failures.length < raced.failure.length
    return {
      isOwn,
      failures: isOwn ? failures.filter(({ error }) => error._tag !== "Unroutable") : failures
    }
  })

  /** Tries a contact. No other node at its address is accepted. */
  const tryContact = (contact: Contact): Effect.Effect<Outcome> =>
    Effect.match(pingOther(contact), {
      onFailure: ({ error }): Outcome =>
        error === "Ourselves"
          ? { isOwn: true, failures: [] }
          : { failures: [{ address: { host: contact.host, port: contact.port }, error }] },
      onSuccess: (answered): Outcome => ({ answered, failures: [] })
    })

  let lastAttempt: Omit<Attempt, "nextAt"> | undefined

  /** Attempts in progress. */
  let attempts = 0

  /** When `keepJoining` makes its next attempt. Rejoining, which has pauses of its own, leaves it as it is. */
  let nextAt: number | undefined

  const nextPlanned = (pause: Duration.Duration) =>
    Effect.sync(() => {
      nextAt = clock.currentTimeMillisUnsafe() + Duration.toMillis(pause)
    })

  const nextBegun = Effect.sync(() => {
    nextAt = undefined
  })

  /** Keeps what an attempt tries, and its times. An earlier one that is still in progress is no longer shown. */
  const noted = <A, E, R>(
    attempt: Effect.Effect<A, E, R>,
    hosts: ReadonlyArray<NameResolver.Host | string>,
    revived: ReadonlyArray<Contact> = []
  ) =>
    Effect.suspend(() => {
      const started = {
        number: (lastAttempt?.number ?? 0) + 1,
        hosts: hosts.map((host) => typeof host === "string" ? host : SocketAddress.format(host)),
        remembered: remembered.length + revived.length,
        startedAt: clock.currentTimeMillisUnsafe(),
        endedAt: undefined
      }
      lastAttempt = started
      attempts++
      return Effect.ensuring(
        attempt,
        Effect.sync(() => {
          attempts--
          if (lastAttempt === started) lastAttempt = { ...started, endedAt: clock.currentTimeMillisUnsafe() }
        })
      )
    })

  /**
   * Has strangers dial back before we contact others: in a small network no
   * stranger is left a moment later. Their echo has a shorter way than the
   * confirmation. Peers that do not answer hold up the lookups for a second.
   */
  const dialBackFirst = Effect.fnUntraced(function*(joined: ReadonlyArray<Answered>) {
    if (settings.client || (yield* Ref.get(settings.passive)) || reachability.stateUnsafe() !== "unknown") return
    const relays = joined.flatMap(({ contact, observed }) =>
      observed !== undefined && SocketAddress.isPublic(observed.host) &&
        health.hasUnsafe(contact.id, Features.Bit.dialBack)
        ? [{ via: contact, claimed: observed }]
        : []
    )
    yield* dialBack(relays.slice(0, maxReferrers), dialBackOptions)
  })

  /** Makes one attempt to join. Returns the contacts that answered and the failures. */
  const attempt = Effect.fnUntraced(
    function*(hosts: ReadonlyArray<NameResolver.Host | string>, revived: ReadonlyArray<Contact> = []) {
      const startedAt = clock.currentTimeMillisUnsafe()
      const named = hosts.map(hostOf)
      yield* Effect.logDebug("Joining started").pipe(
        Effect.annotateLogs({ given: named.length, remembered: remembered.length + revived.length })
      )
      for (const host of named) {
        if (Result.isSuccess(host)) given.use(SocketAddress.key(host.success), () => host.success)
      }
      const max = Math.max(minPerName, Math.min(NameResolver.maxAddresses, Math.floor(maxNamed / named.length)))
      const visited = new Set<string>()
      const answered = yield* Deferred.make<void>()
      const late = Effect.andThen(
        Deferred.await(answered),
        Effect.sleep((yield* Ref.get(settings.passive)) ? othersMillisPassive : othersMillis)
      )
      const outcomes = yield* Effect.forEach(
        [
          ...[...named, ...remembered.map(Result.succeed)].map((host) => visit(host, max, visited)),
          ...revived.map(tryContact)
        ],
        (visiting): Effect.Effect<Outcome> =>
          visiting.pipe(
            Effect.tap((outcome) =>
              outcome.answered === undefined ? Effect.void : Deferred.succeed(answered, undefined)
            ),
            // Silent hosts do not hold up a node that has a contact.
            Effect.raceFirst(Effect.as(late, { failures: [] }))
          ),
        { concurrency: maxHosts }
      )
      const joined = outcomes.flatMap(({ answered }) => answered ?? [])
      const contacts = joined.map(({ contact }) => contact)
      if (contacts.length > 0) {
        remembered = []
        yield* enter({ _tag: "Joined" })
        yield* Effect.timeoutOption(dialBackFirst(joined), dialBackMillis)
        yield* findPlace(contacts, startedAt)
        yield* savePeers
      }
      const failures = outcomes.flatMap(({ failures }) => failures)
      yield* Effect.logDebug(contacts.length > 0 ? "Network joined" : "Network not joined").pipe(
        Effect.annotateLogs({ answered: contacts.length, failed: failures.length, contacts: yield* routing.size })
      )
      return {
        contacts,
        failures,
        // A host whose addresses were all tried for another one has no failures
        // of its own.
        isNamedSilent: contacts.length === 0 && failures.length > 0 &&
          outcomes.slice(0, named.length).some(({ failures, isOwn }) => failures.length > 0 || isOwn !== true)
      }
    },
    noted,
    spanned("Bootstrap.join")
  )

  const enter = (next: Membership): Effect.Effect<void> => {
    const { _tag } = SubscriptionRef.getUnsafe(membership)
    return _tag === "Joined" || (_tag === "First" && next._tag === "First")
      ? Effect.void
      : SubscriptionRef.set(membership, next)
  }

  /** Makes an attempt and updates the membership. */
  const attemptAndEnter = (hosts: ReadonlyArray<NameResolver.Host | string>) =>
    Effect.tap(attempt(hosts), ({ contacts, failures }) =>
      contacts.length > 0
        ? Effect.void
        : enter(failures.length > 0 ? { _tag: "Alone", failures } : { _tag: "First" }))

  const join = Effect.fnUntraced(function*(hosts: ReadonlyArray<NameResolver.Host | string>) {
    const { contacts, failures, isNamedSilent } = yield* attemptAndEnter(hosts)
    return isNamedSilent ? yield* new CannotJoin({ failures }) : contacts
  })

  const keepJoining = Effect.fnUntraced(function*(hosts: ReadonlyArray<NameResolver.Host | string>) {
    let isWarned = false
    const tried = yield* Deferred.make<void>()
    yield* Effect.andThen(nextBegun, attemptAndEnter(hosts)).pipe(
      Effect.flatMap(({ contacts, failures, isNamedSilent }) => {
        if (contacts.length > 0 || failures.length === 0) return Effect.void
        const reasons = failures.map(({ error }) => error.message).join("; ")
        const line = `No bootstrap node answers yet (${reasons}); this node stays up and tries again`
        // An operator can do nothing about remembered peers that are gone.
        const log = isWarned || !isNamedSilent ? Effect.logDebug(line) : Effect.logWarning(line)
        isWarned ||= isNamedSilent
        return Effect.andThen(log, new CannotJoin({ failures }))
      }),
      Effect.ensuring(Deferred.succeed(tried, undefined)),
      Effect.retry(Schedule.tap(retries, ({ duration }) => nextPlanned(duration))),
      Effect.ensuring(nextBegun),
      Effect.catchCause((cause) => Effect.logWarning("Joining failed", cause)),
      Effect.annotateLogs({ module: "effect-dht/Bootstrap", fiber: "Joining" }),
      Effect.forkScoped({ startImmediately: true })
    )
    yield* Deferred.await(tried)
  })

  let rejoins = 0

  /** The next few of a list, which begins again after its end. */
  const someOf = (contacts: ReadonlyArray<Contact>): ReadonlyArray<Contact> => {
    const from = contacts.length <= maxRevived ? 0 : (rejoins * maxRevived) % contacts.length
    return [...contacts.slice(from), ...contacts.slice(0, from)].slice(0, maxRevived)
  }

  const rejoin = Effect.suspend(() => {
    const present = routing.entriesUnsafe().filter(isVerified).map(({ contact }) => contact)
    const evicted = routing.evictedUnsafe().filter(({ id }) => routing.verifiedUnsafe(id) === undefined)
    const revived = [...someOf(present), ...someOf(evicted)]
    rejoins++
    return Effect.map(attempt(Array.from(given, ({ value }) => value), revived), ({ contacts }) => contacts.length > 0)
  })

  let visits = 0

  const revisit = Effect.gen(function*() {
    const known = new Set((yield* routing.entries).map(({ contact }) => SocketAddress.key(contact)))
    const resolved = yield* Effect.forEach(
      Array.from(given),
      ({ value }) => Effect.orElseSucceed(addressesOf(value), () => []),
      { concurrency: "unbounded" }
    )
    const unknown = resolved.flat().filter((address) => !known.has(SocketAddress.key(address)))
    if (unknown.length === 0) return
    const address = unknown[visits++ % unknown.length]
    const options = { ...Rpc.probeOptions(health), attempts: 1 }
    learn(yield* rpc.request(address, { _tag: "FindNode", target: identity.nodeId }, options))
  }).pipe(Effect.ignore, spanned("Bootstrap.revisit"))

  const joinContacts = Effect.fnUntraced(function*(contacts: ReadonlyArray<Contact>) {
    const now = clock.currentTimeMillisUnsafe()
    for (const contact of contacts) routing.givenUnsafe(contact, now)
    if (contacts.length > 0) yield* enter({ _tag: "Joined" })
    yield* findPlace(contacts, now)
  }, spanned("Bootstrap.joinContacts"))

  /** Contacts that have answered, the healthiest first. */
  const candidates = (max: number): ReadonlyArray<SocketAddress.SocketAddress> => {
    const found: Array<{ readonly contact: Contact; readonly rank: number }> = []
    for (const { contact } of routing.entriesUnsafe()) {
      const state = health.stateUnsafe(contact.id)
      // A peer that only ever sent us requests may have been up for a moment only.
      if (state !== "bad" && health.isMeasuredUnsafe(contact.id)) found.push({ contact, rank: healthOrder[state] })
    }
    return found.sort((a, b) => a.rank - b.rank).slice(0, max).map(({ contact: { host, port } }) => ({ host, port }))
  }

  let saved = ""
  const savePeers = persistence.isLasting
    ? Effect.sync(() => {
      const peers = candidates(maxRemembered)
      const text = peers.map(SocketAddress.format).join()
      // Before the first contact, and while no peer answers, an empty list
      // would replace a useful one.
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

  return Bootstrap.of({
    join,
    keepJoining,
    membership,
    lastAttempt: Effect.sync(() => lastAttempt && { ...lastAttempt, nextAt }),
    rejoin,
    revisit,
    isJoiningUnsafe: () => attempts > 0 || Option.isSome(FiberHandle.getUnsafe(settling)),
    joinContacts,
    candidates: (max) => Effect.sync(() => candidates(max))
  })
})

/**
 * Joins with the requests and lookups of this node.
 *
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
  | Reachability
  | Query
  | SecureRandom.SecureRandom
> = Layer.effect(Bootstrap, make)
