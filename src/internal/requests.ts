/**
 * Requests of ours that are under way. Each is repeated under a fresh
 * transaction until an answer to any of its attempts arrives, or its time is
 * over. Who may answer is decided by what is known of the peer: its id if we
 * have it, else the address it was asked at. We ourselves may answer from any.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import * as Address from "../Address.ts"
import type { Alarms } from "../Alarms.ts"
import type { Contact } from "../Contact.ts"
import * as Features from "../Features.ts"
import * as Message from "../Message.ts"
import * as NodeId from "../NodeId.ts"
import * as Request from "../Request.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import { type SendError, TransportClosed } from "../Transport.ts"
import * as Call from "./call.ts"
import type { NodeEvents } from "./nodeEvents.ts"
import type { PeerHealth } from "./peerHealth.ts"

const responseType = {
  Ping: Message.Type.Pong,
  FindNode: Message.Type.FindNodeResponse,
  FindValue: Message.Type.FindValueResponse,
  Store: Message.Type.StoreResponse,
  Push: Message.Type.PushAck
} as const

/**
 * A request as the first version of the protocol knows it: that version drops
 * what says more.
 */
const plain = (body: Request.Request): Request.Request =>
  body._tag === "FindValue" && body.subscribe ? { ...body, subscribe: false } : body

/** Whether a request said something that the first version does not know, in one of its attempts at least. */
const isLaterRequest = ({ attempts, body }: Question): boolean =>
  plain(body) !== body && Array.from(attempts.values()).some(({ isPlain }) => !isPlain)

/**
 * An answer that may name nodes.
 *
 * @internal
 */
export type NodesAnswer = Request.Answers["FindNode" | "FindValue"]

/** Whether an answer says something that the first version does not know. */
const isLater = (body: Message.Body): boolean =>
  body._tag === "PushAck" || body._tag === "StoreResponse" && (body.alreadyHad || body.reason !== 0)

/**
 * Is told what came of a request, once.
 *
 * @internal
 */
export type Done = (result: Result.Result<Request.Answered<Message.Body>, Request.RequestError>) => void

/**
 * What the requests of a node need of it.
 *
 * @internal
 */
export interface Options {
  /** Our own id. */
  readonly own: NodeId.NodeId
  readonly alarms: Alarms["Service"]
  readonly health: PeerHealth
  readonly events: NodeEvents
  /** Unix milliseconds. */
  readonly now: () => number
  readonly transactionId: () => Message.TransactionId
  readonly send: (body: Message.Body, to: SocketAddress, transactionId: Message.TransactionId) => SendError | undefined
  /** Whether a node that an answer of `from` names is worth knowing. */
  readonly isWorthKnowing: (node: Contact, from: Contact, answer: NodesAnswer) => boolean
  /** A peer answered from where it was asked. Elsewhere anybody can have sent its word from. */
  readonly heard: (body: Message.Body, from: Contact) => void
}

/** Transactions remembered after their request is over. */
const rememberedOver = 1024

/** The first bits of a transaction id as a number above 0; the ids are random. */
const tagOf = (transaction: Message.TransactionId): number => (Number.parseInt(transaction.slice(0, 8), 16) >>> 1) + 1

interface QuestionOptions extends Call.Options {
  readonly body: Request.Request
  readonly peer: Request.Peer
  readonly isMaintenance: boolean
  /** When the time of an attempt is over. */
  readonly again: (question: Question) => void
  readonly done: Done
}

/**
 * One request, and who waits for the answer.
 *
 * @internal
 */
export class Question extends Call.Call {
  readonly body: Request.Request
  readonly peer: Request.Peer
  readonly isMaintenance: boolean
  readonly done: Done
  /** It arrived at ourselves. */
  hasReturned = false
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

/**
 * @internal
 */
export class Requests {
  private readonly options: Options
  private readonly pending = new Set<Question>()
  private readonly byTransaction = new Map<Message.TransactionId, Question>()
  /** Tags of the transactions that were over last: a late answer is to be told from one that was never asked for. */
  private readonly over = new Uint32Array(rememberedOver)
  private overAt = 0
  private answeredCount = 0

  constructor(options: Options) {
    this.options = options
  }

  /** Requests that wait for an answer. */
  get size(): number {
    return this.pending.size
  }

  /** Requests that were answered. */
  get completed(): number {
    return this.answeredCount
  }

  /** Asks a peer, and tells `done` what came of it; returns how to give it up, after which `done` is told nothing. */
  ask(peer: Request.Peer, body: Request.Request, options: Request.Options, done: Done): () => void {
    const { alarms, health, now } = this.options
    const { attempts = Request.defaultAttempts, deadline = Request.defaultDeadline } = options
    const question = new Question({
      body,
      peer,
      startedAt: alarms.now(),
      maxAttempts: attempts,
      patience: Duration.toMillis(deadline),
      firstWait: peer.id === undefined ? health.defaultTimeout() : health.timeout(peer.id, now()),
      isHasty: options.hasty ?? false,
      isMaintenance: options.maintenance ?? false,
      again: this.attempt,
      done
    })
    this.pending.add(question)
    this.attempt(question)
    return () => {
      if (this.pending.has(question)) this.explainFailure(question, "it was not waited for any longer")
      this.forget(question)
    }
  }

  /** The request that a message from this address answers, if its sender may. */
  awaiting(frame: Message.Frame, from: SocketAddress): Question | undefined {
    const question = this.byTransaction.get(frame.transactionId)
    if (question === undefined || responseType[question.body._tag] !== frame.type) return undefined
    const { peer } = question
    if (peer.id === undefined && from.host === peer.host && from.port === peer.port) return question
    const id = NodeId.fromAddress(Address.fromPublicKey(frame.publicKey))
    // Of several addresses of this machine, the system chooses the one that we answer ourselves from.
    return id === (peer.id ?? this.options.own) ? question : undefined
  }

  /** Whether the transaction is of a request that ended lately. */
  isOver(transaction: Message.TransactionId): boolean {
    return this.over.includes(tagOf(transaction))
  }

  /** Takes the answer to a request; ignored if that is over. */
  answered(question: Question, { body, transactionId }: Message.Message, from: Contact, now: number): void {
    const { attempts, peer, startedAt } = question
    // The transaction tells which attempt was answered, so even a repeated
    // request measures the round trip exactly.
    const sent = attempts.get(transactionId)
    if (sent === undefined || !this.pending.has(question)) return
    const { alarms, events, health } = this.options
    const rtt = alarms.now() - sent.sentAt
    const lost = Array.from(attempts.keys()).indexOf(transactionId)
    this.answeredCount++
    events.requestTimes[question.body._tag].answered.add((alarms.now() - startedAt) / 1000)
    events.explain?.({ _tag: "RequestAnswered", peer, request: question.body._tag, contact: from, rttMillis: rtt })
    health.succeeded(from.id, rtt, now, lost)
    if (isLater(body)) health.speaks(from.id, "later", now)
    // Which of the two it answered, where it had both, tells which it understands.
    else if (isLaterRequest(question)) health.speaks(from.id, sent.isPlain ? "first" : "later", now)
    if (from.host === peer.host && from.port === peer.port) {
      health.provedAt(from.id, from.host)
      this.options.heard(body, from)
    }
    this.end(question, Result.succeed({ body: this.withNodes(body, from), from, rtt }))
  }

  /** Notes that a request arrived at ourselves, and says whether it is one that waits for an answer. */
  returned(transaction: Message.TransactionId): boolean {
    const question = this.byTransaction.get(transaction)
    if (question !== undefined) question.hasReturned = true
    return question !== undefined
  }

  /** What else an answer says, and the nodes of it that are worth knowing. */
  private withNodes(body: Message.Body, from: Contact): Message.Body {
    if (body._tag !== "FindNodeResponse" && body._tag !== "FindValueResponse") return body
    const nodes = body.nodes?.filter((node) => this.options.isWorthKnowing(node, from, body))
    return nodes === undefined || nodes.length === body.nodes?.length ? body : { ...body, nodes }
  }

  /** Ends all: nobody waits for what can no longer come. */
  close(): void {
    for (const question of this.pending) this.end(question, Result.fail(new TransportClosed()))
  }

  /** Sends it once more, or gives it up. */
  private readonly attempt = (question: Question): void => {
    const { alarms, health, send, transactionId } = this.options
    const { attempts, body, peer } = question
    const now = alarms.now()
    if (!question.mayTry(now)) return this.giveUp(question)
    const transaction = transactionId()
    const isPlain = !this.saysVersion(peer) &&
      (attempts.size > 0 || peer.id !== undefined && health.version(peer.id, this.options.now()) === "first")
    this.byTransaction.set(transaction, question)
    const until = question.try(transaction, { sentAt: now, isPlain })
    this.options.events.explain?.({ _tag: "RequestSent", peer, request: body._tag, attempt: attempts.size })
    const error = send(isPlain ? plain(body) : body, peer, transaction)
    if (error !== undefined) return this.end(question, Result.fail(error))
    // Within one process the answer may be here already.
    if (this.pending.has(question)) alarms.set(question, until)
  }

  private saysVersion({ id }: Request.Peer): boolean {
    return id !== undefined && this.options.health.has(id, Features.Bit["v0.2"])
  }

  private giveUp(question: Question): void {
    const { alarms, events, health, now } = this.options
    const { attempts, body, isMaintenance, peer, startedAt } = question
    if (peer.id !== undefined) {
      if (isLaterRequest(question)) health.doubtVersion(peer.id)
      if (isMaintenance) health.maintenanceProbeFailed(peer.id, now())
      else health.failed(peer.id, now())
    }
    const waitedMillis = alarms.now() - startedAt
    events.requestTimes[body._tag].failed.add(waitedMillis / 1000)
    const error = new Request.NoAnswer({ peer, request: body._tag, attempts: attempts.size, waitedMillis })
    this.end(question, Result.fail(error))
  }

  private end(question: Question, result: Parameters<Done>[0]): void {
    this.forget(question)
    if (Result.isFailure(result)) this.explainFailure(question, result.failure.message)
    question.done(result)
  }

  private explainFailure({ body, peer }: Question, reason: string): void {
    this.options.events.explain?.({ _tag: "RequestFailed", peer, request: body._tag, reason })
  }

  private forget(question: Question): void {
    if (!this.pending.delete(question)) return
    this.options.alarms.cancel(question)
    for (const transaction of question.attempts.keys()) {
      this.byTransaction.delete(transaction)
      this.over[this.overAt] = tagOf(transaction)
      this.overAt = (this.overAt + 1) % rememberedOver
    }
  }
}
