/**
 * The nodes of a simulation: members that join, announce records, crash and are
 * replaced, and Byzantine nodes that stay.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Address } from "../../Address.ts"
import * as Announce from "../../Announce.ts"
import type { CannotJoin } from "../../Bootstrap.ts"
import type { Contact } from "../../Contact.ts"
import * as Dht from "../../Dht.ts"
import type * as NodeId from "../../NodeId.ts"
import * as Persistence from "../../Persistence.ts"
import * as Record from "../../Record.ts"
import { Routing } from "../../Routing.ts"
import * as Store from "../../Store.ts"
import type { CannotBind } from "../../Transport.ts"
import * as Byzantine from "../Byzantine.ts"
import type { Safety } from "../PropertiesSafety.ts"
import { announcersPerTopic, honestOf, liarsAmong, type Scenario } from "../Scenario.ts"
import type * as SimWorld from "../SimWorld.ts"
import { gap, pick } from "./draw.ts"
import { Prng } from "./prng.ts"

type Node = SimWorld.SimNode<SimWorld.NodeServices, CannotJoin | CannotBind>

/**
 * An honest node that has joined, with access to its store and routing table.
 *
 * @internal
 */
export interface Member {
  /** Its number among the honest nodes; a replacement has the number of its predecessor. */
  readonly slot: number
  readonly node: Node
  readonly id: NodeId.NodeId
  /** The records that its store holds now. */
  readonly stored: () => ReadonlyArray<Store.Row>
  readonly routing: Routing["Service"]
}

/**
 * A record that a member keeps announcing.
 *
 * @internal
 */
export interface Announced {
  readonly kind: "resolve" | "discover"
  readonly key: NodeId.NodeId
  readonly type: number
  readonly by: Member
  readonly address: Address
  readonly sinceMillis: number
}

/**
 * @internal
 */
export interface Population {
  /** The honest nodes that have joined. */
  readonly members: ReadonlyArray<Member>
  readonly announced: ReadonlyArray<Announced>
  /** Number of members that crashed and were replaced. */
  readonly replaced: number
  /** Number of attempts to join that reached no node and were retried. */
  readonly failedJoins: number
  /** Whether a node, honest or Byzantine, is up at the IP of a contact. */
  readonly isUp: (contact: Contact) => boolean
  /** Starts the `i`th node, from 0, and succeeds once it has joined. */
  readonly start: (i: number) => Effect.Effect<void>
  /** Announces the records that the scenario assigns to the slot of a member. */
  readonly announce: (member: Member) => Effect.Effect<void, { readonly _tag: string }>
  /** Crashes and replaces members at random times, forever. */
  readonly churn: Effect.Effect<never>
}

/** Delays between attempts to join. */
const retries = Schedule.min([Schedule.exponential("2 seconds"), Schedule.spaced("5 minutes")]).pipe(Schedule.jittered)

/** Number of members through which a node joins. */
const introducers = 3

const hourMillis = 3_600_000

/**
 * The behaviours of Byzantine nodes, assigned in turn. Floods are left out: a
 * hundred datagrams per second and node would slow every run down.
 */
const behaviours: ReadonlyArray<Byzantine.Behaviour> = [
  "dropsRequests",
  "inventsNodes",
  "misplacesNodes",
  "eclipses",
  "servesStale",
  "servesForged"
]

/**
 * Creates an empty population.
 *
 * @internal
 */
export const make = Effect.fnUntraced(function*(
  scenario: Scenario,
  world: SimWorld.World,
  safety: Safety | undefined
): Effect.fn.Return<Population, never, Scope.Scope> {
  const { byzantine, seed } = scenario
  const { timeline } = world
  const scope = yield* Effect.scope
  const choose = {
    introducers: new Prng(seed, "simulation introducers"),
    churn: new Prng(seed, "simulation churn")
  }
  let members: ReadonlyArray<Member> = []
  /** The IPs of all nodes that are up. */
  const up = new Map<NodeId.NodeId, string>()
  let announced: ReadonlyArray<Announced> = []
  let started = 0
  let replaced = 0
  let failedJoins = 0

  const drawIntroducers = (): ReadonlyArray<Node> =>
    pick(choose.introducers, members, Math.min(introducers, members.length)).map(({ node }) => node)

  const announce = Effect.fnUntraced(function*(member: Member) {
    const { slot } = member
    const add = (kind: Announced["kind"], type: number) => ({ key }: Announce.Announcement) => {
      announced = [...announced, {
        kind,
        key,
        type,
        by: member,
        address: member.node.identity.address,
        sinceMillis: timeline.elapsedMillis
      }]
    }
    if (slot < scenario.endpoints) {
      yield* member.node.run(
        Announce.Announce.use(({ announceEndpoint }) =>
          announceEndpoint({ endpoints: [`tcp://192.0.2.1:${4121 + slot}`] })
        )
      ).pipe(Effect.map(add("resolve", Record.RecordType.endpoint)))
    }
    for (const topic of topicsOf(scenario, slot)) {
      yield* member.node.run(
        Announce.Announce.use(({ announceTopic }) => announceTopic({ topic: `topic ${topic}` }))
      ).pipe(Effect.map(add("discover", Record.RecordType.topic)))
    }
  })

  /** Starts a node in a slot and succeeds once it has joined. */
  const join = Effect.fnUntraced(function*(slot: number) {
    const isFirst = started === 0
    // A crashed node is replaced and never restarts, so nothing persisted would be read.
    const node: Node = world.node(`node ${started++}`, {
      app: safety?.probe,
      dht: { services: { persistence: Persistence.layerNone } }
    })
    yield* node.start
    up.set(node.identity.nodeId, node.socket.host)
    if (!isFirst) {
      yield* Effect.suspend(() =>
        node.run(Dht.Dht.use(({ bootstrap }) => bootstrap(drawIntroducers().map(({ socket }) => socket))))
      ).pipe(
        Effect.tapErrorTag("CannotJoin", () =>
          Effect.sync(() => {
            failedJoins++
          })),
        Effect.retry({ schedule: retries, while: ({ _tag }) => _tag === "CannotJoin" })
      )
    }
    const { context, routing, store } = yield* node.run(
      Effect.all({ context: Effect.context<never>(), routing: Routing, store: Store.Store })
    )
    const stored = () => Effect.runSyncWith(context)(store.page({ limit: Infinity })).rows
    const member: Member = { slot, node, id: node.identity.nodeId, stored, routing }
    members = [...members, member]
    return member
  })

  /** Crashes a member and starts a new node in its slot. */
  const replace = Effect.fnUntraced(function*(member: Member) {
    replaced++
    members = members.filter((other) => other !== member)
    announced = announced.filter(({ by }) => by !== member)
    up.delete(member.id)
    yield* member.node.crash()
    yield* announce(yield* join(member.slot))
  })

  const churn = Effect.gen(function*() {
    const millis = hourMillis / (scenario.churnPerHour * honestOf(scenario))
    while (true) {
      yield* Effect.sleep(gap(choose.churn, millis))
      // The last member must stay, or no node could join.
      if (members.length < 2) continue
      const [member] = pick(choose.churn, members, 1)
      yield* Effect.forkIn(logFailures("A node could not be replaced", replace(member)), scope)
    }
  })

  const accomplices: Array<SimWorld.SimNode<never, unknown>> = []

  const startByzantine = Effect.fnUntraced(function*(i: number) {
    const behaviour = behaviours[i % behaviours.length]
    const layer = Byzantine.layer(behaviour, { through: drawIntroducers(), accomplices })
    const machine = world.machine(`liar ${i}, who ${behaviour}`, layer)
    if (behaviour === "eclipses") accomplices.push(machine)
    yield* Effect.orDie(machine.start)
    up.set(machine.identity.nodeId, machine.socket.host)
  })

  return {
    get members() {
      return members
    },
    get announced() {
      return announced
    },
    get replaced() {
      return replaced
    },
    get failedJoins() {
      return failedJoins
    },
    isUp: ({ host, id }) => up.get(id) === host,
    start: (i) => {
      const before = liarsAmong(i, byzantine)
      return liarsAmong(i + 1, byzantine) > before
        ? startByzantine(before)
        : Effect.asVoid(Effect.orDie(join(i - before)))
    },
    announce,
    churn
  }
})

/**
 * Runs an effect and logs its failure as a warning, so that a failure does not end
 * the run.
 *
 * @internal
 */
export const logFailures = (
  what: string,
  effect: Effect.Effect<unknown, { readonly _tag: string }>
): Effect.Effect<void> =>
  effect.pipe(
    // A node that went down is being replaced.
    Effect.catchTag("NodeDown", () => Effect.void),
    Effect.catchCause((cause) => Effect.logWarning(what, cause)),
    Effect.annotateLogs({ module: "effect-dht/testing/Simulation" })
  )

/** The topics for which the node in a slot announces an offer. */
const topicsOf = (scenario: Scenario, slot: number): ReadonlyArray<number> => {
  const found: Array<number> = []
  const step = honestOf(scenario)
  // Offer i is announced in slot i modulo the number of slots.
  for (let i = slot; i < scenario.topics * announcersPerTopic; i += step) {
    found.push(Math.floor(i / announcersPerTopic))
  }
  return found
}
