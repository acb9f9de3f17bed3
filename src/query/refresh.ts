/**
 * Finds the nodes closest to a target of which we know most already, as those of
 * our own region. A lookup asks each of them again; here a few are asked, and the
 * nodes that they name and we have not heard from, until no closer one is new.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Contact } from "../Contact.ts"
import * as NodeId from "../NodeId.ts"
import * as PeerHealth from "../PeerHealth.ts"
import { isHairpin, Reachability } from "../Reachability.ts"
import * as Routing from "../Routing.ts"
import { Rpc } from "../Rpc.ts"
import { requestOptions } from "./lookups.ts"

/** Contacts that are asked first: one may have missed a newcomer, or lie. */
const askedFirst = 3

/**
 * The nearest, the farthest and one between: those far from each other know
 * different newcomers best.
 */
const spread = (contacts: ReadonlyArray<Contact>): Array<Contact> =>
  Array.from({ length: askedFirst }, (_, i) => contacts[Math.floor(i * (contacts.length - 1) / (askedFirst - 1))])

/** Maximum number of nodes asked, as one of them may name any number of others. */
const maxAsked = 48

/**
 * Returns a function that finds the verified contacts closest to a target, nearest
 * first. It looks them up where too few are known.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(
  findNode: (target: NodeId.NodeId) => Effect.Effect<ReadonlyArray<Contact>>
) {
  const rpc = yield* Rpc
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const reachability = yield* Reachability
  const clock = yield* Clock.Clock

  /** The verified contacts closest to a target. */
  const known = (target: NodeId.NodeId): ReadonlyArray<Contact> =>
    routing.nearestUnsafe(target, 2 * routing.k)
      .filter(({ id }) => routing.verifiedUnsafe(id) !== undefined)
      .slice(0, routing.k)

  /** Asks a node for those closest to the target, and reports them to the routing table. */
  const ask = Effect.fnUntraced(function*(peer: Contact, target: NodeId.NodeId) {
    const request = rpc.request(peer, { _tag: "FindNode", target }, requestOptions(health))
    const answer = yield* Effect.option(Effect.tapError(request, ({ _tag }) =>
      Effect.sync(() => {
        if (_tag === "NoAnswer") routing.unansweredUnsafe(peer.id)
      })))
    if (Option.isNone(answer)) return []
    const { nodes, dual } = answer.value.body
    routing.learnedUnsafe(nodes ?? [], peer.id, clock.currentTimeMillisUnsafe(), dual)
    return nodes ?? []
  })

  return Effect.fnUntraced(function*(target: NodeId.NodeId) {
    const first = known(target)
    if (first.length < askedFirst) return yield* findNode(target)
    let next = spread(first)
    const publicHost = yield* reachability.publicHost
    const asked = new Set([routing.self, ...next.map(({ id }) => id)])
    while (next.length > 0) {
      const named = yield* Effect.forEach(next, (peer) => ask(peer, target), { concurrency: "unbounded" })
      const closest = known(target)
      const limit = closest.at(routing.k - 1)?.id
      next = []
      for (const node of named.flat()) {
        if (asked.size >= maxAsked || asked.has(node.id) || routing.verifiedUnsafe(node.id) !== undefined) continue
        if (isHairpin(node, publicHost)) continue
        if (limit !== undefined && NodeId.compareDistance(target, node.id, limit) > 0) continue
        asked.add(node.id)
        next.push(node)
      }
    }
    const closest = known(target)
    routing.lookedUpUnsafe(target, closest, clock.currentTimeMillisUnsafe())
    return closest
  })
})
