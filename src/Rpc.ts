/**
 * Questions and answers over datagrams.
 *
 * A request is repeated under a fresh transaction id until an answer to any of
 * its attempts arrives, or its time is over. Who may answer is decided by what
 * is known of the peer: its id if we have it, else the address it was asked
 * at. The receive loop is a fiber in the layer's scope and never waits for
 * anything that it would have to deliver itself.
 *
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
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
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as Address from "./Address.ts"
import { Alarms } from "./Alarms.ts"
import type { Contact } from "./Contact.ts"
import { NodeIdentity } from "./Identity.ts"
import { Call, type Options } from "./internal/call.ts"
import * as Hex from "./internal/hex.ts"
import { freshMillis } from "./internal/routingTable.ts"
import * as Message from "./Message.ts"
import { NodeEvents } from "./NodeEvents.ts"
import * as NodeId from "./NodeId.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Reachability } from "./Reachability.ts"
import type { SignedRecord } from "./Record.ts"
import { Responder } from "./Responder.ts"
import * as Routing from "./Routing.ts"
import { SeenPeers } from "./SeenPeers.ts"
import * as SocketAddress from "./SocketAddress.ts"
import * as TransactionId from "./TransactionId.ts"
import * as Transport from "./Transport.ts"
import { Verifier } from "./Verifier.ts"

/**
 * Whom to ask: an address, and the id that must answer if it is known. A
 * `Contact` is one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Peer extends SocketAddress.SocketAddress {
  readonly id?: NodeId.NodeId | undefined
}

/**
 * The requests, and what answers each.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answers {
  readonly Ping: Extract<Message.Body, { readonly _tag: "Pong" }>
  readonly FindNode: Extract<Message.Body, { readonly _tag: "FindNodeResponse" }>
  readonly FindValue: Extract<Message.Body, { readonly _tag: "FindValueResponse" }>
  readonly Store: Extract<Message.Body, { readonly _tag: "StoreResponse" }>
  readonly Push: Extract<Message.Body, { readonly _tag: "PushAck" }>
}

/**
 * A body that asks for an answer.
 *
 * @category models
 * @since 0.1.0
 */
export type Request = Extract<Message.Body, { readonly _tag: keyof Answers }>

/**
 * A verified answer, who gave it, and how long it took in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answered<A> {
  readonly body: A
  readonly from: Contact
  readonly rtt: number
}

/**
 * The records of an answer, wherever its version of the protocol puts them.
 * They are not verified.
 *
 * @category accessors
 * @since 0.1.0
 */
export const recordsOf = ({ record, records = [] }: Answers["FindValue"]): ReadonlyArray<SignedRecord> =>
  record === undefined || records.some((other) => Bytes.Equivalence(other.signature, record.signature))
    ? records
    : [...records, record]

/**
 * How patient a request is. Defaults are what the protocol allows at most:
 * three attempts, 15 seconds in all.
 *
 * @category models
 * @since 0.1.0
 */
export interface RequestOptions {
  readonly attempts?: number | undefined
  /** For all attempts together. */
  readonly deadline?: Duration.Input | undefined
  /** Gives up when the last attempt had its turn, and not at the deadline: for who has others to ask. */
  readonly hasty?: boolean | undefined
  /** A probe of upkeep: silence is no news, and does not count against the peer. */
  readonly maintenance?: boolean | undefined
}

/**
 * What a peer is given that is only asked whether it is there: enough not to
 * take a few lost packets for its end.
 *
 * @category constructors
 * @since 0.1.0
 */
export const probePatience = (health: PeerHealth.PeerHealth["Service"]): RequestOptions => ({
  attempts: health.core.attempts(),
  deadline: 3000
})

/**
 * The peer gave no valid answer in time.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoAnswer extends Data.TaggedError("NoAnswer")<{
  readonly peer: Peer
  readonly request: keyof Answers | "NatProbe"
  readonly attempts: number
  readonly waitedMillis: number
}> {
  override get message() {
    return `${SocketAddress.format(this.peer)} did not answer ${this.request} ` +
      `(${this.attempts} attempts in ${Math.round(this.waitedMillis)} ms)`
  }
}

/**
 * Why a request has no answer.
 *
 * @category errors
 * @since 0.1.0
 */
export type RequestError = NoAnswer | Transport.SendError

/**
 * Counts since the node started.
 *
 * @category models
 * @since 0.1.0
 */
export interface Traffic {
  /** Datagrams received whose signature was good. */
  readonly received: number
  /** Datagrams sent. */
  readonly sent: number
  /** Requests of ours that were answered. */
  readonly completed: number
  /** Datagrams that were no message, nobody's answer, or wrongly signed. */
  readonly refused: number
}

/**
 * How another node sees us.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observation {
  readonly reporter: Contact
  readonly address: SocketAddress.SocketAddress
}

/**
 * Asks peers, and answers them.
 *
 * @category services
 * @since 0.1.0
 */
export class Rpc extends Context.Service<Rpc, {
  readonly request: <R extends Request>(
    peer: Peer,
    body: R,
    options?: RequestOptions
  ) => Effect.Effect<Answered<Answers[R["_tag"]]>, RequestError>
  /**
   * `request` for callers outside a fiber: tells `done` what came of it, once,
   * and returns how to give it up, after which `done` is told nothing.
   */
  readonly requestUnsafe: <R extends Request>(
    peer: Peer,
    body: R,
    options: RequestOptions,
    done: (result: Result.Result<Answered<Answers[R["_tag"]]>, RequestError>) => void
  ) => () => void
  /** Asks `via` to send an echo to `claimed`; succeeds with whether one came in time. */
  readonly natProbe: (
    via: Peer,
    claimed: SocketAddress.SocketAddress,
    options?: RequestOptions
  ) => Effect.Effect<boolean, Transport.SendError>
  /** What answers say of our own address, as they arrive. */
  readonly observations: Stream.Stream<Observation>
  readonly traffic: Effect.Effect<Traffic>
  /** Requests of ours that wait for an answer. */
  readonly pending: Effect.Effect<number>
}>()("effect-dht/Rpc") {}

/**
 * A request as the first version of the protocol knows it: that version drops
 * what says more.
 */
const plain = (body: Request): Request =>
  body._tag === "FindValue" && body.subscribe ? { ...body, subscribe: false } : body

const responseType = {
  Ping: Message.Type.Pong,
  FindNode: Message.Type.FindNodeResponse,
  FindValue: Message.Type.FindValueResponse,
  Store: Message.Type.StoreResponse,
  Push: Message.Type.PushAck
} as const

const defaultAttempts = 3
const defaultDeadlineMillis = 15_000

/** Contacts whose new addresses are asked at the same time. */
const maxMoving = 64

/** Signatures of received datagrams that may be checked at the same time. */
const maxChecking = 64

type Done = (result: Result.Result<Answered<Message.Body>, RequestError>) => void

interface QuestionOptions extends Options {
  readonly body: Request
  readonly peer: Peer
  readonly isMaintenance: boolean
  /** When the time of an attempt is over. */
  readonly again: (question: Question) => void
  readonly done: Done
}

/** A question of ours, and who waits for the answer. */
class Question extends Call {
  readonly body: Request
  readonly peer: Peer
  readonly isMaintenance: boolean
  readonly done: Done
  private readonly again: (question: Question) => void

  constructor(options: QuestionOptions) {
    super(options)
    this.body = options.body
    this.peer = options.peer
    this.isMaintenance = options.isMaintenance
    this.done = options.done
    this.again = options.again
  }

  override fire(): void {
    this.again(this)
  }
}

const make = Effect.gen(function*() {
  const identity = yield* NodeIdentity
  const transport = yield* Transport.Transport
  const verifier = yield* Verifier
  const responder = yield* Responder
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const reachability = yield* Reachability
  const seen = yield* SeenPeers
  const random = yield* SecureRandom.SecureRandom
  const clock = yield* Clock.Clock
  const observations = yield* PubSub.sliding<Observation>(64)
  const background = yield* FiberSet.make()
  const run = yield* FiberSet.runtime(background)<never>()

  const alarms = yield* Alarms
  const { core: { requestTimes } } = yield* NodeEvents
  const transactionId = TransactionId.generator(random)

  const pending = new Set<Question>()
  const calls = new Map<Message.TransactionId, Question>()
  const echoes = new Map<string, Deferred.Deferred<void, Transport.TransportClosed>>()
  /** Contacts whose new address has yet to answer. */
  const moving = new Set<NodeId.NodeId>()
  /** Signatures being checked, and whether there is room for more. */
  let checking = 0
  const checked = Latch.makeUnsafe(true)
  const traffic = { received: 0, sent: 0, completed: 0, refused: 0 }

  /** Whether the layer's scope is closed; the transport's may be open for longer. */
  let closed = false

  // Nobody waits for what can no longer come.
  yield* Effect.addFinalizer(() => {
    closed = true
    for (const question of pending) end(question, Result.fail(new Transport.TransportClosed()))
    for (const echo of echoes.values()) Deferred.doneUnsafe(echo, Effect.fail(new Transport.TransportClosed()))
    return PubSub.shutdown(observations)
  })

  const send = (body: Message.Body, to: SocketAddress.SocketAddress, transactionId: Message.TransactionId) => {
    if (closed) return new Transport.TransportClosed()
    const error = transport.sendUnsafe(Message.encode(body, { signer: identity, transactionId }), to)
    if (error === undefined) traffic.sent++
    return error
  }

  // --- What arrives ------------------------------------------------------------

  const receive = (datagram: Transport.Datagram, now: number): void => {
    if (datagram.payload.length > Message.maxDatagram) return refuse()
    const frame = Message.frame(datagram.payload)
    if (typeof frame === "string") return refuse()
    const call = Message.isResponse(frame.type) ? calls.get(frame.transactionId) : undefined
    // What nobody awaits is not worth a signature check.
    if (Message.isResponse(frame.type) && !isAwaited(frame, call, datagram.from)) return refuse()
    const body = Message.readBody(frame)
    if (typeof body === "string") return refuse()
    if (body._tag === "NatProbeEcho" && !echoes.has(Hex.encode(body.token))) return refuse()
    const message = Message.assemble(frame, body)
    if (typeof message === "string") return refuse()
    checking++
    let queued = false
    try {
      queued = verifier.check(frame.publicKey, Message.signedBytes(frame), frame.signature, (valid) => {
        if (--checking < maxChecking) checked.openUnsafe()
        if (!valid) return refuse()
        traffic.received++
        // The verifier may call from outside of any fiber, where a bug of ours
        // would end the process.
        try {
          accept(message, datagram.from, call, now)
        } catch (defect) {
          run(Effect.logError("A message could not be handled", defect))
        }
      })
    } finally {
      if (!queued) {
        checking--
        refuse()
      }
    }
  }

  const refuse = (): void => {
    traffic.refused++
  }

  /** Who may answer: the id that was asked, or the address where none is known. */
  const isAwaited = (frame: Message.Frame, call: Question | undefined, from: SocketAddress.SocketAddress): boolean => {
    if (frame.type === Message.Type.NatProbeEcho) return echoes.size > 0
    if (call === undefined || responseType[call.body._tag] !== frame.type) return false
    return call.peer.id === undefined
      ? from.host === call.peer.host && from.port === call.peer.port
      : call.peer.id === NodeId.fromAddress(Address.fromPublicKey(frame.publicKey))
  }

  const accept = (
    message: Message.Message,
    from: SocketAddress.SocketAddress,
    call: Question | undefined,
    now: number
  ): void => {
    const contact: Contact = {
      id: NodeId.fromAddress(message.sender),
      address: message.sender,
      host: from.host,
      port: from.port
    }
    learn(contact, now, call !== undefined && from.host === call.peer.host && from.port === call.peer.port)
    const { body } = message
    if (body._tag === "NatProbeEcho") {
      const echo = echoes.get(Hex.encode(body.token))
      if (echo !== undefined) Deferred.doneUnsafe(echo, Effect.void)
    } else if (call === undefined) {
      responder.answer(body, contact, now, (reply) => {
        send(reply.body, reply.to, reply.transactionId ?? message.transactionId)
      })
    } else if (pending.has(call)) {
      answered(call, message, contact, now)
    }
  }

  /**
   * Whoever sent us something it signed is there. What was signed can be sent
   * by anybody from anywhere, though, so it does not move a contact we have:
   * the new address has to be asked and answer, as only its owner can.
   */
  const learn = (contact: Contact, now: number, answered: boolean): void => {
    seen.core.seen(contact.id, now)
    const known = routing.core.get(contact.id)
    if (!answered && known !== undefined && (known.host !== contact.host || known.port !== contact.port)) {
      if (!moving.has(contact.id) && moving.size < maxMoving) confirmMove(contact)
      return
    }
    const outcome = routing.core.add(contact, now, now)
    if (outcome._tag !== "Probe") return
    // Whoever was heard from just now need not be asked.
    if (routing.core.isTaken(contact.id, now - freshMillis)) routing.core.probed(outcome.oldest.id, true, now)
    else probe(outcome.oldest)
  }

  const confirmMove = (contact: Contact): void => {
    moving.add(contact.id)
    ask(contact, ping, probePatience(health), () => moving.delete(contact.id))
  }

  /** A bucket is full: the newcomer gets a place only if the oldest entry is silent. */
  const probe = (oldest: Contact): void => {
    ask(oldest, ping, probePatience(health), (result) => {
      routing.core.probed(oldest.id, Result.isSuccess(result), clock.currentTimeMillisUnsafe())
    })
  }

  const ping: Request = { _tag: "Ping", address: identity.address }

  // --- What is asked -----------------------------------------------------------

  const ask = (peer: Peer, body: Request, options: RequestOptions, done: Done): () => void => {
    const { attempts = defaultAttempts, deadline = defaultDeadlineMillis, hasty = false, maintenance = false } = options
    const question = new Question({
      body,
      peer,
      startedAt: alarms.now(),
      maxAttempts: attempts,
      patience: Duration.toMillis(deadline),
      firstWait: peer.id === undefined
        ? health.core.defaultTimeout()
        : health.core.timeout(peer.id, clock.currentTimeMillisUnsafe()),
      isHasty: hasty,
      isMaintenance: maintenance,
      again: attempt,
      done
    })
    pending.add(question)
    attempt(question)
    return () => forget(question)
  }

  /** Sends it once more, or gives it up. */
  const attempt = (question: Question): void => {
    const { attempts, body, peer } = question
    const now = alarms.now()
    if (!question.mayTry(now)) return giveUp(question)
    const transaction = transactionId()
    const isPlain = attempts.size > 0 ||
      peer.id !== undefined && health.core.version(peer.id, clock.currentTimeMillisUnsafe()) === "first"
    calls.set(transaction, question)
    const until = question.try(transaction, { sentAt: now, isPlain })
    const error = send(isPlain ? plain(body) : body, peer, transaction)
    if (error !== undefined) return end(question, Result.fail(error))
    // Within one process the answer may be here already.
    if (pending.has(question)) alarms.set(question, until)
  }

  const answered = (question: Question, message: Message.Message, from: Contact, now: number): void => {
    const { attempts, body, peer } = question
    // The transaction tells which attempt was answered, so even a repeated
    // request measures the round trip exactly.
    const sent = attempts.get(message.transactionId)
    if (sent === undefined) return
    const rtt = alarms.now() - sent.sentAt
    const lost = Array.from(attempts.keys()).indexOf(message.transactionId)
    traffic.completed++
    requestTimes[body._tag].answered.add((alarms.now() - question.startedAt) / 1000)
    health.core.succeeded(from.id, rtt, now, lost)
    // Which of the two it answered, where it had both, tells which it understands.
    if (plain(body) !== body && Array.from(attempts.values()).some(({ isPlain }) => !isPlain)) {
      health.core.speaks(from.id, sent.isPlain ? "first" : "later", now)
    }
    // Its word counts under the address it was asked at: anybody can send from a forged one.
    if (from.host === peer.host && from.port === peer.port) observe(message.body, from)
    end(question, Result.succeed({ body: message.body, from, rtt }))
  }

  const giveUp = (question: Question): void => {
    const { attempts, body, isMaintenance, peer, startedAt } = question
    const now = clock.currentTimeMillisUnsafe()
    if (peer.id !== undefined) {
      if (isMaintenance) health.core.maintenanceProbeFailed(peer.id, now)
      else health.core.failed(peer.id, now)
    }
    const waitedMillis = alarms.now() - startedAt
    requestTimes[body._tag].failed.add(waitedMillis / 1000)
    end(question, Result.fail(new NoAnswer({ peer, request: body._tag, attempts: attempts.size, waitedMillis })))
  }

  const end = (question: Question, result: Parameters<Done>[0]): void => {
    forget(question)
    question.done(result)
  }

  const forget = (question: Question): void => {
    if (!pending.delete(question)) return
    alarms.cancel(question)
    for (const transaction of question.attempts.keys()) calls.delete(transaction)
  }

  const requestUnsafe: Rpc["Service"]["requestUnsafe"] = (peer, body, options, done) =>
    // Only an answer of the question's type reaches it.
    ask(peer, body, options, done as Done)

  const request: Rpc["Service"]["request"] = (peer, body, options) =>
    Effect.callback<Answered<Answers[typeof body["_tag"]]>, RequestError>((resume) => {
      const forget = requestUnsafe(peer, body, options ?? {}, (result) => resume(Effect.fromResult(result)))
      return Effect.sync(forget)
    }).pipe(
      Effect.withSpan("Rpc.request", {
        attributes: { "dht.request": body._tag, "dht.peer": SocketAddress.format(peer) }
      }, { captureStackTrace: false })
    )

  const observe = (body: Message.Body, reporter: Contact): void => {
    const wire = "observed" in body ? body.observed : undefined
    const address = wire === undefined ? undefined : SocketAddress.decodeObserved(wire)
    if (address === undefined) return
    reachability.core.vote(reporter, address, clock.currentTimeMillisUnsafe())
    PubSub.publishUnsafe(observations, { reporter, address })
  }

  const natProbe: Rpc["Service"]["natProbe"] = Effect.fn("Rpc.natProbe")(function*(via, claimed, options) {
    const token = yield* random.randomBytes(8)
    const key = Hex.encode(token)
    const echo = Deferred.makeUnsafe<void, Transport.TransportClosed>()
    const attempts = options?.attempts ?? defaultAttempts
    const deadline = options?.deadline === undefined ? defaultDeadlineMillis : Duration.toMillis(options.deadline)
    const body: Message.Body = { _tag: "NatProbe", token, claimed: SocketAddress.encodeObserved(claimed) }
    echoes.set(key, echo)
    return yield* Effect.gen(function*() {
      for (let attempt = 0; attempt < attempts; attempt++) {
        const error = send(body, via, transactionId())
        if (error !== undefined) return yield* error
        const came = yield* Effect.timeoutOption(Deferred.await(echo), deadline / attempts)
        if (Option.isSome(came)) return true
      }
      return false
    }).pipe(Effect.ensuring(Effect.sync(() => echoes.delete(key))))
  })

  // --- The loop ----------------------------------------------------------------

  const handle = (datagrams: ReadonlyArray<Transport.Datagram>): Effect.Effect<void> => {
    const now = clock.currentTimeMillisUnsafe()
    for (const datagram of datagrams) receive(datagram, now)
    // The inbox is where datagrams wait in fairness; no more than this shall
    // wait behind it.
    if (checking >= maxChecking) {
      checked.closeUnsafe()
      return checked.await
    }
    // Where the inbox is empty now, the next turn waits anyway.
    return datagrams.length === Transport.batch ? Effect.yieldNow : Effect.void
  }

  yield* transport.receive.pipe(
    Effect.flatMap(handle),
    Effect.catchDefect((defect) => Effect.logError("A batch of datagrams was lost", defect)),
    Effect.forever({ disableYield: true }),
    Effect.catchTag("TransportClosed", () => Effect.void),
    Effect.annotateLogs({ module: "effect-dht/Rpc", fiber: "Receive loop" }),
    Effect.forkScoped
  )

  return Rpc.of({
    request,
    requestUnsafe,
    natProbe,
    observations: Stream.fromPubSub(observations),
    traffic: Effect.sync(() => ({ ...traffic })),
    pending: Effect.sync(() => pending.size)
  })
})

/**
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Rpc,
  never,
  | Alarms
  | NodeEvents
  | NodeIdentity
  | Transport.Transport
  | Verifier
  | Responder
  | Routing.Routing
  | PeerHealth.PeerHealth
  | Reachability
  | SeenPeers
  | SecureRandom.SecureRandom
> = Layer.effect(Rpc, make)
