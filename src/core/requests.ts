/**
 * Our pending requests. Each is retransmitted under a fresh transaction until a
 * response to any of its attempts arrives or its deadline passes. A response
 * must come from the peer's id if we know it, otherwise from the queried
 * address. Our own node may answer itself from any address.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import type { Address } from "../Address.ts"
import type { Contact } from "../Contact.ts"
import * as Features from "../Features.ts"
import * as Message from "../Message.ts"
import type { NodeEvents } from "../NodeEvents.ts"
import * as NodeId from "../NodeId.ts"
import type { PeerHealth } from "../PeerHealth.ts"
import * as Request from "../Request.ts"
import * as SocketAddress from "../SocketAddress.ts"
import type { Timers } from "../Timers.ts"
import { type SendError, TransportClosed } from "../Transport.ts"
import * as Attempts from "./attempts.ts"
import type { Session, Sessions } from "./sessions.ts"

const responseType = {
  Ping: Message.Type.Pong,
  FindNode: Message.Type.FindNodeResponse,
  FindValue: Message.Type.FindValueResponse,
  Store: Message.Type.StoreResponse,
  Push: Message.Type.PushAck,
  Attend: Message.Type.Pong,
  Meet: Message.Type.MeetResponse
} as const

/** The request without the fields that v0.1 does not know: a v0.1 peer drops a request that has them. */
const plain = (body: Request.Request): Request.Request =>
  body._tag === "FindValue" && body.subscribe ? { ...body, subscribe: false } : body

/** Whether at least one attempt carried fields that v0.1 does not know. */
const isV02Request = ({ attempts, body }: PendingRequest): boolean =>
  plain(body) !== body && Array.from(attempts.values()).some(({ isPlain }) => !isPlain)

/**
 * A response that may name nodes.
 *
 * @internal
 */
export type NodesAnswer = Request.Answers["FindNode" | "FindValue"]

/** Whether a response has a type or fields that v0.1 does not know. */
const isV02 = (body: Message.Body): boolean =>
  body._tag === "PushAck" || body._tag === "StoreResponse" && (body.alreadyHad || body.reason !== 0)

/**
 * Callback for the outcome of a request, called at most once.
 *
 * @internal
 */
export type Done = (result: Result.Result<Request.Answered<Message.Body>, Request.RequestError>) => void

/**
 * Dependencies of {@link Requests}.
 *
 * @internal
 */
export interface Options {
  /** Our own id. */
  readonly own: NodeId.NodeId
  readonly timers: Timers["Service"]
  readonly health: PeerHealth["Service"]
  readonly events: NodeEvents["Service"]
  /** Unix milliseconds. */
  readonly now: () => number
  readonly transactionId: () => Message.TransactionId
  readonly sessions: Sessions
  /** Whether we send over IPv4 and over IPv6. */
  readonly hasBothFamilies: boolean
  /** Sends a message in a session, or signed. */
  readonly send: (
    body: Message.Body,
    to: SocketAddress.SocketAddress,
    transactionId: Message.TransactionId,
    session: Session | undefined
  ) => SendError | undefined
  /** Whether to keep a node that the response of `from` names. */
  readonly isWorthKnowing: (node: Contact, from: Contact, answer: NodesAnswer) => boolean
  /** Called for a response from the queried address. One from elsewhere may be a replay. */
  readonly heard: (body: Message.Body, from: Contact) => void
}

/** Transactions remembered after their request ended. */
const maxEnded = 1024

/**
 * Shortest wait of a request's last attempt: a peer that pauses, to collect garbage
 * for example, loses little when another attempt is sent early, and its place in
 * a lookup when none is.
 */
const minLastMillis = 250

/** Failed requests whose late response still counts, and for how long after the failure. */
const maxFailed = 256
const lateMillis = 10_000

/** The first 31 bits of a transaction id plus 1, so that 0 marks an empty slot; the ids are random. */
const tagOf = (transaction: Message.TransactionId): number => (Number.parseInt(transaction.slice(0, 8), 16) >>> 1) + 1

interface PendingRequestOptions extends Attempts.Options {
  readonly body: Request.Request
  readonly peer: Request.Peer
  readonly isMaintenance: boolean
  /** Called when the peer has us prove our address. */
  readonly onChallenge: (() => void) | undefined
  /** Called when an attempt times out. */
  readonly onTimeout: (pending: PendingRequest) => void
  readonly done: Done
}

/**
 * One request and the callback that waits for its outcome.
 *
 * @internal
 */
export class PendingRequest extends Attempts.Attempts {
  readonly body: Request.Request
  readonly peer: Request.Peer
  readonly isMaintenance: boolean
  readonly done: Done
  readonly onChallenge: (() => void) | undefined
  /** Whether the request arrived at our own node. */
  hasReturned = false
  /** When the peer had us prove our address; undefined if it did not. */
  challengedAt: number | undefined = undefined
  /** Until when a response counts although the request has failed; undefined until it fails. */
  lateUntil: number | undefined = undefined
  private readonly onTimeout: (pending: PendingRequest) => void

  constructor(options: PendingRequestOptions) {
    super(options)
    this.body = options.body
    this.peer = options.peer
    this.isMaintenance = options.isMaintenance
    this.done = options.done
    this.onChallenge = options.onChallenge
    this.onTimeout = options.onTimeout
  }

  override fire(): void {
    this.onTimeout(this)
  }

  /**
   * The round-trip time that a response to an attempt shows, in milliseconds.
   *
   * A response that waited for the proof of our address came one round trip after
   * the ping and at most two after the request; one that did not, one round trip
   * after the request. The result is the round trip in the first case, and at least
   * half of it in the second.
   */
  roundTrip({ sentAt }: Attempts.Attempt, now: number): number {
    const sinceRequest = now - sentAt
    return this.challengedAt === undefined
      ? sinceRequest
      : Math.min(sinceRequest, Math.max(now - this.challengedAt, sinceRequest / 2))
  }
}

/**
 * @internal
 */
export class Requests {
  private readonly options: Options
  private readonly pending = new Set<PendingRequest>()
  /** Requests that failed lately, the first to fail first. */
  private readonly failed = new Set<PendingRequest>()
  private readonly byTransaction = new Map<Message.TransactionId, PendingRequest>()
  /** The pending requests to each address. */
  private readonly byAddress = new Map<string, Set<PendingRequest>>()
  /** Tags of the transactions that ended last, which tell a late response from an unsolicited one. */
  private readonly ended = new Uint32Array(maxEnded)
  private endedAt = 0
  private answeredCount = 0

  constructor(options: Options) {
    this.options = options
  }

  /** Number of pending requests. */
  get size(): number {
    return this.pending.size
  }

  /** Number of requests that were answered. */
  get completed(): number {
    return this.answeredCount
  }

  /** Sends a request and calls `done` with its outcome. Returns a function that cancels it; `done` is not called after that. */
  ask(peer: Request.Peer, body: Request.Request, options: Request.Options, done: Done): () => void {
    const { timers, health, now } = this.options
    const { attempts = Request.defaultAttempts, deadline = Request.defaultDeadline } = options
    const firstWait = health.timeoutUnsafe(peer.id, now())
    const pending = new PendingRequest({
      body,
      peer,
      startedAt: timers.now(),
      maxAttempts: attempts,
      timeout: Duration.toMillis(deadline),
      firstWait,
      failsFast: options.failFast ?? false,
      // A short deadline cuts the first timeout, but what a peer takes stays the same.
      minLast: Math.max(minLastMillis, firstWait),
      isMaintenance: options.maintenance ?? false,
      onChallenge: options.onChallenge,
      onTimeout: this.timedOut,
      done
    })
    this.pending.add(pending)
    const address = SocketAddress.key(peer)
    const there = this.byAddress.get(address)
    if (there === undefined) this.byAddress.set(address, new Set([pending]))
    else there.add(pending)
    this.attempt(pending)
    return () => {
      if (this.pending.has(pending)) this.explainFailure(pending, "it was not waited for any longer")
      this.forget(pending)
    }
  }

  /** Whether a response with this header still counts, from whichever peer. */
  isPending({ transactionId, type }: Message.Header): boolean {
    const pending = this.requestOf(transactionId)
    return pending !== undefined && responseType[pending.body._tag] === type
  }

  /** The request of a transaction, if a response still counts. */
  private requestOf(transaction: Message.TransactionId): PendingRequest | undefined {
    const pending = this.byTransaction.get(transaction)
    return (pending?.lateUntil ?? Infinity) > this.options.timers.now() ? pending : undefined
  }

  /** Whether a request to this address is pending. */
  isAsking(address: SocketAddress.SocketAddress): boolean {
    return this.byAddress.has(SocketAddress.key(address))
  }

  /**
   * Records that a peer pinged us. If it is being asked, it may have us prove our
   * address before it responds, which takes another round trip.
   */
  challenged({ id, ...address }: Contact): void {
    const now = this.options.timers.now()
    for (const pending of this.byAddress.get(SocketAddress.key(address)) ?? []) {
      if (pending.peer.id !== undefined && pending.peer.id !== id || pending.challengedAt !== undefined) continue
      pending.challengedAt = now
      this.options.timers.set(pending, pending.prolong(now))
      pending.onChallenge?.()
    }
  }

  /**
   * The request that a message of a sender answers; undefined if there is none or
   * the sender may not answer it.
   */
  awaiting(
    header: Message.Header,
    sender: Address,
    from: SocketAddress.SocketAddress
  ): PendingRequest | undefined {
    const pending = this.requestOf(header.transactionId)
    if (pending === undefined || responseType[pending.body._tag] !== header.type) return undefined
    const { peer } = pending
    if (peer.id === undefined && SocketAddress.isSame(peer, from)) return pending
    const id = NodeId.fromAddress(sender)
    // On a host with several addresses, the system chooses which one a response to ourselves comes from.
    return id === (peer.id ?? this.options.own) ? pending : undefined
  }

  /** Whether the transaction belongs to a request that ended recently. */
  isOver(transaction: Message.TransactionId): boolean {
    return this.ended.includes(tagOf(transaction))
  }

  /**
   * Completes a request with its response. The response to a request that has
   * failed shows only that the peer is alive and how long it takes, so that the
   * next request waits for as long. Does nothing if the request was answered or
   * cancelled before.
   */
  answered(
    pending: PendingRequest,
    transactionId: Message.TransactionId,
    body: Message.Body,
    from: Contact,
    now: number
  ): void {
    const { attempts, peer, startedAt } = pending
    // The transaction identifies the attempt that was answered, so even a
    // retransmitted request measures the round trip exactly.
    const sent = attempts.get(transactionId)
    if (sent === undefined || !this.pending.has(pending) && !this.failed.has(pending)) return
    const { timers, events, health, sessions } = this.options
    const isLate = pending.lateUntil !== undefined
    const millis = timers.now()
    const rtt = millis - sent.sentAt
    const lost = isLate ? 0 : Array.from(attempts.keys()).indexOf(transactionId)
    const request = pending.body._tag
    events.explainUnsafe?.({ _tag: "RequestAnswered", peer, request, contact: from, rttMillis: rtt, isLate })
    health.succeededUnsafe(from.id, pending.roundTrip(sent, millis), now, lost)
    if (sent.session !== undefined) sessions.answered(sent.session)
    else for (const { session } of attempts.values()) if (session !== undefined) sessions.unanswered(session, now)
    if (isV02(body)) health.speaksUnsafe(from.id, "v0.2", now)
    // If both forms were sent, the one that was answered shows which version the peer understands.
    else if (isV02Request(pending)) health.speaksUnsafe(from.id, sent.isPlain ? "v0.1" : "v0.2", now)
    if (SocketAddress.isSame(peer, from)) {
      health.provedAtUnsafe(from.id, from)
      this.options.heard(body, from)
    }
    if (isLate) return this.forget(pending)
    this.answeredCount++
    events.requestEndedUnsafe(request, true, millis - startedAt)
    this.end(pending, Result.succeed({ body: this.withNodes(body, from), from, rtt }))
  }

  /**
   * Repeats a request with a signature at once, because its peer has no key for
   * our session. The attempt counts as not made. Returns whether the notice is
   * about such an attempt and came from where that was sent to.
   */
  noticed(transaction: Message.TransactionId, from: SocketAddress.SocketAddress): boolean {
    const pending = this.byTransaction.get(transaction)
    const session = pending?.attempts.get(transaction)?.session
    if (pending === undefined || session === undefined || !SocketAddress.isSame(pending.peer, from)) return false
    this.options.sessions.pause(session, this.options.now())
    pending.attempts.delete(transaction)
    this.endTransaction(transaction)
    if (this.pending.has(pending)) this.attempt(pending)
    return true
  }

  /** Records that a request arrived at our own node; returns whether it is one of our pending ones. */
  returned(transaction: Message.TransactionId): boolean {
    const pending = this.byTransaction.get(transaction)
    if (pending !== undefined) pending.hasReturned = true
    return pending !== undefined
  }

  /** The response without the nodes that are not to be kept. */
  private withNodes(body: Message.Body, from: Contact): Message.Body {
    if (body._tag !== "FindNodeResponse" && body._tag !== "FindValueResponse") return body
    const isWorthKnowing = (node: Contact) => this.options.isWorthKnowing(node, from, body)
    const nodes = body.nodes?.filter(isWorthKnowing)
    if (nodes === undefined || nodes.length === body.nodes?.length) return body
    const dual = body.dual === undefined ? {} : { dual: body.nodes?.slice(0, body.dual).filter(isWorthKnowing).length }
    return { ...body, nodes, ...dual }
  }

  /** Fails all pending requests with {@link TransportClosed}. */
  close(): void {
    for (const pending of this.pending) this.end(pending, Result.fail(new TransportClosed()))
  }

  private readonly timedOut = (pending: PendingRequest): void => {
    const until = pending.resume(this.options.timers.now())
    if (until === undefined) this.attempt(pending)
    else this.options.timers.set(pending, until)
  }

  /** Sends the next attempt, or gives up if there is none left. */
  private readonly attempt = (pending: PendingRequest): void => {
    const { timers, health, send, sessions, transactionId } = this.options
    const { attempts, body, maxAttempts, peer } = pending
    const now = timers.now()
    if (!pending.mayTry(now)) return this.giveUp(pending)
    const transaction = transactionId()
    const isPlain = !this.saysVersion(peer) &&
      (attempts.size > 0 || peer.id !== undefined && health.versionUnsafe(peer.id, this.options.now()) === "v0.1")
    this.byTransaction.set(transaction, pending)
    // A peer without the session's key is silent or sends a notice, so a signed attempt must remain.
    const session = attempts.size === 0 && maxAttempts > 1 ? sessions.forRequest(peer, this.options.now()) : undefined
    const until = pending.try(transaction, { sentAt: now, isPlain, session })
    this.options.events.explainUnsafe?.({ _tag: "RequestSent", peer, request: body._tag, attempt: attempts.size })
    const error = send(isPlain ? plain(body) : this.extended(body, peer), peer, transaction, session)
    if (error !== undefined) {
      // No other request can be answered any more, and the node would wait for them while it closes.
      return error._tag === "TransportClosed" ? this.close() : this.end(pending, Result.fail(error))
    }
    // Within one process the response may have arrived during `send`.
    if (this.pending.has(pending)) timers.set(pending, until)
  }

  /** The request, which tells a peer that reads it that we send over both families. */
  private extended(body: Request.Request, peer: Request.Peer): Request.Request {
    return this.options.hasBothFamilies && (body._tag === "FindNode" || body._tag === "FindValue") &&
        peer.id !== undefined && this.saysVersion(peer) &&
        this.options.health.hasUnsafe(peer.id, Features.Bit.families)
      ? { ...body, both: true }
      : body
  }

  private saysVersion({ id }: Request.Peer): boolean {
    return id !== undefined && this.options.health.hasUnsafe(id, Features.Bit["v0.2"])
  }

  private giveUp(pending: PendingRequest): void {
    const { timers, events, health, now, sessions } = this.options
    const { attempts, body, isMaintenance, peer, startedAt } = pending
    for (const { session } of attempts.values()) if (session !== undefined) sessions.pause(session, now())
    if (peer.id !== undefined) {
      if (isV02Request(pending) || this.extended(body, peer) !== body) health.doubtVersionUnsafe(peer.id)
      if (isMaintenance) health.maintenanceProbeFailedUnsafe(peer.id, now())
      else health.failedUnsafe(peer.id, now())
    }
    const millis = timers.now()
    const waitedMillis = millis - startedAt
    events.requestEndedUnsafe(body._tag, false, waitedMillis)
    const error = new Request.NoAnswer({ peer, request: body._tag, attempts: attempts.size, waitedMillis })
    this.stopWaiting(pending)
    pending.lateUntil = millis + lateMillis
    this.failed.add(pending)
    this.forgetFailed(millis)
    this.settle(pending, Result.fail(error))
  }

  /** Forgets the failed requests whose response does not count any more. */
  private forgetFailed(now: number): void {
    for (const pending of this.failed) {
      if (this.failed.size <= maxFailed && (pending.lateUntil ?? 0) > now) return
      this.forget(pending)
    }
  }

  private end(pending: PendingRequest, result: Parameters<Done>[0]): void {
    this.forget(pending)
    this.settle(pending, result)
  }

  private settle(pending: PendingRequest, result: Parameters<Done>[0]): void {
    if (Result.isFailure(result)) this.explainFailure(pending, result.failure.message)
    pending.done(result)
  }

  private explainFailure({ body, peer }: PendingRequest, reason: string): void {
    this.options.events.explainUnsafe?.({ _tag: "RequestFailed", peer, request: body._tag, reason })
  }

  /** Removes a request that is pending or has failed; a response to it counts for nothing any more. */
  private forget(pending: PendingRequest): void {
    this.stopWaiting(pending)
    this.failed.delete(pending)
    for (const transaction of pending.attempts.keys()) this.endTransaction(transaction)
  }

  private stopWaiting(pending: PendingRequest): void {
    if (!this.pending.delete(pending)) return
    const address = SocketAddress.key(pending.peer)
    const there = this.byAddress.get(address)
    there?.delete(pending)
    if (there?.size === 0) this.byAddress.delete(address)
    this.options.timers.cancel(pending)
  }

  private endTransaction(transaction: Message.TransactionId): void {
    this.byTransaction.delete(transaction)
    this.ended[this.endedAt] = tagOf(transaction)
    this.endedAt = (this.endedAt + 1) % maxEnded
  }
}
