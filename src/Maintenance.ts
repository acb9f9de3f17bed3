/**
 * What keeps a node's view of the network alive while nobody asks it anything:
 * a heartbeat that probes contacts nobody has confirmed or that fell silent,
 * fills up thin buckets, joins again when everybody is lost, and looks after
 * the addresses that it once joined through. All of it is bounded per beat, and
 * none of it delays an answer.
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
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import { Bootstrap } from "./Bootstrap.ts"
import type { Contact } from "./Contact.ts"
import { NodeIdentity } from "./Identity.ts"
import { freshMillis, heartbeatLimits } from "./internal/routingTable.ts"
import * as NodeId from "./NodeId.ts"
import { NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Query } from "./Query.ts"
import type * as Request from "./Request.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"

/** Time between two beats. */
const beatInterval = "15 seconds"

/** An unverified contact that was not confirmed for so long is probed, and evicted if it is silent. */
const staleMillis = 10 * 60_000

/** A contact that was silent for so long is probed while it still counts as fresh. */
const quietMillis = 25 * 60_000

/** Where nobody was heard from in this time, the network may be lost. */
const lonelyMillis = 5 * 60_000

/** A node that is alone looks for the others every five minutes at least. */
const maxBeatsLeft = 19

/** Addresses at which nobody is known are tried every ten minutes. */
const beatsBetweenVisits = 40

/** Where no refill was due for twenty minutes, a neighbour is asked where we are. */
const maxBeatsWithoutRefill = 80

/** What a refill is given. */
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

  /** Ends what is asked, by what forgets it. */
  const asking = new Set<() => void>()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const forget of asking) forget()
    })
  )

  /** Tells whether a contact answers. That it does is known to the table by then. */
  const probe = (contact: Contact, done: (isAlive: boolean) => void): void => {
    let forget: (() => void) | undefined = undefined
    let isOver = false
    forget = rpc.requestUnsafe(contact, ping, requestOptions(), (result) => {
      isOver = true
      if (forget !== undefined) asking.delete(forget)
      done(Result.isSuccess(result))
    })
    // What could not even be sent is over already.
    if (!isOver) asking.add(forget)
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

  /** Who was silent, while it is asked whether nobody else answers either. */
  const suspects = new Set<NodeId.NodeId>()

  /** While nobody else answers, the silence is not the contact's. */
  const probeQuiet = (contact: Contact): void =>
    probe(contact, (isAlive) => {
      const witness = routing.core.freshest()
      if (isAlive || witness === undefined || witness.id === contact.id) return
      suspects.add(contact.id)
      // One witness speaks for all of them.
      if (suspects.size > 1) return
      probe(witness, (isAlive) => {
        if (isAlive) { for (const id of suspects) if (id !== witness.id) routing.core.remove(id) }
        suspects.clear()
      })
    })

  const isAlive = (contact: Contact) =>
    Effect.match(rpc.request(contact, ping, requestOptions()), { onFailure: () => false, onSuccess: () => true })

  /** How often in a row nobody was found, and the beats to let pass before the next try. */
  let misses = 0
  let beatsLeft = 0

  let beats = 0
  let beatsWithoutRefill = 0

  /** Whether it is time to look for the others, as nobody was heard from for long. */
  const isLost = (now: number): boolean => {
    if (routing.core.hasVerified(now - lonelyMillis)) {
      misses = beatsLeft = 0
      return false
    }
    if (beatsLeft-- > 0) return false
    beatsLeft = Math.min(2 ** misses++, maxBeatsLeft)
    return true
  }

  /** Finds back to the network when nobody we know is there any more. */
  const reconnect = Effect.gen(function*() {
    const witness = routing.core.freshest()
    if (witness === undefined || !(yield* isAlive(witness))) yield* bootstrap.rejoin
  }).pipe(Effect.withSpan("Maintenance.reconnect"))

  /**
   * Asks a neighbour for our own id. Where another node runs under it as well,
   * the answer may name that one, which is how the two get to know.
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
    for (const contact of routing.core.quiet(now, now - quietMillis, probesLeft)) probeQuiet(contact)
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
    // Nodes that started together must not all beat together.
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
