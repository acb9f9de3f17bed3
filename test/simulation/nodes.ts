/** Nodes of worlds, and common steps with them. */
import * as Effect from "effect/Effect"
import { Dht } from "../../src/Dht.ts"
import * as NodeCrypto from "../../src/node/NodeCrypto.ts"
import type * as NodeId from "../../src/NodeId.ts"
import { Query } from "../../src/Query.ts"
import { Store } from "../../src/Store.ts"
import { type Facts, type Property, Violation } from "../../src/testing/Properties.ts"
import type * as Liveness from "../../src/testing/PropertiesLiveness.ts"
import * as SimCrypto from "../../src/testing/SimCrypto.ts"
import type * as SimWorld from "../../src/testing/SimWorld.ts"

export type DhtNode = SimWorld.SimNode<SimWorld.NodeServices, unknown>

export const realSignatures = { seed: 1, crypto: NodeCrypto.fastest, within: "2 days" } as const
export const standIn = { seed: 1, crypto: SimCrypto.simulated, within: "2 days" } as const

/** The violations that a world itself finds, and how it reports one now. */
export const violationsOf = ({ seed, timeline }: SimWorld.World) => {
  const found: Array<Violation> = []
  const report = (property: Property, node: string, facts: Facts): void => {
    const { elapsedMillis: atMillis, scheduleSeed } = timeline
    found.push(new Violation({ property, node, atMillis, facts, seed, scheduleSeed }))
  }
  return { found, report }
}

export const announce = (node: DhtNode, n: number, ttl = 1200) =>
  Effect.map(
    node.run(Effect.flatMap(
      Dht.use((dht) => dht.announceEndpoint({ endpoints: [`tcp://192.0.2.1:${n}`], ttl })),
      ({ current }) => current
    )),
    ({ key, record }): Liveness.Announced => ({ publisher: node.name, key, record })
  )

/** The newest version of each node's endpoint record, from its own store. */
export const newest = (nodes: ReadonlyArray<DhtNode>) =>
  Effect.map(
    Effect.forEach(nodes, (node) =>
      Effect.map(
        node.run(Store.use((store) => store.get(node.identity.nodeId))),
        (record): ReadonlyArray<Liveness.Announced> =>
          record === undefined ? [] : [{ publisher: node.name, key: node.identity.nodeId, record }]
      )),
    (announced) => announced.flat()
  )

/** Every node looks up all records at a key, which checks the properties of the results. */
export const everybodyLooks = (nodes: ReadonlyArray<DhtNode>, key: NodeId.NodeId, type = 0) =>
  Effect.forEach(
    nodes,
    (node) => Effect.ignore(node.run(Query.use((query) => query.aggregateRecords(key, type)))),
    { concurrency: 4, discard: true }
  )

export const leaveAll = Effect.fnUntraced(function*(nodes: ReadonlyArray<SimWorld.SimNode<never, unknown>>) {
  yield* Effect.forEach(nodes, (node) => node.leave, { discard: true })
  yield* Effect.sleep("10 seconds")
})
