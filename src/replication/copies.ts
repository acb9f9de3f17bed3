/**
 * The requests of a replication job: lookups of the nodes close to a key, and
 * storing and probing a copy at one of them.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import type { Contact } from "../Contact.ts"
import { dualWanted } from "../core/lookup.ts"
import type { Action } from "../core/replicaSet.ts"
import { DelegationChecks } from "../DelegationChecks.ts"
import * as Features from "../Features.ts"
import * as Message from "../Message.ts"
import type { NodeId } from "../NodeId.ts"
import { NodeSettings } from "../NodeSettings.ts"
import * as PeerHealth from "../PeerHealth.ts"
import { type Neighbourhood, Query } from "../Query.ts"
import { isHairpin, Reachability } from "../Reachability.ts"
import * as Record from "../Record.ts"
import * as Request from "../Request.ts"
import { Routing } from "../Routing.ts"
import { Rpc } from "../Rpc.ts"
import { Store } from "../Store.ts"
import { isSame, type Job, type Outcome, slotAt } from "./job.ts"

/**
 * Nodes that may be asked to hold a copy: Kademlia's K.
 *
 * @internal
 */
export const candidates = 16

/** Maximum time for one node to take a copy, or to show it. */
const deadline = 5000

/**
 * What a node shows of a record's slot: the same record, a newer valid one,
 * `Other`, or nothing. `Unclear` is nothing when records of other slots fill
 * the response.
 */
type Shown = "Same" | "Other" | "Nothing" | "Unclear" | Record.SignedRecord

/**
 * Outcome of storing a copy; a record is a newer one that the node holds.
 *
 * @internal
 */
export type StoreOutcome = "Stored" | "Refused" | "Unwanted" | "Full" | Record.SignedRecord

/**
 * Returns functions that find the nodes for a record and store it at one of them,
 * and `carryOut`, which does what a set of replicas decides on.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const rpc = yield* Rpc
  const query = yield* Query
  const routing = yield* Routing
  const health = yield* PeerHealth.PeerHealth
  const settings = yield* NodeSettings
  const reachability = yield* Reachability
  const local = yield* Store
  const checks = yield* DelegationChecks
  const clock = yield* Clock.Clock

  /**
   * As many attempts as packet loss explains. A replica that failed is asked again
   * and again until it is dropped, so one attempt each time suffices.
   */
  const requestOptions = (isRetry = false): Request.Options => ({
    attempts: isRetry ? 1 : health.attemptsUnsafe(),
    deadline
  })

  /** Looks up the record at a peer and checks the proof it shows. */
  const look = Effect.fnUntraced(function*(peer: Contact, key: NodeId, record: Record.SignedRecord, isRetry: boolean) {
    // A holder that filters shows the record, however many others it has.
    const filters = health.hasUnsafe(peer.id, Features.Bit.paging)
    const { body } = yield* rpc.request(
      peer,
      {
        _tag: "FindValue",
        target: key,
        recordType: record.type,
        subscribe: false,
        publisher: filters ? record.address : undefined
      },
      { ...requestOptions(isRetry), maintenance: true }
    )
    const slot = slotAt(key, record)
    const records = Request.recordsOf(body)
    const rivals = records.filter((other) => slotAt(key, other) === slot)
    if (rivals.some((other) => isSame(other, record)) || body.listed?.includes(Message.digest(record))) return "Same"
    const now = clock.currentTimeMillisUnsafe() / 1000
    // A record from the future by our clock still supersedes ours: the clock of
    // its holder may be ahead.
    const candidates = rivals.filter((other) => Record.isNewer(other, record))
    const newer = (yield* checks.prepareResponse(candidates, peer.host)).filter((other) =>
      Result.isSuccess(local.vet(key, other, Math.floor(Math.max(now, Number(other.timestamp)))))
    )
    if (newer.length > 0) return newer.reduce((newest, other) => Record.isNewer(other, newest) ? other : newest)
    if (rivals.length > 0) return "Other"
    if (filters) return "Nothing"
    const room = Record.maxResolvableSize - record.bytes.length
    return records.reduce((size, other) => size + other.bytes.length, 0) > room ? "Unclear" : "Nothing"
  }, Effect.map((shown): Shown => shown))

  /** Stores a copy. `checking` counts the answers that have to be checked before they count. */
  const store = Effect.fnUntraced(function*(
    peer: Contact,
    key: NodeId,
    record: Record.SignedRecord,
    count: Pick<Job, "checking">,
    isRetry = false
  ): Effect.fn.Return<StoreOutcome, Request.RequestError> {
    const { body } = yield* rpc.request(peer, { _tag: "Store", record, key }, requestOptions(isRetry))
    if (body.stored && !body.alreadyHad) return "Stored"
    // Only v0.2 gives a reason. A policy is permanent; an invalid record may be
    // due to a wrong clock, ours or the peer's.
    if (body.reason === Message.storeReason.policy) return "Unwanted"
    if (body.reason === Message.storeReason.full) return "Full"
    if (body.reason !== 0) return "Refused"
    // The peer claims to hold an equal or a newer record, and a newer one is
    // not a copy of ours. v0.1 answers false, whatever the reason.
    count.checking++
    const shown = yield* Effect.ensuring(look(peer, key, record, isRetry), Effect.sync(() => count.checking--))
    if (typeof shown !== "string") return shown
    return shown === "Same" || shown !== "Other" && body.alreadyHad ? "Stored" : "Refused"
  })

  const probe = Effect.fnUntraced(function*(
    peer: Contact,
    key: NodeId,
    record: Record.SignedRecord,
    isRetry: boolean
  ) {
    const shown = yield* look(peer, key, record, isRetry)
    if (typeof shown !== "string") return shown
    if (shown !== "Unclear") return shown === "Same" ? "Kept" : "Lost"
    // A record that did not fit into the response may still be held. After
    // storing it again it is held, unless it is refused for a reason.
    const { body } = yield* rpc.request(peer, { _tag: "Store", record, key }, {
      ...requestOptions(isRetry),
      maintenance: true
    })
    return body.reason === 0 ? "Kept" : "Lost"
  })

  /** The nodes where the records of a key belong; those in our own table while the node starts no lookups. */
  const neighbourhood = Effect.fnUntraced(function*(
    key: NodeId,
    known: ReadonlyArray<Contact> = []
  ): Effect.fn.Return<Neighbourhood> {
    return (yield* Ref.get(settings.passive))
      ? { closest: yield* routing.nearest(key, candidates), region: [], dual: [], isSurrounded: false }
      : yield* (known.length === 0 ? query.neighbourhood(key) : query.refreshNeighbourhood(key, known))
  })

  /** Those of the nodes that a request may go to now. */
  const usable = Effect.fnUntraced(function*(peers: ReadonlyArray<Contact>) {
    const publicHost = yield* reachability.publicHost
    const now = clock.currentTimeMillisUnsafe()
    return peers.filter((peer) => !isHairpin(peer, publicHost) && health.allowContactUnsafe(peer.id, now))
  })

  const lookUp = Effect.fnUntraced(function*(key: NodeId, known: ReadonlyArray<Contact>) {
    const { closest, dual, isSurrounded, region } = yield* neighbourhood(key, known)
    return {
      closest: yield* usable(closest),
      region: yield* usable(region),
      dual: yield* usable(dual),
      isSurrounded
    }
  })

  /** The contacts closest to a key that a request may go to, as far as our own table has any that were heard from. */
  const nearest = (key: NodeId): Effect.Effect<ReadonlyArray<Contact>> =>
    Effect.suspend(() =>
      usable(routing.nearestUnsafe(key, candidates).filter(({ id }) => routing.verifiedUnsafe(id) !== undefined))
    )

  const isDual = (id: NodeId): boolean => health.hasUnsafe(id, Features.Bit.dual)

  /** Offers a set of replicas what it lacks, as far as our own table has it. */
  const offerTo = Effect.fnUntraced(function*({ key, set }: Job) {
    const dual = set.lacksDual ? routing.nearestDualUnsafe(key, dualWanted) : []
    if (!set.lacksNodes && dual.length === 0) return
    const closest = set.lacksNodes ? yield* nearest(key) : []
    set.offer(closest, clock.currentTimeMillisUnsafe(), { dual: yield* usable(dual), isDual })
  })

  const carryOut = (
    action: Exclude<Action, { readonly _tag: "Wait" }>,
    job: Job,
    record: Record.SignedRecord
  ): Effect.Effect<Outcome> => {
    if (action._tag === "Lookup") {
      return Effect.map(lookUp(job.key, action.known), (neighbourhood) => ({ _tag: "Found", neighbourhood, isDual }))
    }
    const { _tag: by, contact } = action
    const { key, set } = job
    const isRetry = set.hasFailed(contact.id)
    const request = by === "Store"
      ? store(contact, key, record, job, isRetry)
      : probe(contact, key, record, isRetry)
    return Effect.match(request, {
      onFailure: ({ _tag }): Outcome => {
        if (_tag === "NoAnswer") routing.unansweredUnsafe(contact.id)
        return { _tag: "Failed", contact }
      },
      onSuccess: (outcome): Outcome =>
        typeof outcome === "string" ? { _tag: outcome, contact } : { _tag: "Superseded", contact, held: outcome, by }
    })
  }

  /** Whether a peer answers. */
  const isAlive = (peer: Contact): Effect.Effect<boolean> =>
    Effect.match(
      rpc.request(peer, { _tag: "FindNode", target: peer.id }, { ...requestOptions(), maintenance: true }),
      { onFailure: () => false, onSuccess: () => true }
    )

  return { carryOut, isAlive, nearest, neighbourhood, offerTo, store, usable }
})
