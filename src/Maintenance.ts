/**
 * Maintenance of the node's view of the network: a heartbeat that probes
 * unverified and silent contacts, fills sparse buckets, rejoins after all
 * contacts are lost, and revisits the addresses that the node once joined
 * through. The work per beat is bounded and delays no response.
 *
 * @module
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Ref from "effect/Ref"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { Bootstrap } from "./Bootstrap.ts"
import type { Contact } from "./Contact.ts"
import { freshMillis, heartbeatLimits } from "./core/routingTable.ts"
import { NodeIdentity } from "./Identity.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Query } from "./Query.ts"
import type * as Request from "./Request.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"

/** Time between two beats. */
const beatInterval = "15 seconds"

/** Age at which an unverified contact is probed, and evicted if it is silent. */
const staleMillis = 10 * 60_000

/** Silence after which a contact is probed, while it still counts as fresh. */
const quietMillis = 25 * 60_000

/** Silence of all peers after which the network may be lost. */
const lonelyMillis = 5 * 60_000

/** Longest pause between a lonely node's attempts to rejoin: five minutes. */
const maxBeatsToSkip = 19

/** Pause between visits to given addresses where no contact is known: ten minutes. */
const beatsBetweenVisits = 40

/** A neighbour is asked for our own id if no bucket was refilled for twenty minutes. */
const maxBeatsWithoutRefill = 80

/** Deadline of a refill. */
const refillMillis = 15_000

const make = Effect.gen(function*() {
  const bootstrap = yield* Bootstrap
  const health = yield* PeerHealth.PeerHealth
  const identity = yield* NodeIdentity
  const query = yield* Query
  const random = yield* SecureRandom.SecureRandom
  const routing = yield* Routing.Routing
  const rpc = yield* Rpc.Rpc
  const settings = yield* NodeSettings
  const clock = yield* Clock.Clock

  const ping = { _tag: "Ping", address: identity.address } as const
  const requestOptions = (): Request.Options => ({ ...Rpc.probeOptions(health), maintenance: true })

  /** Probes in flight: each is cancelled by the function stored for it. */
  const inFlight = new Set<() => void>()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const cancel of inFlight) cancel()
    })
  )

  /** Reports whether a contact answers. The table has noted a response by then. */
  const probe = (contact: Contact, done: (isAlive: boolean) => void): void => {
    let cancel: (() => void) | undefined = undefined
    let isDone = false
    cancel = rpc.requestUnsafe(contact, ping, requestOptions(), (result) => {
      isDone = true
      if (cancel !== undefined) inFlight.delete(cancel)
      done(Result.isSuccess(result))
    })
    // A request that could not be sent has ended already.
    if (!isDone) inFlight.add(cancel)
  }

  const probePending = (contact: Contact): void =>
    probe(contact, (isAlive) => {
      if (!isAlive) return routing.core.pendingFailed(contact.id)
      const now = clock.currentTimeMillisUnsafe()
      const outcome = routing.core.pendingVerified(contact.id, now, now)
      if (outcome._tag === "Probe") {
        probe(outcome.oldest, (isAlive) => routing.core.probed(outcome.oldest.id, isAlive, now))
      }
    })

  const probeStale = (contact: Contact): void =>
    probe(contact, (isAlive) => {
      if (!isAlive) routing.core.remove(contact.id)
    })

  /** Silent contacts, pending a check of our own connectivity. */
  const suspects = new Set<NodeId.NodeId>()

  /** While no other peer answers, the fault may be ours and not the contact's. */
  const probeSilent = (contact: Contact): void =>
    probe(contact, (isAlive) => {
      const witness = routing.core.freshest()
      if (isAlive || witness === undefined || witness.id === contact.id) return
      suspects.add(contact.id)
      // One witness decides for all of them.
      if (suspects.size > 1) return
      probe(witness, (isAlive) => {
        if (isAlive) { for (const id of suspects) if (id !== witness.id) routing.core.remove(id) }
        suspects.clear()
      })
    })

  const isAlive = (contact: Contact) =>
    Effect.match(rpc.request(contact, ping, requestOptions()), { onFailure: () => false, onSuccess: () => true })

  /** Consecutive attempts that found no peer, and beats to skip before the next. */
  let misses = 0
  let beatsToSkip = 0

  let beats = 0
  let beatsWithoutRefill = 0

  /** Whether to look for the network, because no peer was heard from for long. */
  const isLost = (now: number): boolean => {
    if (routing.core.hasVerified(now - lonelyMillis)) {
      misses = beatsToSkip = 0
      return false
    }
    if (beatsToSkip-- > 0) return false
    beatsToSkip = Math.min(2 ** misses++, maxBeatsToSkip)
    return true
  }

  /** Rejoins the network when no contact is left. */
  const reconnect = Effect.gen(function*() {
    const witness = routing.core.freshest()
    if (witness === undefined || !(yield* isAlive(witness))) yield* bootstrap.rejoin
  }).pipe(Effect.withSpan("Maintenance.reconnect"))

  /**
   * Asks a neighbour for our own id. If another node runs under it, the
   * response may name that node, which is how the two discover each other.
   */
  const lookAtOurselves = Effect.suspend(() => {
    const [neighbour] = routing.core.nearest(identity.nodeId, 1)
    return neighbour === undefined
      ? Effect.void
      : Effect.ignore(rpc.request(neighbour, { _tag: "FindNode", target: identity.nodeId }, requestOptions()))
  }).pipe(Effect.withSpan("Maintenance.lookAtOurselves"))

  const refill = Effect.fnUntraced(function*(bucket: number) {
    const known = () => routing.core.bucketLength(bucket) + routing.core.pendingLength(bucket)
    const before = known()
    const target = NodeId.inBucket(identity.nodeId, bucket, yield* random.randomBytes(NodeId.length))
    const closest = yield* Effect.timeoutOption(query.findNode(target), refillMillis)
    routing.core.recordRefill(bucket, known() > before)
    return routing.core.lookedUp(bucket, Option.getOrElse(closest, () => []), yield* Clock.currentTimeMillis)
  })

  /** Refills one bucket after another, because one may bring the contacts of the next. */
  const refillAll = Effect.fnUntraced(function*(buckets: ReadonlyArray<number>) {
    const covered = new Set<number>()
    const started = yield* Clock.currentTimeMillis
    // The deepest bucket comes last.
    for (const bucket of buckets.toReversed()) {
      if ((yield* Clock.currentTimeMillis) - started >= refillMillis) return
      if (covered.has(bucket)) continue
      for (const other of yield* refill(bucket)) covered.add(other)
    }
  }, Effect.withSpan("Maintenance.refill"))

  const beat = Effect.suspend(() => {
    const now = clock.currentTimeMillisUnsafe()
    const isPassive = Ref.getUnsafe(settings.passive)
    const limits = isPassive ? { ...heartbeatLimits, refills: 0 } : heartbeatLimits
    const work = routing.core.maintenance(now, now - freshMillis, now - staleMillis, limits)
    for (const contact of work.pendingToProbe) probePending(contact)
    for (const contact of work.staleToProbe) probeStale(contact)
    if (isPassive) return Effect.void
    const probesLeft = limits.staleProbes - work.staleToProbe.length
    for (const contact of routing.core.quiet(now, now - quietMillis, probesLeft)) probeSilent(contact)
    const due: Array<Effect.Effect<void>> = []
    if (work.bucketsToRefill.length > 0) {
      due.push(refillAll(work.bucketsToRefill))
      beatsWithoutRefill = 0
    } else if (++beatsWithoutRefill % maxBeatsWithoutRefill === 0) {
      due.push(lookAtOurselves)
    }
    if (isLost(now)) due.push(reconnect)
    else if (++beats % beatsBetweenVisits === 0) due.push(bootstrap.revisit)
    return Effect.all(due, { concurrency: "unbounded", discard: true })
  })

  yield* beat.pipe(
    Effect.catchCause((cause) => Effect.logWarning("A beat of maintenance failed", cause)),
    Effect.repeat(Schedule.fixed(beatInterval)),
    // Nodes that started together should not all beat together.
    Effect.delay((5 + 10 * (yield* Random.next)) * 1000),
    Effect.annotateLogs({ module: "effect-dht/Maintenance", fiber: "Heartbeat" }),
    Effect.forkScoped
  )
})

/**
 * Runs the heartbeat in the layer's scope.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  never,
  never,
  | Bootstrap
  | NodeIdentity
  | NodeSettings
  | PeerHealth.PeerHealth
  | Query
  | Routing.Routing
  | Rpc.Rpc
  | SecureRandom.SecureRandom
> = Layer.effectDiscard(make)
