/**
 * Responses of this node to verified requests, from its tables. They are made
 * synchronously, except for one check that may run on another core, so the
 * receive loop never waits.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Contact } from "./Contact.ts"
import * as Answer from "./core/answer.ts"
import { DelegationChecks } from "./DelegationChecks.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
import { RateLimit } from "./internal/rateLimit.ts"
import { sha256 } from "./internal/sha256.ts"
import {
  type Body,
  digest,
  envelopeSize,
  hasDigestIn,
  maxAnswerBody,
  size,
  type StoreReason,
  storeReason
} from "./Message.ts"
import { NodeEvents } from "./NodeEvents.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import * as Record from "./Record.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { type Admission, Store, type Stored } from "./Store.ts"
import { Subscriptions } from "./Subscriptions.ts"
import * as TransactionId from "./TransactionId.ts"
import { Verifier } from "./Verifier.ts"
import { Watch } from "./Watch.ts"

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
  const clock = yield* Clock.Clock
  const events = yield* NodeEvents
  const identity = yield* NodeIdentity
  const rpc = yield* Rpc.Rpc
  const store = yield* Store
  const checks = yield* DelegationChecks
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const verifier = yield* Verifier
  const transactionId = TransactionId.generator(yield* SecureRandom.SecureRandom)
  const watch = yield* Watch
  const subscriptions = yield* Subscriptions
  const settings = yield* NodeSettings
  const echoes = new RateLimit(natProbeLimit)

  const ownFeatures = Features.own(settings)
  const pingBytes = size({ _tag: "Ping", address: identity.address }, ownFeatures)

  /** The part of an allowance that is kept for a ping: the sender is to prove its address, or that it has our key. */
  const reserve = (from: Rpc.Requester, now: number): number =>
    from.id === identity.nodeId || routing.willProveUnsafe(from, now) ? pingBytes : 0

  /**
   * Nodes to name, in the order in which they get room. The requester comes
   * last: it knows itself, unless it is at another address. Where few fit, all
   * nodes around a target would name the same few, and none the rest of the k
   * closest. So after the nearest one, each of them begins at another place.
   */
  const nodesFor = (target: NodeId.NodeId, from: Rpc.Requester, now: number): ReadonlyArray<Contact> => {
    const isItself = ({ host, id, port }: Contact) => id === from.id && host === from.host && port === from.port
    const nodes = routing.answerUnsafe(target, from.host, now)
    const itself = nodes.filter(isItself)
    const others = nodes.filter((node) => !isItself(node))
    if (routing.isProvedUnsafe(from)) return [...others, ...itself]
    const [nearest, rest] = [others.slice(0, nearestNamed), others.slice(nearestNamed)]
    const rank = others.filter(({ id }) => NodeId.compareDistance(target, id, identity.nodeId) < 0).length
    const first = rank === others.length ? 0 : namedByTurns * rank % rest.length
    return [...nearest, ...rest.slice(first), ...rest.slice(0, first), ...itself]
  }

  /** The size of a body in a response of at most so many bytes. */
  const bodySize = (bytes: number): number => Math.min(bytes - envelopeSize(ownFeatures), maxAnswerBody)

  /** A peer that has not shown a later version gets a v0.1 response. */
  const storeResponse = (to: Rpc.Requester, outcome: Outcome, now: number): Body => {
    const isV02 = Features.has(to.features, Features.Bit["v0.2"]) || health.versionUnsafe(to.id, now) === "v0.2"
    const isHeld = outcome === "AlreadyHad" || isV02 && outcome === "Superseded"
    return {
      _tag: "StoreResponse",
      // Without key 2 the response for another held record would look like a
      // copy.
      stored: outcome === "Stored" || isHeld,
      alreadyHad: isV02 && isHeld,
      reason: outcome === "Full" && Features.has(to.features, Features.Bit.paging)
        ? storeReason.full
        : isV02
        ? reasons[outcome]
        : 0
    }
  }

  /** Checks a record's signature, except that of a held record, which was checked when it came. */
  const isSigned = (
    key: NodeId.NodeId | undefined,
    record: Record.SignedRecord,
    done: (valid: boolean) => void
  ): void => {
    if (store.holdsUnsafe(key, record)) done(true)
    else verifier.check(record.publicKey, Record.signedView(record), record.signature, done)
  }

  /**
   * Has a record's delegation checked, on the account of the sender's network,
   * for which the sender's address must be proved. Calls back with whether the
   * record is ready.
   */
  const prepare = (
    record: Record.SignedRecord,
    from: Contact,
    prove: (done: (isProved: boolean) => void) => void,
    done: (isReady: boolean) => void
  ): void => {
    const prepareAs = (network: string, done: (isReady: boolean) => void) =>
      checks.prepareUnsafe([record], { network, isAwaited: false }, (ready) => done(ready.length > 0))
    const network = SocketAddress.network(from.host)
    if (routing.isProvedUnsafe(from)) return prepareAs(network, done)
    prepareAs(unproved, (isReady) => {
      if (isReady) return done(true)
      prove((isProved) => isProved ? prepareAs(network, done) : done(false))
    })
  }

  /**
   * Decides on a record with a valid signature. Eviction depends on the
   * sender's network, so the sender's address must be proved.
   */
  const admit = (
    { key, record }: Extract<Body, { readonly _tag: "Store" }>,
    from: Contact,
    now: number,
    prove: (done: (isProved: boolean) => void) => void,
    done: (admission: Admission) => void
  ): void => {
    const decide = (isProved: boolean) =>
      done(
        store.admitUnsafe(key, record, Math.floor(now / 1000), isProved ? SocketAddress.network(from.host) : unproved)
      )
    if (routing.isProvedUnsafe(from)) return decide(true)
    if (!store.isContendedUnsafe(key ?? Record.ownKey(record), record.type, unproved)) return decide(false)
    prove(decide)
  }

  /**
   * Answers with as much as the requester is allowed. Nodes are cut for one that
   * has not proved its address, and records are not: it would take them for all
   * that there are. Where they do not fit, it must prove itself first.
   */
  const answerFindValue = (
    request: Extract<Body, { readonly _tag: "FindValue" }>,
    from: Rpc.Requester,
    now: number,
    toSender: (body: Body) => void
  ): void => {
    const { publisher, recordType, subscribe, target, wanted } = request
    const isFiltered = publisher !== undefined || wanted !== undefined
    // Filters apply only to a holder that has already been found.
    const nodes = isFiltered ? [] : nodesFor(target, from, now)
    const rank = nodes.filter(({ id }) => NodeId.compareDistance(target, id, identity.nodeId) < 0).length
    const records = store.inTurnUnsafe(target, recordType, Math.floor(now / 1000), rank)
    const options = {
      nodes,
      records: isFiltered ? records.filter(passing(request)) : records,
      observed: SocketAddress.encodeObserved(from),
      legacy: recordType === 0 || recordType === Record.RecordType.endpoint,
      lists: wanted === undefined && Features.has(from.features, Features.Bit.paging)
    }
    const whole = Answer.findValueResponse(options)
    const send = ({ body, served }: Answer.ValueAnswer): void => {
      if (!isFiltered && served < records.length) store.servedUnsafe(target, served)
      toSender(body)
    }
    const allowed = routing.allowanceUnsafe(from)
    const cut = allowed === Infinity
      ? whole
      // The ping that proves the address makes the next answer whole.
      : [allowed - (subscribe ? pingBytes : reserve(from, now)), allowed].map((bytes) =>
        Answer.findValueResponse({ ...options, size: bodySize(bytes) })
      )
        .find((cut) => Answer.hasRecordsOf(cut, whole))
    if (cut !== undefined) send(cut)
    /** Whether the outcome is known at once: then no ping was sent. */
    let isAtOnce = true
    const waits = cut === undefined || subscribe
    if (!waits) return
    const proved = (isProved: boolean): void => {
      if (isProved && subscribe) {
        health.speaksUnsafe(from.id, "v0.2", now)
        // Only holders of the key learn of new records there.
        if (records.length > 0) subscriptions.subscribeUnsafe(target, from, now)
      }
      if (cut !== undefined) return
      // Since the request, newer records may have come.
      if (isProved) answerFindValue({ ...request, subscribe: false }, from, clock.currentTimeMillisUnsafe(), toSender)
      else if (isAtOnce) send(Answer.findValueResponse({ ...options, size: bodySize(allowed) }))
    }
    if (allowed === Infinity) return proved(true)
    const spent = cut === undefined ? 0 : size(cut.body, ownFeatures)
    routing.proveUnsafe(from, allowed - spent, proved)
    isAtOnce = false
  }

  const answer: Rpc.Handler = (request, from, now, reply) => {
    const toSender = (body: Body) => reply({ body, to: from, transactionId: undefined })
    switch (request._tag) {
      case "Ping":
        return toSender({ _tag: "Pong", address: identity.address, observed: SocketAddress.encodeObserved(from) })

      case "FindNode":
        return toSender(
          Answer.findNodeResponse(
            nodesFor(request.target, from, now),
            SocketAddress.encodeObserved(from),
            bodySize(routing.allowanceUnsafe(from) - reserve(from, now))
          )
        )

      case "FindValue":
        return answerFindValue(request, from, now, toSender)

      case "Store": {
        const { key, record } = request
        const explain = (reason: () => string) =>
          events.explainUnsafe?.({ _tag: "RecordRefused", key, record, contact: from, reason: reason() })
        const refuse = (outcome: Outcome, reason: () => string) => {
          explain(reason)
          toSender(storeResponse(from, outcome, now))
        }
        // A client leaves soon, and the record would be lost.
        if (settings.client) return refuse("Unwanted", () => "this node is about to leave")
        // Refusal comes before the signature check wherever possible.
        const fault = Record.fault(record, Math.floor(now / 1000))
        if (fault !== undefined) return refuse("Invalid", () => Record.toError(fault).message)
        // Once this returns, `Routing` spends the rest on a ping: then a proof is
        // only waited for.
        let room = routing.allowanceUnsafe(from) - storeResponseBytes
        const prove = (done: (isProved: boolean) => void) => routing.proveUnsafe(from, room, done)
        isSigned(key, record, (valid) => {
          if (!valid) return refuse("Invalid", () => "its signature is bad")
          prepare(record, from, prove, (isReady) => {
            // No response: a publisher would take a refusal as permanent, but
            // retransmits when it hears nothing.
            if (!isReady) return explain(() => "too many delegations by wallets are being checked")
            admit(request, from, now, prove, (admission) => {
              const outcome = outcomeOf(record, admission)
              if (admission._tag === "Stored") return toSender(storeResponse(from, outcome, now))
              refuse(outcome, () => refusalOf(admission))
            })
          })
        })
        room = 0
        return
      }

      case "Push": {
        const { key, record } = request
        if (routing.isProvedUnsafe(from)) health.speaksUnsafe(from.id, "v0.2", now)
        return watch.deliverUnsafe(key, record, SocketAddress.network(from.host), now, () =>
          toSender({
            _tag: "PushAck",
            key,
            messageId: NodeId.fromBytesUnsafe(sha256(record.payload)),
            subscribe: true
          }))
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
  yield* rpc.serve(answer)
})

/** Number of nodes, the nearest ones, that each node names first to a peer that has not proved its address. */
const nearestNamed = 1

/** Nodes by which the places differ at which two neighbours by distance begin: as many as fit besides in any case. */
const namedByTurns = 2

/** Bytes of a response to STORE at most. */
const storeResponseBytes = 150

/** The network shared by all peers whose address is not proved. */
const unproved = "unproved"

/** Whether a record matches the criteria of a FIND_VALUE. */
const passing = ({ publisher, wanted }: Extract<Body, { readonly _tag: "FindValue" }>) => {
  const isWanted = wanted === undefined ? undefined : hasDigestIn(wanted)
  return (record: Record.SignedRecord): boolean =>
    (publisher === undefined || record.address === publisher) && (isWanted?.(record) ?? true)
}

/**
 * Answers the requests that `Rpc` receives until the layer's scope closes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  never,
  never,
  | DelegationChecks
  | NodeEvents
  | NodeIdentity
  | NodeSettings
  | Store
  | Subscriptions
  | Routing.Routing
  | Rpc.Rpc
  | PeerHealth.PeerHealth
  | Verifier
  | Watch
  | SecureRandom.SecureRandom
> = Layer.effectDiscard(make)
