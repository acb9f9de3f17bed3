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
import type { Contact } from "../Contact.ts"
import * as Features from "../Features.ts"
import * as Message from "../Message.ts"
import * as NodeId from "../NodeId.ts"
import * as Request from "../Request.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import type { Timers } from "../Timers.ts"
import { type SendError, TransportClosed } from "../Transport.ts"
import * as Attempts from "./attempts.ts"
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
 * A request as v0.1 knows it: that version drops
 * what says more.
 */
const plain = (body: Request.Request): Request.Request =>
  body._tag === "FindValue" && body.subscribe ? { ...body, subscribe: false } : body

/** Whether a request said something that v0.1 does not know, in one of its attempts at least. */
const isV02Request = ({ attempts, body }: PendingRequest): boolean =>
  plain(body) !== body && Array.from(attempts.values()).some(({ isPlain }) => !isPlain)

/**
 * An answer that may name nodes.
 *
 * @internal
 */
export type NodesAnswer = Request.Answers["FindNode" | "FindValue"]

/** Whether an answer says something that v0.1 does not know. */
const isV02 = (body: Message.Body): boolean =>
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
  readonly timers: Timers["Service"]
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

interface PendingRequestOptions extends Attempts.Options {
  readonly body: Request.Request
  readonly peer: Request.Peer
  readonly isMaintenance: boolean
  /** When the time of an attempt is over. */
  readonly again: (pending: PendingRequest) => void
  readonly done: Done
}

/**
 * One request, and who waits for the answer.
 *
 * @internal
 */
export class PendingRequest extends Attempts.Attempts {
  readonly body: Request.Request
  readonly peer: Request.Peer
  readonly isMaintenance: boolean
  readonly done: Done
  /** It arrived at ourselves. */
  hasReturned = false
  private readonly again: (pending: PendingRequest) => void

  constructor(options: PendingRequestOptions) {
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
  private readonly pending = new Set<PendingRequest>()
  private readonly byTransaction = new Map<Message.TransactionId, PendingRequest>()
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
    const { timers, health, now } = this.options
    const { attempts = Request.defaultAttempts, deadline = Request.defaultDeadline } = options
    const pending = new PendingRequest({
      body,
      peer,
      startedAt: timers.now(),
      maxAttempts: attempts,
      timeout: Duration.toMillis(deadline),
      firstWait: peer.id === undefined ? health.defaultTimeout() : health.timeout(peer.id, now()),
      failsFast: options.failFast ?? false,
      isMaintenance: options.maintenance ?? false,
      again: this.attempt,
      done
    })
    this.pending.add(pending)
    this.attempt(pending)
    return () => {
      if (this.pending.has(pending)) this.explainFailure(pending, "it was not waited for any longer")
      this.forget(pending)
    }
  }

  /** The request that a message from this address answers, if its sender may. */
  awaiting(frame: Message.Frame, from: SocketAddress): PendingRequest | undefined {
    const pending = this.byTransaction.get(frame.transactionId)
    if (pending === undefined || responseType[pending.body._tag] !== frame.type) return undefined
    const { peer } = pending
    if (peer.id === undefined && from.host === peer.host && from.port === peer.port) return pending
    const id = NodeId.fromAddress(Address.fromPublicKey(frame.publicKey))
    // Of several addresses of this machine, the system chooses the one that we answer ourselves from.
    return id === (peer.id ?? this.options.own) ? pending : undefined
  }

  /** Whether the transaction is of a request that ended lately. */
  isOver(transaction: Message.TransactionId): boolean {
    return this.over.includes(tagOf(transaction))
  }

  /** Takes the answer to a request; ignored if that is over. */
  answered(pending: PendingRequest, { body, transactionId }: Message.Message, from: Contact, now: number): void {
    const { attempts, peer, startedAt } = pending
    // The transaction tells which attempt was answered, so even a repeated
    // request measures the round trip exactly.
    const sent = attempts.get(transactionId)
    if (sent === undefined || !this.pending.has(pending)) return
    const { timers, events, health } = this.options
    const rtt = timers.now() - sent.sentAt
    const lost = Array.from(attempts.keys()).indexOf(transactionId)
    this.answeredCount++
    events.requestTimes[pending.body._tag].answered.add((timers.now() - startedAt) / 1000)
    events.explain?.({ _tag: "RequestAnswered", peer, request: pending.body._tag, contact: from, rttMillis: rtt })
    health.succeeded(from.id, rtt, now, lost)
    if (isV02(body)) health.speaks(from.id, "v0.2", now)
    // Which of the two it answered, where it had both, tells which it understands.
    else if (isV02Request(pending)) health.speaks(from.id, sent.isPlain ? "v0.1" : "v0.2", now)
    if (from.host === peer.host && from.port === peer.port) {
      health.provedAt(from.id, from.host)
      this.options.heard(body, from)
    }
    this.end(pending, Result.succeed({ body: this.withNodes(body, from), from, rtt }))
  }

  /** Notes that a request arrived at ourselves, and says whether it is one that waits for an answer. */
  returned(transaction: Message.TransactionId): boolean {
    const pending = this.byTransaction.get(transaction)
    if (pending !== undefined) pending.hasReturned = true
    return pending !== undefined
  }

  /** What else an answer says, and the nodes of it that are worth knowing. */
  private withNodes(body: Message.Body, from: Contact): Message.Body {
    if (body._tag !== "FindNodeResponse" && body._tag !== "FindValueResponse") return body
    const nodes = body.nodes?.filter((node) => this.options.isWorthKnowing(node, from, body))
    return nodes === undefined || nodes.length === body.nodes?.length ? body : { ...body, nodes }
  }

  /** Ends all: nobody waits for what can no longer come. */
  close(): void {
    for (const pending of this.pending) this.end(pending, Result.fail(new TransportClosed()))
  }

  /** Sends it once more, or gives it up. */
  private readonly attempt = (pending: PendingRequest): void => {
    const { timers, health, send, transactionId } = this.options
    const { attempts, body, peer } = pending
    const now = timers.now()
    if (!pending.mayTry(now)) return this.giveUp(pending)
    const transaction = transactionId()
    const isPlain = !this.saysVersion(peer) &&
      (attempts.size > 0 || peer.id !== undefined && health.version(peer.id, this.options.now()) === "v0.1")
    this.byTransaction.set(transaction, pending)
    const until = pending.try(transaction, { sentAt: now, isPlain })
    this.options.events.explain?.({ _tag: "RequestSent", peer, request: body._tag, attempt: attempts.size })
    const error = send(isPlain ? plain(body) : body, peer, transaction)
    if (error !== undefined) return this.end(pending, Result.fail(error))
    // Within one process the answer may be here already.
    if (this.pending.has(pending)) timers.set(pending, until)
  }

  private saysVersion({ id }: Request.Peer): boolean {
    return id !== undefined && this.options.health.has(id, Features.Bit["v0.2"])
  }

  private giveUp(pending: PendingRequest): void {
    const { timers, events, health, now } = this.options
    const { attempts, body, isMaintenance, peer, startedAt } = pending
    if (peer.id !== undefined) {
      if (isV02Request(pending)) health.doubtVersion(peer.id)
      if (isMaintenance) health.maintenanceProbeFailed(peer.id, now())
      else health.failed(peer.id, now())
    }
    const waitedMillis = timers.now() - startedAt
    events.requestTimes[body._tag].failed.add(waitedMillis / 1000)
    const error = new Request.NoAnswer({ peer, request: body._tag, attempts: attempts.size, waitedMillis })
    this.end(pending, Result.fail(error))
  }

  private end(pending: PendingRequest, result: Parameters<Done>[0]): void {
    this.forget(pending)
    if (Result.isFailure(result)) this.explainFailure(pending, result.failure.message)
    pending.done(result)
  }

  private explainFailure({ body, peer }: PendingRequest, reason: string): void {
    this.options.events.explain?.({ _tag: "RequestFailed", peer, request: body._tag, reason })
  }

  private forget(pending: PendingRequest): void {
    if (!this.pending.delete(pending)) return
    this.options.timers.cancel(pending)
    for (const transaction of pending.attempts.keys()) {
      this.byTransaction.delete(transaction)
      this.over[this.overAt] = tagOf(transaction)
      this.overAt = (this.overAt + 1) % rememberedOver
    }
  }
}
