/**
 * Ways through routers: two nodes that strangers cannot reach meet with the help
 * of a third one, and can then send datagrams to each other, also those of another
 * protocol that shares the port.
 *
 * A node attends at the nodes closest to its own id, where it can be found, unless
 * it knows that strangers reach it: it sends each of them a request every 110
 * seconds, so that its router lets their datagrams in. A node that wants to meet it
 * asks one of those, which tells the attendant where the other is. The node in the
 * middle learns only what both have shown it.
 *
 * No part of this is a reflector. The node in the middle tells an attendant only of
 * requesters that have proved their address, and an attendant pings only those that
 * a node names at which it attends, once for each request.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Address from "./Address.ts"
import type { Contact } from "./Contact.ts"
import type { Dependence } from "./core/reachability.ts"
import * as Core from "./core/rendezvous.ts"
import type { Reason } from "./core/rendezvous.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
import { RateLimit } from "./internal/rateLimit.ts"
import { RecencyMap } from "./internal/recencyMap.ts"
import * as Message from "./Message.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Query } from "./Query.ts"
import { Reachability } from "./Reachability.ts"
import type * as Request from "./Request.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { spanned } from "./Spans.ts"
import * as TransactionId from "./TransactionId.ts"
import * as WakeUp from "./WakeUp.ts"

/**
 * A peer to which datagrams can be sent, and from which they arrive.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection {
  /** The peer, at the address to send to. */
  readonly peer: Contact
  /** Our own address as the peer sees it, if it says so. */
  readonly observed: SocketAddress.SocketAddress | undefined
  /** `Direct` if the peer was reached at its own address, `Punched` if a node in the middle had to tell both. */
  readonly how: "Direct" | "Punched"
}

export type { Reason } from "./core/rendezvous.ts"

const reasons: { readonly [reason in Reason]: string } = {
  Unknown: "it is not running, or no node knows where it is",
  BothSymmetric: "both routers use a different port for each peer. Send through a node that both can reach",
  NothingCameThrough: "no datagram came through the routers. Send through a node that both can reach",
  Busy: "the nodes that know where it is have too many requests. Try again later"
}

/**
 * No datagram can be sent to a peer. `relays` are nodes that know where it is, which
 * both can reach: an application of theirs may pass datagrams on.
 *
 * @category errors
 * @since 0.1.0
 */
export class CannotConnect extends Data.TaggedError("CannotConnect")<{
  readonly address: Address.Address
  readonly reason: Reason
  readonly relays: ReadonlyArray<Contact>
}> {
  override get message() {
    return `${Address.format(this.address)} cannot be reached: ${reasons[this.reason]}`
  }
}

/**
 * How many attempts to meet a node through another one ended so since the start,
 * with a router of this kind on either side. Only the router of an attendant is
 * known: that of a peer that no node knows is `Unknown`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Punches {
  readonly own: Dependence
  readonly peer: Dependence
  readonly outcome: "Succeeded" | Reason
  readonly count: number
}

/**
 * The requests that serve meetings.
 *
 * @category models
 * @since 0.1.0
 */
export type Served = Extract<Message.Body, { readonly _tag: "Attend" | "Meet" | "Invite" }>

/**
 * Meets other nodes, and helps them to meet.
 *
 * @category services
 * @since 0.1.0
 */
export class Rendezvous extends Context.Service<Rendezvous, {
  /** Meets a node. The routers let datagrams through both ways until the scope closes. */
  readonly connect: (address: Address.Address) => Effect.Effect<Connection, CannotConnect, Scope.Scope>
  /** Nodes that met this one, as they do. It is up to them how long. */
  readonly incoming: Stream.Stream<Connection>
  /** Attempts to meet a node through another one since the start, by their outcome. */
  readonly punches: Effect.Effect<ReadonlyArray<Punches>>
  /** Number of requests since the start for which this node told another of the requester. */
  readonly introduced: Effect.Effect<number>
  /**
   * Answers a request, for code that runs once per packet. Returns the most bytes of
   * a response that is sent later, as `Rpc.Handler` does.
   */
  readonly serveUnsafe: (
    request: Served,
    from: Rpc.Requester,
    now: number,
    reply: (reply: Rpc.Reply) => void
  ) => number
}>()("effect-dht/Rendezvous") {}

/**
 * Nodes that a node attends at, how long it does so with one request, and the longest
 * time between two looks at which they are. A router remembers what was answered for
 * two minutes at least (RFC 4787, 4.3), and a node at rest should hardly ever send.
 */
const attendedAt = 2
const attendMillis = 110_000
const lookMillis = 15_000

/** How long a node that was attended at may tell of others. */
const expectedMillis = 180_000

/** Nodes in the middle that are asked at the same time. */
const maxMiddles = 4

/** Callers that this node was told of and has not met, and how long it listens for them. */
const maxCallers = 64
const callerMillis = 10_000

/** Pings on the word of others, in 10 seconds, to one source and to all. */
const callsPerSource = { limit: 20, windowMillis: 10_000, capacity: 4096 }
const callsInAll = { limit: 100, windowMillis: 10_000, capacity: 1 }

/** A ping, or a request to meet: what is lost is repeated in the next round. */
const onceOptions = { attempts: 1, deadline: 1000, maintenance: true }

/** Time between two pings that keep the routers open; some forget a datagram after 30 seconds. */
const keepAlivePause = "20 seconds"

/**
 * The mappings, at their numbers on the wire.
 *
 * @internal
 */
export const mappings = ["Unknown", "EndpointIndependent", "EndpointDependent"] as const

const mappingOf = (wire: number): Dependence => mappings[wire] ?? "Unknown"

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const identity = yield* NodeIdentity
  const health = yield* PeerHealth.PeerHealth
  const query = yield* Query
  const reachability = yield* Reachability
  const routing = yield* Routing.Routing
  const rpc = yield* Rpc.Rpc
  const settings = yield* NodeSettings
  const transactionId = TransactionId.generator(yield* SecureRandom.SecureRandom)
  const attendants = new Core.Attendants()
  const met = yield* PubSub.sliding<Connection>(64)
  yield* Effect.addFinalizer(() => PubSub.shutdown(met))
  const run = yield* FiberSet.makeRuntime<never>()
  const punches = new Map<string, { -readonly [key in keyof Punches]: Punches[key] }>()
  let introduced = 0

  const ownFeatures = Features.own(settings)
  const meetResponseBytes = Message.size(largestResponse, ownFeatures)

  const now = () => clock.currentTimeMillisUnsafe()
  const pingBody: Request.Request = { _tag: "Ping", address: identity.address }
  const ping = (peer: Request.Peer, options: Request.Options = onceOptions) => rpc.request(peer, pingBody, options)
  const ownMapping = () => mappings.indexOf(reachability.mappingUnsafe())

  const observedOf = (wire: Uint8Array | undefined) => {
    const observed = wire === undefined ? undefined : SocketAddress.decodeObserved(wire)
    return observed !== undefined && SocketAddress.isReachable(observed) ? observed : undefined
  }

  const connectionOf =
    (how: Connection["how"]) =>
    ({ body: { observed }, from }: Request.Answered<Request.Answers["Meet" | "Ping"]>): Connection => ({
      peer: from,
      observed: observedOf(observed),
      how
    })

  /** For a fiber in the background. */
  const logged = (effect: Effect.Effect<void>): Effect.Effect<void> =>
    effect.pipe(
      Effect.catchDefect((defect) => Effect.logError("A meeting failed", defect)),
      Effect.annotateLogs({ module: "effect-dht/Rendezvous", fiber: "Meeting" })
    )

  // --- As the node that is called ------------------------------------------------

  /** When the nodes that we attend at last answered. */
  const attended = new RecencyMap<NodeId.NodeId, number>(4 * attendedAt)

  /** Time until a node is to be sent a request again; none is left if it did not answer the last. */
  const dueIn = ({ id }: Contact): number => attendMillis - Math.abs(now() - (attended.get(id) ?? -Infinity))

  /** Whether nodes elsewhere can find us through a contact: no router is between us and one of our own network. */
  const isWorthAttending = (contact: Contact): boolean => isMiddle(contact) && SocketAddress.isPublic(contact.host)

  /** Attends where it is due. Returns the time to the next look. */
  const attend = Effect.gen(function*() {
    if (yield* Ref.get(settings.passive)) return lookMillis
    if (reachability.stateUnsafe() === "open") return Infinity
    const neighbours = routing.nearestUnsafe(identity.nodeId, routing.k).filter(isWorthAttending).slice(0, attendedAt)
    yield* Effect.forEach(
      neighbours.filter((neighbour) => dueIn(neighbour) <= 0),
      (neighbour) =>
        Effect.match(rpc.request(neighbour, { _tag: "Attend", mapping: ownMapping() }, attendOptions()), {
          onFailure: () => {},
          onSuccess: () => {
            attended.set(neighbour.id, now())
          }
        }),
      { concurrency: "unbounded", discard: true }
    )
    // A fraction of a millisecond would be no time to the timer.
    return Math.max(Math.min(lookMillis, ...neighbours.map(dueIn).filter((pause) => pause > 0)), 1)
  })

  const attendOptions = (): Request.Options => ({ ...Rpc.probeOptions(health), maintenance: true })

  /** Whether a contact can help two nodes to meet. */
  const isMiddle = ({ id }: Contact): boolean =>
    health.hasUnsafe(id, Features.Bit.rendezvous) && !health.isClientUnsafe(id) && !health.isBadUnsafe(id)

  /** Callers that we were told of, and the addresses that we pinged for each. */
  const callers = new RecencyMap<NodeId.NodeId, { at: number; how: Connection["how"] }>(maxCallers)
  const callsToSource = new RateLimit(callsPerSource)
  const calls = new RateLimit(callsInAll)

  /** Pings a caller, which opens our router for it. A response shows that we have met. */
  const callBack = (caller: Contact): void => {
    const at = now()
    if (!callsToSource.allow(SocketAddress.source(caller.host), at) || !calls.allow("all", at)) return
    run(logged(Effect.match(ping(caller), {
      onFailure: () => {},
      onSuccess: (answer) => {
        const { from: { id } } = answer
        const { how } = callers.get(id) ?? {}
        if (how === undefined) return
        callers.delete(id)
        PubSub.publishUnsafe(met, connectionOf(how)(answer))
      }
    })))
  }

  const called = (caller: Contact, how: Connection["how"], at: number): void => {
    if (caller.id === identity.nodeId || !SocketAddress.isReachable(caller)) return
    Object.assign(callers.use(caller.id, () => ({ at, how })), { at, how })
    callBack(caller)
  }

  /**
   * Runs `then` once a requester has proved its address, with the pings that its
   * datagrams allow: so many bytes, by default those left. Runs `otherwise` if it
   * does not, or is not pinged.
   */
  const whenProved = (
    from: Contact,
    room: number | undefined,
    then: () => void,
    otherwise?: () => void
  ): void => {
    if (routing.isProvedUnsafe(from)) then()
    else routing.proveUnsafe(from, room, (isProved) => isProved ? then() : otherwise?.())
  }

  yield* rpc.observe({
    handled: (from, now) => {
      const caller = callers.get(from.id)
      if (caller === undefined || Math.abs(now - caller.at) >= callerMillis) return
      // Behind a router with a port for each peer, it is not where we were told.
      whenProved(from, undefined, () => callBack(from))
    }
  })

  // --- As the node in the middle ---------------------------------------------------

  const serveUnsafe: Rendezvous["Service"]["serveUnsafe"] = (request, from, now, reply) => {
    // Another node with our key gets a ping at most, by `IdentityConflicts`.
    if (from.id === identity.nodeId) return 0
    const observed = SocketAddress.encodeObserved(from)
    const answer = (body: Message.Body) => reply({ body, to: from, transactionId: undefined })
    const respond = (outcome: Core.Introduction["_tag"], callee?: Contact, mapping?: Dependence) =>
      answer({
        _tag: "MeetResponse",
        outcome: outcomeOf[outcome],
        observed,
        callee,
        mapping: mapping && mappings.indexOf(mapping)
      })
    switch (request._tag) {
      case "Attend": {
        const pong: Message.Body = { _tag: "Pong", address: identity.address, observed }
        const room = routing.allowanceUnsafe(from) - Message.size(pong, ownFeatures)
        answer(pong)
        whenProved(from, room, () => attendants.attends(contactOf(from), mappingOf(request.mapping), now))
        return 0
      }

      case "Meet": {
        const { callee } = request
        const room = routing.allowanceUnsafe(from) - meetResponseBytes
        if (callee === identity.nodeId) {
          respond("Introduced")
          whenProved(from, room, () => called(contactOf(from), "Direct", now))
          return 0
        }
        const mapping = mappingOf(request.mapping)
        const found = attendants.find(from, mapping, callee, now)
        if (found._tag !== "Introduced") {
          respond(found._tag)
          return 0
        }
        const introduce = () => {
          const result = attendants.introduce(from, mapping, callee, now)
          if (result._tag !== "Introduced") return respond(result._tag)
          introduced++
          // The other router should know of the requester before its first ping arrives.
          reply({
            body: { _tag: "Invite", caller: contactOf(from) },
            to: result.callee,
            transactionId: transactionId()
          })
          respond("Introduced", result.callee, result.mapping)
        }
        const isProved = routing.isProvedUnsafe(from)
        whenProved(from, room, introduce, () => respond("Busy"))
        return isProved ? 0 : meetResponseBytes
      }

      case "Invite":
        if (
          Math.abs(now - (attended.get(from.id) ?? -Infinity)) < expectedMillis &&
          SocketAddress.isReachableFrom(request.caller, from)
        ) {
          called(request.caller, "Punched", now)
        }
        return 0
    }
  }

  // --- As the node that calls ------------------------------------------------------

  /** Meets a node at its own address. */
  const directly = (contact: Contact) => {
    // By a MEET, it notices.
    const body: Request.Request = health.hasUnsafe(contact.id, Features.Bit.rendezvous)
      ? { _tag: "Meet", callee: contact.id, mapping: ownMapping() }
      : pingBody
    return Effect.map(rpc.request(contact, body, Rpc.probeOptions(health)), connectionOf("Direct"))
  }

  /** What an attempt through others has shown so far. */
  interface Shown {
    peer: Dependence
    readonly knowing: Map<NodeId.NodeId, Contact>
  }

  /** Meets a node with the help of others. */
  const through = Effect.fnUntraced(
    function*(
      id: NodeId.NodeId,
      middles: ReadonlyArray<Contact>,
      shown: Shown
    ): Effect.fn.Return<Connection, Reason, Scope.Scope> {
      const rtts = yield* Effect.forEach(middles, ({ id }) => health.rtt(id))
      const meeting = new Core.Meeting({
        startedAt: now(),
        middles: middles.length,
        rttMillis: Math.max(0, ...rtts.map((rtt) => Option.isSome(rtt) ? Duration.toMillis(rtt.value) : 0))
      })
      const answered = Deferred.makeUnsafe<Connection>()
      const changed = Latch.makeUnsafe(false)
      const inFlight = yield* FiberSet.make<void>()
      const send = (effect: Effect.Effect<void>) => FiberSet.run(inFlight, logged(effect))
      yield* rpc.observe({
        heard: ({ contact, isAnswer }) => {
          if (contact.id !== id || isAnswer) return
          meeting.isAt(contact)
          changed.openUnsafe()
        }
      })
      const pingAt = ({ host, port }: SocketAddress.SocketAddress) =>
        send(Effect.match(ping({ id, host, port }), {
          onFailure: () => {},
          onSuccess: (answer) => Deferred.doneUnsafe(answered, Effect.succeed(connectionOf("Punched")(answer)))
        }))
      const told = (middle: Contact, { callee, mapping, outcome }: Request.Answers["Meet"]) => {
        if (outcome !== Message.meeting.unknown) shown.knowing.set(middle.id, middle)
        if (outcome === Message.meeting.bothSymmetric) shown.peer = "EndpointDependent"
        if (mapping !== undefined) shown.peer = mappingOf(mapping)
        if (callee?.id === id && SocketAddress.isReachableFrom(callee, middle)) meeting.isAt(callee)
        else meeting.refused(middle.id, failureOf(outcome))
        changed.openUnsafe()
      }
      const ask = (middle: Contact) =>
        send(
          Effect.match(rpc.request(middle, { _tag: "Meet", callee: id, mapping: ownMapping() }, onceOptions), {
            onFailure: () => {},
            onSuccess: ({ body }) => told(middle, body)
          })
        )
      const steps = Effect.gen(function*() {
        while (true) {
          changed.closeUnsafe()
          const step = meeting.next(now())
          switch (step._tag) {
            case "Round":
              for (const middle of middles) yield* ask(middle)
              for (const address of step.addresses) yield* pingAt(address)
              break
            case "Ping":
              yield* pingAt(step.address)
              break
            case "Wait":
              yield* Effect.timeoutOption(changed.await, step.until - now())
              break
            case "Failed":
              return yield* Effect.fail(step.reason)
          }
        }
      })
      return yield* Effect.raceFirst(Deferred.await(answered), steps)
    },
    Effect.scoped
  )

  /** Keeps the routers on the way open until the scope closes. */
  const keepAlive = (peer: Contact) =>
    ping(peer, Rpc.probeOptions(health)).pipe(
      Effect.ignore,
      Effect.catchDefect((defect) => Effect.logError("A connection was not kept open", defect)),
      Effect.delay(keepAlivePause),
      Effect.forever,
      Effect.annotateLogs({ module: "effect-dht/Rendezvous", fiber: "Keep-alive" }),
      Effect.forkScoped
    )

  /** Counts an attempt by its outcome. */
  const ended = (own: Dependence, peer: Dependence, outcome: Punches["outcome"]): void => {
    const key = `${own} ${peer} ${outcome}`
    const known = punches.get(key)
    if (known === undefined) punches.set(key, { own, peer, outcome, count: 1 })
    else known.count++
  }

  const meet = Effect.fnUntraced(function*(
    id: NodeId.NodeId,
    middles: ReadonlyArray<Contact>,
    relays: Map<NodeId.NodeId, Contact>
  ): Effect.fn.Return<Connection, Reason> {
    if (middles.length === 0) return yield* Effect.fail<Reason>("Unknown")
    const shown: Shown = { peer: "Unknown", knowing: relays }
    const own = reachability.mappingUnsafe()
    return yield* through(id, middles, shown).pipe(
      Effect.tapError((reason) => Effect.sync(() => ended(own, shown.peer, reason))),
      Effect.tap(() => Effect.sync(() => ended(own, shown.peer, "Succeeded")))
    )
  })

  /** Where a node is, as its own datagrams show: a contact, or a node that attends here. */
  const whereabouts = (id: NodeId.NodeId): Contact | undefined => {
    const entry = routing.entryUnsafe(id)
    if (entry?.verifiedAt !== undefined) return entry.contact
    return attendants.get(id, now())?.contact
  }

  /** Finds a node, or nodes that know it, and meets it; nodes that know it are added to the relays. */
  const find = Effect.fnUntraced(function*(
    id: NodeId.NodeId,
    relays: Map<NodeId.NodeId, Contact>
  ): Effect.fn.Return<Connection, Reason> {
    if (id === identity.nodeId) return yield* Effect.fail<Reason>("Unknown")
    const known = whereabouts(id)
    const direct = known === undefined ? Option.none() : yield* Effect.option(directly(known))
    if (Option.isSome(direct)) return direct.value
    const near = routing.nearestUnsafe(id, routing.k).filter(isMiddle).slice(0, maxMiddles)
    const met = yield* Effect.result(meet(id, near, relays))
    if (Result.isSuccess(met) || met.failure !== "Unknown") return yield* Effect.fromResult(met)
    const nodes = yield* query.findNode(id)
    const itself = nodes.find((node) => node.id === id)
    if (itself !== undefined) return yield* Effect.mapError(directly(itself), (): Reason => "Unknown")
    const others = nodes.filter((node) => isMiddle(node) && !near.some(({ id }) => id === node.id))
    return yield* meet(id, others.slice(0, maxMiddles), relays)
  })

  const connect: Rendezvous["Service"]["connect"] = Effect.fnUntraced(function*(address) {
    const relays = new Map<NodeId.NodeId, Contact>()
    const connection = yield* Effect.mapError(
      find(NodeId.fromAddress(address), relays),
      (reason) => new CannotConnect({ address, reason, relays: Array.from(relays.values()) })
    )
    yield* keepAlive(connection.peer)
    return connection
  }, spanned("Rendezvous.connect"))

  if (!settings.client) {
    const awake = yield* WakeUp.make
    yield* reachability.onChange(awake.wakeUnsafe)
    yield* attend.pipe(
      Effect.catchCause((cause) => Effect.as(Effect.logWarning("Attending failed", cause), lookMillis)),
      Effect.flatMap((pause) => pause === Infinity ? awake.sleep(pause) : Effect.sleep(pause)),
      Effect.forever,
      Effect.annotateLogs({ module: "effect-dht/Rendezvous", fiber: "Attending" }),
      Effect.forkScoped
    )
  }

  return Rendezvous.of({
    connect,
    incoming: Stream.fromPubSub(met),
    punches: Effect.sync(() => Array.from(punches.values(), (counted) => ({ ...counted }))),
    introduced: Effect.sync(() => introduced),
    serveUnsafe
  })
})

const { meeting } = Message

/** A contact without what belongs to one datagram. */
const contactOf = ({ address, host, id, port }: Contact): Contact => ({ address, host, id, port })

/** No response to MEET is larger. */
const largestResponse: Message.Body = {
  _tag: "MeetResponse",
  outcome: meeting.introduced,
  observed: new Uint8Array(18),
  callee: { id: NodeId.zero, address: "00".repeat(Address.length) as Address.Address, host: "::", port: 65_535 },
  mapping: 2
}

const outcomeOf = {
  Introduced: meeting.introduced,
  Unknown: meeting.unknown,
  BothSymmetric: meeting.bothSymmetric,
  Busy: meeting.busy
} as const

const failureOf = (outcome: number): Reason =>
  outcome === meeting.bothSymmetric ? "BothSymmetric" : outcome === meeting.busy ? "Busy" : "Unknown"

/**
 * Meets nodes found by this node's lookups.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Rendezvous,
  never,
  | NodeIdentity
  | NodeSettings
  | PeerHealth.PeerHealth
  | Query
  | Reachability
  | Routing.Routing
  | Rpc.Rpc
  | SecureRandom.SecureRandom
> = Layer.effect(Rendezvous, make)
