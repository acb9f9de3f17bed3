/**
 * Nodes of a story that meet through others, hosts that misuse these, and what nodes
 * know about routers.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import { Dht } from "../../Dht.ts"
import * as Features from "../../Features.ts"
import type { Identity } from "../../Identity.ts"
import * as Message from "../../Message.ts"
import type { NodeId } from "../../NodeId.ts"
import { Reachability } from "../../Reachability.ts"
import { Routing } from "../../Routing.ts"
import { Rpc } from "../../Rpc.ts"
import { Transport } from "../../Transport.ts"
import type { Host } from "../SimNetwork.ts"
import type * as SimWorld from "../SimWorld.ts"
import { identityOf } from "./madeUp.ts"
import { type DhtNode, isOpen, report, type Resident, socketOf, type Stage } from "./storyStage.ts"

/**
 * Requests to meet one node that a node in the middle passes on in ten seconds.
 *
 * @internal
 */
export const mostInvitations = 40

/** Open nodes with which a node behind a router meets strangers that can try to reach it. */
const fewestOpen = 16

/** Strangers with which a node finds out whether they reach it, and milliseconds within which it does. */
const fewestStrangers = 3
const settlingMillis = 120_000

/** Requests of a mob to each node in the middle, more than it passes on. */
const mobbed = 130

/**
 * The meetings of a story.
 *
 * @internal
 */
export interface Meetings {
  readonly connect: (from: Resident, to: Resident, millis: number) => Effect.Effect<void, unknown>
  /** A forger asks all nodes to meet a node in the name of a host. */
  readonly pretend: (resident: Resident) => Effect.Effect<void, unknown, Scope.Scope>
  /** All nodes ask each other to meet a node, more often than they pass on. */
  readonly mob: (resident: Resident) => Effect.Effect<void, unknown, Scope.Scope>
  /** Checks that those that wanted to connect can, and what nodes know about routers. */
  readonly check: (
    old: ReadonlyArray<Pick<SimWorld.SimNode<never>, "host" | "identity" | "name">>
  ) => Effect.Effect<void>
}

/**
 * The `n`th datagram of a forger that asks to meet a node.
 *
 * @internal
 */
export const forgedMeet = (forger: Identity, callee: NodeId, n: number): Uint8Array =>
  Message.encode({ _tag: "Meet", callee, mapping: 1 }, {
    signer: forger,
    transactionId: n.toString(16).padStart(40, "0"),
    features: Features.own({ client: true, sessions: true })
  })

/** Whether it has moved since others met it: they may know it where it was. */
const hasMoved = ({ host, socket }: DhtNode): boolean => host.ip !== socket.host

/** Whether the routers of two hosts let them meet. */
const mayMeet = (a: Host, b: Host): boolean => {
  const isSymmetric = ({ router }: Host) => router?.behaviour.mapping === "AddressAndPortDependent"
  const isPicky = ({ router }: Host) => router?.behaviour.filtering === "AddressAndPortDependent"
  return a.router === undefined || b.router === undefined ||
    a.router !== b.router && !(isSymmetric(a) && isPicky(b)) && !(isPicky(a) && isSymmetric(b))
}

/**
 * Makes the meetings of a story.
 *
 * @internal
 */
export const make = (stage: Stage): Meetings => {
  const { crypto, residents, world: { network, timeline } } = stage
  /** The hosts to which each has sent while it found out whether strangers reach it where it is now. */
  const contacted = new Map<Host, { readonly ip: string; readonly since: number; readonly hosts: Set<Host> }>()
  const sent = ({ source, target }: { readonly source: Host; readonly target: Host | undefined }) => {
    const known = contacted.get(source)
    if (target === undefined) return
    if (known?.ip !== source.ip) {
      contacted.set(source, { ip: source.ip, since: timeline.elapsedMillis, hosts: new Set([target]) })
    } else if (timeline.elapsedMillis - known.since < settlingMillis) known.hosts.add(target)
  }
  let isWhole = true
  let healedAt = -Infinity
  network.observe({
    delivered: sent,
    dropped: sent,
    changed: (what) => {
      if (what === "heal") {
        if (!isWhole) healedAt = timeline.elapsedMillis
        isWhole = true
      } else if (what.startsWith("cut") || what.startsWith("partition")) isWhole = false
    }
  })
  const wanted: Array<readonly [from: Resident, to: Resident]> = []
  /** Since when nodes that tried to meet others do not. */
  const idleSince = new Map<Host, number>()
  const trying = new Map<Host, number>()

  const busy = <A, E, R>({ node: { host } }: Resident, effect: Effect.Effect<A, E, R>) =>
    Effect.acquireUseRelease(
      Effect.sync(() => {
        trying.set(host, (trying.get(host) ?? 0) + 1)
        idleSince.delete(host)
      }),
      () => effect,
      () =>
        Effect.sync(() => {
          const others = (trying.get(host) ?? 1) - 1
          trying.set(host, others)
          if (others === 0) idleSince.set(host, timeline.elapsedMillis)
        })
    )

  /** Watches for nodes that go on after they have given up. */
  const watch = Effect.acquireRelease(
    Effect.sync(() =>
      network.observe({
        delivered: ({ payload, sentAtMillis, source }) => {
          const since = idleSince.get(source)
          if (since === undefined || sentAtMillis <= since) return
          const header = Message.header(payload)
          if (typeof header === "string" || header.type !== Message.Type.Meet) return
          idleSince.delete(source)
          report(stage, "NothingIsLeft", source.name, { "asks to meet after": `${sentAtMillis - since} ms` })
        }
      })
    ),
    (stop) => Effect.sync(stop)
  )

  const meet = (from: Resident, to: Resident) =>
    busy(
      from,
      from.node.run(Effect.result(Effect.scoped(Dht.use((dht) => dht.connect(to.node.identity.address)))))
    )

  const connect = (from: Resident, to: Resident, millis: number) => {
    wanted.push([from, to])
    return Effect.scoped(Effect.gen(function*() {
      yield* watch
      yield* millis === 0 ? meet(from, to) : Effect.timeoutOption(meet(from, to), millis)
      yield* Effect.sleep("5 seconds")
    }))
  }

  const openNow = () => residents.filter((resident) => resident.node.isUp && isOpen(resident))

  /**
   * Whether a node may be unable to find out whether strangers reach it: it has contacted
   * nearly all others while it joined, or some were cut off from it until then or later.
   */
  const lacksStrangers = ({ host }: DhtNode): boolean => {
    const known = contacted.get(host)
    if ((known?.since ?? -Infinity) < healedAt) return true
    const strangers = openNow().filter(({ node }) => node.host !== host && known?.hosts.has(node.host) !== true)
    return strangers.length < fewestStrangers
  }

  let victims = 0
  const pretend = Effect.fnUntraced(function*(resident: Resident) {
    const { node } = resident
    const victim = network.host({ name: `victim ${victims++}` })
    const forger = identityOf(crypto, "forger")
    const transport = Context.get(yield* Layer.build(victim.layer(4121)), Transport)
    yield* Effect.scoped(Effect.gen(function*() {
      let called = 0
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          network.observe({
            delivered: ({ source, target }) => {
              if (source === node.host && target === victim) called++
            }
          })
        ),
        (stop) => Effect.sync(stop)
      )
      for (let i = 0; i < 20; i++) {
        for (const middle of openNow()) {
          transport.sendUnsafe(forgedMeet(forger, node.identity.nodeId, i), socketOf(middle.node))
        }
        yield* Effect.sleep("1 second")
      }
      // An open node gets the request itself, and pings its sender.
      if (called > 0 && !isOpen(resident)) report(stage, "OnlyRequestersAreCalled", node.name, { sent: called })
    }))
  })

  const mob = Effect.fnUntraced(function*({ node: { identity } }: Resident) {
    const open = openNow()
    if (open.length < 2) return
    const startedAt = timeline.elapsedMillis
    const told = new Map<string, number>()
    yield* Effect.scoped(Effect.gen(function*() {
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          network.observe({
            delivered: ({ payload, sentAtMillis, source }) => {
              const header = Message.header(payload)
              if (typeof header === "string" || header.type !== Message.Type.Invite) return
              const slot = `${source.name} ${Math.floor((sentAtMillis - startedAt) / 10_000)}`
              told.set(slot, (told.get(slot) ?? 0) + 1)
            }
          })
        ),
        (stop) => Effect.sync(stop)
      )
      const times = Math.ceil(mobbed / (open.length - 1))
      yield* Effect.forEach(open, (middle) =>
        Effect.forEach(
          Array.from({ length: times }, () => open).flat().filter((asker) => asker !== middle),
          (asker) =>
            busy(
              asker,
              asker.node.run(
                Rpc.use((rpc) =>
                  Effect.ignore(
                    rpc.request(socketOf(middle.node), { _tag: "Meet", callee: identity.nodeId, mapping: 1 })
                  )
                )
              )
            ),
          { concurrency: 30, discard: true }
        ), { discard: true })
    }))
    for (const [slot, count] of told) {
      // A window of the limit may end within these ten seconds.
      if (count > 2 * mostInvitations) report(stage, "MeetingsAreFew", slot.replace(/ \d+$/, ""), { told: count })
    }
  })

  const checkConnections = Effect.gen(function*() {
    for (const [from, to] of wanted) {
      if (from === to || !from.node.isUp || !to.node.isUp || !mayMeet(from.node.host, to.node.host)) continue
      const met = yield* Effect.result(meet(from, to))
      if (Result.isFailure(met) || Result.isSuccess(met.success)) continue
      report(stage, "MeetWhereAllowed", from.node.name, { peer: to.node.name, reason: met.success.failure.reason })
    }
  })

  const check: Meetings["check"] = Effect.fnUntraced(function*(old) {
    if (openNow().length < fewestOpen) return yield* checkConnections
    const undecided = new Set<DhtNode>()
    for (const { isAlone, node } of residents) {
      if (!node.isUp || isAlone) continue
      const read = yield* Effect.result(node.run(Reachability.use(({ status }) => status)))
      const truth = node.host.admitsStrangers ? "open" : "closed"
      if (Result.isFailure(read) || read.success.state === truth) continue
      if (read.success.state === "unknown" && lacksStrangers(node)) undecided.add(node)
      else report(stage, "ReachabilityIsTold", node.name, { is: truth, "takes itself for": read.success.state })
    }
    const closed = new Map(
      [...residents.flatMap(({ node }) => node.isUp && !hasMoved(node) && !undecided.has(node) ? [node] : []), ...old]
        .filter(({ host }) => !host.admitsStrangers)
        .map(({ identity, name }) => [identity.nodeId, name])
    )
    for (const { node } of openNow()) {
      const entries = yield* Effect.orElseSucceed(node.run(Routing.use(({ entries }) => entries)), () => [])
      for (const { contact } of entries) {
        const name = closed.get(contact.id)
        if (name !== undefined) report(stage, "ClosedAreClients", node.name, { contact: name })
      }
    }
    yield* checkConnections
  })

  return { connect, pretend, mob, check }
}
