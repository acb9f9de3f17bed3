/**
 * A long day in the life of a network, and what was measured in it: nodes come
 * and go, announce themselves, look each other up; datagrams get lost, and the
 * network may split for a while. Everything follows from a {@link Scenario},
 * which is plain data, so that a run can be repeated from what it reports.
 *
 * ```ts
 * import * as Effect from "effect/Effect"
 * import * as Simulation from "effect-dht/testing/Simulation"
 *
 * const program = Effect.gen(function*() {
 *   const { totals, traceHash } = yield* Simulation.run({ nodes: 100, hours: 2, churnPerHour: 0.3 })
 *   return [totals.resolve.found / totals.resolve.asked, traceHash]
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Address } from "../Address.ts"
import * as Announce from "../Announce.ts"
import type { CannotJoin } from "../Bootstrap.ts"
import type * as Crypto from "../Crypto.ts"
import * as Dht from "../Dht.ts"
import type { RecordSet } from "../internal/recordSet.ts"
import type { RoutingTable } from "../internal/routingTable.ts"
import * as NodeId from "../NodeId.ts"
import { Query, type Walked } from "../Query.ts"
import * as Record from "../Record.ts"
import { Routing } from "../Routing.ts"
import { Store } from "../Store.ts"
import type { CannotBind } from "../Transport.ts"
import * as Byzantine from "./Byzantine.ts"
import { Prng } from "./internal/prng.ts"
import { Spread, Tally } from "./internal/tally.ts"
import * as Latency from "./Latency.ts"
import * as PropertiesSafety from "./PropertiesSafety.ts"
import * as SeededRandom from "./SeededRandom.ts"
import * as SimCrypto from "./SimCrypto.ts"
import * as SimWorld from "./SimWorld.ts"
import * as VirtualTime from "./VirtualTime.ts"

// --- Scenario ------------------------------------------------------------------

/**
 * What a run is made of. Hours count from when all nodes have joined. Shares
 * are 0 to 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Scenario {
  readonly seed: number
  readonly nodes: number
  readonly hours: number
  /** The median of all ways, one way. */
  readonly latencyMillis: number
  /** The share of datagrams that get lost. */
  readonly loss: number
  /** The share of nodes that crash in an hour, each of which a new one takes the place of. */
  readonly churnPerHour: number
  /** The share of nodes that lie. They stay, ask nothing and announce nothing. */
  readonly byzantine: number
  /** A time during which a share of the nodes reach only each other. Nodes that start in it are with the rest. */
  readonly partition: Partition | null
  readonly signatures: "real" | "stand-in"
  /** Questions that each node asks in an hour, each for one of what is announced. */
  readonly lookupsPerNodeHour: number
  /** So many nodes announce an endpoint each. */
  readonly endpoints: number
  /** So many topics are there, under each of which four nodes announce something. */
  readonly topics: number
  /** Whether all nodes that do not lie are watched for violations of what `PropertiesSafety` says; it takes time. */
  readonly watched: boolean
  /** How often is measured. */
  readonly intervalMinutes: number
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Partition {
  readonly atHours: number
  readonly forHours: number
  readonly share: number
}

/** Nodes that announce something under one topic. */
const announcersPerTopic = 4

/** Intervals of a run that says nothing about them. */
const usualIntervals = 72

/**
 * A scenario of which only some is given. The others are 100 nodes for two
 * hours without churn, loss or liars, of which up to 200 announce an endpoint.
 *
 * @category constructors
 * @since 0.1.0
 */
export const scenario = (given: Partial<Scenario> = {}): Scenario => {
  const nodes = given.nodes ?? 100
  const hours = given.hours ?? 2
  const byzantine = given.byzantine ?? 0
  const honest = honestOf(nodes, byzantine)
  return {
    seed: given.seed ?? 1,
    nodes,
    hours,
    latencyMillis: given.latencyMillis ?? 50,
    loss: given.loss ?? 0,
    churnPerHour: given.churnPerHour ?? 0,
    byzantine,
    partition: given.partition ?? null,
    signatures: given.signatures ?? "stand-in",
    lookupsPerNodeHour: given.lookupsPerNodeHour ?? 6,
    endpoints: given.endpoints ?? Math.min(honest, 200),
    topics: given.topics ?? Math.min(Math.floor(honest / announcersPerTopic), 20),
    watched: given.watched ?? false,
    intervalMinutes: given.intervalMinutes ?? Math.max(5, Math.ceil(hours * 60 / usualIntervals))
  }
}

/** How many of the first so many nodes lie: they are spread evenly, and the very first does not. */
const liarsAmong = (nodes: number, byzantine: number): number => Math.floor(nodes * byzantine)

const honestOf = (nodes: number, byzantine: number): number => nodes - liarsAmong(nodes, byzantine)

/**
 * The scenario makes no sense.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidScenario extends Data.TaggedError("InvalidScenario")<{
  readonly field: keyof Scenario
  readonly reason: string
}> {
  override get message() {
    return `${this.field} ${this.reason}`
  }
}

const invalid = (scenario: Scenario): InvalidScenario | undefined => {
  const { partition } = scenario
  const wrong = (field: keyof Scenario, reason: string) => new InvalidScenario({ field, reason })
  const honest = honestOf(scenario.nodes, scenario.byzantine)
  for (const field of ["seed", "nodes", "endpoints", "topics"] as const) {
    if (!Number.isSafeInteger(scenario[field])) return wrong(field, "is an integer")
  }
  for (
    const field of [
      "hours",
      "latencyMillis",
      "churnPerHour",
      "lookupsPerNodeHour",
      "intervalMinutes",
      "endpoints",
      "topics"
    ] as const
  ) {
    if (!(scenario[field] >= 0 && Number.isFinite(scenario[field]))) return wrong(field, "is a number from 0 on")
  }
  if (!(scenario.loss >= 0 && scenario.loss < 1)) return wrong("loss", "is from 0 up to but not 1")
  if (!(scenario.byzantine >= 0 && scenario.byzantine < 1)) return wrong("byzantine", "is from 0 up to but not 1")
  if (honest < 2) return wrong("nodes", "are at least two that do not lie")
  if (!(scenario.hours > 0)) return wrong("hours", "are more than 0")
  if (!(scenario.intervalMinutes > 0)) return wrong("intervalMinutes", "are more than 0")
  if (scenario.endpoints > honest) {
    return wrong("endpoints", `are at most one for each of the ${honest} nodes that do not lie`)
  }
  if (scenario.topics > 0 && honest < announcersPerTopic) {
    return wrong("topics", `need ${announcersPerTopic} nodes that do not lie`)
  }
  if (partition !== null) {
    if (!(partition.atHours >= 0 && partition.forHours > 0)) {
      return wrong("partition", "begins at 0 hours or later, and lasts")
    }
    if (!(partition.atHours + partition.forHours <= scenario.hours)) {
      return wrong("partition", "ends before the run does")
    }
    if (!(partition.share > 0 && partition.share < 1)) return wrong("partition", "takes a share between 0 and 1")
  }
  return undefined
}

// --- Measured --------------------------------------------------------------------

/**
 * Answers to questions of one kind. Milliseconds, requests and hops are of
 * those that were found. Null where there were none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answers {
  readonly asked: number
  readonly found: number
  readonly p50Millis: number | null
  readonly p95Millis: number | null
  readonly p99Millis: number | null
  /** The mean number of requests. */
  readonly requests: number | null
  /** The mean number of steps to the nearest node that had it: 0 for the asker itself, 1 for one of its contacts. */
  readonly hops: number | null
  readonly p99Hops: number | null
}

/**
 * Copies of announced records on nodes other than their publisher.
 *
 * @category models
 * @since 0.1.0
 */
export interface Copies {
  readonly min: number | null
  readonly mean: number | null
  readonly max: number | null
}

/**
 * Routing tables, of some nodes that are drawn each time. Shares are 0 to 1.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tables {
  /** Mean contacts. */
  readonly contacts: number | null
  /** The share of contacts that are up, at the address the table says. */
  readonly live: number | null
  /** Contacts, as a share of those that would be there if every bucket were as full as it can be. */
  readonly filled: number | null
}

/**
 * What happened since the interval before.
 *
 * @category models
 * @since 0.1.0
 */
export interface Interval {
  /** Its end. */
  readonly atHours: number
  /** Whether nothing was split in it, nor in the hour before, and the run is older than ten minutes. */
  readonly calm: boolean
  /** Nodes that have joined and do not lie, at its end. */
  readonly nodes: number
  /** Lookups of announced endpoints. */
  readonly resolve: Answers
  /** Lookups of what was announced under topics. */
  readonly discover: Answers
  /** At its end, so many announced records were looked up, each from some node, and so many found. */
  readonly probes: { readonly asked: number; readonly found: number }
  /** At its end. */
  readonly copies: Copies
  /** At its end. */
  readonly tables: Tables
  readonly datagramsPerNodeHour: number
  readonly bytesPerNodeHour: number
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Totals {
  /** Of the whole run. */
  readonly resolve: Answers
  readonly discover: Answers
  readonly probes: { readonly asked: number; readonly found: number }
  /** Over all calm intervals: the smallest, the mean, the largest. */
  readonly copies: Copies
  readonly tables: Tables
  /**
   * Lookups of endpoints that found one, by hops: how many needed none, as the
   * asker had it, how many one, and so on; the last counts all that needed more.
   */
  readonly hops: ReadonlyArray<number>
  readonly datagrams: number
  readonly datagramsPerNodeHour: number
  readonly bytesPerNodeHour: number
  readonly lost: number
  /** Nodes that crashed, and for each of which another one started. */
  readonly replaced: number
  /** Attempts to join that reached nobody, and were made again. */
  readonly failedJoins: number
  /** Messages that nodes logged as warnings or worse. */
  readonly warnings: number
}

/**
 * Something that is to hold of every run.
 *
 * @category models
 * @since 0.1.0
 */
export interface Expectation {
  readonly what: string
  /** Whether the numbers are shares, 0 to 1. */
  readonly unit: "Share" | "Number"
  /** One of the two is null. */
  readonly atLeast: number | null
  readonly atMost: number | null
  /** Null when the run had nothing to judge it by. */
  readonly measured: number | null
  readonly holds: boolean
}

/**
 * What came out of a run, as plain data. All but `realSeconds` is the same in
 * every run of the scenario.
 *
 * @category models
 * @since 0.1.0
 */
export interface Measured {
  readonly scenario: Scenario
  /** Of all that happened, 16 hex digits. */
  readonly traceHash: string
  /** Virtual time until all nodes had joined. */
  readonly startSeconds: number
  readonly intervals: ReadonlyArray<Interval>
  readonly totals: Totals
  readonly expectations: ReadonlyArray<Expectation>
  /** The first warnings of nodes, at most 8. */
  readonly warnings: ReadonlyArray<string>
  /** Of the properties, at most 100; none where nobody watched. */
  readonly violations: ReadonlyArray<string>
  readonly realSeconds: number
}

/** Hops that are told apart. */
const maxHops = 12

/** Share of lookups in calm times that are to find what they look for. */
const expectedShare = 0.99

/** After the beginning, and after a partition, so long nothing is expected. */
const settleHours = 1 / 6
const healHours = 1

/** An announced record is expected to be found once it is so old. */
const settleMillis = 60_000

/** What is looked at closely in each interval. */
const probesPerInterval = 32
const tablesPerInterval = 32

const maxWarnings = 8

// --- The run ---------------------------------------------------------------------

type Node = SimWorld.SimNode<SimWorld.NodeServices, CannotJoin | CannotBind>

/** A node that has joined, and where to look into it. */
interface Member {
  readonly place: number
  readonly node: Node
  readonly id: NodeId.NodeId
  readonly store: RecordSet
  readonly table: RoutingTable
}

/** A record that a member keeps announcing. */
interface Announced {
  readonly kind: "resolve" | "discover"
  readonly key: NodeId.NodeId
  readonly type: number
  readonly by: Member
  readonly address: Address
  readonly sinceMillis: number
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

/** How far a program is, for whoever drives it. */
interface Position {
  phase: Progress["phase"]
  joined: number
  /** When all had joined, in milliseconds of the timeline. */
  zero: number
}

const program = Effect.fnUntraced(function*(
  scenario: Scenario,
  world: SimWorld.World,
  position: Position,
  warnings: ReadonlyArray<string>,
  countWarnings: () => number
): Effect.fn.Return<Omit<Measured, "realSeconds">, never, Scope.Scope> {
  const { network, timeline } = world
  const { nodes, seed } = scenario
  const honest = honestOf(nodes, scenario.byzantine)
  const scope = yield* Effect.scope
  const safety = scenario.watched ? yield* PropertiesSafety.watch(world) : undefined
  const choose = {
    introducers: new Prng(seed, "simulation introducers"),
    churn: new Prng(seed, "simulation churn"),
    lookups: new Prng(seed, "simulation lookups"),
    samples: new Prng(seed, "simulation samples")
  }

  // --- Who is there

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
          announceEndpoint({ endpoints: [`quic://192.0.2.1:${4121 + place}`] })
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
    const node: Node = world.node(`node ${started++}`, { app: safety?.probe })
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

  const accomplices: Array<SimWorld.SimNode<never, unknown>> = []

  const startLiar = Effect.fnUntraced(function*(i: number) {
    const behaviour = behaviours[i % behaviours.length]
    const layer = Byzantine.layer(behaviour, { through: introduce(), accomplices })
    const machine = world.machine(`liar ${i}, who ${behaviour}`, layer)
    if (behaviour === "eclipses") accomplices.push(machine)
    yield* Effect.orDie(machine.start)
    up.set(machine.identity.nodeId, machine.socket.host)
  })

  const churn = Effect.gen(function*() {
    const millis = hourMillis / (scenario.churnPerHour * honest)
    while (true) {
      yield* Effect.sleep(gap(choose.churn, millis))
      // Without a single member nobody could join any more.
      if (members.length < 2) continue
      const [member] = pick(choose.churn, members, 1)
      yield* Effect.forkIn(carryOn("A node could not be replaced", replace(member)), scope)
    }
  })

  // --- Questions

  const tallies = { resolve: new Tally(), discover: new Tally() }
  const totals = { resolve: new Tally(), discover: new Tally() }
  const hopCounts = new Array<number>(maxHops + 1).fill(0)
  const isExpected = (record: Announced) => timeline.elapsedMillis - record.sinceMillis >= settleMillis

  /** Looks for a record from some other member; undefined when either went down meanwhile. */
  const look = Effect.fnUntraced(function*(random: Prng, target: Announced) {
    const others = members.length > 1 ? pick(random, members, 2) : []
    const asker = others.find((member) => member !== target.by)
    if (asker === undefined) return undefined
    const begun = timeline.elapsedMillis
    const find = target.kind === "resolve" ? { type: target.type, quorum: 1 } : { type: target.type }
    const walked = yield* asker.node.run(Query.use((query) => query.walk(target.key, find))).pipe(
      Effect.orElseSucceed(() => undefined)
    )
    if (walked === undefined || !announced.includes(target)) return undefined
    if (safety !== undefined) {
      for (const record of walked.records) safety.returned(asker.node.name, target.key, record)
    }
    const isFound = walked.records.some(({ address }) => address === target.address)
    return {
      isFound,
      millis: timeline.elapsedMillis - begun,
      requests: walked.trace.length,
      hops: hopsOf(walked)
    }
  })

  const lookup = Effect.fnUntraced(function*(target: Announced) {
    const answer = yield* look(choose.lookups, target)
    if (answer === undefined) return
    for (const tally of [tallies[target.kind], totals[target.kind]]) tally.add(answer.isFound ? answer : undefined)
    if (answer.isFound && target.kind === "resolve") hopCounts[Math.min(answer.hops, maxHops)]++
  })

  const lookups = Effect.gen(function*() {
    const millis = hourMillis / (scenario.lookupsPerNodeHour * honest)
    while (true) {
      yield* Effect.sleep(gap(choose.lookups, millis))
      if (announced.length === 0) continue
      const [target] = pick(choose.lookups, announced, 1)
      if (isExpected(target)) yield* Effect.forkIn(carryOn("A lookup failed", lookup(target)), scope)
    }
  })

  const probes = { asked: 0, found: 0 }

  /** Some of what is announced, each looked for from somewhere. */
  const probe = Effect.fnUntraced(function*() {
    const expected = announced.filter(isExpected)
    const targets = pick(choose.samples, expected, Math.min(probesPerInterval, expected.length))
    const answers = yield* Effect.forEach(targets, (target) => look(choose.samples, target), {
      concurrency: "unbounded"
    })
    const counted = answers.filter((answer) => answer !== undefined)
    return { asked: counted.length, found: counted.filter(({ isFound }) => isFound).length }
  })

  // --- The partition

  const split = Effect.fnUntraced(function*({ atHours, forHours, share }: Partition) {
    yield* Effect.sleep(atHours * hourMillis)
    const random = new Prng(seed, "simulation partition")
    network.partition(
      pick(random, network.hosts.filter(({ endpoints }) => endpoints.size > 0), Math.round(nodes * share))
    )
    yield* Effect.sleep(forHours * hourMillis)
    network.heal()
  })

  // --- Measuring

  let bytes = 0
  const copiesInCalm = new Spread()
  const contactsInAll = new Spread()
  const liveInAll = new Spread()
  const filledInAll = new Spread()
  const intervals: Array<Interval> = []

  /** Who holds a copy of what is announced: one walk through every store. */
  const countCopies = (): ReadonlyArray<number> => {
    const counts = new Map(announced.filter(isExpected).map((record) => [slotOf(record), 0]))
    const now = Math.floor(timeline.currentTimeMillisUnsafe() / 1000)
    for (const { node, store } of members) {
      const own = node.identity.address
      for (const row of store.rows(now)) {
        const slot = slotOf(row)
        const count = counts.get(slot)
        if (count !== undefined && row.address !== own) counts.set(slot, count + 1)
      }
    }
    return Array.from(counts.values())
  }

  const lookIntoTables = (): Tables => {
    const ids = members.map(({ id }) => id)
    const contacts = new Spread()
    const live = new Spread()
    const filled = new Spread()
    for (const { id, table } of pick(choose.samples, members, Math.min(tablesPerInterval, members.length))) {
      const entries = table.entries()
      contacts.add(entries.length)
      live.add(
        entries.filter(({ contact }) => up.get(contact.id) === contact.host).length / entries.length,
        entries.length
      )
      const possible = new Map<number, number>()
      for (const other of ids) {
        if (other === id) continue
        const bucket = NodeId.commonPrefixLength(id, other)
        possible.set(bucket, Math.min(table.k, (possible.get(bucket) ?? 0) + 1))
      }
      const most = Array.from(possible.values()).reduce((sum, count) => sum + count, 0)
      const held = Array.from(possible).reduce(
        (sum, [bucket, count]) => sum + Math.min(count, table.bucketLength(bucket)),
        0
      )
      filled.add(held / most, most)
    }
    return { contacts: contacts.mean, live: live.mean, filled: filled.mean }
  }

  const isCalm = (fromHours: number, toHours: number): boolean => {
    const { partition } = scenario
    if (fromHours < settleHours) return false
    return partition === null || toHours <= partition.atHours ||
      fromHours >= partition.atHours + partition.forHours + healHours
  }

  const perNodeHour = (count: number, hours: number) => count / (nodes * hours)

  /** Intervals until the end of the run. */
  const measure = Effect.gen(function*() {
    const zero = position.zero
    const { hours } = scenario
    const step = scenario.intervalMinutes / 60
    const count = Math.ceil(hours / step - 1e-9)
    let sent = network.counts.sent
    let received = bytes
    let from = 0
    for (let i = 1; i <= count; i++) {
      const to = i === count ? hours : i * step
      yield* Effect.sleep(zero + to * hourMillis - timeline.elapsedMillis)
      const calm = isCalm(from, to)
      const copies = new Spread()
      for (const count of countCopies()) {
        copies.add(count)
        if (calm) copiesInCalm.add(count)
      }
      const tables = lookIntoTables()
      if (tables.contacts !== null) contactsInAll.add(tables.contacts)
      if (tables.live !== null) liveInAll.add(tables.live)
      if (tables.filled !== null) filledInAll.add(tables.filled)
      const figures = {
        atHours: to,
        calm,
        nodes: members.length,
        resolve: tallies.resolve.answers(),
        discover: tallies.discover.answers(),
        copies: { min: copies.min, mean: copies.mean, max: copies.max },
        tables,
        datagramsPerNodeHour: perNodeHour(network.counts.sent - sent, to - from),
        bytesPerNodeHour: perNodeHour(bytes - received, to - from)
      }
      sent = network.counts.sent
      received = bytes
      from = to
      tallies.resolve.clear()
      tallies.discover.clear()
      const probed = yield* probe()
      probes.asked += probed.asked
      probes.found += probed.found
      intervals.push({ ...figures, probes: probed })
    }
  })

  // --- All of it

  network.observe({
    delivered: ({ payload }) => {
      bytes += payload.length
    }
  })

  const joined = Effect.sync(() => {
    position.joined++
  })
  const startHonest = (place: number) => Effect.andThen(Effect.orDie(join(place)), joined)
  yield* startHonest(0)
  yield* Effect.forEach(
    Array.from({ length: nodes - 1 }, (_, i) => i + 1),
    (i) => {
      const before = liarsAmong(i, scenario.byzantine)
      return liarsAmong(i + 1, scenario.byzantine) > before
        ? Effect.andThen(startLiar(before), joined)
        : startHonest(i - before)
    },
    { concurrency: Math.max(8, Math.ceil(nodes / 50)), discard: true }
  )

  position.zero = timeline.elapsedMillis
  position.phase = "Running"
  // Nobody renews in step with all others.
  const random = new Prng(seed, "simulation announcements")
  const begin = { sent: network.counts.sent, lost: network.counts.lost, bytes }
  const background = [
    ...(scenario.churnPerHour > 0 ? [churn] : []),
    ...(scenario.lookupsPerNodeHour > 0 ? [lookups] : []),
    ...(scenario.partition === null ? [] : [split(scenario.partition)]),
    ...members.map((member) =>
      Effect.delay(
        carryOn("A node could not announce", announce(member)),
        random.double() * Math.min(settleHours, scenario.hours / 6) * hourMillis
      )
    )
  ]
  yield* Effect.forEach(background, (effect) => Effect.forkIn(effect, scope))
  yield* measure

  const sent = network.counts.sent - begin.sent
  const result = {
    resolve: totals.resolve.answers(),
    discover: totals.discover.answers(),
    probes,
    copies: { min: copiesInCalm.min, mean: copiesInCalm.mean, max: copiesInCalm.max },
    tables: { contacts: contactsInAll.mean, live: liveInAll.mean, filled: filledInAll.mean },
    hops: hopCounts,
    datagrams: sent,
    datagramsPerNodeHour: perNodeHour(sent, scenario.hours),
    bytesPerNodeHour: perNodeHour(bytes - begin.bytes, scenario.hours),
    lost: network.counts.lost - begin.lost,
    replaced,
    failedJoins,
    warnings: countWarnings()
  }
  safety?.sweep()
  const violations = safety?.violations.map(({ message }) => message)
  return {
    scenario,
    traceHash: world.trace.hash,
    startSeconds: position.zero / 1000,
    intervals,
    totals: result,
    expectations: expectationsOf(scenario, intervals, result, violations),
    warnings: [...warnings],
    violations: violations ?? []
  }
})

/** What one failed attempt must not end. */
const carryOn = (what: string, effect: Effect.Effect<unknown, { readonly _tag: string }>) =>
  effect.pipe(
    // Who went down is replaced already.
    Effect.catchTag("NodeDown", () => Effect.void),
    Effect.catchCause((cause) => Effect.logWarning(what, cause)),
    Effect.annotateLogs({ module: "effect-dht/testing/Simulation" })
  )

/** So many different ones, in any order. */
const pick = <A>(random: Prng, from: ReadonlyArray<A>, count: number): Array<A> => {
  if (count * 8 < from.length) {
    const drawn = new Set<number>()
    while (drawn.size < count) drawn.add(random.below(from.length))
    return Array.from(drawn, (at) => from[at])
  }
  const pool = [...from]
  for (let i = 0; i < Math.min(count, pool.length); i++) {
    const at = i + random.below(pool.length - i)
    const drawn = pool[at]
    pool[at] = pool[i]
    pool[i] = drawn
  }
  return pool.slice(0, count)
}

/** Milliseconds until the next of what happens every so often. */
const gap = (random: Prng, meanMillis: number): number => 2 * meanMillis * random.double()

/** The topics under which the node in a place announces something. */
const topicsOf = ({ byzantine, nodes, topics }: Scenario, place: number): ReadonlyArray<number> => {
  const honest = honestOf(nodes, byzantine)
  const found: Array<number> = []
  // Announcement i is made in place i, and from the first again when all have one.
  for (let i = place; i < topics * announcersPerTopic; i += honest) found.push(Math.floor(i / announcersPerTopic))
  return found
}

const slotOf = ({ address, key, type }: Pick<Announced, "address" | "key" | "type">): string =>
  `${key} ${type} ${address}`

/** By who told of whom. */
const hopsOf = ({ trace }: Walked): number => {
  const holders = trace.filter(({ holdsRecord }) => holdsRecord)
  return holders.length === 0 ? 0 : 1 + Math.min(...holders.map(({ depth }) => depth))
}

const expectationsOf = (
  { nodes }: Scenario,
  intervals: ReadonlyArray<Interval>,
  totals: Totals,
  violations: ReadonlyArray<string> | undefined
): ReadonlyArray<Expectation> => {
  const calm = intervals.filter((interval) => interval.calm)
  const share = (of: (interval: Interval) => { readonly asked: number; readonly found: number }): number | null => {
    const [asked, found] = calm.reduce(
      ([asked, found], interval) => [asked + of(interval).asked, found + of(interval).found],
      [0, 0]
    )
    return asked === 0 ? null : found / asked
  }
  const atLeast = (what: string, unit: Expectation["unit"], bound: number, measured: number | null): Expectation => ({
    what,
    unit,
    atLeast: bound,
    atMost: null,
    measured,
    holds: measured === null || measured >= bound
  })
  const atMost = (what: string, bound: number, measured: number | null): Expectation => ({
    what,
    unit: "Number",
    atLeast: null,
    atMost: bound,
    measured,
    holds: measured === null || measured <= bound
  })
  return [
    atLeast("Announced endpoints that lookups find", "Share", expectedShare, share(({ resolve }) => resolve)),
    atLeast("Offers under topics that lookups find", "Share", expectedShare, share(({ discover }) => discover)),
    atLeast("Announced records that probes find", "Share", expectedShare, share(({ probes }) => probes)),
    atLeast("Copies of the record that has the fewest", "Number", 1, totals.copies.min),
    atMost(
      "Hops of 99 % of lookups, against log2 of the nodes",
      Math.max(2, Math.ceil(Math.log2(nodes))),
      totals.resolve.p99Hops
    ),
    atMost("Violations of what a node may never do", 0, violations?.length ?? null)
  ]
}

// --- Running -----------------------------------------------------------------------

/**
 * How far a run is. Virtual hours count from when all nodes have joined.
 *
 * @category models
 * @since 0.1.0
 */
export interface Progress {
  readonly phase: "Starting" | "Running"
  readonly joined: number
  readonly nodes: number
  readonly hours: number
  readonly ofHours: number
}

/**
 * @category models
 * @since 0.1.0
 */
export interface RunOptions {
  /** What makes real signatures; `Crypto.noble`, which is portable, by default. */
  readonly crypto?: Crypto.Ed25519 | undefined
  /** Is told again and again how far it is, a few times in a second of real time. */
  readonly onProgress?: ((progress: Progress) => Effect.Effect<void>) | undefined
}

/**
 * The run did not come to its end.
 *
 * @category errors
 * @since 0.1.0
 */
export class RunFailed extends Data.TaggedError("RunFailed")<{
  readonly scenario: Scenario
  /** Virtual. */
  readonly elapsedMillis: number
  readonly cause: unknown
}> {
  override get message() {
    const reason = this.cause instanceof Error ? this.cause.message : String(this.cause)
    return `The run of seed ${this.scenario.seed} ended after ${Math.round(this.elapsedMillis / 1000)} s: ${reason}`
  }
}

/** Real milliseconds between two looks at the world outside. */
const sliceMillis = 100

/** Virtual time for the first slice, and at most. */
const slices = { first: 10, largest: 10_000 }

/** Virtual time for what is no part of the scenario: starting, and the last probes. */
const spareMillis = 24 * hourMillis

/**
 * Runs a scenario as fast as the machine can. Other fibers, and signals, get
 * their turn several times a second; interrupting it ends it.
 *
 * @category running
 * @since 0.1.0
 */
export const run = Effect.fnUntraced(function*(
  given: Partial<Scenario> = {},
  options: RunOptions = {}
): Effect.fn.Return<Measured, InvalidScenario | RunFailed> {
  const complete = scenario(given)
  const mistake = invalid(complete)
  if (mistake !== undefined) return yield* mistake
  const clock = yield* Clock.Clock
  const now = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  const { hours: ofHours, nodes, seed } = complete

  const timeline = new VirtualTime.Timeline()
  const position: Position = { phase: "Starting", joined: 0, zero: 0 }
  const warnings: Array<string> = []
  let warned = 0
  const counter = Logger.make<unknown, void>(({ logLevel, message }) => {
    if (LogLevel.isLessThan(logLevel, "Warn")) return
    warned++
    if (warnings.length < maxWarnings) warnings.push([message].flat().map(String).join(": "))
  })
  const fiber = timeline.fork(
    SimWorld.make({
      seed,
      network: { latency: Latency.plane({ medianMillis: complete.latencyMillis }), loss: complete.loss },
      crypto: complete.signatures === "stand-in" ? SimCrypto.simulated : options.crypto
    }).pipe(
      Effect.flatMap((world) => program(complete, world, position, warnings, () => warned)),
      Effect.scoped,
      Effect.provide(Logger.layer([counter])),
      Effect.provideService(Random.Random, SeededRandom.make(seed, "program")),
      Effect.provideService(References.TracerEnabled, false)
    )
  )

  const failed = (cause: unknown) => new RunFailed({ scenario: complete, elapsedMillis: timeline.elapsedMillis, cause })
  const limit = ofHours * hourMillis + spareMillis
  const begun = now()
  let slice = slices.first
  while (fiber.pollUnsafe() === undefined) {
    const before = now()
    const exit = timeline.advance(slice)
    if (Exit.isFailure(exit)) return yield* failed(Cause.squash(exit.cause))
    if (timeline.elapsedMillis > limit) {
      return yield* failed(new VirtualTime.NotFinished({ elapsedMillis: timeline.elapsedMillis }))
    }
    const took = Math.max(1, now() - before)
    slice = Math.min(slices.largest, slice * Math.min(2, Math.max(0.25, sliceMillis / took)))
    if (options.onProgress !== undefined) {
      const { joined, phase, zero } = position
      const hours = phase === "Starting" ? 0 : Math.min(ofHours, (timeline.elapsedMillis - zero) / hourMillis)
      yield* options.onProgress({ phase, joined, nodes, hours, ofHours })
    }
    yield* Effect.yieldNow
  }
  const exit = yield* Fiber.await(fiber)
  return Exit.isSuccess(exit)
    ? { ...exit.value, realSeconds: (now() - begun) / 1000 }
    : yield* failed(Cause.squash(exit.cause))
})
