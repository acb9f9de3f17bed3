/**
 * A node with one of its services replaced: its store counts the records that it
 * receives, and is otherwise the usual one. Everything above uses it, such as
 * the answers to requests of peers.
 *
 *     npm run example examples/counting-store.ts
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Dht, Store } from "effect-dht"
import { DhtLive } from "effect-dht/node"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

/** Records that were stored. */
interface Counts {
  own: number
  ofPeers: number
}

const countingStore = (counts: Counts) =>
  Layer.effect(
    Store.Store,
    Effect.map(Store.Store, (store) =>
      Store.Store.of({
        ...store,
        put: (key, record) => Effect.tap(store.put(key, record), () => Effect.sync(() => counts.own++)),
        admitUnsafe: (key, record, now, network) => {
          const admission = store.admitUnsafe(key, record, now, network)
          if (admission._tag === "Stored") counts.ofPeers++
          return admission
        }
      }))
  ).pipe(
    Layer.provide(Dht.layerStore())
  )

const listen = { host: "127.0.0.1", port: 0 }

const program = Effect.gen(function*() {
  const counts: Counts = { own: 0, ofPeers: 0 }
  const start = (services?: Dht.Replacements) =>
    Layer.build(Layer.fresh(DhtLive({ listen, services }))).pipe(
      Effect.flatMap((node) => Effect.provideContext(Effect.service(Dht.Dht), node))
    )
  const counting = yield* start({ store: countingStore(counts) })
  const other = yield* start()
  yield* other.bootstrap([counting.localAddress])

  yield* counting.publishProfile({ name: "Ann" })
  const published = yield* other.publishTopic({ topic: "translate", name: "Ben" })
  yield* published.replicas(1, { within: "10 seconds" })
  yield* Console.log(`${counts.own} record of its own, ${counts.ofPeers} of a peer`)
})

program.pipe(Effect.scoped, NodeRuntime.runMain)
