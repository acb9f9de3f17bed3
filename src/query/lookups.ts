/**
 * The driver of lookups: sends the requests that a {@link Lookup} decides on,
 * and reports their outcomes to it and to the routing table.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Contact } from "../Contact.ts"
import { Lookup } from "../core/lookup.ts"
import type { OngoingQuery } from "../core/ongoingQuery.ts"
import * as Features from "../Features.ts"
import { NodeIdentity } from "../Identity.ts"
import * as InFlight from "../InFlight.ts"
import * as NodeId from "../NodeId.ts"
import * as PeerHealth from "../PeerHealth.ts"
import { isHairpin, Reachability } from "../Reachability.ts"
import type * as Request from "../Request.ts"
import * as Routing from "../Routing.ts"
import { Rpc } from "../Rpc.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { Timers } from "../Timers.ts"

/** Maximum number of verified seeds, then of unverified ones. */
const seeds = 32
const unverifiedSeeds = 16

/** Maximum number of seeds that are reachable over both families. */
const dualSeeds = 8

/** Known nodes that a lookup asks nevertheless: one may have missed a newcomer, or lie. */
const askedOfKnown = 3

/** Maximum number of requests of a lookup for newcomers: one node may name any number of others. */
const maxForNewcomers = 48

/** Rounds of requests for the nodes that a lookup missed. */
const maxRounds = 3

/** Milliseconds to drain queued responses before calling a peer slow. */
const turnMillis = 1

/**
 * The options of a lookup's requests. A request fails early once packet loss no
 * longer explains the silence of the peer.
 *
 * @internal
 */
export const requestOptions = (
  health: PeerHealth.PeerHealth["Service"],
  onChallenge?: () => void
): Request.Options => ({
  attempts: health.attemptsUnsafe(),
  deadline: 2000,
  failFast: true,
  onChallenge
})

/** A response, and the nodes that it names. */
interface Answer {
  readonly nodes: ReadonlyArray<Contact> | null
  /** How many of the nodes, the first ones, are reachable over both families. */
  readonly dual?: number | undefined
}

/**
 * What a lookup looks for, and how.
 *
 * @internal
 */
export interface Goal<A extends Answer> {
  readonly target: NodeId.NodeId
  /**
   * Nodes near the target that were heard from lately, nearest first. If there are
   * three at least, three of them are asked, and the others count as if they had
   * answered.
   */
  readonly known?: ReadonlyArray<Contact> | undefined
  /** Number of the nearest nodes that must return a record to end the lookup early. */
  readonly quorum?: number | undefined
  /** Whether the lookup, once enough nodes have answered, still waits for slow nodes that are closer. */
  readonly awaitsSlow: boolean
  /** Whether these nodes, nearest first, are suspiciously close to the target, so that they form no quorum. */
  readonly isSurrounded?: ((ids: ReadonlyArray<NodeId.NodeId>) => boolean) | undefined
  /** Asks a contact for nodes about a point; `onChallenge` is that of the request. */
  readonly ask: (
    contact: Contact,
    about: NodeId.NodeId,
    onChallenge: () => void
  ) => Effect.Effect<A, Request.RequestError>
  /** Takes the records of a response. Returns whether there are any of the kind looked for. */
  readonly read: (contact: Contact, answer: A) => boolean
}

/**
 * Those of the known nodes that need not be asked. The nearest of the first `k`, the
 * farthest and one between are asked: those far from each other know different newcomers
 * best.
 */
const unasked = (known: ReadonlyArray<Contact>, k: number): ReadonlySet<NodeId.NodeId> => {
  const ids = new Set(known.map(({ id }) => id))
  if (ids.size < askedOfKnown) return new Set()
  const last = Math.min(known.length, k) - 1
  for (let i = 0; i < askedOfKnown; i++) ids.delete(known[Math.floor(i * last / (askedOfKnown - 1))].id)
  return ids
}

/** Outcome of a request; no answer if it failed, which may be our fault unless the contact was silent. */
interface Outcome<A> {
  readonly contact: Contact
  readonly answer: A | undefined
  readonly isSilent: boolean
}

/**
 * Returns two functions. `run` runs one lookup to its end; requests that are
 * still in flight then are interrupted. `startedAt` is the start of `ongoing`.
 * `missed` finds the nodes that a lookup missed.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const identity = yield* NodeIdentity
  const rpc = yield* Rpc
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const reachability = yield* Reachability
  const clock = yield* Clock.Clock
  const timers = yield* Timers

  const begin = Effect.fnUntraced(function*(
    { awaitsSlow, isSurrounded, known = [], quorum, target }: Omit<Goal<never>, "ask" | "read">,
    startedAt: number
  ) {
    const started = clock.currentTimeMillisUnsafe()
    const heard = unasked(known, routing.k)
    const lookup = new Lookup({
      self: identity.nodeId,
      target,
      startedAt,
      quorum,
      isSurrounded,
      awaitsSlow,
      subnet: SocketAddress.subnet,
      // Once its back-off is over, a bad peer deserves another try.
      isBad: (id) => health.isBadUnsafe(id) && !health.allowContactUnsafe(id, started),
      isHeard: (id) => heard.has(id),
      maxRequests: heard.size > 0 ? maxForNewcomers : undefined,
      slowAfter: (id) => health.slowAfterUnsafe(id, started)
    })
    const publicHost = yield* reachability.publicHost
    const verified = yield* routing.nearestVerified(target, seeds, Routing.freshMillis)
    // One liar can invent all unverified contacts, so they must not displace
    // verified ones.
    for (const contact of [...known, ...verified, ...yield* routing.nearest(target, unverifiedSeeds)]) {
      const isVerified = heard.has(contact.id) || routing.verifiedUnsafe(contact.id) !== undefined
      if (!isHairpin(contact, publicHost)) lookup.seed(contact, { isDual: isDual(contact), isVerified })
    }
    for (const contact of routing.nearestDualUnsafe(target, dualSeeds)) {
      if (!isHairpin(contact, publicHost)) lookup.seed(contact, { isDual: true })
    }
    return { lookup, publicHost }
  })

  /** The address where we heard from a node takes precedence over the one that others report. */
  const asWeKnowIt = (node: Contact): Contact => routing.verifiedUnsafe(node.id) ?? node

  /** Whether a node says that it is reachable over both families. */
  const isDual = ({ id }: Contact): boolean => health.hasUnsafe(id, Features.Bit.dual)

  /** Takes the nodes that a response names. Returns those that we can reach. */
  const learn = (lookup: Lookup, answer: Answer, from: Contact, publicHost: string | undefined) => {
    const { dual = 0, nodes } = answer
    // The nodes around a target name the same ones, most of which the table has been told of by then.
    const isNew = (node: Contact) => !lookup.knows(node)
    const learned = nodes?.filter(isNew) ?? []
    if (learned.length > 0) {
      const dualLearned = dual === 0 ? 0 : nodes?.slice(0, dual).filter(isNew).length
      routing.learnedUnsafe(learned, from.id, clock.currentTimeMillisUnsafe(), dualLearned)
    }
    const named = (nodes ?? []).map(asWeKnowIt)
    const isReached = (node: Contact) => !isHairpin(node, publicHost)
    return { nodes: named.filter(isReached), dual: dual === 0 ? 0 : named.slice(0, dual).filter(isReached).length }
  }

  /** Asks a node for the nodes of its own side of the target, which it knows best. */
  const neighboursOf = (lookup: Lookup, contact: Contact, about: NodeId.NodeId, publicHost: string | undefined) =>
    Effect.match(
      rpc.request(contact, { _tag: "FindNode", target: about }, requestOptions(health)),
      {
        onFailure: (): ReadonlyArray<Contact> => [],
        onSuccess: ({ body }) => learn(lookup, body, contact, publicHost).nodes
      }
    )

  /**
   * Returns nodes as close to the target as those that a lookup for records
   * found, and that it missed: the answers of holders of a crowded key have room
   * for few nodes, the same ones in each. The nodes that share equally many bits
   * with the target are a subtree, whose farthest known node is asked for the
   * others. That takes a third of the requests of another lookup.
   */
  const missed = Effect.fnUntraced(function*(target: NodeId.NodeId, lookup: Lookup) {
    const publicHost = yield* reachability.publicHost
    const closest = lookup.closest()
    const limit = closest.at(routing.k - 1)?.id
    const known = new Map(closest.map((contact) => [contact.id, contact]))
    const asked = new Set<NodeId.NodeId>()
    for (let round = 0; round < maxRounds; round++) {
      const nearestFirst = Array.from(known.values())
        .sort((a, b) => NodeId.compareDistance(target, a.id, b.id))
      const bySubtree = new Map(nearestFirst.map((contact) => [NodeId.commonPrefixLength(target, contact.id), contact]))
      const next = Array.from(bySubtree).filter(([depth, { id }]) => depth < NodeId.bits && !asked.has(id))
      if (next.length === 0) break
      for (const [, { id }] of next) asked.add(id)
      const named = yield* Effect.forEach(
        next,
        ([depth, contact]) => neighboursOf(lookup, contact, NodeId.flip(target, depth), publicHost),
        { concurrency: "unbounded" }
      )
      for (const contact of named.flat()) {
        const isClose = limit === undefined || NodeId.compareDistance(target, contact.id, limit) < 0
        if (isClose && contact.id !== identity.nodeId) known.set(contact.id, contact)
      }
    }
    return Array.from(known.values()).filter(({ id }) => lookup.step(id) === undefined)
  })

  const run = Effect.fnUntraced(function*<A extends Answer>(goal: Goal<A>, ongoing: OngoingQuery, startedAt: number) {
    const { lookup, publicHost } = yield* begin(goal, startedAt)
    ongoing.follow(lookup)
    const inFlight = yield* InFlight.make<Outcome<A>>(timers)
    while (true) {
      const now = timers.now()
      const step = lookup.poll(now)
      if (step._tag === "Done") {
        yield* Effect.annotateCurrentSpan({ "dht.target": goal.target, "dht.asked": lookup.requests })
        return lookup
      }
      if (step._tag === "Ask") {
        const { about, contact } = step
        ongoing.stepped(contact.id)
        const onChallenge = () => lookup.delayed(contact.id, timers.now())
        yield* inFlight.start(Effect.match(goal.ask(contact, about, onChallenge), {
          onFailure: ({ _tag }) => ({ contact, answer: undefined, isSilent: _tag === "NoAnswer" }),
          onSuccess: (answer) => ({ contact, answer, isSilent: false })
        }))
        continue
      }
      let outcomes = yield* inFlight.take(step.until === undefined ? undefined : step.until - now)
      if (outcomes.length === 0) {
        // The pause may have been ours and not the peer's: read the responses
        // that have arrived first.
        yield* Effect.sleep(turnMillis)
        outcomes = yield* inFlight.takeAll
      }
      for (const { answer, contact, isSilent } of outcomes) {
        if (answer === undefined) {
          lookup.failed(contact.id, timers.now())
          if (isSilent) routing.unansweredUnsafe(contact.id)
        } else {
          const holdsRecord = goal.read(contact, answer)
          lookup.answered(contact.id, timers.now(), {
            ...learn(lookup, answer, contact, publicHost),
            holdsRecord,
            isClient: health.isClientUnsafe(contact.id),
            isDual: isDual(contact),
            vouches: health.hasUnsafe(contact.id, Features.Bit.dialBack)
          })
        }
        ongoing.stepped(contact.id)
      }
    }
  })

  return {
    run: <A extends Answer>(goal: Goal<A>, ongoing: OngoingQuery, startedAt: number): Effect.Effect<Lookup> =>
      Effect.scoped(run(goal, ongoing, startedAt)),
    missed
  }
})
