/** A world in which nodes authenticate messages in sessions, and lose them. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Message from "../../src/Message.ts"
import * as NodeId from "../../src/NodeId.ts"
import { Rpc } from "../../src/Rpc.ts"
import * as PathAttacker from "../../src/testing/internal/pathAttacker.ts"
import * as Latency from "../../src/testing/Latency.ts"
import type { Property } from "../../src/testing/Properties.ts"
import { Transport } from "../../src/Transport.ts"
import { type DhtNode, leaveAll, standIn, violationsOf } from "./nodes.ts"
import { type Outcome, runProgram } from "./run.ts"

/** One way, in milliseconds. */
const latency = 100

/** The target of a request. */
type Peer = Pick<DhtNode, "identity" | "name" | "socket">

/** How the attempts of a request that arrived were authenticated, and milliseconds until its response. */
interface Asked {
  readonly from: DhtNode
  readonly to: Peer
  readonly forms: ReadonlyArray<Message.Frame["_tag"]>
  readonly waited: number | undefined
}

/**
 * Nodes ask each other at the same time over a network that loses, repeats and
 * reorders datagrams. Then an attacker on the path repeats, alters and reflects
 * their messages and invents notices, one node restarts, and one loses its key.
 */
export const sessions = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const { network, timeline } = world
      const nodes = yield* world.startNodes(5, { app: safety.probe })
      const signing = yield* world.startNodes(1, { app: safety.probe, dht: { sessions: false } })
      const attacker = world.machine("attacker", Layer.empty)
      yield* attacker.start
      const { found, report } = violationsOf(world)

      // --- Requests

      /** The forms of the requests that arrived, by their targets. */
      const arrived = new Map<NodeId.NodeId, Array<Message.Frame["_tag"]>>()

      const ask = Effect.fnUntraced(function*(from: DhtNode, to: Peer) {
        const target = NodeId.fromTopic(`question ${arrived.size}`)
        const forms: Array<Message.Frame["_tag"]> = []
        arrived.set(target, forms)
        const peer = { id: to.identity.nodeId, ...to.socket }
        const startedAt = timeline.elapsedMillis
        const response = yield* Effect.option(
          from.run(Rpc.use((rpc) => rpc.request(peer, { _tag: "FindNode", target })))
        )
        const waited = response._tag === "Some" ? timeline.elapsedMillis - startedAt : undefined
        return { from, to, forms, waited }
      })

      /** Everyone asks everyone at the same time. */
      const askAll = (all: ReadonlyArray<DhtNode>) =>
        Effect.forEach(
          all.flatMap((from) => all.filter((to) => to !== from).map((to) => [from, to] as const)),
          ([from, to]) => ask(from, to),
          { concurrency: "unbounded" }
        )

      const expectSession = (property: Property, { forms, from, to, waited }: Asked) => {
        if (forms.join() === "Session" && waited !== undefined) return
        report(property, from.name, { peer: to.name, attempts: forms.join(" "), waited: waited ?? "no response" })
      }

      // --- The attacker

      const transport = yield* attacker.run(Transport.use(Effect.succeed))
      let isAttacking = false
      const attack = yield* PathAttacker.make(
        transport,
        nodes,
        (node, answered) => report("MacsAreChecked", node, { answered })
      )

      const stop = network.observe({
        delivered: (delivery) => {
          if (delivery.source === attacker.host || delivery.target === attacker.host) return
          const frame = Message.frame(delivery.payload)
          if (typeof frame === "string") return
          const body = Message.readBody(frame)
          if (typeof body !== "string" && body._tag === "FindNode") arrived.get(body.target)?.push(frame._tag)
          if (isAttacking) attack(delivery)
        }
      })

      // --- Loss, repetition and reordering

      const calm = { loss: 0, duplication: 0, jitterMillis: 0 }
      Object.assign(network.conditions, { loss: 0.05, duplication: 0.05, jitterMillis: 50 })
      for (let round = 0; round < 4; round++) yield* askAll([...nodes, ...signing])
      Object.assign(network.conditions, calm)
      yield* Effect.sleep("2 minutes")
      yield* askAll(nodes)
      for (const asked of yield* askAll(nodes)) expectSession("SessionsResume", asked)

      // --- Attacks

      isAttacking = true
      for (let round = 0; round < 3; round++) {
        for (const asked of yield* askAll(nodes)) expectSession("SessionsLast", asked)
      }
      // The attacker has all the time for its notice, since no response arrives.
      const [ann, ben, restarting, forgetful] = nodes
      network.cut(ben.host, ann.host)
      const unanswered = yield* Effect.forkScoped(ask(ann, ben))
      yield* Effect.sleep(3 * latency)
      network.heal()
      yield* Fiber.join(unanswered)
      expectSession("SessionsLast", yield* ask(ann, ben))
      isAttacking = false

      // --- Losses of sessions

      const others = nodes.filter((node) => node !== restarting && node !== forgetful)
      const before = { identity: forgetful.identity, name: forgetful.name, socket: forgetful.socket }
      for (const [node, state] of [[restarting, "Kept"], [forgetful, "Lost"]] as const) {
        yield* node.crash({ state })
        // They ask before it has met them again.
        const started = yield* Effect.forkScoped(node.start, { startImmediately: true })
        for (const asked of yield* Effect.forEach(others, (other) => ask(other, node), { concurrency: "unbounded" })) {
          const { forms, from, waited } = asked
          // A request in a session, the notice, the signed request, and its response.
          if (waited !== undefined && waited <= 4 * latency) continue
          report("SessionsResume", from.name, {
            peer: node.name,
            attempts: forms.join(" "),
            waited: waited ?? "no response"
          })
        }
        yield* Fiber.join(started)
      }
      for (const other of others) {
        const { waited } = yield* ask(other, before)
        if (waited !== undefined) report("OnlyThePeerResponds", other.name, { peer: before.name, waited })
      }
      yield* Effect.sleep("2 minutes")
      yield* askAll(nodes)
      for (const asked of yield* askAll(nodes)) expectSession("SessionsResume", asked)

      stop()
      yield* leaveAll([...nodes, ...signing, attacker])
      return found
    }),
    { ...standIn, network: { latency: Latency.constant(latency) } }
  )
