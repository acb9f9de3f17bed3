/**
 * Watches the records of a key: pushed by holders that support it, and
 * otherwise looked up repeatedly.
 *
 * @module
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { RecordMerge } from "./core/recordMerge.ts"
import { DelegationChecks } from "./DelegationChecks.ts"
import { Allowance } from "./internal/rateLimit.ts"
import type { NodeId } from "./NodeId.ts"
import { type Completeness, Query } from "./Query.ts"
import type { SignedRecord } from "./Record.ts"
import { Store } from "./Store.ts"
import { isStanding } from "./Withdrawal.ts"

/**
 * The live, not withdrawn records of a key, and how complete they were when the
 * holders were last asked; all zeros before they have answered.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  readonly records: ReadonlyArray<SignedRecord>
  readonly completeness: Completeness
}

/**
 * Streams of the records at a key, and the delivery of records pushed for them.
 *
 * @category services
 * @since 0.1.0
 */
export class Watch extends Context.Service<Watch, {
  /**
   * Streams the records of a key and type (0: any), now and at each change,
   * until the stream ends. A slow reader misses versions, but never the latest.
   */
  readonly records: (key: NodeId, type: number) => Stream.Stream<Snapshot>
  /**
   * Delivers a record that a peer of `network` pushed to the watches of its key.
   * Calls `delivered` once, now or later, if the key is watched and the record is
   * valid there at `now`, in Unix milliseconds; never if the network has pushed
   * too many: the next lookup finds them. For code that runs once per packet.
   */
  readonly deliverUnsafe: (
    key: NodeId,
    record: SignedRecord,
    network: string,
    now: number,
    delivered: () => void
  ) => void
}>()("effect-dht/Watch") {}

/** Records that peers may push in a second: each is checked as a stored one is. */
const pushAllowance = { perSource: 64, inAll: 256, windowMillis: 1000 }

/** Milliseconds before the holders are asked again after a change. */
const minPauseMillis = 5000

/** The longest pause in milliseconds: a subscription lasts a minute and must be renewed before. */
const maxPauseMillis = 50_000

/**
 * The service in the caller's scope; {@link layer} has a scope of its own.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const query = yield* Query
  const store = yield* Store
  const checks = yield* DelegationChecks
  const pushes = new Allowance(pushAllowance)
  /** Queues of the records pushed for each watched key. */
  const watches = new Map<NodeId, Set<Queue.Queue<SignedRecord>>>()

  /** A queue of the records pushed for a key until the scope closes. */
  const pushedTo = (key: NodeId) =>
    Effect.acquireRelease(
      Effect.tap(Queue.dropping<SignedRecord>(maxPushed), (queue) =>
        Effect.sync(() => {
          const queues = watches.get(key)
          if (queues === undefined) watches.set(key, new Set([queue]))
          else queues.add(queue)
        })),
      (queue) =>
        Effect.sync(() => {
          const queues = watches.get(key)
          queues?.delete(queue)
          if (queues?.size === 0) watches.delete(key)
        })
    )

  const deliverUnsafe: Watch["Service"]["deliverUnsafe"] = (key, record, network, now, delivered) => {
    if (!watches.has(key) || !pushes.allow(network, now)) return
    checks.prepareUnsafe([record], { network, isAwaited: false }, ([ready]) => {
      const queues = watches.get(key)
      if (queues === undefined || ready === undefined) return
      if (Result.isFailure(store.vet(key, record, Math.floor(now / 1000)))) return
      for (const queue of queues) Queue.offerUnsafe(queue, record)
      delivered()
    })
  }

  const records: Watch["Service"]["records"] = (key, type) =>
    Stream.callback((queue) =>
      Effect.gen(function*() {
        const known = new RecordMerge()
        let shown: ReadonlyArray<SignedRecord> | undefined
        let completeness: Completeness = { answered: 0, holders: 0, seen: 0, held: 0 }

        const live = Effect.map(Clock.currentTimeMillis, (millis) => known.live(Math.floor(millis / 1000)))

        /** Merges records, and emits the set if it has changed. */
        const learn = (learned: ReadonlyArray<SignedRecord>) =>
          Effect.gen(function*() {
            for (const record of learned) if (type === 0 || record.type === type) known.put(record)
            const standing = (yield* live).filter(isStanding)
            if (shown !== undefined && sameRecords(shown, standing)) return false
            shown = standing
            Queue.offerUnsafe(queue, { records: standing, completeness })
            return true
          })

        const pushed = yield* pushedTo(key)
        yield* Queue.takeAll(pushed).pipe(Effect.flatMap(learn), Effect.forever, Effect.forkScoped)

        // A record stored here was not pushed to us: this node is its holder.
        yield* store.changes.pipe(
          Stream.filter((change) => change.key === key),
          Stream.runForEach(({ record }) => learn([record])),
          // The store's stream of changes ends when the node closes.
          Effect.andThen(Queue.end(queue)),
          Effect.forkScoped
        )

        let pause = minPauseMillis
        while (true) {
          const result = yield* query.lookup(key, { type, subscribe: true, known: yield* live })
          completeness = result.completeness
          const changed = yield* learn(result.records)
          pause = changed ? minPauseMillis : Math.min(pause * 2, maxPauseMillis)
          yield* Effect.sleep(pause)
        }
      }), { bufferSize: 1, strategy: "sliding" })

  return Watch.of({ records, deliverUnsafe })
})

/** Maximum number of pushed records in the queue. */
const maxPushed = 100

const sameRecords = (a: ReadonlyArray<SignedRecord>, b: ReadonlyArray<SignedRecord>): boolean =>
  a.length === b.length && a.every((record, i) => isSame(record, b[i]))

/** Equal signatures mean equal records. */
const isSame = (a: SignedRecord, b: SignedRecord): boolean => Bytes.Equivalence(a.signature, b.signature)

/**
 * Watches by lookups and subscriptions of this node.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Watch, never, DelegationChecks | Query | Store> = Layer.effect(Watch, make)
