/**
 * Requests and responses over datagrams.
 *
 * This module answers nothing by itself and keeps no contacts: services above
 * it serve requests ({@link Rpc} `serve`) and learn of peers (`observe`).
 *
 * The receive loop ends with the layer's scope. It never waits for a response,
 * because only the loop itself could deliver it.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Address from "./Address.ts"
import type { Contact } from "./Contact.ts"
import { FailedSignatures } from "./core/failedSignatures.ts"
import { type DialBack, type Done as Probed, NatProbes } from "./core/natProbes.ts"
import { Peers, senderOf } from "./core/peers.ts"
import { ReceiveQueue, Standing } from "./core/receiveQueue.ts"
import { type Done, type NodesAnswer, type PendingRequest, Requests } from "./core/requests.ts"
import { type Session, Sessions } from "./core/sessions.ts"
import { Crypto } from "./Crypto.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
import { Allowance } from "./internal/rateLimit.ts"
import { type Refusal, refusals } from "./internal/refusal.ts"
import { Turns } from "./internal/turns.ts"
import * as Message from "./Message.ts"
import { NodeEvents } from "./NodeEvents.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Reachability } from "./Reachability.ts"
import type * as Request from "./Request.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { spanned } from "./Spans.ts"
import { Timers } from "./Timers.ts"
import * as TransactionId from "./TransactionId.ts"
import * as Transport from "./Transport.ts"
import { Verifier } from "./Verifier.ts"
import * as SessionKeys from "./wire/sessionKeys.ts"

/**
 * Options of a liveness check: attempts and a deadline that let a peer survive
 * a few lost packets.
 *
 * @category constructors
 * @since 0.1.0
 */
export const probeOptions = (health: PeerHealth.PeerHealth["Service"]): Request.Options => ({
  attempts: health.attemptsUnsafe(),
  deadline: 3000
})

export type { DialBack } from "./core/natProbes.ts"

export { type Refusal, refusals }

/**
 * Counts since the start of the node.
 *
 * @category models
 * @since 0.1.0
 */
export interface Traffic {
  /** Datagrams received with a valid signature or MAC. */
  readonly received: number
  /** Those of them with a MAC. */
  readonly inSessions: number
  /** Datagrams sent. */
  readonly sent: number
  /** Own requests that were answered. */
  readonly completed: number
  /** Datagrams refused for any reason. */
  readonly refused: number
  /** Datagrams refused, by reason. */
  readonly refusedBy: Readonly<Record<Refusal, number>>
}

/**
 * Our address as another node sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observation {
  readonly reporter: Contact
  readonly address: SocketAddress.SocketAddress
}

/**
 * A message to send, its destination, and its transaction (40 hex digits;
 * undefined: that of the request).
 *
 * @category models
 * @since 0.1.0
 */
export interface Reply {
  readonly body: Message.Body
  readonly to: SocketAddress.SocketAddress
  readonly transactionId: string | undefined
}

/**
 * The sender of a verified request, at the source address of the datagram,
 * which may be forged.
 *
 * @category models
 * @since 0.1.0
 */
export interface Requester extends Contact {
  /** What the header of the request announces. */
  readonly features: Features.Features
  /** Size of the datagram. */
  readonly bytes: number
  /** Whether it has a MAC in place of a signature, which its response has as well. */
  readonly isInSession: boolean
}

/**
 * How many times its size a datagram may cause in bytes to an address that has
 * not proved itself, as in RFC 9000 (§8.1): a forged source address is then
 * hardly worth the trouble.
 *
 * @category constants
 * @since 0.1.0
 */
export const amplification = 3

/**
 * Answers a verified request: calls `reply` with each message to send, none if
 * the protocol has no response. `now` is Unix milliseconds. Returns the most bytes
 * of a response that is sent later, which the requester's allowance must cover.
 *
 * @category models
 * @since 0.1.0
 */
export type Handler = (request: Message.Body, from: Requester, now: number, reply: (reply: Reply) => void) => number

/**
 * A verified message of another node.
 *
 * @category models
 * @since 0.1.0
 */
export interface Heard {
  /** Its sender, at the source address of the datagram. */
  readonly contact: Contact
  /** What its header announces. */
  readonly features: Features.Features
  /** Whether it answers a request of ours to that very address. Any other message may be a replay from anywhere. */
  readonly isAnswer: boolean
  /** Unix milliseconds. */
  readonly now: number
}

/**
 * When a peer was heard from last.
 *
 * @category models
 * @since 0.1.0
 */
export interface LastHeard {
  /** The peer, at the source address of its last verified message, which may be a replay. */
  readonly contact: Contact
  /** Unix milliseconds. */
  readonly heardAt: number
}

/**
 * A sign of another node with our own key at an address.
 *
 * - `Named`: a peer's response names our id there. The peer may lie.
 * - `Signed`: a message from there has our signature. It may be a replay.
 * - `Answered`: a request of ours was answered from there with our signature,
 *   and not by ourselves, which proves it.
 *
 * @category models
 * @since 0.1.0
 */
export interface OwnKey {
  readonly evidence: "Named" | "Signed" | "Answered"
  readonly address: SocketAddress.SocketAddress
  /** Unix milliseconds. */
  readonly now: number
}

/**
 * Callbacks for what messages show, called synchronously, and one that says which
 * messages to serve first. They must not throw.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observer {
  /** Called before a message is handled. */
  readonly heard?: ((heard: Heard) => void) | undefined
  /**
   * Called after a message that is no answer to a request of ours was handled;
   * `now` is Unix milliseconds. `room` is the number of bytes that it still allows
   * to be sent to its address, if that has not proved itself.
   */
  readonly handled?: ((from: Requester, now: number, room: number) => void) | undefined
  /** Called before the message is handled. */
  readonly ownKey?: ((sign: OwnKey) => void) | undefined
  /**
   * Whether a contact has answered at this address. What comes from there is
   * served before the datagrams of strangers, unless the address is forged.
   */
  readonly knows?: ((from: SocketAddress.SocketAddress) => boolean) | undefined
}

/**
 * Sends requests to peers, and receives theirs.
 *
 * @category services
 * @since 0.1.0
 */
export class Rpc extends Context.Service<Rpc, {
  /** Sends a request, repeats it while no response arrives, and waits for the outcome. */
  readonly request: <R extends Request.Request>(
    peer: Request.Peer,
    body: R,
    options?: Request.Options
  ) => Effect.Effect<Request.Answered<Request.Answers[R["_tag"]]>, Request.RequestError>
  /** Asks `via` to send an echo to `claimed`. Succeeds with whether one arrived in time. */
  readonly natProbe: (
    via: Request.Peer,
    claimed: SocketAddress.SocketAddress,
    options?: Request.Options
  ) => Effect.Effect<boolean, Transport.SendError>
  /**
   * Asks `via` to have a peer of its own send an echo to `claimed`, and waits for
   * both. The echo may come `echoMillis` after the confirmation, 1500 by default.
   */
  readonly dialBack: (
    via: Request.Peer,
    claimed: SocketAddress.SocketAddress,
    options?: Request.Options & { readonly echoMillis?: number | undefined }
  ) => Effect.Effect<DialBack, Transport.SendError>
  /**
   * Passes a NAT probe of another peer on to `to`, which sends echoes to the
   * claimed address and to us. Succeeds with whether ours arrived in time.
   */
  readonly passOn: (
    to: Request.Peer,
    probe: Pick<Extract<Message.Body, { readonly _tag: "NatProbe" }>, "token" | "claimed">,
    options?: Request.Options
  ) => Effect.Effect<boolean, Transport.SendError>
  /**
   * Asks `via`, which should be a stranger there, whether a peer answers it at an
   * address. Succeeds with its response; none if it gave none or cannot tell.
   */
  readonly reaches: (
    via: Request.Peer,
    address: SocketAddress.SocketAddress,
    options?: Request.Options
  ) => Effect.Effect<Option.Option<boolean>, Transport.SendError>
  /**
   * Answers requests with a handler until the scope closes; requests without
   * one go unanswered. There is one handler at a time: a second is a defect.
   */
  readonly serve: (handler: Handler) => Effect.Effect<void, never, Scope.Scope>
  /** Reports to an observer what messages show about peers, until the scope closes. Observers are called in the order of registration. */
  readonly observe: (observer: Observer) => Effect.Effect<void, never, Scope.Scope>
  /** Our own address as responses report it, as they arrive. */
  readonly observations: Stream.Stream<Observation>
  /** Counts of datagrams and answered requests since the start. */
  readonly traffic: Effect.Effect<Traffic>
  /** Number of own requests in flight. */
  readonly pending: Effect.Effect<number>
  /** Whether an own request to this address is in flight. For code that runs once per packet. */
  readonly isAskingUnsafe: (address: SocketAddress.SocketAddress) => boolean
  /**
   * The peers heard from lately, at most some thousands: those that have answered
   * us and then the others, the last heard from first.
   */
  readonly peersUnsafe: () => Iterable<LastHeard>
}>()("effect-dht/Rpc") {}

/** Notices to one network, and to all, in 10 seconds: after a restart each peer gets one. */
const noticeLimits = { perSource: 64, inAll: 2048, windowMillis: 10_000 }

/** Signatures of received datagrams that may be checked at the same time, and of which strangers may use these. */
const maxChecking = 64
const maxCheckingStrangers = 48

/**
 * Signature checks of one turn of the receive loop; of a turn before which at
 * least `fullRead` datagrams arrived; and those of suspects.
 *
 * Datagrams arrive between turns, from Node at most 32 at a time. If there were
 * so many, the kernel probably holds more, and when its buffer is full it drops
 * them without regard to their source. Only here can friends be told from a
 * flood, so reading comes first: 32 take as long as five checks.
 */
const checksPerTurn = 8
const checksPerBusyTurn = 2
const suspectsPerTurn = 1
const fullRead = 32

/** Time after which a turn ends: what a datagram leads to, such as the check of a record, may cost more than itself. */
const turnNanos = 2_000_000n

/** Datagrams of one turn: those that cost no check cost little, but not nothing. */
const datagramsPerTurn = 64

/** A datagram in the queue, of which only the header is read unless it is already verified. */
interface Received extends Transport.Datagram {
  readonly header: Message.Header
  readonly verified: Verified | undefined
  readonly standing: Standing
}

/** What a datagram of a sender says, and the request that it answers. */
interface Said {
  readonly frame: Message.Frame
  readonly sender: Address.Address
  readonly body: Message.Body
  readonly pending: PendingRequest | undefined
}

/** The frame of a datagram whose MAC is right. */
interface Verified {
  readonly frame: Message.SessionFrame
  readonly session: Session
}

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const identity = yield* NodeIdentity
  const transport = yield* Transport.Transport
  const verifier = yield* Verifier
  const health = yield* PeerHealth.PeerHealth
  const reachability = yield* Reachability
  const settings = yield* NodeSettings
  /** A closed node tells its peers so, because they cannot count on it. */
  const features = (now: number) =>
    Features.own({
      client: settings.client || reachability.isClosedUnsafe(),
      sessions: settings.sessions,
      dual: reachability.isDualUnsafe(now)
    })
  const { network } = settings
  const derive = SessionKeys.deriver({ identity, network, crypto: yield* Crypto })
  const peers = new Peers({})
  const sessions = new Sessions({ own: identity.nodeId, derive, peers })
  const notices = new Allowance(noticeLimits)
  const random = yield* SecureRandom.SecureRandom
  const clock = yield* Clock.Clock
  const observations = yield* PubSub.sliding<Observation>(64)
  const background = yield* FiberSet.make()
  const run = yield* FiberSet.runtime(background)<never>()

  const timers = yield* Timers
  const events = yield* NodeEvents
  const transactionId = TransactionId.generator(random)

  const waiting = new ReceiveQueue<Received>()
  const failures = new FailedSignatures()
  /** Datagrams that arrived since the last turn. */
  let arrived = 0
  const observers: Array<Observer> = []
  let handler: Handler | undefined
  /** Signatures being checked, and those of strangers among them. */
  let checking = 0
  let checkingStrangers = 0
  const traffic = { received: 0, inSessions: 0, sent: 0 }
  let sentBytes = 0
  const refused: Record<Refusal, number> = {
    late: 0,
    unawaited: 0,
    malformed: 0,
    unknown_type: 0,
    too_large: 0,
    bad_signature: 0,
    bad_mac: 0,
    unreachable: 0,
    denied: 0,
    overload: 0
  }

  /** Whether the layer's scope is closed. The transport's scope may be open for longer. */
  let closed = false

  // Pending requests cannot succeed any more.
  yield* Effect.addFinalizer(() => {
    closed = true
    requests.close()
    probes.close()
    return PubSub.shutdown(observations)
  })

  const transmit = (datagram: Uint8Array, to: Transport.Sender, now: number) => {
    // The answer may arrive before the transport returns.
    reachability.sentUnsafe(to.host, now)
    const error = transport.sendUnsafe(datagram, to)
    if (error !== undefined) return error
    traffic.sent++
    sentBytes += datagram.length
    return undefined
  }

  const sender = senderOf(identity.nodeId)

  /** Sends a message in a session, or signed. */
  const send = (
    body: Message.Body,
    to: Transport.Sender,
    transactionId: Message.TransactionId,
    session?: Session
  ) => {
    if (closed) return new Transport.TransportClosed()
    if (!SocketAddress.isReachable(to)) return new Transport.Unroutable({ to, reason: "Address" })
    const now = clock.currentTimeMillisUnsafe()
    const key = session?.keys?.send
    return transmit(
      key === undefined
        ? Message.encode(body, { signer: identity, transactionId, features: features(now), network })
        : Message.seal(body, { sender, key, transactionId, features: features(now) }),
      to,
      now
    )
  }

  /** Takes note of our address as a response reports it. */
  const observed = (body: Message.Body, reporter: Contact): void => {
    const wire = "observed" in body ? body.observed : undefined
    const address = wire === undefined ? undefined : SocketAddress.decodeObserved(wire)
    if (address === undefined || reporter.id === identity.nodeId) return
    if (!SocketAddress.isReachableFrom(address, reporter)) return
    reachability.voteUnsafe(reporter, address, clock.currentTimeMillisUnsafe())
    PubSub.publishUnsafe(observations, { reporter, address })
  }

  const tellOwnKey = (evidence: OwnKey["evidence"], { host, port }: SocketAddress.SocketAddress, now: number): void => {
    const sign: OwnKey = { evidence, address: { host, port }, now }
    for (const { ownKey } of observers) ownKey?.(sign)
  }

  /**
   * Whether a reported node is worth adding: not one that announced that it
   * leaves soon, nor one that we cannot reach although the reporter can. A node
   * with our own id may be an identity conflict.
   */
  const isWorthKnowing = (node: Contact, from: Contact, { observed }: NodesAnswer): boolean => {
    if (!SocketAddress.isReachableFrom(node, from) || !transport.reaches(node.host)) return false
    if (node.id === identity.nodeId && !isOurs(node, observed)) {
      tellOwnKey("Named", node, clock.currentTimeMillisUnsafe())
    }
    return !health.isClientUnsafe(node.id)
  }

  const ownKeys = new Set(transport.addresses.map(SocketAddress.key))

  /** Whether an address is our own, as bound or as the reporting peer sees it. */
  const isOurs = (address: SocketAddress.SocketAddress, observed: Uint8Array | undefined): boolean => {
    const key = SocketAddress.key(address)
    const seenAt = observed === undefined ? undefined : SocketAddress.decodeObserved(observed)
    return ownKeys.has(key) || seenAt !== undefined && key === SocketAddress.key(seenAt)
  }

  const requests = new Requests({
    own: identity.nodeId,
    timers,
    health,
    events,
    now: () => clock.currentTimeMillisUnsafe(),
    transactionId,
    sessions,
    send,
    hasBothFamilies: transport.reaches("0.0.0.0") && transport.reaches("::"),
    isWorthKnowing,
    heard: observed
  })

  const probes = new NatProbes({ timers, transactionId, send })

  // --- Receiving ---------------------------------------------------------------

  /** Queues a datagram, or refuses it where its header or its end is enough for that. Returns false if there is no room for it. */
  const receive: Transport.Deliver = (payload, from) => {
    const datagram: Transport.Datagram = { payload, from }
    arrived++
    if (payload.length > Message.maxDatagram) return refuse(datagram, "too_large")
    // A sender that we cannot answer does not become a contact.
    if (!SocketAddress.isReachable(from)) return refuse(datagram, "unreachable")
    const noticed = Message.noticed(payload)
    if (noticed !== undefined) return requests.noticed(noticed, from) || refuseUnawaited(datagram, noticed)
    // A place in the queue costs more than all that follows.
    const header = Message.header(payload)
    if (typeof header === "string") return refuse(datagram, "malformed", header)
    if (!Message.isKnown(header.type)) return refuse(datagram, "unknown_type")
    // An unawaited response is not worth a look at its body.
    if (Message.isResponse(header.type) && !mayBeAwaited(header)) {
      return refuseUnawaited(datagram, header.transactionId)
    }
    const sender = Message.claimedSender(payload)
    const signer = sender === undefined ? Message.claimedKey(payload) : undefined
    if (sender === undefined && signer === undefined) {
      const frame = Message.frame(payload, header)
      if (typeof frame === "string") return refuse(datagram, "malformed", frame)
    }
    const session = sender === undefined ? undefined : sessions.of(sender)
    if (sender !== undefined && session === undefined) return refuseUnknown(datagram, header)
    // A MAC costs as little as a place in the queue.
    const verified = session?.isReady ? authenticate(session, payload, header) : undefined
    if (session?.isReady && verified === undefined) return refuse(datagram, "bad_mac")
    const standing = standingOf(from, header, verified, signer)
    const received: Received = { payload, from, header, verified, standing }
    const lost = waiting.offer(standing, from, received)
    if (lost !== undefined) refuse(lost, "overload")
    if (lost === received) return false
    turns.wake()
    return true
  }

  /** Whether a response is worth framing. */
  const mayBeAwaited = (header: Message.Header): boolean =>
    header.type === Message.Type.NatProbeEcho ? probes.size > 0 : requests.isPending(header)

  const standingOf = (
    from: Transport.Sender,
    header: Message.Header,
    verified: Verified | undefined,
    signer: Uint8Array | undefined
  ): Standing => {
    // An echo is not matched by its transaction, so anyone can send one meanwhile.
    if (Message.isResponse(header.type) && header.type !== Message.Type.NatProbeEcho) return Standing.awaited
    if (verified?.session.isProvedAt(from)) return Standing.session
    if (observers.some(({ knows }) => knows?.(from) === true)) return Standing.known
    if (verified !== undefined) return Standing.stranger
    return signer === undefined || failures.isSuspect(signer, from.host, clock.currentTimeMillisUnsafe())
      ? Standing.suspect
      : Standing.stranger
  }

  /** Returns the frame of a datagram of a session, or undefined if its MAC is wrong, which is computed before anything else is read. */
  const authenticate = (
    session: Session,
    payload: Uint8Array,
    header: Message.Header
  ): Verified | undefined => {
    const key = session.keys?.receive
    if (key === undefined || !Message.isAuthentic(payload, header, key)) return undefined
    const frame = Message.frame(payload, header)
    return typeof frame !== "string" && frame._tag === "Session" ? { frame, session } : undefined
  }

  /** Handles a datagram. Returns whether that takes a signature check, or as long as one. */
  const serveOne = (datagram: Received, now: number): boolean => {
    const { header, payload } = datagram
    if (datagram.verified !== undefined) {
      serveInSession(datagram, datagram.verified, now)
      return false
    }
    const frame = Message.frame(payload, header)
    if (typeof frame === "string") return !refuse(datagram, "malformed", frame)
    if (frame._tag === "Signed") return serveSigned(datagram, frame, now)
    // The first datagram of a session, for which its keys have to be derived.
    const session = sessions.of(frame.sender)
    if (session === undefined) return !refuseUnknown(datagram, frame)
    const verified = authenticate(session, payload, header)
    if (verified === undefined) refuse(datagram, "bad_mac")
    else serveInSession(datagram, verified, now)
    return true
  }

  /** What a frame of a sender says; undefined if the datagram was refused. Nothing is verified. */
  const read = (datagram: Transport.Datagram, frame: Message.Frame, sender: Address.Address): Said | undefined => {
    const isResponse = Message.isResponse(frame.type) && frame.type !== Message.Type.NatProbeEcho
    const pending = isResponse ? requests.awaiting(frame, sender, datagram.from) : undefined
    const refused = (reason: Refusal, fault?: string) => void refuse(datagram, reason, fault)
    if (isResponse && pending === undefined) return void refuseUnawaited(datagram, frame.transactionId)
    const body = Message.readBody(frame)
    if (typeof body === "string") return refused("malformed", body)
    if (body._tag === "NatProbeEcho" && !probes.awaits(body.token)) return refused("unawaited")
    const fault = Message.senderFault(body, sender)
    return fault === undefined ? { frame, sender, body, pending } : refused("malformed", fault)
  }

  const serveInSession = (datagram: Transport.Datagram, { frame, session }: Verified, now: number): void => {
    const said = read(datagram, frame, session.contact.address)
    if (said === undefined) return
    traffic.received++
    traffic.inSessions++
    accept(said, datagram, session, now)
  }

  /** A requester cannot know that this node has lost their session, for instance in a restart, so it is told. */
  const refuseUnknown = (datagram: Transport.Datagram, header: Message.Header): true => {
    const { from } = datagram
    const now = clock.currentTimeMillisUnsafe()
    if (!Message.isResponse(header.type) && notices.allow(SocketAddress.network(from.host), now)) {
      transmit(Message.notice(header.transactionId), from, now)
    }
    return refuse(datagram, "bad_mac")
  }

  /** Returns whether the datagram takes a signature check. */
  const serveSigned = (datagram: Received, frame: Message.SignedFrame, now: number): boolean => {
    const { from, standing } = datagram
    const said = read(datagram, frame, Address.fromPublicKey(frame.publicKey))
    if (said === undefined) return false
    const isStranger = standing >= Standing.stranger
    const count = (by: 1 | -1): void => {
      checking += by
      if (isStranger) checkingStrangers += by
    }
    count(1)
    let queued = false
    try {
      queued = verifier.check(frame.publicKey, Message.signedBytes(frame, network), frame.signature, (valid) => {
        count(-1)
        // The verifier may call from outside any fiber, where a defect would
        // end the process.
        try {
          if (valid) {
            failures.succeeded(frame.publicKey, from.host)
            traffic.received++
            accept(said, datagram, undefined, now)
          } else {
            failures.failed(frame.publicKey, from.host, now)
            refuse(datagram, "bad_signature")
          }
        } catch (defect) {
          run(Effect.logError("A message could not be handled", defect))
        }
        if (waiting.size > 0) turns.wake()
      })
    } finally {
      if (!queued) {
        count(-1)
        refuse(datagram, "overload")
      }
    }
    return true
  }

  const refuseUnawaited = (datagram: Transport.Datagram, transaction: Message.TransactionId): true =>
    refuse(datagram, requests.isOver(transaction) ? "late" : "unawaited")

  const refuse = ({ from, payload }: Transport.Datagram, reason: Refusal, fault?: string): true => {
    refused[reason]++
    events.explainUnsafe?.({ _tag: "DatagramRefused", from, bytes: payload.length, reason, fault })
    return true
  }

  const accept = (
    { body, frame, pending, sender }: Said,
    { from, payload }: Transport.Datagram,
    session: Session | undefined,
    now: number
  ): void => {
    const { features, transactionId } = frame
    const contact = peers.contact(NodeId.fromAddress(sender), sender, from)
    const asked = pending?.peer
    const isOwn = contact.id === identity.nodeId
    const isAnswer = asked !== undefined && SocketAddress.isSame(from, asked)
    if (isOwn) {
      recognise(body, transactionId, contact, pending, now)
    } else {
      const isAnnounced = settings.sessions && Features.has(features, Features.Bit.sessions)
      const publicKey = frame._tag === "Signed" ? frame.publicKey : undefined
      sessions.heard(contact, publicKey, isAnnounced, isAnswer, now)
      const told: Heard = { contact, features, isAnswer, now }
      for (const { heard } of observers) heard?.(told)
    }
    const isEcho = body._tag === "NatProbeEcho"
    if (!isOwn) reachability.heardUnsafe(from.host, isEcho, now)
    if (pending !== undefined) requests.answered(pending, transactionId, body, contact, now)
    if (isAnswer) return
    const { address, host, id, port } = contact
    const bytes = payload.length
    const requester: Requester = { address, id, host, port, features, bytes, isInSession: session?.keys !== undefined }
    let room = amplification * bytes
    if (isEcho) probes.echoed(from, body)
    else if (pending === undefined) {
      events.explainUnsafe?.({ _tag: "RequestReceived", contact, request: body._tag })
      if (body._tag === "Ping") requests.challenged(contact)
      let spent: number | undefined
      const later = handler?.(body, requester, now, (reply) => {
        const before = sentBytes
        // A requester in a session has its key. Another receiver of a message may not.
        if (reply.transactionId === undefined) send(reply.body, from, transactionId, session)
        else send(reply.body, reply.to, reply.transactionId)
        spent = (spent ?? 0) + sentBytes - before
      })
      room -= spent ?? later ?? 0
    }
    if (!isOwn) { for (const { handled } of observers) handled?.(requester, now, room) }
  }

  /** A message is signed with our key: it is our own, or from another node that has the key. */
  const recognise = (
    body: Message.Body,
    transactionId: Message.TransactionId,
    from: Contact,
    pending: PendingRequest | undefined,
    now: number
  ): void => {
    if (pending !== undefined) { if (!pending.hasReturned) tellOwnKey("Answered", from, now) }
    else if (body._tag !== "NatProbeEcho" && !requests.returned(transactionId)) tellOwnKey("Signed", from, now)
  }

  // --- Requests ----------------------------------------------------------------

  const request: Rpc["Service"]["request"] = (peer, body, options) => {
    type Answered = Request.Answered<Request.Answers[typeof body["_tag"]]>
    const answered = Effect.callback<Answered, Request.RequestError>((resume) => {
      turns.start()
      // Only a response of the request's type ends it.
      const done = (result: Parameters<Done>[0]) => resume(Effect.fromResult(result) as never)
      return Effect.sync(requests.ask(peer, body, options ?? {}, done))
    })
    const attributes = () => ({ "dht.request": body._tag, "dht.peer": SocketAddress.format(peer) })
    return spanned("Rpc.request", attributes)(answered)
  }

  /** Runs a probe until its outcome. */
  const probe = <A>(start: (done: Probed<A>) => () => void): Effect.Effect<A, Transport.SendError> =>
    Effect.callback((resume) => {
      turns.start()
      return Effect.sync(start((result) => resume(Effect.fromResult(result))))
    })

  const natProbe: Rpc["Service"]["natProbe"] = Effect.fnUntraced(function*(via, claimed, options) {
    const token = yield* random.randomBytes(8)
    return yield* probe<boolean>((done) => probes.echo(via, claimed, token, options, done))
  }, spanned("Rpc.natProbe"))

  const dialBack: Rpc["Service"]["dialBack"] = Effect.fnUntraced(function*(via, claimed, options) {
    const token = yield* random.randomBytes(8)
    return yield* probe<DialBack>((done) => probes.dialBack(via, claimed, token, options, done))
  }, spanned("Rpc.dialBack"))

  const passOn: Rpc["Service"]["passOn"] = (to, passed, options) =>
    spanned("Rpc.passOn")(probe<boolean>((done) => probes.passOn(to, passed, options, done)))

  const reaches: Rpc["Service"]["reaches"] = Effect.fnUntraced(function*(via, address, options) {
    const token = yield* random.randomBytes(8)
    return Option.fromUndefinedOr(
      yield* probe<boolean | undefined>((done) => probes.reaches(via, address, token, options, done))
    )
  }, spanned("Rpc.reaches"))

  // --- Services above ------------------------------------------------------------

  const serve: Rpc["Service"]["serve"] = (next) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        if (handler !== undefined) throw new Error("Requests have a handler already: close its scope first")
        handler = next
        turns.start()
      }),
      () =>
        Effect.sync(() => {
          handler = undefined
        })
    )

  const observe: Rpc["Service"]["observe"] = (observer) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        observers.push(observer)
      }),
      () =>
        Effect.sync(() => {
          observers.splice(observers.indexOf(observer), 1)
        })
    )

  // --- The loop ----------------------------------------------------------------

  /** The worst standing of which another check may start; undefined if there are enough. */
  const worstServed = (suspects: number): Standing | undefined =>
    checking >= maxChecking
      ? undefined
      : checkingStrangers >= maxCheckingStrangers
      ? Standing.known
      : suspects >= suspectsPerTurn
      ? Standing.stranger
      : Standing.suspect

  /** Serves some of the datagrams that wait. Returns whether more of them can be served. */
  const serveSome = (): boolean => {
    const now = clock.currentTimeMillisUnsafe()
    const until = clock.monotonicTimeNanosUnsafe() + turnNanos
    const maxChecks = arrived >= fullRead ? checksPerBusyTurn : checksPerTurn
    let checks = 0
    let suspects = 0
    arrived = 0
    for (let taken = 0; taken < datagramsPerTurn && checks < maxChecks; taken++) {
      const worst = worstServed(suspects)
      const datagram = worst === undefined ? undefined : waiting.take(worst)
      if (datagram === undefined) {
        // Suspects that have had their share wait for the next turn.
        return suspects >= suspectsPerTurn && waiting.size > 0
      }
      if (serveOne(datagram, now)) {
        checks++
        if (datagram.standing === Standing.suspect) suspects++
      }
      if (clock.monotonicTimeNanosUnsafe() >= until) return true
    }
    return true
  }

  // The network is read before the next turn, also when nothing is left to serve:
  // otherwise each datagram would be served as it arrives, in the order of arrival.
  // What arrives before the first use waits until there is something to handle it.
  const turns = new Turns(yield* Effect.withFiberSucceed((fiber) => fiber.currentDispatcher), () => {
    try {
      return serveSome()
    } catch (defect) {
      run(Effect.logError("A datagram could not be handled", defect))
      return true
    }
  })

  // The transport may call from outside any fiber, where a defect would end the process.
  yield* transport.deliverTo((payload, from) => {
    try {
      return receive(payload, from)
    } catch (defect) {
      run(Effect.logError("A datagram could not be read", defect))
      return true
    }
  })

  yield* Effect.addFinalizer(() => Effect.sync(() => turns.close()))

  return Rpc.of({
    request,
    natProbe,
    dialBack,
    passOn,
    reaches,
    serve,
    observe,
    observations: Stream.fromPubSub(observations),
    traffic: Effect.map(Effect.all([transport.dropped, transport.denied]), ([dropped, denied]) => {
      // What the transport drops never reaches this module.
      const refusedBy = { ...refused, denied, overload: refused.overload + dropped }
      return {
        ...traffic,
        completed: requests.completed,
        refused: Object.values(refusedBy).reduce((sum, count) => sum + count),
        refusedBy
      }
    }),
    pending: Effect.sync(() => requests.size),
    isAskingUnsafe: (address) => requests.isAsking(address),
    peersUnsafe: () => peers
  })
})

/**
 * Requests and responses over the transport, from a receive loop in the layer's
 * scope.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Rpc,
  never,
  | Timers
  | Crypto
  | NodeEvents
  | NodeIdentity
  | NodeSettings
  | Transport.Transport
  | Verifier
  | PeerHealth.PeerHealth
  | Reachability
  | SecureRandom.SecureRandom
> = Layer.effect(Rpc, make)
