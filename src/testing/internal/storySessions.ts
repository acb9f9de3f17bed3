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

/** A request and its attempts that arrived. */
interface Question {
  readonly from: Host
  readonly to: Host
  readonly attempts: Array<{
    readonly form: Message.Frame["_tag"]
    readonly sentAt: number
  }>
  /** Whether its first attempt has a response in a session. */
  isAnswered: boolean
}

/**
 * How the attempts of a request that arrived were authenticated, and milliseconds until
 * its response. Only the first counts if it was answered in a session and repeated after
 * its timeout: what is repeated is signed.
 */
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
  /** The requests, by their targets and by the transactions of their first attempts. */
  const questions = new Map<NodeId.NodeId, Question>()
  const byTransaction = new Map<Message.TransactionId, Question>()

  const observe = Effect.acquireRelease(
    Effect.sync(() =>
      network.observe({
        delivered: ({ payload, sentAtMillis: sentAt, source }) => {
          const frame = Message.frame(payload)
          if (typeof frame === "string") return
          const { _tag: form, transactionId: transaction } = frame
          const answered = byTransaction.get(transaction)
          if (answered?.to === source && Message.isResponse(frame.type) && form === "Session") {
            answered.isAnswered = true
          }
          const body = Message.readBody(frame)
          if (typeof body === "string" || body._tag !== "FindNode") return
          const question = questions.get(body.target)
          if (question?.from !== source) return
          if (question.attempts.length === 0) byTransaction.set(transaction, question)
          question.attempts.push({ form, sentAt })
        }
      })
    ),
    (stop) => Effect.sync(stop)
  )

  const ask = Effect.fnUntraced(function*(from: DhtNode, to: Peer): Effect.fn.Return<Asked> {
    const target = NodeId.fromTopic(`question ${questions.size}`)
    const question: Question = { from: from.host, to: to.host, attempts: [], isAnswered: false }
    questions.set(target, question)
    const peer = { id: to.identity.nodeId, ...socketOf(to) }
    const startedAt = timeline.elapsedMillis
    const response = yield* Effect.option(from.run(Rpc.use((rpc) => rpc.request(peer, { _tag: "FindNode", target }))))
    const { attempts, isAnswered } = question
    const roundTrip = 2 * network.conditions.latency(from.host, to.host)
    const isTimedOut = isAnswered && attempts.slice(1).every(({ sentAt }) => sentAt - attempts[0].sentAt >= roundTrip)
    return {
      from,
      to,
      forms: attempts.slice(0, isTimedOut ? 1 : undefined).map(({ form }) => form),
      waited: Option.isSome(response) ? timeline.elapsedMillis - startedAt : undefined
    }
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
    const target = [...questions.keys()].at(-1)
    yield* Effect.acquireUseRelease(
      Effect.sync(() =>
        network.observe({
          delivered: ({ target: host }) => {
            if (host === to.host && (questions.get(target!)?.attempts.length ?? 0) > 0) to.host.loss = 1
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
    return yield* Fiber.join(request)
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
      // A session rests after two requests that were only answered once they were signed, and after one that was not answered.
      if (nodes.length < 2 || network.conditions.loss > 0) return
      const [from, to] = nodes
      const { forms, waited } = yield* losingResponse(from, to)
      if (forms[0] !== "Session" || waited === undefined) return
      yield* inCalm(Effect.map(ask(from, to), (asked) => inSession("SessionsLast", asked)))
    }))
  })

  const reboot = Effect.fnUntraced(function*(resident: Resident, state: "kept" | "lost") {
    const { node } = resident
    // Behind a router it must be the first to send.
    if (!node.isUp || !isOpen(resident)) return
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
