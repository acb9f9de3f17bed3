/**
 * Requests between the nodes of a story that show how they are authenticated, and
 * an attacker on the path that misuses their sessions.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Message from "../../Message.ts"
import * as NodeId from "../../NodeId.ts"
import { Rpc } from "../../Rpc.ts"
import { Transport } from "../../Transport.ts"
import type { Facts, Property } from "../Properties.ts"
import type { Host } from "../SimNetwork.ts"
import type * as SimWorld from "../SimWorld.ts"
import * as PathAttacker from "./pathAttacker.ts"
import { type DhtNode, isOpen, report, type Resident, socketOf, type Stage } from "./storyStage.ts"

/** Most nodes that ask each other: that many squared are the requests. */
const maxAsking = 5

/** Milliseconds that a node may take besides the way of its datagrams. */
const slackMillis = 50

/** The target of a request. */
type Peer = Pick<DhtNode, "host" | "identity" | "name" | "socket">

/** How the attempts of a request that arrived were authenticated, and milliseconds until its response. */
interface Asked {
  readonly from: DhtNode
  readonly to: Peer
  readonly forms: ReadonlyArray<Message.Frame["_tag"]>
  readonly waited: number | undefined
}

/**
 * The sessions of a story.
 *
 * @internal
 */
export interface Sessions {
  /** Nodes ask each other while an attacker repeats, alters and reflects what they send, and invents notices. */
  readonly tamper: Effect.Effect<void, unknown, Scope.Scope>
  /** A node crashes and starts again, and the others ask it before it has met them. */
  readonly reboot: (resident: Resident, state: "kept" | "lost") => Effect.Effect<void, unknown, Scope.Scope>
  /** Checks that all are in sessions, once the network has been calm for a while. */
  readonly check: Effect.Effect<void>
  readonly machines: ReadonlyArray<SimWorld.SimNode<never, unknown>>
}

const factsOf = ({ forms, to, waited }: Asked): Facts => ({
  peer: to.name,
  attempts: forms.join(" ") || "none",
  waited: waited ?? "no response"
})

/** Whether no attempt was signed; the network may repeat them. */
const isInSession = (forms: Asked["forms"]) => forms.length > 0 && forms.every((form) => form === "Session")

/**
 * Makes the sessions of a story. `stop` stops a node with its announcements, and
 * `start` starts it.
 *
 * @internal
 */
export const make = (
  stage: Stage,
  { start, stop }: {
    readonly start: (resident: Resident) => Effect.Effect<void>
    readonly stop: (resident: Resident, how: Effect.Effect<void>) => Effect.Effect<void>
  }
): Sessions => {
  const { residents, world: { machine, network, timeline } } = stage
  const machines: Array<SimWorld.SimNode<never, unknown>> = []
  /** The forms of the requests that arrived, by their targets. */
  const arrived = new Map<NodeId.NodeId, { readonly from: Host; readonly forms: Array<Message.Frame["_tag"]> }>()

  const observe = Effect.acquireRelease(
    Effect.sync(() =>
      network.observe({
        delivered: ({ payload, source }) => {
          const frame = Message.frame(payload)
          if (typeof frame === "string") return
          const body = Message.readBody(frame)
          if (typeof body === "string" || body._tag !== "FindNode") return
          const asked = arrived.get(body.target)
          if (asked?.from === source) asked.forms.push(frame._tag)
        }
      })
    ),
    (stop) => Effect.sync(stop)
  )

  const ask = Effect.fnUntraced(function*(from: DhtNode, to: Peer): Effect.fn.Return<Asked> {
    const target = NodeId.fromTopic(`question ${arrived.size}`)
    const forms: Array<Message.Frame["_tag"]> = []
    arrived.set(target, { from: from.host, forms })
    const peer = { id: to.identity.nodeId, ...socketOf(to) }
    const startedAt = timeline.elapsedMillis
    const response = yield* Effect.option(from.run(Rpc.use((rpc) => rpc.request(peer, { _tag: "FindNode", target }))))
    return { from, to, forms, waited: Option.isSome(response) ? timeline.elapsedMillis - startedAt : undefined }
  })

  /** The first of the nodes that can be asked and have sessions. */
  const asking = () =>
    residents.filter((resident) => resident.node.isUp && !resident.isAlone && !resident.signs && isOpen(resident))
      .slice(0, maxAsking)
      .map(({ node }) => node)

  /** Everyone asks everyone at the same time. */
  const askAll = (all: ReadonlyArray<DhtNode>) =>
    Effect.forEach(
      all.flatMap((from) => all.filter((to) => to !== from).map((to) => [from, to] as const)),
      ([from, to]) => ask(from, to),
      { concurrency: "unbounded" }
    )

  /** Runs a check whose findings count if nothing else disturbed the network meanwhile. */
  const inCalm = <E, R>(check: Effect.Effect<ReadonlyArray<() => void>, E, R>) =>
    Effect.suspend(() => {
      const before = stage.disturbances()
      return Effect.map(check, (findings) => {
        if (stage.disturbances() === before) { for (const find of findings) find() }
      })
    })

  const inSession = (property: Property, asked: Asked): ReadonlyArray<() => void> =>
    isInSession(asked.forms) && asked.waited !== undefined
      ? []
      : [() => report(stage, property, asked.from.name, factsOf(asked))]

  /** Runs a request to a host whose response is lost, so that an attacker has all the time for its notices. */
  const losingResponse = Effect.fnUntraced(function*(from: DhtNode, to: DhtNode) {
    const request = yield* Effect.forkScoped(ask(from, to), { startImmediately: true })
    const target = [...arrived.keys()].at(-1)
    yield* Effect.acquireUseRelease(
      Effect.sync(() =>
        network.observe({
          delivered: ({ target: host }) => {
            if (host === to.host && (arrived.get(target!)?.forms.length ?? 0) > 0) to.host.loss = 1
          }
        })
      ),
      () => Effect.sleep(network.conditions.latency(from.host, to.host) + slackMillis),
      (stop) =>
        Effect.sync(() => {
          stop()
          to.host.loss = 0
        })
    )
    yield* Fiber.join(request)
  })

  const tamper = Effect.gen(function*() {
    const nodes = asking()
    const attacker = machine(`attacker ${machines.length}`, Layer.empty)
    machines.push(attacker)
    yield* attacker.start
    const transport = yield* attacker.run(Transport.use(Effect.succeed))
    const attack = yield* PathAttacker.make(
      transport,
      nodes,
      (node, answered) => report(stage, "MacsAreChecked", node, { answered })
    )
    yield* Effect.scoped(Effect.gen(function*() {
      yield* observe
      yield* inCalm(Effect.gen(function*() {
        yield* askAll(nodes)
        const before = yield* askAll(nodes)
        const has = ({ forms, from, waited }: Asked) => waited !== undefined && isInSession(forms) && from.isUp
        const pairs = before.filter(has)
        yield* Effect.acquireRelease(
          Effect.sync(() =>
            network.observe({
              delivered: (delivery) => {
                if (delivery.source !== attacker.host && delivery.target !== attacker.host) attack(delivery)
              }
            })
          ),
          (stop) => Effect.sync(stop)
        )
        const again = Effect.forEach(pairs, ({ from, to }) => ask(from, to), { concurrency: "unbounded" })
        return [...yield* again, ...yield* again].flatMap((asked) => inSession("SessionsLast", asked))
      }))
      if (nodes.length < 2) return
      const [from, to] = nodes
      yield* losingResponse(from, to)
      yield* inCalm(Effect.map(ask(from, to), (asked) => inSession("SessionsLast", asked)))
    }))
  })

  const reboot = Effect.fnUntraced(function*(resident: Resident, state: "kept" | "lost") {
    const { node } = resident
    if (!node.isUp) return
    const others = asking().filter((other) => other !== node)
    const before: Peer = { host: node.host, identity: node.identity, name: node.name, socket: node.socket }
    yield* Effect.scoped(Effect.gen(function*() {
      yield* observe
      yield* Effect.forEach(others, (other) => ask(other, before), { concurrency: "unbounded" })
      yield* stop(resident, node.crash({ state: state === "lost" ? "Lost" : "Kept" }))
      if (node.isUp) return
      // They ask before it has met them again.
      const started = yield* Effect.forkScoped(start(resident), { startImmediately: true })
      yield* inCalm(Effect.map(
        Effect.forEach(others, (other) => ask(other, node), { concurrency: "unbounded" }),
        (all) =>
          all.flatMap((asked) => {
            const { from, to, waited } = asked
            // A request in a session, the notice, the signed request, and its response.
            const way = network.conditions.latency(from.host, to.host)
            return waited !== undefined && waited <= 4 * way + slackMillis
              ? []
              : [() => report(stage, "SessionsResume", from.name, factsOf(asked))]
          })
      ))
      yield* Fiber.join(started)
      if (state === "kept") return
      for (const other of others) {
        const { waited } = yield* ask(other, before)
        if (waited !== undefined) report(stage, "OnlyThePeerResponds", other.name, { peer: before.name, waited })
      }
    }))
  })

  return {
    machines,
    tamper,
    reboot,
    check: Effect.scoped(Effect.gen(function*() {
      yield* observe
      const nodes = asking()
      yield* askAll(nodes)
      yield* inCalm(Effect.map(askAll(nodes), (all) => all.flatMap((asked) => inSession("SessionsResume", asked))))
    }))
  }
}
