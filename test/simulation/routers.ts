/** A world of nodes behind routers of each kind, some of which do not find out whether strangers reach them. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { Reachability } from "../../src/Reachability.ts"
import { Routing } from "../../src/Routing.ts"
import * as OldNode from "../../src/testing/internal/oldNode.ts"
import * as Nat from "../../src/testing/Nat.ts"
import type * as SimWorld from "../../src/testing/SimWorld.ts"
import { type DhtNode, leaveAll, standIn, violationsOf } from "./nodes.ts"
import { type Outcome, runProgram } from "./run.ts"

const kinds = [Nat.fullCone, Nat.restrictedCone, Nat.portRestrictedCone, Nat.symmetric]

/** The nodes that are wrong about themselves, and what they take themselves for. */
export const wrong = Effect.fnUntraced(function*(
  nodes: ReadonlyArray<Pick<DhtNode, "host" | "run">>,
  mayBeUnknown = false
) {
  const found: Array<string> = []
  for (const { host, run } of nodes) {
    const { state } = yield* run(Reachability.use(({ status }) => status))
    const truth = host.admitsStrangers ? "open" : "closed"
    if (state !== truth && !(mayBeUnknown && state === "unknown")) {
      found.push(`${host.name} is ${truth} and takes itself for ${state}`)
    }
  }
  return found
})

/** Reports the nodes that are wrong about themselves after a pause, and a quarter of an hour later. */
const expectAfter = Effect.fnUntraced(function*(
  world: SimWorld.World,
  nodes: ReadonlyArray<DhtNode>,
  first: Duration.Input,
  mayBeUnknown: (node: DhtNode) => boolean = () => false
) {
  const { found, report } = violationsOf(world)
  for (const pause of [first, "15 minutes"] as const) {
    yield* Effect.sleep(pause)
    for (const node of nodes) {
      for (const facts of yield* wrong([node], mayBeUnknown(node))) report("ReachabilityIsTold", node.name, { facts })
    }
  }
  yield* leaveAll(nodes)
  return found
})

/** So few nodes that each has soon contacted nearly all others. */
export const few = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const nodes = [...yield* world.startNodes(3, { app: safety.probe })]
      for (const behind of [Nat.portRestrictedCone, Nat.portRestrictedCone, Nat.symmetric]) {
        nodes.push(...yield* world.startNodes(1, { app: safety.probe, host: { behind } }))
      }
      return yield* expectAfter(world, nodes, "2 minutes")
    }),
    { ...standIn, seed: 3 }
  )

/** A node moves to another address, to which one of few peers cannot send. */
export const oneWay = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const { network } = world
      const nodes = yield* world.startNodes(7, { app: safety.probe })
      yield* Effect.sleep("20 minutes")
      network.cut(nodes[1].host, nodes[3].host)
      network.move(nodes[3].host)
      // It has contacted all others.
      return yield* expectAfter(world, nodes, "5 minutes", (node) => node === nodes[3])
    }),
    { ...standIn, seed: 5 }
  )

/** Nodes of both kinds join, a few of which move to another network later. */
export const routers = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const { network } = world
      const { found, report } = violationsOf(world)
      const nodes = [...yield* world.startNodes(16, { app: safety.probe })]
      for (const behind of kinds) nodes.push(...yield* world.startNodes(4, { app: safety.probe, host: { behind } }))
      const silent = [undefined, ...kinds].map((behind, i) =>
        world.machine(`silent ${i}`, OldNode.layer, { host: { behind } })
      )
      for (const machine of silent) {
        yield* machine.start
        yield* machine.run(OldNode.OldNode.use(({ greet }) =>
          Effect.forEach(nodes.slice(0, 3), ({ socket }) => greet(socket), { discard: true })
        ))
      }
      const expectTruth = Effect.gen(function*() {
        for (const node of nodes) {
          for (const facts of yield* wrong([node])) {
            report("ReachabilityIsTold", node.name, { facts })
          }
        }
      })
      yield* Effect.sleep("2 minutes")
      yield* expectTruth
      yield* Effect.sleep("13 minutes")
      const isClosed = new Map(
        [...nodes, ...silent].filter(({ host }) =>
          !host.admitsStrangers
        ).map((n) => [n.identity.nodeId, n.name])
      )
      for (const { host, name, run } of nodes) {
        if (!host.admitsStrangers) continue
        for (const { contact } of yield* run(Routing.use(({ entries }) => entries))) {
          const closed = isClosed.get(contact.id)
          if (closed !== undefined) report("ClosedAreClients", name, { contact: closed })
        }
      }
      network.move(nodes[15].host, Nat.portRestrictedCone)
      network.move(nodes[31].host, Nat.fullCone)
      yield* Effect.sleep("5 minutes")
      yield* expectTruth
      yield* leaveAll([...nodes, ...silent])
      return found
    }),
    standIn
  )
