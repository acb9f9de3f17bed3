/**
 * What keeps a node's view of the network alive while nobody asks it anything:
 * a heartbeat that probes contacts nobody has confirmed or that fell silent,
 * fills up thin buckets, and joins again when everybody is lost. All of it is
 * bounded per beat, and none of it delays an answer.
 *
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
import { freshMillis, heartbeatLimits, presentMillis } from "./internal/routingTable.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import { Query } from "./Query.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"

/** Time between two beats. */
const beatInterval = "15 seconds"

/** Hearsay that nobody confirmed for so long is probed, and goes if it is silent. */
const staleMillis = 10 * 60_000

/** A contact that was silent for so long is probed while it still counts as fresh. */
const quietMillis = 25 * 60_000

/** Where nobody was heard from in this time, the network may be lost. */
const lonelyMillis = 5 * 60_000

/** A node that is alone looks for the others every five minutes at least. */
const maxBeatsLeft = 19

/** What a refill is given. */
const refillMillis = 15_000

const make = Effect.gen(function*() {
  const bootstrap = yield* Bootstrap
  const identity = yield* NodeIdentity
  const query = yield* Query
  const random = yield* SecureRandom.SecureRandom
  const routing = yield* Routing.Routing
  const rpc = yield* Rpc.Rpc
  const settings = yield* NodeSettings

  /** Whether a contact answers. That it does is known to the table by then. */
  const isAlive = (contact: Contact) =>
    rpc.request(
      contact,
      { _tag: "Ping", address: identity.address },
      { ...Rpc.probePatience, maintenance: true }
    ).pipe(Effect.match({ onFailure: () => false, onSuccess: () => true }))

  const probePending = Effect.fnUntraced(function*(contact: Contact) {
    const alive = yield* isAlive(contact)
    const now = yield* Clock.currentTimeMillis
    if (!alive) return routing.core.pendingFailed(contact.id)
    const outcome = routing.core.pendingVerified(contact.id, now, now)
    if (outcome._tag === "Probe") routing.core.probed(outcome.oldest.id, yield* isAlive(outcome.oldest), now)
  })

  const probeStale = Effect.fnUntraced(function*(contact: Contact) {
    if (!(yield* isAlive(contact))) routing.core.remove(contact.id)
  })

  /** While nobody else answers either, the silence is not the contact's. */
  const probeQuiet = Effect.fnUntraced(function*(contact: Contact) {
    if (yield* isAlive(contact)) return
    const witness = routing.core.freshest()
    if (witness !== undefined && witness.id !== contact.id && (yield* isAlive(witness))) routing.core.remove(contact.id)
  })

  /** How often in a row nobody was found, and the beats to let pass before the next try. */
  let misses = 0
  let beatsLeft = 0

  /** Finds back to the network when nobody we know is there any more. */
  const reconnect = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    if (routing.core.countVerified(now - lonelyMillis) > 0) {
      misses = beatsLeft = 0
      return
    }
    if (beatsLeft-- > 0) return
    beatsLeft = Math.min(2 ** misses++, maxBeatsLeft)
    const witness = routing.core.freshest()
    if (witness === undefined || !(yield* isAlive(witness))) yield* bootstrap.rejoin
  })

  const refill = Effect.fnUntraced(function*(bucket: number) {
    const known = () => routing.core.bucketLength(bucket) + routing.core.pendingLength(bucket)
    const before = known()
    const target = NodeId.inBucket(identity.nodeId, bucket, yield* random.randomBytes(NodeId.length))
    const closest = yield* Effect.timeoutOption(query.findNode(target), refillMillis)
    routing.core.recordRefill(bucket, known() > before)
    return routing.core.lookedUp(bucket, Option.getOrElse(closest, () => []), yield* Clock.currentTimeMillis)
  })

  /** One after the other, because one may bring what the next would. */
  const refillAll = Effect.fnUntraced(function*(buckets: ReadonlyArray<number>) {
    const covered = new Set<number>()
    const started = yield* Clock.currentTimeMillis
    // The deepest comes last.
    for (const bucket of buckets.toReversed()) {
      if ((yield* Clock.currentTimeMillis) - started >= refillMillis) return
      if (covered.has(bucket)) continue
      for (const other of yield* refill(bucket)) covered.add(other)
    }
  })

  const beat = Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const passive = yield* Ref.get(settings.passive)
    const limits = passive ? { ...heartbeatLimits, refills: 0 } : heartbeatLimits
    const work = routing.core.maintenance(now, now - freshMillis, now - staleMillis, limits)
    // Who would find no place need not be asked whether it is there.
    const pending = work.pendingToProbe.filter(({ id }) => !routing.core.isTaken(id, now - presentMillis))
    const quiet = passive
      ? []
      : routing.core.quiet(now, now - quietMillis, limits.staleProbes - work.staleToProbe.length)
    yield* Effect.all([
      passive ? Effect.void : reconnect,
      Effect.forEach(pending, probePending, { concurrency: "unbounded", discard: true }),
      Effect.forEach(work.staleToProbe, probeStale, { concurrency: "unbounded", discard: true }),
      Effect.forEach(quiet, probeQuiet, { concurrency: "unbounded", discard: true }),
      refillAll(work.bucketsToRefill)
    ], { concurrency: "unbounded", discard: true })
  })

  yield* beat.pipe(
    Effect.withSpan("Upkeep.beat"),
    Effect.catchCause((cause) => Effect.logWarning("A beat of upkeep failed", cause)),
    Effect.repeat(Schedule.fixed(beatInterval)),
    // Nodes that started together must not all beat together.
    Effect.delay((5 + 10 * (yield* Random.next)) * 1000),
    Effect.annotateLogs({ module: "effect-dht/Upkeep", fiber: "Heartbeat" }),
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
  Bootstrap | NodeIdentity | NodeSettings | Query | Routing.Routing | Rpc.Rpc | SecureRandom.SecureRandom
> = Layer.effectDiscard(make)
