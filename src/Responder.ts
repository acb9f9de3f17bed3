/**
 * Responses of this node to verified requests.
 *
 * @module
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type { Contact } from "./Contact.ts"
import * as Answer from "./core/answer.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
import { RateLimit } from "./internal/rateLimit.ts"
import { sha256 } from "./internal/sha256.ts"
import { type Body, digest, type StoreReason, storeReason } from "./Message.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import * as Record from "./Record.ts"
import * as Routing from "./Routing.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { type Admission, Store, type Stored } from "./Store.ts"
import { Subscribers } from "./Subscribers.ts"
import * as TransactionId from "./TransactionId.ts"
import { Verifier } from "./Verifier.ts"
import { WatchedKeys } from "./WatchedKeys.ts"

/**
 * A message to send, its destination, and its transaction (40 hex digits;
 * undefined: that of the request).
 *
 * @category models
 * @since 0.1.0
 */
export interface Reply {
  readonly body: Body
  readonly to: SocketAddress.SocketAddress
  readonly transactionId: string | undefined
  /** The record that this node refused, and why; only if it was refused. */
  readonly refusal?: Refusal | undefined
}

/**
 * A refused record. The reason is built on demand.
 *
 * @category models
 * @since 0.1.0
 */
export interface Refusal {
  readonly key: NodeId.NodeId | undefined
  readonly record: Record.SignedRecord
  readonly reason: () => string
}

/**
 * Answers requests synchronously, except for one check that may run on another
 * core, so the receive loop never waits.
 *
 * @category services
 * @since 0.1.0
 */
export class Responder extends Context.Service<Responder, {
  /**
   * Calls `reply` once, or never if the protocol has no response; `now` is Unix
   * milliseconds. `prove` checks that a contact is at its source address, which
   * a datagram alone does not show.
   */
  readonly answer: (
    request: Body,
    from: Contact,
    now: number,
    reply: (reply: Reply) => void,
    prove: (contact: Contact, done: (isProved: boolean) => void) => void
  ) => void
}>()("effect-dht/Responder") {}

/** Nodes in a response: Kademlia's K. */
const k = 16

/** Echoes sent for one source IP. */
const natProbeLimit = { limit: 3, windowMillis: 10_000, capacity: 4096 }

/** Outcome of a STORE. */
type Outcome = "Stored" | "AlreadyHad" | "Superseded" | "Unwanted" | "Invalid" | "Full"

/** Outcomes without a reason of their own in v0.2 are reported as policy, which makes v0.2 peers retry late. */
const reasons: { readonly [outcome in Outcome]: StoreReason } = {
  Stored: 0,
  AlreadyHad: 0,
  Superseded: 0,
  Unwanted: storeReason.policy,
  Invalid: storeReason.invalid,
  Full: storeReason.policy
}

const outcomeOf = (record: Record.SignedRecord, admission: Admission): Outcome => {
  switch (admission._tag) {
    case "Stored":
      return "Stored"
    case "Stale":
      return digest(admission.held) === digest(record) ? "AlreadyHad" : "Superseded"
    case "Full":
      return "Full"
    case "Refused":
      return "Unwanted"
  }
}

const refusalOf = (admission: Exclude<Admission, Stored>): string => {
  switch (admission._tag) {
    case "Stale":
      return `an equal or newer one is held, of seq ${admission.held.seq}`
    case "Full":
      return admission.scope === "Key" ? "there is no room for it at its key" : "there is no room for it in the store"
    case "Refused":
      return admission.reason._tag === "InvalidDelegation"
        ? admission.reason.message
        : Record.toError(admission.reason).message
  }
}

const make = Effect.gen(function*() {
  const identity = yield* NodeIdentity
  const store = yield* Store
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const verifier = yield* Verifier
  const transactionId = TransactionId.generator(yield* SecureRandom.SecureRandom)
  const watchedKeys = yield* WatchedKeys
  const subscribers = yield* Subscribers
  const settings = yield* NodeSettings
  const echoes = new RateLimit(natProbeLimit)

  const nodesFor = (target: NodeId.NodeId, requester: Contact, now: number) =>
    routing.core.answer(target, k, now, health.isBadUnsafe, SocketAddress.scope(requester.host))

  /** A peer that has not shown a later version gets a v0.1 response. */
  const storeResponse = (to: Contact, outcome: Outcome, now: number): Body => {
    const isV02 = health.versionUnsafe(to.id, now) === "v0.2"
    const isHeld = outcome === "AlreadyHad" || isV02 && outcome === "Superseded"
    return {
      _tag: "StoreResponse",
      // Without key 2 the response for another held record would look like a
      // copy.
      stored: outcome === "Stored" || isHeld,
      alreadyHad: isV02 && isHeld,
      reason: outcome === "Full" && health.hasUnsafe(to.id, Features.Bit.paging)
        ? storeReason.full
        : isV02
        ? reasons[outcome]
        : 0
    }
  }

  /**
   * Decides on a record with a valid signature. Eviction depends on the
   * sender's network, so the sender's address must be proved.
   */
  const admit = (
    { key, record }: Extract<Body, { readonly _tag: "Store" }>,
    from: Contact,
    now: number,
    prove: (contact: Contact, done: (isProved: boolean) => void) => void,
    done: (admission: Admission) => void
  ): void => {
    const decide = (isProved: boolean) =>
      done(
        store.admitUnsafe(key, record, Math.floor(now / 1000), isProved ? SocketAddress.network(from.host) : unproved)
      )
    if (health.isProvedUnsafe(from.id, from.host)) return decide(true)
    if (!store.isContendedUnsafe(key ?? Record.ownKey(record), record.type, unproved)) return decide(false)
    prove(from, decide)
  }

  const answer: Responder["Service"]["answer"] = (request, from, now, reply, prove) => {
    const toSender = (body: Body, refusal?: Refusal) => reply({ body, to: from, transactionId: undefined, refusal })
    switch (request._tag) {
      case "Ping":
        return toSender({ _tag: "Pong", address: identity.address, observed: SocketAddress.encodeObserved(from) })

      case "FindNode":
        return toSender(
          Answer.findNodeResponse(nodesFor(request.target, from, now), SocketAddress.encodeObserved(from))
        )

      case "FindValue": {
        const { publisher, recordType, subscribe, target, wanted } = request
        const records = store.inTurnUnsafe(target, recordType, Math.floor(now / 1000))
        if (subscribe) {
          health.speaksUnsafe(from.id, "v0.2", now)
          // Only holders of the key learn of new records there.
          if (records.length > 0) subscribers.core.subscribe(target, from, now)
        }
        const isFiltered = publisher !== undefined || wanted !== undefined
        const { body, served } = Answer.findValueResponse({
          // Filters apply only to a holder that has already been found.
          nodes: isFiltered ? [] : nodesFor(target, from, now),
          records: isFiltered ? records.filter(passing(request)) : records,
          observed: SocketAddress.encodeObserved(from),
          legacy: recordType === 0 || recordType === Record.RecordType.endpoint,
          lists: wanted === undefined && health.hasUnsafe(from.id, Features.Bit.paging)
        })
        if (!isFiltered && served < records.length) store.servedUnsafe(target, served)
        return toSender(body)
      }

      case "Store": {
        const { key, record } = request
        const refuse = (outcome: Outcome, reason: () => string) =>
          toSender(storeResponse(from, outcome, now), { key, record, reason })
        // A client leaves soon, and the record would be lost.
        if (settings.client) return refuse("Unwanted", () => "this node is about to leave")
        // Refusal comes before the signature check wherever possible.
        const fault = Record.fault(record, Math.floor(now / 1000))
        if (fault !== undefined) return refuse("Invalid", () => Record.toError(fault).message)
        verifier.check(record.publicKey, Record.signedBytes(record), record.signature, (valid) => {
          if (!valid) return refuse("Invalid", () => "its signature is bad")
          admit(request, from, now, prove, (admission) => {
            const outcome = outcomeOf(record, admission)
            if (admission._tag === "Stored") return toSender(storeResponse(from, outcome, now))
            refuse(outcome, () => refusalOf(admission))
          })
        })
        return
      }

      case "Push": {
        const { key, record } = request
        health.speaksUnsafe(from.id, "v0.2", now)
        if (!watchedKeys.has(key) || Result.isFailure(store.vet(key, record, Math.floor(now / 1000)))) return
        watchedKeys.tell(key, record)
        return toSender({
          _tag: "PushAck",
          key,
          messageId: NodeId.fromBytesUnsafe(sha256(record.payload)),
          subscribe: true
        })
      }

      case "NatProbe": {
        const claimed = SocketAddress.decodeObserved(request.claimed)
        if (claimed === undefined || claimed.host !== from.host || !SocketAddress.isPublic(claimed.host)) return
        if (!SocketAddress.isReachable(claimed)) return
        if (!echoes.allow(from.host, now)) return
        const body: Body = { _tag: "NatProbeEcho", token: request.token }
        return reply({ body, to: claimed, transactionId: transactionId() })
      }
    }
  }
  return Responder.of({ answer })
})

/** The network shared by all peers whose address is not proved. */
const unproved = "unproved"

/** Whether a record matches the criteria of a FIND_VALUE. */
const passing = ({ publisher, wanted }: Extract<Body, { readonly _tag: "FindValue" }>) => {
  const digests = wanted === undefined ? undefined : new Set(wanted)
  return (record: Record.SignedRecord): boolean =>
    (publisher === undefined || record.address === publisher) && (digests?.has(digest(record)) ?? true)
}

/**
 * Responses from the tables of this node.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Responder,
  never,
  | NodeIdentity
  | NodeSettings
  | WatchedKeys
  | Store
  | Subscribers
  | Routing.Routing
  | PeerHealth.PeerHealth
  | Verifier
  | SecureRandom.SecureRandom
> = Layer.effect(Responder, make)
