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
import type * as NodeId from "../NodeId.ts"
import * as PeerHealth from "../PeerHealth.ts"
import { isHairpin, Reachability } from "../Reachability.ts"
import type * as Request from "../Request.ts"
import * as Routing from "../Routing.ts"
import * as SocketAddress from "../SocketAddress.ts"
import { Timers } from "../Timers.ts"

/** Maximum number of verified seeds, then of unverified ones. */
const seeds = 32
const unverifiedSeeds = 16

/** Milliseconds to drain queued responses before calling a peer slow. */
const turnMillis = 1

/**
 * The options of a lookup's requests. A request fails early once packet loss no
 * longer explains the silence of the peer.
 *
 * @internal
 */
export const requestOptions = (health: PeerHealth.PeerHealth["Service"]): Request.Options => ({
  attempts: health.attemptsUnsafe(),
  deadline: 2000,
  failFast: true
})

/** A response, and the nodes that it names. */
interface Answer {
  readonly nodes: ReadonlyArray<Contact> | null
}

/**
 * What a lookup looks for, and how.
 *
 * @internal
 */
export interface Goal<A extends Answer> {
  readonly target: NodeId.NodeId
  /** Number of the nearest nodes that must return a record to end the lookup early. */
  readonly quorum?: number | undefined
  /** Whether the lookup, once enough nodes have answered, still waits for slow nodes that are closer. */
  readonly awaitsSlow: boolean
  /** Whether these nodes, nearest first, are suspiciously close to the target, so that they form no quorum. */
  readonly isSurrounded?: ((ids: ReadonlyArray<NodeId.NodeId>) => boolean) | undefined
  /** Asks a contact for nodes about a point. */
  readonly ask: (contact: Contact, about: NodeId.NodeId) => Effect.Effect<A, Request.RequestError>
  /** Takes the records of a response. Returns whether there are any of the kind looked for. */
  readonly read: (contact: Contact, answer: A) => boolean
}

/** Outcome of a request; no answer if it failed. */
interface Outcome<A> {
  readonly contact: Contact
  readonly answer: A | undefined
}

/**
 * Returns a function that runs one lookup to its end. Requests that are still
 * in flight then are interrupted. `startedAt` is the start of `ongoing`.
 *
 * @internal
 */
export const make = Effect.gen(function*() {
  const identity = yield* NodeIdentity
  const routing = yield* Routing.Routing
  const health = yield* PeerHealth.PeerHealth
  const reachability = yield* Reachability
  const clock = yield* Clock.Clock
  const timers = yield* Timers

  const begin = Effect.fnUntraced(function*(
    { awaitsSlow, isSurrounded, quorum, target }: Omit<Goal<never>, "ask" | "read">,
    startedAt: number
  ) {
    const started = clock.currentTimeMillisUnsafe()
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
      slowAfter: (id) => health.slowAfterUnsafe(id, started)
    })
    const publicHost = yield* reachability.publicHost
    const known = yield* routing.nearestVerified(target, seeds, Routing.freshMillis)
    // One liar can invent all unverified contacts, so they must not displace
    // verified ones.
    for (const contact of [...known, ...yield* routing.nearest(target, unverifiedSeeds)]) {
      if (!isHairpin(contact, publicHost)) lookup.seed(contact)
    }
    return { lookup, publicHost }
  })

  /** The address where we heard from a node takes precedence over the one that others report. */
  const asWeKnowIt = (node: Contact): Contact => {
    const entry = routing.entryUnsafe(node.id)
    return entry?.verifiedAt === undefined ? node : entry.contact
  }

  const run = Effect.fnUntraced(function*<A extends Answer>(goal: Goal<A>, ongoing: OngoingQuery, startedAt: number) {
    const { lookup, publicHost } = yield* begin(goal, startedAt)
    ongoing.follow(lookup)
    const inFlight = yield* InFlight.make<Outcome<A>>()
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
        yield* inFlight.start(Effect.match(goal.ask(contact, about), {
          onFailure: () => ({ contact, answer: undefined }),
          onSuccess: (answer) => ({ contact, answer })
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
      for (const { answer, contact } of outcomes) {
        if (answer === undefined) {
          lookup.failed(contact.id, timers.now())
        } else {
          const holdsRecord = goal.read(contact, answer)
          const nodes = answer.nodes ?? []
          routing.learnedUnsafe(nodes, contact.id, clock.currentTimeMillisUnsafe())
          lookup.answered(contact.id, timers.now(), {
            nodes: nodes.map(asWeKnowIt).filter((node) => !isHairpin(node, publicHost)),
            holdsRecord,
            isClient: health.hasUnsafe(contact.id, Features.Bit.client)
          })
        }
        ongoing.stepped(contact.id)
      }
    }
  })

  return <A extends Answer>(goal: Goal<A>, ongoing: OngoingQuery, startedAt: number): Effect.Effect<Lookup> =>
    Effect.scoped(run(goal, ongoing, startedAt))
})
