import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as References from "effect/References"
import { fastest } from "../../src/node/NodeCrypto.ts"
import * as NodeId from "../../src/NodeId.ts"
import { Query } from "../../src/Query.ts"
import { Routing } from "../../src/Routing.ts"
import * as Nat from "../../src/testing/Nat.ts"
import * as SimWorld from "../../src/testing/SimWorld.ts"
import { wrong } from "./routers.ts"

const kinds = {
  fullCone: Nat.fullCone,
  restrictedCone: Nat.restrictedCone,
  portRestrictedCone: Nat.portRestrictedCone,
  symmetric: Nat.symmetric
}

type Node = Pick<SimWorld.SimNode<SimWorld.NodeServices>, "host" | "identity" | "run">

const run = (seed: number, loss: number, program: (world: SimWorld.World) => Effect.Effect<void, unknown>) =>
  SimWorld.runSync(
    SimWorld.SimWorld.use(program).pipe(Effect.provideService(References.MinimumLogLevel, "Error")),
    { seed, crypto: fastest, network: { loss } }
  )

describe("a node", () => {
  for (const loss of [0, 0.05]) {
    it(`knows within two minutes whether strangers reach it, behind each kind of router, at a loss of ${loss}`, () => {
      run(1, loss, (world) =>
        Effect.gen(function*() {
          const nodes: Array<Node> = [...yield* world.startNodes(24)]
          for (const behind of Object.values(kinds)) nodes.push(...yield* world.startNodes(6, { host: { behind } }))
          yield* Effect.sleep("2 minutes")
          assert.deepStrictEqual(yield* wrong(nodes), [])
        }))
    })
  }

  it("knows it again within five minutes of a change of network", () => {
    run(2, 0, (world) =>
      Effect.gen(function*() {
        yield* world.startNodes(24)
        const [left, came] = [
          yield* world.startNodes(1, { host: { behind: Nat.symmetric } }),
          yield* world.startNodes(1)
        ]
        const [opened] = yield* world.startNodes(1, { host: { behind: Nat.portRestrictedCone } })
        yield* Effect.sleep("20 minutes")
        const moved: Array<Node> = [...left, ...came, opened]
        assert.deepStrictEqual(yield* wrong(moved), [])
        world.network.move(left[0].host, Nat.restrictedCone)
        world.network.move(came[0].host, Nat.portRestrictedCone)
        world.network.move(opened.host)
        yield* Effect.sleep("5 minutes")
        assert.deepStrictEqual(yield* wrong(moved), [])
      }))
  })
})

describe("a node that strangers cannot reach", () => {
  it("is in no routing table and no result of a lookup, and finds the same nodes as any other", () => {
    run(3, 0, (world) =>
      Effect.gen(function*() {
        const open: Array<Node> = [...yield* world.startNodes(24)]
        const closed: Array<Node> = []
        for (const behind of [Nat.portRestrictedCone, Nat.symmetric]) {
          closed.push(...yield* world.startNodes(8, { host: { behind } }))
        }
        yield* Effect.sleep("15 minutes")
        const isClosed = new Set(closed.map(({ identity }) => identity.nodeId))
        for (const { run } of [...open, ...closed]) {
          const known = yield* run(Routing.use(({ entries }) => entries))
          assert.deepStrictEqual(known.filter(({ contact }) => isClosed.has(contact.id)), [])
        }
        const target = NodeId.fromTopic("bread")
        const nearest = open.map(({ identity }) => identity.nodeId)
          .sort((a, b) => NodeId.compareDistance(target, a, b))
          .slice(0, 16)
        for (const { identity, run } of closed) {
          const found = yield* run(Query.use((query) => query.findNode(target)))
          assert.deepStrictEqual(found.map(({ id }) => id), nearest, identity.address)
        }
      }))
  })
})
