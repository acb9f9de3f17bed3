/** A world whose users read what they publish, and watch offers, while the network splits. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Dht } from "../../src/Dht.ts"
import * as NodeId from "../../src/NodeId.ts"
import { Query } from "../../src/Query.ts"
import * as Record from "../../src/Record.ts"
import * as History from "../../src/testing/History.ts"
import { type DhtNode, leaveAll, standIn } from "./nodes.ts"
import { type Outcome, runProgram } from "./run.ts"

const topic = "bread"
const key = NodeId.fromTopic(topic)

/** Publishes an offer, and reads the topic. Another node watches the topic. */
export const histories = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const history = History.make(world)
      const nodes = yield* world.startNodes(8, { app: safety.probe })
      const [, baker, miller, , , , , watcher] = nodes
      const publish = (node: DhtNode, name: string) =>
        history.write(node, node.run(Dht.use((dht) => dht.publishTopic({ topic, name, ttl: 3600 }))))
      const read = (node: DhtNode) =>
        history.read(
          node,
          key,
          Record.RecordType.topic,
          node.run(Query.use((query) => query.aggregateRecords(key, Record.RecordType.topic)))
        )
      yield* watcher.run(Effect.forkScoped(
        Stream.runForEach(
          Stream.unwrap(Dht.use((dht) => Effect.succeed(dht.watchTopic(topic)))),
          (change) => Effect.sync(() => history.changed(watcher, topic, change))
        )
      ))
      yield* publish(baker, "rye")
      yield* read(baker)
      yield* publish(miller, "flour")
      yield* Effect.sleep("1 minute")

      // Apart from all others, the baker reads its own newer offer, and holders elsewhere keep the older one.
      world.network.partition([baker.host])
      yield* publish(baker, "spelt")
      yield* read(baker)
      yield* Effect.sleep("2 minutes")
      world.network.heal()
      yield* Effect.sleep("2 minutes")
      yield* read(baker)

      const withdrawn = yield* publish(miller, "bran")
      yield* read(miller)
      yield* Effect.sleep("1 minute")
      yield* history.withdraw(miller, key, miller.run(Dht.use((dht) => dht.withdraw(withdrawn))))
      yield* Effect.sleep("3 minutes")
      history.settled(watcher, topic, yield* read(watcher))
      yield* leaveAll(nodes)
      return history.violations
    }),
    standIn
  )
