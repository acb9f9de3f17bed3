/**
 * Who is there in a simulation: nodes that join, announce, crash and make place
 * for others, and liars that stay.
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
import type { RecordSet } from "../../internal/recordSet.ts"
import type { RoutingTable } from "../../internal/routingTable.ts"
import type * as NodeId from "../../NodeId.ts"
import * as Persistence from "../../Persistence.ts"
import * as Record from "../../Record.ts"
import { Routing } from "../../Routing.ts"
import { Store } from "../../Store.ts"
import type { CannotBind } from "../../Transport.ts"
import * as Byzantine from "../Byzantine.ts"
import type { Safety } from "../PropertiesSafety.ts"
import { announcersPerTopic, honestOf, liarsAmong, type Scenario } from "../Scenario.ts"
import type * as SimWorld from "../SimWorld.ts"
import { gap, pick } from "./draw.ts"
import { Prng } from "./prng.ts"

type Node = SimWorld.SimNode<SimWorld.NodeServices, CannotJoin | CannotBind>

/**
 * A node that has joined, and where to look into it.
 *
 * @internal
 */
export interface Member {
  readonly place: number
  readonly node: Node
  readonly id: NodeId.NodeId
  readonly store: RecordSet
  readonly table: RoutingTable
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
  /** Those that have joined and do not lie. */
  readonly members: ReadonlyArray<Member>
  readonly announced: ReadonlyArray<Announced>
  /** Members that crashed, and for each of which another one started. */
  readonly replaced: number
  /** Attempts to join that reached nobody, and were made again. */
  readonly failedJoins: number
  /** Whether a node is up at the address a table says; liars included. */
  readonly isThere: (contact: Contact) => boolean
  /** Starts the node of a number, from 0 on, and succeeds once it has joined. */
  readonly start: (i: number) => Effect.Effect<void>
  readonly announce: (member: Member) => Effect.Effect<void, { readonly _tag: string }>
  /** Replaces members for ever. */
  readonly churn: Effect.Effect<never>
}

/** Pauses between attempts to join. */
const retries = Schedule.min([Schedule.exponential("2 seconds"), Schedule.spaced("5 minutes")]).pipe(Schedule.jittered)

/** Through how many members a node joins. */
const introducers = 3

const hourMillis = 3_600_000

/**
 * What liars do, in turn. Floods are left out: a hundred datagrams a second of
 * each are another scenario, and take as long to run.
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
 * Nobody at first.
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
  /** The IP of everybody who is up, liars included. */
  const up = new Map<NodeId.NodeId, string>()
  let announced: ReadonlyArray<Announced> = []
  let started = 0
  let replaced = 0
  let failedJoins = 0

  const introduce = (): ReadonlyArray<Node> =>
    pick(choose.introducers, members, Math.min(introducers, members.length)).map(({ node }) => node)

  const announce = Effect.fnUntraced(function*(member: Member) {
    const { place } = member
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
    if (place < scenario.endpoints) {
      yield* member.node.run(
        Announce.Announce.use(({ announceEndpoint }) =>
          announceEndpoint({ endpoints: [`tcp://192.0.2.1:${4121 + place}`] })
        )
      ).pipe(Effect.map(add("resolve", Record.RecordType.endpoint)))
    }
    for (const topic of topicsOf(scenario, place)) {
      yield* member.node.run(
        Announce.Announce.use(({ announceTopic }) => announceTopic({ topic: `topic ${topic}` }))
      ).pipe(Effect.map(add("discover", Record.RecordType.topic)))
    }
  })

  /** Starts a node in a place, and succeeds once it has joined. */
  const join = Effect.fnUntraced(function*(place: number) {
    const isFirst = started === 0
    // Whoever crashes is replaced, so nothing that is kept would be read.
    const node: Node = world.node(`node ${started++}`, {
      app: safety?.probe,
      dht: { persistence: Persistence.layerNone }
    })
    yield* node.start
    up.set(node.identity.nodeId, node.socket.host)
    if (!isFirst) {
      yield* Effect.suspend(() =>
        node.run(Dht.Dht.use(({ bootstrap }) => bootstrap(introduce().map(({ socket }) => socket))))
      ).pipe(
        Effect.tapErrorTag("CannotJoin", () =>
          Effect.sync(() => {
            failedJoins++
          })),
        Effect.retry({ schedule: retries, while: ({ _tag }) => _tag === "CannotJoin" })
      )
    }
    const { routing, store } = yield* node.run(Effect.all({ routing: Routing, store: Store }))
    const member: Member = { place, node, id: node.identity.nodeId, store: store.core, table: routing.core }
    members = [...members, member]
    return member
  })

  /** Puts another node in the place of one that crashes. */
  const replace = Effect.fnUntraced(function*(member: Member) {
    replaced++
    members = members.filter((other) => other !== member)
    announced = announced.filter(({ by }) => by !== member)
    up.delete(member.id)
    yield* member.node.crash()
    yield* announce(yield* join(member.place))
  })

  const churn = Effect.gen(function*() {
    const millis = hourMillis / (scenario.churnPerHour * honestOf(scenario))
    while (true) {
      yield* Effect.sleep(gap(choose.churn, millis))
      // Without a single member nobody could join any more.
      if (members.length < 2) continue
      const [member] = pick(choose.churn, members, 1)
      yield* Effect.forkIn(carryOn("A node could not be replaced", replace(member)), scope)
    }
  })

  const accomplices: Array<SimWorld.SimNode<never, unknown>> = []

  const startLiar = Effect.fnUntraced(function*(i: number) {
    const behaviour = behaviours[i % behaviours.length]
    const layer = Byzantine.layer(behaviour, { through: introduce(), accomplices })
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
    isThere: ({ host, id }) => up.get(id) === host,
    start: (i) => {
      const before = liarsAmong(i, byzantine)
      return liarsAmong(i + 1, byzantine) > before ? startLiar(before) : Effect.asVoid(Effect.orDie(join(i - before)))
    },
    announce,
    churn
  }
})

/**
 * What one failed attempt must not end.
 *
 * @internal
 */
export const carryOn = (
  what: string,
  effect: Effect.Effect<unknown, { readonly _tag: string }>
): Effect.Effect<void> =>
  effect.pipe(
    // Who went down is replaced already.
    Effect.catchTag("NodeDown", () => Effect.void),
    Effect.catchCause((cause) => Effect.logWarning(what, cause)),
    Effect.annotateLogs({ module: "effect-dht/testing/Simulation" })
  )

/** The topics under which the node in a place announces something. */
const topicsOf = (scenario: Scenario, place: number): ReadonlyArray<number> => {
  const found: Array<number> = []
  const step = honestOf(scenario)
  // Announcement i is made in place i, and from the first again when all have one.
  for (let i = place; i < scenario.topics * announcersPerTopic; i += step) {
    found.push(Math.floor(i / announcersPerTopic))
  }
  return found
}
