/**
 * The records of a key as they come and go: told by the nodes that hold them
 * where these can, asked for where not.
 *
 * @since 0.1.0
 */
import * as Bytes from "effect/Bytes"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { RecordMerge } from "./internal/recordMerge.ts"
import type { NodeId } from "./NodeId.ts"
import { type Completeness, Query } from "./Query.ts"
import type { SignedRecord } from "./Record.ts"
import { Store } from "./Store.ts"
import { WatchedKeys } from "./WatchedKeys.ts"
import { isStanding } from "./Withdrawal.ts"

/**
 * The live records of a key that were not withdrawn, and how complete they were
 * when the holders were last asked; all zeros before they have answered.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  readonly records: ReadonlyArray<SignedRecord>
  readonly completeness: Completeness
}

/**
 * Streams of what is stored at a key.
 *
 * @category services
 * @since 0.1.0
 */
export class Watch extends Context.Service<Watch, {
  /**
   * The records of a key and type (0: any), now and whenever they change, until
   * the stream ends. A slow reader misses versions, never the last.
   */
  readonly records: (key: NodeId, type: number) => Stream.Stream<Snapshot>
}>()("effect-dht/Watch") {}

/** Pause before the holders are asked again, right after something changed. */
const minPauseMillis = 5000

/** The longest pause: a subscription lasts a minute, and has to be renewed before. */
const maxPauseMillis = 50_000

const make = Effect.gen(function*() {
  const query = yield* Query
  const watchedKeys = yield* WatchedKeys
  const store = yield* Store

  const records: Watch["Service"]["records"] = (key, type) =>
    Stream.callback((queue) =>
      Effect.gen(function*() {
        const known = new RecordMerge()
        let shown: ReadonlyArray<SignedRecord> | undefined
        let completeness: Completeness = { answered: 0, holders: 0, seen: 0, held: 0 }

        const live = Effect.map(Clock.currentTimeMillis, (millis) => known.live(Math.floor(millis / 1000)))

        /** Takes what is new, and shows all if that makes a difference. */
        const learn = (learned: ReadonlyArray<SignedRecord>) =>
          Effect.gen(function*() {
            for (const record of learned) if (type === 0 || record.type === type) known.put(record)
            const standing = (yield* live).filter(isStanding)
            if (shown !== undefined && sameRecords(shown, standing)) return false
            shown = standing
            Queue.offerUnsafe(queue, { records: standing, completeness })
            return true
          })

        const pushed = yield* Queue.dropping<SignedRecord>(maxPushed)
        yield* watchedKeys.watch(key, (record) => Queue.offerUnsafe(pushed, record))
        yield* Queue.takeAll(pushed).pipe(Effect.flatMap(learn), Effect.forever, Effect.forkScoped)

        // What is stored here was not pushed: who stores it is not told.
        yield* store.changes.pipe(
          Stream.filter((change) => change.key === key),
          Stream.runForEach(({ record }) => learn([record])),
          // The node is closed.
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

  return Watch.of({ records })
})

/** Pushed records that wait to be looked at. */
const maxPushed = 100

const sameRecords = (a: ReadonlyArray<SignedRecord>, b: ReadonlyArray<SignedRecord>): boolean =>
  a.length === b.length && a.every((record, i) => isSame(record, b[i]))

/** Nobody signs the same twice but for the same record. */
const isSame = (a: SignedRecord, b: SignedRecord): boolean => Bytes.Equivalence(a.signature, b.signature)

/**
 * Watching by lookups and subscriptions of this node.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<Watch, never, Query | WatchedKeys | Store> = Layer.effect(Watch, make)
