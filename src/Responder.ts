/**
 * Responses of this node to verified requests, from its tables. They are made
 * synchronously, except for one check that may run on another core, so the
 * receive loop never waits.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { Contact } from "./Contact.ts"
import * as Answer from "./core/answer.ts"
import { DelegationChecks } from "./DelegationChecks.ts"
import * as Features from "./Features.ts"
import { NodeIdentity } from "./Identity.ts"
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
import { Reachability } from "./Reachability.ts"
import * as Record from "./Record.ts"
import { Rendezvous } from "./Rendezvous.ts"
import * as DialBack from "./responder/dialBack.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import * as SocketAddress from "./SocketAddress.ts"
import { type Admission, Store, type Stored } from "./Store.ts"
import { Subscriptions } from "./Subscriptions.ts"
import { Verifier } from "./Verifier.ts"
import { Watch } from "./Watch.ts"

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

/**
 * Runs in the caller's scope what {@link layer} runs in a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const events = yield* NodeEvents
  const identity = yield* NodeIdentity
  const rpc = yield* Rpc.Rpc
  const store = yield* Store
  const checks = yield* DelegationChecks
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const verifier = yield* Verifier
  const watch = yield* Watch
  const subscriptions = yield* Subscriptions
  const settings = yield* NodeSettings
  const reachability = yield* Reachability
  const dialBack = yield* DialBack.make
  const rendezvous = yield* Rendezvous

  const ownFeatures = Features.own(settings)
  const pingBytes = size({ _tag: "Ping", address: identity.address }, ownFeatures)

  /** The part of an allowance that is kept for a ping: the sender is to prove its address, or that it has our key. */
  const reserve = (from: Rpc.Requester, now: number): number =>
    from.id === identity.nodeId || routing.willProveUnsafe(from, now) ? pingBytes : 0

  /** Number of nodes that are closer to a target than this one. */
  const rankAmong = (nodes: ReadonlyArray<Contact>, target: NodeId.NodeId): number =>
    nodes.filter(({ id }) => NodeId.compareDistance(target, id, identity.nodeId) < 0).length

  /**
   * Nodes to name, in the order in which they get room. The requester comes
   * last: it knows itself, unless it is at another address. Where few fit, all
   * nodes around a target would name the same few, and none the rest of the k
   * closest. So after the nearest one, each of them begins at another place.
   */
  const nodesFor = (
    target: NodeId.NodeId,
    from: Rpc.Requester,
    families: Routing.Families | undefined,
    now: number
  ): ReadonlyArray<Contact> => {
    const nodes = routing.answerUnsafe(target, from.host, families, now)
    const at = nodes.findIndex((node) => node.id === from.id && SocketAddress.isSame(node, from))
    const others = at === -1 ? nodes : nodes.toSpliced(at, 1)
    const itself = at === -1 ? [] : [nodes[at]]
    if (routing.isProvedUnsafe(from)) return at === -1 ? others : [...others, ...itself]
    const [nearest, rest] = [others.slice(0, nearestNamed), others.slice(nearestNamed)]
    const rank = rankAmong(others, target)
    const first = rank === others.length ? 0 : namedByTurns * rank % rest.length
    return [...nearest, ...rest.slice(first), ...rest.slice(0, first), ...itself]
  }

  /**
   * What to name to a requester: to one that reads it, first the nodes that are
   * reachable over both families, which the other nodes must not displace. A
   * stranger's response has room for few nodes: one of these leads it to those
   * that are reachable over both themselves, which name it the others.
   */
  const namedTo = (
    { both, target }: Extract<Body, { readonly _tag: "FindNode" | "FindValue" }>,
    from: Rpc.Requester,
    now: number
  ): Answer.Named => {
    if (!Features.has(from.features, Features.Bit.families)) {
      return { nodes: nodesFor(target, from, undefined, now) }
    }
    const families = both === true ? "Both" : "Own"
    const nodes = nodesFor(target, from, families, now)
    const namesAll = routing.isProvedUnsafe(from) || reachability.isDualUnsafe(now)
    const dual = routing.dualAnswerUnsafe(target, dualNamed + 1, from.host, families, now)
      .filter(({ id }) => id !== from.id).slice(0, namesAll ? dualNamed : 1)
    if (dual.length === 0) return { nodes }
    const ids = new Set(dual.map(({ id }) => id))
    return { nodes: [...dual, ...nodes.filter(({ id }) => !ids.has(id))], dual: dual.length }
  }

  /** The size of a body in a response of at most so many bytes. */
  const bodySize = (to: Rpc.Requester, bytes: number): number =>
    Math.min(bytes - envelopeSize(ownFeatures, to.isInSession), maxAnswerBody)

  const sizeOf = (to: Rpc.Requester, { body }: Answer.Fitted): number => size(body, ownFeatures, to.isInSession)

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
    if (record.delegation === undefined) return done(true)
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
   * Answers with as much as the requester is allowed, and calls `proved` if it
   * proves its address; returns the bytes of a response that is sent later. If
   * what is allowed does not suffice, the requester must first prove its address,
   * and gets what is allowed if it does not.
   */
  const answerWithin = <A extends Answer.Fitted>(
    make: (now: number) => Fitting<A>,
    from: Rpc.Requester,
    now: number,
    proved?: () => void
  ): number => {
    const { empty, isEnough, send, within } = make(now)
    const whole = within(maxAnswerBody)
    const allowed = routing.allowanceUnsafe(from)
    if (allowed === Infinity) {
      send(whole)
      proved?.()
      return 0
    }
    // The ping that proves the address makes the next answer whole.
    const kept = proved === undefined ? reserve(from, now) : pingBytes
    const enough = [allowed - kept, allowed].map((bytes) => within(bodySize(from, bytes))).find((cut) =>
      isEnough(cut, whole)
    )
    if (enough !== undefined) {
      send(enough)
      if (proved !== undefined) {
        routing.proveUnsafe(
          from,
          allowed - sizeOf(from, enough),
          (isProved) => isProved ? proved() : undefined
        )
      }
      return 0
    }
    const least = within(bodySize(from, allowed - pingBytes))
    // Without the ping, the next response would be cut as well.
    const cut = sizeOf(from, least) <= allowed - pingBytes ? least : empty
    const bytes = sizeOf(from, cut)
    routing.proveUnsafe(from, allowed - bytes, (isProved) => {
      if (!isProved) return send(cut)
      proved?.()
      // Since the request, newer records may have come.
      const later = make(clock.currentTimeMillisUnsafe())
      later.send(later.within(maxAnswerBody))
    })
    return bytes
  }

  const answerFindNode = (
    request: Extract<Body, { readonly _tag: "FindNode" }>,
    from: Rpc.Requester,
    now: number,
    toSender: (body: Body) => void
  ): number =>
    answerWithin(
      (now): Fitting<Answer.Fitted> => {
        const { dual, nodes } = namedTo(request, from, now)
        const observed = SocketAddress.encodeObserved(from)
        return {
          within: (size) => ({ body: Answer.findNodeResponse(nodes, observed, size, dual) }),
          empty: { body: Answer.findNodeResponse([], observed) },
          isEnough: isEnoughAt(rankAmong(nodes, request.target)),
          send: ({ body }) => toSender(body)
        }
      },
      from,
      now
    )

  const answerFindValue = (
    request: Extract<Body, { readonly _tag: "FindValue" }>,
    from: Rpc.Requester,
    now: number,
    toSender: (body: Body) => void
  ): number => {
    const { publisher, recordType, target, wanted } = request
    const isFiltered = publisher !== undefined || wanted !== undefined
    /** Only holders of the key learn of new records there. */
    let isHolder = false
    const subscribe = () => {
      health.speaksUnsafe(from.id, "v0.2", now)
      if (isHolder) subscriptions.subscribeUnsafe(target, from, now)
    }
    return answerWithin(
      (now): Fitting<Answer.ValueAnswer> => {
        // Filters apply only to a holder that has already been found.
        const named = isFiltered ? { nodes: [] } : namedTo(request, from, now)
        const rank = rankAmong(named.nodes, target)
        const records = store.inTurnUnsafe(target, recordType, Math.floor(now / 1000), rank)
        isHolder = records.length > 0
        const options = {
          ...named,
          records: isFiltered ? records.filter(passing(request)) : records,
          observed: SocketAddress.encodeObserved(from),
          legacy: recordType === 0 || recordType === Record.RecordType.endpoint,
          lists: wanted === undefined && Features.has(from.features, Features.Bit.paging)
        }
        const hasNodes = isEnoughAt(rank)
        return {
          within: (size) => Answer.findValueResponse({ ...options, size }),
          empty: Answer.findValueResponse({ ...options, nodes: [], records: [] }),
          // A v0.1 requester would take the records that fit for all that there are.
          isEnough: (cut, whole) => Answer.hasRecordsOf(cut, whole) && hasNodes(cut, whole),
          send: ({ body, served }) => {
            if (!isFiltered && served < records.length) store.servedUnsafe(target, served)
            toSender(body)
          }
        }
      },
      from,
      now,
      request.subscribe ? subscribe : undefined
    )
  }

  const answer: Rpc.Handler = (request, from, now, reply) => {
    const toSender = (body: Body) => reply({ body, to: from, transactionId: undefined })
    switch (request._tag) {
      case "Ping":
        toSender({ _tag: "Pong", address: identity.address, observed: SocketAddress.encodeObserved(from) })
        return 0

      case "FindNode":
        return answerFindNode(request, from, now, toSender)

      case "FindValue":
        return answerFindValue(request, from, now, toSender)

      case "Store": {
        const { key, record } = request
        const explain = (reason: () => string) =>
          events.explainUnsafe?.({ _tag: "RecordRefused", key, record, contact: from, reason: reason() })
        const refuse = (outcome: Outcome, reason: () => string): number => {
          explain(reason)
          toSender(storeResponse(from, outcome, now))
          return 0
        }
        // A client leaves soon, and the record would be lost.
        if (settings.client) return refuse("Unwanted", () => "this node is about to leave")
        // Nor could readers find it at a node that they cannot reach.
        if (reachability.isClosedUnsafe()) return refuse("Unwanted", () => "this node cannot be reached by strangers")
        // Refusal comes before the signature check wherever possible.
        const fault = Record.fault(record, Math.floor(now / 1000))
        if (fault !== undefined) return refuse("Invalid", () => Record.toError(fault).message)
        // Once this returns, `Routing` knows what is left.
        let room: number | undefined = routing.allowanceUnsafe(from) - storeResponseBytes
        const prove = (done: (isProved: boolean) => void) => routing.proveUnsafe(from, room, done)
        isSigned(key, record, (valid) => {
          if (!valid) return void refuse("Invalid", () => "its signature is bad")
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
        room = undefined
        return storeResponseBytes
      }

      case "Push": {
        const { key, record } = request
        if (routing.isProvedUnsafe(from)) health.speaksUnsafe(from.id, "v0.2", now)
        watch.deliverUnsafe(key, record, SocketAddress.network(from.host), now, () =>
          toSender({
            _tag: "PushAck",
            key,
            messageId: NodeId.fromBytesUnsafe(sha256(record.payload)),
            subscribe: true
          }))
        return pushAckBytes
      }

      case "NatProbe":
        dialBack(request, from, now, reply)
        return 0

      case "Attend":
      case "Meet":
      case "Invite":
        return rendezvous.serveUnsafe(request, from, now, reply)

      default:
        return 0
    }
  }
  yield* rpc.serve(answer)
})

/** A response that can be made for each size of its body, in bytes. */
interface Fitting<A extends Answer.Fitted> {
  readonly within: (size: number) => A
  /** The response without nodes and records. One that is cut names at least one node, however small it should be. */
  readonly empty: A
  /** Whether a cut response serves the requester, so that it need not prove its address. */
  readonly isEnough: (cut: A, whole: A) => boolean
  readonly send: (answer: A) => void
}

/**
 * The nodes around a target, by the number of closer ones, whose responses are
 * not cut: what two of them name completes a lookup. The nearest ones are not
 * among them, because a lookup waits for these before it asks the others.
 */
const completing = new Set([3, 5])

/** Whether a cut response names enough nodes for one of a node with so many closer to the target. */
const isEnoughAt = (rank: number) => (cut: Answer.Fitted, whole: Answer.Fitted): boolean =>
  !completing.has(rank) || cut.body.nodes?.length === whole.body.nodes?.length

/** Number of nodes, the nearest ones, that each node names first to a peer that has not proved its address. */
const nearestNamed = 1

/** Number of nodes reachable over both families that are named to a requester that reads it. */
const dualNamed = 3

/** Nodes by which the places differ at which two neighbours by distance begin: as many as fit besides in any case. */
const namedByTurns = 2

/** Most bytes of a response to STORE, and of one to a push. */
const storeResponseBytes = 150
const pushAckBytes = 210

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
  | Reachability
  | Rendezvous
  | Verifier
  | Watch
  | SecureRandom.SecureRandom
> = Layer.effectDiscard(make)
