import { assert, describe, it } from "@effect/vitest"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { Dht } from "../../src/Dht.ts"
import * as NodeId from "../../src/NodeId.ts"
import { Query } from "../../src/Query.ts"
import * as Record from "../../src/Record.ts"
import * as History from "../../src/testing/History.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"

const topic = "bread"
const key = NodeId.fromTopic(topic)
const { topic: type } = Record.RecordType

type Node = SimWorld.SimNode<SimWorld.NodeServices, unknown>

const publish = (node: Node, name: string, ttl = 3600) =>
  node.run(Dht.use((dht) => dht.publishTopic({ topic, name, ttl })))

const run = <A>(program: (world: SimWorld.World) => Effect.Effect<A, unknown>): A =>
  SimWorld.runSync(Effect.flatMap(SimWorld.SimWorld, program), { seed: 1, crypto: SimCrypto.simulated })

/** The properties that the history of a program violates, with what was read. */
const violated = (
  program: (
    given: { readonly world: SimWorld.World; readonly history: History.History; readonly nodes: ReadonlyArray<Node> }
  ) => Effect.Effect<unknown, unknown>
) =>
  run((world) =>
    Effect.gen(function*() {
      const history = History.make(world)
      const nodes = yield* world.startNodes(3)
      yield* program({ world, history, nodes })
      return history.violations.map(({ facts, node, property }) => [property, node, facts.read ?? facts.change])
    })
  )

describe("History", () => {
  describe("a read on the node that wrote", () => {
    const read = (history: History.History, node: Node, records: ReadonlyArray<Record.SignedRecord>) =>
      history.read(node, key, type, Effect.succeed(records))

    it("returns the record or a newer one", () => {
      const found = violated(({ history, nodes: [node] }) =>
        Effect.gen(function*() {
          const first = yield* history.write(node, publish(node, "rye"))
          yield* read(history, node, [first.record])
          const second = yield* history.write(node, publish(node, "spelt"))
          yield* read(history, node, [second.record])
          yield* read(history, node, [first.record])
          yield* history.read(node, key, type, Effect.fail("no answer"))
        })
      )
      assert.deepStrictEqual(found.map(([property, node]) => [property, node]), [
        ["WritesAreRead", "node 0"],
        ["WritesAreRead", "node 0"]
      ])
      assert.match(String(found[0][2]), /^seq \d+ of \d+$/)
      assert.strictEqual(found[1][2], "nothing")
    })

    it("is not bound once the record expired or is withdrawn, the node was down, or its clock was set", () => {
      const after = (
        what: (world: SimWorld.World, history: History.History, node: Node) => Effect.Effect<unknown, unknown>
      ) =>
        violated(({ history, nodes: [node], world }) =>
          Effect.gen(function*() {
            yield* history.write(node, publish(node, "rye", 600))
            yield* what(world, history, node)
            yield* read(history, node, [])
          })
        )
      assert.deepStrictEqual(after(() => Effect.sleep("601 seconds")), [])
      assert.deepStrictEqual(after((_, history, node) => history.withdraw(node, key, Effect.void)), [])
      const overtaken = violated(({ history, nodes: [node] }) =>
        Effect.gen(function*() {
          const withdrawing = Effect.delay(history.withdraw(node, key, Effect.void), 1)
          const writing = history.write(node, Effect.delay(publish(node, "rye"), 2))
          yield* Effect.all([writing, withdrawing], { concurrency: 2 })
          yield* read(history, node, [])
        })
      )
      assert.deepStrictEqual(overtaken, [])
      assert.deepStrictEqual(after((_, __, node) => Effect.andThen(node.crash(), node.start)), [])
      assert.deepStrictEqual(after((_, __, node) => node.setClock("1 hour")), [])
      assert.deepStrictEqual(after(() => Effect.sleep("599 seconds")), [["WritesAreRead", "node 0", "nothing"]])
    })

    it("is bound until the record expires by the clock of the node", () => {
      const readAfter = (ahead: Duration.Input, wait: Duration.Input) =>
        violated(({ history, nodes: [node] }) =>
          Effect.gen(function*() {
            yield* node.setClock(ahead)
            yield* history.write(node, publish(node, "rye", 600))
            yield* Effect.sleep(wait)
            yield* history.read(
              node,
              key,
              type,
              node.run(Query.use((query) => query.aggregateRecords(key, type)))
            )
            yield* read(history, node, [])
          })
        )
      for (const ahead of ["1 hour", "-1 hour"] as const) {
        assert.deepStrictEqual(readAfter(ahead, "590 seconds"), [["WritesAreRead", "node 0", "nothing"]])
        assert.deepStrictEqual(readAfter(ahead, "601 seconds"), [])
      }
    })

    it("is not bound if it began before the write ended, also at the same instant, or runs on another node", () => {
      const found = violated(({ history, nodes: [node, other] }) =>
        Effect.gen(function*() {
          const publication = yield* publish(node, "oats")
          const reading = yield* Effect.forkChild(history.read(node, key, type, Effect.as(Effect.yieldNow, [])), {
            startImmediately: true
          })
          yield* history.write(node, Effect.succeed(publication))
          yield* Fiber.join(reading)
          const began = yield* Effect.forkChild(
            history.read(node, key, type, Effect.delay(Effect.succeed([]), "1 minute"))
          )
          yield* Effect.sleep("1 second")
          yield* history.write(node, publish(node, "rye"))
          yield* Effect.sleep("2 minutes")
          yield* read(history, other, [])
          assert.isDefined(began.pollUnsafe())
        })
      )
      assert.deepStrictEqual(found, [])
    })
  })

  describe("the changes of a watch", () => {
    it("follow from each other, with newer records", () => {
      const found = violated(({ history, nodes: [node] }) =>
        Effect.gen(function*() {
          const { record: first } = yield* publish(node, "rye")
          const { record: second } = yield* publish(node, "spelt")
          const changed = (_tag: History.Change["_tag"], record: Record.SignedRecord) =>
            history.changed(node, topic, { _tag, offer: { record } })
          changed("Appeared", first)
          changed("Changed", second)
          history.settled(node, topic, [second])
          changed("Gone", second)
          history.settled(node, topic, [])
          changed("Changed", first)
          changed("Appeared", second)
          changed("Changed", first)
          changed("Appeared", second)
          history.settled(node, topic, [])
        })
      )
      assert.deepStrictEqual(found, [
        ["WatchesAreDifferences", "node 0", "Changed"],
        ["WatchesAreDifferences", "node 0", "Appeared"],
        ["WatchesAreDifferences", "node 0", "Changed"],
        ["WatchesAreDifferences", "node 0", "Appeared"],
        ["WatchesAreDifferences", "node 0", ""]
      ])
    })
  })

  it("does not order the reads of one node: a later one can return an older record", () => {
    const seen = run((world) =>
      Effect.gen(function*() {
        const nodes = yield* world.startNodes(30)
        const [publisher, ...others] = nodes.toSorted((a, b) =>
          NodeId.compareDistance(key, a.identity.nodeId, b.identity.nodeId)
        )
        const reader = others[others.length - 1]
        const near = [publisher, ...others.filter((_, i) => i % 2 === 0 && i < 24)]
        const read = reader.run(Query.use((query) => query.aggregateRecords(key, type)))
        const hosts = (group: ReadonlyArray<Node>) => group.map(({ host }) => host)
        yield* publish(publisher, "rye")
        yield* Effect.sleep("10 seconds")
        world.network.partition(hosts([...near, reader]))
        const { record: newer } = yield* publish(publisher, "spelt")
        const [first] = yield* read
        world.network.partition(hosts(near))
        const [second] = yield* read
        return [first.seq === newer.seq, second.seq < first.seq]
      })
    )
    assert.deepStrictEqual(seen, [true, true])
  })
})
