/** A world of nodes behind routers that meet through others, and of hosts that misuse these. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import { Dht } from "../../src/Dht.ts"
import * as Message from "../../src/Message.ts"
import { Rpc } from "../../src/Rpc.ts"
import { identityOf } from "../../src/testing/internal/madeUp.ts"
import { forgedMeet, mostInvitations } from "../../src/testing/internal/storyMeetings.ts"
import * as Nat from "../../src/testing/Nat.ts"
import { Transport } from "../../src/Transport.ts"
import { type DhtNode, leaveAll, standIn, violationsOf } from "./nodes.ts"
import { type Outcome, runProgram } from "./run.ts"

interface Arrival {
  readonly source: string
  readonly target: string
  readonly type: number
  readonly sentAt: number
}

const { Type } = Message

export const meetings = (): Outcome =>
  runProgram(
    Effect.fnUntraced(function*(world, safety) {
      const { network, timeline } = world
      const { found, report } = violationsOf(world)
      const open = yield* world.startNodes(12, { app: safety.probe })
      const behind = (behind: Nat.Behaviour) =>
        Effect.map(world.startNodes(1, { app: safety.probe, host: { behind } }), ([node]) => node)
      const byAddress = yield* behind(Nat.restrictedCone)
      const byPort = yield* behind(Nat.portRestrictedCone)
      const symmetric = yield* behind(Nat.symmetric)
      yield* Effect.sleep("4 minutes")
      const arrivals: Array<Arrival> = []
      network.observe({
        delivered: ({ payload, sentAtMillis: sentAt, source, target }) => {
          const header = Message.header(payload)
          if (typeof header === "string") return
          arrivals.push({ source: source.name, target: target.name, type: header.type, sentAt })
        }
      })
      const connect = (from: DhtNode, to: DhtNode) =>
        from.run(Effect.result(Effect.scoped(Dht.use((dht) => dht.connect(to.identity.address)))))

      // What is sent after a connection or an attempt has ended.
      const pairs = [[byAddress, byPort], [byPort, byAddress], [symmetric, byAddress], [byAddress, symmetric]] as const
      for (const [from, to] of pairs) {
        const result = yield* connect(from, to)
        const endedAt = timeline.elapsedMillis
        if (Result.isFailure(result)) {
          report("MeetWhereAllowed", from.name, { peer: to.name, reason: result.failure.message })
        }
        yield* Effect.sleep("3 minutes")
        // Others may have one send the echo of a NAT probe to the other.
        const late = arrivals.filter(({ sentAt, source, target, type }) =>
          source === from.host.name && target === to.host.name && type !== Type.NatProbeEcho && sentAt > endedAt + 1000
        )
        if (late.length > 0) report("NothingIsLeft", from.name, { peer: to.name, sent: late.length })
      }
      for (let i = 1; i <= 10; i++) {
        yield* Effect.timeoutOption(connect(byPort, symmetric), i * 41)
        const endedAt = timeline.elapsedMillis
        yield* Effect.sleep("5 seconds")
        const late = arrivals.filter(({ sentAt, source, type }) =>
          source === byPort.host.name && type === Type.Meet && sentAt > endedAt
        )
        if (late.length > 0) report("NothingIsLeft", byPort.name, { meetings: late.length })
      }

      // A host that has not proved its address may be the victim of a forger.
      const victim = network.host({ name: "victim" })
      const forger = identityOf(standIn.crypto, "forger")
      const services = yield* Layer.build(victim.layer(4121))
      for (let i = 0; i < 20; i++) {
        for (const { socket } of open) {
          const datagram = forgedMeet(forger, byPort.identity.nodeId, i)
          Context.get(services, Transport).sendUnsafe(datagram, socket)
        }
        yield* Effect.sleep("1 second")
      }
      const called = arrivals.filter(({ source, target }) => source === byPort.host.name && target === victim.name)
      if (called.length > 0) report("OnlyRequestersAreCalled", byPort.name, { sent: called.length })

      // Many nodes ask at the same time, each more often than one source may.
      const startedAt = timeline.elapsedMillis
      const ask = (node: DhtNode, middle: DhtNode) =>
        node.run(Rpc.use((rpc) =>
          Effect.ignore(rpc.request(middle.socket, { _tag: "Meet", callee: byPort.identity.nodeId, mapping: 1 }))
        ))
      yield* Effect.forEach(
        open,
        (middle) =>
          Effect.forEach(
            Array.from({ length: 12 }, () =>
              open).flat().filter((node) => node !== middle),
            (node) => ask(node, middle),
            { concurrency: 30, discard: true }
          ),
        { discard: true }
      )
      const told = Map.groupBy(
        arrivals.filter(({ sentAt, type }) => type === Type.Invite && sentAt >= startedAt),
        ({ sentAt, source }) => `${source} ${Math.floor((sentAt - startedAt) / 10_000)}`
      )
      for (const [source, { length }] of told) {
        // A window of the limit may end within these ten seconds.
        if (length > 2 * mostInvitations) report("MeetingsAreFew", source, { told: length })
      }
      if (told.size === 0) report("MeetWhereAllowed", byPort.name, { told: 0 })
      yield* leaveAll([...open, byAddress, byPort, symmetric])
      return found
    }),
    standIn
  )
