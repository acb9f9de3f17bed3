/**
 * Maintenance of the node's view of the network: a heartbeat that has the
 * routing table check its contacts, fills sparse buckets, rejoins after all
 * contacts are lost, has our records placed again after that, and revisits the
 * addresses that the node once joined through. The work per beat is bounded and
 * delays no response.
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
import * as Schedule from "effect/Schedule"
import { Bootstrap } from "./Bootstrap.ts"
import type { Contact } from "./Contact.ts"
import { NodeIdentity } from "./Identity.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Query } from "./Query.ts"
import { Replication } from "./Replication.ts"
import type * as Request from "./Request.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"
import { spanned } from "./Spans.ts"

/** Milliseconds between two beats while there is something to do. Beats in between are skipped. */
const beatMillis = 15_000

/** Silence of all peers after which the network may be lost. */
const lonelyMillis = 5 * 60_000

/** Longest pause between a lonely node's attempts to rejoin: a minute. */
const maxBeatsToSkip = 3

/** Pause between visits to given addresses where no contact is known. */
const visitMillis = 10 * 60_000

/** A neighbour is asked for our own id if no bucket was refilled for this long. */
const unaskedMillis = 20 * 60_000

/** Longest time without a beat of a passive node, which may become active. */
const passiveMillis = 60_000

/** Deadline of a refill. */
const refillMillis = 15_000

/**
 * Runs in the caller's scope what {@link layer} runs in a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const bootstrap = yield* Bootstrap
  const health = yield* PeerHealth.PeerHealth
  const identity = yield* NodeIdentity
  const query = yield* Query
  const random = yield* SecureRandom.SecureRandom
  const replication = yield* Replication
  const routing = yield* Routing.Routing
  const rpc = yield* Rpc.Rpc
  const settings = yield* NodeSettings

  const ping = { _tag: "Ping", address: identity.address } as const
  const requestOptions = (): Request.Options => ({ ...Rpc.probeOptions(health), maintenance: true })

  const isAlive = (contact: Contact) =>
    Effect.match(rpc.request(contact, ping, requestOptions()), { onFailure: () => false, onSuccess: () => true })

  /** Consecutive attempts that found no peer, and when the next may be made. */
  let misses = 0
  let retryAt = -Infinity

  const startedAt = yield* Clock.currentTimeMillis
  let visitAt = startedAt + visitMillis
  let askAt = startedAt + unaskedMillis

  /** Whether an attempt found no peer, and none has been reached since. */
  let isCutOff = false

  /** Whether to look for the network, given when a contact was last heard from that has not fallen silent since. */
  const isLost = (heardAt: number, now: number): boolean => {
    if (now - heardAt < lonelyMillis) {
      misses = 0
      retryAt = -Infinity
      // A peer has reached us first. It knows the others.
      return isCutOff
    }
    if (now < retryAt) return false
    retryAt = now + (1 + Math.min(2 ** misses++, maxBeatsToSkip)) * beatMillis
    return true
  }

  /** Rejoins the network when no contact is left, and finds our place in it after it was lost. */
  const reconnect = Effect.gen(function*() {
    const witness = yield* routing.freshest
    if (Option.isSome(witness) && (yield* isAlive(witness.value))) {
      if (!isCutOff) return
      yield* bootstrap.joinContacts([witness.value])
    } else {
      isCutOff = true
      if (!(yield* bootstrap.rejoin)) return
    }
    isCutOff = false
    yield* replication.reconnected
  }).pipe(spanned("Maintenance.reconnect"))

  /**
   * Asks a neighbour for our own id. If another node runs under it, the
   * response may name that node, which is how the two discover each other.
   */
  const lookAtOurselves = Effect.gen(function*() {
    const [neighbour] = yield* routing.nearest(identity.nodeId, 1)
    if (neighbour === undefined) return
    yield* Effect.ignore(rpc.request(neighbour, { _tag: "FindNode", target: identity.nodeId }, requestOptions()))
  }).pipe(spanned("Maintenance.lookAtOurselves"))

  const refill = Effect.fnUntraced(function*(bucket: number) {
    const before = routing.bucketUnsafe(bucket)
    const target = NodeId.inBucket(identity.nodeId, bucket, yield* random.randomBytes(NodeId.length))
    const closest = yield* Effect.timeoutOption(query.refresh(target), refillMillis)
    return routing.refilledUnsafe(before, Option.getOrElse(closest, () => []), yield* Clock.currentTimeMillis)
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
  }, spanned("Maintenance.refill"))

  const beat = Effect.gen(function*() {
    const isPassive = yield* Ref.get(settings.passive)
    // Joining fills the table, and finds the network if it can.
    const isJoining = bootstrap.isJoiningUnsafe()
    const now = yield* Clock.currentTimeMillis
    const toRefill = routing.maintainUnsafe(isPassive || isJoining, now)
    if (isPassive || isJoining) return
    // A clock that was set back must not postpone them.
    visitAt = Math.min(visitAt, now + visitMillis)
    askAt = Math.min(askAt, now + unaskedMillis)
    const due: Array<Effect.Effect<void>> = []
    if (toRefill.length > 0) due.push(refillAll(toRefill))
    else if (now >= askAt) due.push(lookAtOurselves)
    if (due.length > 0) askAt = now + unaskedMillis
    if (isLost(routing.heardAtUnsafe(), now)) {
      due.push(reconnect)
    } else if (now >= visitAt) {
      visitAt = now + visitMillis
      due.push(bootstrap.revisit)
    }
    yield* Effect.all(due, { concurrency: "unbounded", discard: true })
  })

  /** Waits for the first beat that may have something to do. */
  const untilDue = Effect.gen(function*() {
    const isPassive = yield* Ref.get(settings.passive)
    const now = yield* Clock.currentTimeMillis
    const next = Math.min(Math.max(routing.heardAtUnsafe() + lonelyMillis, retryAt), visitAt, askAt)
    yield* routing.untilDue(isPassive, isPassive ? passiveMillis : next - now)
  })

  yield* beat.pipe(
    Effect.catchCause((cause) => Effect.logWarning("A beat of maintenance failed", cause)),
    Effect.andThen(untilDue),
    Effect.repeat(Schedule.windowed(beatMillis)),
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
  | Replication
  | Routing.Routing
  | Rpc.Rpc
  | SecureRandom.SecureRandom
> = Layer.effectDiscard(make)
