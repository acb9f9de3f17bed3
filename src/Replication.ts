/**
 * Copies of our records where the network looks for them: on the nodes closest
 * to each record's key.
 *
 * One job per slot of a record. A newer record of the slot takes over the job
 * that runs; the older one is of no use to anybody any more.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberMap from "effect/FiberMap"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import type { Address } from "./Address.ts"
import type { Contact } from "./Contact.ts"
import { slotOf } from "./internal/recordSet.ts"
import type { NodeId } from "./NodeId.ts"
import { isHairpin, NodeSettings } from "./NodeSettings.ts"
import * as PeerHealth from "./PeerHealth.ts"
import { Query } from "./Query.ts"
import * as Record from "./Record.ts"
import * as Routing from "./Routing.ts"
import * as Rpc from "./Rpc.ts"

/**
 * How many nodes shall hold a copy.
 *
 * @category constants
 * @since 0.1.0
 */
export const replicas = 8

/** Nodes asked to hold a copy at most: Kademlia's K. */
const candidates = 16

/** What one node is given to take a copy. */
const storeDeadlineMillis = 5000

/**
 * Fewer nodes than asked for confirmed a copy in the time given.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotEnoughReplicas extends Data.TaggedError("NotEnoughReplicas")<{
  readonly key: NodeId
  readonly wanted: number
  readonly confirmed: ReadonlyArray<Contact>
}> {
  override get message() {
    return `${this.confirmed.length} of ${this.wanted} nodes hold a copy of the record at ${this.key}`
  }
}

/**
 * A record on its way into the network.
 *
 * @category models
 * @since 0.1.0
 */
export interface Publication {
  readonly key: NodeId
  readonly record: Record.SignedRecord
  /** The nodes that confirmed a copy so far. */
  readonly confirmed: Effect.Effect<ReadonlyArray<Contact>>
  /** Waits until `wanted` nodes hold a copy, or the round is over, or the time is up. */
  readonly replicas: (
    wanted: number,
    options: { readonly within: Duration.Input }
  ) => Effect.Effect<ReadonlyArray<Contact>, NotEnoughReplicas>
}

/**
 * @category services
 * @since 0.1.0
 */
export class Replication extends Context.Service<Replication, {
  /** Starts a round of copying and returns at once. */
  readonly replicate: (key: NodeId, record: Record.SignedRecord) => Effect.Effect<Publication>
  /** Stops caring for what an address published. Copies stay until they expire. */
  readonly forget: (publisher: Address) => Effect.Effect<void>
}>()("effect-dht/Replication") {}

/** Copies of one record, and who waits for them. */
interface Round {
  readonly publisher: Address
  readonly record: Record.SignedRecord
  readonly confirmed: Array<Contact>
  readonly waiting: Set<{ readonly wanted: number; readonly reached: Deferred.Deferred<void> }>
  readonly over: Deferred.Deferred<void>
}

const make = Effect.gen(function*() {
  const rpc = yield* Rpc.Rpc
  const query = yield* Query
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const settings = yield* NodeSettings
  const clock = yield* Clock.Clock
  const jobs = yield* FiberMap.make<string>()
  const rounds = new Map<string, Round>()

  /** Whether the peer holds the record, or a newer one of its slot, after this. */
  const storeAt = Effect.fnUntraced(function*(peer: Contact, key: NodeId, record: Record.SignedRecord) {
    const options = { deadline: storeDeadlineMillis }
    const { body } = yield* rpc.request(peer, { _tag: "Store", record, key }, options)
    if (body.stored) return true
    // The first protocol version also says false when it holds an equal or
    // newer record, so it is asked for it.
    const found = yield* rpc.request(
      peer,
      { _tag: "FindValue", target: key, recordType: record.type, subscribe: false },
      options
    )
    return Rpc.recordsOf(found.body).some((other) =>
      other.address === record.address && other.type === record.type && !Record.isNewer(record, other)
    )
  })

  const targets = Effect.fnUntraced(function*(key: NodeId) {
    const closest = (yield* Ref.get(settings.passive))
      ? routing.core.nearest(key, candidates)
      : yield* query.findNode(key)
    const publicHost = yield* Ref.get(settings.publicHost)
    const now = clock.currentTimeMillisUnsafe()
    return closest.filter((peer) => !isHairpin(peer, publicHost) && health.core.allowContact(peer.id, now))
  })

  const run = Effect.fn("Replication.round")(function*(key: NodeId, round: Round) {
    const peers = yield* targets(key)
    // One fiber for each copy; where a peer fails, its fiber asks the next closest.
    const untried = peers.values()
    const placeOne = Effect.gen(function*() {
      for (const peer of untried) {
        if (yield* Effect.orElseSucceed(storeAt(peer, key, round.record), () => false)) return confirm(round, peer)
      }
    })
    yield* Effect.all(Array.from({ length: replicas }, () => placeOne), { concurrency: "unbounded", discard: true })
    yield* Effect.annotateCurrentSpan({ "dht.key": key, "dht.replicas": round.confirmed.length })
  })

  const confirm = (round: Round, peer: Contact): void => {
    round.confirmed.push(peer)
    for (const waiter of round.waiting) {
      if (round.confirmed.length >= waiter.wanted) Deferred.doneUnsafe(waiter.reached, Effect.void)
    }
  }

  const replicate = Effect.fnUntraced(function*(key: NodeId, record: Record.SignedRecord) {
    const slot = `${key} ${slotOf(Record.category(record.type), record)}`
    const running = rounds.get(slot)
    if (running !== undefined && !Record.isNewer(record, running.record)) return publicationOf(key, running)
    const round: Round = {
      publisher: record.address,
      record,
      confirmed: [],
      waiting: new Set(),
      over: Deferred.makeUnsafe()
    }
    rounds.set(slot, round)
    yield* FiberMap.run(
      jobs,
      slot,
      run(key, round).pipe(
        Effect.catchCause((cause) => Effect.logWarning("Replication failed", cause)),
        Effect.annotateLogs({ module: "effect-dht/Replication", key }),
        Effect.ensuring(Effect.sync(() => {
          if (rounds.get(slot) === round) rounds.delete(slot)
          Deferred.doneUnsafe(round.over, Effect.void)
        }))
      )
    )
    return publicationOf(key, round)
  })

  const publicationOf = (key: NodeId, round: Round): Publication => ({
    key,
    record: round.record,
    confirmed: Effect.sync(() => round.confirmed.slice()),
    replicas: Effect.fnUntraced(function*(wanted, { within }) {
      const waiter = { wanted, reached: Deferred.makeUnsafe<void>() }
      round.waiting.add(waiter)
      if (round.confirmed.length < wanted) {
        yield* Effect.raceFirst(Deferred.await(waiter.reached), Deferred.await(round.over)).pipe(
          Effect.timeoutOption(within),
          Effect.ensuring(Effect.sync(() => round.waiting.delete(waiter)))
        )
      }
      const confirmed = round.confirmed.slice()
      return confirmed.length >= wanted
        ? confirmed
        : yield* new NotEnoughReplicas({ key, wanted, confirmed })
    })
  })

  const forget = (publisher: Address) =>
    Effect.suspend(() =>
      Effect.forEach(
        Array.from(rounds).filter(([, round]) => round.publisher === publisher),
        ([slot]) => FiberMap.remove(jobs, slot),
        { discard: true }
      )
    )

  return Replication.of({ replicate, forget })
})

/**
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<
  Replication,
  never,
  Rpc.Rpc | Query | Routing.Routing | PeerHealth.PeerHealth | NodeSettings
> = Layer.effect(Replication, make)
